#include "support/kernels.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_THREADS = 3, FAILURES_SHOWN = 30 };

static const char *isa; /* the instruction set under test */
static bool brief;
static int failures;
static tl_pool *pools[MOST_THREADS + 1]; /* by number of threads */

bool test_kernels_brief(void) {
    return brief;
}

void test_fail(const char *format, ...) {
    if (failures++ > FAILURES_SHOWN) return;
    if (isa) fprintf(stderr, "%s ", isa);
    va_list arguments;
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
}

static uint64_t state = 88172645463325252u;

static uint32_t random_bits(void) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (uint32_t)(state >> 32);
}

static float random_value(void) {
    float sum = 0;
    for (int i = 0; i < 6; i++)
        sum += (float)random_bits() * 0x1p-32f - 0.5f;
    return sum * 1.4142135f;
}

int32_t test_random_below(int32_t n) {
    return (int32_t)(random_bits() % (uint32_t)n);
}

void *test_memory(size_t bytes) {
    void *memory = aligned_alloc(64, (bytes + 63) / 64 * 64 + 64);
    if (!memory) exit(2);
    memset(memory, 0, bytes);
    return memory;
}

float *test_random_values(size_t count) {
    float *x = test_memory(count * sizeof *x);
    for (size_t i = 0; i < count; i++)
        x[i] = random_value();
    return x;
}

tl_compute *test_compute_new(int threads, tl_precision precision) {
    tl_error error;
    tl_compute *compute = tl_compute_new(pools[threads], precision, &error);
    if (!compute) {
        fprintf(stderr, "%s: %s\n", isa, error.message);
        exit(2);
    }
    return compute;
}

const char *test_precision_name(tl_precision precision) {
    return precision == TL_EXACT ? "exact" : "fast";
}

tl_matrix test_random_matrix(tl_compute *compute, tl_dtype dtype, int32_t out, int32_t in) {
    float *values = test_random_values((size_t)out * (size_t)in);
    tl_matrix source = {TL_F32, out, in, in, values, (size_t)out * (size_t)in * 4};
    if (dtype == TL_F32) return source;
    tl_matrix result;
    tl_error error;
    if (!tl_matrix_convert(compute, &source, dtype, test_memory(tl_matrix_bytes(dtype, out, in)),
                           &result, &error)) {
        test_fail("convert: %s", error.message);
        exit(2);
    }
    free(values);
    return result;
}

void test_matrix_free(tl_matrix *matrix) {
    free((void *)matrix->data);
}

float *test_widened(tl_compute *compute, const tl_matrix *matrix) {
    float *y = test_memory((size_t)matrix->out * (size_t)matrix->in * sizeof *y);
    int32_t *ids = test_memory((size_t)matrix->out * sizeof *ids);
    for (int32_t i = 0; i < matrix->out; i++)
        ids[i] = i;
    tl_embed(compute, matrix, ids, matrix->out, 1.0f, y, matrix->in);
    free(ids);
    return y;
}

double test_activation(tl_activation activation, double x) {
    switch (activation) {
    case TL_ACTIVATION_RELU:
        return x > 0 ? x : 0;
    case TL_ACTIVATION_GELU:
        return x * 0.5 * erfc(-x / sqrt(2.0));
    case TL_ACTIVATION_GELU_TANH:
        return 0.5 * x * (1 + tanh(sqrt(2 / acos(-1.0)) * (x + 0.044715 * x * x * x)));
    case TL_ACTIVATION_GELU_QUICK:
        return x / (1 + exp(-1.702 * x));
    case TL_ACTIVATION_SILU:
        return x / (1 + exp(-x));
    case TL_ACTIVATION_NONE:
        break;
    }
    return x;
}

double test_dot(const float *x, const float *w, int32_t n, double *magnitude) {
    double sum = 0;
    *magnitude = 0;
    for (int32_t k = 0; k < n; k++) {
        sum += (double)x[k] * (double)w[k];
        *magnitude += fabs((double)x[k] * (double)w[k]);
    }
    return sum;
}

bool test_close(double got, double expected, double relative, double absolute) {
    return fabs(got - expected) <= absolute + relative * fabs(expected);
}

static void check_choice(void) {
    tl_error error;
    setenv("TINYLLM_CPU", "abacus", 1);
    if (tl_compute_new(pools[1], TL_EXACT, &error) || !strstr(error.message, "scalar"))
        test_fail("TINYLLM_CPU=abacus: expected an error that lists scalar");
}

int test_each_instruction_set(int count, char **arguments, void (*check)(void)) {
    tl_error error;
    const char *wanted = NULL;
    brief = getenv("TINYLLM_TEST_BRIEF") != NULL;
    for (int i = 1; i < count; i++) {
        if (strcmp(arguments[i], "--brief") == 0)
            brief = true;
        else
            wanted = arguments[i];
    }
    for (int threads = 1; threads <= MOST_THREADS; threads++) {
        pools[threads] = tl_pool_new(threads, &error);
        if (!pools[threads]) return 2;
    }
    check_choice();
    const char *names[16];
    size_t found = tl_compute_available(names, 16);
    bool ran = false;
    for (size_t i = 0; i < found; i++) {
        isa = names[i];
        if (wanted && strcmp(wanted, isa) != 0) continue;
        setenv("TINYLLM_CPU", isa, 1);
        ran = true;
        int before = failures;
        check();
        printf("%s: %s\n", isa, failures == before ? "passed" : "FAILED");
    }
    for (int threads = 1; threads <= MOST_THREADS; threads++)
        tl_pool_free(pools[threads]);
    if (!ran) printf("%s: not here\n", wanted);
    return failures || !ran ? 1 : 0;
}
