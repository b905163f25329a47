/* tinyllm tasks, and the example of docs/tasks.md. */
#include "support/fixture.h"
#include "support/support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void test_list(void **state) {
    (void)state;
    static const char *const names[] = {"arc_easy",   "boolq",      "openbookqa", "piqa",
                                        "social_iqa", "winogrande", "hellaswag"};
    tl_error error = {0};
    test_result text = TEST_RUN(NULL, "tasks"), json = TEST_RUN(NULL, "tasks", "--json");
    assert_int_equal(text.status, 0);
    assert_int_equal(json.status, 0);
    cJSON *tasks = tl_json_parse(json.out, json.out_length, "tasks", &error);
    assert_ok(tasks, error);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        test_assert_contains(text.out, names[i]);
        bool found = false;
        const cJSON *task;
        cJSON_ArrayForEach(task, tasks) found |=
            strcmp(cJSON_GetStringValue(tl_json_get(task, "name")), names[i]) == 0;
        assert_true(found);
    }
    cJSON_Delete(tasks);
    test_result_free(&text);
    test_result_free(&json);
}

static void test_wrong_usage(void **state) {
    (void)state;
    static const char *const cases[][3] = {
        {"no_such_task", NULL}, {"arc_easy", "boolq", NULL}, {"--data", "x.csv", NULL}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        test_result result = TEST_RUN(NULL, "tasks", cases[i][0], cases[i][1]);
        assert_int_equal(result.status, 2);
        assert_int_equal(result.out_length, 0);
        test_result_free(&result);
    }
}

/* The text of the fenced block of docs/tasks.md that follows `heading`. */
static char *documented(const char *heading) {
    tl_error error = {0};
    char *text = tl_file_read(TEST_SOURCE_DIR "/docs/tasks.md", 1 << 20, NULL, &error);
    assert_ok(text, error);
    char *start = strstr(text, heading);
    assert_non_null(start);
    start = strchr(strstr(start, "```"), '\n') + 1;
    char *block = strndup(start, (size_t)(strstr(start, "```") - start));
    free(text);
    return block;
}

static void test_documented_example(void **state) {
    (void)state;
    char *task = documented("`capitals.yaml`"), *rows = documented("`capitals.csv`");
    char *shown = documented("shows what is asked");
    const char *path = test_scratch_path("docs/capitals.yaml");
    test_write_text(path, task);
    test_write_text(test_scratch_path("docs/capitals.csv"), rows);
    test_result result = TEST_RUN(NULL, "tasks", path, "--row", "1");
    assert_string_equal(result.err, "");
    assert_int_equal(result.status, 0);
    /* the first line names the file's place, which differs */
    assert_string_equal(strchr(result.out, '\n'), strchr(shown, '\n'));
    test_result_free(&result);
    free(task);
    free(rows);
    free(shown);
}

/* The same data as CSV, JSONL and a JSON array: run, with the same answers. */
static void test_documented_example_runs(void **state) {
    (void)state;
    static const char *const endings[] = {"csv", "jsonl", "json"};
    static const char jsonl[] =
        "{\"country\": \"France\", \"first\": \"Lyon\", \"second\": \"Paris\", \"third\": "
        "\"Nice\", \"answer\": \"B\"}\n"
        "{\"country\": \"Japan\", \"first\": \"Osaka\", \"second\": \"Kyoto\", \"third\": "
        "\"Tokyo\", \"answer\": \"C\"}\n";
    char *task = documented("`capitals.yaml`"), *rows = documented("`capitals.csv`");
    char path[512], data[512], array[1024];
    snprintf(path, sizeof path, "%s", test_scratch_path("runs/capitals.yaml"));
    test_write_text(path, task);
    snprintf(array, sizeof array, "[%s]", jsonl);
    *strchr(array, '\n') = ','; /* between the two rows */
    fixture_checkpoint(test_scratch_path("tiny"), &fixture_small);
    for (int i = 0; i < 3; i++) {
        snprintf(data, sizeof data, "%s", test_scratch_path("runs/rows.%s", endings[i]));
        test_write_text(data, i == 0 ? rows : i == 1 ? jsonl : array);
        test_result result =
            TEST_RUN(NULL, "run", "-m", test_scratch_path("tiny"), "-t", path, "--data", data,
                     "--protocol", "letter,loglikelihood", "-o", test_scratch_path("out%d", i));
        if (result.status != 0) fail_msg("%s: %s", endings[i], result.err);
        test_assert_contains(result.out, "Capitals");
        test_result_free(&result);
    }
    /* the same examples answered the same, whatever the rows' format */
    for (int i = 1; i < 3; i++) {
        test_result result =
            TEST_RUN(NULL, "compare", test_scratch_path("out0"), test_scratch_path("out%d", i));
        assert_int_equal(result.status, 0);
        test_assert_contains(result.out, "2 cells compared; accuracy agrees exactly in 2");
        test_assert_contains(result.out, "0 of 2");
        test_result_free(&result);
    }
    free(task);
    free(rows);
}

static void test_bad_row_is_named(void **state) {
    (void)state;
    const char *path = test_scratch_path("bad.jsonl");
    test_write_text(path, "{\"goal\": \"g\"}\n");
    test_result result = TEST_RUN(NULL, "tasks", "piqa", "--data", path);
    assert_int_equal(result.status, 1);
    test_assert_contains(result.err, "bad.jsonl:1: field 'sol1' is missing");
    test_result_free(&result);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_list),
        cmocka_unit_test(test_wrong_usage),
        cmocka_unit_test(test_documented_example),
        cmocka_unit_test(test_documented_example_runs),
        cmocka_unit_test(test_bad_row_is_named),
    };
    return cmocka_run_group_tests_name("tasks", tests, NULL, NULL);
}
