/* Rows of x quantised to int8 for fast products with packed weights: by row and block of 32
 * columns.
 */
#ifndef TL_KERNELS_QUANTISED_H
#define TL_KERNELS_QUANTISED_H

#include "kernels/cpu/functions.h"

enum { SIDE = 16 }; /* rows prepared together */

/* A block of 32 columns of 16 prepared rows. The correction takes the weights' bias out of the sum
 * (-bias × Σ values; 0 where the weights are made signed). */
typedef struct quantised {
    float scales[SIDE];
    int32_t corrections[SIDE];
    int32_t values[SIDE][TL_BLOCK / 4]; /* four int8 in each */
} quantised;

static size_t group_bytes(int32_t in) {
    return sizeof(quantised) * (size_t)(in / TL_BLOCK);
}

INLINE void quantise_row(int32_t bias, const float *x, int32_t in, quantised *to, int32_t row) {
    for (int32_t k = 0; k < in; k += TL_BLOCK, x += TL_BLOCK, to++) {
        vf most = v_zero(), poison = v_zero();
        for (int i = 0; i < TL_BLOCK; i += VL) {
            vf value = v_load(x + i);
            most = v_max(v_abs(value), most);
            poison = v_fma(value, v_zero(), poison); /* NaN where the values are not finite */
        }
        float largest = v_largest(most);
        vf inverse = v_set(largest > 0.0f ? 127.0f / largest : 0.0f);
        vi sum = v_set_int(0);
        for (int i = 0; i < TL_BLOCK; i += VL) {
            /* clamped, so that the sum stays small when x is not finite */
            vf scaled = v_max(v_set(-127.0f), v_min(v_set(127.0f), v_load(x + i) * inverse));
            vi value = v_to_int(v_select(scaled == scaled, scaled, v_zero()));
            sum += value;
            v_store_i8((int8_t *)to->values[row] + i, value);
        }
        to->scales[row] = largest / 127.0f + v_sum(poison);
        to->corrections[row] = V_DOT_SIGNED ? 0 : -bias * v_sum_int(sum);
    }
}

static void quantise_q8(const float *x, int64_t x_stride, int32_t rows, int32_t in, void *group) {
    for (int32_t r = 0; r < rows; r++)
        quantise_row(128, x + r * x_stride, in, group, r);
}

static void quantise_q4(const float *x, int64_t x_stride, int32_t rows, int32_t in, void *group) {
    for (int32_t r = 0; r < rows; r++)
        quantise_row(8, x + r * x_stride, in, group, r);
}

#endif
