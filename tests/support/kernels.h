/* What the tests of the kernels share: numbers, matrices, and a run over the instruction sets. They
 * use no test library, so that tools/cross-check can run them under an emulator. */
#ifndef TESTS_SUPPORT_KERNELS_H
#define TESTS_SUPPORT_KERNELS_H

#include "kernels/kernels.h"

/* The main function of such a test: calls `check` for every instruction set that this processor
 * runs, or for the one named in the arguments; --brief (or $TINYLLM_TEST_BRIEF) leaves out most row
 * counts and long sums, for emulators. Returns the exit status: 1 when a check failed. */
int test_each_instruction_set(int count, char **arguments, void (*check)(void));

/* Was a brief run asked for? */
bool test_kernels_brief(void);

/* Counts a failure and prints it behind the name of the instruction set under test. */
void test_fail(const char *format, ...) TL_PRINTF(1, 2);

/* An environment of 1, 2 or 3 threads on the instruction set under test; free with
 * tl_compute_free. */
tl_compute *test_compute_new(int threads, tl_precision precision);

const char *test_precision_name(tl_precision precision);

/* Zeroed, aligned to 64 bytes; free with free. */
void *test_memory(size_t bytes);

/* The same numbers in every run: roughly normal, of variance 1. Free with free. */
float *test_random_values(size_t count);

/* A number from 0 to n - 1. */
int32_t test_random_below(int32_t n);

/* A matrix [out, in] of random values stored as `dtype`; free with test_matrix_free. */
tl_matrix test_random_matrix(tl_compute *compute, tl_dtype dtype, int32_t out, int32_t in);
void test_matrix_free(tl_matrix *matrix);

/* The matrix as floats [out, in], through the embedding lookup, which test_kernels_rows and
 * test_kernels_convert check by themselves. Free with free. */
float *test_widened(tl_compute *compute, const tl_matrix *matrix);

/* Σ x w over n, and in `magnitude` Σ |x w|. */
double test_dot(const float *x, const float *w, int32_t n, double *magnitude);

/* The activation as its paper defines it, in double precision. */
double test_activation(tl_activation activation, double x);

/* |got - expected| ≤ absolute + relative |expected|; false for NaN. */
bool test_close(double got, double expected, double relative, double absolute);

#endif
