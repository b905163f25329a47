/* A run written in lm-evaluation-harness's layout and read back as one of its outputs. */
#include "support/fixture.h"
#include "support/support.h"

#include "report/export.h"
#include "report/lmeval_read.h"
#include "report/load.h"

#include <glob.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int set_up(void **state) {
    (void)state;
    fixture_checkpoint(test_scratch_path("tiny"), &fixture_small);
    fixture_rows(test_scratch_path("data/arc_easy/test.jsonl"), "arc_easy", 24);
    fixture_rows(test_scratch_path("data/piqa/validation.jsonl"), "piqa", 30);
    test_result result =
        TEST_RUN(NULL, "run", "-m", test_scratch_path("tiny"), "-t", "arc_easy,piqa", "--protocol",
                 "loglikelihood", "--data-dir", test_scratch_path("data"), "--limit", "20", "-o",
                 test_scratch_path("run"));
    bool ran = result.status == 0;
    if (!ran) print_error("%s", result.err);
    test_result_free(&result);
    tl_error error = {0};
    return ran && tl_export_lmeval(test_scratch_path("run"), test_scratch_path("out"), &error) ? 0
                                                                                               : -1;
}

static void find(const char *pattern, char *path, size_t size) {
    glob_t found;
    assert_int_equal(glob(pattern, 0, NULL, &found), 0);
    assert_int_equal(found.gl_pathc, 1);
    snprintf(path, size, "%s", found.gl_pathv[0]);
    globfree(&found);
}

static const tl_result_cell *find_cell(const tl_results *results, const char *task) {
    for (int i = 0; i < results->cell_count; i++)
        if (strcmp(results->cells[i].task, task) == 0) return &results->cells[i];
    fail_msg("no cell of %s", task);
    return NULL;
}

static void test_round_trip(void **state) {
    (void)state;
    static const char *const tasks[] = {"arc_easy", "piqa"};
    tl_error error = {0};
    assert_true(tl_lmeval_is_output(test_scratch_path("out")));
    assert_false(tl_lmeval_is_output(test_scratch_path("data")));
    tl_results *ours = tl_results_new(&error), *theirs = tl_results_new(&error);
    assert_ok(tl_results_add(ours, test_scratch_path("run"), &error), error);
    assert_ok(tl_results_add(theirs, test_scratch_path("out"), &error), error);
    assert_int_equal(theirs->runs[0].kind, TL_RUN_HARNESS);
    for (int t = 0; t < 2; t++) {
        const tl_result_cell *a = find_cell(ours, tasks[t]), *b = find_cell(theirs, tasks[t]);
        assert_int_equal(a->examples, 20);
        assert_int_equal(b->examples, 20);
        assert_int_equal(a->correct, b->correct);
        assert_int_equal(a->correct_norm, b->correct_norm);
        assert_true(a->values[TL_MEASURE_ACCURACY] == b->values[TL_MEASURE_ACCURACY]);
        assert_string_equal(a->task_title, b->task_title);
        assert_string_equal(a->model.name, b->model.name);
        assert_int_equal(a->model.parameters, b->model.parameters);
        for (int i = 0; i < 20; i++) {
            assert_int_equal(a->outcomes[i].gold, b->outcomes[i].gold);
            assert_int_equal(a->outcomes[i].prediction, b->outcomes[i].prediction);
            assert_int_equal(a->outcomes[i].prediction_norm, b->outcomes[i].prediction_norm);
        }
    }
    tl_results_free(ours);
    tl_results_free(theirs);
}

static void test_results_have_the_harness_keys(void **state) {
    (void)state;
    static const char *const keys[] = {"results",         "group_subtasks", "configs",
                                       "versions",        "n-shot",         "n-samples",
                                       "config",          "git_hash",       "date",
                                       "pretty_env_info", "max_length",     "task_hashes",
                                       "model_source",    "model_name",     "tokenizer_bos_token",
                                       "eot_token_id",    "chat_template",  "tinyllm",
                                       "higher_is_better"};
    tl_error error = {0};
    char path[1024];
    find(test_scratch_path("out/*/results_*.json"), path, sizeof path);
    cJSON *results = tl_json_read(path, 1 << 24, &error);
    assert_ok(results, error);
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        if (!cJSON_HasObjectItem(results, keys[i])) fail_msg("no '%s'", keys[i]);
    const cJSON *samples = tl_json_get(tl_json_get(results, "n-samples"), "arc_easy");
    assert_int_equal(tl_json_get(samples, "original")->valueint, 24);
    assert_int_equal(tl_json_get(samples, "effective")->valueint, 20);
    assert_int_equal(tl_json_get(results, "max_length")->valueint, 512);
    cJSON_Delete(results);
}

static void test_malformed_outputs_are_named(void **state) {
    (void)state;
    static const struct {
        const char *results, *samples, *part;
    } cases[] = {
        {"{", NULL, "not JSON"},
        {"{\"a\": 1}", NULL, "field 'results': expected an object"},
        {"{\"results\": {}}", NULL, "no multiple-choice task"},
        {"{\"results\": {\"t\": {\"acc,none\": \"x\"}}}", NULL,
         "field 'acc,none': expected a number"},
        {"{\"results\": {\"t\": {\"acc,none\": 0.5}}}", "nonsense\n", "samples_t_1.jsonl:1"},
        {"{\"results\": {\"t\": {\"acc,none\": 0.5}}}", "{\"doc_id\": -1}\n", "field 'doc_id'"},
        {"{\"results\": {\"t\": {\"acc,none\": 0.5}}}", "{\"doc_id\": 0}\n",
         "field 'filtered_resps'"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        tl_error error = {0};
        char folder[512];
        snprintf(folder, sizeof folder, "%s", test_scratch_path("bad%zu", i));
        test_write_text(test_scratch_path("bad%zu/results_1.json", i), cases[i].results);
        if (cases[i].samples)
            test_write_text(test_scratch_path("bad%zu/samples_t_1.jsonl", i), cases[i].samples);
        tl_results *results = tl_results_new(&error);
        assert_false(tl_lmeval_read(results, folder, &error));
        test_assert_contains(error.message, cases[i].part);
        tl_results_free(results);
    }
}

static void test_nothing_to_export(void **state) {
    (void)state;
    tl_error error = {0};
    test_result result = TEST_RUN(NULL, "run", "-m", test_scratch_path("tiny"), "-t", "piqa",
                                  "--data-dir", test_scratch_path("data"), "--limit", "2",
                                  "--protocol", "letter", "-o", test_scratch_path("letters"));
    assert_int_equal(result.status, 0);
    test_result_free(&result);
    assert_false(tl_export_lmeval(test_scratch_path("letters"), test_scratch_path("x"), &error));
    test_assert_contains(error.message, "--protocol loglikelihood");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_results_have_the_harness_keys),
        cmocka_unit_test(test_malformed_outputs_are_named),
        cmocka_unit_test(test_nothing_to_export),
    };
    return cmocka_run_group_tests_name("lm-eval export", tests, set_up, NULL);
}
