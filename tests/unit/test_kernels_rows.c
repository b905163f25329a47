/* What is done row by row (embeddings, norms, rotations, sums of exponentials, activations) against
 * double loops. */
#include "support/kernels.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const int32_t dims[] = {1, 3, 8, 16, 31, 64, 100, 577, 2048};
enum { DIMS = sizeof dims / sizeof *dims, ROWS = 5 };

static void check_norms(tl_compute *compute) {
    for (int i = 0; i < DIMS; i++) {
        int32_t dim = dims[i], stride = dim + 2;
        float *x = test_random_values((size_t)(ROWS * stride)),
              *w = test_random_values((size_t)dim);
        float *b = test_random_values((size_t)dim), *y = test_memory((size_t)(ROWS * stride) * 4);
        for (int32_t j = 0; j < stride; j++)
            x[stride + j] += 100.0f; /* a mean far from zero */
        tl_layer_norm(compute, x, stride, ROWS, dim, w, b, 1e-5f, y, stride);
        for (int r = 0; r < ROWS; r++) {
            double mean = 0, variance = 0;
            for (int32_t j = 0; j < dim; j++)
                mean += (double)x[r * stride + j] / dim;
            for (int32_t j = 0; j < dim; j++)
                variance += pow((double)x[r * stride + j] - mean, 2) / dim;
            for (int32_t j = 0; j < dim; j++) {
                double expected =
                    ((double)x[r * stride + j] - mean) / sqrt(variance + 1e-5) * (double)w[j] +
                    (double)b[j];
                if (!test_close((double)y[r * stride + j], expected, 1e-5, r == 1 ? 2e-3 : 1e-5))
                    test_fail("layer_norm dim %d: y[%d][%d] = %g, expected %g", dim, r, j,
                              (double)y[r * stride + j], expected);
            }
        }
        tl_rms_norm(compute, x, stride, ROWS, dim, w, 1e-6f, y, stride);
        for (int r = 0; r < ROWS; r++) {
            double mean = 0;
            for (int32_t j = 0; j < dim; j++)
                mean += pow((double)x[r * stride + j], 2) / dim;
            for (int32_t j = 0; j < dim; j++) {
                double expected = (double)x[r * stride + j] / sqrt(mean + 1e-6) * (double)w[j];
                if (!test_close((double)y[r * stride + j], expected, 2e-6, 1e-7))
                    test_fail("rms_norm dim %d: y[%d][%d] = %g, expected %g", dim, r, j,
                              (double)y[r * stride + j], expected);
            }
        }
        tl_rms_norm(compute, x, stride, ROWS, dim, w, 1e-6f, x, stride); /* in place */
        for (int r = 0; r < ROWS; r++)
            if (memcmp(x + r * stride, y + r * stride, (size_t)dim * 4) != 0)
                test_fail("rms_norm dim %d: in place gives other bits", dim);
        float *sum = test_memory((size_t)(ROWS * stride) * 4);
        memcpy(sum, y, (size_t)(ROWS * stride) * 4);
        tl_add_rows(compute, x, stride, ROWS, dim, sum, stride);
        for (int r = 0; r < ROWS; r++)
            for (int32_t j = 0; j < dim; j++)
                if (sum[r * stride + j] != y[r * stride + j] + x[r * stride + j])
                    test_fail("add_rows dim %d", dim);
        free(x), free(w), free(b), free(y), free(sum);
    }
}

static void check_rotate(tl_compute *compute) {
    for (int i = 0; i < DIMS; i++) {
        int32_t half = dims[i], head_dim = 2 * half + 3, heads = 3;
        int32_t table_rows[ROWS] = {4, 0, 2, 2, 3};
        float *x = test_random_values((size_t)(ROWS * heads * head_dim));
        float *cosines = test_random_values((size_t)(ROWS * half));
        float *sines = test_random_values((size_t)(ROWS * half));
        float *y = test_memory((size_t)(ROWS * heads * head_dim) * 4);
        memcpy(y, x, (size_t)(ROWS * heads * head_dim) * 4);
        tl_rotate(compute, y, heads * head_dim, ROWS, heads, head_dim, half, cosines, sines,
                  table_rows);
        for (int32_t j = 0; j < ROWS * heads * head_dim; j++) {
            int32_t d = j % head_dim, at = table_rows[j / (heads * head_dim)] * half + d % half;
            double expected = (double)x[j];
            if (d < half)
                expected =
                    (double)x[j] * (double)cosines[at] - (double)x[j + half] * (double)sines[at];
            else if (d < 2 * half)
                expected =
                    (double)x[j] * (double)cosines[at] + (double)x[j - half] * (double)sines[at];
            if (!test_close((double)y[j], expected, 1e-6, 1e-6))
                test_fail("rotate half %d: [%d] = %g, expected %g", half, j, (double)y[j],
                          expected);
        }
        free(x), free(y), free(cosines), free(sines);
    }
}

static void check_scatter(tl_compute *compute) {
    enum { DIM = 37, SLOTS = 9 };
    int32_t slots[ROWS] = {8, 1, 4, 0, 2};
    float *x = test_random_values(ROWS * DIM), store[SLOTS * (DIM + 1)] = {0};
    tl_scatter_rows(compute, x, DIM, ROWS, DIM, slots, store, DIM + 1);
    for (int r = 0; r < ROWS; r++)
        if (memcmp(store + slots[r] * (DIM + 1), x + r * DIM, DIM * 4) != 0)
            test_fail("scatter_rows: row %d", r);
    free(x);
}

/* Blocks of a row are read as if each were a row of its own. */
static void check_blocks(tl_compute *compute) {
    enum { N = 5000, BLOCK = 2048, BLOCKS = 3, STRIDE = 5003 };
    float *x = test_random_values(2 * STRIDE), got[2 * BLOCKS], expected;
    int32_t at[2 * BLOCKS], alone[2 * BLOCKS], first;
    tl_logsumexp_rows(compute, x, STRIDE, 2, N, BLOCK, got, at);
    tl_logsumexp_rows(compute, x, STRIDE, 2, N, BLOCK, NULL, alone);
    for (int32_t i = 0; i < 2 * BLOCKS; i++) {
        int32_t column = i % BLOCKS * BLOCK, count = column + BLOCK > N ? N - column : BLOCK;
        tl_logsumexp_rows(compute, x + i / BLOCKS * STRIDE + column, STRIDE, 1, count, count,
                          &expected, &first);
        if (memcmp(&got[i], &expected, sizeof expected) != 0 || at[i] != column + first ||
            alone[i] != at[i])
            test_fail("block %d: %.9g at %d (alone %d), expected %.9g at %d", i, (double)got[i],
                      at[i], alone[i], (double)expected, column + first);
    }
    free(x);
}

static void check_logsumexp(tl_compute *compute) {
    check_blocks(compute);
    static const int32_t lengths[] = {1, 5, 16, 100, 1024, 1025, 20001};
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        int32_t n = lengths[i];
        float *x = test_random_values((size_t)(3 * n)), got[3];
        int32_t at[3];
        for (int32_t j = 0; j < n; j++) {
            x[n + j] = x[n + j] * 30.0f - 900.0f;
            x[2 * n + j] = floorf(x[2 * n + j]); /* ties: the first must win */
        }
        if (n > 3) x[1] = -INFINITY;
        tl_logsumexp_rows(compute, x, n, 3, n, n, got, at);
        for (int r = 0; r < 3; r++) {
            int32_t best = 0;
            double sum = 0;
            for (int32_t j = 1; j < n; j++)
                if (x[r * n + j] > x[r * n + best]) best = j;
            for (int32_t j = 0; j < n; j++)
                sum += exp((double)x[r * n + j] - (double)x[r * n + best]);
            double expected = (double)x[r * n + best] + log(sum);
            if (at[r] != best) test_fail("argmax of %d: %d, expected %d", n, at[r], best);
            if (!test_close((double)got[r], expected, 2e-7, 3e-7))
                test_fail("logsumexp of %d: %.9g, expected %.9g", n, (double)got[r], expected);
        }
        free(x);
    }
}

/* ---- activations, through a product with the number 1 ---- */

static double ulps(double got, double expected) {
    float f = (float)expected;
    double unit = fabs((double)(nextafterf(f, INFINITY) - f));
    return fabs(got - expected) / unit;
}

static void check_activations(tl_compute *compute) {
    static const float one = 1.0f;
    tl_matrix weight = {TL_F32, 1, 1, 1, &one, 4};
    const int COUNT = test_kernels_brief() ? 4001 : 40001;
    float *x = test_memory((size_t)COUNT * 4), *y = test_memory((size_t)COUNT * 4);
    for (int i = 0; i < COUNT; i++)
        x[i] = (float)(i - COUNT / 2) * (i % 7 == 0 ? 5e-3f : 6e-4f) *
               (test_kernels_brief() ? 10.0f : 1.0f);
    x[0] = NAN;
    for (int activation = TL_ACTIVATION_RELU; activation <= TL_ACTIVATION_SILU; activation++) {
        tl_linear op = {.x = x,
                        .x_stride = 1,
                        .rows = COUNT,
                        .weight = &weight,
                        .activation = (tl_activation)activation,
                        .y = y,
                        .y_stride = 1};
        tl_linear_run(compute, &op);
        double worst = 0, worst_ulps = 0;
        for (int i = 1; i < COUNT; i++) {
            double expected = test_activation((tl_activation)activation, (double)x[i]);
            double off = fabs((double)y[i] - expected) / fmax(1, fabs((double)x[i]));
            if (off > worst) worst = off;
            if (activation == TL_ACTIVATION_SILU && x[i] > -80.0f && x[i] != 0) {
                double u = ulps((double)y[i], expected);
                if (u > worst_ulps) worst_ulps = u;
            }
        }
        if (!(worst <= 1.6e-7) || !(worst_ulps <= 4) || !isnan(y[0]))
            test_fail("activation %d: off by %g (%g ulp), NaN gives %g", activation, worst,
                      worst_ulps, (double)y[0]);
    }
    free(x), free(y);
}

static void check_embed(tl_compute *compute) {
    enum { VOCAB = 50, IN = 70 };
    for (int dtype = TL_F32; dtype <= TL_BF16; dtype++) {
        tl_matrix matrix = test_random_matrix(compute, (tl_dtype)dtype, VOCAB, IN);
        int32_t ids[ROWS] = {49, 0, 7, 7, 31};
        float y[ROWS * IN], wide[VOCAB * IN];
        tl_embed(compute, &matrix, ids, ROWS, 3.0f, y, IN);
        tl_widen(matrix.data, matrix.dtype, VOCAB * IN, wide);
        for (int r = 0; r < ROWS; r++)
            for (int d = 0; d < IN; d++)
                if (y[r * IN + d] != wide[ids[r] * IN + d] * 3.0f)
                    test_fail("embed %s row %d [%d]", tl_dtype_get((tl_dtype)dtype)->name, r, d);
        test_matrix_free(&matrix);
    }
}

static void check_all(void) {
    tl_compute *compute = test_compute_new(2, TL_EXACT);
    check_embed(compute);
    check_norms(compute);
    check_rotate(compute);
    check_scatter(compute);
    check_logsumexp(compute);
    check_activations(compute);
    tl_compute_free(compute);
}

int main(int count, char **arguments) {
    return test_each_instruction_set(count, arguments, check_all);
}
