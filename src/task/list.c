/* The tasks that come with the program, and their questions shown. */
#include "task/method.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The columns of the published tables. */
static const char *const study_tasks[] = {"arc_easy", "boolq",      "openbookqa",
                                          "piqa",     "social_iqa", "winogrande"};

static bool append(const char *name, size_t length, char ***items, int *count, tl_error *error) {
    char **grown = realloc(*items, ((size_t)*count + 1) * sizeof *grown);
    if (grown) *items = grown;
    char *copy = grown ? strndup(name, length) : NULL;
    if (!copy) return tl_fail_memory(error, length, "the list of tasks");
    grown[(*count)++] = copy;
    return true;
}

static int compare_names(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Every NAME.yaml of a folder of the program's data, in order. */
static bool list_files(const char *folder, char ***items, int *count, tl_error *error) {
    char data[4096], path[4096 + 16];
    if (!tl_data_dir(data, sizeof data, error)) return false;
    snprintf(path, sizeof path, "%s/%s", data, folder);
    DIR *directory = opendir(path);
    if (!directory) return tl_fail_errno(error, "%s: cannot open", path);
    int first = *count;
    bool ok = true;
    for (const struct dirent *entry; ok && (entry = readdir(directory));) {
        size_t length = strlen(entry->d_name), ending = strlen(".yaml");
        if (length > ending && strcmp(entry->d_name + length - ending, ".yaml") == 0)
            ok = append(entry->d_name, length - ending, items, count, error);
    }
    closedir(directory);
    if (*count > first)
        qsort(*items + first, (size_t)(*count - first), sizeof **items, compare_names);
    return ok;
}

bool tl_task_expand(const char *argument, char ***items, int *count, tl_error *error) {
    if (*argument != '@') return append(argument, strlen(argument), items, count, error);
    bool all = strcmp(argument, "@all") == 0;
    if (all && !list_files("tasks", items, count, error)) return false;
    if (all || strcmp(argument, "@demo") == 0) return list_files("demo/tasks", items, count, error);
    if (strcmp(argument, "@study") != 0)
        return tl_fail(error, TL_ERROR_USAGE,
                       "unknown list of tasks '%s': expected @study, @demo or @all", argument);
    for (size_t i = 0; i < sizeof study_tasks / sizeof *study_tasks; i++)
        if (!append(study_tasks[i], strlen(study_tasks[i]), items, count, error)) return false;
    return true;
}

static void append_text(tl_buffer *json, const char *name, const char *text) {
    tl_buffer_append_format(json, "\"%s\": ", name);
    tl_json_append_string(json, text, strlen(text));
}

static void append_question(tl_buffer *json, const tl_question *q) {
    tl_buffer_append_byte(json, '{');
    append_text(json, "prompt", q->prompt);
    tl_buffer_append_string(json, ", \"choices\": [");
    for (int i = 0; i < q->n_choices; i++) {
        if (i) tl_buffer_append_string(json, ", ");
        tl_json_append_string(json, q->choices[i], strlen(q->choices[i]));
    }
    tl_buffer_append_format(json, "], \"gold\": %d", q->gold);
    for (int i = 0; q->contexts && i < q->n_choices; i++) {
        tl_buffer_append_string(json, i ? ", {" : ", \"requests\": [{");
        append_text(json, "context", q->contexts[i]);
        tl_buffer_append_string(json, ", ");
        append_text(json, "continuation", q->continuations[i]);
        tl_buffer_append_byte(json, '}');
    }
    tl_buffer_append_string(json, q->contexts ? "]}" : "}");
}

bool tl_task_preview(const tl_task *task, tl_protocol protocol, const tl_rows *rows, int64_t index,
                     tl_buffer *json, tl_error *error) {
    if (index < 0 || index >= tl_rows_count(rows))
        return tl_fail(error, TL_ERROR_USAGE, "%s: no row %lld: it has %lld", tl_rows_path(rows),
                       (long long)index, (long long)tl_rows_count(rows));
    tl_arena *arena = tl_arena_new();
    if (!arena) return tl_fail_memory(error, 0, "a question");
    cJSON *row = tl_rows_parse(rows, index, error);
    size_t length;
    const char *text = tl_rows_text(rows, index, &length);
    tl_question question;
    bool ok =
        row && tl_question_build(task, protocol, row, text, length, "", arena, &question, error);
    if (ok)
        append_question(json, &question);
    else
        tl_fail_within(error, "%s:%lld", tl_rows_path(rows), (long long)tl_rows_line(rows, index));
    cJSON_Delete(row);
    tl_arena_free(arena);
    return ok && (!json->failed || tl_fail_memory(error, json->length, "a question"));
}
