#include "report/lmeval_read.h"

#include "report/tally.h"
#include "task/text.h"

#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_PATH = 4096, MOST_RESULTS = 256 << 20, MOST_CHOICES = 1024 };

/* ---- finding the files ---- */

static bool begins(const char *text, const char *with) {
    return strncmp(text, with, strlen(with)) == 0;
}

/* The newest results_*.json right in the folder (their names end in the time); "" for none. */
static void newest_results(const char *directory, char name[256]) {
    name[0] = 0;
    DIR *folder = opendir(directory);
    for (const struct dirent *entry; folder && (entry = readdir(folder));)
        if (begins(entry->d_name, "results_") && tl_path_ends(entry->d_name, ".json") &&
            strcmp(entry->d_name, name) > 0)
            snprintf(name, 256, "%s", entry->d_name);
    if (folder) closedir(folder);
}

/* Calls `take` with each folder that has results: the directory itself, else those in it, by name.
 */
static bool each_folder(const char *directory,
                        bool (*take)(void *context, const char *folder, const char *file),
                        void *context, int *count, tl_error *error) {
    char name[256], path[MOST_PATH];
    *count = 0;
    newest_results(directory, name);
    if (name[0]) {
        *count = 1;
        return take(context, directory, name);
    }
    struct dirent **entries = NULL;
    int n = scandir(directory, &entries, NULL, alphasort);
    if (n < 0) return tl_fail_errno(error, "%s: cannot open", directory);
    bool ok = true;
    for (int i = 0; i < n; i++) {
        snprintf(path, sizeof path, "%s/%s", directory, entries[i]->d_name);
        if (ok && entries[i]->d_name[0] != '.') newest_results(path, name);
        if (ok && entries[i]->d_name[0] != '.' && name[0]) {
            (*count)++;
            ok = take(context, path, name);
        }
        free(entries[i]);
    }
    free(entries);
    return ok;
}

static bool take_nothing(void *context, const char *folder, const char *file) {
    (void)context, (void)folder, (void)file;
    return true;
}

bool tl_lmeval_is_output(const char *directory) {
    int count;
    return tl_dir_exists(directory) && each_folder(directory, take_nothing, NULL, &count, NULL) &&
           count > 0;
}

/* ---- reading ---- */

typedef struct reading {
    tl_results *results;
    int run;
    const char *folder, *file;
    const cJSON *document;
    tl_error *error;
} reading;

static const char *keep(const reading *r, const char *text) {
    return tl_results_string(r->results, text, r->error);
}

static const char *text_of(const cJSON *object, const char *field) {
    const char *text = cJSON_GetStringValue(tl_json_get(object, field));
    return text ? text : "";
}

/* "torch.float32" → "f32"; other names stay. */
static const char *dtype_of(const reading *r, const cJSON *config) {
    const char *name = text_of(config, "model_dtype");
    if (begins(name, "torch.")) name += strlen("torch.");
    for (int i = 0; i < TL_DTYPE_COUNT; i++) {
        const tl_dtype_traits *traits = tl_dtype_get((tl_dtype)i);
        if (traits->torch && strcmp(traits->torch, name) == 0) return traits->name;
    }
    return keep(r, name);
}

/* The largest of `n` values, as numpy's argmax: the first, and not-a-number before all. */
static int largest(const double *values, int n) {
    int best = 0;
    for (int i = 1; i < n && !isnan(values[best]); i++)
        if (isnan(values[i]) || values[i] > values[best]) best = i;
    return best;
}

static bool bad_sample(const reading *r, const tl_rows *rows, int64_t index, const char *what) {
    return tl_fail(r->error, TL_ERROR_FORMAT, "%s:%lld: %s", tl_rows_path(rows),
                   (long long)tl_rows_line(rows, index), what);
}

/* Which choice was right: the logged number, or, where the target is a text (partial scoring), what
 * the logged accuracy says of two choices. */
static int gold_of(const cJSON *sample, int prediction, int n) {
    const char *target = text_of(sample, "target");
    char *end;
    long number = strtol(target, &end, 10);
    if (*target && !*end && number >= 0 && number < n) return (int)number;
    const cJSON *acc = tl_json_get(sample, "acc");
    if (cJSON_IsNumber(acc) && acc->valuedouble == 1) return prediction;
    return n == 2 ? 1 - prediction : -1;
}

/* Log-likelihoods of a sample, and the same by characters; the number of choices, 0 where they are
 * not what the harness logs. */
static int read_scores(const cJSON *sample, double *scores, double *by_length) {
    const cJSON *answers = tl_json_get(sample, "filtered_resps"), *answer;
    const cJSON *request = tl_json_get(sample, "arguments");
    request = request ? request->child : NULL;
    int n = 0;
    cJSON_ArrayForEach(answer, answers) {
        const cJSON *first = cJSON_GetArrayItem(answer, 0);
        const char *text = cJSON_GetStringValue(first);
        if (n == MOST_CHOICES || (!text && !cJSON_IsNumber(first))) return 0;
        scores[n] = text ? strtod(text, NULL) : first->valuedouble;
        const char *choice = text_of(request, "arg_1");
        if (*choice == ' ') choice++; /* the delimiter */
        by_length[n] = scores[n] / (double)tl_text_characters(choice, strlen(choice));
        if (request) request = request->next;
        n++;
    }
    return n;
}

static bool read_sample(const reading *r, const tl_rows *rows, int64_t index, tl_outcome *outcome,
                        int16_t *choices) {
    double scores[MOST_CHOICES], by_length[MOST_CHOICES];
    cJSON *sample = tl_rows_parse(rows, index, r->error);
    if (!sample) return false;
    const cJSON *id = tl_json_get(sample, "doc_id");
    int n = read_scores(sample, scores, by_length);
    bool ok = true;
    if (!cJSON_IsNumber(id) || id->valuedouble < 0 || id->valuedouble > INT32_MAX)
        ok = bad_sample(r, rows, index, "field 'doc_id': expected the number of a document");
    else if (n == 0)
        ok = bad_sample(r, rows, index,
                        "field 'filtered_resps': expected [log-likelihood, greedy] of each choice");
    if (ok) {
        int prediction = largest(scores, n);
        bool norm = tl_json_get(sample, "acc_norm") != NULL;
        *choices = (int16_t)n;
        *outcome = (tl_outcome){.index = (int32_t)id->valuedouble,
                                .gold = (int16_t)gold_of(sample, prediction, n),
                                .prediction = (int16_t)prediction,
                                .prediction_norm = norm ? (int16_t)largest(by_length, n) : -1,
                                .milliseconds = NAN};
    }
    cJSON_Delete(sample);
    return ok;
}

static bool read_samples(const reading *r, tl_result_cell *cell, const char *path) {
    tl_rows *rows = tl_rows_open(path, 0, r->error);
    if (!rows) return false;
    size_t n = (size_t)tl_rows_count(rows);
    tl_arena *arena = r->results->arena;
    cell->examples = (int64_t)n;
    cell->outcomes = tl_arena_alloc(arena, n, sizeof *cell->outcomes, "examples", r->error);
    int16_t *choices = calloc(n, sizeof *choices);
    bool ok = cell->outcomes && choices;
    for (size_t i = 0; ok && i < n; i++)
        ok = read_sample(r, rows, (int64_t)i, &cell->outcomes[i], &choices[i]);
    ok = ok && tl_cell_count_outcomes(r->results, cell, choices, r->error);
    free(choices);
    tl_rows_free(rows);
    return ok;
}

/* samples_TASK_TIME.jsonl beside results_TIME.json; characters that are not of a word are "_". */
static void samples_path(const reading *r, const char *task, char *path, size_t size) {
    char name[256];
    snprintf(name, sizeof name, "%s", task);
    for (char *c = name; *c; c++)
        if (*c == '-' || *c == '.' || *c == ' ' || *c == '/') *c = '_';
    const char *time = r->file + strlen("results_");
    int length = (int)(strlen(time) - strlen(".json"));
    snprintf(path, size, "%s/samples_%s_%.*s.jsonl", r->folder, name, length, time);
}

/* What the results file alone says. */
static bool take_accuracies(const reading *r, const cJSON *task, tl_result_cell *cell) {
    const cJSON *acc = tl_json_get(task, "acc,none"), *norm = tl_json_get(task, "acc_norm,none");
    if (!cJSON_IsNumber(acc))
        return tl_fail(r->error, TL_ERROR_FORMAT,
                       "%s/%s: task '%s': field 'acc,none': expected a "
                       "number",
                       r->folder, r->file, cell->task);
    cell->values[TL_MEASURE_ACCURACY] = 100 * acc->valuedouble;
    cell->has_norm = cJSON_IsNumber(norm);
    if (cell->has_norm) cell->values[TL_MEASURE_ACCURACY_NORM] = 100 * norm->valuedouble;
    return true;
}

static const char *title_of(const reading *r, const char *task) {
    tl_task *known = strpbrk(task, "/.") ? NULL : tl_task_open(task, NULL);
    const char *title = keep(r, known ? tl_task_title(known) : task);
    tl_task_free(known);
    return title;
}

/* 0 for what is no count. */
static int64_t count_of(const cJSON *item) {
    bool count = cJSON_IsNumber(item) && item->valuedouble > 0 && item->valuedouble < 0x1p53;
    return count ? (int64_t)item->valuedouble : 0;
}

static bool read_task(const reading *r, const cJSON *task, int order, int device) {
    const cJSON *config = tl_json_get(r->document, "config");
    const cJSON *shots = tl_json_get(tl_json_get(r->document, "n-shot"), task->string);
    const cJSON *samples = tl_json_get(tl_json_get(r->document, "n-samples"), task->string);
    const cJSON *effective = tl_json_get(samples, "effective");
    const cJSON *parameters = tl_json_get(config, "model_num_parameters");
    const char *model = text_of(r->document, "model_name");
    if (!*model) model = text_of(tl_json_get(config, "model_args"), "pretrained");
    tl_result_cell *cell = tl_results_new_cell(r->results, r->error);
    if (!cell) return false;
    cell->run = r->run;
    cell->device = device;
    cell->model.id = keep(r, model);
    cell->model.name = keep(r, tl_path_base(model));
    cell->model.parameters = count_of(parameters);
    cell->task = keep(r, task->string);
    cell->task_title = title_of(r, task->string);
    cell->protocol = tl_protocol_name(TL_PROTOCOL_LOGLIKELIHOOD);
    cell->dtype = dtype_of(r, config);
    cell->precision = "exact";
    cell->shots = cJSON_IsNumber(shots) ? shots->valueint : 0;
    cell->order = order;
    cell->verdict = TL_VERDICT_DONE;
    cell->planned = count_of(effective);
    if (!cell->model.id || !cell->model.name || !cell->task || !cell->task_title || !cell->dtype)
        return false;
    char path[MOST_PATH];
    samples_path(r, task->string, path, sizeof path);
    if (!take_accuracies(r, task, cell)) return false;
    return !tl_file_exists(path) || read_samples(r, cell, path);
}

static bool read_document(reading *r) {
    const cJSON *tasks = tl_json_get(r->document, "results"), *task;
    const cJSON *config = tl_json_get(r->document, "config");
    if (!cJSON_IsObject(tasks))
        return tl_fail(r->error, TL_ERROR_FORMAT, "%s/%s: field 'results': expected an object",
                       r->folder, r->file);
    const char *where = text_of(config, "device");
    tl_buffer fingerprint = {0};
    tl_buffer_append_format(&fingerprint, "lm-eval %s", where);
    tl_result_device device = {tl_buffer_string(&fingerprint), *where ? where : "unknown", "{}"};
    int index = tl_results_new_device(r->results, &device, r->error);
    tl_buffer_free(&fingerprint);
    if (index < 0) return false;
    int order = 0;
    cJSON_ArrayForEach(task, tasks) {
        if (!tl_json_get(task, "acc,none")) continue; /* not a multiple-choice task */
        if (!read_task(r, task, order++, index)) return false;
    }
    return true;
}

static bool take_folder(void *context, const char *folder, const char *file) {
    reading *r = context;
    char path[MOST_PATH + 256];
    snprintf(path, sizeof path, "%s/%s", folder, file);
    cJSON *document = tl_json_read(path, MOST_RESULTS, r->error);
    if (!document) return false;
    r->folder = folder;
    r->file = file;
    r->document = document;
    bool ok = read_document(r);
    cJSON_Delete(document);
    return ok;
}

bool tl_lmeval_read(tl_results *results, const char *directory, tl_error *error) {
    tl_result_run run = {TL_RUN_HARNESS, directory, directory, "{}"};
    reading r = {.results = results, .error = error};
    int count, first = results->cell_count;
    r.run = tl_results_new_run(results, &run, error);
    if (r.run < 0 || !each_folder(directory, take_folder, &r, &count, error)) return false;
    return results->cell_count > first ||
           tl_fail(error, TL_ERROR_FORMAT,
                   "%s: no multiple-choice task in its results_*.json: expected 'acc,none'",
                   directory);
}
