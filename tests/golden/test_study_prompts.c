/* The study's prompts over the genuine validation files, against a second making of them written
 * from the study's description, task by task, without templates. */
#include "support/support.h"

#include "task/method.h"
#include "task/task.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *text_of(const cJSON *row, const char *field) {
    const char *text = cJSON_GetStringValue(tl_json_get(row, field));
    return text ? text : "";
}

#define GIVE                                                                                       \
    "Answer the following multiple choice question by giving the most appropriate response. "      \
    "Answer should be one among [%s].\n\n"

static const char *choice_text(const cJSON *row, int index) {
    const cJSON *texts = tl_json_get(tl_json_get(row, "choices"), "text");
    const char *text = cJSON_GetStringValue(cJSON_GetArrayItem(texts, index));
    return text ? text : "";
}

static int letter_of(const char *key, int letters) {
    return strlen(key) == 1 && *key >= 'A' && *key < 'A' + letters ? *key - 'A' : -1;
}

static int four_options(const cJSON *row, const char *question, tl_buffer *out) {
    tl_buffer_append_format(out, GIVE "Question: %s\nA) %s\nB) %s\nC) %s\nD) %s\n\nAnswer:",
                            "A, B, C, D", text_of(row, question), choice_text(row, 0),
                            choice_text(row, 1), choice_text(row, 2), choice_text(row, 3));
    return letter_of(text_of(row, "answerKey"), 4);
}

static int arc_easy(const cJSON *row, tl_buffer *out) {
    return four_options(row, "question", out);
}

static int openbookqa(const cJSON *row, tl_buffer *out) {
    return four_options(row, "question_stem", out);
}

static int boolq(const cJSON *row, tl_buffer *out) {
    tl_buffer_append_format(out, GIVE "Passage: %s\nQuestion: %s\nA) No\nB) Yes\n\nAnswer:", "A, B",
                            text_of(row, "passage"), text_of(row, "question"));
    return cJSON_IsTrue(tl_json_get(row, "answer")) ? 1 : 0;
}

static int piqa(const cJSON *row, tl_buffer *out) {
    tl_buffer_append_format(out, GIVE "Question: %s\nA) %s\nB) %s\n\nAnswer:", "A, B",
                            text_of(row, "goal"), text_of(row, "sol1"), text_of(row, "sol2"));
    return tl_json_get(row, "label")->valueint;
}

static int social_iqa(const cJSON *row, tl_buffer *out) {
    tl_buffer_append_format(
        out, GIVE "Context: %s\nQuestion: %s\nA) %s\nB) %s\nC) %s\n\nAnswer:", "A, B, C",
        text_of(row, "context"), text_of(row, "question"), text_of(row, "answerA"),
        text_of(row, "answerB"), text_of(row, "answerC"));
    return atoi(text_of(row, "label")) - 1;
}

static int winogrande(const cJSON *row, tl_buffer *out) {
    tl_buffer_append_format(out,
                            "Answer the following question by selecting the most appropriate "
                            "option. Answer should be one among [A, B].\n\nContext: %s\nA) %s\nB) "
                            "%s\n\n\nAnswer:",
                            text_of(row, "sentence"), text_of(row, "option1"),
                            text_of(row, "option2"));
    return atoi(text_of(row, "answer")) - 1;
}

static int hellaswag(const cJSON *row, tl_buffer *out) {
    const cJSON *endings = tl_json_get(row, "endings");
    const char *e[4];
    for (int i = 0; i < 4; i++)
        e[i] = cJSON_GetStringValue(cJSON_GetArrayItem(endings, i));
    tl_buffer_append_format(out,
                            "Complete the sentence with the most plausible ending. Answer should "
                            "be one among [A, B, C, D].\n\nContext: %s\nA) %s\nB) %s\nC) %s\nD "
                            "%s\n\n\nAnswer:",
                            text_of(row, "ctx"), e[0], e[1], e[2], e[3]);
    return atoi(text_of(row, "label"));
}

static const struct {
    const char *task;
    int rows, choices;
    int (*make)(const cJSON *row, tl_buffer *out);
} tasks[] = {
    {"arc_easy", 570, 4, arc_easy},     {"boolq", 0, 2, boolq},
    {"openbookqa", 500, 4, openbookqa}, {"piqa", 0, 2, piqa},
    {"social_iqa", 0, 3, social_iqa},   {"winogrande", 1267, 2, winogrande},
    {"hellaswag", 0, 4, hellaswag},
};

static void test_every_prompt(void **state) {
    (void)state;
    if (!test_shared()) skip();
    tl_arena *arena = tl_arena_new();
    for (size_t i = 0; i < sizeof tasks / sizeof *tasks; i++) {
        tl_error error = {0};
        tl_task *task = tl_task_open(tasks[i].task, &error);
        assert_ok(task, error);
        tl_rows *rows = tl_rows_open(
            test_shared_path("datasets/%s/validation.jsonl", tasks[i].task), 0, &error);
        assert_ok(rows, error);
        if (tasks[i].rows) assert_int_equal(tl_rows_count(rows), tasks[i].rows);
        for (int64_t r = 0; r < tl_rows_count(rows); r++) {
            tl_question q;
            size_t length;
            const char *text = tl_rows_text(rows, r, &length);
            cJSON *row = tl_rows_parse(rows, r, &error);
            tl_buffer expected = {0};
            int gold = tasks[i].make(row, &expected);
            assert_ok(tl_question_build(task, TL_PROTOCOL_STUDY, row, text, length, "", arena, &q,
                                        &error),
                      error);
            assert_string_equal(q.prompt, tl_buffer_string(&expected));
            assert_int_equal(q.n_choices, tasks[i].choices);
            assert_int_equal(q.gold, gold);
            assert_ok(tl_question_build(task, TL_PROTOCOL_LETTER, row, text, length, "", arena, &q,
                                        &error),
                      error);
            assert_true(q.gold >= 0);
            tl_buffer_free(&expected);
            cJSON_Delete(row);
            tl_arena_reset(arena);
        }
        print_message("%s: %lld prompts\n", tasks[i].task, (long long)tl_rows_count(rows));
        tl_rows_free(rows);
        tl_task_free(task);
    }
    tl_arena_free(arena);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_every_prompt)};
    return cmocka_run_group_tests_name("study prompts", tests, NULL, NULL);
}
