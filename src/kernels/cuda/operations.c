/* The operations as launches. */
#include "kernels/cuda/internal.h"
#include "kernels/cuda/kernels.h"

#include <string.h>

void tl_cuda_launch(tl_backend *b, const void *kernel, const char *name, dim3 grid,
                    unsigned threads, size_t shared, const void *arguments, size_t size) {
    dim3 block = {threads, 1, 1};
    /* A kernel has one argument; the second entry is for the emulation, which must know its size.
     */
    void *list[] = {(void *)arguments, &size};
    if (grid.x == 0 || grid.y == 0 || b->failed != cudaSuccess) return;
    tl_cuda_check(b, cudaLaunchKernel(kernel, grid, block, list, shared, b->stream), name);
}

static dim3 grid_of(int32_t x, int32_t y, int32_t z) {
    return (dim3){(unsigned)x, (unsigned)y, (unsigned)z};
}

static int32_t divide_up(int32_t a, int32_t b) {
    return (a + b - 1) / b;
}

/* ---- rows ------------------------------------------------------------------------------------ */

void tl_cuda_embed_run(tl_backend *b, const tl_matrix *matrix, const int32_t *ids, int32_t rows,
                       float scale, float *y, int64_t y_stride) {
    tl_cuda_embed a = {.data = matrix->data,
                       .stride = matrix->stride,
                       .dtype = (int32_t)matrix->dtype,
                       .dim = matrix->in,
                       .ids = tl_cuda_twin(b, ids),
                       .scale = scale,
                       .y = y,
                       .y_stride = y_stride};
    TL_CUDA_LAUNCH(b, tl_cuda_embed_rows, grid_of(rows, 1, 1), TL_CUDA_ROW_THREADS, 0, a);
}

void tl_cuda_norm_run(tl_backend *b, bool rms, const float *x, int64_t x_stride, int32_t rows,
                      int32_t dim, const float *weight, const float *bias, float eps, float *y,
                      int64_t y_stride) {
    tl_cuda_norm a = {x, x_stride, dim, rms, eps, weight, bias, y, y_stride};
    TL_CUDA_LAUNCH(b, tl_cuda_norm_rows, grid_of(rows, 1, 1), TL_CUDA_ROW_THREADS, 0, a);
}

static void move_rows(tl_backend *b, int32_t rows, tl_cuda_move a) {
    TL_CUDA_LAUNCH(b, tl_cuda_move_rows, grid_of(rows, 1, 1), TL_CUDA_ROW_THREADS, 0, a);
}

void tl_cuda_add_run(tl_backend *b, const float *x, int64_t x_stride, int32_t rows, int32_t dim,
                     float *y, int64_t y_stride) {
    move_rows(b, rows, (tl_cuda_move){x, x_stride, dim, NULL, NULL, 1, true, y, y_stride});
}

void tl_cuda_scale_run(tl_backend *b, const float *x, int64_t x_stride, int32_t rows, int32_t dim,
                       float scale, float *y, int64_t y_stride) {
    move_rows(b, rows, (tl_cuda_move){x, x_stride, dim, NULL, NULL, scale, false, y, y_stride});
}

void tl_cuda_scatter_run(tl_backend *b, const float *x, int64_t x_stride, int32_t rows, int32_t dim,
                         const int32_t *slots, float *store, int64_t store_stride) {
    const int32_t *to = tl_cuda_twin(b, slots);
    move_rows(b, rows, (tl_cuda_move){x, x_stride, dim, NULL, to, 1, false, store, store_stride});
}

/* By way of scratch memory: a row must not be overwritten before it has moved. */
void tl_cuda_keep_run(tl_backend *b, float *x, int64_t x_stride, int32_t dim, const int32_t *kept,
                      int32_t count) {
    if (sizeof(float) * (size_t)count * (size_t)dim > b->scratch_bytes) {
        tl_cuda_check(b, cudaErrorInvalidValue, "moving more rows than were reserved");
        return;
    }
    const int32_t *from = tl_cuda_twin(b, kept);
    move_rows(b, count, (tl_cuda_move){x, x_stride, dim, from, NULL, 1, false, b->scratch, dim});
    move_rows(b, count, (tl_cuda_move){b->scratch, dim, dim, NULL, NULL, 1, false, x, x_stride});
}

void tl_cuda_rotate_run(tl_backend *b, float *x, int64_t x_stride, int32_t rows, int32_t heads,
                        int32_t head_dim, int32_t half, const float *cosines, const float *sines,
                        const int32_t *table_rows) {
    tl_cuda_rotate a = {x,    x_stride, heads, head_dim,
                        half, cosines,  sines, tl_cuda_twin(b, table_rows)};
    TL_CUDA_LAUNCH(b, tl_cuda_rotate_rows, grid_of(rows, 1, 1), TL_CUDA_ROW_THREADS, 0, a);
}

/* ---- products -------------------------------------------------------------------------------- */

static bool aligned(const void *data, size_t bytes) {
    return (uintptr_t)data % bytes == 0;
}

tl_cuda_product tl_cuda_product_of(tl_backend *b, const tl_linear *op) {
    const tl_matrix *w = op->weight, *g = op->gate_weight;
    bool vector = w->in % 8 == 0 && w->stride % 8 == 0 && aligned(w->data, 16) &&
                  (!g || (g->stride % 8 == 0 && aligned(g->data, 16)));
    return (tl_cuda_product){.weight = w->data,
                             .gate = g ? g->data : NULL,
                             .stride = w->stride,
                             .gate_stride = g ? g->stride : 0,
                             .bias = op->bias,
                             .gate_bias = op->gate_bias,
                             .residual = op->residual,
                             .residual_stride = op->residual_stride,
                             .y = op->y,
                             .y_stride = op->y_stride,
                             .columns = op->columns ? tl_cuda_twin(b, op->columns) : NULL,
                             .outs = op->columns ? op->n_columns : w->out,
                             .activation = (int32_t)op->activation,
                             .dtype = (int32_t)w->dtype,
                             .vector = vector};
}

enum { FEW_ROWS = 8, FEW_SHARED = 48 << 10, FEW_ITEMS = TL_CUDA_FEW_THREADS };

/* A kernel for few rows, for so many at a time. */
typedef struct few_kernel {
    int32_t rows;
    void (*kernel)(void);
} few_kernel;

static const few_kernel few_kernels[] = {
    {8, tl_cuda_few_8}, {4, tl_cuda_few_4}, {2, tl_cuda_few_2}, {1, tl_cuda_few_1}};

static size_t few_bytes(int32_t rows, int32_t pieces, int32_t block_outs) {
    int32_t floats =
        rows * pieces * (TL_CUDA_PIECE + 1) + block_outs * pieces * rows + 2 * block_outs * rows;
    return sizeof(float) * (size_t)floats;
}

/* False when not even a row fits into shared memory. */
static bool run_few(tl_backend *b, tl_cuda_linear *a, int32_t most_outs, int count) {
    int32_t pieces = divide_up(a->in, TL_CUDA_PIECE);
    a->block_outs = pieces >= FEW_ITEMS ? 1 : FEW_ITEMS / pieces;
    for (size_t i = 0; i < sizeof few_kernels / sizeof *few_kernels; i++) {
        const few_kernel *k = &few_kernels[i];
        size_t bytes = few_bytes(k->rows, pieces, a->block_outs);
        if ((k->rows > 1 && k->rows / 2 >= a->rows) || bytes > FEW_SHARED) continue;
        dim3 grid =
            grid_of(divide_up(most_outs, a->block_outs), divide_up(a->rows, k->rows), count);
        TL_CUDA_LAUNCH(b, k->kernel, grid, TL_CUDA_FEW_THREADS, bytes, *a);
        return true;
    }
    return false;
}

typedef struct tile_kernel {
    int32_t rows, outs;
    unsigned threads;
    void (*kernel)(void);
} tile_kernel;

static const tile_kernel tile_kernels[] = {{128, 64, 256, tl_cuda_tile_128x64},
                                           {64, 64, 256, tl_cuda_tile_64x64},
                                           {32, 32, 64, tl_cuda_tile_32x32}};

/* The largest tile that still keeps every processor busy. The sums are the same in all. */
static void run_tiles(tl_backend *b, const tl_cuda_linear *a, int32_t most_outs, int count) {
    const tile_kernel *k = tile_kernels, *last = tile_kernels + 2;
    while (k < last && (divide_up(a->rows, k->rows) * divide_up(most_outs, k->outs) * count <
                            2 * b->processors ||
                        a->rows <= k->rows / 2))
        k++;
    dim3 grid = grid_of(divide_up(most_outs, k->outs), divide_up(a->rows, k->rows), count);
    TL_CUDA_LAUNCH(b, k->kernel, grid, k->threads, 0, *a);
}

/* Products of the same x in one launch. */
static void run_group(tl_backend *b, const tl_linear *ops, int count) {
    int32_t most_outs = 0;
    tl_cuda_linear a;
    memset(&a, 0, sizeof a);
    a.x = ops->x;
    a.x_stride = ops->x_stride;
    a.rows = ops->rows;
    a.in = ops->weight->in;
    a.vector = a.in % 4 == 0 && a.x_stride % 4 == 0 && aligned(a.x, 16);
    for (int i = 0; i < count; i++) {
        a.products[i] = tl_cuda_product_of(b, &ops[i]);
        if (a.products[i].outs > most_outs) most_outs = a.products[i].outs;
    }
    if (a.rows <= FEW_ROWS && run_few(b, &a, most_outs, count)) return;
    run_tiles(b, &a, most_outs, count);
}

void tl_cuda_linear_run(tl_backend *b, const tl_linear *ops, int count) {
    for (int first = 0; first < count;) {
        const tl_linear *op = &ops[first];
        int end = first + 1;
        if (tl_cuda_fast_takes(b, op)) {
            tl_cuda_fast_run(b, op);
            first = end;
            continue;
        }
        while (end < count && end - first < TL_CUDA_PRODUCTS && ops[end].x == op->x &&
               ops[end].x_stride == op->x_stride && ops[end].rows == op->rows &&
               ops[end].weight->in == op->weight->in)
            end++;
        run_group(b, op, end - first);
        first = end;
    }
}

/* ---- attention ------------------------------------------------------------------------------- */

static size_t attend_bytes(int32_t dim) {
    return sizeof(float) * (size_t)(TL_CUDA_ITEMS * TL_CUDA_TILE + TL_CUDA_ITEMS * dim +
                                    TL_CUDA_TILE * (dim + 1) + TL_CUDA_TILE * dim);
}

/* Heads of more than 146 dims need more shared memory than a kernel gets unasked. */
bool tl_cuda_prepare_kernels(tl_backend *b) {
    size_t bytes = attend_bytes(TL_CUDA_MOST_HEAD_DIM);
    if (bytes > b->shared_bytes) bytes = b->shared_bytes;
    return tl_cuda_check(b,
                         cudaFuncSetAttribute((const void *)tl_cuda_attend,
                                              cudaFuncAttributeMaxDynamicSharedMemorySize,
                                              (int)bytes),
                         "preparing the kernels");
}

void tl_cuda_attention_run(tl_backend *b, const tl_attention *op) {
    const tl_cuda_list *list = tl_cuda_find_list(b, op->spans);
    if (!list) return;
    tl_cuda_attention a = {.q = op->q,
                           .q_stride = op->q_stride,
                           .k = op->k,
                           .v = op->v,
                           .kv_stride = op->kv_stride,
                           .out = op->out,
                           .out_stride = op->out_stride,
                           .heads = op->heads,
                           .kv_heads = op->kv_heads,
                           .head_dim = op->head_dim,
                           .scale = op->scale,
                           .causal = op->causal,
                           .window = op->window,
                           .alibi_slopes = op->alibi_slopes,
                           .relative_bias = op->relative_bias,
                           .relative_stride = op->relative_stride,
                           .relative_center = op->relative_center,
                           .indices = b->pass.device,
                           .pieces = list->device_pieces,
                           .joins = list->device_joins,
                           .partials = b->partials};
    TL_CUDA_LAUNCH(b, tl_cuda_attend, grid_of(list->n_pieces, op->kv_heads, 1),
                   TL_CUDA_ATTEND_THREADS, attend_bytes(op->head_dim), a);
    if (list->n_joins)
        TL_CUDA_LAUNCH(b, tl_cuda_join_chunks, grid_of(list->n_joins, op->heads, 1), 32, 0, a);
}

/* ---- the head's readings --------------------------------------------------------------------- */

/* The results lie in scratch memory: sums [rows], maxima [rows], values [asks]; they come back in
 * one copy. */
bool tl_cuda_read_run(tl_backend *b, const tl_reading *r, tl_error *error) {
    size_t sums = r->logsumexp ? sizeof(double) * (size_t)r->rows : 0;
    size_t places = r->logsumexp ? (sizeof(int32_t) * (size_t)r->rows + 7) / 8 * 8 : 0;
    size_t bytes = sums + places + sizeof(float) * (size_t)r->n_asks;
    if (!tl_cuda_grow(b, (void **)&b->scratch, &b->scratch_bytes, bytes, "scratch memory", error))
        return false;
    if (bytes > b->readings_bytes) {
        if (b->readings) cudaFreeHost(b->readings);
        b->readings = NULL;
        b->readings_bytes = 0;
        if (!tl_cuda_check(b, cudaMallocHost(&b->readings, 2 * bytes), "taking pinned memory"))
            return tl_cuda_tell(b, error);
        b->readings_bytes = 2 * bytes;
    }
    char *there = (char *)b->scratch, *here = b->readings;
    tl_cuda_read read = {r->logits, r->stride, r->n, (double *)there, (int32_t *)(there + sums)};
    tl_cuda_pick pick = {r->logits,
                         r->stride,
                         tl_cuda_twin(b, r->ask_rows),
                         tl_cuda_twin(b, r->ask_tokens),
                         r->n_asks,
                         (float *)(there + sums + places)};
    if (r->logsumexp)
        TL_CUDA_LAUNCH(b, tl_cuda_read_rows, grid_of(r->rows, 1, 1), TL_CUDA_READ_THREADS, 0, read);
    TL_CUDA_LAUNCH(b, tl_cuda_pick_values, grid_of(divide_up(r->n_asks, TL_CUDA_ROW_THREADS), 1, 1),
                   TL_CUDA_ROW_THREADS, 0, pick);
    tl_cuda_check(b, cudaMemcpyAsync(here, there, bytes, cudaMemcpyDeviceToHost, b->stream),
                  "copying from the device");
    tl_cuda_check(b, cudaStreamSynchronize(b->stream), "waiting");
    if (!tl_cuda_tell(b, error)) return false;
    if (r->logsumexp) memcpy(r->logsumexp, here, sums);
    if (r->logsumexp) memcpy(r->argmax, here + sums, sizeof(int32_t) * (size_t)r->rows);
    memcpy(r->values, here + sums + places, sizeof(float) * (size_t)r->n_asks);
    return true;
}
