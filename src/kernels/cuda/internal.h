/* The CUDA backend's own: what its host files share. They are C, and speak to the runtime's C
 * interface; the kernels are in the .cu files. */
#ifndef TL_CUDA_INTERNAL_H
#define TL_CUDA_INTERNAL_H

#include "kernels/backend.h"
#include "kernels/cuda/arguments.h"

#include <cuda_runtime_api.h>

enum {
    TL_CUDA_MOST_GRAPHS = 256,
    TL_CUDA_MOST_STAGED = 16, /* arrays of indices at a time */
    TL_CUDA_LISTS = TL_PASS_SPANS,
};

/* Memory of the device, by the backend's own count. */
typedef struct tl_cuda_block {
    struct tl_cuda_block *next;
    void *data;
    size_t bytes;
} tl_cuda_block;

/* Host memory whose pages the device may read: [begin, end). */
typedef struct tl_cuda_adopted {
    struct tl_cuda_adopted *next;
    char *begin, *end;
} tl_cuda_adopted;

/* Indices on their way: a pinned buffer, and its twin on the device. */
typedef struct tl_cuda_area {
    int32_t *host, *device;
    size_t capacity; /* elements */
    cudaEvent_t sent;
    bool waiting; /* for the event */
} tl_cuda_area;

/* Where a caller's array lies on the device. */
typedef struct tl_cuda_place {
    const int32_t *begin, *end;
    const int32_t *device;
} tl_cuda_place;

/* Spans cut into pieces of work. */
typedef struct tl_cuda_list {
    const tl_attention_span *spans; /* whose these are */
    tl_cuda_piece *pieces;          /* in the pinned buffer */
    tl_cuda_join *joins;
    const tl_cuda_piece *device_pieces;
    const tl_cuda_join *device_joins;
    int32_t n_pieces, n_joins; /* padded */
} tl_cuda_list;

/* What makes two passes the same sequence of launches. */
typedef struct tl_cuda_shape {
    int64_t shape[TL_PASS_SHAPE];
    int32_t pieces[TL_CUDA_LISTS], joins[TL_CUDA_LISTS];
} tl_cuda_shape;

typedef struct tl_cuda_graph {
    tl_cuda_shape shape;
    cudaGraphExec_t recorded; /* NULL: seen once */
} tl_cuda_graph;

typedef struct tl_cuda_fast tl_cuda_fast;

struct tl_backend {
    int index;
    tl_precision precision;
    char name[160];
    bool integrated, adopts;
    int processors; /* streaming multiprocessors */
    size_t shared_bytes, total;
    cudaStream_t stream;
    cudaEvent_t timer[2];

    tl_cuda_block *blocks;
    size_t allocated, peak;
    tl_cuda_adopted *adopted;
    size_t adopted_bytes;

    cudaError_t failed; /* the first since it was last told */
    const char *failed_at;

    tl_cuda_area pass, outside; /* indices of a pass, and of operations outside */
    tl_cuda_place places[2][TL_CUDA_MOST_STAGED];
    int n_places[2];
    tl_cuda_list lists[TL_CUDA_LISTS];
    size_t pieces_capacity, joins_capacity; /* of each list */
    size_t layout; /* elements before the lists: they end the pass's area */

    float *scratch; /* of one operation */
    size_t scratch_bytes;
    float *partials; /* of attention */
    size_t partials_bytes;
    void *readings; /* pinned: what `read` brings back */
    size_t readings_bytes;

    tl_cuda_graph graphs[TL_CUDA_MOST_GRAPHS];
    int n_graphs;
    int recording; /* the graph being recorded; -1: none */
    int64_t played;

    tl_cuda_fast *fast; /* --fast: cuBLASLt */
};

/* ---- errors and memory (device.c) */

/* Remembers a failure. False when `result` is one. */
bool tl_cuda_check(tl_backend *b, cudaError_t result, const char *at);
/* Tells a remembered failure. */
bool tl_cuda_tell(tl_backend *b, tl_error *error);
void *tl_cuda_allocate(tl_backend *b, size_t bytes, const char *what, tl_error *error);
void tl_cuda_release(tl_backend *b, void *memory);
/* Grows `*memory` to `bytes`; what it held is lost. */
bool tl_cuda_grow(tl_backend *b, void **memory, size_t *held, size_t bytes, const char *what,
                  tl_error *error);

/* ---- passes (passes.c) */

bool tl_cuda_reserve(tl_backend *b, const tl_backend_needs *needs, tl_error *error);
int32_t tl_cuda_round_rows(const tl_backend *b, int32_t rows);
bool tl_cuda_begin(tl_backend *b, const tl_backend_pass *pass, bool *played, tl_error *error);
bool tl_cuda_end(tl_backend *b, tl_error *error);
bool tl_cuda_stage(tl_backend *b, const tl_staged *arrays, int count, tl_error *error);
/* The twin of a staged array, or of a part of one. */
const int32_t *tl_cuda_twin(tl_backend *b, const int32_t *indices);
const tl_cuda_list *tl_cuda_find_list(tl_backend *b, const tl_attention_span *spans);
/* Graphs hold addresses: they go when memory is given back. */
void tl_cuda_drop_graphs(tl_backend *b);
void tl_cuda_free_areas(tl_backend *b);

/* ---- operations (operations.c) */

/* Launches a kernel with its one structure of arguments. */
void tl_cuda_launch(tl_backend *b, const void *kernel, const char *name, dim3 grid,
                    unsigned threads, size_t shared, const void *arguments, size_t size);
#define TL_CUDA_LAUNCH(b, kernel, grid, threads, shared, arguments)                                \
    tl_cuda_launch(b, (const void *)(kernel), #kernel, grid, threads, shared, &(arguments),        \
                   sizeof(arguments))

bool tl_cuda_prepare_kernels(tl_backend *b);
void tl_cuda_linear_run(tl_backend *b, const tl_linear *ops, int count);
void tl_cuda_embed_run(tl_backend *b, const tl_matrix *matrix, const int32_t *ids, int32_t rows,
                       float scale, float *y, int64_t y_stride);
void tl_cuda_norm_run(tl_backend *b, bool rms, const float *x, int64_t x_stride, int32_t rows,
                      int32_t dim, const float *weight, const float *bias, float eps, float *y,
                      int64_t y_stride);
void tl_cuda_add_run(tl_backend *b, const float *x, int64_t x_stride, int32_t rows, int32_t dim,
                     float *y, int64_t y_stride);
void tl_cuda_scale_run(tl_backend *b, const float *x, int64_t x_stride, int32_t rows, int32_t dim,
                       float scale, float *y, int64_t y_stride);
void tl_cuda_rotate_run(tl_backend *b, float *x, int64_t x_stride, int32_t rows, int32_t heads,
                        int32_t head_dim, int32_t half, const float *cosines, const float *sines,
                        const int32_t *table_rows);
void tl_cuda_scatter_run(tl_backend *b, const float *x, int64_t x_stride, int32_t rows, int32_t dim,
                         const int32_t *slots, float *store, int64_t store_stride);
void tl_cuda_keep_run(tl_backend *b, float *x, int64_t x_stride, int32_t dim, const int32_t *kept,
                      int32_t count);
void tl_cuda_attention_run(tl_backend *b, const tl_attention *op);
bool tl_cuda_read_run(tl_backend *b, const tl_reading *reading, tl_error *error);

/* An operation's product as the kernels take it. */
tl_cuda_product tl_cuda_product_of(tl_backend *b, const tl_linear *op);

/* ---- bf16 products by cuBLASLt (fast.c) */

bool tl_cuda_fast_new(tl_backend *b, tl_error *error);
void tl_cuda_fast_free(tl_backend *b);
/* Is it for this operation? */
bool tl_cuda_fast_takes(const tl_backend *b, const tl_linear *op);
void tl_cuda_fast_run(tl_backend *b, const tl_linear *op);
size_t tl_cuda_fast_bytes(int32_t rows, int32_t widest);

#endif
