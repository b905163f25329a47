/* Kernels on rows: a block computes one row. */
#include "kernels/cuda/dialect.h"

TL_KERNEL(tl_cuda_embed_rows, tl_cuda_embed, TL_CUDA_ROW_THREADS) {
    int64_t from = a.ids[blockIdx.x] * a.stride;
    float *y = a.y + blockIdx.x * a.y_stride;
    for (int d = (int)threadIdx.x; d < a.dim; d += TL_CUDA_ROW_THREADS)
        y[d] = tl_element(a.data, a.dtype, from + d) * a.scale;
}

TL_KERNEL(tl_cuda_norm_rows, tl_cuda_norm, TL_CUDA_ROW_THREADS) {
    __shared__ float shared[TL_CUDA_ROW_THREADS / 32];
    const float *x = a.x + blockIdx.x * a.x_stride;
    float *y = a.y + blockIdx.x * a.y_stride;
    float sum = 0, mean = 0, squares = 0;
    if (!a.rms) {
        for (int d = (int)threadIdx.x; d < a.dim; d += TL_CUDA_ROW_THREADS)
            sum += x[d];
        mean = tl_block_sum(sum, TL_CUDA_ROW_THREADS, shared) / (float)a.dim;
    }
    for (int d = (int)threadIdx.x; d < a.dim; d += TL_CUDA_ROW_THREADS)
        squares = fmaf(x[d] - mean, x[d] - mean, squares);
    float variance = tl_block_sum(squares, TL_CUDA_ROW_THREADS, shared) / (float)a.dim;
    float factor = 1.0f / sqrtf(variance + a.eps);
    for (int d = (int)threadIdx.x; d < a.dim; d += TL_CUDA_ROW_THREADS) {
        float value = (x[d] - mean) * factor;
        if (a.weight) value *= a.weight[d];
        if (a.bias) value += a.bias[d];
        y[d] = value;
    }
}

TL_KERNEL(tl_cuda_move_rows, tl_cuda_move, TL_CUDA_ROW_THREADS) {
    int64_t from = a.from ? a.from[blockIdx.x] : (int64_t)blockIdx.x;
    int64_t to = a.to ? a.to[blockIdx.x] : (int64_t)blockIdx.x;
    if (to < 0) return;
    const float *x = a.x + from * a.x_stride;
    float *y = a.y + to * a.y_stride;
    for (int d = (int)threadIdx.x; d < a.dim; d += TL_CUDA_ROW_THREADS)
        y[d] = a.add ? y[d] + x[d] * a.scale : x[d] * a.scale;
}

TL_KERNEL(tl_cuda_rotate_rows, tl_cuda_rotate, TL_CUDA_ROW_THREADS) {
    int64_t table = (int64_t)a.table_rows[blockIdx.x] * a.half;
    for (int i = (int)threadIdx.x; i < a.heads * a.half; i += TL_CUDA_ROW_THREADS) {
        int head = i / a.half, d = i % a.half;
        float *x = a.x + blockIdx.x * a.x_stride + (int64_t)head * a.head_dim + d;
        float c = a.cosines[table + d], s = a.sines[table + d];
        float low = x[0], high = x[a.half];
        x[0] = low * c - high * s;
        x[a.half] = high * c + low * s;
    }
}

/* To nearest, ties to even; NaN stays NaN. */
TL_INLINE uint16_t to_bf16(float value) {
    uint32_t bits = tl_float_bits(value);
    if ((bits & 0x7fffffffu) > 0x7f800000u) return (uint16_t)(bits >> 16 | 0x40);
    return (uint16_t)((bits + 0x7fffu + (bits >> 16 & 1)) >> 16);
}

TL_KERNEL(tl_cuda_to_bf16, tl_cuda_round, TL_CUDA_ROW_THREADS) {
    const float *x = a.x + blockIdx.x * a.x_stride;
    uint16_t *y = a.y + (int64_t)blockIdx.x * a.in;
    for (int d = (int)threadIdx.x; d < a.in; d += TL_CUDA_ROW_THREADS)
        y[d] = to_bf16(x[d]);
}
