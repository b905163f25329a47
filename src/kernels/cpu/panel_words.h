/* Blocks' integer sums where no instruction multiplies and adds four bytes at once: products of
 * values below 16 and int8 are added in 16 bits, eight groups of them before they could overflow
 * (8 × 2 × 15 × 127 < 2¹⁵). q8 is split into upper and lower halves. */
#ifndef TL_KERNELS_PANEL_WORDS_H
#define TL_KERNELS_PANEL_WORDS_H

#include "kernels/cpu/panel.h"
#include "kernels/cpu/quantised.h"

enum { WORD_ROWS = 4 };

/* Vectors of a group of columns once unpacked: lower halves, and upper ones. */
INLINE int halves(tl_dtype dtype) {
    return dtype == TL_Q8 ? 2 : 1;
}

/* A panel's values as [blocks][parts][8 groups][halves] vectors. */
INLINE void unpack_halves(tl_dtype dtype, const panel *from, int32_t blocks, unsigned char *to) {
    const vi lower = v_set_int(0x0f0f0f0f);
    for (int32_t b = 0; b < blocks; b++) {
        const unsigned char *block = from->values + (size_t)b * tl_block_bytes(dtype);
        UNROLL for (int i = 0; i < 8 * PARTS; i++) {
            vi group = load_group(dtype, block, i % 8, i / 8);
            vi parts[2] = {group & lower, (group >> 4) & lower};
            size_t bytes = (size_t)halves(dtype) * sizeof(vi);
            memcpy(to, parts, bytes);
            to += bytes;
        }
    }
}

/* One part of R rows: Σ over a block, [R][VL]. */
INLINE void word_sums(tl_dtype dtype, const int R, const unsigned char *w, quantised x,
                      vi dot[WORD_ROWS]) {
    vi low[WORD_ROWS], high[WORD_ROWS];
    UNROLL for (int r = 0; r < R; r++) low[r] = high[r] = v_set_int(0);
    UNROLL for (int g = 0; g < 8; g++) {
        const unsigned char *at = w + (size_t)(g * halves(dtype)) * sizeof(vi);
        vi lower = load_values(at), upper = lower;
        if (dtype == TL_Q8) upper = load_values(at + sizeof(vi));
        UNROLL for (int r = 0; r < R; r++) {
            vi value = v_set_int(x.values[r][g]);
            low[r] = v_add_words(low[r], v_mul_bytes(lower, value));
            if (dtype == TL_Q8) high[r] = v_add_words(high[r], v_mul_bytes(upper, value));
            /* sums in this order, values loaded when they are wanted: registers are few */
            __asm__ volatile("" : "+v"(low[r]), "+v"(high[r]) : : "memory");
        }
    }
    UNROLL for (int r = 0; r < R; r++) {
        dot[r] = v_add_pairs(low[r], 1) + v_set_int(x.corrections[r]);
        if (dtype == TL_Q8) dot[r] += v_add_pairs(high[r], 16);
    }
}

/* y[R][16] of the blocks of a span, unpacked at w; added to y where `more`. */
INLINE void word_rows(tl_dtype dtype, const int R, const uint16_t *scales, const unsigned char *w,
                      int32_t blocks, quantised x, ahead *next, bool more, float *y,
                      int64_t y_stride) {
    vf acc[WORD_ROWS][PARTS];
    UNROLL for (int i = 0; i < R * PARTS; i++) acc[i / PARTS][i % PARTS] =
        more ? v_load(y + i / PARTS * y_stride + i % PARTS * VL) : v_zero();
    for (int32_t b = 0; b < blocks; b++, scales += TL_PANEL) {
        UNROLL for (int part = 0; part < PARTS; part++) {
            vi dot[WORD_ROWS];
            word_sums(dtype, R, w, x, dot);
            w += (size_t)(8 * halves(dtype)) * sizeof(vi);
            vf scale = v_load_f16(scales + part * VL), base = v_scale_base(scale);
            UNROLL for (int r = 0; r < R; r++) acc[r][part] =
                v_fma(v_scale(dot[r], scale, base), v_set(x.scales[r]), acc[r][part]);
        }
        x = move_on(x, 1);
        fetch(next);
    }
    UNROLL for (int i = 0; i < R * PARTS; i++)
        v_store(y + i / PARTS * y_stride + i % PARTS * VL, acc[i / PARTS][i % PARTS]);
}

#endif
