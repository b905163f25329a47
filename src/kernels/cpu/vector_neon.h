/* NEON of ARMv8.0. What came later has files of its own: panel_neon.c and bf16_neon.c. */
#ifndef TL_KERNELS_VECTOR_NEON_H
#define TL_KERNELS_VECTOR_NEON_H

#include <arm_neon.h>

#define V_NEON 1
#if defined(__ARM_FEATURE_BF16_VECTOR_ARITHMETIC)
#define V_HAS_BFMMLA 1
#endif

enum { VL = 4, TILE_ROWS = 4, V_FMA_ROUNDS_ONCE = 1 };
enum { LANE_OUTS = 8, LANE_GROUPS = 3 };

typedef float32x4_t vf;
typedef int32x4_t vi;

INLINE vf v_load(const float *p) {
    return vld1q_f32(p);
}
INLINE vf v_load_n(const float *p, int n) {
    float lanes[4] = {0};
    memcpy(lanes, p, (size_t)n * sizeof *p);
    return vld1q_f32(lanes);
}
INLINE void v_store(float *p, vf a) {
    vst1q_f32(p, a);
}
INLINE void v_store_n(float *p, vf a, int n) {
    float lanes[4];
    vst1q_f32(lanes, a);
    memcpy(p, lanes, (size_t)n * sizeof *p);
}
INLINE void v_store_past(float *p, vf a) {
    v_store(p, a);
}
INLINE void v_store_past_end(void) {
}
INLINE vf v_set(float a) {
    return vdupq_n_f32(a);
}
INLINE vi v_set_int(int32_t a) {
    return vdupq_n_s32(a);
}
INLINE vf v_fma(vf a, vf b, vf c) {
    return vfmaq_f32(c, a, b);
}
INLINE vf v_min(vf a, vf b) {
    return vbslq_f32(vcltq_f32(a, b), a, b);
}
INLINE vf v_max(vf a, vf b) {
    return vbslq_f32(vcgtq_f32(a, b), a, b);
}
INLINE vf v_sqrt(vf a) {
    return vsqrtq_f32(a);
}
INLINE vf v_round(vf a) {
    return vrndnq_f32(a);
}
INLINE vi v_to_int(vf a) {
    return vcvtnq_s32_f32(a);
}
INLINE vf v_from_int(vi a) {
    return vcvtq_f32_s32(a);
}
INLINE uint16x4_t v_load_halves_n_(const uint16_t *p, int n) {
    uint16_t lanes[4] = {0};
    memcpy(lanes, p, (size_t)n * sizeof *p);
    return vld1_u16(lanes);
}
INLINE vf v_load_bf16(const uint16_t *p) {
    return vreinterpretq_f32_u32(vshll_n_u16(vld1_u16(p), 16));
}
#define V_HAS_PAIRS 1
INLINE void v_load_bf16_pair(const uint16_t *p, vf pair[2]) {
    uint16x8_t both = vld1q_u16(p);
    pair[0] = (vf)vshll_n_u16(vget_low_u16(both), 16);
    pair[1] = (vf)vshll_high_n_u16(both, 16);
}
INLINE void v_load_f16_pair(const uint16_t *p, vf pair[2]) {
    float16x8_t both = vreinterpretq_f16_u16(vld1q_u16(p));
    pair[0] = vcvt_f32_f16(vget_low_f16(both));
    pair[1] = vcvt_high_f32_f16(both);
}
INLINE vf v_load_bf16_n(const uint16_t *p, int n) {
    return vreinterpretq_f32_u32(vshll_n_u16(v_load_halves_n_(p, n), 16));
}
INLINE vf v_load_f16(const uint16_t *p) {
    return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p)));
}
INLINE vf v_load_f16_n(const uint16_t *p, int n) {
    return vcvt_f32_f16(vreinterpret_f16_u16(v_load_halves_n_(p, n)));
}
INLINE void v_store_f16(uint16_t *p, vf a) {
    vst1_u16(p, vreinterpret_u16_f16(vcvt_f16_f32(a)));
}
INLINE void v_store_u16(uint16_t *p, vi a) {
    vst1_u16(p, vmovn_u32(vreinterpretq_u32_s32(a)));
}
INLINE vi v_load_i8(const int8_t *p) {
    int8_t lanes[8] = {p[0], p[1], p[2], p[3]};
    return vmovl_s16(vget_low_s16(vmovl_s8(vld1_s8(lanes))));
}
INLINE void v_store_i8(int8_t *p, vi a) {
    int16x4_t words = vqmovn_s32(a);
    int8_t lanes[8];
    vst1_s8(lanes, vqmovn_s16(vcombine_s16(words, words)));
    memcpy(p, lanes, 4);
}
/* Neighbours are added first, then pairs. */
INLINE v4 v_sum4(vf a, vf b, vf c, vf d) {
    return vpaddq_f32(vpaddq_f32(a, b), vpaddq_f32(c, d));
}

INLINE int v_turn(int i) {
    return i;
}

INLINE float v_largest(vf a) {
    return vmaxvq_f32(a);
}
INLINE vi v_max_int(vi a, vi b) {
    return vmaxq_s32(a, b);
}
INLINE int32_t v_largest_int(vi a) {
    return vmaxvq_s32(a);
}
INLINE int32_t v_sum_int(vi a) {
    return vaddvq_s32(a);
}

/* Signed bytes on both sides. */
enum { V_DOT_SIGNED = 1 };
INLINE vi v_dot4(vi c, vi w, vi x) {
    int8x16_t a = vreinterpretq_s8_s32(w), b = vreinterpretq_s8_s32(x);
#if defined(__ARM_FEATURE_DOTPROD)
    return vdotq_s32(c, a, b);
#else
    int16x8_t low = vmull_s8(vget_low_s8(a), vget_low_s8(b));
    int16x8_t high = vmull_high_s8(a, b);
    return vaddq_s32(c, vpaddq_s32(vpaddlq_s16(low), vpaddlq_s16(high)));
#endif
}

INLINE void v_transpose(vf v[4]) {
    vf t0 = vtrn1q_f32(v[0], v[1]), t1 = vtrn2q_f32(v[0], v[1]);
    vf t2 = vtrn1q_f32(v[2], v[3]), t3 = vtrn2q_f32(v[2], v[3]);
    float64x2_t d0 = vreinterpretq_f64_f32(t0), d1 = vreinterpretq_f64_f32(t1);
    float64x2_t d2 = vreinterpretq_f64_f32(t2), d3 = vreinterpretq_f64_f32(t3);
    v[0] = vreinterpretq_f32_f64(vtrn1q_f64(d0, d2));
    v[1] = vreinterpretq_f32_f64(vtrn1q_f64(d1, d3));
    v[2] = vreinterpretq_f32_f64(vtrn2q_f64(d0, d2));
    v[3] = vreinterpretq_f32_f64(vtrn2q_f64(d1, d3));
}

#endif
