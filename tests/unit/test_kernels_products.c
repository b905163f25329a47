/* Products of matrices against double loops, at odd sizes; and the same bits for any number of
 * threads, rows and neighbours. */
#include "support/kernels.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

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
    tl_compute *compute = test_compute_new(2, precision);
    tl_matrix weight = test_random_matrix(compute, dtype, s.out, s.in);
    tl_matrix gate = test_random_matrix(compute, dtype, s.out, s.in);
    float *wide = test_widened(compute, &weight), *wide_gate = test_widened(compute, &gate);
    int64_t x_stride = s.in + 3, y_stride = s.out + 5;
    float *x = test_random_values((size_t)(s.rows * x_stride));
    float *bias = test_random_values((size_t)s.out), *gate_bias = test_random_values((size_t)s.out);
    float *residual = test_random_values((size_t)(s.rows * y_stride));
    float *y = test_memory((size_t)(s.rows * y_stride) * sizeof *y);
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
                double sum = test_dot(x + r * x_stride, wide + (int64_t)o * s.in, s.in, &magnitude);
                if (op.bias) sum += (double)bias[o];
                double expected = test_activation(op.activation, sum);
                if (op.gate_weight) {
                    factor = test_dot(x + r * x_stride, wide_gate + (int64_t)o * s.in, s.in,
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
                    test_fail("%s %s %dx%dx%d variant %d: y[%d][%d] = %g, expected %g ± %g",
                              tl_dtype_get(dtype)->name, test_precision_name(precision), s.rows,
                              s.out, s.in, variant, r, o, got, expected, allowed);
            }
        }
    }
    free(x), free(y), free(bias), free(gate_bias), free(residual), free(wide), free(wide_gate);
    test_matrix_free(&weight);
    test_matrix_free(&gate);
    tl_compute_free(compute);
}

/* Fast products: the error of a whole row, far below what single elements may have. */
static void check_fast_error(tl_dtype dtype) {
    enum { IN = 768, OUT = 96, ROWS = 9 };
    tl_compute *compute = test_compute_new(2, TL_FAST);
    tl_matrix weight = test_random_matrix(compute, dtype, OUT, IN);
    float *wide = test_widened(compute, &weight), *x = test_random_values(ROWS * IN);
    float *y = test_memory(ROWS * OUT * sizeof *y);
    tl_linear op = {
        .x = x, .x_stride = IN, .rows = ROWS, .weight = &weight, .y = y, .y_stride = OUT};
    tl_linear_run(compute, &op);
    double error = 0, power = 0, magnitude;
    for (int32_t r = 0; r < ROWS; r++) {
        for (int32_t o = 0; o < OUT; o++) {
            double expected = test_dot(x + r * IN, wide + o * IN, IN, &magnitude);
            double off = (double)y[r * OUT + o] - expected;
            error += off * off;
            power += expected * expected;
        }
    }
    double ratio = sqrt(error / power);
    if (!(ratio <= 0.01))
        test_fail("fast %s: relative error %.4f, expected at most 0.01", tl_dtype_get(dtype)->name,
                  ratio);
    free(x), free(y), free(wide);
    test_matrix_free(&weight);
    tl_compute_free(compute);
}

/* The same bits at 1 … 300 rows, for 1, 2 and 3 threads, for chosen columns, in company. */
static void check_bits(tl_dtype dtype, tl_precision precision, int32_t out, int32_t in, int step) {
    const int32_t ROWS = test_kernels_brief() ? 40 : 300;
    tl_compute *one = test_compute_new(1, precision), *two = test_compute_new(2, precision);
    tl_compute *three = test_compute_new(3, precision);
    tl_matrix weight = test_random_matrix(one, dtype, out, in);
    float *x = test_random_values((size_t)ROWS * (size_t)in);
    size_t size = (size_t)ROWS * (size_t)out * sizeof(float);
    float *all = test_memory(size), *part = test_memory(size);
    tl_linear op = {.x = x,
                    .x_stride = in,
                    .rows = ROWS,
                    .weight = &weight,
                    .activation = TL_ACTIVATION_SILU,
                    .y = all,
                    .y_stride = out};
    tl_linear_run(one, &op);
    op.y = part;
    for (int32_t rows = 1; rows <= ROWS; rows += test_kernels_brief() ? 5 : rows < 40 ? 1 : step) {
        tl_compute *compute = rows % 3 == 0 ? one : rows % 3 == 1 ? two : three;
        int32_t first = test_random_below(ROWS - rows + 1);
        op.rows = rows;
        op.x = x + (int64_t)first * in;
        memset(part, 0x7f, size);
        tl_linear_run(compute, &op);
        if (memcmp(part, all + (int64_t)first * out, (size_t)rows * (size_t)out * 4) != 0)
            test_fail("%s %s out %d in %d: %d rows give other bits", tl_dtype_get(dtype)->name,
                      test_precision_name(precision), out, in, rows);
    }
    /* chosen columns, twice in one call with others */
    enum { COLUMNS = 21 };
    int32_t columns[COLUMNS];
    float few[7 * COLUMNS];
    for (int i = 0; i < COLUMNS; i++)
        columns[i] = test_random_below(out);
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
                test_fail("%s %s: chosen column %d gives other bits", tl_dtype_get(dtype)->name,
                          test_precision_name(precision), columns[i]);
    if (memcmp(part, all, (size_t)7 * (size_t)out * 4) != 0)
        test_fail("%s %s: company changes the bits", tl_dtype_get(dtype)->name,
                  test_precision_name(precision));
    free(x), free(all), free(part);
    test_matrix_free(&weight);
    tl_compute_free(one);
    tl_compute_free(two);
    tl_compute_free(three);
}

/* A NaN or infinity in one row shows in that row and nowhere else. */
static void check_poison(tl_dtype dtype, tl_precision precision) {
    enum { IN = 96, OUT = 40, ROWS = 20 };
    tl_compute *compute = test_compute_new(2, precision);
    tl_matrix weight = test_random_matrix(compute, dtype, OUT, IN);
    float *x = test_random_values(ROWS * IN), y[ROWS * OUT];
    x[3 * IN + 50] = NAN;
    x[11 * IN + 7] = INFINITY;
    tl_linear op = {
        .x = x, .x_stride = IN, .rows = ROWS, .weight = &weight, .y = y, .y_stride = OUT};
    tl_linear_run(compute, &op);
    for (int r = 0; r < ROWS; r++)
        for (int o = 0; o < OUT; o++)
            if (isfinite(y[r * OUT + o]) == (r == 3 || r == 11))
                test_fail("%s %s: y[%d][%d] = %g with a NaN in row 3, infinity in row 11",
                          tl_dtype_get(dtype)->name, test_precision_name(precision), r, o,
                          (double)y[r * OUT + o]);
    free(x);
    test_matrix_free(&weight);
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
                if (test_kernels_brief() && s.out * s.in > 10000) continue;
                check_linear((tl_dtype)dtype, (tl_precision)precision, s);
            }
            check_bits((tl_dtype)dtype, (tl_precision)precision, 77, packed ? 96 : 71, 1);
            check_bits((tl_dtype)dtype, (tl_precision)precision, test_kernels_brief() ? 18 : 150,
                       1120, 41);
            check_bits((tl_dtype)dtype, (tl_precision)precision, 112, 128, 41);
            check_poison((tl_dtype)dtype, (tl_precision)precision);
        }
        check_fast_error((tl_dtype)dtype);
    }
}

int main(int count, char **arguments) {
    return test_each_instruction_set(count, arguments, check_products);
}
