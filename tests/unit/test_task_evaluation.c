/* Evaluations on a tiny random model: the same bits however asked, rows skipped with their reason,
 * resumption, truncation, few-shot examples. */
#include "support/fixture.h"
#include "support/load.h"
#include "support/support.h"

#include "kernels/kernels.h"
#include "model/model.h"
#include "task/task.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ROWS = 30, MOST_CHOICES = 4 };

typedef struct machine {
    tl_model *model;
    tl_tokenizer *tokenizer;
    tl_engine *engine;
} machine;

static void machine_start(machine *m, int threads) {
    tl_error error = {0};
    const char *directory = test_scratch_path("model");
    m->model = test_load_model(directory, NULL);
    m->tokenizer = tl_tokenizer_open(directory, &error);
    assert_ok(m->tokenizer, error);
    m->engine = test_open_engine(m->model, &(tl_engine_options){.threads = threads});
}

static void machine_stop(machine *m) {
    tl_engine_free(m->engine);
    tl_tokenizer_free(m->tokenizer);
    tl_model_unload(m->model);
}

/* What the callback hears. */
typedef struct hearing {
    double scores[TL_PROTOCOL_COUNT][ROWS][MOST_CHOICES];
    int predictions[TL_PROTOCOL_COUNT][ROWS], asked[TL_PROTOCOL_COUNT][ROWS];
    int examples, skipped, truncated, timed, stop_after;
    int64_t tokens_computed, tokens_asked;
    char reason[512], prompt[4096];
} hearing;

static bool hear(void *context, const tl_example *x) {
    hearing *h = context;
    h->examples++;
    h->asked[x->protocol][x->index]++;
    h->truncated += x->truncated;
    h->timed += !isnan(x->forward_seconds);
    h->tokens_computed += x->tokens_computed;
    h->tokens_asked += x->tokens_asked;
    if (x->skipped) {
        h->skipped++;
        snprintf(h->reason, sizeof h->reason, "%s", x->skipped);
        return true;
    }
    assert_true(x->n_choices <= MOST_CHOICES);
    for (int i = 0; i < x->n_choices; i++)
        h->scores[x->protocol][x->index][i] = x->scores[i];
    h->predictions[x->protocol][x->index] = x->prediction;
    snprintf(h->prompt, sizeof h->prompt, "%s", x->prompt);
    return h->stop_after == 0 || h->examples < h->stop_after;
}

static tl_evaluation_options all_protocols(void) {
    tl_evaluation_options options = {.batched = true, .shots_seed = 1234};
    for (int p = 0; p < TL_PROTOCOL_COUNT; p++)
        options.protocols[p] = true;
    return options;
}

static bool evaluate(machine *m, const char *name, const tl_evaluation_options *options,
                     hearing *heard, tl_error *error) {
    tl_task *task = tl_task_open(name, error);
    assert_ok(task, *error);
    tl_evaluation *e = tl_evaluation_new(task, options, m->engine, m->tokenizer, error);
    bool ok = e && tl_evaluation_run(e, hear, heard, error);
    tl_evaluation_free(e);
    tl_task_free(task);
    return ok;
}

static int set_up(void **state) {
    (void)state;
    fixture_checkpoint(test_scratch_path("model"), &fixture_small);
    fixture_rows(test_scratch_path("data/arc_easy/validation.jsonl"), "arc_easy", ROWS);
    fixture_rows(test_scratch_path("data/arc_easy/test.jsonl"), "arc_easy", ROWS);
    fixture_rows(test_scratch_path("data/arc_easy/train.jsonl"), "arc_easy", 40);
    fixture_rows(test_scratch_path("data/piqa/validation.jsonl"), "piqa", ROWS);
    fixture_rows(test_scratch_path("data/piqa/train.jsonl"), "piqa", 40);
    return 0;
}

/* Every score to the bit: batched or one at a time, with any number of threads. */
static void test_same_bits(void **state) {
    (void)state;
    static const char *const tasks[] = {"arc_easy", "piqa"};
    static hearing one, other;
    tl_error error = {0};
    for (int t = 0; t < 2; t++)
        for (int shots = 0; shots <= 3; shots += 3) {
            tl_evaluation_options options = all_protocols();
            options.data_dir = test_scratch_path("data");
            options.shots = shots;
            options.batched = false;
            machine m;
            machine_start(&m, 1);
            one = (hearing){0};
            assert_ok(evaluate(&m, tasks[t], &options, &one, &error), error);
            machine_stop(&m);
            assert_int_equal(one.examples, 3 * ROWS);
            assert_int_equal(one.skipped, 0);
            assert_int_equal(one.timed, 3 * ROWS);
            options.batched = true;
            machine_start(&m, 3);
            other = (hearing){0};
            assert_ok(evaluate(&m, tasks[t], &options, &other, &error), error);
            machine_stop(&m);
            assert_int_equal(other.timed, 0);
            assert_memory_equal(one.scores, other.scores, sizeof one.scores);
            assert_memory_equal(one.predictions, other.predictions, sizeof one.predictions);
            assert_int_equal(one.tokens_asked, other.tokens_asked);
            assert_true(other.tokens_computed < one.tokens_computed);
        }
}

/* The context of a question's choices is computed once, and each choice once. */
static void test_tokens_are_shared(void **state) {
    (void)state;
    static hearing h;
    tl_error error = {0};
    machine m;
    machine_start(&m, 1);
    tl_evaluation_options options = {.batched = true};
    options.protocols[TL_PROTOCOL_LOGLIKELIHOOD] = true;
    options.data_file = test_scratch_path("one.jsonl");
    fixture_rows(options.data_file, "piqa", 1);
    h = (hearing){0};
    assert_ok(evaluate(&m, "piqa", &options, &h, &error), error);
    /* bytes, but for the merges " t", "he", "in" of the fixture's tokenizer */
    int64_t context = (int64_t)strlen(h.prompt);
    assert_true(h.tokens_asked > 2 * (context - 8));
    assert_true(h.tokens_computed < h.tokens_asked - (context - 8));
    machine_stop(&m);
}

static void test_shots_first_stand_before_every_question(void **state) {
    (void)state;
    static hearing h;
    tl_error error = {0};
    machine m;
    machine_start(&m, 1);
    tl_evaluation_options options = {.batched = true, .shots = 2, .shots_first = true};
    options.protocols[TL_PROTOCOL_LOGLIKELIHOOD] = true;
    options.data_dir = test_scratch_path("data");
    h = (hearing){0};
    assert_ok(evaluate(&m, "arc_easy", &options, &h, &error), error);
    test_assert_contains(h.prompt, "Question: Which of these is nearest to the river, case 0?\n"
                                   "Answer: an apple\n\nQuestion: Which of these is nearest to a "
                                   "lamp, case 1?\nAnswer: 1 of them\n\nQuestion: ");
    options.shots = 1000;
    assert_false(evaluate(&m, "arc_easy", &options, &h, &error));
    test_assert_contains(error.message, "40 rows: 1000 shots need at least 1000");
    machine_stop(&m);
}

static void test_bad_rows_are_skipped(void **state) {
    (void)state;
    static hearing h;
    tl_error error = {0};
    machine m;
    machine_start(&m, 1);
    const char *path = test_scratch_path("bad.jsonl");
    test_write_text(path, "{\"goal\": \"g\", \"sol1\": \"a\", \"sol2\": \"b\", \"label\": 1}\n"
                          "{\"goal\": \"g\", \"sol1\": \"a\", \"label\": 1}\n"
                          "{\"goal\": \"g\", \"sol1\": \"a\", \"sol2\": \"b\", \"label\": 0}\n");
    for (int batched = 0; batched < 2; batched++) {
        tl_evaluation_options options = all_protocols();
        options.data_file = path;
        options.batched = batched;
        h = (hearing){0};
        assert_ok(evaluate(&m, "piqa", &options, &h, &error), error);
        assert_int_equal(h.examples, 9);
        assert_int_equal(h.skipped, 3);
        test_assert_contains(h.reason, "bad.jsonl:2: field 'sol2' is missing");
    }
    machine_stop(&m);
}

/* The fixture's model has 512 positions: a longer continuation cannot be scored at all. */
static void test_long_texts(void **state) {
    (void)state;
    static hearing h;
    tl_error error = {0};
    machine m;
    machine_start(&m, 1);
    tl_buffer rows = {0};
    tl_buffer_append_string(&rows, "{\"goal\": \"");
    for (int i = 0; i < 600; i++)
        tl_buffer_append_string(&rows, "x");
    tl_buffer_append_string(&rows, "\", \"sol1\": \"a\", \"sol2\": \"b\", \"label\": 1}\n"
                                   "{\"goal\": \"g\", \"sol1\": \"");
    for (int i = 0; i < 600; i++)
        tl_buffer_append_string(&rows, "x");
    tl_buffer_append_string(&rows, "\", \"sol2\": \"b\", \"label\": 1}\n");
    const char *path = test_scratch_path("long.jsonl");
    test_write_text(path, tl_buffer_string(&rows));
    tl_buffer_free(&rows);
    tl_evaluation_options options = all_protocols();
    options.data_file = path;
    h = (hearing){0};
    assert_ok(evaluate(&m, "piqa", &options, &h, &error), error);
    assert_int_equal(h.examples, 6);
    assert_int_equal(h.skipped, 1);
    assert_int_equal(h.truncated, 5);
    test_assert_contains(h.reason, "long.jsonl:2: choice 0");
    /* Cut on the right the study's two prompts end in the same x's, the second 5 letters later;
     * cut on the left the letter protocol still sees "Answer:". */
    assert_memory_not_equal(h.scores[TL_PROTOCOL_STUDY][0], h.scores[TL_PROTOCOL_LETTER][0],
                            sizeof h.scores[0][0]);
    machine_stop(&m);
}

static void test_done_examples_are_not_asked_again(void **state) {
    (void)state;
    static hearing h;
    tl_error error = {0};
    machine m;
    machine_start(&m, 1);
    for (int batched = 0; batched < 2; batched++) {
        tl_evaluation_options options = all_protocols();
        options.data_dir = test_scratch_path("data");
        options.batched = batched;
        options.limit = 8;
        tl_task *task = tl_task_open("piqa", &error);
        tl_evaluation *e = tl_evaluation_new(task, &options, m.engine, m.tokenizer, &error);
        assert_ok(e, error);
        assert_int_equal(tl_evaluation_count(e, TL_PROTOCOL_STUDY), 8);
        assert_int_equal(tl_evaluation_total(e, TL_PROTOCOL_STUDY), ROWS);
        h = (hearing){.stop_after = 10};
        error = (tl_error){0};
        assert_false(tl_evaluation_run(e, hear, &h, &error));
        assert_int_equal(error.code, TL_ERROR_INTERRUPTED);
        assert_int_equal(h.examples, 10);
        tl_evaluation_free(e);
        e = tl_evaluation_new(task, &options, m.engine, m.tokenizer, &error);
        for (int p = 0; p < TL_PROTOCOL_COUNT; p++)
            for (int i = 0; i < 8; i++)
                if (h.asked[p][i]) tl_evaluation_done(e, (tl_protocol)p, i);
        tl_evaluation_done(e, TL_PROTOCOL_STUDY, 1000);
        h.stop_after = 0;
        assert_ok(tl_evaluation_run(e, hear, &h, &error), error);
        for (int p = 0; p < TL_PROTOCOL_COUNT; p++)
            for (int i = 0; i < 8; i++)
                assert_int_equal(h.asked[p][i], 1);
        tl_evaluation_free(e);
        tl_task_free(task);
    }
    machine_stop(&m);
}

static void test_refusals(void **state) {
    (void)state;
    static hearing h;
    machine m;
    machine_start(&m, 1);
    tl_evaluation_options options = all_protocols();
    tl_error error = {0};
    options.data_file = test_scratch_path("nowhere.jsonl");
    assert_false(evaluate(&m, "piqa", &options, &h, &error));
    assert_int_equal(error.code, TL_ERROR_IO);
    const char *path = test_scratch_path("letter.yaml");
    test_write_text(path, "name: x\nsplit: test\nquestion: q\nchoices: [a, b]\ngold: \"{0}\"\n"
                          "loglikelihood: none\n");
    options.data_file = test_scratch_path("data/piqa/validation.jsonl");
    assert_false(evaluate(&m, path, &options, &h, &error));
    test_assert_contains(error.message, "the task has no protocol loglikelihood");
    machine_stop(&m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same_bits),
        cmocka_unit_test(test_tokens_are_shared),
        cmocka_unit_test(test_shots_first_stand_before_every_question),
        cmocka_unit_test(test_bad_rows_are_skipped),
        cmocka_unit_test(test_long_texts),
        cmocka_unit_test(test_done_examples_are_not_asked_again),
        cmocka_unit_test(test_refusals),
    };
    return cmocka_run_group_tests_name("evaluation", tests, set_up, NULL);
}
