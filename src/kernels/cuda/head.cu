/* Kernels that read logits. */
#include "kernels/cuda/dialect.h"

/* The first maximum of two. */
TL_INLINE bool better(float value, int32_t at, float than, int32_t than_at) {
    return value > than || (value == than && at < than_at);
}

/* A block reads a row: log Σ exp, and the index of the first maximum. */
TL_KERNEL(tl_cuda_read_rows, tl_cuda_read, TL_CUDA_READ_THREADS) {
    __shared__ float values[TL_CUDA_READ_THREADS];
    __shared__ int32_t places[TL_CUDA_READ_THREADS];
    __shared__ float sums[TL_CUDA_READ_THREADS / 32];
    const float *x = a.logits + blockIdx.x * a.stride;
    int thread = (int)threadIdx.x;
    float most = -INFINITY;
    int32_t place = INT32_MAX;
    for (int i = thread; i < a.n; i += TL_CUDA_READ_THREADS) {
        if (!better(x[i], i, most, place)) continue;
        most = x[i];
        place = i;
    }
    values[thread] = most;
    places[thread] = place;
    __syncthreads();
    for (int step = TL_CUDA_READ_THREADS / 2; step > 0; step /= 2) {
        if (thread < step &&
            better(values[thread + step], places[thread + step], values[thread], places[thread])) {
            values[thread] = values[thread + step];
            places[thread] = places[thread + step];
        }
        __syncthreads();
    }
    most = values[0];
    float sum = 0;
    for (int i = thread; i < a.n; i += TL_CUDA_READ_THREADS)
        sum += expf(x[i] - most);
    sum = tl_block_sum(sum, TL_CUDA_READ_THREADS, sums);
    if (thread != 0) return;
    a.logsumexp[blockIdx.x] = (double)most + log((double)sum);
    a.argmax[blockIdx.x] = places[0] < a.n ? places[0] : 0;
}

TL_KERNEL(tl_cuda_pick_values, tl_cuda_pick, TL_CUDA_ROW_THREADS) {
    int i = (int)blockIdx.x * TL_CUDA_ROW_THREADS + (int)threadIdx.x;
    if (i < a.count) a.values[i] = a.logits[a.rows[i] * a.stride + a.tokens[i]];
}
