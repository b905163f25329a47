/* Tables, statistics and comparisons, from stores made on the spot and the published figures. */
#include "report/compare.h"
#include "report/load.h"
#include "report/published.h"
#include "report/report.h"
#include "report/tables.h"
#include "study/names.h"
#include "support/run_fixture.h"
#include "support/support.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STUDY TL_PROTOCOL_STUDY

static tl_results *load(const char *operand) {
    tl_error error = {0};
    tl_results *results = tl_results_load(&operand, 1, false, &error);
    assert_ok(results, error);
    return results;
}

static char *tables_of(const char *operand, const char *format) {
    tl_error error = {0};
    tl_buffer out = {0};
    assert_ok(tl_report_tables(&operand, 1, format, &out, &error), error);
    return tl_buffer_take(&out);
}

static void finish(tl_store *store, int64_t cell, double megabytes, double gigabytes) {
    tl_error error = {0};
    assert_ok(tl_store_set_measure(store, cell, "model_size_mb", megabytes, "MB", NULL, &error),
              error);
    assert_ok(
        tl_store_set_measure(store, cell, "peak_rss_mb", 1024 * gigabytes, "MB", NULL, &error),
        error);
    assert_ok(tl_store_set_verdict(store, cell, TL_VERDICT_DONE, NULL, &error), error);
}

/* "zeta" answers A always; "Alpha" is right on 30 of 40; zeta fails on piqa, Alpha has 3 of 9. */
static const char *small_run(void) {
    const char *directory = test_scratch_path("small");
    static char kept[256];
    strcpy(kept, directory);
    if (tl_dir_exists(directory)) return kept;
    tl_error error = {0};
    int64_t device;
    tl_store *store = run_fixture_open(directory, &device);
    int64_t zeta = run_fixture_plan(store, device, "zeta", "arc_easy", "ARC-e", STUDY, "f32", 40);
    int64_t alpha = run_fixture_plan(store, device, "Alpha", "arc_easy", "ARC-e", STUDY, "f32", 40);
    for (int i = 0; i < 40; i++) {
        int gold = i % 4;
        run_fixture_answer(store, zeta, STUDY, i, 4, gold, 0, 0.010, "one");
        run_fixture_answer(store, alpha, STUDY, i, 4, gold, i < 30 ? gold : (gold + 1) % 4,
                           i % 2 ? 0.003 : 0.001, "one");
    }
    finish(store, zeta, 100, 0.5);
    finish(store, alpha, 12.5, 0.125);
    int64_t failed = run_fixture_plan(store, device, "zeta", "piqa", "PIQA", STUDY, "f32", 9);
    assert_ok(tl_store_set_verdict(store, failed, TL_VERDICT_OOM_KILLED, "no | room", &error),
              error);
    int64_t partly = run_fixture_plan(store, device, "Alpha", "piqa", "PIQA", STUDY, "f32", 9);
    assert_ok(tl_store_set_verdict(store, partly, TL_VERDICT_RUNNING, NULL, &error), error);
    for (int i = 0; i < 3; i++)
        run_fixture_answer(store, partly, STUDY, i, 2, 0, 0, 0.002, "two");
    tl_store_close(store);
    return kept;
}

static void test_markdown_is_the_studys_layout(void **state) {
    (void)state;
    char *text = tables_of(small_run(), "md");
    test_assert_contains(text, "# Board 2C · study · f32\n\n## Accuracy (%)\n\n"
                               "| Model | Parameters |   ARC-e | PIQA |  Avg. |\n"
                               "| :---- | ---------: | ------: | ---: | ----: |\n"
                               "| Alpha |        20M |  75.00* |    … | 75.00 |\n"
                               "| zeta  |        20M | 25.00°† |  nan | 25.00 |\n");
    test_assert_contains(text, "## Inference time (ms)");
    test_assert_contains(text, "| Alpha |        20M |  2.00 |    … |  2.00 |\n");
    test_assert_contains(text, "| zeta  |        20M | 10.00 |  nan | 10.00 |\n");
    test_assert_contains(text, "## Peak memory (GB, process)");
    test_assert_contains(text, "| Alpha |        20M | 0.125 |    … | 0.125 |\n");
    test_assert_contains(text, "## Model size (MB)");
    test_assert_contains(text, "- nan: zeta on PIQA: oom_killed, no \\| room\n");
    test_assert_contains(text, "- …: Alpha on PIQA: running, 3 of 9 examples\n");
    test_assert_contains(text,
                         "Marks: * not significantly below the best of its task (McNemar, Holm); "
                         "° not distinguishable from chance (p ≥ 0.05); † one label");
    free(text);
}

static void test_latex_escapes(void **state) {
    (void)state;
    char *text = tables_of(small_run(), "latex");
    test_assert_contains(text, "\\begin{tabular}{lrrrr}");
    test_assert_contains(text, "zeta & 20M & 25.00$^{\\circ}$$^{\\dagger}$ & nan & 25.00 \\\\");
    test_assert_contains(text, "Accuracy (\\%), Board 2C");
    test_assert_contains(text, "% nan: zeta on PIQA: oom_killed");
    free(text);
}

static const char *csv_line(char *text, const char *model, const char *task, const char *measure) {
    static char line[512];
    char needle[128];
    snprintf(needle, sizeof needle, ",%s,", measure);
    for (char *at = text; *at; at += strcspn(at, "\n") + 1) {
        size_t length = strcspn(at, "\n");
        snprintf(line, sizeof line, "%.*s", (int)length, at);
        if (strstr(line, model) && strstr(line, task) && strstr(line, needle)) return line;
        if (!at[length]) break;
    }
    fail_msg("no line for %s %s %s", model, task, measure);
    return NULL;
}

static void test_csv_is_tidy(void **state) {
    (void)state;
    char *text = tables_of(small_run(), "csv");
    test_assert_contains(csv_line(text, "Alpha", "arc_easy", "accuracy"), ",accuracy,75,%,");
    test_assert_contains(csv_line(text, "Alpha", "arc_easy", "inference_time"),
                         ",inference_time,2");
    test_assert_contains(csv_line(text, "zeta", "piqa", "accuracy"),
                         ",oom_killed,no | room,accuracy,nan,%,");
    test_assert_contains(csv_line(text, "Alpha", "piqa", "inference_time"), ",running,");
    test_assert_contains(csv_line(text, "zeta", "arc_easy", "collapsed"), ",collapsed,1,1,");
    test_assert_contains(csv_line(text, "zeta", "arc_easy", "run.model_size_mb"), ",100,MB,");
    free(text);
}

static void test_csv_quotes_and_defuses(void **state) {
    (void)state;
    tl_buffer out = {0};
    tl_csv_append(&out, "plain");
    tl_csv_append(&out, "a,b");
    tl_csv_append(&out, "say \"x\"");
    tl_csv_append(&out, "=1+1");
    assert_string_equal(tl_buffer_string(&out), "plain\"a,b\"\"say \"\"x\"\"\"\"'=1+1\"");
    tl_buffer_free(&out);
}

static const cJSON *cell_of(const cJSON *json, const char *model, const char *task) {
    const cJSON *cell;
    cJSON_ArrayForEach(cell, tl_json_get(json, "cells")) {
        const char *name = cJSON_GetStringValue(tl_json_get(tl_json_get(cell, "model"), "name"));
        if (strcmp(name, model) == 0 &&
            strcmp(cJSON_GetStringValue(tl_json_get(cell, "task")), task) == 0)
            return cell;
    }
    fail_msg("no cell of %s on %s", model, task);
    return NULL;
}

static double number(const cJSON *object, const char *field) {
    const cJSON *item = tl_json_get(object, field);
    return item ? item->valuedouble : NAN;
}

static void test_json_says_what_numbers_mean(void **state) {
    (void)state;
    char *text = tables_of(small_run(), "json");
    tl_error error = {0};
    cJSON *json = tl_json_parse(text, strlen(text), "report", &error);
    assert_ok(json, error);
    const cJSON *zeta = cell_of(json, "zeta", "arc_easy");
    const cJSON *meaning = tl_json_get(zeta, "meaning");
    assert_int_equal(number(zeta, "n"), 40);
    assert_int_equal(number(zeta, "correct"), 10);
    assert_float_equal(number(meaning, "chance"), 25, 1e-9);
    assert_float_equal(number(meaning, "majority"), 25, 1e-9);
    assert_float_equal(number(meaning, "p_chance"), 1, 1e-9);
    /* Wilson 95 % of 10/40 and s.e. = sqrt(.25 × .75 / 39), worked out by hand. */
    assert_float_equal(number(meaning, "low"), 14.187, 1e-2);
    assert_float_equal(number(meaning, "high"), 40.194, 1e-2);
    assert_float_equal(number(meaning, "standard_error"), 6.93375, 1e-4);
    assert_true(cJSON_IsTrue(tl_json_get(meaning, "collapsed")));
    assert_true(cJSON_IsTrue(tl_json_get(meaning, "like_chance")));
    assert_int_equal(cJSON_GetArrayItem(tl_json_get(zeta, "predicted"), 0)->valuedouble, 40);
    const cJSON *times = tl_json_get(cell_of(json, "Alpha", "arc_easy"), "milliseconds");
    assert_float_equal(number(times, "median"), 2, 1e-5);
    const cJSON *group = cJSON_GetArrayItem(tl_json_get(json, "groups"), 0);
    const cJSON *ranking = cJSON_GetArrayItem(tl_json_get(group, "rankings"), 0);
    const cJSON *pair = cJSON_GetArrayItem(tl_json_get(ranking, "pairs"), 0);
    /* Alpha is right on 0 … 29; zeta on the tens whose gold is A, of which 0 … 28 hold eight. */
    assert_int_equal(number(pair, "only_a"), 22);
    assert_int_equal(number(pair, "only_b"), 2);
    assert_float_equal(number(pair, "p"), 3.5882e-05, 1e-8);
    assert_float_equal(number(pair, "p_holm"), number(pair, "p"), 0);
    const cJSON *order = tl_json_get(ranking, "order");
    assert_int_equal(number(cJSON_GetArrayItem(order, 0), "group"), 1);
    assert_int_equal(number(cJSON_GetArrayItem(order, 1), "group"), 2);
    cJSON_Delete(json);
    free(text);
}

static void test_an_empty_run_says_so(void **state) {
    (void)state;
    const char *directory = test_scratch_path("empty");
    int64_t device;
    tl_store_close(run_fixture_open(directory, &device));
    static const char *const formats[] = {"md", "latex"};
    for (int i = 0; i < 2; i++) {
        char *text = tables_of(directory, formats[i]);
        test_assert_contains(text, "no cell is planned");
        free(text);
    }
    char *json = tables_of(directory, "json");
    test_assert_contains(json, "\"cells\":[]");
    free(json);
}

static void test_conditions_have_their_own_tables(void **state) {
    (void)state;
    const char *directory = test_scratch_path("both");
    run_fixture_write(directory, &(run_fixture){2, 7, 25, .loglikelihood = true});
    char *text = tables_of(directory, "md");
    test_assert_contains(text, "# Board 2C · study · f32\n");
    test_assert_contains(text, "# Board 2C · loglikelihood · f32\n");
    test_assert_contains(text, "## Accuracy by length (%)");
    test_assert_contains(text, "| WinoGrande | HellaSwag |");
    free(text);
}

static void test_a_name_is_as_long_as_it_must_be(void **state) {
    (void)state;
    static const struct {
        const char *id, *other;
        const char *shown;
    } cases[] = {
        {"/data/a/model", "/data/b/model", "a/model"},
        {"/x/a/model", "/y/a/model", "x/a/model"},
        {"model", "/data/model", "model"},
        {"org/model", "org/model@v1", "model"},
        {"org/model@v1", "org/model", "model@v1"},
        {"org/model@refs/pr/1", "org/model@refs/pr/2", "model@refs/pr/1"},
        {"/at@home/model", "/at@work/model", "at@home/model"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *const others[] = {cases[i].id, cases[i].other};
        int parts = tl_model_parts(cases[i].id, others, 2);
        assert_string_equal(tl_model_tail(cases[i].id, parts), cases[i].shown);
        assert_int_equal(tl_model_parts(cases[i].id, others, 1), 0);
    }
}

/* A cell of 10 examples, `right` of them, of the model in `id`, which the store calls "model". */
static void add_model(tl_store *store, int64_t device, const char *id, int right) {
    tl_error error = {0};
    tl_store_cell cell = {
        .device = device,
        .model = {.name = "model", .id = id, .parameters_label = "1M"},
        .task = "piqa",
        .task_title = "PIQA",
        .protocol = STUDY,
        .dtype = "f32",
        .precision = "exact",
        .identity = "{}",
        .examples = 10,
        .started = NAN,
        .finished = NAN,
    };
    assert_ok(tl_store_plan(store, &cell, &error), error);
    for (int i = 0; i < 10; i++)
        run_fixture_answer(store, cell.id, STUDY, i, 2, 0, i >= right, 0.01, "x");
    finish(store, cell.id, 1, 0.5);
}

static void test_models_of_one_name_are_told_apart(void **state) {
    (void)state;
    char both[256];
    strcpy(both, test_scratch_path("both-names"));
    const char *one = test_scratch_path("one-name");
    int64_t device;
    tl_store *store = run_fixture_open(both, &device);
    add_model(store, device, "/data/a/model", 9);
    add_model(store, device, "/data/b/model", 6);
    tl_store_close(store);
    store = run_fixture_open(one, &device);
    add_model(store, device, "/data/b/model", 5);
    tl_store_close(store);
    char *text = tables_of(both, "md");
    test_assert_contains(text, "| a/model |         1M |  90.00");
    test_assert_contains(text, "| b/model |         1M | 60.00");
    free(text);
    text = tables_of(one, "md");
    test_assert_contains(text, "| model |");
    free(text);
    /* the same id is the same model, under one name on both sides */
    const char *const operands[] = {both, one};
    tl_error error = {0};
    tl_results *results = tl_results_load(operands, 2, false, &error);
    assert_ok(results, error);
    tl_comparisons comparisons;
    assert_ok(tl_compare(results, &comparisons, &error), error);
    const tl_comparison *item = &comparisons.items[0];
    assert_int_equal(item->count, 1);
    assert_int_equal(item->only_base_count, 1);
    assert_string_equal(results->cells[item->rows[0].other].model.name, "b/model");
    assert_float_equal(item->rows[0].accuracy_difference, -10, 1e-9);
    tl_results_free(results);
}

static void test_what_is_no_text_is_replaced(void **state) {
    (void)state;
    int64_t device;
    const char *directory = test_scratch_path("no-text");
    tl_error error = {0};
    tl_store *store = run_fixture_open(directory, &device);
    tl_store_cell cell = {
        .device = device,
        .model = {.name = "caf\xe9", .id = "/data/caf\xe9", .parameters_label = "1M"},
        .task = "piqa",
        .task_title = "PIQA",
        .protocol = STUDY,
        .dtype = "f32",
        .precision = "exact",
        .identity = "{\"weights\":\"\xff\"}",
        .started = NAN,
        .finished = NAN,
    };
    assert_ok(tl_store_plan(store, &cell, &error), error);
    tl_store_close(store);
    char *text = tables_of(directory, "json");
    test_assert_contains(text, "\"weights\":\"\xef\xbf\xbd\"");
    test_assert_contains(text, "\"caf\xef\xbf\xbd\"");
    assert_null(strchr(text, '\xff'));
    free(text);
}

static void test_published_counts_are_whole(void **state) {
    (void)state;
    tl_results *results = load("study");
    assert_int_equal(results->cell_count, 198);
    assert_int_equal(results->device_count, 2);
    int failed = 0;
    for (int i = 0; i < results->cell_count; i++) {
        const tl_result_cell *cell = &results->cells[i];
        if (!tl_cell_done(cell)) {
            failed++;
            continue;
        }
        if (strcmp(cell->model.name, "opt-125m") == 0 && strcmp(cell->task, "winogrande") == 0)
            assert_int_equal(cell->examples, cell->device == 0 ? 1267 : 1000);
    }
    assert_int_equal(failed, 5);
    tl_results_free(results);
}

static void test_published_mistakes_are_named(void **state) {
    (void)state;
    static const char header[] = "device,model,id,family,parameters,task,examples,model_size_mb,"
                                 "accuracy_pct,inference_ms,peak_gpu_gb,peak_swap_mb\n";
    static const struct {
        const char *rest, *message;
    } cases[] = {
        {"a,b,c,d,e,piqa,10,1,x,3,4,5\n", ":2: accuracy_pct 'x' is not a number"},
        {"a,b,c,d,e,piqa,10,1\n", ":2: 8 columns: expected 12"},
        {"a,b,c,d,e,nothing,10,1,2,3,4,5\n", ":2: unknown task 'nothing'"},
        {"a,b,c,d,e,piqa,0,1,2,3,4,5\n", ":2: examples is '0'"},
        {"a,b,c,d,e,piqa,10,1,101,3,4,5\n", ":2: accuracy_pct is '101'"},
        {"a,b,c,d,e,piqa,10,inf,10,3,4,5\n", ":2: model_size_mb 'inf' is not a number"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *path = test_scratch_path("published.csv");
        tl_buffer text = {0};
        tl_buffer_append_format(&text, "%s%s", header, cases[i].rest);
        test_write_text(path, tl_buffer_string(&text));
        tl_buffer_free(&text);
        tl_error error = {0};
        tl_results *results = tl_results_new(&error);
        assert_false(tl_published_read_file(results, path, &error));
        test_assert_contains(error.message, cases[i].message);
        tl_results_free(results);
    }
}

/* ---- compare ---- */

/* A run that gives the published answers of one model: 26.4912 % of ARC-e's 570. */
static void write_like_published(const char *directory, int correct) {
    int64_t device;
    tl_store *store = run_fixture_open(directory, &device);
    int64_t cell =
        run_fixture_plan(store, device, "opt-125m", "arc_easy", "ARC-e", STUDY, "f32", 570);
    tl_error error = {0};
    assert_ok(tl_store_begin(store, &error), error);
    for (int i = 0; i < 570; i++)
        run_fixture_answer(store, cell, STUDY, i, 4, 1, i < correct, 0.01, "x");
    assert_ok(tl_store_end(store, true, &error), error);
    finish(store, cell, 477.75, 0.25);
    tl_store_close(store);
}

static void test_compare_with_the_published_figures(void **state) {
    (void)state;
    const char *exact = test_scratch_path("exact"), *off = test_scratch_path("off");
    write_like_published(exact, 151);
    write_like_published(off, 150);
    const char *const operands[] = {"study", exact, off};
    tl_error error = {0};
    tl_results *results = tl_results_load(operands, 3, false, &error);
    assert_ok(results, error);
    tl_comparisons comparisons;
    assert_ok(tl_compare(results, &comparisons, &error), error);
    assert_int_equal(comparisons.count, 4); /* each against both published devices */
    const tl_comparison *first = &comparisons.items[0], *second = &comparisons.items[2];
    assert_int_equal(first->count, 1);
    assert_true(first->rows[0].agrees);
    assert_float_equal(first->rows[0].speed_up, 5.6644, 1e-3);
    assert_float_equal(first->rows[0].size_ratio, 1, 1e-9);
    assert_int_equal(first->only_base_count, 95);
    assert_false(second->rows[0].agrees);
    assert_float_equal(second->rows[0].accuracy_difference, -100.0 / 570, 1e-9);
    tl_results_free(results);
}

static tl_results *compare_fixture(tl_comparisons *comparisons) {
    const char *base = test_scratch_path("base"), *other = test_scratch_path("other");
    if (!tl_dir_exists(base)) {
        write_like_published(base, 151);
        write_like_published(other, 141);
    }
    const char *const operands[] = {base, other};
    tl_error error = {0};
    tl_results *results = tl_results_load(operands, 2, false, &error);
    assert_ok(results, error);
    assert_ok(tl_compare(results, comparisons, &error), error);
    return results;
}

static void test_thresholds(void **state) {
    (void)state;
    tl_comparisons comparisons;
    tl_results *results = compare_fixture(&comparisons);
    static const struct {
        const char *thresholds;
        int passed;
    } cases[] = {
        {"accuracy-drop>1.75", 1},
        {"accuracy-drop>1.76", 0},
        {"accuracy-change>1.7", 1},
        {"slowdown>1", 0},
        {"slowdown>=1", 1},
        {"memory-growth>0.9", 1},
        {"differing>1.7,size-growth>2", 1},
        {"missing>0", 0},
        {"missing>=0", 1},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        tl_buffer lines = {0};
        tl_error error = {0};
        int passed;
        assert_ok(tl_compare_check(&comparisons, cases[i].thresholds, &lines, &passed, &error),
                  error);
        if (passed != cases[i].passed) fail_msg("%s: %d passed", cases[i].thresholds, passed);
        tl_buffer_free(&lines);
    }
    static const char *const wrong[] = {"",           "speed>1",     "slowdown",  "slowdown>",
                                        "slowdown>x", "slowdown>1,", "slowdown<1"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        tl_buffer lines = {0};
        tl_error error = {0};
        int passed;
        assert_false(tl_compare_check(&comparisons, wrong[i], &lines, &passed, &error));
        assert_int_equal(error.code, TL_ERROR_USAGE);
        tl_buffer_free(&lines);
    }
    tl_results_free(results);
}

static void test_examples_that_differ_are_listed(void **state) {
    (void)state;
    tl_comparisons comparisons;
    tl_results *results = compare_fixture(&comparisons);
    tl_buffer out = {0};
    tl_error error = {0};
    assert_ok(tl_compare_write(&comparisons, "md", 2, &out, &error), error);
    test_assert_contains(out.data, "10 of 570");
    test_assert_contains(out.data, "- 141: gold B, base B, here A: {\"question\":\"x\"}\n"
                                   "- 142: gold B, base B, here A: {\"question\":\"x\"}\n");
    assert_null(strstr(out.data, "- 143:"));
    tl_buffer_clear(&out);
    assert_ok(tl_compare_write(&comparisons, "json", 2, &out, &error), error);
    cJSON *json = tl_json_parse(out.data, out.length, "compare", &error);
    assert_ok(json, error);
    cJSON_Delete(json);
    tl_buffer_free(&out);
    tl_results_free(results);
}

static void test_a_run_without_cells_vouches_for_nothing(void **state) {
    (void)state;
    const char *empty = test_scratch_path("cellless");
    int64_t device;
    tl_store_close(run_fixture_open(empty, &device));
    const char *const operands[] = {"study", empty};
    tl_error error = {0};
    tl_results *results = tl_results_load(operands, 2, false, &error);
    assert_ok(results, error);
    tl_comparisons comparisons;
    assert_false(tl_compare(results, &comparisons, &error));
    test_assert_contains(error.message, "cellless: has no cells");
    tl_results_free(results);
}

static void test_names_do_what_they_show(void **state) {
    (void)state;
    int64_t device;
    const char *directory = test_scratch_path("names");
    tl_error error = {0};
    tl_store *store = run_fixture_open(directory, &device);
    int64_t cell = run_fixture_plan(store, device,
                                    "a_b~^<\\|\xc2\x9b"
                                    "31m\xe2\x80\xae"
                                    "c",
                                    "piqa", "PIQA", STUDY, "f32", 1);
    assert_ok(tl_store_set_verdict(store, cell, TL_VERDICT_TIMEOUT, "late", &error), error);
    tl_store_close(store);
    char *text = tables_of(directory, "latex");
    test_assert_contains(text, "a\\_b\\textasciitilde{}\\textasciicircum{}\\textless{}"
                               "\\textbackslash{}\\textbar{} 31m c &");
    free(text);
    text = tables_of(directory, "md");
    test_assert_contains(text, "| a_b~^&lt;\\\\\\| 31m c |");
    free(text);
}

static void test_times_taken_while_swapping_are_marked(void **state) {
    (void)state;
    int64_t device;
    const char *directory = test_scratch_path("swapping");
    tl_error error = {0};
    tl_store *store = run_fixture_open(directory, &device);
    for (int i = 0; i < 2; i++) {
        int64_t cell = run_fixture_plan(store, device, i ? "calm" : "swapped", "piqa", "PIQA",
                                        STUDY, "f32", 1);
        run_fixture_answer(store, cell, STUDY, 0, 2, 0, 0, 0.010, "x");
        assert_ok(tl_store_set_measure(store, cell, "timed_while_swapping", !i, "", NULL, &error),
                  error);
        finish(store, cell, 1, 1);
    }
    tl_store_close(store);
    char *text = tables_of(directory, "md");
    test_assert_contains(text, "10.00‡");
    test_assert_contains(text, "\nMarks: ‡ timed while pages came back from swap");
    assert_ptr_equal(strstr(strstr(text, "10.00‡") + 1, "10.00‡"), NULL);
    free(text);
    text = tables_of(directory, "latex");
    test_assert_contains(text, "10.00$^{\\ddagger}$");
    free(text);
    text = tables_of(directory, "json");
    test_assert_contains(text, "\"timed_while_swapping\":true");
    free(text);
}

static void test_one_run_cannot_be_compared(void **state) {
    (void)state;
    tl_results *results = load(small_run());
    tl_comparisons comparisons;
    tl_error error = {0};
    assert_false(tl_compare(results, &comparisons, &error));
    assert_int_equal(error.code, TL_ERROR_USAGE);
    tl_results_free(results);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_markdown_is_the_studys_layout),
        cmocka_unit_test(test_latex_escapes),
        cmocka_unit_test(test_csv_is_tidy),
        cmocka_unit_test(test_csv_quotes_and_defuses),
        cmocka_unit_test(test_json_says_what_numbers_mean),
        cmocka_unit_test(test_an_empty_run_says_so),
        cmocka_unit_test(test_conditions_have_their_own_tables),
        cmocka_unit_test(test_a_name_is_as_long_as_it_must_be),
        cmocka_unit_test(test_models_of_one_name_are_told_apart),
        cmocka_unit_test(test_what_is_no_text_is_replaced),
        cmocka_unit_test(test_published_counts_are_whole),
        cmocka_unit_test(test_published_mistakes_are_named),
        cmocka_unit_test(test_compare_with_the_published_figures),
        cmocka_unit_test(test_thresholds),
        cmocka_unit_test(test_examples_that_differ_are_listed),
        cmocka_unit_test(test_a_run_without_cells_vouches_for_nothing),
        cmocka_unit_test(test_names_do_what_they_show),
        cmocka_unit_test(test_times_taken_while_swapping_are_marked),
        cmocka_unit_test(test_one_run_cannot_be_compared),
    };
    return cmocka_run_group_tests_name("report", tests, NULL, NULL);
}
