#include "kernels/compute.h"

#include "kernels/cpu_features.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { MOST_SETS = 16, HUGE_PAGE = 2 << 20 };

static void list_usable(char *text, size_t size) {
    size_t length = 0;
    text[0] = 0;
    for (int i = 0; tl_kernels_built[i] && length < size; i++) {
        if (!tl_kernels_built[i]->usable()) continue;
        length += (size_t)snprintf(text + length, size - length, "%s%s", length ? ", " : "",
                                   tl_kernels_built[i]->name);
    }
}

static const tl_kernels *choose(tl_error *error) {
    const char *wanted = getenv("TINYLLM_CPU");
    if (wanted && !*wanted) wanted = NULL;
    for (int i = 0; tl_kernels_built[i]; i++) {
        const tl_kernels *kernels = tl_kernels_built[i];
        if (wanted ? strcmp(wanted, kernels->name) != 0 : !kernels->advisable()) continue;
        if (kernels->usable()) return kernels;
    }
    char usable[256];
    list_usable(usable, sizeof usable);
    tl_fail(error, TL_ERROR_USAGE, "TINYLLM_CPU=%s is not to be had on this machine: it has %s",
            wanted ? wanted : "", usable);
    return NULL;
}

size_t tl_compute_available(const char **names, size_t room) {
    size_t count = 0;
    for (int i = 0; tl_kernels_built[i]; i++) {
        if (!tl_kernels_built[i]->usable()) continue;
        if (count < room) names[count] = tl_kernels_built[i]->name;
        count++;
    }
    return count;
}

tl_compute *tl_compute_new(tl_pool *pool, tl_precision precision, tl_error *error) {
    return tl_compute_open(pool, precision, NULL, error);
}

tl_compute *tl_compute_open(tl_pool *pool, tl_precision precision, const char *device,
                            tl_error *error) {
    device = tl_backend_resolve(device, error);
    if (!device) return NULL;
    const tl_kernels *kernels = choose(error);
    if (!kernels) return NULL;
    tl_compute *compute = calloc(1, sizeof *compute);
    if (!compute) {
        tl_fail_memory(error, sizeof *compute, "the kernels");
        return NULL;
    }
    *compute = (tl_compute){
        .pool = pool, .kernels = kernels, .precision = precision, .threads = tl_pool_threads(pool)};
    if ((strcmp(device, "cpu") == 0 || tl_backend_open(compute, device, error)) &&
        tl_compute_reserve(compute, 1, 1024, 256, error))
        return compute;
    tl_compute_free(compute);
    return NULL;
}

void tl_compute_free(tl_compute *compute) {
    if (!compute) return;
    tl_backend_close(compute);
    free(compute->local);
    free(compute->shared);
    free(compute);
}

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

bool tl_compute_reserve(tl_compute *compute, int32_t rows, int32_t in, int32_t keys,
                        tl_error *error) {
    if (compute->table) return true; /* the device has a reserve of its own */
    size_t local = tl_linear_local_bytes(compute, in);
    size_t attention = tl_attend_bytes(keys, 256);
    return tl_compute_grow(compute, local > attention ? local : attention,
                           tl_linear_shared_bytes(compute, rows, in), error);
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
