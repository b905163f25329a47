/* tinyllm bench: what it measures, and how it answers. */
#include "support/fixture.h"
#include "support/support.h"

#include <string.h>

static const char *small_model(void) {
    const char *directory = test_scratch_path("model");
    if (!tl_dir_exists(directory)) fixture_checkpoint(directory, &fixture_small);
    return directory;
}

static void test_measures_each_length(void **state) {
    (void)state;
    test_result result = TEST_RUN(NULL, "bench", "-m", small_model(), "-p", "4,16", "-n", "5", "-r",
                                  "3", "--threads", "1", "--json");
    if (result.status) fail_msg("%s", result.err);
    tl_error error = {0};
    cJSON *json = tl_json_parse(result.out, result.out_length, "output", &error);
    assert_ok(json, error);
    const cJSON *tests = tl_json_get(json, "tests"), *test;
    assert_int_equal(cJSON_GetArraySize(tests), 3);
    static const int tokens[] = {4, 16, 5};
    int i = 0;
    cJSON_ArrayForEach(test, tests) {
        const char *kind = i == 2 ? "decode" : "prefill";
        assert_string_equal(cJSON_GetStringValue(tl_json_get(test, "test")), kind);
        assert_int_equal(tl_json_get(test, "tokens")->valueint, tokens[i++]);
        double median = tl_json_get(test, "tokens_per_second")->valuedouble;
        const cJSON *samples = tl_json_get(test, "samples"), *sample;
        assert_int_equal(cJSON_GetArraySize(samples), 3);
        int above = 0, below = 0;
        cJSON_ArrayForEach(sample, samples) {
            assert_true(sample->valuedouble > 0);
            above += sample->valuedouble >= median;
            below += sample->valuedouble <= median;
        }
        assert_true(above >= 2 && below >= 2);
    }
    assert_int_equal(tl_json_get(json, "threads")->valueint, 1);
    assert_true(tl_json_get(json, "peak_mb")->valuedouble > 0);
    assert_true(tl_json_get(json, "load_seconds")->valuedouble <=
                tl_json_get(json, "first_token_seconds")->valuedouble);
    cJSON_Delete(json);
    test_result_free(&result);
}

static void test_prints_a_table(void **state) {
    (void)state;
    test_result result = TEST_RUN(NULL, "bench", "-m", small_model(), "-p", "8", "-n", "0", "-r",
                                  "1", "--dtype", "bf16");
    if (result.status) fail_msg("%s", result.err);
    test_assert_contains(result.out, "| model | bf16 |");
    test_assert_contains(result.out, "| pp8 |");
    assert_null(strstr(result.out, "| tg"));
    test_result_free(&result);
}

static void test_prints_lines(void **state) {
    (void)state;
    test_result result = TEST_RUN(NULL, "bench", "-m", small_model(), "-p", "8,9", "-n", "2", "-d",
                                  "3", "-r", "2", "-o", "jsonl");
    if (result.status) fail_msg("%s", result.err);
    test_assert_contains(result.out, "\"name\":\"pp8\"");
    test_assert_contains(result.out, "\"name\":\"tg2 @ 3\"");
    int lines = 0;
    for (const char *at = result.out; (at = strchr(at, '\n')); at++)
        lines++;
    assert_int_equal(lines, 3);
    test_result_free(&result);
    result =
        TEST_RUN(NULL, "bench", "-m", small_model(), "-p", "8", "-n", "0", "-r", "1", "-o", "csv");
    if (result.status) fail_msg("%s", result.err);
    test_assert_contains(result.out, "model,family,parameters,dtype");
    test_result_free(&result);
}

static void test_refuses_wrong_usage(void **state) {
    (void)state;
    static const char *const wrong[] = {"x", "-1", "8x", "9999999"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        test_result result = TEST_RUN(NULL, "bench", "-m", small_model(), "-n", wrong[i]);
        assert_int_equal(result.status, 2);
        assert_string_equal(result.out, "");
        test_result_free(&result);
    }
    test_result result = TEST_RUN(NULL, "bench", "-m", test_scratch_path("absent"), "-p", "1");
    assert_int_equal(result.status, 1);
    test_assert_contains(result.err, "absent");
    test_result_free(&result);
    /* Longer than the table of positions: an error, not a crash. */
    fixture_model gpt2 = fixture_small;
    gpt2.family = "gpt2";
    const char *directory = test_scratch_path("gpt2");
    fixture_checkpoint(directory, &gpt2);
    result = TEST_RUN(NULL, "bench", "-m", directory, "-p", "5000", "-n", "0", "-r", "1");
    assert_int_equal(result.status, 1);
    test_assert_contains(result.err, "bench");
    test_result_free(&result);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_measures_each_length),
        cmocka_unit_test(test_prints_a_table),
        cmocka_unit_test(test_prints_lines),
        cmocka_unit_test(test_refuses_wrong_usage),
    };
    return cmocka_run_group_tests_name("bench", tests, NULL, NULL);
}
