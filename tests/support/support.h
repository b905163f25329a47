/* What the tests share: cmocka, scratch directories, running the program, the conformance set. */
#ifndef TESTS_SUPPORT_H
#define TESTS_SUPPORT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the four above first. */
#include <cmocka.h>

#include "base/base.h"
#include "base/json.h"
#include "tokenizer/tokenizer.h"

/* The directory of the conformance set ($TINYLLM_SHARED, else ../shared beside the project), or
 * NULL where it is not there; says once which it is. */
const char *test_shared(void);

/* A path inside the conformance set; lives until the next eight calls. */
const char *test_shared_path(const char *format, ...) TL_PRINTF(1, 2);

/* Where every step costs tens of times more (sanitizers, emulators: $TINYLLM_TEST_BRIEF), tests run
 * over fewer cases of the same kinds. */
bool test_brief(void);

/* What engines of the conformance tests compute on: $TINYLLM_TEST_DEVICE, else "cpu". */
const char *test_device(void);

/* A fresh scratch directory, removed at exit. Lives until exit. */
const char *test_scratch(void);

/* A path inside the scratch directory; lives until the next eight calls. */
const char *test_scratch_path(const char *format, ...) TL_PRINTF(1, 2);

void test_write_file(const char *path, const void *data, size_t length);
void test_write_text(const char *path, const char *text);

typedef struct test_result {
    int status; /* exit status; 128 + signal when killed */
    char *out;  /* standard output, NUL-terminated; free with test_result_free */
    char *err;
    size_t out_length;
    long peak_kb; /* largest resident set of the child */
} test_result;

/* Runs the built program with the given arguments (NULL-terminated), `input` (may be NULL) on its
 * standard input. */
test_result test_run(const char *input, const char *const arguments[]);
#define TEST_RUN(input, ...) test_run(input, (const char *const[]){__VA_ARGS__, NULL})
void test_result_free(test_result *result);

/* Fails the test, showing `error`, unless `condition` holds. */
#define assert_ok(condition, error)                                                                \
    do {                                                                                           \
        if (!(condition)) fail_msg("%s: %s", #condition, (error).message);                         \
    } while (0)

/* Does `text` contain `part`? Fails the test, showing both, when not. */
void test_assert_contains(const char *text, const char *part);

/* Runs `test` as a cmocka group with one case for each model of the conformance set, its name as
 * the state; with `few` for one of each kind only. Returns the exit status for main, 77 (skipped)
 * where the set is not there. */
int test_each_golden_model(const char *group, void (*test)(void **state), bool few);

/* The list of ids in field `field`; none where it is absent. Free with tl_ids_free. */
tl_ids test_ids_of(const cJSON *object, const char *field);

#endif
