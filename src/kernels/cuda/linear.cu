/* Products y = x · Wᵀ in f32, weights widened as they are read.
 *
 * An element is Σ over pieces of 64 columns of (Σ within the piece, one fused multiply-add after
 * the other). Both kernels below keep to it: the tiles add piece after piece, the kernels for few
 * rows compute pieces side by side and add them in the same order. So the bits of an element depend
 * on its row and its weights alone. */
#include "kernels/cuda/dialect.h"
#include "kernels/kernels.h"

TL_INLINE float activate(int32_t activation, float x) {
    if (activation == TL_ACTIVATION_RELU) return x > 0 ? x : 0;
    if (activation == TL_ACTIVATION_GELU) return 0.5f * x * (1 + erff(x * 0.70710678118654752f));
    if (activation == TL_ACTIVATION_GELU_TANH)
        return 0.5f * x * (1 + tanhf(0.79788456080286536f * (x + 0.044715f * x * x * x)));
    if (activation == TL_ACTIVATION_GELU_QUICK) return x / (1 + expf(-1.702f * x));
    if (activation == TL_ACTIVATION_SILU) return x / (1 + expf(-x));
    return x;
}

/* Stores activation(sum + bias) ⊙ (gate + gate_bias) + residual. */
TL_INLINE void finish(const tl_cuda_product *p, int64_t row, int32_t out, float sum, float gate) {
    int32_t column = p->columns ? p->columns[out] : out;
    if (p->bias) sum += p->bias[column];
    sum = activate(p->activation, sum);
    if (p->gate) sum *= p->gate_bias ? gate + p->gate_bias[column] : gate;
    if (p->residual) sum += p->residual[row * p->residual_stride + out];
    p->y[row * p->y_stride + out] = sum;
}

TL_KERNEL(tl_cuda_finish_rows, tl_cuda_finish, TL_CUDA_ROW_THREADS) {
    int64_t row = (int64_t)blockIdx.x;
    for (int out = (int)threadIdx.x; out < a.product.outs; out += TL_CUDA_ROW_THREADS) {
        int64_t at = row * a.product.outs + out;
        finish(&a.product, row, out, a.t[at], a.g ? a.g[at] : 0);
    }
}

/* ---- many rows: tiles ------------------------------------------------------------------------ */

enum {
    STEP = 16, /* columns in shared memory at a time */
    GAP = 4,   /* floats between the columns there */
    MOST_SIDE = 128,
    MOST_LOADS = 2, /* groups of four elements that a thread brings of either side */
};

/* A side of the tile: rows of x, or of the weights. */
typedef struct tile_side {
    const void *data;
    int64_t stride;
    int32_t dtype, in;
    bool vector;
    int32_t first, count; /* rows of this tile, and how many there are in all */
    const int32_t *columns;
} tile_side;

/* This thread's part of columns k … k + STEP - 1, into registers. */
TL_INLINE void bring(const tile_side *side, const int rows, const int threads, int32_t k,
                     float (*held)[4]) {
    TL_UNROLL for (int n = 0; n < MOST_LOADS; n++) {
        int group = (int)threadIdx.x + n * threads;
        if (group >= rows * (STEP / 4)) continue;
        int32_t row = side->first + group / (STEP / 4), column = k + group % (STEP / 4) * 4;
        int32_t there = row < side->count ? side->in - column : 0;
        int64_t source = side->columns && row < side->count ? side->columns[row] : row;
        tl_load4(side->data, side->dtype, source * side->stride + column, there, side->vector,
                 held[n]);
    }
}

TL_INLINE void put(const int rows, const int threads, float (*held)[4], float *shared) {
    TL_UNROLL for (int n = 0; n < MOST_LOADS; n++) {
        int group = (int)threadIdx.x + n * threads;
        if (group >= rows * (STEP / 4)) continue;
        int row = group / (STEP / 4), column = group % (STEP / 4) * 4;
        TL_UNROLL for (int i = 0; i < 4; i++) shared[(column + i) * (rows + GAP) + row] =
            held[n][i];
    }
}

/* Sums of TM × 4 elements a thread, of SIDE × SIDE threads: rows ty·4 … +3 (+ 4·SIDE), outs tx·4 …
 * +3. */
TL_INLINE void tile_sums(const int SIDE, const int TM, const tile_side *x, const tile_side *w,
                         float *shared, float (*total)[4]) {
    const int threads = SIDE * SIDE, rows = SIDE * TM, outs = SIDE * 4;
    const int x_size = STEP * (rows + GAP), size = x_size + STEP * (outs + GAP);
    int tx = (int)threadIdx.x % SIDE, ty = (int)threadIdx.x / SIDE, turn = 0;
    float sum[8][4], x_held[MOST_LOADS][4], w_held[MOST_LOADS][4];
    TL_UNROLL for (int i = 0; i < TM; i++) {
        TL_UNROLL for (int j = 0; j < 4; j++) sum[i][j] = total[i][j] = 0;
    }
    bring(x, rows, threads, 0, x_held);
    bring(w, outs, threads, 0, w_held);
    __syncthreads(); /* whoever still reads what was there */
    put(rows, threads, x_held, shared);
    put(outs, threads, w_held, shared + x_size);
    __syncthreads();
    for (int32_t k = 0; k < x->in; k += STEP, turn ^= 1) {
        bool more = k + STEP < x->in;
        if (more) {
            bring(x, rows, threads, k + STEP, x_held);
            bring(w, outs, threads, k + STEP, w_held);
        }
        const float *x_now = shared + turn * size, *w_now = x_now + x_size;
        TL_UNROLL for (int c = 0; c < STEP; c++) {
            float4 wv = *(const float4 *)(w_now + c * (outs + GAP) + tx * 4);
            TL_UNROLL for (int part = 0; part < TM / 4; part++) {
                float4 xv = *(const float4 *)(x_now + c * (rows + GAP) + part * SIDE * 4 + ty * 4);
                float xs[4] = {xv.x, xv.y, xv.z, xv.w}, ws[4] = {wv.x, wv.y, wv.z, wv.w};
                TL_UNROLL for (int i = 0; i < 4; i++) {
                    TL_UNROLL for (int j = 0; j < 4; j++) sum[part * 4 + i][j] =
                        fmaf(xs[i], ws[j], sum[part * 4 + i][j]);
                }
            }
        }
        if ((k + STEP) % TL_CUDA_PIECE == 0 || !more) {
            TL_UNROLL for (int i = 0; i < TM; i++) {
                TL_UNROLL for (int j = 0; j < 4; j++) {
                    total[i][j] += sum[i][j];
                    sum[i][j] = 0;
                }
            }
        }
        if (more) {
            float *next = shared + (turn ^ 1) * size;
            put(rows, threads, x_held, next);
            put(outs, threads, w_held, next + x_size);
            __syncthreads();
        }
    }
}

TL_INLINE void tile(const int SIDE, const int TM, const tl_cuda_linear *a, float *shared) {
    const tl_cuda_product *p = &a->products[blockIdx.z];
    int32_t first_out = (int32_t)blockIdx.x * SIDE * 4, first_row = (int32_t)blockIdx.y * SIDE * TM;
    if (first_out >= p->outs) return;
    int tx = (int)threadIdx.x % SIDE, ty = (int)threadIdx.x / SIDE;
    tile_side x = {a->x, a->x_stride, TL_F32, a->in, a->vector, first_row, a->rows, NULL};
    float total[8][4], gate[8][4];
    TL_NO_UNROLL for (int turn = p->gate ? 0 : 1; turn < 2; turn++) {
        tile_side w = {turn ? p->weight : p->gate,
                       turn ? p->stride : p->gate_stride,
                       p->dtype,
                       a->in,
                       p->vector,
                       first_out,
                       p->outs,
                       p->columns};
        tile_sums(SIDE, TM, &x, &w, shared, total);
        TL_UNROLL for (int i = 0; i < TM && turn == 0; i++) {
            TL_UNROLL for (int j = 0; j < 4; j++) gate[i][j] = total[i][j];
        }
    }
    TL_UNROLL for (int i = 0; i < TM; i++) {
        int32_t row = first_row + i / 4 * SIDE * 4 + ty * 4 + i % 4;
        TL_UNROLL for (int j = 0; j < 4; j++) {
            int32_t out = first_out + tx * 4 + j;
            if (row < a->rows && out < p->outs)
                finish(p, row, out, total[i][j], p->gate ? gate[i][j] : 0);
        }
    }
}

#define TILE_FLOATS(side, tm) (2 * STEP * ((side) * (tm) + GAP + (side)*4 + GAP))

TL_KERNEL(tl_cuda_tile_128x64, tl_cuda_linear, 256) {
    __shared__ __align__(16) float shared[TILE_FLOATS(16, 8)];
    tile(16, 8, &a, shared);
}

TL_KERNEL(tl_cuda_tile_64x64, tl_cuda_linear, 256) {
    __shared__ __align__(16) float shared[TILE_FLOATS(16, 4)];
    tile(16, 4, &a, shared);
}

TL_KERNEL(tl_cuda_tile_32x32, tl_cuda_linear, 64) {
    __shared__ __align__(16) float shared[TILE_FLOATS(8, 4)];
    tile(8, 4, &a, shared);
}

/* ---- few rows: pieces side by side ----------------------------------------------------------- */

/* Sums of one weight matrix for outs first_out … of R rows of x in shared memory, to sums
 * [outs][R]. Neighbouring threads read neighbouring pieces, so that a warp reads weights front to
 * back. */
TL_INLINE void few_sums(const int R, const tl_cuda_product *p, const void *weight, int64_t stride,
                        int32_t in, int32_t first_out, int32_t outs, const float *x, float *partial,
                        float *sums) {
    int32_t pieces = (in + TL_CUDA_PIECE - 1) / TL_CUDA_PIECE;
    int32_t x_row = pieces * (TL_CUDA_PIECE + 1);
    for (int32_t item = (int32_t)threadIdx.x; item < outs * pieces; item += TL_CUDA_FEW_THREADS) {
        int32_t out = first_out + item / pieces, piece = item % pieces;
        int64_t row = p->columns ? p->columns[out] : out;
        int32_t first = piece * TL_CUDA_PIECE, left = in - first;
        const float *from = x + piece * (TL_CUDA_PIECE + 1);
        int32_t count = left < TL_CUDA_PIECE ? left : TL_CUDA_PIECE;
        float sum[8];
        TL_UNROLL for (int r = 0; r < R; r++) sum[r] = 0;
        for (int32_t k = 0; k < count; k += 8) {
            float w[8];
            tl_load8(weight, p->dtype, row * stride + first + k, count - k, p->vector, w);
            TL_UNROLL for (int i = 0; i < 8; i++) {
                TL_UNROLL for (int r = 0; r < R; r++) sum[r] =
                    fmaf(from[r * x_row + k + i], w[i], sum[r]);
            }
        }
        TL_UNROLL for (int r = 0; r < R; r++) partial[item * R + r] = sum[r];
    }
    __syncthreads();
    for (int32_t i = (int32_t)threadIdx.x; i < outs * R; i += TL_CUDA_FEW_THREADS) {
        float total = 0;
        for (int32_t piece = 0; piece < pieces; piece++)
            total += partial[(i / R * pieces + piece) * R + i % R];
        sums[i] = total;
    }
    __syncthreads();
}

/* Shared memory: x [R][pieces][65], zero beyond the columns and rows there are; the pieces' sums
 * [block_outs · pieces][R]; the sums [2][block_outs][R]. */
TL_INLINE void few(const int R, const tl_cuda_linear *a, float *x) {
    const tl_cuda_product *p = &a->products[blockIdx.z];
    int32_t first_out = (int32_t)blockIdx.x * a->block_outs, first_row = (int32_t)blockIdx.y * R;
    if (first_out >= p->outs) return;
    int32_t left = p->outs - first_out, outs = left < a->block_outs ? left : a->block_outs;
    int32_t pieces = (a->in + TL_CUDA_PIECE - 1) / TL_CUDA_PIECE, columns = pieces * TL_CUDA_PIECE;
    float *partial = x + R * pieces * (TL_CUDA_PIECE + 1);
    float *sums = partial + a->block_outs * pieces * R, *gates = sums + a->block_outs * R;
    for (int32_t i = (int32_t)threadIdx.x; i < R * columns; i += TL_CUDA_FEW_THREADS) {
        int32_t row = first_row + i / columns, k = i % columns;
        float value = row < a->rows && k < a->in ? a->x[row * a->x_stride + k] : 0;
        x[(i / columns * pieces + k / TL_CUDA_PIECE) * (TL_CUDA_PIECE + 1) + k % TL_CUDA_PIECE] =
            value;
    }
    __syncthreads();
    TL_NO_UNROLL for (int turn = p->gate ? 0 : 1; turn < 2; turn++)
        few_sums(R, p, turn ? p->weight : p->gate, turn ? p->stride : p->gate_stride, a->in,
                 first_out, outs, x, partial, turn ? sums : gates);
    for (int32_t i = (int32_t)threadIdx.x; i < outs * R; i += TL_CUDA_FEW_THREADS) {
        int32_t row = first_row + i % R;
        if (row < a->rows) finish(p, row, first_out + i / R, sums[i], p->gate ? gates[i] : 0);
    }
}

#define FEW_ROWS(R)                                                                                \
    TL_KERNEL(tl_cuda_few_##R, tl_cuda_linear, TL_CUDA_FEW_THREADS) {                              \
        TL_DYNAMIC_SHARED(shared);                                                                 \
        few(R, &a, shared);                                                                        \
    }

FEW_ROWS(1)
FEW_ROWS(2)
FEW_ROWS(4)
FEW_ROWS(8)
