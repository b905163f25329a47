/* Task files: the seven questions to the byte, the quirks of the published study, and what is
 * refused. The rows are made up. */
#include "support/support.h"

#include "task/method.h"
#include "task/task.h"

#include <stdlib.h>
#include <string.h>

typedef struct expectation {
    const char *task, *protocol, *row;
    const char *prompt;
    int n_choices, gold;
} expectation;

#define GIVE                                                                                       \
    "Answer the following multiple choice question by giving the most appropriate response. "

static const char arc_four[] =
    "{\"id\": \"1\", \"question\": \"What melts?\", \"choices\": {\"text\": [\"ice\", \"fire\", "
    "\"wind\", \"light\"], \"label\": [\"A\", \"B\", \"C\", \"D\"]}, \"answerKey\": \"A\"}";
static const char arc_numbered[] =
    "{\"id\": \"2\", \"question\": \"What melts?\", \"choices\": {\"text\": [\"ice\", \"fire\", "
    "\"wind\", \"light\"], \"label\": [\"1\", \"2\", \"3\", \"4\"]}, \"answerKey\": \"2\"}";
static const char arc_three[] =
    "{\"id\": \"3\", \"question\": \"What melts?\", \"choices\": {\"text\": [\"ice\", \"fire\", "
    "\"wind\"], \"label\": [\"A\", \"B\", \"C\"]}, \"answerKey\": \"C\"}";
static const char arc_five[] =
    "{\"id\": \"4\", \"question\": \"What melts?\", \"choices\": {\"text\": [\"ice\", \"fire\", "
    "\"wind\", \"light\", \"snow\"], \"label\": [\"A\", \"B\", \"C\", \"D\", \"E\"]}, "
    "\"answerKey\": \"E\"}";
static const char boolq[] = "{\"question\": \"is ice cold\", \"answer\": true, \"passage\": \"Ice "
                            "is frozen water.\"}";
static const char openbookqa[] =
    "{\"id\": \"5\", \"question_stem\": \"Ice floats on\", \"choices\": {\"text\": [\"air\", "
    "\"water\", \"rock\", \"fire\"], \"label\": [\"A\", \"B\", \"C\", \"D\"]}, \"answerKey\": "
    "\"B\"}";
static const char piqa[] =
    "{\"goal\": \"Melt ice.\", \"sol1\": \"Heat it.\", \"sol2\": \"Cool it.\", "
    "\"label\": 0}";
static const char social_iqa[] =
    "{\"context\": \"Kim slipped on ice.\", \"question\": \"How does Kim feel?\", \"answerA\": "
    "\"sore\", \"answerB\": \"glad\", \"answerC\": \"rich\", \"label\": \"3\"}";
static const char winogrande[] =
    "{\"sentence\": \"Ice beat fire because _ was wet.\", \"option1\": "
    "\"ice\", \"option2\": \"fire\", \"answer\": \"2\"}";
static const char hellaswag[] =
    "{\"ind\": 6, \"activity_label\": \"Skating\", \"ctx_a\": \"A man skates.\", \"ctx_b\": \"the "
    "ICE\", \"ctx\": \"A man skates. the ICE\", \"endings\": [\"breaks.\", \" [title] sings  "
    "on.\", \"[x]eats.\", \"flies.\"], \"label\": \"3\"}";

static const expectation expectations[] = {
    {"arc_easy", "study", arc_four,
     GIVE "Answer should be one among [A, B, C, D].\n\nQuestion: What melts?\nA) ice\nB) fire\nC) "
          "wind\nD) light\n\nAnswer:",
     4, 0},
    {"arc_easy", "study", arc_numbered,
     GIVE "Answer should be one among [A, B, C, D].\n\nQuestion: What melts?\nA) ice\nB) fire\nC) "
          "wind\nD) light\n\nAnswer:",
     4, -1},
    {"arc_easy", "study", arc_three,
     GIVE "Answer should be one among [A, B, C, D].\n\nQuestion: What melts?\nA) ice\nB) fire\nC) "
          "wind\nD) \n\nAnswer:",
     4, 2},
    {"arc_easy", "study", arc_five,
     GIVE "Answer should be one among [A, B, C, D].\n\nQuestion: What melts?\nA) ice\nB) fire\nC) "
          "wind\nD) light\n\nAnswer:",
     4, -1},
    {"arc_easy", "letter", arc_numbered,
     GIVE "Answer should be one among [A, B, C, D].\n\nQuestion: What melts?\nA) ice\nB) fire\nC) "
          "wind\nD) light\n\nAnswer:",
     4, 1},
    {"arc_easy", "letter", arc_three,
     GIVE "Answer should be one among [A, B, C].\n\nQuestion: What melts?\nA) ice\nB) fire\nC) "
          "wind\n\nAnswer:",
     3, 2},
    {"arc_easy", "letter", arc_five,
     GIVE "Answer should be one among [A, B, C, D, E].\n\nQuestion: What melts?\nA) ice\nB) "
          "fire\nC) wind\nD) light\nE) snow\n\nAnswer:",
     5, 4},
    {"arc_easy", "loglikelihood", arc_five, "Question: What melts?\nAnswer:", 5, 4},
    {"boolq", "study", boolq,
     GIVE "Answer should be one among [A, B].\n\nPassage: Ice is frozen water.\nQuestion: is ice "
          "cold\nA) No\nB) Yes\n\nAnswer:",
     2, 1},
    {"boolq", "loglikelihood", boolq, "Ice is frozen water.\nQuestion: is ice cold?\nAnswer:", 2,
     1},
    {"openbookqa", "study", openbookqa,
     GIVE "Answer should be one among [A, B, C, D].\n\nQuestion: Ice floats on\nA) air\nB) "
          "water\nC) rock\nD) fire\n\nAnswer:",
     4, 1},
    {"openbookqa", "loglikelihood", openbookqa, "Ice floats on", 4, 1},
    {"piqa", "study", piqa,
     GIVE "Answer should be one among [A, B].\n\nQuestion: Melt ice.\nA) Heat it.\nB) Cool "
          "it.\n\nAnswer:",
     2, 0},
    {"piqa", "loglikelihood", piqa, "Question: Melt ice.\nAnswer:", 2, 0},
    {"social_iqa", "study", social_iqa,
     GIVE "Answer should be one among [A, B, C].\n\nContext: Kim slipped on ice.\nQuestion: How "
          "does Kim feel?\nA) sore\nB) glad\nC) rich\n\nAnswer:",
     3, 2},
    {"social_iqa", "loglikelihood", social_iqa, "Q: Kim slipped on ice. How does Kim feel?\nA:", 3,
     2},
    {"winogrande", "study", winogrande,
     "Answer the following question by selecting the most appropriate option. Answer should be one "
     "among [A, B].\n\nContext: Ice beat fire because _ was wet.\nA) ice\nB) fire\n\n\nAnswer:",
     2, 1},
    {"winogrande", "letter", winogrande,
     "Answer the following question by selecting the most appropriate option. Answer should be one "
     "among [A, B].\n\nContext: Ice beat fire because _ was wet.\nA) ice\nB) fire\n\nAnswer:",
     2, 1},
    {"winogrande", "loglikelihood", winogrande, "Ice beat fire because ice", 2, 1},
    {"hellaswag", "study", hellaswag,
     "Complete the sentence with the most plausible ending. Answer should be one among [A, B, C, "
     "D].\n\nContext: A man skates. the ICE\nA) breaks.\nB)  [title] sings  on.\nC) [x]eats.\nD "
     "flies.\n\n\nAnswer:",
     4, 3},
    {"hellaswag", "letter", hellaswag,
     "Complete the sentence with the most plausible ending. Answer should be one among [A, B, C, "
     "D].\n\nContext: A man skates. the ICE\nA) breaks.\nB)  [title] sings  on.\nC) [x]eats.\nD) "
     "flies.\n\nAnswer:",
     4, 3},
    {"hellaswag", "loglikelihood", hellaswag, "Skating: A man skates. The ice", 4, 3},
};

static bool build(const tl_task *task, tl_protocol protocol, const char *row_text,
                  const char *shots, tl_arena *arena, tl_question *question, tl_error *error) {
    cJSON *row = tl_json_parse(row_text, strlen(row_text), "row", error);
    bool ok = row && tl_question_build(task, protocol, row, row_text, strlen(row_text), shots,
                                       arena, question, error);
    cJSON_Delete(row);
    return ok;
}

static void test_prompts_to_the_byte(void **state) {
    (void)state;
    tl_arena *arena = tl_arena_new();
    for (size_t i = 0; i < sizeof expectations / sizeof *expectations; i++) {
        const expectation *x = &expectations[i];
        tl_error error = {0};
        tl_protocol protocol;
        tl_question q;
        tl_task *task = tl_task_open(x->task, &error);
        assert_ok(task, error);
        assert_ok(tl_protocol_parse(x->protocol, &protocol, &error), error);
        assert_ok(build(task, protocol, x->row, "", arena, &q, &error), error);
        assert_string_equal(q.prompt, x->prompt);
        assert_int_equal(q.n_choices, x->n_choices);
        assert_int_equal(q.gold, x->gold);
        tl_task_free(task);
    }
    tl_arena_free(arena);
}

static void test_requests(void **state) {
    (void)state;
    tl_error error = {0};
    tl_arena *arena = tl_arena_new();
    tl_question q;
    tl_task *task = tl_task_open("winogrande", &error);
    assert_ok(task, error);
    assert_ok(build(task, TL_PROTOCOL_LOGLIKELIHOOD, winogrande, "before\n\n", arena, &q, &error),
              error);
    assert_string_equal(q.contexts[0], "before\n\nIce beat fire because ice");
    assert_string_equal(q.contexts[1], "before\n\nIce beat fire because fire");
    assert_string_equal(q.continuations[0], " was wet.");
    assert_string_equal(q.continuations[1], " was wet.");
    assert_string_equal(q.choices[1], "fire");
    tl_task_free(task);
    task = tl_task_open("hellaswag", &error);
    assert_ok(build(task, TL_PROTOCOL_LOGLIKELIHOOD, hellaswag, "", arena, &q, &error), error);
    assert_string_equal(q.continuations[1], "  sings on.");
    assert_string_equal(q.continuations[2], " eats.");
    test_assert_contains(q.document, "\"label\": \"3\", \"query\": \"Skating: A man skates. The "
                                     "ice\", \"choices\": [\"breaks.\", \" sings on.\", ");
    test_assert_contains(q.document, "\"flies.\"], \"gold\": 3}");
    tl_task_free(task);
    tl_arena_free(arena);
}

static void test_shots(void **state) {
    (void)state;
    static const struct {
        const char *task, *row, *shot;
    } cases[] = {
        {"arc_easy", arc_numbered, "Question: What melts?\nAnswer: fire\n\n"},
        {"boolq", boolq, "Ice is frozen water.\nQuestion: is ice cold?\nAnswer: yes\n\n"},
        {"winogrande", winogrande, "Ice beat fire because fire was wet.\n\n"},
    };
    tl_arena *arena = tl_arena_new();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        tl_error error = {0};
        tl_task *task = tl_task_open(cases[i].task, &error);
        cJSON *row = tl_json_parse(cases[i].row, strlen(cases[i].row), "row", &error);
        tl_buffer out = {0};
        assert_ok(tl_question_append_shot(task, row, arena, &out, &error), error);
        assert_string_equal(tl_buffer_string(&out), cases[i].shot);
        tl_buffer_free(&out);
        cJSON_Delete(row);
        tl_task_free(task);
    }
    tl_arena_free(arena);
}

static void test_bad_rows_are_reasons(void **state) {
    (void)state;
    static const struct {
        const char *task, *row, *part;
    } cases[] = {
        {"piqa", "{\"goal\": \"g\", \"sol1\": \"a\", \"label\": 0}", "field 'sol2' is missing"},
        {"piqa", "{\"goal\": \"g\", \"sol1\": \"a\", \"sol2\": \"b\", \"label\": 2}",
         "{label | int} gives 2: expected 0 to 1"},
        {"piqa", "{\"goal\": \"g\", \"sol1\": \"a\", \"sol2\": \"b\", \"label\": \"x\"}",
         "'x' is not an integer"},
        {"arc_easy", "{\"question\": \"q\", \"choices\": {\"text\": [], \"label\": []}}",
         "a list of 1 to 64 choices"},
        {"arc_easy",
         "{\"question\": \"q\", \"choices\": {\"text\": [\"a\"], \"label\": [\"A\"]}, "
         "\"answerKey\": \"Z\"}",
         "field 'answerKey': filter 'position': 'Z' is not among the 1"},
        {"winogrande",
         "{\"sentence\": \"no blank\", \"option1\": \"a\", \"option2\": \"b\", "
         "\"answer\": \"1\"}",
         "field 'sentence': filter 'before': no '_'"},
    };
    tl_arena *arena = tl_arena_new();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        tl_error error = {0};
        tl_question q;
        tl_task *task = tl_task_open(cases[i].task, &error);
        assert_ok(task, error);
        assert_false(build(task, TL_PROTOCOL_LOGLIKELIHOOD, cases[i].row, "", arena, &q, &error));
        test_assert_contains(error.message, cases[i].part);
        tl_task_free(task);
    }
    tl_arena_free(arena);
}

static void test_task_facts(void **state) {
    (void)state;
    tl_error error = {0};
    tl_task *task = tl_task_open("arc_easy", &error);
    assert_ok(task, error);
    assert_string_equal(tl_task_name(task), "arc_easy");
    assert_string_equal(tl_task_title(task), "ARC-e");
    assert_int_equal(tl_task_n_choices(task), 4);
    assert_string_equal(tl_task_split(task, TL_PROTOCOL_STUDY), "validation");
    assert_string_equal(tl_task_split(task, TL_PROTOCOL_LOGLIKELIHOOD), "test");
    assert_string_equal(tl_task_fewshot_split(task, TL_PROTOCOL_LOGLIKELIHOOD), "train");
    assert_string_equal(tl_task_dataset(task, TL_PROTOCOL_STUDY)->dataset, "allenai/ai2_arc");
    assert_string_equal(tl_task_dataset(task, TL_PROTOCOL_STUDY)->config, "ARC-Easy");
    assert_int_equal(strlen(tl_task_fingerprint(task)), 64);
    tl_task_free(task);
}

static const char minimal[] = "name: mine\nsplit: test\nquestion: \"{q}\"\nchoices: [\"{a}\", "
                              "\"{b}\"]\ngold: \"{answer | letter}\"\n";

static tl_task *open_text(const char *text, tl_error *error) {
    const char *path = test_scratch_path("task/mine.yaml");
    test_write_text(path, text);
    return tl_task_open(path, error);
}

static void test_minimal_task_has_every_protocol(void **state) {
    (void)state;
    tl_error error = {0};
    tl_arena *arena = tl_arena_new();
    tl_question q;
    tl_task *task = open_text(minimal, &error);
    assert_ok(task, error);
    const char *row = "{\"q\": \"Up?\", \"a\": \"yes\", \"b\": \"no\", \"answer\": \"B\"}";
    assert_ok(build(task, TL_PROTOCOL_LETTER, row, "", arena, &q, &error), error);
    assert_string_equal(q.prompt, GIVE "Answer should be one among [A, B].\n\nUp?\nA) yes\nB) "
                                       "no\n\nAnswer:");
    assert_ok(build(task, TL_PROTOCOL_LOGLIKELIHOOD, row, "", arena, &q, &error), error);
    assert_string_equal(q.contexts[0], "Up?\nAnswer:");
    assert_string_equal(q.continuations[1], " no");
    assert_int_equal(q.gold, 1);
    tl_task_free(task);
    tl_arena_free(arena);
}

static void test_bad_task_files_are_named(void **state) {
    (void)state;
    static const struct {
        const char *text, *part;
    } cases[] = {
        {"", "the file is empty"},
        {"- a\n", "expected a mapping"},
        {"name: x\nnmae: y\n", "mine.yaml:2: unknown key 'nmae'; known here: name, title"},
        {"name: x\nname: y\n", "mine.yaml:2: 'name' is given twice"},
        {"name: a/b\n", "'name': expected letters"},
        {"title: x\n", "'name': expected letters"},
        {"name: x\n", "'split' is missing"},
        {"name: x\nsplit: test\nchoices: []\n", "mine.yaml:3: 'choices': expected text, or a list"},
        {"name: x\nsplit: test\nchoices: [\"{a\"]\n", "mine.yaml:3: 'choices': in '{a'"},
        {"name: x\nsplit: test\nchoices: [a, b]\ngold: \"0\"\n", "'question' is missing"},
        {"name: &a x\n", "mine.yaml:1: anchors"},
        {"name: *a\n", "mine.yaml:1"},
        {"name: x\ndataset: {hbu: y}\n", "unknown key 'hbu'"},
        {"task: x\noutput_type: multiple_choice\n", "mine.yaml: a task of lm-evaluation-harness"},
        {"name: x\nquestion: !function utils.q\n", "mine.yaml:2: the tag '!function'"},
        {"name: x\nchoices: !list [a]\n", "mine.yaml:2: the tag '!list'"},
        {"name: x\nsplit: [a]\n", "'split': expected text"},
        {"name: x\nfilters: {f: \"no_such\"}\n", "'f': in 'no_such'"},
        {"name: x\nmetrics: [acc, f1]\n", "expected acc or acc_norm"},
        {"name: x\nstudy: none\nletter: none\nloglikelihood: none\n", "every protocol is 'none'"},
        {"a: [\n", "not YAML"},
        {"name: x\n---\nname: y\n", "expected one document"},
        {"[[[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]]]\n", "nested too deep"},
        {"name: \"x\\0y\"\n", "a NUL character"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        tl_error error = {0};
        tl_task *task = open_text(cases[i].text, &error);
        if (task) fail_msg("'%s' was taken", cases[i].text);
        test_assert_contains(error.message, cases[i].part);
    }
    tl_error error = {0};
    assert_null(tl_task_open("no_such_task", &error));
    assert_int_equal(error.code, TL_ERROR_USAGE);
    assert_null(tl_task_open("../arc_easy", &error));
    assert_null(tl_task_open("nowhere.yaml", &error));
}

static void test_rows_are_found(void **state) {
    (void)state;
    tl_error error = {0};
    char path[512];
    tl_task *task = open_text("name: mine\nsplit: test\nquestion: q\nchoices: [a]\ngold: \"0\"\n"
                              "dataset: {files: {test: rows.csv, gone: gone.csv}}\n",
                              &error);
    assert_ok(task, error);
    test_write_text(test_scratch_path("task/rows.csv"), "q\nx\n");
    test_write_text(test_scratch_path("data/mine/test.json"), "[]");
    tl_protocol letter = TL_PROTOCOL_LETTER;
    assert_ok(tl_task_find_rows(task, letter, "test", NULL, path, sizeof path, &error), error);
    test_assert_contains(path, "task/rows.csv");
    assert_ok(tl_task_find_rows(task, letter, "test", test_scratch_path("data"), path, sizeof path,
                                &error),
              error);
    test_assert_contains(path, "data/mine/test.json");
    assert_false(tl_task_find_rows(task, letter, "gone", NULL, path, sizeof path, &error));
    test_assert_contains(error.message, "gone.csv");
    assert_false(tl_task_find_rows(task, letter, "train", NULL, path, sizeof path, &error));
    test_assert_contains(error.message, "tinyllm pull mine");
    tl_task_free(task);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_prompts_to_the_byte),
        cmocka_unit_test(test_requests),
        cmocka_unit_test(test_shots),
        cmocka_unit_test(test_bad_rows_are_reasons),
        cmocka_unit_test(test_task_facts),
        cmocka_unit_test(test_minimal_task_has_every_protocol),
        cmocka_unit_test(test_bad_task_files_are_named),
        cmocka_unit_test(test_rows_are_found),
    };
    return cmocka_run_group_tests_name("task", tests, NULL, NULL);
}
