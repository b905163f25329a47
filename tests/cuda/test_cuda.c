/* The CUDA backend, emulated: against the CPU, and what it does when things are missing. */
#include "engine/internal.h"
#include "support/fixture.h"
#include "support/load.h"
#include "support/same_bits.h"
#include "support/support.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { LONG = 700 }; /* more keys than a chunk of attention */

static const char *checkpoint(const char *name, const char *family, int dim, int heads,
                              int positions) {
    const char *directory = test_scratch_path("%s", name);
    fixture_model made = {family, dim, 2, heads, 48, positions, 5};
    fixture_checkpoint(directory, &made);
    return directory;
}

static tl_model *load(const char *directory, tl_dtype dtype) {
    return test_load_model(directory, &(tl_model_options){.convert = true, .dtype = dtype});
}

static tl_engine *engine_on(const tl_model *model, const char *device, tl_precision precision) {
    tl_engine_options options = {.threads = 1, .device = device, .precision = precision};
    return test_open_engine(model, &options);
}

static void invent(const tl_model *model, int32_t *tokens, int32_t count) {
    uint32_t random = 11;
    for (int32_t i = 0; i < count; i++) {
        random = random * 1664525 + 1013904223;
        tokens[i] = (int32_t)((random >> 8) % (uint32_t)model->spec.vocab);
    }
}

/* Logits of some rows of one sequence. */
static void score(tl_engine *engine, const int32_t *tokens, int32_t count, float *logits) {
    const tl_model *model = tl_engine_model(engine);
    tl_error error = {0};
    tl_ask asks[3];
    for (int32_t i = 0; i < 3; i++)
        asks[i] = (tl_ask){.row = i * (count - 1) / 2,
                           .kind = TL_ASK_LOGITS,
                           .logits = logits + i * model->spec.vocab};
    tl_path path = {.tokens = tokens, .n_tokens = count, .asks = asks, .n_asks = 3};
    assert_ok(tl_engine_score_paths(engine, &path, 1, NULL, &error), error);
}

static double furthest(const float *a, const float *b, int32_t count) {
    double most = 0;
    for (int32_t i = 0; i < count; i++) {
        double difference = fabs((double)a[i] - (double)b[i]);
        if (!(difference <= most)) most = difference;
    }
    return most;
}

/* The same prompts on both, short and longer than a chunk of attention; the second and third time
 * the pass is recorded and played, with the same bits. */
static void compare(const char *directory, tl_dtype dtype, int32_t count) {
    tl_model *model = load(directory, dtype);
    tl_engine *cpu = engine_on(model, "cpu", TL_EXACT), *gpu = engine_on(model, "cuda", TL_EXACT);
    int32_t vocab = model->spec.vocab, tokens[LONG];
    size_t bytes = 3 * (size_t)vocab * sizeof(float);
    float *expected = malloc(bytes), *found = malloc(bytes), *again = malloc(bytes);
    invent(model, tokens, count);
    score(cpu, tokens, count, expected);
    score(gpu, tokens, count, found);
    double difference = furthest(found, expected, 3 * vocab);
    if (!(difference < 2e-4))
        fail_msg("%s, %s, %d tokens: the logits differ by %g", directory, tl_dtype_get(dtype)->name,
                 count, difference);
    for (int time = 0; time < 3; time++) {
        score(gpu, tokens, count, again);
        assert_memory_equal(found, again, bytes);
    }
    tl_backend_facts facts;
    gpu->table->facts(gpu->backend, &facts);
    assert_true(facts.passes_played >= 2);
    tl_engine_free(cpu);
    tl_engine_free(gpu);
    tl_model_unload(model);
    free(expected);
    free(found);
    free(again);
}

static void test_agrees_with_cpu(void **state) {
    (void)state;
    static const tl_dtype dtypes[] = {TL_F32, TL_F16, TL_BF16};
    const char *llama = checkpoint("llama", "llama", 48, 4, 1024);
    const char *gpt2 = checkpoint("gpt2", "gpt2", 36, 3, 1024); /* nothing is a multiple of 8 */
    for (int d = 0; d < 3; d++) {
        compare(llama, dtypes[d], 1);
        compare(llama, dtypes[d], 37);
        compare(gpt2, dtypes[d], 37);
    }
    compare(llama, TL_BF16, LONG);
    compare(gpt2, TL_F32, LONG);
    compare(checkpoint("broad", "llama", 320, 2, 64), TL_F32, 20); /* heads of 160 dims */
}

static void test_bits(void **state) {
    (void)state;
    tl_model *model = load(checkpoint("bits", "llama", 32, 4, 96), TL_BF16);
    test_same_bits(model, "llama on the emulated GPU");
    tl_model_unload(model);
}

static tl_ids generate(tl_engine *engine, const int32_t *prompt, int32_t count, int32_t wanted) {
    tl_error error = {0};
    tl_ids ids = {0};
    tl_generate_options options = {.most_tokens = wanted, .ignore_eos = true, .top_p = 1};
    assert_ok(tl_engine_generate(engine, prompt, count, NULL, 0, &options, &ids, &error), error);
    return ids;
}

/* Generation across the border of a chunk; nothing is allocated once it runs, and all but the first
 * tokens are played. */
static void test_generation(void **state) {
    (void)state;
    tl_model *model = load(checkpoint("llama", "llama", 48, 4, 1024), TL_BF16);
    tl_engine *cpu = engine_on(model, "cpu", TL_EXACT), *gpu = engine_on(model, "cuda", TL_EXACT);
    int32_t prompt[500];
    tl_memory before, after;
    invent(model, prompt, 500);
    tl_ids expected = generate(cpu, prompt, 500, 24), first = generate(gpu, prompt, 500, 24);
    tl_engine_memory(gpu, &before);
    tl_ids second = generate(gpu, prompt, 500, 24);
    tl_engine_memory(gpu, &after);
    assert_int_equal(first.count, expected.count);
    assert_memory_equal(first.data, expected.data, expected.count * sizeof *expected.data);
    assert_memory_equal(second.data, expected.data, expected.count * sizeof *expected.data);
    assert_int_equal(after.device, before.device);
    assert_int_equal(after.device_peak, before.device_peak);
    assert_true(after.device_peak >= after.device && after.device > 0);
    tl_ids_free(&expected);
    tl_ids_free(&first);
    tl_ids_free(&second);
    tl_engine_free(cpu);
    tl_engine_free(gpu);
    tl_model_unload(model);
}

/* bf16 products by (emulated) cuBLASLt: near the exact ones, not equal to them. */
static void test_fast(void **state) {
    (void)state;
    tl_model *model = load(checkpoint("llama", "llama", 48, 4, 1024), TL_BF16);
    tl_engine *exact = engine_on(model, "cuda", TL_EXACT),
              *fast = engine_on(model, "cuda", TL_FAST);
    int32_t vocab = model->spec.vocab, tokens[64];
    float *expected = malloc(3 * sizeof(float) * (size_t)vocab);
    float *found = malloc(3 * sizeof(float) * (size_t)vocab);
    invent(model, tokens, 64);
    static const int32_t counts[] = {64, 48, 20, 20, 20};
    for (int i = 0; i < 5; i++) {
        score(exact, tokens, counts[i], expected);
        score(fast, tokens, counts[i], found);
        double difference = furthest(found, expected, 3 * vocab);
        assert_true(difference > 0 && difference < 0.1);
    }
    free(expected);
    free(found);
    tl_engine_free(exact);
    tl_engine_free(fast);
    tl_model_unload(model);
}

/* Where processor and GPU share one memory the weights are read where the checkpoint is mapped. */
static void test_integrated(void **state) {
    (void)state;
    const char *directory = checkpoint("llama", "llama", 48, 4, 1024);
    tl_memory copied, adopted;
    tl_model *model = load(directory, TL_F32);
    tl_engine *engine = engine_on(model, "cuda", TL_EXACT);
    tl_engine_memory(engine, &copied);
    tl_engine_free(engine);
    setenv("EMULATED_INTEGRATED", "1", 1);
    engine = engine_on(model, "cuda", TL_EXACT);
    tl_engine_memory(engine, &adopted);
    tl_engine_free(engine);
    tl_model_unload(model);
    assert_int_equal(copied.device_adopted, 0);
    assert_true(adopted.device_adopted > 0);
    assert_true(adopted.device < copied.device);
    compare(directory, TL_F32, 37);
    unsetenv("EMULATED_INTEGRATED");
}

/* Threads that take turns the other way round: what lacks a barrier comes out differently. */
static void test_backwards(void **state) {
    (void)state;
    tl_model *model = load(checkpoint("llama", "llama", 48, 4, 1024), TL_BF16);
    tl_engine *engine = engine_on(model, "cuda", TL_EXACT);
    int32_t vocab = model->spec.vocab, tokens[90];
    size_t bytes = 3 * sizeof(float) * (size_t)vocab;
    float *forwards = malloc(bytes), *backwards = malloc(bytes);
    invent(model, tokens, 90);
    static const int32_t counts[] = {1, 3, 90};
    for (int i = 0; i < 3; i++) {
        score(engine, tokens, counts[i], forwards);
        setenv("EMULATED_BACKWARDS", "1", 1);
        score(engine, tokens, counts[i], backwards);
        unsetenv("EMULATED_BACKWARDS");
        assert_memory_equal(forwards, backwards, bytes);
    }
    free(forwards);
    free(backwards);
    tl_engine_free(engine);
    tl_model_unload(model);
}

/* ---- what is missing ------------------------------------------------------------------------- */

static void expect_failure(const char *device, const char *dtype, int status, const char *part) {
    test_result result = TEST_RUN(NULL, "logits", "-m", test_scratch_path("small"), "--ids",
                                  "1,2,3", "--device", device, "--dtype", dtype);
    assert_int_equal(result.status, status);
    test_assert_contains(result.err, part);
    assert_string_equal(result.out, "");
    test_result_free(&result);
}

static void test_devices(void **state) {
    (void)state;
    fixture_checkpoint(test_scratch_path("small"), &fixture_small);
    expect_failure("gpu", "f32", 2, "device 'gpu': expected cpu, cuda, cuda:N or auto");
    expect_failure("cuda:x", "f32", 2, "device 'cuda:x'");
    expect_failure("cuda:3", "f32", 2, "cuda:3: there are 1 CUDA devices");
    expect_failure("cuda", "q8", 1, "the cuda backend multiplies f32, f16 and bf16");
    setenv("EMULATED_DEVICES", "0", 1);
    expect_failure("cuda", "f32", 2, "no CUDA device");
    setenv("TINYLLM_CUDA_LIBRARY", test_scratch_path("none.so"), 1);
    expect_failure("cuda", "f32", 2, "none.so");
    /* auto does without */
    test_result cpu = TEST_RUN(NULL, "logits", "-m", test_scratch_path("small"), "--ids", "1,2,3");
    test_result other = TEST_RUN(NULL, "logits", "-m", test_scratch_path("small"), "--ids", "1,2,3",
                                 "--device", "auto");
    assert_int_equal(other.status, 0);
    assert_string_equal(other.out, cpu.out);
    setenv("TINYLLM_CUDA_LIBRARY", TEST_CUDA_LIBRARY, 1);
    unsetenv("EMULATED_DEVICES");
    test_result_free(&other);
    other = TEST_RUN(NULL, "bench", "-m", test_scratch_path("small"), "-p", "8", "-n", "4", "-r",
                     "1", "--device", "auto");
    assert_int_equal(other.status, 0);
    test_assert_contains(other.out, "cuda:0 emulated GPU, sm_80");
    test_assert_contains(other.out, "GPU memory");
    test_result_free(&cpu);
    test_result_free(&other);
}

static void test_memory_runs_out(void **state) {
    (void)state;
    fixture_checkpoint(test_scratch_path("small"), &fixture_small);
    setenv("EMULATED_MEMORY", "100000", 1);
    expect_failure("cuda", "f32", 1, "out of GPU memory");
    unsetenv("EMULATED_MEMORY");
}

/* A sweep: on the device as on the CPU, as cells of their own; without memory a verdict. */
static void test_sweep(void **state) {
    (void)state;
    fixture_checkpoint(test_scratch_path("small"), &fixture_small);
    fixture_rows(test_scratch_path("data/piqa/validation.jsonl"), "piqa", 6);
    const char *run = test_scratch_path("run"), *data = test_scratch_path("data");
    const char *model = test_scratch_path("small");
    test_result cpu =
        TEST_RUN(NULL, "run", "-m", model, "-t", "piqa", "--data-dir", data, "-o", run);
    test_result gpu = TEST_RUN(NULL, "run", "-m", model, "-t", "piqa", "--data-dir", data, "-o",
                               run, "--device", "cuda");
    if (gpu.status != 0) fail_msg("%s", gpu.err);
    test_result report = TEST_RUN(NULL, "report", run, "--format", "csv");
    test_assert_contains(report.out, ",exact,");
    test_assert_contains(report.out, ",cuda,");
    test_assert_contains(report.out, "peak_gpu_gb");
    test_result_free(&report);
    setenv("EMULATED_MEMORY", "100000", 1);
    test_result out = TEST_RUN(NULL, "run", "-m", model, "-t", "piqa", "--data-dir", data, "-o",
                               test_scratch_path("short"), "--device", "cuda");
    unsetenv("EMULATED_MEMORY");
    report = TEST_RUN(NULL, "report", test_scratch_path("short"), "--format", "csv");
    test_assert_contains(report.out, "oom_killed");
    test_assert_contains(report.out, "out of GPU memory");
    test_result_free(&cpu);
    test_result_free(&gpu);
    test_result_free(&out);
    test_result_free(&report);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_agrees_with_cpu), cmocka_unit_test(test_bits),
        cmocka_unit_test(test_generation),      cmocka_unit_test(test_fast),
        cmocka_unit_test(test_integrated),      cmocka_unit_test(test_backwards),
        cmocka_unit_test(test_devices),         cmocka_unit_test(test_memory_runs_out),
        cmocka_unit_test(test_sweep),
    };
    setenv("TINYLLM_CUDA_LIBRARY", TEST_CUDA_LIBRARY, 1);
    setenv("TINYLLM_TEST_DEVICE", "cuda", 1);
    setenv("TINYLLM_TEST_BRIEF", "1", 1);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
