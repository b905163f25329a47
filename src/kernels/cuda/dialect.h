/* What the kernels are written in: the part of CUDA C++ that is C as well, so that the tests can
 * compile the same files for the host and run them on an emulated grid (tests/cuda). */
#ifndef TL_CUDA_DIALECT_H
#define TL_CUDA_DIALECT_H

#include "kernels/cuda/arguments.h"

#ifdef __CUDACC__

#include <cuda_fp16.h>

/* A kernel takes one structure, `a`. */
#define TL_KERNEL(name, type, threads)                                                             \
    extern "C" __global__ void __launch_bounds__(threads) name(const __grid_constant__ type a)
#define TL_INLINE    static __device__ __forceinline__
#define TL_UNROLL    _Pragma("unroll")
#define TL_NO_UNROLL _Pragma("unroll 1")
#define TL_DYNAMIC_SHARED(name)                                                                    \
    extern __shared__ float4 tl_cuda_shared[];                                                     \
    float *name = (float *)tl_cuda_shared

TL_INLINE float tl_half_bits(uint16_t bits) {
    return __half2float(__ushort_as_half(bits));
}

TL_INLINE float tl_bits_float(uint32_t bits) {
    return __uint_as_float(bits);
}

TL_INLINE uint32_t tl_float_bits(float value) {
    return __float_as_uint(value);
}

#else
#include "emulator.h"
#endif

#define TL_EVERY_LANE 0xffffffffu

/* One element of f32, f16 or bf16. */
TL_INLINE float tl_element(const void *data, int32_t dtype, int64_t at) {
    if (dtype == TL_F32) return ((const float *)data)[at];
    uint16_t bits = ((const uint16_t *)data)[at];
    return dtype == TL_F16 ? tl_half_bits(bits) : tl_bits_float((uint32_t)bits << 16);
}

TL_INLINE void tl_widen_pair(uint32_t pair, int32_t dtype, float *v) {
    v[0] = dtype == TL_F16 ? tl_half_bits((uint16_t)pair) : tl_bits_float(pair << 16);
    v[1] =
        dtype == TL_F16 ? tl_half_bits((uint16_t)(pair >> 16)) : tl_bits_float(pair & 0xffff0000u);
}

/* Four elements from `at`, of which `count` are there: zero beyond. `vector`: all four or none are,
 * and they are aligned. */
TL_INLINE void tl_load4(const void *data, int32_t dtype, int64_t at, int32_t count, bool vector,
                        float *v) {
    if (vector && count >= 4) {
        if (dtype == TL_F32) {
            float4 four = *(const float4 *)((const float *)data + at);
            v[0] = four.x, v[1] = four.y, v[2] = four.z, v[3] = four.w;
        } else {
            uint2 two = *(const uint2 *)((const uint16_t *)data + at);
            tl_widen_pair(two.x, dtype, v);
            tl_widen_pair(two.y, dtype, v + 2);
        }
        return;
    }
    TL_UNROLL for (int i = 0; i < 4; i++) v[i] = i < count ? tl_element(data, dtype, at + i) : 0;
}

/* Eight elements, likewise; `vector`: aligned to eight. */
TL_INLINE void tl_load8(const void *data, int32_t dtype, int64_t at, int32_t count, bool vector,
                        float *v) {
    if (vector && count >= 8 && dtype != TL_F32) {
        uint4 four = *(const uint4 *)((const uint16_t *)data + at);
        tl_widen_pair(four.x, dtype, v);
        tl_widen_pair(four.y, dtype, v + 2);
        tl_widen_pair(four.z, dtype, v + 4);
        tl_widen_pair(four.w, dtype, v + 6);
        return;
    }
    tl_load4(data, dtype, at, count, vector, v);
    tl_load4(data, dtype, at + 4, count - 4, vector, v + 4);
}

/* Sums and maxima over a warp, the same bits in every lane. */
TL_INLINE float tl_warp_sum(float value) {
    TL_UNROLL for (int step = 16; step > 0; step /= 2) value +=
        __shfl_xor_sync(TL_EVERY_LANE, value, step);
    return value;
}

TL_INLINE float tl_warp_max(float value) {
    TL_UNROLL for (int step = 16; step > 0; step /= 2) value =
        fmaxf(value, __shfl_xor_sync(TL_EVERY_LANE, value, step));
    return value;
}

/* Over a block of `threads`; `shared` has room for its warps. */
TL_INLINE float tl_block_sum(float value, int threads, float *shared) {
    int thread = (int)threadIdx.x;
    value = tl_warp_sum(value);
    __syncthreads();
    if (thread % 32 == 0) shared[thread / 32] = value;
    __syncthreads();
    float total = 0;
    for (int w = 0; w < threads / 32; w++)
        total += shared[w];
    return total;
}

#endif
