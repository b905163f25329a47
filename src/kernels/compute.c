/* What is asked of an open compute: its facts, its memory, rows in chunks. */
#include "kernels/compute.h"

#include <stdlib.h>
#include <sys/mman.h>

enum { HUGE_PAGE = 2 << 20 };

const char *tl_compute_isa(const tl_compute *compute) {
    return compute->table ? compute->backend_name : compute->kernels->name;
}

tl_pool *tl_compute_pool(const tl_compute *compute) {
    return compute->pool;
}

tl_precision tl_compute_precision(const tl_compute *compute) {
    return compute->precision;
}

void tl_compute_blocks(const tl_compute *compute, const void *blocks[2], size_t bytes[2]) {
    blocks[0] = compute->local;
    bytes[0] = compute->local_bytes * (size_t)compute->threads;
    blocks[1] = compute->shared;
    bytes[1] = compute->shared_bytes;
}

/* Aligned memory, in huge pages where the system has them to give. */
static bool renew(unsigned char **memory, size_t bytes, tl_error *error) {
    size_t alignment = bytes >= HUGE_PAGE ? HUGE_PAGE : TL_ALIGNMENT;
    size_t rounded = (bytes + alignment - 1) & ~(alignment - 1);
    free(*memory);
    *memory = aligned_alloc(alignment, rounded);
    if (!*memory) return tl_fail_memory(error, rounded, "scratch memory");
    if (alignment == HUGE_PAGE) madvise(*memory, rounded, MADV_HUGEPAGE);
    return true;
}

bool tl_compute_grow(tl_compute *compute, size_t local_bytes, size_t shared_bytes,
                     tl_error *error) {
    if (local_bytes > compute->local_bytes) {
        local_bytes = tl_align(local_bytes);
        compute->local_bytes = 0;
        if (!renew(&compute->local, local_bytes * (size_t)compute->threads, error)) return false;
        compute->local_bytes = local_bytes;
    }
    if (shared_bytes > compute->shared_bytes) {
        compute->shared_bytes = 0;
        if (!renew(&compute->shared, shared_bytes, error)) return false;
        compute->shared_bytes = shared_bytes;
    }
    return true;
}

/* ---- rows in chunks ---- */

struct tl_rows_task {
    const tl_compute *compute;
    tl_rows_function *function;
    const void *context;
    int32_t rows, step;
};

static void run_chunk(void *context, int chunk, int worker) {
    (void)worker;
    const tl_rows_task *task = context;
    int32_t first = chunk * task->step;
    task->function(task->compute, task->context, first, tl_min(first + task->step, task->rows));
}

void tl_rows_run(tl_compute *compute, int32_t rows, int32_t dim, tl_rows_function *function,
                 const void *context) {
    enum { WORTH = 8192 }; /* elements that pay for waking a thread */
    int32_t step = tl_max(1, WORTH / tl_max(1, dim));
    if (rows <= step || compute->threads == 1) {
        if (rows > 0) function(compute, context, 0, rows);
        return;
    }
    tl_rows_task task = {compute, function, context, rows, step};
    tl_pool_run(compute->pool, (rows + step - 1) / step, run_chunk, &task);
}
