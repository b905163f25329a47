/* One product, some number of times, on one thread: what bench/count_instructions.py counts the
 * instructions of.
 *
 *   one_product DTYPE exact|fast ROWS IN OUT TIMES
 *
 * TINYLLM_CPU chooses the instruction set; its name is printed. */
#include "kernels/kernels.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static float *values(size_t count) {
    float *x = aligned_alloc(64, (count * sizeof *x + 63) / 64 * 64);
    if (!x) exit(1);
    uint32_t state = 12345;
    for (size_t i = 0; i < count; i++) {
        state = state * 1664525 + 1013904223;
        x[i] = (float)(state >> 8) * 0x1p-24f - 0.5f;
    }
    return x;
}

static bool find_dtype(const char *name, tl_dtype *dtype) {
    for (int i = TL_F32; i <= TL_Q4; i++) {
        *dtype = (tl_dtype)i;
        if (strcmp(tl_dtype_get(*dtype)->name, name) == 0) return true;
    }
    return false;
}

int main(int argc, char **argv) {
    tl_dtype dtype;
    if (argc != 7 || !find_dtype(argv[1], &dtype)) return 2;
    tl_precision precision = strcmp(argv[2], "fast") == 0 ? TL_FAST : TL_EXACT;
    int32_t rows = atoi(argv[3]), in = atoi(argv[4]), out = atoi(argv[5]), times = atoi(argv[6]);
    if (rows < 1 || in < 1 || out < 1) return 2;
    tl_error error;
    tl_pool *pool = tl_pool_new(1, &error);
    tl_compute *compute = pool ? tl_compute_new(pool, precision, &error) : NULL;
    float *source = values((size_t)out * (size_t)in), *x = values((size_t)rows * (size_t)in);
    float *y = values((size_t)rows * (size_t)out);
    tl_matrix wide = {TL_F32, out, in, in, source, (size_t)out * (size_t)in * 4}, weight;
    void *data = values(tl_matrix_bytes(dtype, out, in) / sizeof(float) + 1);
    if (!compute || !tl_matrix_convert(compute, &wide, dtype, data, &weight, &error) ||
        !tl_compute_reserve(compute, rows, in, 1, &error)) {
        fprintf(stderr, "%s\n", error.message);
        return 1;
    }
    tl_linear op = {
        .x = x, .x_stride = in, .rows = rows, .weight = &weight, .y = y, .y_stride = out};
    for (int32_t i = 0; i < times; i++)
        tl_linear_run(compute, &op);
    printf("%s\n", tl_compute_isa(compute));
    tl_compute_free(compute);
    tl_pool_free(pool);
    free(source), free(x), free(y), free(data);
    return 0;
}
