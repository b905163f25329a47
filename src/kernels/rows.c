/* The operations on rows, shared out to threads. */
#include "kernels/compute.h"

#include <math.h>
#include <string.h>

typedef struct rows_operation {
    const float *x;
    int64_t x_stride;
    int32_t dim;
    const float *weight, *bias;
    float eps;
    float *y;
    int64_t y_stride;
} rows_operation;

/* ---- embedding ---- */

typedef struct embedding {
    const tl_matrix *matrix;
    const int32_t *ids;
    float scale;
    float *y;
    int64_t y_stride;
} embedding;

static void embed(const tl_compute *compute, const void *context, int32_t first, int32_t end) {
    const embedding *op = context;
    for (int32_t r = first; r < end; r++)
        compute->kernels->embed(op->matrix, op->ids[r], op->scale, op->y + r * op->y_stride);
}

void tl_embed(tl_compute *compute, const tl_matrix *matrix, const int32_t *ids, int32_t rows,
              float scale, float *y, int64_t y_stride) {
    TL_ON_DEVICE(compute, embed, matrix, ids, rows, scale, y, y_stride);
    embedding op = {matrix, ids, scale, y, y_stride};
    tl_rows_run(compute, rows, matrix->in, embed, &op);
}

/* ---- norms ---- */

static void layer_norm(const tl_compute *compute, const void *context, int32_t first, int32_t end) {
    const rows_operation *op = context;
    for (int32_t r = first; r < end; r++)
        compute->kernels->layer_norm(op->x + r * op->x_stride, op->dim, op->weight, op->bias,
                                     op->eps, op->y + r * op->y_stride);
}

void tl_layer_norm(tl_compute *compute, const float *x, int64_t x_stride, int32_t rows, int32_t dim,
                   const float *weight, const float *bias, float eps, float *y, int64_t y_stride) {
    TL_ON_DEVICE(compute, norm, false, x, x_stride, rows, dim, weight, bias, eps, y, y_stride);
    rows_operation op = {x, x_stride, dim, weight, bias, eps, y, y_stride};
    tl_rows_run(compute, rows, dim, layer_norm, &op);
}

static void rms_norm(const tl_compute *compute, const void *context, int32_t first, int32_t end) {
    const rows_operation *op = context;
    for (int32_t r = first; r < end; r++)
        compute->kernels->rms_norm(op->x + r * op->x_stride, op->dim, op->weight, op->eps,
                                   op->y + r * op->y_stride);
}

void tl_rms_norm(tl_compute *compute, const float *x, int64_t x_stride, int32_t rows, int32_t dim,
                 const float *weight, float eps, float *y, int64_t y_stride) {
    TL_ON_DEVICE(compute, norm, true, x, x_stride, rows, dim, weight, NULL, eps, y, y_stride);
    rows_operation op = {x, x_stride, dim, weight, NULL, eps, y, y_stride};
    tl_rows_run(compute, rows, dim, rms_norm, &op);
}

/* ---- addition, copies, rotation ---- */

static void add(const tl_compute *compute, const void *context, int32_t first, int32_t end) {
    const rows_operation *op = context;
    for (int32_t r = first; r < end; r++)
        compute->kernels->add(op->x + r * op->x_stride, op->dim, op->y + r * op->y_stride);
}

void tl_add_rows(tl_compute *compute, const float *x, int64_t x_stride, int32_t rows, int32_t dim,
                 float *y, int64_t y_stride) {
    TL_ON_DEVICE(compute, add_rows, x, x_stride, rows, dim, y, y_stride);
    rows_operation op = {.x = x, .x_stride = x_stride, .dim = dim, .y = y, .y_stride = y_stride};
    tl_rows_run(compute, rows, dim, add, &op);
}

void tl_scale_rows(tl_compute *compute, const float *x, int64_t x_stride, int32_t rows, int32_t dim,
                   float scale, float *y, int64_t y_stride) {
    TL_ON_DEVICE(compute, scale_rows, x, x_stride, rows, dim, scale, y, y_stride);
    for (int32_t r = 0; r < rows; r++)
        for (int32_t d = 0; d < dim; d++)
            y[r * y_stride + d] = x[r * x_stride + d] * scale;
}

void tl_keep_rows(tl_compute *compute, float *x, int64_t x_stride, int32_t dim, const int32_t *kept,
                  int32_t count) {
    TL_ON_DEVICE(compute, keep_rows, x, x_stride, dim, kept, count);
    for (int32_t i = 0; i < count; i++)
        if (kept[i] != i)
            memmove(x + i * x_stride, x + kept[i] * x_stride, sizeof(float) * (size_t)dim);
}

typedef struct rotation {
    float *x;
    int64_t x_stride;
    int32_t heads, head_dim, half;
    const float *cosines, *sines;
    const int32_t *table_rows;
} rotation;

static void rotate(const tl_compute *compute, const void *context, int32_t first, int32_t end) {
    const rotation *op = context;
    for (int32_t r = first; r < end; r++) {
        int64_t at = (int64_t)op->table_rows[r] * op->half;
        compute->kernels->rotate(op->x + r * op->x_stride, op->heads, op->head_dim, op->half,
                                 op->cosines + at, op->sines + at);
    }
}

void tl_rotate(tl_compute *compute, float *x, int64_t x_stride, int32_t rows, int32_t heads,
               int32_t head_dim, int32_t half, const float *cosines, const float *sines,
               const int32_t *table_rows) {
    TL_ON_DEVICE(compute, rotate, x, x_stride, rows, heads, head_dim, half, cosines, sines,
                 table_rows);
    rotation op = {x, x_stride, heads, head_dim, half, cosines, sines, table_rows};
    tl_rows_run(compute, rows, heads * head_dim, rotate, &op);
}

typedef struct scattering {
    const float *x;
    int64_t x_stride;
    int32_t dim;
    const int32_t *slots;
    float *store;
    int64_t store_stride;
} scattering;

static void scatter(const tl_compute *compute, const void *context, int32_t first, int32_t end) {
    (void)compute;
    const scattering *op = context;
    for (int32_t r = first; r < end; r++)
        memcpy(op->store + op->slots[r] * op->store_stride, op->x + r * op->x_stride,
               sizeof(float) * (size_t)op->dim);
}

void tl_scatter_rows(tl_compute *compute, const float *x, int64_t x_stride, int32_t rows,
                     int32_t dim, const int32_t *slots, float *store, int64_t store_stride) {
    TL_ON_DEVICE(compute, scatter_rows, x, x_stride, rows, dim, slots, store, store_stride);
    scattering op = {x, x_stride, dim, slots, store, store_stride};
    tl_rows_run(compute, rows, dim, scatter, &op);
}

/* ---- the head's readings ---- */

/* A row is read in parts of fixed length, whose sums are joined in order, in double. */
enum { PART = 1024 };

typedef struct reading {
    const float *logits;
    int64_t stride;
    int32_t n, block, blocks;
    float *logsumexp;
    int32_t *argmax;
} reading;

static void read_block(const tl_kernels *kernels, const float *logits, int32_t n, float *logsumexp,
                       int32_t *argmax) {
    float largest = -INFINITY;
    double sum = 0;
    *argmax = 0;
    for (int32_t i = 0; i < n; i += PART) {
        float part_largest;
        int32_t part_at, count = tl_min(PART, n - i);
        kernels->largest(logits + i, count, &part_largest, &part_at);
        double joined = (double)largest;
        if (part_largest > largest) {
            largest = part_largest;
            *argmax = i + part_at;
        }
        if (!logsumexp) continue;
        float part_sum = kernels->exp_sum(logits + i, count, part_largest);
        if (part_largest > joined) sum = sum * exp(joined - (double)part_largest);
        if (part_largest > -INFINITY || part_sum != part_sum)
            sum += part_sum * exp((double)part_largest - (double)largest);
    }
    if (logsumexp) *logsumexp = (float)((double)largest + log(sum));
}

static void read_blocks(const tl_compute *compute, const void *context, int32_t first,
                        int32_t end) {
    const reading *op = context;
    for (int32_t i = first; i < end; i++) {
        int32_t column = i % op->blocks * op->block;
        read_block(compute->kernels, op->logits + i / op->blocks * op->stride + column,
                   tl_min(op->block, op->n - column), op->logsumexp ? op->logsumexp + i : NULL,
                   op->argmax + i);
        op->argmax[i] += column;
    }
}

void tl_logsumexp_rows(tl_compute *compute, const float *logits, int64_t stride, int32_t rows,
                       int32_t n, int32_t block, float *logsumexp, int32_t *argmax) {
    reading op = {logits, stride, n, block, (n + block - 1) / block, logsumexp, argmax};
    tl_rows_run(compute, rows * op.blocks, tl_min(n, block), read_blocks, &op);
}
