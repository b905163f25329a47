/* Every kernel of every instruction set that this processor runs, against plain double loops, at
 * odd sizes; and the same bits for any number of threads, rows and neighbours.
 *
 * Stands alone (no test library), so that tools/cross-check can run it under an emulator.
 *
 *   test_kernels [--brief] [INSTRUCTION-SET]
 *
 * --brief leaves out most row counts and long sums, for emulators. */
#include "kernels/kernels.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int failures;
static bool brief;

static void fail(const char *format, ...) TL_PRINTF(1, 2);
static void fail(const char *format, ...) {
    if (failures++ > 30) return;
    va_list arguments;
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
}

/* ---- values ---- */

static uint64_t state = 88172645463325252u;

static uint32_t random_bits(void) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (uint32_t)(state >> 32);
}

/* Roughly normal, of variance 1. */
static float random_value(void) {
    float sum = 0;
    for (int i = 0; i < 6; i++)
        sum += (float)random_bits() * 0x1p-32f - 0.5f;
    return sum * 1.4142135f;
}

static int32_t random_below(int32_t n) {
    return (int32_t)(random_bits() % (uint32_t)n);
}

static void *get(size_t bytes) {
    void *memory = aligned_alloc(64, (bytes + 63) / 64 * 64 + 64);
    if (!memory) exit(2);
    memset(memory, 0, bytes);
    return memory;
}

static float *random_values(size_t count) {
    float *x = get(count * sizeof *x);
    for (size_t i = 0; i < count; i++)
        x[i] = random_value();
    return x;
}

/* ---- the machine under test ---- */

static const char *isa;
static tl_pool *pools[4]; /* by number of threads */

static tl_compute *compute_new(int threads, tl_precision precision) {
    tl_error error;
    tl_compute *compute = tl_compute_new(pools[threads], precision, &error);
    if (!compute) {
        fprintf(stderr, "%s: %s\n", isa, error.message);
        exit(2);
    }
    return compute;
}

static const char *precision_name(tl_precision precision) {
    return precision == TL_EXACT ? "exact" : "fast";
}

/* ---- matrices ---- */

static tl_matrix random_matrix(tl_compute *compute, tl_dtype dtype, int32_t out, int32_t in) {
    float *values = random_values((size_t)out * (size_t)in);
    tl_matrix source = {TL_F32, out, in, in, values, (size_t)out * (size_t)in * 4};
    if (dtype == TL_F32) return source;
    tl_matrix result;
    tl_error error;
    if (!tl_matrix_convert(compute, &source, dtype, get(tl_matrix_bytes(dtype, out, in)), &result,
                           &error)) {
        fail("%s: %s", isa, error.message);
        exit(2);
    }
    free(values);
    return result;
}

static void matrix_free(tl_matrix *matrix) {
    free((void *)matrix->data);
}

/* The matrix widened by the embedding lookup, which test_embed checks on its own. */
static float *widened(tl_compute *compute, const tl_matrix *matrix) {
    float *y = get((size_t)matrix->out * (size_t)matrix->in * sizeof *y);
    int32_t *ids = get((size_t)matrix->out * sizeof *ids);
    for (int32_t i = 0; i < matrix->out; i++)
        ids[i] = i;
    tl_embed(compute, matrix, ids, matrix->out, 1.0f, y, matrix->in);
    free(ids);
    return y;
}

/* ---- products ---- */

static double reference_activation(tl_activation activation, double x) {
    switch (activation) {
    case TL_ACTIVATION_RELU:
        return x > 0 ? x : 0;
    case TL_ACTIVATION_GELU:
        return x * 0.5 * erfc(-x / sqrt(2.0));
    case TL_ACTIVATION_GELU_TANH:
        return 0.5 * x * (1 + tanh(sqrt(2 / acos(-1.0)) * (x + 0.044715 * x * x * x)));
    case TL_ACTIVATION_SILU:
        return x / (1 + exp(-x));
    case TL_ACTIVATION_NONE:
        break;
    }
    return x;
}

static double reference_dot(const float *x, const float *w, int32_t n, double *magnitude) {
    double sum = 0;
    *magnitude = 0;
    for (int32_t k = 0; k < n; k++) {
        sum += (double)x[k] * (double)w[k];
        *magnitude += fabs((double)x[k] * (double)w[k]);
    }
    return sum;
}

/* The error that a product may have, as a part of Σ |x w|: f32 sums in exact; bf16 rounding of both
 * operands (2⁻⁹ each) and blocks of int8 activations (largest / 254 each) on average in fast. */
static double tolerance(tl_precision precision, tl_dtype dtype) {
    if (precision == TL_EXACT || dtype == TL_F32) return 3e-6;
    return dtype == TL_Q8 || dtype == TL_Q4 ? 1.2e-2 : 6e-3;
}

typedef struct shape {
    int32_t rows, out, in;
} shape;

static void check_linear(tl_dtype dtype, tl_precision precision, shape s) {
    tl_compute *compute = compute_new(2, precision);
    tl_matrix weight = random_matrix(compute, dtype, s.out, s.in);
    tl_matrix gate = random_matrix(compute, dtype, s.out, s.in);
    float *wide = widened(compute, &weight), *wide_gate = widened(compute, &gate);
    int64_t x_stride = s.in + 3, y_stride = s.out + 5;
    float *x = random_values((size_t)(s.rows * x_stride));
    float *bias = random_values((size_t)s.out), *gate_bias = random_values((size_t)s.out);
    float *residual = random_values((size_t)(s.rows * y_stride));
    float *y = get((size_t)(s.rows * y_stride) * sizeof *y);
    for (int variant = 0; variant < 8; variant++) {
        tl_linear op = {.x = x,
                        .x_stride = x_stride,
                        .rows = s.rows,
                        .weight = &weight,
                        .bias = variant & 1 ? bias : NULL,
                        .activation = (tl_activation)(variant % 5),
                        .gate_weight = variant & 2 ? &gate : NULL,
                        .gate_bias = variant & 4 ? gate_bias : NULL,
                        .residual = variant & 4 ? residual : NULL,
                        .residual_stride = y_stride,
                        .y = y,
                        .y_stride = y_stride};
        if (variant == 7) { /* in place */
            memcpy(y, residual, (size_t)(s.rows * y_stride) * sizeof *y);
            op.residual = y;
        }
        tl_linear_run(compute, &op);
        for (int32_t r = 0; r < s.rows; r++) {
            for (int32_t o = 0; o < s.out; o++) {
                double magnitude, gate_magnitude = 0, factor = 1;
                double sum =
                    reference_dot(x + r * x_stride, wide + (int64_t)o * s.in, s.in, &magnitude);
                if (op.bias) sum += (double)bias[o];
                double expected = reference_activation(op.activation, sum);
                if (op.gate_weight) {
                    factor = reference_dot(x + r * x_stride, wide_gate + (int64_t)o * s.in, s.in,
                                           &gate_magnitude);
                    if (op.gate_bias) factor += (double)gate_bias[o];
                }
                double part = tolerance(precision, dtype);
                double allowed = part * (magnitude + 1) * 1.2 * (fabs(factor) + 1) +
                                 part * (gate_magnitude + 1) * (fabs(expected) + 1);
                expected *= factor;
                if (op.residual) expected += (double)residual[r * y_stride + o];
                double got = (double)y[r * y_stride + o];
                if (!(fabs(got - expected) <= allowed))
                    fail("%s %s %s %dx%dx%d variant %d: y[%d][%d] = %g, expected %g ± %g", isa,
                         tl_dtype_get(dtype)->name, precision_name(precision), s.rows, s.out, s.in,
                         variant, r, o, got, expected, allowed);
            }
        }
    }
    free(x), free(y), free(bias), free(gate_bias), free(residual), free(wide), free(wide_gate);
    matrix_free(&weight);
    matrix_free(&gate);
    tl_compute_free(compute);
}

/* Fast products: the error of a whole row, far below what single elements may have. */
static void check_fast_error(tl_dtype dtype) {
    enum { IN = 768, OUT = 96, ROWS = 9 };
    tl_compute *compute = compute_new(2, TL_FAST);
    tl_matrix weight = random_matrix(compute, dtype, OUT, IN);
    float *wide = widened(compute, &weight), *x = random_values(ROWS * IN);
    float *y = get(ROWS * OUT * sizeof *y);
    tl_linear op = {
        .x = x, .x_stride = IN, .rows = ROWS, .weight = &weight, .y = y, .y_stride = OUT};
    tl_linear_run(compute, &op);
    double error = 0, power = 0, magnitude;
    for (int32_t r = 0; r < ROWS; r++) {
        for (int32_t o = 0; o < OUT; o++) {
            double expected = reference_dot(x + r * IN, wide + o * IN, IN, &magnitude);
            double off = (double)y[r * OUT + o] - expected;
            error += off * off;
            power += expected * expected;
        }
    }
    double ratio = sqrt(error / power);
    if (!(ratio <= 0.01))
        fail("%s fast %s: relative error %.4f, expected at most 0.01", isa,
             tl_dtype_get(dtype)->name, ratio);
    free(x), free(y), free(wide);
    matrix_free(&weight);
    tl_compute_free(compute);
}

/* The same bits at 1 … 300 rows, for 1, 2 and 3 threads, for chosen columns, in company. */
static void check_bits(tl_dtype dtype, tl_precision precision, int32_t out, int32_t in, int step) {
    const int32_t ROWS = brief ? 40 : 300;
    tl_compute *one = compute_new(1, precision), *two = compute_new(2, precision);
    tl_compute *three = compute_new(3, precision);
    tl_matrix weight = random_matrix(one, dtype, out, in);
    float *x = random_values((size_t)ROWS * (size_t)in);
    size_t size = (size_t)ROWS * (size_t)out * sizeof(float);
    float *all = get(size), *part = get(size);
    tl_linear op = {.x = x,
                    .x_stride = in,
                    .rows = ROWS,
                    .weight = &weight,
                    .activation = TL_ACTIVATION_SILU,
                    .y = all,
                    .y_stride = out};
    tl_linear_run(one, &op);
    op.y = part;
    for (int32_t rows = 1; rows <= ROWS; rows += brief ? 5 : rows < 40 ? 1 : step) {
        tl_compute *compute = rows % 3 == 0 ? one : rows % 3 == 1 ? two : three;
        int32_t first = random_below(ROWS - rows + 1);
        op.rows = rows;
        op.x = x + (int64_t)first * in;
        memset(part, 0x7f, size);
        tl_linear_run(compute, &op);
        if (memcmp(part, all + (int64_t)first * out, (size_t)rows * (size_t)out * 4) != 0)
            fail("%s %s %s out %d in %d: %d rows give other bits", isa, tl_dtype_get(dtype)->name,
                 precision_name(precision), out, in, rows);
    }
    /* chosen columns, twice in one call with others */
    enum { COLUMNS = 21 };
    int32_t columns[COLUMNS];
    float few[7 * COLUMNS];
    for (int i = 0; i < COLUMNS; i++)
        columns[i] = random_below(out);
    op.rows = 7;
    op.x = x;
    tl_linear ops[2] = {op, op};
    ops[1].columns = columns;
    ops[1].n_columns = COLUMNS;
    ops[1].y = few;
    ops[1].y_stride = COLUMNS;
    tl_linear_run_many(two, ops, 2);
    for (int r = 0; r < 7; r++)
        for (int i = 0; i < COLUMNS; i++)
            if (memcmp(&few[r * COLUMNS + i], &all[(int64_t)r * out + columns[i]], 4) != 0)
                fail("%s %s %s: chosen column %d gives other bits", isa, tl_dtype_get(dtype)->name,
                     precision_name(precision), columns[i]);
    if (memcmp(part, all, (size_t)7 * (size_t)out * 4) != 0)
        fail("%s %s %s: company changes the bits", isa, tl_dtype_get(dtype)->name,
             precision_name(precision));
    free(x), free(all), free(part);
    matrix_free(&weight);
    tl_compute_free(one);
    tl_compute_free(two);
    tl_compute_free(three);
}

/* A NaN or infinity in one row shows in that row and nowhere else. */
static void check_poison(tl_dtype dtype, tl_precision precision) {
    enum { IN = 96, OUT = 40, ROWS = 20 };
    tl_compute *compute = compute_new(2, precision);
    tl_matrix weight = random_matrix(compute, dtype, OUT, IN);
    float *x = random_values(ROWS * IN), y[ROWS * OUT];
    x[3 * IN + 50] = NAN;
    x[11 * IN + 7] = INFINITY;
    tl_linear op = {
        .x = x, .x_stride = IN, .rows = ROWS, .weight = &weight, .y = y, .y_stride = OUT};
    tl_linear_run(compute, &op);
    for (int r = 0; r < ROWS; r++)
        for (int o = 0; o < OUT; o++)
            if (isfinite(y[r * OUT + o]) == (r == 3 || r == 11))
                fail("%s %s %s: y[%d][%d] = %g with a NaN in row 3, infinity in row 11", isa,
                     tl_dtype_get(dtype)->name, precision_name(precision), r, o,
                     (double)y[r * OUT + o]);
    free(x);
    matrix_free(&weight);
    tl_compute_free(compute);
}

static void check_products(void) {
    static const shape shapes[] = {{1, 1, 1},    {2, 3, 5},     {7, 17, 33},   {13, 70, 64},
                                   {1, 100, 96}, {5, 37, 1056}, {61, 65, 128}, {19, 16, 31}};
    for (int dtype = TL_F32; dtype <= TL_Q4; dtype++) {
        bool packed = dtype == TL_Q8 || dtype == TL_Q4;
        for (int precision = TL_EXACT; precision <= TL_FAST; precision++) {
            for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
                shape s = shapes[i];
                if (packed) s.in = (s.in + 31) / 32 * 32;
                if (brief && s.out * s.in > 10000) continue;
                check_linear((tl_dtype)dtype, (tl_precision)precision, s);
            }
            check_bits((tl_dtype)dtype, (tl_precision)precision, 77, packed ? 96 : 71, 1);
            check_bits((tl_dtype)dtype, (tl_precision)precision, brief ? 18 : 150, 1120, 41);
            check_poison((tl_dtype)dtype, (tl_precision)precision);
        }
        check_fast_error((tl_dtype)dtype);
    }
}

/* ---- rows ---- */

static bool close_to(double got, double expected, double relative, double absolute) {
    return fabs(got - expected) <= absolute + relative * fabs(expected);
}

static const int32_t dims[] = {1, 3, 8, 16, 31, 64, 100, 577, 2048};
enum { DIMS = sizeof dims / sizeof *dims, ROWS = 5 };

static void check_norms(tl_compute *compute) {
    for (int i = 0; i < DIMS; i++) {
        int32_t dim = dims[i], stride = dim + 2;
        float *x = random_values((size_t)(ROWS * stride)), *w = random_values((size_t)dim);
        float *b = random_values((size_t)dim), *y = get((size_t)(ROWS * stride) * 4);
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
                if (!close_to((double)y[r * stride + j], expected, 1e-5, r == 1 ? 2e-3 : 1e-5))
                    fail("%s layer_norm dim %d: y[%d][%d] = %g, expected %g", isa, dim, r, j,
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
                if (!close_to((double)y[r * stride + j], expected, 2e-6, 1e-7))
                    fail("%s rms_norm dim %d: y[%d][%d] = %g, expected %g", isa, dim, r, j,
                         (double)y[r * stride + j], expected);
            }
        }
        tl_rms_norm(compute, x, stride, ROWS, dim, w, 1e-6f, x, stride); /* in place */
        for (int r = 0; r < ROWS; r++)
            if (memcmp(x + r * stride, y + r * stride, (size_t)dim * 4) != 0)
                fail("%s rms_norm dim %d: in place gives other bits", isa, dim);
        float *sum = get((size_t)(ROWS * stride) * 4);
        memcpy(sum, y, (size_t)(ROWS * stride) * 4);
        tl_add_rows(compute, x, stride, ROWS, dim, sum, stride);
        for (int r = 0; r < ROWS; r++)
            for (int32_t j = 0; j < dim; j++)
                if (sum[r * stride + j] != y[r * stride + j] + x[r * stride + j])
                    fail("%s add_rows dim %d", isa, dim);
        free(x), free(w), free(b), free(y), free(sum);
    }
}

static void check_rotate(tl_compute *compute) {
    for (int i = 0; i < DIMS; i++) {
        int32_t half = dims[i], head_dim = 2 * half + 3, heads = 3;
        int32_t table_rows[ROWS] = {4, 0, 2, 2, 3};
        float *x = random_values((size_t)(ROWS * heads * head_dim));
        float *cosines = random_values((size_t)(ROWS * half));
        float *sines = random_values((size_t)(ROWS * half));
        float *y = get((size_t)(ROWS * heads * head_dim) * 4);
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
            if (!close_to((double)y[j], expected, 1e-6, 1e-6))
                fail("%s rotate half %d: [%d] = %g, expected %g", isa, half, j, (double)y[j],
                     expected);
        }
        free(x), free(y), free(cosines), free(sines);
    }
}

static void check_scatter(tl_compute *compute) {
    enum { DIM = 37, SLOTS = 9 };
    int32_t slots[ROWS] = {8, 1, 4, 0, 2};
    float *x = random_values(ROWS * DIM), store[SLOTS * (DIM + 1)] = {0};
    tl_scatter_rows(compute, x, DIM, ROWS, DIM, slots, store, DIM + 1);
    for (int r = 0; r < ROWS; r++)
        if (memcmp(store + slots[r] * (DIM + 1), x + r * DIM, DIM * 4) != 0)
            fail("%s scatter_rows: row %d", isa, r);
    free(x);
}

static void check_logsumexp(tl_compute *compute) {
    static const int32_t lengths[] = {1, 5, 16, 100, 1024, 1025, 20001};
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        int32_t n = lengths[i];
        float *x = random_values((size_t)(3 * n)), got[3];
        int32_t at[3];
        for (int32_t j = 0; j < n; j++) {
            x[n + j] = x[n + j] * 30.0f - 900.0f;
            x[2 * n + j] = floorf(x[2 * n + j]); /* ties: the first must win */
        }
        if (n > 3) x[1] = -INFINITY;
        tl_logsumexp_rows(compute, x, n, 3, n, got, at);
        for (int r = 0; r < 3; r++) {
            int32_t best = 0;
            double sum = 0;
            for (int32_t j = 1; j < n; j++)
                if (x[r * n + j] > x[r * n + best]) best = j;
            for (int32_t j = 0; j < n; j++)
                sum += exp((double)x[r * n + j] - (double)x[r * n + best]);
            double expected = (double)x[r * n + best] + log(sum);
            if (at[r] != best) fail("%s argmax of %d: %d, expected %d", isa, n, at[r], best);
            if (!close_to((double)got[r], expected, 2e-7, 3e-7))
                fail("%s logsumexp of %d: %.9g, expected %.9g", isa, n, (double)got[r], expected);
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
    const int COUNT = brief ? 4001 : 40001;
    float *x = get((size_t)COUNT * 4), *y = get((size_t)COUNT * 4);
    for (int i = 0; i < COUNT; i++)
        x[i] = (float)(i - COUNT / 2) * (i % 7 == 0 ? 5e-3f : 6e-4f) * (brief ? 10.0f : 1.0f);
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
            double expected = reference_activation((tl_activation)activation, (double)x[i]);
            double off = fabs((double)y[i] - expected) / fmax(1, fabs((double)x[i]));
            if (off > worst) worst = off;
            if (activation == TL_ACTIVATION_SILU && x[i] > -80.0f && x[i] != 0) {
                double u = ulps((double)y[i], expected);
                if (u > worst_ulps) worst_ulps = u;
            }
        }
        if (!(worst <= 1.6e-7) || !(worst_ulps <= 4) || !isnan(y[0]))
            fail("%s activation %d: off by %g (%g ulp), NaN gives %g", isa, activation, worst,
                 worst_ulps, (double)y[0]);
    }
    free(x), free(y);
}

/* ---- attention ---- */

typedef struct attention_case {
    int32_t heads, kv_heads, head_dim, keys, queries;
    bool causal;
    int32_t window;
    bool alibi, relative;
} attention_case;

typedef struct attention_data {
    float *q, *k, *v, *out, *slopes, *bias;
    int32_t *slots;
    int32_t q_width, kv_width;
} attention_data;

static attention_data attention_new(const attention_case *c) {
    attention_data d = {.q_width = c->heads * c->head_dim, .kv_width = c->kv_heads * c->head_dim};
    int32_t store = c->keys + 7;
    d.q = random_values((size_t)(c->queries * d.q_width));
    d.k = random_values((size_t)(store * d.kv_width));
    d.v = random_values((size_t)(store * d.kv_width));
    d.out = get((size_t)(c->queries * d.q_width) * 4);
    d.slopes = random_values((size_t)c->heads);
    d.bias = random_values((size_t)(c->heads * (2 * c->keys + 1)));
    d.slots = get((size_t)store * 4);
    for (int32_t i = 0; i < store; i++)
        d.slots[i] = i;
    for (int32_t i = store - 1; i > 0; i--) { /* shuffled */
        int32_t j = random_below(i + 1), t = d.slots[i];
        d.slots[i] = d.slots[j];
        d.slots[j] = t;
    }
    return d;
}

static void attention_free(attention_data *d) {
    free(d->q), free(d->k), free(d->v), free(d->out), free(d->slopes), free(d->bias);
    free(d->slots);
}

static tl_attention attention_op(const attention_case *c, const attention_data *d, float *out,
                                 const tl_attention_span *spans, int32_t n_spans) {
    return (tl_attention){.q = d->q,
                          .q_stride = d->q_width,
                          .k = d->k,
                          .v = d->v,
                          .kv_stride = d->kv_width,
                          .out = out,
                          .out_stride = d->q_width,
                          .heads = c->heads,
                          .kv_heads = c->kv_heads,
                          .head_dim = c->head_dim,
                          .scale = 0.3f,
                          .causal = c->causal,
                          .window = c->window,
                          .alibi_slopes = c->alibi ? d->slopes : NULL,
                          .relative_bias = c->relative ? d->bias : NULL,
                          .relative_stride = 2 * c->keys + 1,
                          .relative_center = c->keys,
                          .spans = spans,
                          .n_spans = n_spans};
}

static void check_attention_values(const attention_case *c, const attention_data *d) {
    int32_t first_position = c->keys - c->queries;
    double *p = get((size_t)c->keys * sizeof *p);
    for (int32_t i = 0; i < c->queries; i++) {
        int32_t position = first_position + i;
        int32_t end = c->causal ? position + 1 : c->keys;
        int32_t first = c->causal && c->window && end > c->window ? end - c->window : 0;
        for (int32_t h = 0; h < c->heads; h++) {
            const float *q = d->q + i * d->q_width + h * c->head_dim;
            int32_t column = h / (c->heads / c->kv_heads) * c->head_dim;
            double most = -INFINITY, sum = 0;
            for (int32_t key = first; key < end; key++) {
                const float *k = d->k + d->slots[key] * d->kv_width + column;
                double magnitude;
                p[key] = reference_dot(q, k, c->head_dim, &magnitude) * (double)0.3f;
                if (c->alibi) p[key] += (double)d->slopes[h] * key;
                if (c->relative)
                    p[key] += (double)d->bias[h * (2 * c->keys + 1) + key - position + c->keys];
                most = fmax(most, p[key]);
            }
            for (int32_t key = first; key < end; key++)
                sum += p[key] = exp(p[key] - most);
            for (int32_t j = 0; j < c->head_dim; j++) {
                double expected = 0;
                for (int32_t key = first; key < end; key++)
                    expected +=
                        p[key] / sum * (double)d->v[d->slots[key] * d->kv_width + column + j];
                double got = (double)d->out[i * d->q_width + h * c->head_dim + j];
                if (!close_to(got, expected, 1e-5, c->alibi ? 1e-4 : 1e-5))
                    fail("%s attention %d/%d heads of %d, %d keys, %d queries: row %d head %d [%d] "
                         "= %g, expected %g",
                         isa, c->heads, c->kv_heads, c->head_dim, c->keys, c->queries, i, h, j, got,
                         expected);
            }
        }
    }
    free(p);
}

/* The same rows cut into spans of their own lengths, by other threads. */
static void check_attention_cuts(const attention_case *c, const attention_data *d) {
    tl_attention_span spans[64];
    int32_t n = 0, first_position = c->keys - c->queries;
    for (int32_t done = 0; done < c->queries;) {
        int32_t count = n == 63 ? c->queries - done : 1 + random_below(c->queries - done);
        spans[n++] =
            (tl_attention_span){.slots = d->slots,
                                .keys = c->causal ? first_position + done + count : c->keys,
                                .first_row = done,
                                .queries = count,
                                .first_position = first_position + done};
        done += count;
    }
    size_t size = (size_t)(c->queries * d->q_width) * 4;
    float *out = get(size);
    for (int threads = 1; threads <= 3; threads++) {
        tl_compute *compute = compute_new(threads, TL_EXACT);
        tl_attention op = attention_op(c, d, out, spans, n);
        memset(out, 0, size);
        tl_attention_run(compute, &op);
        if (memcmp(out, d->out, size) != 0)
            fail("%s attention of %d keys, %d queries: %d spans on %d threads give other bits", isa,
                 c->keys, c->queries, n, threads);
        tl_compute_free(compute);
    }
    free(out);
}

static void check_attention(tl_compute *compute) {
    static const attention_case cases[] = {
        {1, 1, 1, 1, 1, true, 0, false, false},     {2, 1, 3, 5, 5, true, 0, false, false},
        {3, 3, 64, 70, 70, true, 0, false, false},  {9, 3, 64, 150, 33, true, 0, false, false},
        {14, 2, 64, 300, 1, true, 0, false, false}, {4, 4, 20, 131, 131, true, 17, false, false},
        {4, 2, 80, 90, 40, true, 0, true, false},   {6, 6, 64, 77, 77, false, 0, false, true},
        {8, 8, 32, 67, 3, false, 0, false, false},  {2, 2, 128, 257, 257, true, 100, false, false},
        {12, 12, 33, 65, 65, true, 0, false, true}, {71, 1, 16, 40, 12, true, 0, false, false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const attention_case *c = &cases[i];
        attention_data d = attention_new(c);
        tl_attention_span span = {d.slots, c->keys, 0, c->queries, c->keys - c->queries};
        tl_attention op = attention_op(c, &d, d.out, &span, 1);
        tl_attention_run(compute, &op);
        check_attention_values(c, &d);
        for (int cut = 0; cut < (brief ? 1 : 4); cut++)
            check_attention_cuts(c, &d);
        attention_free(&d);
    }
}

/* A key that is NaN harms only the queries that see it. */
static void check_attention_poison(tl_compute *compute) {
    attention_case c = {2, 2, 64, 50, 50, true, 0, false, false};
    attention_data d = attention_new(&c);
    d.v[d.slots[30] * d.kv_width + 5] = INFINITY;
    d.k[d.slots[40] * d.kv_width + 5] = NAN;
    tl_attention_span span = {d.slots, c.keys, 0, c.queries, 0};
    tl_attention op = attention_op(&c, &d, d.out, &span, 1);
    tl_attention_run(compute, &op);
    for (int32_t i = 0; i < c.queries; i++)
        if (isfinite(d.out[i * d.q_width + 5]) != (i < 30) ||
            isfinite(d.out[i * d.q_width]) != (i < 40))
            fail("%s attention: query %d and the poisoned keys 30, 40", isa, i);
    attention_free(&d);
}

/* ---- conversions ---- */

static void check_conversions(tl_compute *compute) {
    enum { OUT = 21, IN = 96 };
    static const float odd[] = {0.0f,     -0.0f,    65504.0f, 65520.0f,  1e-8f, 6e-8f,
                                -6.1e-5f, INFINITY, NAN,      -INFINITY, 3e38f, 1.00390625f};
    float *values = random_values(OUT * IN);
    memcpy(values, odd, sizeof odd);
    tl_matrix source = {TL_F32, OUT, IN, IN, values, OUT * IN * 4}, halves, back;
    uint16_t *data = get(OUT * IN * 2);
    float *wide = get(OUT * IN * 4);
    for (int dtype = TL_F16; dtype <= TL_BF16; dtype++) {
        tl_error error;
        if (!tl_matrix_convert(compute, &source, (tl_dtype)dtype, data, &halves, &error) ||
            !tl_matrix_convert(compute, &halves, TL_F32, wide, &back, &error))
            fail("%s convert: %s", isa, error.message);
        for (int i = 0; i < OUT * IN; i++) {
            uint16_t expected =
                dtype == TL_F16 ? tl_f32_to_f16(values[i]) : tl_f32_to_bf16(values[i]);
            float widened_value =
                dtype == TL_F16 ? tl_f16_to_f32(data[i]) : tl_bf16_to_f32(data[i]);
            bool nan = values[i] != values[i];
            if (nan ? widened_value == widened_value : data[i] != expected)
                fail("%s %g as %s: %04x, expected %04x", isa, (double)values[i],
                     tl_dtype_get((tl_dtype)dtype)->name, data[i], expected);
            if (!nan && memcmp(&wide[i], &widened_value, 4) != 0)
                fail("%s %04x widened from %s: %g", isa, data[i],
                     tl_dtype_get((tl_dtype)dtype)->name, (double)wide[i]);
        }
    }
    free(values), free(data), free(wide);
}

/* Sizes that end within tiles and slabs, and exactly with them. */
static void check_transposition(tl_compute *compute) {
    static const int32_t sizes[][2] = {{1, 1}, {3, 70}, {64, 32}, {67, 1025}, {200, 1537}};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        int32_t in = sizes[i][0], out = sizes[i][1], count = in * out;
        uint32_t *words = get((size_t)count * 4), *turned = get((size_t)count * 4);
        for (int32_t j = 0; j < count; j++)
            words[j] = 0x9e3779b9u * (uint32_t)j;
        tl_matrix_transpose(compute, words, TL_F32, in, out, turned);
        for (int32_t j = 0; j < count; j++)
            if (turned[j % out * in + j / out] != words[j])
                fail("f32 transpose of %d x %d [%d]", in, out, j);
        const uint16_t *halves = (const uint16_t *)words;
        uint16_t *turned_halves = (uint16_t *)turned;
        tl_matrix_transpose(compute, words, TL_BF16, in, out, turned);
        for (int32_t j = 0; j < count; j++)
            if (turned_halves[j % out * in + j / out] != halves[j])
                fail("bf16 transpose of %d x %d [%d]", in, out, j);
        free(words), free(turned);
    }
}

/* Blocks that are hard to round: of zeros, of halves, with extremes of both signs, so small that
 * the scale is no normal number, and not finite. */
static void place_hard_blocks(float *values, int in) {
    for (int k = 0; k < 32; k++) {
        values[k] = 0.0f;
        values[3 * in + k] = (float)k - 15.5f;
        values[4 * in + k] = k == 9 ? -127.0f : (float)(k - 16) + 0.5f;
        values[5 * in + k] = k == 9 ? 8.0f : (float)(k % 8) - 3.5f;
        values[6 * in + k] = (float)(k - 11) * 3e-41f;
        values[7 * in + k] = (float)(k - 11) * 4e-45f;
    }
    values[40] = -9.5f;
    values[72] = 9.5f;
    values[8 * in + 5] = INFINITY;
    values[9 * in + 37] = NAN;
}

/* q8 and q4 hold what ggml's rules give, as read back by the embedding lookup. */
static void check_quantisation_of(tl_compute *compute, tl_dtype from) {
    enum { OUT = 19, IN = 128 };
    float *values = random_values(OUT * IN);
    place_hard_blocks(values, IN);
    tl_matrix wide_source = {TL_F32, OUT, IN, IN, values, OUT * IN * 4}, source;
    void *stored_source = get(tl_matrix_bytes(from, OUT, IN));
    tl_error error;
    if (!tl_matrix_convert(compute, &wide_source, from, stored_source, &source, &error))
        fail("%s convert: %s", isa, error.message);
    tl_widen(stored_source, from, OUT * IN, values);
    for (int dtype = TL_Q8; dtype <= TL_Q4; dtype++) {
        tl_matrix packed;
        void *data = get(tl_matrix_bytes((tl_dtype)dtype, OUT, IN));
        if (!tl_matrix_convert(compute, &source, (tl_dtype)dtype, data, &packed, &error))
            fail("%s convert: %s", isa, error.message);
        float *wide = widened(compute, &packed);
        for (int b = 0; b < OUT * IN; b += 32) {
            float extreme = 0;
            bool finite = true;
            for (int k = b; k < b + 32; k++) {
                extreme = fabsf(values[k]) > fabsf(extreme) ? values[k] : extreme;
                finite &= isfinite(values[k]) != 0;
            }
            float scale = dtype == TL_Q8 ? fabsf(extreme) / 127.0f : extreme / -8.0f;
            float stored = finite ? tl_f16_to_f32(tl_f32_to_f16(scale)) : NAN;
            float inverse = scale != 0 ? 1.0f / scale : 0.0f;
            for (int k = b; k < b + 32; k++) {
                float scaled = values[k] * inverse;
                float q = dtype == TL_Q8 ? fmaxf(-127, fminf(127, roundf(scaled)))
                                         : fmaxf(0, fminf(15, floorf(scaled + 8.5f))) - 8;
                if (finite ? wide[k] != q * stored : !isnan(wide[k]))
                    fail("%s %s of %s [%d] = %g of %g, expected %g", isa,
                         tl_dtype_get((tl_dtype)dtype)->name, tl_dtype_get(from)->name, k,
                         (double)wide[k], (double)values[k], (double)(q * stored));
            }
        }
        free(data), free(wide);
    }
    free(values), free(stored_source);
}

static void check_quantisation(tl_compute *compute) {
    for (int from = TL_F32; from <= TL_BF16; from++)
        check_quantisation_of(compute, (tl_dtype)from);
}

static void check_embed(tl_compute *compute) {
    enum { VOCAB = 50, IN = 70 };
    for (int dtype = TL_F32; dtype <= TL_BF16; dtype++) {
        tl_matrix matrix = random_matrix(compute, (tl_dtype)dtype, VOCAB, IN);
        int32_t ids[ROWS] = {49, 0, 7, 7, 31};
        float y[ROWS * IN], wide[VOCAB * IN];
        tl_embed(compute, &matrix, ids, ROWS, 3.0f, y, IN);
        tl_widen(matrix.data, matrix.dtype, VOCAB * IN, wide);
        for (int r = 0; r < ROWS; r++)
            for (int d = 0; d < IN; d++)
                if (y[r * IN + d] != wide[ids[r] * IN + d] * 3.0f)
                    fail("%s embed %s row %d [%d]", isa, tl_dtype_get((tl_dtype)dtype)->name, r, d);
        matrix_free(&matrix);
    }
}

static void check_everything(void) {
    tl_compute *compute = compute_new(2, TL_EXACT);
    check_conversions(compute);
    check_transposition(compute);
    check_quantisation(compute);
    check_embed(compute);
    check_norms(compute);
    check_rotate(compute);
    check_scatter(compute);
    check_logsumexp(compute);
    check_activations(compute);
    check_attention(compute);
    check_attention_poison(compute);
    tl_compute_free(compute);
    check_products();
}

static void check_choice(void) {
    tl_error error;
    setenv("TINYLLM_CPU", "abacus", 1);
    if (tl_compute_new(pools[1], TL_EXACT, &error) || !strstr(error.message, "scalar"))
        fail("TINYLLM_CPU=abacus: expected an error that lists scalar");
}

int main(int count, char **arguments) {
    tl_error error;
    const char *wanted = NULL;
    brief = getenv("TINYLLM_TEST_BRIEF") != NULL;
    for (int i = 1; i < count; i++) {
        if (strcmp(arguments[i], "--brief") == 0)
            brief = true;
        else
            wanted = arguments[i];
    }
    for (int threads = 1; threads <= 3; threads++) {
        pools[threads] = tl_pool_new(threads, &error);
        if (!pools[threads]) return 2;
    }
    check_choice();
    const char *names[16];
    size_t found = tl_compute_available(names, 16);
    for (size_t i = 0; i < found; i++) {
        isa = names[i];
        if (wanted && strcmp(wanted, isa) != 0) continue;
        setenv("TINYLLM_CPU", isa, 1);
        int before = failures;
        check_everything();
        printf("%s: %s\n", isa, failures == before ? "passed" : "FAILED");
    }
    for (int threads = 1; threads <= 3; threads++)
        tl_pool_free(pools[threads]);
    return failures ? 1 : 0;
}
