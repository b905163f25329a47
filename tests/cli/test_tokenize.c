/* tinyllm tokenize, as scripts and people use it. */
#include "support/tokenizer_fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A checkpoint directory with a small tokenizer: "c" goes before every text. */
static const char *model(void) {
    static char path[4096];
    if (*path) return path;
    tl_buffer json = {0};
    tl_buffer_append_format(
        &json,
        "{\"model\": %s, \"pre_tokenizer\": {\"type\": \"ByteLevel\", \"add_prefix_space\": false},"
        " \"decoder\": {\"type\": \"ByteLevel\"}, \"added_tokens\": [{\"id\": 7, \"content\":"
        " \"<s>\", \"special\": true}], \"post_processor\": {\"type\": \"TemplateProcessing\","
        " \"single\": [{\"SpecialToken\": {\"id\": \"<s>\"}}, {\"Sequence\": {\"id\": \"A\"}}],"
        " \"special_tokens\": {\"<s>\": {\"ids\": [7]}}}}",
        fixture_bpe);
    test_write_file(test_scratch_path("model/tokenizer.json"), json.data, json.length);
    tl_buffer_free(&json);
    snprintf(path, sizeof path, "%s", test_scratch_path("model"));
    return path;
}

static void expect(test_result result, int status, const char *out) {
    if (result.status != status || strcmp(result.out, out) != 0)
        fail_msg("status %d, printed:\n%s%s", result.status, result.out, result.err);
    test_result_free(&result);
}

static void test_lines_of_json(void **state) {
    (void)state;
    const char *lines = "{\"text\": \"abc a\"}\n{\"i\": [1, {}], \"text\": \"\", \"x\": null}\n"
                        "{\"text\":\"a\\u2028b\\u0000\"}";
    expect(TEST_RUN(lines, "tokenize", "-m", model(), "--jsonl"), 0,
           "{\"ids\":[7,5,6]}\n{\"ids\":[7]}\n{\"ids\":[7,0,1]}\n");
    expect(TEST_RUN("{\"text\": \"abc\"}\n", "tokenize", "-m", model(), "--jsonl", "--no-special"),
           0, "{\"ids\":[5]}\n");
}

static void test_decoding_lines(void **state) {
    (void)state;
    expect(TEST_RUN("{\"ids\": [7, 5, 6]}\n{\"ids\":[]}\n", "tokenize", "-m", model(), "--decode"),
           0, "{\"text\":\"<s>abc a\"}\n{\"text\":\"\"}\n");
    expect(TEST_RUN("{\"ids\": [7, 5]}\n", "tokenize", "-m", model(), "--decode", "--skip-special"),
           0, "{\"text\":\"abc\"}\n");
    expect(TEST_RUN(NULL, "tokenize", "-m", model(), "--decode", "5,6", "2"), 0, "abc ac\n");
}

static void test_texts_for_people(void **state) {
    (void)state;
    expect(TEST_RUN(NULL, "tokenize", "-m", model(), "abc a"), 0,
           "       7  \"<s>\"\n       5  \"abc\"\n       6  \"Ġa\"\n");
    expect(TEST_RUN(NULL, "tokenize", "-m", model(), "--json", "--no-special", "abc"), 0,
           "{\"ids\":[5],\"tokens\":[\"abc\"]}\n");
    expect(TEST_RUN("ab\nc", "tokenize", "-m", model(), "--json", "--no-special"), 0,
           "{\"ids\":[4],\"tokens\":[\"ab\"]}\n{\"ids\":[2],\"tokens\":[\"c\"]}\n");
}

/* Bad input: one line that names the place, the answers before it kept. */
static void test_bad_lines(void **state) {
    (void)state;
    const struct {
        const char *input, *option, *message;
    } cases[] = {
        {"{\"text\": \"a\"}\nnonsense\n", "--jsonl", "line 2 of standard input"},
        {"{\"text\": \"a\"}\n\n", "--jsonl", "line 2 of standard input"},
        {"{\"text\": 7}\n", "--jsonl", "line 1 of standard input: expected a string"},
        {"{\"ids\": [1]}\n", "--jsonl", "{\"text\": …}"},
        {"{\"text\": \"a\"} x\n", "--jsonl", "the end of the line"},
        {"{\"ids\": [1, -2]}\n", "--decode", "line 1 of standard input"},
        {"{\"ids\": [1.5]}\n", "--decode", "an integer"},
        {"{\"ids\": 1}\n", "--decode", "'['"},
        {"[]\n", "--decode", "{\"ids\": […]}"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        test_result result = TEST_RUN(cases[i].input, "tokenize", "-m", model(), cases[i].option);
        assert_int_equal(result.status, 1);
        test_assert_contains(result.err, cases[i].message);
        assert_ptr_equal(strchr(result.err, '\n'), result.err + strlen(result.err) - 1);
        if (strncmp(cases[i].input, "{\"text\": \"a\"}\n", 14) == 0)
            assert_string_equal(result.out, "{\"ids\":[7,0]}\n");
        test_result_free(&result);
    }
}

static void test_wrong_usage(void **state) {
    (void)state;
    test_result result = TEST_RUN(NULL, "tokenize", "text");
    assert_int_equal(result.status, 2);
    test_assert_contains(result.err, "-m MODEL");
    test_result_free(&result);
    result = TEST_RUN(NULL, "tokenize", "-m", model(), "--decode", "1,x");
    assert_int_equal(result.status, 2);
    test_result_free(&result);
    result = TEST_RUN(NULL, "tokenize", "-m", test_scratch(), "text");
    assert_int_equal(result.status, 1);
    test_assert_contains(result.err, "tokenizer.json");
    test_result_free(&result);
    result = TEST_RUN(NULL, "tokenize", "--help");
    assert_int_equal(result.status, 0);
    test_assert_contains(result.out, "--no-special");
    test_result_free(&result);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lines_of_json),    cmocka_unit_test(test_decoding_lines),
        cmocka_unit_test(test_texts_for_people), cmocka_unit_test(test_bad_lines),
        cmocka_unit_test(test_wrong_usage),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
