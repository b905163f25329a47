#include "report/published.h"

#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LARGEST_FILE = 1 << 22, COLUMNS = 12 };

static const char *const column_names[COLUMNS] = {
    "device",   "model",         "id",           "family",       "parameters",  "task",
    "examples", "model_size_mb", "accuracy_pct", "inference_ms", "peak_gpu_gb", "peak_swap_mb"};

/* The tasks of the published tables: how many options a question has, and the column's title. */
static const struct {
    const char *name, *title;
    int options;
} tasks[] = {{"arc_easy", "ARC-e", 4}, {"boolq", "BoolQ", 2},     {"openbookqa", "OBQA", 4},
             {"piqa", "PIQA", 2},      {"social_iqa", "SIQA", 3}, {"winogrande", "WinoGrande", 2}};

/* Cuts a line at its commas, in place. The file has no quoted fields. */
static int split(char *line, char *fields[COLUMNS]) {
    int count = 0;
    for (char *at = line; at && count <= COLUMNS; count++) {
        char *comma = strchr(at, ',');
        if (comma) *comma++ = 0;
        if (count < COLUMNS) fields[count] = at;
        at = comma;
    }
    return count;
}

/* A number, "nan", or nothing (NAN as well). */
static bool number(const char *text, double *value) {
    char *end;
    *value = *text ? strtod(text, &end) : NAN;
    return !*text || (end != text && !*end && !isinf(*value));
}

static bool set_task(tl_result_cell *cell, const char *name) {
    for (size_t i = 0; i < sizeof tasks / sizeof *tasks; i++) {
        if (strcmp(tasks[i].name, name) != 0) continue;
        cell->task = tasks[i].name;
        cell->task_title = tasks[i].title;
        cell->labels = tasks[i].options;
        cell->chance = 1.0 / tasks[i].options;
        cell->order = (int32_t)i;
        return true;
    }
    return false;
}

static bool add_cell(tl_results *results, int run, char *fields[COLUMNS], const char *where,
                     tl_error *error) {
    tl_result_device device = {fields[0], fields[0], "{}"};
    int device_index = tl_results_new_device(results, &device, error);
    tl_result_cell *cell = tl_results_new_cell(results, error);
    if (device_index < 0 || !cell) return false;
    cell->run = run;
    cell->device = device_index;
    cell->protocol = tl_protocol_name(TL_PROTOCOL_STUDY);
    cell->dtype = "f32";
    cell->precision = "exact";
    cell->memory_kind = "peak_gpu_gb";
    const char **strings[] = {&cell->model.name, &cell->model.id, &cell->model.family,
                              &cell->model.parameters_label};
    for (int i = 0; i < 4; i++)
        *strings[i] = fields[1 + i];
    if (!tl_results_keep(results, strings, 4, error)) return false;
    if (!set_task(cell, fields[5]))
        return tl_fail(error, TL_ERROR_FORMAT, "%s: unknown task '%s'", where, fields[5]);
    double examples, size, accuracy, time, memory, swap;
    double *const values[] = {&examples, &size, &accuracy, &time, &memory, &swap};
    for (int i = 0; i < 6; i++)
        if (!number(fields[6 + i], values[i]))
            return tl_fail(error, TL_ERROR_FORMAT, "%s: %s '%s' is not a number", where,
                           column_names[6 + i], fields[6 + i]);
    if (!(examples >= 1 && examples <= INT32_MAX))
        return tl_fail(error, TL_ERROR_FORMAT, "%s: examples is '%s'", where, fields[6]);
    if (accuracy < 0 || accuracy > 100)
        return tl_fail(error, TL_ERROR_FORMAT, "%s: accuracy_pct is '%s'", where, fields[8]);
    cell->planned = (int64_t)examples;
    cell->values[TL_MEASURE_ACCURACY] = accuracy;
    cell->values[TL_MEASURE_TIME] = time;
    cell->values[TL_MEASURE_MEMORY] = memory;
    cell->values[TL_MEASURE_SIZE] = size;
    if (isnan(accuracy)) {
        cell->verdict = TL_VERDICT_OOM_KILLED;
        cell->reason = "out of memory in the published run";
        return true;
    }
    cell->verdict = TL_VERDICT_DONE;
    cell->examples = cell->planned;
    cell->correct = llround(accuracy * examples / 100.0);
    /* The percentages have six digits: the exact quotient reads better in differences. */
    cell->values[TL_MEASURE_ACCURACY] = 100.0 * (double)cell->correct / examples;
    return true;
}

static bool check_header(char *fields[COLUMNS], int count, const char *path, tl_error *error) {
    for (int i = 0; i < COLUMNS; i++)
        if (i >= count || strcmp(fields[i], column_names[i]) != 0)
            return tl_fail(error, TL_ERROR_FORMAT, "%s:1: column %d: expected '%s'", path, i + 1,
                           column_names[i]);
    return true;
}

bool tl_published_read_text(tl_results *results, char *text, const char *name, tl_error *error) {
    tl_result_run run = {TL_RUN_PUBLISHED, "study", name, "{}"};
    int index = tl_results_new_run(results, &run, error);
    bool good = index >= 0;
    int line_number = 0;
    while (good && *text) {
        char *line = text;
        text += strcspn(text, "\n");
        if (*text) *text++ = 0;
        char *fields[COLUMNS] = {0};
        int count = split(line, fields);
        char where[PATH_MAX + 16];
        snprintf(where, sizeof where, "%s:%d", name, ++line_number);
        if (line_number == 1)
            good = check_header(fields, count, name, error);
        else if (count != COLUMNS)
            good = tl_fail(error, TL_ERROR_FORMAT, "%s: %d columns: expected %d", where, count,
                           COLUMNS);
        else
            good = add_cell(results, index, fields, where, error);
    }
    return good;
}

bool tl_published_read_file(tl_results *results, const char *path, tl_error *error) {
    char *text = tl_file_read(path, LARGEST_FILE, NULL, error);
    bool good = text && tl_published_read_text(results, text, path, error);
    free(text);
    return good;
}

bool tl_published_read(tl_results *results, tl_error *error) {
    char directory[PATH_MAX];
    if (!tl_data_dir(directory, sizeof directory, error)) return false;
    char *path = tl_path_join(directory, "data/published.csv");
    if (!path) return tl_fail_memory(error, sizeof directory, "a path");
    bool good = tl_published_read_file(results, path, error);
    free(path);
    return good;
}
