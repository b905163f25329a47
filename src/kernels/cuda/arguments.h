/* What the kernels are told: one structure each, and the sizes both sides must agree on. */
#ifndef TL_CUDA_ARGUMENTS_H
#define TL_CUDA_ARGUMENTS_H

#include "base/dtype.h"

#include <stdbool.h>
#include <stdint.h>

enum {
    TL_CUDA_ROW_THREADS = 128,
    TL_CUDA_READ_THREADS = 256,
    /* Products: a sum over columns is one of sums over pieces of so many. Whichever kernel computes
     * it adds in this order, so its bits depend on nothing else. */
    TL_CUDA_PIECE = 64,
    TL_CUDA_FEW_THREADS = 128,
    TL_CUDA_PRODUCTS = 4, /* in one launch */
    /* Attention: a query's keys are taken in tiles, and these in chunks that are joined in order;
     * both begin at multiples of their size in the sequence. */
    TL_CUDA_TILE = 32,
    TL_CUDA_CHUNK = 512,
    TL_CUDA_ITEMS = 16, /* queries × heads of a group in a block */
    TL_CUDA_ATTEND_THREADS = 128,
    TL_CUDA_MOST_HEAD_DIM = 256,
};

typedef struct tl_cuda_embed {
    const void *data; /* [out, dim] */
    int64_t stride;
    int32_t dtype, dim;
    const int32_t *ids;
    float scale;
    float *y;
    int64_t y_stride;
} tl_cuda_embed;

typedef struct tl_cuda_norm {
    const float *x;
    int64_t x_stride;
    int32_t dim;
    bool rms;
    float eps;
    const float *weight, *bias; /* either may be NULL */
    float *y;
    int64_t y_stride;
} tl_cuda_norm;

/* y = x × scale (+ y); rows of x and y by `from` and `to` where these are not NULL, a row whose
 * `to` is negative left out. */
typedef struct tl_cuda_move {
    const float *x;
    int64_t x_stride;
    int32_t dim;
    const int32_t *from, *to;
    float scale;
    bool add;
    float *y;
    int64_t y_stride;
} tl_cuda_move;

typedef struct tl_cuda_rotate {
    float *x;
    int64_t x_stride;
    int32_t heads, head_dim, half;
    const float *cosines, *sines;
    const int32_t *table_rows;
} tl_cuda_rotate;

typedef struct tl_cuda_product {
    const void *weight, *gate; /* [out, in]; gate may be NULL */
    int64_t stride, gate_stride;
    const float *bias, *gate_bias;
    const float *residual;
    int64_t residual_stride;
    float *y;
    int64_t y_stride;
    const int32_t *columns;
    int32_t outs;
    int32_t activation, dtype;
    bool vector; /* rows of weights can be read eight elements at a time */
} tl_cuda_product;

typedef struct tl_cuda_linear {
    const float *x;
    int64_t x_stride;
    int32_t rows, in;
    bool vector;        /* rows of x can be read four elements at a time */
    int32_t block_outs; /* of the kernels for few rows: outs of a block */
    tl_cuda_product products[TL_CUDA_PRODUCTS];
} tl_cuda_linear;

/* Rounds x [rows, in] to bf16, rows one after the other. */
typedef struct tl_cuda_round {
    const float *x;
    int64_t x_stride;
    int32_t in;
    uint16_t *y;
} tl_cuda_round;

/* The end of products whose sums t, and g of the gate, [rows, outs], lie in memory. */
typedef struct tl_cuda_finish {
    const float *t, *g;
    tl_cuda_product product;
} tl_cuda_finish;

/* Up to TL_CUDA_ITEMS queries × heads of a span against one chunk of its keys. Item i is query
 * i / group, head i % group of the group of heads that share keys. */
typedef struct tl_cuda_piece {
    int32_t slots;          /* where the span's slots begin in the indices */
    int32_t keys;           /* of the span */
    int32_t first_row;      /* of the span's first query in q and out */
    int32_t first_position; /* of the same */
    int32_t first_item, items;
    int32_t chunk, chunks; /* this one, and how many the span has */
    int32_t partial;       /* where the span's partial results begin; -1: the only chunk */
} tl_cuda_piece;

/* A row whose chunks are to be joined. */
typedef struct tl_cuda_join {
    int32_t row; /* -1: none */
    int32_t partial, chunks;
} tl_cuda_join;

typedef struct tl_cuda_attention {
    const float *q;
    int64_t q_stride;
    const float *k, *v;
    int64_t kv_stride;
    float *out;
    int64_t out_stride;
    int32_t heads, kv_heads, head_dim;
    float scale;
    bool causal;
    int32_t window;
    const float *alibi_slopes;
    const float *relative_bias;
    int64_t relative_stride;
    int32_t relative_center;
    const int32_t *indices;
    const tl_cuda_piece *pieces;
    const tl_cuda_join *joins;
    float *partials; /* [partial][heads][head_dim + 2]: the maximum, the sum, the mix */
} tl_cuda_attention;

typedef struct tl_cuda_read {
    const float *logits;
    int64_t stride;
    int32_t n;
    double *logsumexp;
    int32_t *argmax;
} tl_cuda_read;

typedef struct tl_cuda_pick {
    const float *logits;
    int64_t stride;
    const int32_t *rows, *tokens;
    int32_t count;
    float *values;
} tl_cuda_pick;

#endif
