/* The CUDA dialect of src/kernels/cuda/dialect.h for the host: a grid runs block after block, a
 * block's threads are fibers that take turns at barriers and shuffles (grid.c). It shows mistakes
 * of indexing, of barriers (threads take turns in two orders), and of arithmetic. It is not a GPU:
 * nothing here runs at the same time. */
#ifndef TESTS_CUDA_EMULATOR_H
#define TESTS_CUDA_EMULATOR_H

#include <cuda_runtime_api.h>
#include <math.h>
#include <stddef.h>
#include <stdint.h>

typedef struct __attribute__((aligned(16))) float4 {
    float x, y, z, w;
} float4;

typedef struct __attribute__((aligned(8))) uint2 {
    uint32_t x, y;
} uint2;

typedef struct __attribute__((aligned(16))) uint4 {
    uint32_t x, y, z, w;
} uint4;

/* Where the running thread is. */
typedef struct emulated_place {
    dim3 thread, block;
} emulated_place;

extern emulated_place emulated;

void emulated_barrier(void);
void emulated_warp_barrier(void);
/* What the lane `from` of this warp hands over. */
float emulated_exchange(float value, int from);
float *emulated_dynamic_shared(void);

#define threadIdx emulated.thread
#define blockIdx  emulated.block

#define __shared__    static /* one block runs at a time */
#define __align__(n)  __attribute__((aligned(n)))
#define __syncthreads emulated_barrier
#define __syncwarp    emulated_warp_barrier
#define __shfl_xor_sync(lanes, value, step)                                                        \
    ((void)(lanes), emulated_exchange(value, (int)(threadIdx.x % 32) ^ (step)))

/* A kernel is called with the address of its structure. */
#define TL_KERNEL(name, type, threads)                                                             \
    static void name##_body(const type a);                                                         \
    void name(const void *arguments);                                                              \
    void name(const void *arguments) {                                                             \
        _Static_assert((threads) <= 256, "the emulation has 256 fibers");                          \
        name##_body(*(const type *)arguments);                                                     \
    }                                                                                              \
    static void name##_body(const type a)
#define TL_INLINE static inline
#define TL_UNROLL
#define TL_NO_UNROLL
#define TL_DYNAMIC_SHARED(name) float *name = emulated_dynamic_shared()

static inline float tl_bits_float(uint32_t bits) {
    union {
        uint32_t bits;
        float value;
    } both = {bits};
    return both.value;
}

static inline uint32_t tl_float_bits(float value) {
    union {
        float value;
        uint32_t bits;
    } both = {value};
    return both.bits;
}

static inline float tl_half_bits(uint16_t bits) {
    return tl_f16_to_f32(bits);
}

#endif
