/* The table of functions that an instruction set provides; cpu/table.c fills one in for each. */
#ifndef TL_KERNELS_TABLE_H
#define TL_KERNELS_TABLE_H

#include "kernels/kernels.h"

enum {
    TL_PANEL = 16,       /* outputs in a panel of a packed matrix */
    TL_BLOCK = 32,       /* elements in a block of a packed matrix */
    TL_CHUNK_OUTS = 64,  /* outputs in a chunk of work, at most; a multiple of TL_PANEL */
    TL_CHUNK_ROWS = 192, /* rows in a chunk of work, at most */
    TL_DOT_BLOCK = 1024, /* columns summed in lanes before the sum goes to the running total */
    TL_ALIGNMENT = 64,
};

/* Part of a product: rows × outs of x · Wᵀ. */
typedef struct tl_product {
    const tl_matrix *weight;
    const float *x; /* the first of the rows */
    int64_t x_stride;
    const void *prepared; /* what the path's prepare made of all of x, or NULL */
    int32_t first_row;    /* of these rows within all of x */
    int32_t rows;
    int32_t first_out, outs;
    const int32_t *columns; /* [outs]: instead of first_out …, or NULL */
    float *y;               /* [rows, outs rounded up to 16]; overlaps nothing */
    int64_t y_stride;
    void *scratch; /* this thread's, path.scratch_bytes long, aligned */
    /* Weights that this thread will probably want next, to be fetched into the cache meanwhile. */
    const char *ahead;
    size_t ahead_bytes;
} tl_product;

/* How products of one weight type are done in one precision. */
typedef struct tl_product_path {
    const char *name;
    void (*run)(const tl_product *product);
    /* The scratch memory that run needs for a product with `in` columns. */
    size_t (*scratch_bytes)(int32_t in);
    /* What x is turned into beforehand, NULL where it is used as it is. Groups of `prepare_rows`
     * rows are prepared apart; a group's bytes depend on `in` alone. */
    size_t (*group_bytes)(int32_t in);
    void (*prepare)(const float *x, int64_t x_stride, int32_t rows, int32_t in, void *group);
    int32_t prepare_rows;
    int32_t prepare_from; /* products of fewer rows are not prepared */
} tl_product_path;

/* One row of attention: a query of one head. */
typedef struct tl_attend {
    const tl_attention *op;
    const tl_attention_span *span;
    int32_t kv_head, first_head, heads; /* query heads first_head … that read kv_head */
    int32_t first_query, queries;
    void *scratch;
} tl_attend;

typedef struct tl_kernels {
    const char *name;
    /* Can this machine run it? Called before anything else; may ask the system for permission. */
    bool (*usable)(void);
    /* Is it worth choosing, where better ones are not to be had? */
    bool (*advisable)(void);
    const tl_product_path *paths[TL_Q4 + 1][2]; /* [dtype][precision] */
    /* The end of a linear on a tile: y = activation(t + bias) ⊙ (g + gate_bias) + residual; t, g
     * [rows, outs] with a stride of their own, pointers at the tile's first element. */
    void (*finish)(const tl_linear *op, const float *t, const float *g, int64_t stride,
                   int32_t first_row, int32_t rows, int32_t first_out, int32_t outs);
    void (*embed)(const tl_matrix *matrix, int32_t id, float scale, float *y);
    void (*layer_norm)(const float *x, int32_t dim, const float *weight, const float *bias,
                       float eps, float *y);
    void (*rms_norm)(const float *x, int32_t dim, const float *weight, float eps, float *y);
    void (*add)(const float *x, int32_t dim, float *y);
    void (*rotate)(float *x, int32_t heads, int32_t head_dim, int32_t half, const float *cosines,
                   const float *sines);
    /* The largest of x [n], and its first index. */
    void (*largest)(const float *x, int32_t n, float *largest, int32_t *argmax);
    float (*exp_sum)(const float *x, int32_t n, float shift); /* Σ exp(x - shift) */
    void (*attend)(const tl_attend *attend);
    void (*widen)(const void *source, tl_dtype dtype, size_t count, float *y);
    void (*narrow)(const float *x, size_t count, tl_dtype dtype, void *y); /* f16, bf16 */
    /* Turns rows × columns elements of `size` bytes (2 or 4), both multiples of the 64 / size that
     * fill a line; the strides, in bytes, are of rows before and after. */
    void (*transpose_squares)(size_t size, size_t rows, size_t columns, const unsigned char *from,
                              size_t from_stride, unsigned char *to, size_t to_stride);
    /* Quantises 16 outputs of a row-major matrix to q8 or q4. */
    void (*pack_panel)(const tl_matrix *source, int32_t panel, tl_dtype dtype, unsigned char *to);
} tl_kernels;

/* Rows of scores that an attention of `keys` keys holds at a time, and the memory it needs. */
int32_t tl_attend_rows(int32_t keys);
size_t tl_attend_bytes(int32_t keys, int32_t head_dim);

/* Instruction sets this build holds, best first, NULL-terminated. */
extern const tl_kernels *const tl_kernels_built[];

static inline int32_t tl_min(int32_t a, int32_t b) {
    return a < b ? a : b;
}

static inline int32_t tl_max(int32_t a, int32_t b) {
    return a > b ? a : b;
}

static inline size_t tl_align(size_t bytes) {
    return (bytes + TL_ALIGNMENT - 1) & ~(size_t)(TL_ALIGNMENT - 1);
}

/* Row `out` of a row-major matrix. */
static inline const void *tl_matrix_row(const tl_matrix *matrix, int32_t out) {
    size_t size = matrix->dtype == TL_F32 ? 4 : 2;
    return (const char *)matrix->data + (size_t)out * (size_t)matrix->stride * size;
}

/* Packed matrices: each panel is [blocks][16] f16 scales, then per block 32 × 16 values:
 *   q8: [8 groups of 4 columns][16 outs][4] bytes, value + 128;
 *   q4: [4 groups][16 outs][4] bytes: group g in the low halves, group g + 4 in the high ones,
 *       value + 8. */
static inline size_t tl_block_bytes(tl_dtype dtype) {
    return dtype == TL_Q8 ? TL_BLOCK * TL_PANEL : TL_BLOCK * TL_PANEL / 2;
}

static inline size_t tl_panel_bytes(tl_dtype dtype, int32_t in) {
    size_t blocks = (size_t)in / TL_BLOCK;
    return blocks * (TL_PANEL * sizeof(uint16_t) + tl_block_bytes(dtype));
}

static inline const unsigned char *tl_panel(const tl_matrix *matrix, int32_t panel) {
    return (const unsigned char *)matrix->data +
           (size_t)panel * tl_panel_bytes(matrix->dtype, matrix->in);
}

/* Where value (out `lane` of the panel, column k of the block) lies in a block; for q4 the byte. */
static inline size_t tl_block_place(tl_dtype dtype, int32_t lane, int32_t k) {
    int32_t groups = dtype == TL_Q8 ? 8 : 4;
    return (size_t)((k / 4 % groups) * TL_PANEL + lane) * 4 + (size_t)(k % 4);
}

#endif
