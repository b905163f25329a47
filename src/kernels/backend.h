/* A device with memory of its own (a GPU), as a table of functions: what a backend provides.
 *
 * A backend is a shared object, loaded at run time, so that neither the program nor the library
 * depends on a vendor's libraries. The operations are those of kernels.h. On a device their arrays
 * of floats are device memory; their arrays of indices (ids, table_rows, slots, columns, spans) are
 * the caller's, announced beforehand by `begin` or `stage`, which send them over.
 *
 * An operation that fails is remembered; the next function that can tell, tells. */
#ifndef TL_KERNELS_BACKEND_H
#define TL_KERNELS_BACKEND_H

#include "kernels/kernels.h"

/* Of this header. A backend of another version is refused. */
#define TL_BACKEND_VERSION 1

typedef struct tl_backend tl_backend; /* the backend's own */

/* An array of indices, and how long it may get: arrays keep their places between passes. */
typedef struct tl_staged {
    const int32_t *data;
    size_t count, capacity;
} tl_staged;

/* Spans that attention operations of the pass name. */
typedef struct tl_staged_spans {
    const tl_attention_span *spans;
    int32_t n_spans;
    bool causal;
} tl_staged_spans;

enum { TL_PASS_INDICES = 8, TL_PASS_SPANS = 4, TL_PASS_SHAPE = 8 };

/* A pass: the indices its operations read, and what decides which operations there are. */
typedef struct tl_backend_pass {
    int64_t shape[TL_PASS_SHAPE]; /* passes of the same consist of the same operations */
    int32_t heads, kv_heads, head_dim;
    tl_staged indices[TL_PASS_INDICES]; /* unused ones: data NULL */
    tl_staged keys;                     /* what the spans' slots point into */
    tl_staged_spans spans[TL_PASS_SPANS];
} tl_backend_pass;

typedef struct tl_backend_needs {
    int32_t rows;   /* of a pass */
    int32_t widest; /* columns of the widest product */
    int32_t keys;   /* of the longest span */
    int32_t heads, head_dim;
} tl_backend_needs;

typedef struct tl_backend_facts {
    char name[160];        /* "NVIDIA A100-SXM4-40GB, sm_80" */
    bool integrated;       /* it shares the processor's memory */
    size_t allocated;      /* bytes held, by the backend's own count */
    size_t peak;           /* the most that were */
    size_t adopted;        /* bytes of host memory used directly */
    size_t driver_used;    /* bytes the driver says are in use on the device, by everybody */
    size_t total;          /* bytes of the device */
    int64_t passes_played; /* passes that replayed a recorded graph */
} tl_backend_facts;

/* The logits' readings: of rows [rows, n], and of the asked (row, token) pairs. */
typedef struct tl_reading {
    const float *logits; /* device memory */
    int64_t stride;
    int32_t rows, n;
    const int32_t *ask_rows, *ask_tokens; /* staged, [n_asks] */
    int32_t n_asks;
    double *logsumexp; /* the caller's, [rows]; NULL: not asked */
    int32_t *argmax;   /* the caller's, [rows] */
    float *values;     /* the caller's, [n_asks] */
} tl_reading;

typedef struct tl_backend_table {
    int version;
    const char *name; /* "cuda" */

    /* Is there such a device? Takes no memory of it. */
    bool (*probe)(int index, tl_error *error);
    tl_backend *(*open)(int index, tl_precision precision, tl_error *error);
    void (*close)(tl_backend *backend);
    void (*facts)(tl_backend *backend, tl_backend_facts *facts);

    /* Device memory; running out is TL_ERROR_MEMORY. */
    void *(*allocate)(tl_backend *backend, size_t bytes, const char *what, tl_error *error);
    void (*release)(tl_backend *backend, void *memory);
    bool (*upload)(tl_backend *backend, void *to, const void *from, size_t bytes, tl_error *error);
    /* Waits for what was begun before; tells of failed operations. */
    bool (*download)(tl_backend *backend, void *to, const void *from, size_t bytes,
                     tl_error *error);
    /* Host memory that the device can read where it lies: its address there. NULL where that is
     * not possible or would be slower than a copy. */
    const void *(*adopt)(tl_backend *backend, const void *host, size_t bytes);

    /* Can products read matrices of this type? */
    bool (*multiplies)(const tl_backend *backend, tl_dtype dtype);
    bool (*reserve)(tl_backend *backend, const tl_backend_needs *needs, tl_error *error);
    /* Rows that an operation on `rows` rows is best made for: the next of a few sizes. The rows
     * added are computed and not used. */
    int32_t (*round_rows)(const tl_backend *backend, int32_t rows);

    /* Sends the pass's indices. *played: the operations of such a pass were recorded before, and
     * are done; otherwise the caller names them and calls end. */
    bool (*begin)(tl_backend *backend, const tl_backend_pass *pass, bool *played, tl_error *error);
    bool (*end)(tl_backend *backend, tl_error *error);
    /* Sends indices for operations outside a pass; those of the last stage are forgotten. */
    bool (*stage)(tl_backend *backend, const tl_staged *arrays, int count, tl_error *error);

    /* The device's own clock around operations: starts; stops, waits and returns seconds. */
    void (*timer_start)(tl_backend *backend);
    double (*timer_stop)(tl_backend *backend);

    void (*linear)(tl_backend *backend, const tl_linear *ops, int count);
    void (*embed)(tl_backend *backend, const tl_matrix *matrix, const int32_t *ids, int32_t rows,
                  float scale, float *y, int64_t y_stride);
    /* Layer norm, or with `rms` the root mean square norm. */
    void (*norm)(tl_backend *backend, bool rms, const float *x, int64_t x_stride, int32_t rows,
                 int32_t dim, const float *weight, const float *bias, float eps, float *y,
                 int64_t y_stride);
    void (*add_rows)(tl_backend *backend, const float *x, int64_t x_stride, int32_t rows,
                     int32_t dim, float *y, int64_t y_stride);
    void (*scale_rows)(tl_backend *backend, const float *x, int64_t x_stride, int32_t rows,
                       int32_t dim, float scale, float *y, int64_t y_stride);
    void (*rotate)(tl_backend *backend, float *x, int64_t x_stride, int32_t rows, int32_t heads,
                   int32_t head_dim, int32_t half, const float *cosines, const float *sines,
                   const int32_t *table_rows);
    void (*scatter_rows)(tl_backend *backend, const float *x, int64_t x_stride, int32_t rows,
                         int32_t dim, const int32_t *slots, float *store, int64_t store_stride);
    void (*keep_rows)(tl_backend *backend, float *x, int64_t x_stride, int32_t dim,
                      const int32_t *kept, int32_t count);
    void (*attention)(tl_backend *backend, const tl_attention *op);
    bool (*read)(tl_backend *backend, const tl_reading *reading, tl_error *error);
} tl_backend_table;

/* What a backend's shared object exports, as TL_BACKEND_SYMBOL. */
typedef const tl_backend_table *tl_backend_entry(void);
#define TL_BACKEND_SYMBOL "tinyllm_backend_table"

/* ---- for the engine: memory and passes of a compute on a device
 * ---------------------------------------- */

/* As tl_compute_new, on `device`: "cpu" (or NULL), "cuda", "cuda:N", or "auto", which is a GPU
 * where one can be had and else the CPU. */
tl_compute *tl_compute_open(tl_pool *pool, tl_precision precision, const char *device,
                            tl_error *error);

/* Is `device` one of these words? */
bool tl_backend_check(const char *device, tl_error *error);

/* Which device "auto" is here: "cuda" or "cpu". Any other word stays; one that asks for a device
 * that cannot be had is an error, NULL. */
const char *tl_backend_resolve(const char *device, tl_error *error);

/* The device's functions, NULL on the CPU; and the device to call them with. */
const tl_backend_table *tl_compute_table(const tl_compute *compute);
tl_backend *tl_compute_backend(const tl_compute *compute);

#endif
