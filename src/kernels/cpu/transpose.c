/* Squares of a matrix turned: what tl_matrix_transpose is made of. */
#include "kernels/cpu/functions.h"

/* Whole lines go past the caches: fetching them first would cost as much as writing them. */
INLINE void store(unsigned char *to, vf a, bool past) {
    if (past)
        v_store_past((float *)(void *)to, a);
    else
        v_store((float *)(void *)to, a);
}

/* 2 VL rows of VL 16-bit elements: two rows go together in each lane, the first one lower. */
INLINE void turn_halves(const unsigned char *from, size_t from_stride, unsigned char *to,
                        size_t to_stride, bool past) {
    vf pairs[VL];
    UNROLL for (int i = 0; i < VL; i++) {
        const unsigned char *row = from + (size_t)(2 * i) * from_stride;
        vi lower = (vi)v_load_bf16((const uint16_t *)(const void *)row);
        vi upper = (vi)v_load_bf16((const uint16_t *)(const void *)(row + from_stride));
        pairs[i] = (vf)((lower >> 16 & v_set_int(0xffff)) | upper);
    }
    v_transpose(pairs);
    UNROLL for (int i = 0; i < VL; i++) store(to + (size_t)i * to_stride, pairs[i], past);
}

/* VL rows of VL 32-bit elements. */
INLINE void turn_words(const unsigned char *from, size_t from_stride, unsigned char *to,
                       size_t to_stride, bool past) {
    vf rows[VL];
    UNROLL for (int i = 0; i < VL; i++) rows[i] =
        v_load((const float *)(const void *)(from + (size_t)i * from_stride));
    v_transpose(rows);
    UNROLL for (int i = 0; i < VL; i++) store(to + (size_t)i * to_stride, rows[i], past);
}

INLINE void turn_square(size_t size, const unsigned char *from, size_t from_stride,
                        unsigned char *to, size_t to_stride, bool past) {
    const size_t width = VL * size, height = size == 2 ? 2 * VL : VL;
    for (size_t column = 0; column < TL_ALIGNMENT; column += width) {
        for (size_t row = 0; row < TL_ALIGNMENT / size; row += height) {
            const unsigned char *source = from + row * from_stride + column;
            unsigned char *target = to + column / size * to_stride + row * size;
            if (size == 2)
                turn_halves(source, from_stride, target, to_stride, past);
            else
                turn_words(source, from_stride, target, to_stride, past);
        }
    }
}

void TL_NAME(tl_transpose_squares)(size_t size, size_t rows, size_t columns,
                                   const unsigned char *from, size_t from_stride, unsigned char *to,
                                   size_t to_stride) {
    const size_t side = TL_ALIGNMENT / size;
    bool past = ((uintptr_t)to | to_stride) % TL_ALIGNMENT == 0;
    for (size_t column = 0; column < columns; column += side) {
        for (size_t row = 0; row < rows; row += side) {
            const unsigned char *source = from + row * from_stride + column * size;
            unsigned char *target = to + column * to_stride + row * size;
            if (size == 2)
                turn_square(2, source, from_stride, target, to_stride, past);
            else
                turn_square(4, source, from_stride, target, to_stride, past);
        }
    }
    if (past) v_store_past_end();
}
