/* Options and commands that nobody has: what was meant is said. */
#include "support/support.h"

#include <string.h>

static void assert_refused(const char *const arguments[], const char *part) {
    test_result result = test_run(NULL, arguments);
    assert_int_equal(result.status, 2);
    assert_string_equal(result.out, "");
    test_assert_contains(result.err, part);
    if (!strstr(part, "did you mean")) assert_null(strstr(result.err, "did you mean"));
    test_result_free(&result);
}

static void test_what_was_meant_is_said(void **state) {
    (void)state;
    static const struct {
        const char *arguments[4], *part;
    } cases[] = {
        {{"bench", "-t", "2"}, "unknown option -t; did you mean --threads?"},
        {{"generate", "-t", "2"}, "did you mean --threads, --tokens, --temperature, --top-k"},
        {{"run", "--task", "piqa"}, "unknown option --task; did you mean --tasks?"},
        {{"run", "--num_fewshot=5"}, "unknown option --num_fewshot; did you mean --shots?"},
        {{"run", "--output_path", "x"}, "did you mean --output?"},
        {{"bench", "--thraeds", "2"}, "did you mean --threads?"},
        {{"generate", "--temp", "1"}, "did you mean --temperature?"},
        {{"rnu"}, "unknown command 'rnu'; did you mean run?"},
        {{"reprot", "run"}, "did you mean report?"},
        /* nothing is like these */
        {{"bench", "--xyzzy"}, "unknown option --xyzzy (see"},
        {{"bench", "-x"}, "unknown option -x (see"},
        {{"run", "--a"}, "unknown option --a (see"},
        {{"run", "--"
                 "a-name-that-is-longer-than-any-option-of-any-program-would-be"},
         "would-be (see"},
        {{"frobnicate"}, "unknown command 'frobnicate'; tinyllm --help"},
        {{""}, "unknown command ''; tinyllm --help"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_refused(cases[i].arguments, cases[i].part);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_what_was_meant_is_said)};
    return cmocka_run_group_tests_name("options", tests, NULL, NULL);
}
