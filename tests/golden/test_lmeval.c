/* lm-evaluation-harness's own logs: every document, request, target, hash and few-shot draw. */
#include "support/load.h"
#include "support/support.h"

#include "engine/engine.h"
#include "kernels/kernels.h"
#include "model/model.h"
#include "task/document.h"
#include "task/fewshot.h"
#include "task/method.h"
#include "task/statistics.h"
#include "task/task.h"

#include <glob.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const tasks[] = {"arc_easy",   "openbookqa", "boolq",    "piqa",
                                    "social_iqa", "winogrande", "hellaswag"};
enum { N_TASKS = sizeof tasks / sizeof *tasks };

typedef struct reference_run {
    const char *folder;
    int shots;
    tl_bos bos;
} reference_run;

static const reference_run runs[] = {
    {"eval-llama/0shot", 0},
    {"eval-llama/5shot", 5},
    {"eval-llama/0shot-nobos", 0, TL_BOS_OFF},
    {"eval-gpt2-512/0shot", 0},
    {"eval-gpt2-512/5shot", 5},
    {"flan-t5-gated/0shot", 0},
    {"flan-t5-gated/5shot", 5},
};

/* The one file that matches. */
static bool find_file(const char *pattern, char *path, size_t size) {
    glob_t found;
    bool ok = glob(pattern, 0, NULL, &found) == 0 && found.gl_pathc == 1;
    if (ok) snprintf(path, size, "%s", found.gl_pathv[0]);
    globfree(&found);
    return ok;
}

static void assert_hash(const cJSON *sample, const char *field, const char *text) {
    char hex[TL_HEX_SIZE];
    assert_true(tl_sha256(text, strlen(text), hex));
    assert_string_equal(hex, cJSON_GetStringValue(tl_json_get(sample, field)));
}

static void compare_sample(const tl_question *q, const cJSON *sample) {
    const cJSON *arguments = tl_json_get(sample, "arguments");
    assert_int_equal(cJSON_GetArraySize(arguments), q->n_choices);
    for (int i = 0; i < q->n_choices; i++) {
        char name[32];
        snprintf(name, sizeof name, "gen_args_%d", i);
        const cJSON *request = tl_json_get(arguments, name);
        assert_string_equal(q->contexts[i], cJSON_GetStringValue(tl_json_get(request, "arg_0")));
        assert_string_equal(q->continuations[i],
                            cJSON_GetStringValue(tl_json_get(request, "arg_1")));
    }
    tl_buffer pretty = {0};
    tl_document_append(&pretty, q->document, strlen(q->document), 2);
    assert_hash(sample, "doc_hash", tl_buffer_string(&pretty));
    tl_buffer_free(&pretty);
    assert_hash(sample, "prompt_hash", q->contexts[0]);
}

static int compare_task(const char *folder, const char *name, int shots) {
    tl_error error = {0};
    char path[1024];
    assert_true(find_file(
        test_shared_path("golden/lmeval/runs/%s/models__*/samples_%s_*.jsonl", folder, name), path,
        sizeof path));
    tl_rows *samples = tl_rows_open(path, 0, &error);
    assert_ok(samples, error);
    tl_task *task = tl_task_open(name, &error);
    assert_ok(task, error);
    tl_rows *rows = tl_rows_open(test_shared_path("golden/lmeval/data/%s/%s.jsonl", name,
                                                  tl_task_split(task, TL_PROTOCOL_LOGLIKELIHOOD)),
                                 tl_rows_count(samples), &error);
    assert_ok(rows, error);
    tl_rows *pool =
        tl_rows_open(test_shared_path("golden/lmeval/data/%s/train.jsonl", name), 0, &error);
    assert_ok(pool, error);
    tl_fewshot *fewshot =
        shots ? tl_fewshot_new(task, pool, shots, false, 1234, tl_rows_count(rows), &error) : NULL;
    assert_true(!shots || fewshot);
    tl_arena *arena = tl_arena_new();
    for (int64_t i = 0; i < tl_rows_count(rows); i++) {
        cJSON *sample = tl_rows_parse(samples, i, &error), *row = tl_rows_parse(rows, i, &error);
        const char *prefix = "";
        size_t length;
        const char *text = tl_rows_text(rows, i, &length);
        tl_question q;
        if (fewshot) assert_ok(tl_fewshot_text(fewshot, i, row, arena, &prefix, &error), error);
        assert_ok(tl_question_build(task, TL_PROTOCOL_LOGLIKELIHOOD, row, text, length, prefix,
                                    arena, &q, &error),
                  error);
        compare_sample(&q, sample);
        cJSON_Delete(sample);
        cJSON_Delete(row);
        tl_arena_reset(arena);
    }
    int count = (int)tl_rows_count(rows);
    tl_arena_free(arena);
    tl_fewshot_free(fewshot);
    tl_rows_free(pool);
    tl_rows_free(rows);
    tl_rows_free(samples);
    tl_task_free(task);
    return count;
}

static void test_requests_equal_the_harness(void **state) {
    (void)state;
    if (!test_shared()) skip();
    for (size_t r = 0; r < sizeof runs / sizeof *runs; r++) {
        int documents = 0;
        for (int t = 0; t < N_TASKS; t++)
            documents += compare_task(runs[r].folder, tasks[t], runs[r].shots);
        print_message("%s: %d documents\n", runs[r].folder, documents);
    }
}

static void test_draws_equal_the_harness(void **state) {
    (void)state;
    if (!test_shared()) skip();
    tl_error error = {0};
    cJSON *all =
        tl_json_read(test_shared_path("golden/lmeval/fewshot_indices.json"), 1 << 24, &error);
    assert_ok(all, error);
    for (int t = 0; t < N_TASKS; t++) {
        const cJSON *entry = tl_json_get(all, tasks[t]);
        const cJSON *draws = tl_json_get(entry, "first_20_docs");
        int size = tl_json_get(entry, "train_size")->valueint;
        int draw = tl_json_get(entry, "draw")->valueint;
        tl_buffer pool_text = {0};
        for (int i = 0; i < size; i++)
            tl_buffer_append_string(&pool_text, "{}\n");
        const char *path = test_scratch_path("%s.jsonl", tasks[t]);
        test_write_text(path, tl_buffer_string(&pool_text));
        tl_buffer_free(&pool_text);
        tl_task *task = tl_task_open(tasks[t], &error);
        tl_rows *pool = tl_rows_open(path, 0, &error);
        assert_ok(pool, error);
        tl_fewshot *fewshot = tl_fewshot_new(task, pool, 5, false, 1234, 20, &error);
        assert_ok(fewshot, error);
        for (int i = 0; i < 20; i++) {
            int32_t count;
            const uint32_t *drawn = tl_fewshot_drawn(fewshot, i, &count);
            assert_int_equal(count, draw);
            for (int j = 0; j < count; j++)
                assert_int_equal(drawn[j],
                                 cJSON_GetArrayItem(cJSON_GetArrayItem(draws, i), j)->valueint);
        }
        tl_fewshot_free(fewshot);
        tl_rows_free(pool);
        tl_task_free(task);
    }
    cJSON_Delete(all);
}

/* ---- scores ---- */

typedef struct comparison {
    const cJSON *results; /* of the harness, for the task */
    cJSON *requests;      /* an array: those of this task */
    int32_t first[200];   /* place of each document's first request */
    int64_t correct, correct_norm, documents;
    double largest; /* difference of a log-likelihood */
    bool norm;
} comparison;

static bool compare_scores(void *context, const tl_example *example) {
    comparison *c = context;
    assert_null(example->skipped);
    assert_true(example->index < 200);
    for (int i = 0; i < example->n_choices; i++) {
        const cJSON *request = cJSON_GetArrayItem(c->requests, c->first[example->index] + i);
        double ll = tl_json_get(request, "ll")->valuedouble;
        double difference = fabs(example->scores[i] - ll);
        if (difference > c->largest) c->largest = difference;
        if (difference > 1e-3)
            fail_msg("document %lld, choice %d: %.9g, expected %.9g", (long long)example->index, i,
                     example->scores[i], ll);
        assert_int_equal(example->greedy[i], cJSON_IsTrue(tl_json_get(request, "is_greedy")));
    }
    c->documents++;
    c->correct += example->prediction == example->gold;
    c->correct_norm += example->prediction_norm == example->gold;
    c->norm = example->prediction_norm >= 0;
    return true;
}

/* Requests are in the order of tasks, documents and choices. */
static void take_requests(comparison *c, const cJSON *all, int *at, const tl_rows *samples) {
    c->requests = cJSON_CreateArray();
    int32_t place = 0;
    for (int64_t d = 0; d < tl_rows_count(samples); d++) {
        tl_error error = {0};
        cJSON *sample = tl_rows_parse(samples, d, &error);
        int n = cJSON_GetArraySize(tl_json_get(sample, "arguments"));
        c->first[d] = place;
        for (int i = 0; i < n; i++, place++)
            cJSON_AddItemReferenceToArray(c->requests, cJSON_GetArrayItem(all, (*at)++));
        cJSON_Delete(sample);
    }
}

/* The accuracies, to every digit that a mean over these documents has. */
static void compare_results(const comparison *c) {
    const cJSON *acc = tl_json_get(c->results, "acc,none");
    const cJSON *acc_norm = tl_json_get(c->results, "acc_norm,none");
    assert_true(acc->valuedouble == (double)c->correct / (double)c->documents);
    assert_int_equal(c->norm, acc_norm != NULL);
    if (acc_norm)
        assert_true(acc_norm->valuedouble == (double)c->correct_norm / (double)c->documents);
    double expected = tl_json_get(c->results, "acc_stderr,none")->valuedouble;
    assert_true(fabs(tl_standard_error(c->correct, c->documents) - expected) < 1e-12);
}

static cJSON *read_array(const char *path) {
    tl_error error = {0};
    tl_rows *rows = tl_rows_open(path, 0, &error);
    assert_ok(rows, error);
    cJSON *array = cJSON_CreateArray();
    for (int64_t i = 0; i < tl_rows_count(rows); i++)
        cJSON_AddItemToArray(array, tl_rows_parse(rows, i, &error));
    tl_rows_free(rows);
    return array;
}

/* One task's scores and figures. Gives the largest difference of a log-likelihood. */
static double compare_task_scores(const reference_run *run, bool batched, tl_engine *engine,
                                  const tl_tokenizer *tokenizer, const cJSON *task_results,
                                  const cJSON *requests, int *at) {
    tl_error error = {0};
    char path[1024];
    const char *name = task_results->string;
    assert_true(find_file(
        test_shared_path("golden/lmeval/runs/%s/models__*/samples_%s_*.jsonl", run->folder, name),
        path, sizeof path));
    tl_rows *samples = tl_rows_open(path, 0, &error);
    comparison c = {.results = task_results};
    take_requests(&c, requests, at, samples);
    char data_dir[512];
    snprintf(data_dir, sizeof data_dir, "%s", test_shared_path("golden/lmeval/data"));
    tl_evaluation_options options = {.limit = tl_rows_count(samples),
                                     .shots = run->shots,
                                     .shots_seed = 1234,
                                     .bos = run->bos,
                                     .batched = batched,
                                     .data_dir = data_dir};
    options.protocols[TL_PROTOCOL_LOGLIKELIHOOD] = true;
    tl_task *task = tl_task_open(name, &error);
    tl_evaluation *e = tl_evaluation_new(task, &options, engine, tokenizer, &error);
    assert_ok(e, error);
    assert_ok(tl_evaluation_run(e, compare_scores, &c, &error), error);
    assert_int_equal(c.documents, tl_rows_count(samples));
    compare_results(&c);
    cJSON_Delete(c.requests);
    tl_evaluation_free(e);
    tl_task_free(task);
    tl_rows_free(samples);
    return c.largest;
}

/* The order of the tasks in the harness's requests is that of its results. */
static void compare_run(const reference_run *run, bool batched) {
    tl_error error = {0};
    char path[1024], model_name[64];
    snprintf(model_name, sizeof model_name, "%.*s", (int)strcspn(run->folder, "/"), run->folder);
    const char *directory = test_shared_path("golden/models/%s", model_name);
    tl_model *model = test_load_model(directory, NULL);
    tl_tokenizer *tokenizer = tl_tokenizer_open(directory, &error);
    assert_ok(tokenizer, error);
    tl_engine *engine =
        test_open_engine(model, &(tl_engine_options){.threads = 2, .device = test_device()});
    assert_true(
        find_file(test_shared_path("golden/lmeval/runs/%s/models__*/results_*.json", run->folder),
                  path, sizeof path));
    cJSON *results = tl_json_read(path, 1 << 24, &error);
    assert_ok(results, error);
    cJSON *requests =
        read_array(test_shared_path("golden/lmeval/runs/%s/requests.jsonl", run->folder));
    int at = 0;
    double largest = 0;
    const cJSON *task_results;
    cJSON_ArrayForEach(task_results, tl_json_get(results, "results")) {
        double task_largest =
            compare_task_scores(run, batched, engine, tokenizer, task_results, requests, &at);
        if (task_largest > largest) largest = task_largest;
    }
    assert_int_equal(at, cJSON_GetArraySize(requests));
    print_message("%s%s: %d requests, largest difference %.2g\n", run->folder,
                  batched ? "" : ", one at a time", at, largest);
    cJSON_Delete(requests);
    cJSON_Delete(results);
    tl_engine_free(engine);
    tl_tokenizer_free(tokenizer);
    tl_model_unload(model);
}

static void test_scores_equal_the_harness(void **state) {
    (void)state;
    if (!test_shared()) skip();
    if (test_brief()) {
        compare_run(&runs[1], true);
        return;
    }
    for (size_t r = 0; r < sizeof runs / sizeof *runs; r++)
        compare_run(&runs[r], true);
    compare_run(&runs[2], false);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_requests_equal_the_harness),
        cmocka_unit_test(test_draws_equal_the_harness),
        cmocka_unit_test(test_scores_equal_the_harness),
    };
    return cmocka_run_group_tests_name("lm-eval", tests, NULL, NULL);
}
