/* Exports of runs over the conformance set against the harness's own files: every line of samples
 * and every figure of the results. */
#include "support/support.h"

#include "report/export.h"
#include "task/task.h"

#include <glob.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void find(const char *pattern, char *path, size_t size) {
    glob_t found;
    if (glob(pattern, 0, NULL, &found) != 0 || found.gl_pathc != 1) fail_msg("no %s", pattern);
    snprintf(path, size, "%s", found.gl_pathv[0]);
    globfree(&found);
}

/* Log-likelihoods are close, everything else is the same. */
static void compare_responses(const cJSON *a, const cJSON *b) {
    assert_int_equal(cJSON_GetArraySize(a), cJSON_GetArraySize(b));
    const cJSON *y = b->child;
    for (const cJSON *x = a->child; x; x = x->next, y = y->next) {
        const cJSON *p = cJSON_IsArray(x->child) ? x->child : x;
        const cJSON *q = cJSON_IsArray(y->child) ? y->child : y;
        double one = strtod(p->child->valuestring, NULL),
               other = strtod(q->child->valuestring, NULL);
        assert_true(fabs(one - other) <= 1e-3);
        assert_string_equal(p->child->next->valuestring, q->child->next->valuestring);
    }
}

static void compare_samples(const char *golden, const char *ours) {
    tl_error error = {0};
    tl_rows *a = tl_rows_open(golden, 0, &error), *b = tl_rows_open(ours, 0, &error);
    assert_ok(a && b, error);
    assert_int_equal(tl_rows_count(a), tl_rows_count(b));
    for (int64_t i = 0; i < tl_rows_count(a); i++) {
        cJSON *x = tl_rows_parse(a, i, &error), *y = tl_rows_parse(b, i, &error);
        const cJSON *q = y->child;
        for (const cJSON *p = x->child; p; p = p->next, q = q->next) {
            assert_non_null(q);
            assert_string_equal(p->string, q->string); /* the same keys in the same order */
            if (strstr(p->string, "resps"))
                compare_responses(p, q);
            else if (!cJSON_Compare(p, q, true))
                fail_msg("%s:%lld: '%s' differs", ours, (long long)i + 1, p->string);
        }
        assert_null(q);
        cJSON_Delete(x);
        cJSON_Delete(y);
    }
    tl_rows_free(a);
    tl_rows_free(b);
}

static const cJSON *at(const cJSON *document, const char *key) {
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(document, key);
    if (!item) fail_msg("no '%s'", key);
    return item;
}

static void compare_results(const char *golden, const char *ours) {
    static const char *const whole[] = {"results",
                                        "group_subtasks",
                                        "versions",
                                        "n-shot",
                                        "higher_is_better",
                                        "n-samples",
                                        "task_hashes",
                                        "max_length",
                                        "eot_token_id",
                                        "tokenizer_pad_token",
                                        "tokenizer_eos_token",
                                        "tokenizer_bos_token",
                                        "git_hash",
                                        "upper_git_hash",
                                        "model_source",
                                        "system_instruction",
                                        "system_instruction_sha",
                                        "fewshot_as_multiturn",
                                        "chat_template",
                                        "chat_template_sha"};
    static const char *const config[] = {
        "model",      "model_num_parameters", "model_dtype", "model_revision",
        "model_sha",  "batch_sizes",          "device",      "use_cache",
        "limit",      "bootstrap_iters",      "gen_kwargs",  "random_seed",
        "numpy_seed", "torch_seed",           "fewshot_seed"};
    tl_error error = {0};
    cJSON *a = tl_json_read(golden, 1 << 26, &error), *b = tl_json_read(ours, 1 << 26, &error);
    assert_ok(a && b, error);
    for (size_t i = 0; i < sizeof whole / sizeof *whole; i++)
        if (!cJSON_Compare(at(a, whole[i]), at(b, whole[i]), true))
            fail_msg("%s: '%s' differs", ours, whole[i]);
    for (size_t i = 0; i < sizeof config / sizeof *config; i++)
        if (!cJSON_Compare(at(at(a, "config"), config[i]), at(at(b, "config"), config[i]), true))
            fail_msg("%s: 'config.%s' differs", ours, config[i]);
    cJSON_Delete(a);
    cJSON_Delete(b);
}

static void compare_run(const char *model, const char *shots, const char *limit) {
    static const char *const tasks[] = {"arc_easy",   "openbookqa", "boolq",    "piqa",
                                        "social_iqa", "winogrande", "hellaswag"};
    tl_error error = {0};
    char run[512], out[512], list[256] = "", golden[1024], ours[1024];
    snprintf(run, sizeof run, "%s", test_scratch_path("run-%s-%s", model, shots));
    snprintf(out, sizeof out, "%s", test_scratch_path("out-%s-%s", model, shots));
    for (int i = 0; i < 7; i++)
        snprintf(list + strlen(list), sizeof list - strlen(list), "%s%s", i ? "," : "", tasks[i]);
    test_result result =
        TEST_RUN(NULL, "run", "-m", test_shared_path("golden/models/%s", model), "-t", list,
                 "--protocol", "loglikelihood", "--shots", shots, "--limit", limit, "--data-dir",
                 test_shared_path("golden/lmeval/data"), "-o", run);
    if (result.status != 0) fail_msg("%s", result.err);
    test_result_free(&result);
    assert_ok(tl_export_lmeval(run, out, &error), error);
    const char *folder = test_shared_path("golden/lmeval/runs/%s/%sshot/models__*", model, shots);
    char pattern[1024];
    for (int i = 0; i < 7; i++) {
        snprintf(pattern, sizeof pattern, "%s/samples_%s_*.jsonl", folder, tasks[i]);
        find(pattern, golden, sizeof golden);
        snprintf(pattern, sizeof pattern, "%s/*/samples_%s_*.jsonl", out, tasks[i]);
        find(pattern, ours, sizeof ours);
        compare_samples(golden, ours);
    }
    snprintf(pattern, sizeof pattern, "%s/results_*.json", folder);
    find(pattern, golden, sizeof golden);
    snprintf(pattern, sizeof pattern, "%s/*/results_*.json", out);
    find(pattern, ours, sizeof ours);
    compare_results(golden, ours);
}

static void test_exports_equal_the_harness(void **state) {
    (void)state;
    if (!test_shared()) skip();
    static const char *const models[] = {"eval-llama", "eval-gpt2-512", "flan-t5-gated"};
    for (int i = 0; i < 3; i++) {
        if (test_brief() && i != 1) continue;
        if (!test_brief()) compare_run(models[i], "0", "100");
        compare_run(models[i], "5", "20");
        print_message("%s: results and samples equal\n", models[i]);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_exports_equal_the_harness)};
    return cmocka_run_group_tests_name("lm-eval export", tests, NULL, NULL);
}
