/* Quantising matrices by ggml's rules (quantize_row_q8_0_ref and q4_0_ref of ggml-quants.c) into
 * packed panels: lanes run along the outputs, so that nothing is summed or sought across them. */
#include "kernels/cpu/panel.h"

#include <math.h>

/* ---- a block by itself: the rules, and what is done where values or scales are not finite ---- */

/* An integer near x within [low, high]; low for NaN. */
static int32_t clamped(float x, int32_t low, int32_t high) {
    if (!(x > (float)low)) return low;
    if (x > (float)high) return high;
    return (int32_t)x;
}

static uint16_t quantise_q8(const float *x, int32_t values[TL_BLOCK]) {
    float largest = 0;
    bool finite = true;
    for (int k = 0; k < TL_BLOCK; k++) {
        largest = fabsf(x[k]) > largest ? fabsf(x[k]) : largest;
        finite &= isfinite(x[k]) != 0;
    }
    float scale = largest / 127.0f;
    float inverse = scale != 0 ? 1.0f / scale : 0.0f;
    for (int k = 0; k < TL_BLOCK; k++)
        values[k] = clamped(roundf(x[k] * inverse), -127, 127);
    return tl_f32_to_f16(finite ? scale : NAN);
}

static uint16_t quantise_q4(const float *x, int32_t values[TL_BLOCK]) {
    float largest = 0, extreme = 0;
    bool finite = true;
    for (int k = 0; k < TL_BLOCK; k++) {
        if (fabsf(x[k]) > largest) {
            largest = fabsf(x[k]);
            extreme = x[k];
        }
        finite &= isfinite(x[k]) != 0;
    }
    float scale = extreme / -8.0f;
    float inverse = scale != 0 ? 1.0f / scale : 0.0f;
    for (int k = 0; k < TL_BLOCK; k++)
        values[k] = clamped(x[k] * inverse + 8.5f, 0, 15) - 8;
    return tl_f32_to_f16(finite ? scale : NAN);
}

/* Output `lane` of a block anew, from x [32][VL]. */
static void pack_lane(tl_dtype dtype, const vf x[TL_BLOCK], int lane, uint16_t *scale,
                      unsigned char *block, int32_t out) {
    float column[TL_BLOCK];
    int32_t values[TL_BLOCK];
    for (int k = 0; k < TL_BLOCK; k++)
        column[k] = x[k][lane];
    *scale = dtype == TL_Q8 ? quantise_q8(column, values) : quantise_q4(column, values);
    for (int k = 0; k < TL_BLOCK; k++) {
        unsigned char *place = block + tl_block_place(dtype, out, k);
        if (dtype == TL_Q8)
            *place = (unsigned char)(values[k] + 128);
        else if (k < TL_BLOCK / 2)
            *place = (unsigned char)(values[k] + 8);
        else
            *place |= (unsigned char)((values[k] + 8) << 4);
    }
}

/* ---- VL outputs at a time ---- */

INLINE vf load_wide(tl_dtype dtype, const void *row, int32_t k) {
    if (dtype == TL_F32) return v_load((const float *)row + k);
    if (dtype == TL_BF16) return v_load_bf16((const uint16_t *)row + k);
    return v_load_f16((const uint16_t *)row + k);
}

/* x[column][VL] for a block of VL outputs; zero where there is no row. */
INLINE void load_columns(tl_dtype dtype, const void *const rows[VL], int32_t k, vf x[TL_BLOCK]) {
    UNROLL for (int i = 0; i < TL_BLOCK; i += VL) {
        UNROLL for (int r = 0; r < VL; r++) x[i + r] =
            rows[r] ? load_wide(dtype, rows[r], k + i) : v_zero();
        v_transpose(x + i);
    }
}

/* To the nearest integer, halves away from zero; |x| < 2^22. */
INLINE vi round_away(vf x) {
    vf whole = v_round(x), sign = (vf)((vi)x & v_set_int((int32_t)0x80000000));
    vf half = (vf)((vi)v_set(0.5f) | (vi)sign);
    vi up = (x - whole) == half;
    return v_to_int(whole + (vf)(up & (vi)(half + half)));
}

/* The largest integer not above x, within 0 … 15. */
INLINE vi floor_nibble(vf x) {
    x = v_max(v_min(x, v_set(15.0f)), v_zero());
    vi near = v_to_int(x);
    return near + (v_from_int(near) > x);
}

/* Scales of VL outputs from their extremes; the lanes of `odd` are not to be used. */
INLINE vf find_scale(tl_dtype dtype, const vf x[TL_BLOCK], vf *inverse, vi *odd) {
    vf largest = v_zero(), extreme = v_zero();
    vi bits = v_set_int(0);
    UNROLL for (int k = 0; k < TL_BLOCK; k++) {
        vf magnitude = v_abs(x[k]);
        vi more = magnitude > largest;
        bits = v_max_int(bits, (vi)magnitude);
        largest = v_select(more, magnitude, largest);
        extreme = v_select(more, x[k], extreme);
    }
    vf scale = dtype == TL_Q8 ? largest / v_set(127.0f) : extreme / v_set(-8.0f);
    vi zero = scale == v_zero();
    *inverse = (vf)(~zero & (vi)(v_set(1.0f) / scale));
    const vi infinity = v_set_int(0x7f800000);
    *odd = (bits >= infinity) | ((vi)v_abs(*inverse) >= infinity);
    return scale;
}

INLINE void pack_block(tl_dtype dtype, const vf x[TL_BLOCK], int32_t first, uint16_t *scales,
                       unsigned char *block) {
    vf inverse;
    vi odd;
    v_store_f16(scales + first, find_scale(dtype, x, &inverse, &odd));
    const int groups = dtype == TL_Q8 ? 8 : 4;
    UNROLL for (int g = 0; g < groups; g++) {
        vi bytes = v_set_int(0);
        UNROLL for (int i = 0; i < 4; i++) {
            vf scaled = x[g * 4 + i] * inverse;
            if (dtype == TL_Q8) {
                bytes |= ((round_away(scaled) + v_set_int(128)) & v_set_int(0xff)) << (8 * i);
            } else {
                vf upper = x[g * 4 + i + TL_BLOCK / 2] * inverse;
                const vf middle = v_set(8.5f);
                bytes |= floor_nibble(scaled + middle) << (8 * i);
                bytes |= floor_nibble(upper + middle) << (8 * i + 4);
            }
        }
        memcpy(block + tl_block_place(dtype, first, 4 * g), &bytes, sizeof bytes);
    }
    if (v_largest_int(odd & v_set_int(1)) == 0) return;
    for (int lane = 0; lane < VL; lane++)
        if (odd[lane]) pack_lane(dtype, x, lane, &scales[first + lane], block, first + lane);
}

INLINE void pack(tl_dtype source_type, tl_dtype dtype, const tl_matrix *source, int32_t index,
                 unsigned char *to) {
    int32_t blocks = source->in / TL_BLOCK;
    uint16_t *scales = (uint16_t *)to;
    unsigned char *values = to + (size_t)blocks * TL_PANEL * sizeof *scales;
    for (int32_t first = 0; first < TL_PANEL; first += VL) {
        const void *rows[VL];
        for (int lane = 0; lane < VL; lane++) {
            int32_t out = index * TL_PANEL + first + lane;
            rows[lane] = out < source->out ? tl_matrix_row(source, out) : NULL;
        }
        for (int32_t b = 0; b < blocks; b++) {
            vf x[TL_BLOCK];
            load_columns(source_type, rows, b * TL_BLOCK, x);
            pack_block(dtype, x, first, scales + (size_t)b * TL_PANEL,
                       values + (size_t)b * tl_block_bytes(dtype));
        }
    }
}

void TL_NAME(tl_pack_panel)(const tl_matrix *source, int32_t index, tl_dtype dtype,
                            unsigned char *to) {
    if (dtype == TL_Q8) {
        if (source->dtype == TL_F32) pack(TL_F32, TL_Q8, source, index, to);
        if (source->dtype == TL_BF16) pack(TL_BF16, TL_Q8, source, index, to);
        if (source->dtype == TL_F16) pack(TL_F16, TL_Q8, source, index, to);
    } else {
        if (source->dtype == TL_F32) pack(TL_F32, TL_Q4, source, index, to);
        if (source->dtype == TL_BF16) pack(TL_BF16, TL_Q4, source, index, to);
        if (source->dtype == TL_F16) pack(TL_F16, TL_Q4, source, index, to);
    }
}
