/* The vectors that the kernels are written on.
 *
 * `vf` holds VL floats and `vi` VL 32-bit integers; both take the C operators (GCC's and clang's
 * vector extensions), casts between them keep the bits, and comparisons give vi masks of 0 and -1.
 * The rest, one header for each instruction set, chosen by the compiler's own macros:
 *
 *   v_load, v_load_n, v_store, v_store_n     f32 memory; _n touches only the first n lanes, and
 *                                            loads zero into the others
 *   v_store_past(p, a), v_store_past_end()   past the caches, for whole lines that are not read
 *                                            soon; p aligned to the vector. Others see them after
 *                                            the second
 *   v_load_bf16, v_load_f16, …_n, …_pair     widening loads; _pair of two vectors side by side
 *   v_set, v_set_int                         one value in every lane
 *   v_fma(a, b, c)                           a b + c, rounded once where V_FMA_ROUNDS_ONCE
 *   v_min, v_max                             the second operand where either is NaN
 *   v_round, v_to_int, v_from_int            to the nearest even integer
 *   v_sqrt
 *   v_times_power(a, n)                      a 2ⁿ, n integral within -151 … 128
 *   v_inverse(a)                             1 / a within 1 ulp, 1 ≤ a ≤ 2¹²⁶
 *   v_sum4(a, b, c, d)                       the four sums of all lanes, by one fixed tree
 *   v_turn(i)                                the lane that is i-th in this tree, read from left to
 *                                            right
 *   v_store_u16, v_store_i8                  lanes cut to 16 bits, saturated to 8
 *   v_largest, v_largest_int, v_sum_int      of all lanes: exact in any order
 *   v_largest_int4, v_sum_int4(v)            the same of each of four vectors
 *   v_max_int
 *   v_load_i8(p)                             VL signed bytes → vi
 *   v_dot4(c, w, x)                          per 32-bit lane: c + Σ of 4 products of bytes of w
 *                                            (unsigned; signed where V_DOT_SIGNED) and x (signed)
 *   v_dot4_all(c, w, p)                      v_dot4 of w and what is at p, repeated in all lanes
 *   v_mul_bytes(w, x)                        16-bit lanes: sums of 2 products of bytes, saturated
 *   v_add_words, v_add_pairs(a, factor)      of 16-bit lanes; two by two, times factor → vi. These
 *                                            three only where V_BY_WORDS: v_dot4 is slow there
 *   vb, v_load_vb, v_load_vb_n, v_narrow_vb, v_dot_bf16(c, a, b)
 *                                            2 VL bf16; per 32-bit lane c + Σ of 2 products; only
 *                                            where V_HAS_BF16
 *   v_transpose(v)                           VL vectors as a VL × VL matrix
 *
 * TILE_ROWS × 4 is the shape of a register block in the dot form (rows × outputs), LANE_OUTS ×
 * LANE_GROUPS in many.c (outputs × vectors of rows). */
#ifndef TL_KERNELS_VECTOR_H
#define TL_KERNELS_VECTOR_H

#include "base/dtype.h"

#include <stdint.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline))

#if defined(__clang__)
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 64")
#endif

typedef float v4 __attribute__((vector_size(16)));
typedef int32_t i4 __attribute__((vector_size(16)));

#if defined(TL_PORTABLE)
#include "kernels/cpu/vector_portable.h"
#elif defined(__AVX512F__)
#include "kernels/cpu/vector_avx512.h"
#elif defined(__AVX2__)
#include "kernels/cpu/vector_avx2.h"
#elif defined(__ARM_NEON)
#include "kernels/cpu/vector_neon.h"
#else
#include "kernels/cpu/vector_portable.h"
#endif

/* A function's or table's name in this instantiation: name_avx512 and so on. */
#define TL_JOIN_(a, b) a##_##b
#define TL_JOIN(a, b)  TL_JOIN_(a, b)
#define TL_NAME(name)  TL_JOIN(name, TL_ISA)

INLINE vf v_zero(void) {
    return v_set(0.0f);
}

#if !defined(V_HAS_DOT4_ALL)
INLINE vi v_dot4_all(vi c, vi w, const int32_t *x) {
    return v_dot4(c, w, v_set_int(*x));
}
#endif

#if !defined(V_HAS_FOURS)
INLINE i4 v_largest_int4(const vi v[4]) {
    return (i4){v_largest_int(v[0]), v_largest_int(v[1]), v_largest_int(v[2]), v_largest_int(v[3])};
}
INLINE i4 v_sum_int4(const vi v[4]) {
    return (i4){v_sum_int(v[0]), v_sum_int(v[1]), v_sum_int(v[2]), v_sum_int(v[3])};
}
#endif

#if !defined(V_HAS_PAIRS)
INLINE void v_load_bf16_pair(const uint16_t *p, vf pair[2]) {
    pair[0] = v_load_bf16(p);
    pair[1] = v_load_bf16(p + VL);
}
INLINE void v_load_f16_pair(const uint16_t *p, vf pair[2]) {
    pair[0] = v_load_f16(p);
    pair[1] = v_load_f16(p + VL);
}
#endif

#if !defined(V_HAS_POWERS)
/* Two factors: n may be -151 or 128. */
INLINE vf v_times_power(vf a, vf n) {
    vi whole = v_to_int(n), half = whole >> 1;
    return a * (vf)((half + v_set_int(127)) << 23) * (vf)((whole - half + v_set_int(127)) << 23);
}
INLINE vf v_inverse(vf a) {
    return v_set(1.0f) / a;
}
#endif

INLINE vf v_select(vi mask, vf yes, vf no) {
    return (vf)((mask & (vi)yes) | (~mask & (vi)no));
}

INLINE vf v_abs(vf a) {
    return (vf)((vi)a & v_set_int(0x7fffffff));
}

/* The sum of all lanes, by the tree of v_sum4. */
INLINE float v_sum(vf a) {
    return v_sum4(a, a, a, a)[0];
}

/* 0, 1, 2 … */
INLINE vi v_iota(void) {
    static const int32_t lanes[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    vi result;
    memcpy(&result, lanes, sizeof result);
    return result;
}

/* -1 in the first n lanes, 0 in the others. */
INLINE vi v_first(int n) {
    return v_iota() < v_set_int(n);
}

#endif
