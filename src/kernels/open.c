/* Which instruction set, which device; and the first memory. */
#include "kernels/compute.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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

bool tl_compute_reserve(tl_compute *compute, int32_t rows, int32_t in, int32_t keys,
                        tl_error *error) {
    if (compute->table) return true; /* the device has a reserve of its own */
    size_t local = tl_linear_local_bytes(compute, in);
    size_t attention = tl_attend_bytes(keys, 256);
    return tl_compute_grow(compute, local > attention ? local : attention,
                           tl_linear_shared_bytes(compute, rows, in), error);
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
