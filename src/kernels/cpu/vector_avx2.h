/* AVX2, FMA, F16C; AVX-VNNI where the compiler's flags have it. */
#ifndef TL_KERNELS_VECTOR_AVX2_H
#define TL_KERNELS_VECTOR_AVX2_H

#include <immintrin.h>

enum { VL = 8, TILE_ROWS = 3, V_DOT_SIGNED = 0, V_FMA_ROUNDS_ONCE = 1 };
enum { LANE_OUTS = 4, LANE_GROUPS = 3 };

typedef __m256 vf;
typedef int32_t vi __attribute__((vector_size(32)));

INLINE __m256i v_mask_(int n) {
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
INLINE vf v_load(const float *p) {
    return _mm256_loadu_ps(p);
}
INLINE vf v_load_n(const float *p, int n) {
    return _mm256_maskload_ps(p, v_mask_(n));
}
INLINE void v_store(float *p, vf a) {
    _mm256_storeu_ps(p, a);
}
INLINE void v_store_n(float *p, vf a, int n) {
    _mm256_maskstore_ps(p, v_mask_(n), a);
}
INLINE void v_store_past(float *p, vf a) {
    _mm256_stream_ps(p, a);
}
INLINE void v_store_past_end(void) {
    _mm_sfence();
}
INLINE vf v_set(float a) {
    return _mm256_set1_ps(a);
}
INLINE vi v_set_int(int32_t a) {
    return (vi)_mm256_set1_epi32(a);
}
INLINE vf v_fma(vf a, vf b, vf c) {
    return _mm256_fmadd_ps(a, b, c);
}
INLINE vf v_min(vf a, vf b) {
    return _mm256_min_ps(a, b);
}
INLINE vf v_max(vf a, vf b) {
    return _mm256_max_ps(a, b);
}
INLINE vf v_sqrt(vf a) {
    return _mm256_sqrt_ps(a);
}
INLINE vf v_round(vf a) {
    return _mm256_round_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
INLINE vi v_to_int(vf a) {
    return (vi)_mm256_cvtps_epi32(a);
}
INLINE vf v_from_int(vi a) {
    return _mm256_cvtepi32_ps((__m256i)a);
}
INLINE __m128i v_load_halves_n_(const uint16_t *p, int n) {
    uint16_t lanes[8] = {0};
    memcpy(lanes, p, (size_t)n * sizeof *p);
    return _mm_loadu_si128((const __m128i *)lanes);
}
INLINE vf v_widen_bf16_(__m128i a) {
    return (vf)_mm256_slli_epi32(_mm256_cvtepu16_epi32(a), 16);
}
INLINE vf v_load_bf16(const uint16_t *p) {
    return v_widen_bf16_(_mm_loadu_si128((const __m128i *)p));
}
INLINE vf v_load_bf16_n(const uint16_t *p, int n) {
    return v_widen_bf16_(v_load_halves_n_(p, n));
}
INLINE vf v_load_f16(const uint16_t *p) {
    return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)p));
}
INLINE vf v_load_f16_n(const uint16_t *p, int n) {
    return _mm256_cvtph_ps(v_load_halves_n_(p, n));
}
INLINE void v_store_f16(uint16_t *p, vf a) {
    _mm_storeu_si128((__m128i *)p, _mm256_cvtps_ph(a, _MM_FROUND_TO_NEAREST_INT));
}
INLINE void v_store_u16(uint16_t *p, vi a) {
    __m128i low = _mm256_castsi256_si128((__m256i)a);
    _mm_storeu_si128((__m128i *)p, _mm_packus_epi32(low, _mm256_extracti128_si256((__m256i)a, 1)));
}
INLINE vi v_load_i8(const int8_t *p) {
    return (vi)_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)p));
}
INLINE void v_store_i8(int8_t *p, vi a) {
    __m128i words = _mm_packs_epi32(_mm256_castsi256_si128((__m256i)a),
                                    _mm256_extracti128_si256((__m256i)a, 1));
    _mm_storel_epi64((__m128i *)p, _mm_packs_epi16(words, words));
}

/* Neighbours are added first, then pairs, then the two halves. */
INLINE v4 v_sum4(vf a, vf b, vf c, vf d) {
    vf all = _mm256_hadd_ps(_mm256_hadd_ps(a, b), _mm256_hadd_ps(c, d));
    return _mm256_castps256_ps128(all) + _mm256_extractf128_ps(all, 1);
}

INLINE int v_turn(int i) {
    return i;
}

INLINE float v_largest(vf a) {
    __m128 half = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    half = _mm_max_ps(half, _mm_movehl_ps(half, half));
    return _mm_cvtss_f32(_mm_max_ss(half, _mm_movehdup_ps(half)));
}
INLINE vi v_max_int(vi a, vi b) {
    return (vi)_mm256_max_epi32((__m256i)a, (__m256i)b);
}
INLINE int32_t v_largest_int(vi a) {
    __m128i half =
        _mm_max_epi32(_mm256_castsi256_si128((__m256i)a), _mm256_extracti128_si256((__m256i)a, 1));
    half = _mm_max_epi32(half, _mm_shuffle_epi32(half, 0x4e));
    return _mm_cvtsi128_si32(_mm_max_epi32(half, _mm_shuffle_epi32(half, 0xb1)));
}
INLINE int32_t v_sum_int(vi a) {
    __m128i half =
        _mm_add_epi32(_mm256_castsi256_si128((__m256i)a), _mm256_extracti128_si256((__m256i)a, 1));
    half = _mm_add_epi32(half, _mm_shuffle_epi32(half, 0x4e));
    return _mm_cvtsi128_si32(_mm_add_epi32(half, _mm_shuffle_epi32(half, 0xb1)));
}

#if !defined(__AVXVNNI__)
#define V_BY_WORDS 1
INLINE vi v_mul_bytes(vi w, vi x) {
    return (vi)_mm256_maddubs_epi16((__m256i)w, (__m256i)x);
}
INLINE vi v_add_words(vi a, vi b) {
    return (vi)_mm256_add_epi16((__m256i)a, (__m256i)b);
}
INLINE vi v_add_pairs(vi a, int16_t factor) {
    return (vi)_mm256_madd_epi16((__m256i)a, _mm256_set1_epi16(factor));
}
#endif

INLINE vi v_dot4(vi c, vi w, vi x) {
#if defined(__AVXVNNI__)
    return (vi)_mm256_dpbusd_avx_epi32((__m256i)c, (__m256i)w, (__m256i)x);
#else
    /* Bytes as 16-bit numbers, even and odd ones apart: maddubs would saturate. */
    const __m256i even = _mm256_set1_epi16(0x00ff);
    __m256i low = _mm256_madd_epi16(_mm256_and_si256((__m256i)w, even),
                                    _mm256_srai_epi16(_mm256_slli_epi16((__m256i)x, 8), 8));
    __m256i high =
        _mm256_madd_epi16(_mm256_srli_epi16((__m256i)w, 8), _mm256_srai_epi16((__m256i)x, 8));
    return c + (vi)low + (vi)high;
#endif
}

INLINE void v_transpose(vf v[8]) {
    vf t[8], u[8];
    UNROLL for (int i = 0; i < 4; i++) {
        t[2 * i] = _mm256_unpacklo_ps(v[2 * i], v[2 * i + 1]);
        t[2 * i + 1] = _mm256_unpackhi_ps(v[2 * i], v[2 * i + 1]);
    }
    UNROLL for (int i = 0; i < 2; i++) {
        const vf *s = t + 4 * i;
        u[4 * i] = _mm256_shuffle_ps(s[0], s[2], 0x44);
        u[4 * i + 1] = _mm256_shuffle_ps(s[0], s[2], 0xee);
        u[4 * i + 2] = _mm256_shuffle_ps(s[1], s[3], 0x44);
        u[4 * i + 3] = _mm256_shuffle_ps(s[1], s[3], 0xee);
    }
    UNROLL for (int j = 0; j < 4; j++) {
        v[j] = _mm256_permute2f128_ps(u[j], u[4 + j], 0x20);
        v[4 + j] = _mm256_permute2f128_ps(u[j], u[4 + j], 0x31);
    }
}

#endif
