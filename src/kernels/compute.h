/* What a tl_compute is made of: for the files of this room. */
#ifndef TL_KERNELS_COMPUTE_H
#define TL_KERNELS_COMPUTE_H

#include "kernels/backend.h"
#include "kernels/table.h"

struct tl_compute {
    tl_pool *pool;
    const tl_kernels *kernels;
    tl_precision precision;
    int threads;
    /* scratch memory: one part per thread, and one that all share */
    unsigned char *local;
    size_t local_bytes; /* of one thread */
    unsigned char *shared;
    size_t shared_bytes;
    /* NULL on the CPU */
    const tl_backend_table *table;
    tl_backend *backend;
    char backend_name[192];
};

/* At the head of an operation: on a device it is the device's. */
#define TL_ON_DEVICE(compute, operation, ...)                                                      \
    do {                                                                                           \
        if ((compute)->table) {                                                                    \
            (compute)->table->operation((compute)->backend, __VA_ARGS__);                          \
            return;                                                                                \
        }                                                                                          \
    } while (0)

/* Puts `compute` on the named device ("cuda", "cuda:1"). */
bool tl_backend_open(tl_compute *compute, const char *name, tl_error *error);
void tl_backend_close(tl_compute *compute);

/* Grows scratch memory to at least these sizes; what it held is lost. */
bool tl_compute_grow(tl_compute *compute, size_t local_bytes, size_t shared_bytes, tl_error *error);

static inline void *tl_local(const tl_compute *compute, int worker) {
    return compute->local + (size_t)worker * compute->local_bytes;
}

/* Runs `rows` rows in chunks of about `work` elements (rows of `dim`), on one thread when that is
 * all it is worth. */
typedef struct tl_rows_task tl_rows_task;
typedef void tl_rows_function(const tl_compute *compute, const void *context, int32_t first,
                              int32_t end);
void tl_rows_run(tl_compute *compute, int32_t rows, int32_t dim, tl_rows_function *function,
                 const void *context);

/* The scratch memory one thread needs for products with `in` columns, and all of them for `rows`
 * rows. */
size_t tl_linear_local_bytes(const tl_compute *compute, int32_t in);
size_t tl_linear_shared_bytes(const tl_compute *compute, int32_t rows, int32_t in);

#endif
