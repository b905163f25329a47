/* logits, score, generate, inspect, quantize: what scripts see. */
#include "support/fixture.h"
#include "support/support.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

static const char *small_model(void) {
    const char *directory = test_scratch_path("model");
    if (!tl_dir_exists(directory)) fixture_checkpoint(directory, &fixture_small);
    return directory;
}

static cJSON *parse(const test_result *result) {
    tl_error error = {0};
    if (result->status != 0) fail_msg("status %d: %s", result->status, result->err);
    cJSON *json = tl_json_parse(result->out, result->out_length, "output", &error);
    assert_ok(json != NULL, error);
    return json;
}

static double number(const cJSON *json, const char *field) {
    const cJSON *item = tl_json_get(json, field);
    if (!cJSON_IsNumber(item)) fail_msg("no number '%s'", field);
    return item->valuedouble;
}

static void test_logits(void **state) {
    (void)state;
    test_result result = TEST_RUN(NULL, "logits", "-m", small_model(), "--ids", "5,6, 7");
    cJSON *json = parse(&result);
    assert_true(number(json, "n_tokens") == 3);
    const cJSON *logits = tl_json_get(json, "logits"), *value;
    assert_int_equal(cJSON_GetArraySize(logits), FIXTURE_VOCABULARY);
    double total = 0;
    cJSON_ArrayForEach(value, logits) total += exp(value->valuedouble);
    double seven = cJSON_GetArrayItem(logits, 9)->valuedouble - log(total);
    cJSON_Delete(json);
    test_result_free(&result);
    result = TEST_RUN(NULL, "logits", "-m", small_model(), "--ids", "5,6,7,9", "--logprobs",
                      "--threads", "1");
    json = parse(&result);
    const cJSON *logprobs = tl_json_get(json, "logprobs");
    assert_int_equal(cJSON_GetArraySize(logprobs), 4);
    assert_true(cJSON_IsNull(cJSON_GetArrayItem(logprobs, 0)));
    assert_true(fabs(cJSON_GetArrayItem(logprobs, 3)->valuedouble - seven) < 1e-4);
    cJSON_Delete(json);
    test_result_free(&result);
}

/* More output than a buffer holds, to a disk that is full: its loss must not go unnoticed. */
static void test_output_that_cannot_be_written(void **state) {
    (void)state;
    char command[8192];
    snprintf(command, sizeof command, "'%s' logits -m '%s' --ids 5,6 2>'%s' >/dev/full",
             TEST_PROGRAM, small_model(), test_scratch_path("full"));
    int status = system(command);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 1);
}

/* From ids to ids no tokenizer is needed. */
static void test_generate_without_a_tokenizer(void **state) {
    (void)state;
    const char *directory = test_scratch_path("without");
    fixture_checkpoint(directory, &fixture_small);
    char *path = tl_path_join(directory, "tokenizer.json");
    assert_int_equal(remove(path), 0);
    free(path);
    test_result result =
        TEST_RUN(NULL, "generate", "-m", directory, "--ids", "5,6", "-n", "3", "--json");
    test_assert_contains(result.err, "no tokenizer");
    cJSON *json = parse(&result);
    assert_int_equal(cJSON_GetArraySize(tl_json_get(json, "ids")), 3);
    assert_null(tl_json_get(json, "text"));
    cJSON_Delete(json);
    test_result_free(&result);
}

static void test_score(void **state) {
    (void)state;
    test_result result = TEST_RUN("{\"context\":\"x\",\"continuation\":\" A\"}\n\n"
                                  "{\"context\":\"x \",\"continuation\":\"A\"}\n"
                                  "{\"context\":\"\",\"continuation\":\"AB\"}\n",
                                  "score", "-m", small_model());
    if (result.status != 0) fail_msg("%s", result.err);
    double values[3], tokens[3];
    int lines = 0;
    for (char *line = strtok(result.out, "\n"); line && lines < 3; line = strtok(NULL, "\n")) {
        tl_error error = {0};
        cJSON *json = tl_json_parse(line, strlen(line), "line", &error);
        assert_ok(json != NULL, error);
        values[lines] = number(json, "loglikelihood");
        tokens[lines++] = number(json, "n_tokens");
        assert_true(cJSON_IsBool(tl_json_get(json, "greedy")));
        cJSON_Delete(json);
    }
    assert_int_equal(lines, 3);
    assert_true(values[0] < 0 && values[0] == values[1]);
    assert_true(tokens[0] == 1 && tokens[2] == 2);
    test_result_free(&result);
    result = TEST_RUN("{\"context\":\"x\",\"continuation\":\"y\"}\n{\"context\":1}\n", "score",
                      "-m", small_model());
    assert_int_equal(result.status, 1);
    test_assert_contains(result.err, "line 2");
    test_assert_contains(result.out, "loglikelihood");
    test_result_free(&result);
}

static void test_generate(void **state) {
    (void)state;
    test_result result = TEST_RUN(NULL, "generate", "-m", small_model(), "-p", "A t", "-n", "6",
                                  "--json", "--ignore-eos");
    cJSON *json = parse(&result);
    const cJSON *ids = tl_json_get(json, "ids");
    assert_int_equal(cJSON_GetArraySize(ids), 6);
    assert_true(cJSON_IsString(tl_json_get(json, "text")));
    test_result same = TEST_RUN(NULL, "generate", "-m", small_model(), "--ids", "65,260", "-n", "6",
                                "--json", "--ignore-eos");
    assert_string_equal(result.out, same.out);
    cJSON_Delete(json);
    test_result_free(&result);
    test_result_free(&same);
    result = TEST_RUN(NULL, "generate", "-m", small_model(), "-p", "A t", "-n", "6");
    assert_int_equal(result.status, 0);
    test_result_free(&result);
}

static void test_inspect(void **state) {
    (void)state;
    test_result result = TEST_RUN(NULL, "inspect", small_model(), "--json");
    cJSON *json = parse(&result);
    const cJSON *tensors = tl_json_get(json, "tensors"), *tensor;
    double elements = 0;
    cJSON_ArrayForEach(tensor, tensors) elements += number(tensor, "bytes") / 4;
    assert_true(number(json, "parameters") == elements);
    assert_true(fabs(number(json, "model_size_mb") - elements * 4 / (1024 * 1024)) < 1e-9);
    const cJSON *dtypes = tl_json_get(json, "dtypes");
    assert_true(number(tl_json_get(dtypes, "f32"), "weight_bytes") >
                number(tl_json_get(dtypes, "q8"), "weight_bytes"));
    cJSON_Delete(json);
    test_result_free(&result);
    result = TEST_RUN(NULL, "inspect", small_model());
    test_assert_contains(result.out, "llama");
    test_result_free(&result);
}

static void test_quantize(void **state) {
    (void)state;
    const char *output = test_scratch_path("q8");
    test_result result =
        TEST_RUN(NULL, "quantize", small_model(), "-o", output, "--dtype", "q8", "--threads", "1");
    if (result.status != 0) fail_msg("%s", result.err);
    test_result_free(&result);
    test_result packed = TEST_RUN(NULL, "logits", "-m", output, "--ids", "1,2,3");
    test_result converted =
        TEST_RUN(NULL, "logits", "-m", small_model(), "--dtype", "q8", "--ids", "1,2,3");
    assert_int_equal(packed.status, 0);
    assert_string_equal(packed.out, converted.out);
    test_result_free(&packed);
    test_result_free(&converted);
    result = TEST_RUN(NULL, "generate", "-m", output, "-p", "A", "-n", "2", "--json");
    assert_int_equal(result.status, 0);
    test_result_free(&result);
    result = TEST_RUN(NULL, "quantize", output, "-o", output, "--dtype", "bf16");
    assert_int_equal(result.status, 2);
    test_result_free(&result);
}

static void test_wrong_usage(void **state) {
    (void)state;
    static const struct {
        const char *arguments[8];
        int status;
        const char *part;
    } cases[] = {
        {{"logits", "--ids", "1"}, 2, "-m"},
        {{"logits", "-m", "MODEL"}, 2, "--ids"},
        {{"logits", "-m", "MODEL", "--ids", "1,x"}, 2, "1,x"},
        {{"logits", "-m", "MODEL", "--ids", ""}, 2, "ids"},
        {{"logits", "-m", "MODEL", "--ids", "99999"}, 2, "99999"},
        {{"logits", "-m", "MODEL", "--ids", "1", "--dtype", "q5"}, 2, "q5"},
        {{"logits", "-m", "MODEL", "--ids", "1", "--decoder-ids", "1"}, 2, "encoder"},
        {{"generate", "-m", "MODEL"}, 2, "-p"},
        {{"score", "-m", "MODEL", "--bos", "maybe"}, 2, "maybe"},
        {{"quantize", "MODEL", "--dtype", "q8"}, 2, "-o"},
        {{"inspect"}, 2, "model"},
        {{"logits", "-m", "/nowhere/at/all", "--ids", "1"}, 1, "/nowhere/at/all"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *arguments[9] = {0};
        for (int a = 0; a < 8 && cases[i].arguments[a]; a++)
            arguments[a] =
                strcmp(cases[i].arguments[a], "MODEL") == 0 ? small_model() : cases[i].arguments[a];
        test_result result = test_run("", arguments);
        if (result.status != cases[i].status)
            fail_msg("case %zu: status %d: %s", i, result.status, result.err);
        test_assert_contains(result.err, cases[i].part);
        assert_string_equal(result.out, "");
        test_result_free(&result);
    }
}

static void test_bad_checkpoint(void **state) {
    (void)state;
    const char *directory = test_scratch_path("unknown");
    test_write_text(test_scratch_path("unknown/config.json"), "{\"model_type\":\"mamba\"}");
    test_result result = TEST_RUN(NULL, "logits", "-m", directory, "--ids", "1");
    assert_int_equal(result.status, 1);
    test_assert_contains(result.err, "mamba");
    test_assert_contains(result.err, "gpt_neox");
    test_result_free(&result);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_logits),
        cmocka_unit_test(test_output_that_cannot_be_written),
        cmocka_unit_test(test_generate_without_a_tokenizer),
        cmocka_unit_test(test_score),
        cmocka_unit_test(test_generate),
        cmocka_unit_test(test_inspect),
        cmocka_unit_test(test_quantize),
        cmocka_unit_test(test_wrong_usage),
        cmocka_unit_test(test_bad_checkpoint),
    };
    return cmocka_run_group_tests_name("logits", tests, NULL, NULL);
}
