/* Four lanes in plain C: for any machine, and the measure of the others. */
#ifndef TL_KERNELS_VECTOR_PORTABLE_H
#define TL_KERNELS_VECTOR_PORTABLE_H

#include <math.h>

enum { VL = 4, TILE_ROWS = 3, V_DOT_SIGNED = 0, V_FMA_ROUNDS_ONCE = 0 };
enum { LANE_OUTS = 4, LANE_GROUPS = 3 };

typedef float vf __attribute__((vector_size(16)));
typedef int32_t vi __attribute__((vector_size(16)));

INLINE vf v_load(const float *p) {
    vf a;
    memcpy(&a, p, sizeof a);
    return a;
}
INLINE vf v_load_n(const float *p, int n) {
    vf a = {0};
    memcpy(&a, p, (size_t)n * sizeof *p);
    return a;
}
INLINE void v_store(float *p, vf a) {
    memcpy(p, &a, sizeof a);
}
INLINE void v_store_n(float *p, vf a, int n) {
    memcpy(p, &a, (size_t)n * sizeof *p);
}
INLINE void v_store_past(float *p, vf a) {
    v_store(p, a);
}
INLINE void v_store_past_end(void) {
}
INLINE vf v_set(float a) {
    return (vf){a, a, a, a};
}
INLINE vi v_set_int(int32_t a) {
    return (vi){a, a, a, a};
}
/* Rounded twice: fmaf() without the instruction is a hundred times slower. */
INLINE vf v_fma(vf a, vf b, vf c) {
    return a * b + c;
}
INLINE vf v_pick_(vi mask, vf yes, vf no) {
    return (vf)((mask & (vi)yes) | (~mask & (vi)no));
}
INLINE vf v_min(vf a, vf b) {
    return v_pick_(a < b, a, b);
}
INLINE vf v_max(vf a, vf b) {
    return v_pick_(a > b, a, b);
}
INLINE vf v_sqrt(vf a) {
    return (vf){sqrtf(a[0]), sqrtf(a[1]), sqrtf(a[2]), sqrtf(a[3])};
}
/* Adding 1.5 × 2²³ leaves no room for a fraction; larger values are whole already. */
INLINE vf v_round(vf a) {
    vf shifted = (a + v_set(0x1.8p23f)) - v_set(0x1.8p23f);
    vf magnitude = (vf)((vi)a & v_set_int(0x7fffffff));
    return v_pick_(magnitude < v_set(0x1p22f), shifted, a);
}
/* Out of range and NaN give INT32_MIN, as x86 has it. */
INLINE vi v_to_int(vf a) {
    vf whole = v_round(a);
    vi result;
    for (int i = 0; i < 4; i++)
        result[i] = whole[i] >= -0x1p31f && whole[i] < 0x1p31f ? (int32_t)whole[i] : INT32_MIN;
    return result;
}
INLINE vf v_from_int(vi a) {
    return (vf){(float)a[0], (float)a[1], (float)a[2], (float)a[3]};
}
INLINE vf v_load_bf16_n(const uint16_t *p, int n) {
    vi bits = {0};
    for (int i = 0; i < n; i++)
        bits[i] = (int32_t)((uint32_t)p[i] << 16);
    return (vf)bits;
}
INLINE vf v_load_bf16(const uint16_t *p) {
    return v_load_bf16_n(p, 4);
}
INLINE vf v_load_f16_n(const uint16_t *p, int n) {
    vf a = {0};
    for (int i = 0; i < n; i++)
        a[i] = tl_f16_to_f32(p[i]);
    return a;
}
INLINE vf v_load_f16(const uint16_t *p) {
    return v_load_f16_n(p, 4);
}
INLINE void v_store_f16(uint16_t *p, vf a) {
    for (int i = 0; i < 4; i++)
        p[i] = tl_f32_to_f16(a[i]);
}
INLINE void v_store_u16(uint16_t *p, vi a) {
    for (int i = 0; i < 4; i++)
        p[i] = (uint16_t)a[i];
}
INLINE vi v_load_i8(const int8_t *p) {
    return (vi){p[0], p[1], p[2], p[3]};
}
INLINE void v_store_i8(int8_t *p, vi a) {
    for (int i = 0; i < 4; i++)
        p[i] = (int8_t)(a[i] < -128 ? -128 : a[i] > 127 ? 127 : a[i]);
}
INLINE float v_sum1_(vf a) {
    return (a[0] + a[1]) + (a[2] + a[3]);
}
INLINE v4 v_sum4(vf a, vf b, vf c, vf d) {
    return (v4){v_sum1_(a), v_sum1_(b), v_sum1_(c), v_sum1_(d)};
}
INLINE int v_turn(int i) {
    return i;
}

INLINE float v_largest(vf a) {
    float low = a[0] > a[1] ? a[0] : a[1], high = a[2] > a[3] ? a[2] : a[3];
    return low > high ? low : high;
}
INLINE vi v_max_int(vi a, vi b) {
    vi more = a > b;
    return (more & a) | (~more & b);
}
INLINE int32_t v_largest_int(vi a) {
    int32_t low = a[0] > a[1] ? a[0] : a[1], high = a[2] > a[3] ? a[2] : a[3];
    return low > high ? low : high;
}
INLINE int32_t v_sum_int(vi a) {
    return (a[0] + a[1]) + (a[2] + a[3]);
}
INLINE vi v_dot4(vi c, vi w, vi x) {
    UNROLL for (int shift = 0; shift < 32; shift += 8) c +=
        ((w >> shift) & v_set_int(0xff)) * ((x << (24 - shift)) >> 24);
    return c;
}
INLINE void v_transpose(vf v[4]) {
    vf t[4] = {v[0], v[1], v[2], v[3]};
    for (int i = 0; i < 4; i++)
        v[i] = (vf){t[0][i], t[1][i], t[2][i], t[3][i]};
}

#endif
