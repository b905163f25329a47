/* tinyllm tasks: the tasks known, and what one asks. */
#include "cli/cli.h"
#include "task/task.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct options {
    bool json;
    int64_t row;
    const char *data, *data_dir;
} options;

static const char *or_dash(const char *text) {
    return text ? text : "-";
}

/* Where the rows of a protocol are on this machine, or NULL. */
static const char *local_rows(const tl_task *task, tl_protocol protocol, const options *o,
                              char path[PATH_MAX]) {
    if (o->data) return o->data;
    return tl_task_has_protocol(task, protocol) &&
                   tl_task_find_rows(task, protocol, tl_task_split(task, protocol), o->data_dir,
                                     path, PATH_MAX, NULL)
               ? path
               : NULL;
}

static void print_line(const tl_task *task, const options *o) {
    char path[PATH_MAX];
    printf("%-14s %-11s", tl_task_name(task), tl_task_title(task));
    for (int p = 0; p < TL_PROTOCOL_COUNT; p += TL_PROTOCOL_COUNT - 1) {
        tl_protocol protocol = (tl_protocol)p;
        bool has = tl_task_has_protocol(task, protocol);
        printf(" %-11s %-6s", has ? or_dash(tl_task_split(task, protocol)) : "-",
               local_rows(task, protocol, o, path) ? "yes" : "-");
    }
    printf(" %s\n", or_dash(tl_task_dataset(task, TL_PROTOCOL_STUDY)->dataset));
}

static void append_text(tl_buffer *out, const char *name, const char *text) {
    tl_buffer_append_format(out, "\"%s\": ", name);
    if (text)
        tl_json_append_string(out, text, strlen(text));
    else
        tl_buffer_append_string(out, "null");
}

static void append_protocol(tl_buffer *out, const tl_task *task, tl_protocol protocol,
                            const options *o) {
    char path[PATH_MAX];
    const tl_task_source *source = tl_task_dataset(task, protocol);
    tl_buffer_append_format(out, ", \"%s\": {", tl_protocol_name(protocol));
    append_text(out, "dataset", source->dataset);
    tl_buffer_append_string(out, ", ");
    append_text(out, "config", source->config);
    tl_buffer_append_string(out, ", ");
    append_text(out, "revision", source->revision);
    tl_buffer_append_string(out, ", ");
    append_text(out, "split", tl_task_split(task, protocol));
    tl_buffer_append_string(out, ", ");
    append_text(out, "fewshot_split", tl_task_fewshot_split(task, protocol));
    tl_buffer_append_string(out, ", ");
    append_text(out, "rows", local_rows(task, protocol, o, path));
    tl_buffer_append_byte(out, '}');
}

static void append_task(tl_buffer *out, const tl_task *task, const options *o) {
    tl_buffer_append_byte(out, '{');
    append_text(out, "name", tl_task_name(task));
    tl_buffer_append_string(out, ", ");
    append_text(out, "title", tl_task_title(task));
    tl_buffer_append_string(out, ", ");
    append_text(out, "file", tl_task_path(task));
    for (int p = 0; p < TL_PROTOCOL_COUNT; p++)
        if (tl_task_has_protocol(task, (tl_protocol)p))
            append_protocol(out, task, (tl_protocol)p, o);
    tl_buffer_append_byte(out, '}');
}

static bool list_tasks(const options *o, tl_error *error) {
    char **names = NULL;
    int count = 0;
    tl_buffer out = {0};
    bool ok = tl_task_expand("@all", &names, &count, error);
    if (ok && !o->json)
        printf("%-14s %-11s %-11s %-6s %-11s %-6s %s\n", "Task", "Title", "Study split", "Local",
               "Harness'", "Local", "Dataset");
    for (int i = 0; i < count; i++) {
        tl_task *task = ok ? tl_task_open(names[i], error) : NULL;
        ok = task != NULL;
        free(names[i]);
        if (!ok) continue;
        if (!o->json) {
            print_line(task, o);
        } else {
            tl_buffer_append_string(&out, i ? ",\n  " : "[\n  ");
            append_task(&out, task, o);
        }
        tl_task_free(task);
    }
    free(names);
    if (ok && o->json) printf("%s\n]\n", tl_buffer_string(&out));
    tl_buffer_free(&out);
    return ok;
}

static void print_question(const char *protocol, const cJSON *question) {
    const cJSON *item, *requests = tl_json_get(question, "requests");
    printf("\n--- %s\n", protocol);
    if (requests) {
        cJSON_ArrayForEach(item, requests) {
            char *context = cJSON_PrintUnformatted(tl_json_get(item, "context"));
            char *continuation = cJSON_PrintUnformatted(tl_json_get(item, "continuation"));
            printf("%s + %s\n", or_dash(context), or_dash(continuation));
            free(context);
            free(continuation);
        }
    } else {
        printf("%s\n", cJSON_GetStringValue(tl_json_get(question, "prompt")));
    }
    int gold = tl_json_get(question, "gold")->valueint;
    const cJSON *choice = cJSON_GetArrayItem(tl_json_get(question, "choices"), gold);
    printf("=> %s\n", gold < 0 ? "(counted wrong whatever is answered)"
                               : or_dash(cJSON_GetStringValue(choice)));
}

/* One row as each protocol asks it. */
static bool show_question(const tl_task *task, tl_protocol protocol, const options *o,
                          tl_buffer *json, tl_error *error) {
    char path[PATH_MAX];
    const char *file = local_rows(task, protocol, o, path);
    if (!file) {
        fprintf(stderr, "%s: no rows on this machine: tinyllm pull %s, or give --data FILE\n",
                tl_protocol_name(protocol), tl_task_name(task));
        return true;
    }
    tl_rows *rows = tl_rows_open(file, o->row + 1, error);
    tl_buffer question = {0};
    bool ok = rows && tl_task_preview(task, protocol, rows, o->row, &question, error);
    if (ok && o->json) {
        tl_buffer_append_format(json, "%s\"%s\": %s", json->length > 1 ? ", " : "",
                                tl_protocol_name(protocol), tl_buffer_string(&question));
    } else if (ok) {
        cJSON *parsed = tl_json_parse(question.data, question.length, "question", error);
        ok = parsed != NULL;
        if (ok) print_question(tl_protocol_name(protocol), parsed);
        cJSON_Delete(parsed);
    }
    tl_buffer_free(&question);
    tl_rows_free(rows);
    return ok;
}

static bool show_task(const char *name, const options *o, tl_error *error) {
    tl_task *task = tl_task_open(name, error);
    if (!task) return false;
    tl_buffer json = {0};
    bool ok = true;
    tl_buffer_append_byte(&json, '{');
    if (!o->json) {
        printf("%s (%s), from %s\n", tl_task_name(task), tl_task_title(task), tl_task_path(task));
    }
    for (int p = 0; ok && p < TL_PROTOCOL_COUNT; p++)
        if (tl_task_has_protocol(task, (tl_protocol)p))
            ok = show_question(task, (tl_protocol)p, o, &json, error);
    if (ok && o->json) printf("%s}\n", tl_buffer_string(&json));
    tl_buffer_free(&json);
    tl_task_free(task);
    return ok;
}

static int run(const cli_command *command, int argc, char **argv) {
    options o = {0};
    const cli_option table[] = {
        {"data", 0, CLI_STRING, &o.data, "FILE", "rows to show a question of (JSONL, JSON, CSV)"},
        {"data-dir", 0, CLI_STRING, &o.data_dir, "DIR", "rows are at DIR/TASK/SPLIT.jsonl"},
        {"row", 0, CLI_INT, &o.row, "N", "which row to show, from 0 (default 0)", 0, INT32_MAX},
        {"json", 0, CLI_FLAG, &o.json, NULL, "print JSON"},
        {0},
    };
    int operands, status;
    if (!cli_parse(command, table, argc, argv, &operands, &status)) return status;
    if (operands > 1) return cli_usage(command, "expected one task, found '%s'", argv[1]);
    if (operands == 0 && (o.data || o.row)) return cli_usage(command, "expected a task");
    tl_error error = {0};
    bool ok = operands ? show_task(argv[0], &o, &error) : list_tasks(&o, &error);
    return ok ? 0 : cli_fail(command, &error);
}

const cli_command cmd_tasks = {
    .name = "tasks",
    .summary = "the tasks known, and the question one makes of a row",
    .usage = "[TASK] [options]",
    .examples = "  tinyllm tasks\n"
                "  tinyllm tasks demo_animals\n"
                "  tinyllm tasks arc_easy --data-dir data --row 8\n"
                "  tinyllm tasks mine.yaml --data mine.csv --json\n",
    .run = run,
};
