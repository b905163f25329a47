/* AVX-512 F, BW, DQ, VL; VNNI and BF16 where the compiler's flags have them. */
#ifndef TL_KERNELS_VECTOR_AVX512_H
#define TL_KERNELS_VECTOR_AVX512_H

#include <immintrin.h>

enum { VL = 16, TILE_ROWS = 6, V_DOT_SIGNED = 0, V_FMA_ROUNDS_ONCE = 1 };
enum { LANE_OUTS = 8, LANE_GROUPS = 3 };

typedef __m512 vf;
typedef int32_t vi __attribute__((vector_size(64)));

INLINE __mmask16 v_mask_(int n) {
    return (__mmask16)((1u << n) - 1);
}
INLINE vf v_load(const float *p) {
    return _mm512_loadu_ps(p);
}
INLINE vf v_load_n(const float *p, int n) {
    return _mm512_maskz_loadu_ps(v_mask_(n), p);
}
INLINE void v_store(float *p, vf a) {
    _mm512_storeu_ps(p, a);
}
INLINE void v_store_n(float *p, vf a, int n) {
    _mm512_mask_storeu_ps(p, v_mask_(n), a);
}
INLINE void v_store_past(float *p, vf a) {
    _mm512_stream_ps(p, a);
}
INLINE void v_store_past_end(void) {
    _mm_sfence();
}
INLINE vf v_set(float a) {
    return _mm512_set1_ps(a);
}
INLINE vi v_set_int(int32_t a) {
    return (vi)_mm512_set1_epi32(a);
}
INLINE vf v_fma(vf a, vf b, vf c) {
    return _mm512_fmadd_ps(a, b, c);
}
INLINE vf v_min(vf a, vf b) {
    return _mm512_min_ps(a, b);
}
INLINE vf v_max(vf a, vf b) {
    return _mm512_max_ps(a, b);
}
INLINE vf v_sqrt(vf a) {
    return _mm512_sqrt_ps(a);
}
INLINE vf v_round(vf a) {
    return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
INLINE vi v_to_int(vf a) {
    return (vi)_mm512_cvtps_epi32(a);
}
INLINE vf v_from_int(vi a) {
    return _mm512_cvtepi32_ps((__m512i)a);
}
#define V_HAS_POWERS 1
INLINE vf v_times_power(vf a, vf n) {
    return _mm512_scalef_ps(a, n);
}
/* An estimate within 2⁻¹⁴, and one of Newton's steps. */
INLINE vf v_inverse(vf a) {
    vf estimate = _mm512_rcp14_ps(a);
    return _mm512_fmadd_ps(estimate, _mm512_fnmadd_ps(a, estimate, v_set(1.0f)), estimate);
}
INLINE vf v_widen_bf16_(__m256i a) {
    return (vf)_mm512_slli_epi32(_mm512_cvtepu16_epi32(a), 16);
}
INLINE vf v_load_bf16(const uint16_t *p) {
    return v_widen_bf16_(_mm256_loadu_si256((const __m256i *)p));
}
INLINE vf v_load_bf16_n(const uint16_t *p, int n) {
    return v_widen_bf16_(_mm256_maskz_loadu_epi16(v_mask_(n), p));
}
INLINE vf v_load_f16(const uint16_t *p) {
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)p));
}
INLINE vf v_load_f16_n(const uint16_t *p, int n) {
    return _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(v_mask_(n), p));
}
INLINE void v_store_f16(uint16_t *p, vf a) {
    _mm256_storeu_si256((__m256i *)p, _mm512_cvtps_ph(a, _MM_FROUND_TO_NEAREST_INT));
}
INLINE void v_store_u16(uint16_t *p, vi a) {
    _mm256_storeu_si256((__m256i *)p, _mm512_cvtepi32_epi16((__m512i)a));
}
INLINE vi v_load_i8(const int8_t *p) {
    return (vi)_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)p));
}
INLINE void v_store_i8(int8_t *p, vi a) {
    _mm_storeu_si128((__m128i *)p, _mm512_cvtsepi32_epi8((__m512i)a));
}

/* Lanes 8 apart are added first, then 4, 2 and 1 apart. */
INLINE v4 v_sum4(vf a, vf b, vf c, vf d) {
    vf ab = _mm512_mask_blend_ps(0xff00, a, b) + _mm512_shuffle_f32x4(a, b, 0x4e);
    vf cd = _mm512_mask_blend_ps(0xff00, c, d) + _mm512_shuffle_f32x4(c, d, 0x4e);
    /* ab: [a02 a13 b20 b31], in groups of four lanes */
    vf all = _mm512_shuffle_f32x4(ab, cd, 0x88) + _mm512_shuffle_f32x4(ab, cd, 0xdd);
    all = all + _mm512_permute_ps(all, 0x4e);
    all = all + _mm512_permute_ps(all, 0xb1);
    const __m512i first = _mm512_setr_epi32(0, 4, 8, 12, 0, 4, 8, 12, 0, 4, 8, 12, 0, 4, 8, 12);
    return _mm512_castps512_ps128(_mm512_permutexvar_ps(first, all));
}

INLINE int v_turn(int i) {
    return (i & 1) << 3 | (i & 2) << 1 | (i & 4) >> 1 | (i & 8) >> 3;
}

INLINE float v_largest(vf a) {
    return _mm512_reduce_max_ps(a);
}
INLINE vi v_max_int(vi a, vi b) {
    return (vi)_mm512_max_epi32((__m512i)a, (__m512i)b);
}
INLINE int32_t v_largest_int(vi a) {
    return _mm512_reduce_max_epi32((__m512i)a);
}
INLINE int32_t v_sum_int(vi a) {
    return _mm512_reduce_add_epi32((__m512i)a);
}

#define V_HAS_FOURS 1
INLINE __m128i v_halves_(__m512i all, bool largest) {
    __m256i low = _mm512_castsi512_si256(all), high = _mm512_extracti64x4_epi64(all, 1);
    __m256i half = largest ? _mm256_max_epi32(low, high) : _mm256_add_epi32(low, high);
    __m128i first = _mm256_castsi256_si128(half), second = _mm256_extracti128_si256(half, 1);
    return largest ? _mm_max_epi32(first, second) : _mm_add_epi32(first, second);
}
INLINE __m512i v_pair_(__m512i a, __m512i b, bool largest) {
    return largest ? _mm512_max_epi32(a, b) : _mm512_add_epi32(a, b);
}
INLINE __m128i v_four_(const vi v[4], bool largest) {
    __m512i a = (__m512i)v[0], b = (__m512i)v[1], c = (__m512i)v[2], d = (__m512i)v[3];
    __m512i ab = v_pair_(_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b), largest);
    __m512i cd = v_pair_(_mm512_unpacklo_epi32(c, d), _mm512_unpackhi_epi32(c, d), largest);
    return v_halves_(v_pair_(_mm512_unpacklo_epi64(ab, cd), _mm512_unpackhi_epi64(ab, cd), largest),
                     largest);
}
INLINE i4 v_largest_int4(const vi v[4]) {
    return (i4)v_four_(v, true);
}
INLINE i4 v_sum_int4(const vi v[4]) {
    return (i4)v_four_(v, false);
}

#if !defined(__AVX512VNNI__)
#define V_BY_WORDS 1
INLINE vi v_mul_bytes(vi w, vi x) {
    return (vi)_mm512_maddubs_epi16((__m512i)w, (__m512i)x);
}
INLINE vi v_add_words(vi a, vi b) {
    return (vi)_mm512_add_epi16((__m512i)a, (__m512i)b);
}
INLINE vi v_add_pairs(vi a, int16_t factor) {
    return (vi)_mm512_madd_epi16((__m512i)a, _mm512_set1_epi16(factor));
}
#endif

INLINE vi v_dot4(vi c, vi w, vi x) {
#if defined(__AVX512VNNI__)
    return (vi)_mm512_dpbusd_epi32((__m512i)c, (__m512i)w, (__m512i)x);
#else
    const __m512i even = _mm512_set1_epi16(0x00ff);
    __m512i low = _mm512_madd_epi16(_mm512_and_si512((__m512i)w, even),
                                    _mm512_srai_epi16(_mm512_slli_epi16((__m512i)x, 8), 8));
    __m512i high =
        _mm512_madd_epi16(_mm512_srli_epi16((__m512i)w, 8), _mm512_srai_epi16((__m512i)x, 8));
    return c + (vi)low + (vi)high;
#endif
}
/* GCC does not let the instruction itself repeat what it reads, which makes two of one. */
#if defined(__AVX512VNNI__) && !defined(__clang__)
INLINE vi v_dot4_all(vi c, vi w, const int32_t *x) {
    __asm__("vpdpbusd %2%{1to16%}, %1, %0" : "+v"(c) : "v"(w), "m"(*x));
    return c;
}
#define V_HAS_DOT4_ALL 1
#endif

#if defined(__AVX512BF16__)
#define V_HAS_BF16 1
typedef __m512i vb;
INLINE vb v_load_vb(const uint16_t *p) {
    return _mm512_loadu_si512(p);
}
INLINE vb v_load_vb_n(const uint16_t *p, int n) {
    return _mm512_maskz_loadu_epi16((__mmask32)(((uint64_t)1 << n) - 1), p);
}
INLINE vb v_narrow_vb(vf low, vf high) {
    return (vb)_mm512_cvtne2ps_pbh(high, low);
}
INLINE vf v_dot_bf16(vf c, vb a, vb b) {
    return _mm512_dpbf16_ps(c, (__m512bh)a, (__m512bh)b);
}
#endif

INLINE void v_transpose(vf v[16]) {
    __m512d *d = (__m512d *)v;
    vf t[16];
    __m512d u[16];
    UNROLL for (int i = 0; i < 8; i++) {
        t[2 * i] = _mm512_unpacklo_ps(v[2 * i], v[2 * i + 1]);
        t[2 * i + 1] = _mm512_unpackhi_ps(v[2 * i], v[2 * i + 1]);
    }
    UNROLL for (int i = 0; i < 4; i++) {
        const vf *s = t + 4 * i;
        u[4 * i] = _mm512_unpacklo_pd((__m512d)s[0], (__m512d)s[2]);
        u[4 * i + 1] = _mm512_unpackhi_pd((__m512d)s[0], (__m512d)s[2]);
        u[4 * i + 2] = _mm512_unpacklo_pd((__m512d)s[1], (__m512d)s[3]);
        u[4 * i + 3] = _mm512_unpackhi_pd((__m512d)s[1], (__m512d)s[3]);
    }
    /* u[4 i + j]: column j, j+4, j+8, j+12 of rows 4 i … 4 i + 3, in groups of four lanes */
    UNROLL for (int j = 0; j < 4; j++) {
        vf p = _mm512_shuffle_f32x4((vf)u[j], (vf)u[4 + j], 0x88);
        vf q = _mm512_shuffle_f32x4((vf)u[8 + j], (vf)u[12 + j], 0x88);
        vf r = _mm512_shuffle_f32x4((vf)u[j], (vf)u[4 + j], 0xdd);
        vf s = _mm512_shuffle_f32x4((vf)u[8 + j], (vf)u[12 + j], 0xdd);
        d[j] = (__m512d)_mm512_shuffle_f32x4(p, q, 0x88);
        d[8 + j] = (__m512d)_mm512_shuffle_f32x4(p, q, 0xdd);
        d[4 + j] = (__m512d)_mm512_shuffle_f32x4(r, s, 0x88);
        d[12 + j] = (__m512d)_mm512_shuffle_f32x4(r, s, 0xdd);
    }
}

#endif
