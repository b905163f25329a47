/* A run in lm-evaluation-harness's own layout: results_TIME.json and samples_TASK_TIME.jsonl. What
 * the harness has no place for is under the one key "tinyllm". */
#include "report/export.h"
#include "report/load.h"
#include "task/document.h"
#include "task/statistics.h"
#include "task/text.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { MOST_PATH = 4096 };

/* ---- JSON, in the order and the numbers that Python would write ---- */

static void put_integer(tl_buffer *out, const char *name, int64_t value) {
    tl_document_put_name(out, name);
    tl_buffer_append_format(out, "%lld", (long long)value);
}

static void put_float(tl_buffer *out, const char *name, double value) {
    tl_document_put_name(out, name);
    if (isfinite(value))
        tl_text_append_python_float(out, value);
    else
        tl_buffer_append_string(out, "null");
}

static void put_float_text(tl_buffer *out, double value) {
    tl_buffer_append_byte(out, '"');
    tl_text_append_python_float(out, value);
    tl_buffer_append_byte(out, '"');
}

/* ---- what is written ---- */

/* The cells of one results file: tasks of one model run in one way. */
typedef struct group {
    const tl_results *results;
    tl_store *store;
    const tl_result_cell **cells;
    int count;
    char name[512]; /* of the model, as given */
    char directory[MOST_PATH], date[40];
    double seconds; /* 1970 */
} group;

/* Sums over the examples of one cell, as the harness aggregates them. */
typedef struct task_sums {
    int64_t documents, correct, correct_norm, correct_bytes, truncated, skipped;
    bool norm, bytes;
    tl_digest *hashes;
} task_sums;

typedef struct writing {
    FILE *file;
    tl_buffer line, scratch;
    task_sums *sums;
    const char *delimiter;
    bool failed;
} writing;

/* "<>:/|\?*[]" in runs become "__", as the harness names folders. */
static void sanitize(const char *name, char *out, size_t size) {
    size_t n = 0;
    for (bool replaced = false; *name && n + 3 < size; name++) {
        bool special = strchr("\"<>:/|\\?*[]", *name) != NULL;
        if (!special) out[n++] = *name;
        if (special && !replaced) n += (size_t)snprintf(out + n, size - n, "__");
        replaced = special;
    }
    out[n] = 0;
}

/* datetime.isoformat() with "-" for ":". */
static void write_date(double seconds, char *out, size_t size) {
    time_t whole = (time_t)seconds;
    struct tm local;
    localtime_r(&whole, &local);
    size_t n = strftime(out, size, "%Y-%m-%dT%H-%M-%S", &local);
    snprintf(out + n, size - n, ".%06d", (int)((seconds - (double)whole) * 1e6) % 1000000);
}

static cJSON *read_fact(const group *g, const char *kind, const char *name) {
    char fact[600];
    snprintf(fact, sizeof fact, "harness %s %s", kind, name);
    char *text = tl_store_fact(g->store, fact);
    cJSON *json = text ? cJSON_Parse(text) : NULL;
    free(text);
    return json;
}

static const char *text_or(const cJSON *object, const char *field, const char *fallback) {
    const char *text = cJSON_GetStringValue(tl_json_get(object, field));
    return text ? text : fallback;
}

static void put_json(tl_buffer *out, const char *name, const cJSON *value) {
    char *text = value ? cJSON_PrintUnformatted(value) : NULL;
    tl_document_put_raw(out, name, text ? text : "null");
    free(text);
}

/* ---- samples ---- */

static void hash_into(const char *text, size_t length, tl_digest *all, char hex[TL_HEX_SIZE]) {
    if (!tl_sha256(text, length, hex)) hex[0] = 0;
    tl_digest_update(all, hex, strlen(hex));
}

static bool is_partial(const tl_example *x) {
    return x->n_choices > 1 && strcmp(x->contexts[0], x->contexts[1]) != 0;
}

/* The gold answer as the harness logs it: its number, or the text that partial scoring scores. */
static void make_target(const writing *w, const tl_example *x, tl_buffer *target) {
    tl_buffer_clear(target);
    if (!is_partial(x)) {
        tl_buffer_append_format(target, "%d", x->gold);
        return;
    }
    size_t skip = strlen(w->delimiter);
    const char *text = x->continuations[0];
    tl_buffer_append_string(target, strncmp(text, w->delimiter, skip) == 0 ? text + skip : text);
}

static void append_requests(tl_buffer *line, const tl_example *x) {
    tl_buffer_append_string(line, ", \"arguments\": {");
    for (int i = 0; i < x->n_choices; i++) {
        tl_buffer_append_format(line, "%s\"gen_args_%d\": {", i ? ", " : "", i);
        tl_document_put_text(line, "arg_0", x->contexts[i]);
        tl_document_put_text(line, "arg_1", x->continuations[i]);
        tl_buffer_append_byte(line, '}');
    }
    for (int pass = 0; pass < 2; pass++) {
        tl_buffer_append_string(line, pass ? "], \"filtered_resps\": [" : "}, \"resps\": [");
        for (int i = 0; i < x->n_choices; i++) {
            tl_buffer_append_string(line, i ? ", " : "");
            tl_buffer_append_string(line, pass ? "[" : "[[");
            put_float_text(line, x->scores[i]);
            tl_buffer_append_string(line, x->greedy[i] ? ", \"True\"]" : ", \"False\"]");
            tl_buffer_append_string(line, pass ? "" : "]");
        }
    }
    tl_buffer_append_string(line, "]");
}

static void append_hashes(writing *w, const tl_example *x, const char *target,
                          size_t target_length) {
    static const char *const names[] = {"doc_hash", "prompt_hash", "target_hash"};
    char hex[3][TL_HEX_SIZE];
    tl_buffer_clear(&w->scratch);
    tl_document_append(&w->scratch, x->document, strlen(x->document), 2);
    hash_into(tl_buffer_string(&w->scratch), w->scratch.length, w->sums->hashes, hex[0]);
    hash_into(x->contexts[0], strlen(x->contexts[0]), w->sums->hashes, hex[1]);
    hash_into(target, target_length, w->sums->hashes, hex[2]);
    for (int i = 0; i < 3; i++)
        tl_document_put_text(&w->line, names[i], hex[i]);
}

static void count(task_sums *sums, const tl_example *x) {
    sums->documents++;
    sums->truncated += x->truncated;
    sums->correct += x->prediction == x->gold;
    sums->norm |= x->prediction_norm >= 0;
    sums->correct_norm += x->prediction_norm == x->gold;
    sums->bytes |= x->prediction_bytes >= 0;
    sums->correct_bytes += x->prediction_bytes == x->gold;
}

static bool write_sample(void *context, const tl_example *x) {
    writing *w = context;
    if (x->skipped || !x->greedy || !x->contexts) {
        w->sums->skipped++;
        return true;
    }
    count(w->sums, x);
    tl_buffer target = {0};
    make_target(w, x, &target);
    tl_buffer_clear(&w->line);
    tl_buffer_append_format(&w->line, "{\"doc_id\": %lld, \"doc\": ", (long long)x->index);
    tl_document_append(&w->line, x->document, strlen(x->document), 0);
    tl_document_put_text(&w->line, "target", tl_buffer_string(&target));
    append_requests(&w->line, x);
    tl_document_put_text(&w->line, "filter", "none");
    bool norm = x->prediction_norm >= 0;
    tl_document_put_raw(&w->line, "metrics", norm ? "[\"acc\", \"acc_norm\"]" : "[\"acc\"]");
    append_hashes(w, x, tl_buffer_string(&target), target.length);
    put_float(&w->line, "acc", x->prediction == x->gold);
    if (norm) put_float(&w->line, "acc_norm", x->prediction_norm == x->gold);
    tl_buffer_append_string(&w->line, "}\n");
    w->failed = w->line.failed || w->scratch.failed || target.failed ||
                fwrite(w->line.data, 1, w->line.length, w->file) != w->line.length;
    tl_buffer_free(&target);
    return !w->failed;
}

/* Characters that are not of a word become "_", as the harness names these files. */
static void samples_path(const group *g, const char *task, char *path, size_t size) {
    char name[256];
    snprintf(name, sizeof name, "%s", task);
    for (char *c = name; *c; c++)
        if (*c == '-' || *c == '.') *c = '_';
    snprintf(path, size, "%s/samples_%s_%s.jsonl", g->directory, name, g->date);
}

/* Streams the examples of a cell into its file, which gets its name when it is whole. */
static bool write_samples(const group *g, const tl_result_cell *cell, const char *delimiter,
                          task_sums *sums, tl_error *error) {
    char path[MOST_PATH + 512], partial[MOST_PATH + 520];
    samples_path(g, cell->task, path, sizeof path);
    snprintf(partial, sizeof partial, "%s.partial", path);
    sums->hashes = tl_digest_new("sha256");
    writing w = {.file = fopen(partial, "we"), .sums = sums, .delimiter = delimiter};
    if (!w.file) return tl_fail_errno(error, "%s: cannot create", partial);
    bool ok =
        sums->hashes && tl_store_each_example(g->store, cell->store_id, write_sample, &w, error);
    if (w.failed) ok = tl_fail_errno(error, "%s: cannot write", partial);
    if (fclose(w.file) != 0 && ok) ok = tl_fail_errno(error, "%s: cannot write", partial);
    if (ok && rename(partial, path) != 0) ok = tl_fail_errno(error, "%s: cannot rename", partial);
    if (!ok) remove(partial);
    tl_buffer_free(&w.line);
    tl_buffer_free(&w.scratch);
    return ok;
}

/* ---- results ---- */

/* The harness's own formula, summed in its order in a wider type (Python's sum is compensated). */
static void put_mean(tl_buffer *out, const char *metric, int64_t correct, int64_t n) {
    char name[64];
    double mean = (double)correct / (double)n;
    long double squares = 0;
    for (int64_t i = 0; i < n; i++) {
        double difference = (i < correct) - mean;
        squares += (long double)(difference * difference);
    }
    snprintf(name, sizeof name, "%s,none", metric);
    put_float(out, name, mean);
    snprintf(name, sizeof name, "%s_stderr,none", metric);
    if (n > 1)
        put_float(out, name, sqrt((double)squares / (double)(n - 1)) / sqrt((double)n));
    else
        tl_document_put_text(out, name, "N/A");
}

static void put_results(tl_buffer *out, const group *g, const task_sums *sums) {
    tl_document_put_name(out, "results");
    tl_buffer_append_byte(out, '{');
    for (int i = 0; i < g->count; i++) {
        const char *task = g->cells[i]->task;
        tl_document_put_name(out, task);
        tl_buffer_append_byte(out, '{');
        tl_document_put_text(out, "name", task);
        tl_document_put_text(out, "alias", task);
        put_integer(out, "sample_len", sums[i].documents);
        put_mean(out, "acc", sums[i].correct, sums[i].documents);
        if (sums[i].norm) put_mean(out, "acc_norm", sums[i].correct_norm, sums[i].documents);
        tl_buffer_append_byte(out, '}');
    }
    tl_buffer_append_byte(out, '}');
    tl_document_put_raw(out, "group_subtasks", "{}");
}

/* The harness orders these by the tasks' names. */
static int compare_tasks(const void *a, const void *b) {
    const tl_result_cell *const *x = a, *const *y = b;
    return strcmp((*x)->task, (*y)->task);
}

static void put_config(tl_buffer *out, const group *g, const tl_result_cell *cell,
                       const char *dtype) {
    cJSON *config = read_fact(g, "task", cell->task);
    if (!config) config = cJSON_CreateObject();
    cJSON *metadata = cJSON_GetObjectItemCaseSensitive(config, "metadata");
    if (!tl_json_get(config, "task")) cJSON_AddStringToObject(config, "task", cell->task);
    cJSON_AddNumberToObject(config, "num_fewshot", cell->shots);
    const cJSON *version = tl_json_get(metadata, "version");
    if (cJSON_IsNumber(version)) { /* 1.0, where cJSON would write 1 */
        tl_buffer number = {0};
        tl_text_append_python_float(&number, version->valuedouble);
        cJSON_ReplaceItemInObjectCaseSensitive(metadata, "version",
                                               cJSON_CreateRaw(tl_buffer_string(&number)));
        tl_buffer_free(&number);
    }
    if (metadata) {
        cJSON_AddStringToObject(metadata, "pretrained", g->name);
        cJSON_AddStringToObject(metadata, "dtype", dtype);
    }
    put_json(out, cell->task, config);
    cJSON_Delete(config);
}

static void put_versions(tl_buffer *out, const group *g, const tl_result_cell *const *sorted) {
    tl_document_put_name(out, "versions");
    tl_buffer_append_byte(out, '{');
    for (int i = 0; i < g->count; i++) {
        cJSON *config = read_fact(g, "task", sorted[i]->task);
        const cJSON *version = tl_json_get(tl_json_get(config, "metadata"), "version");
        if (cJSON_IsNumber(version))
            put_float(out, sorted[i]->task, version->valuedouble);
        else
            put_json(out, sorted[i]->task, version);
        cJSON_Delete(config);
    }
    tl_buffer_append_byte(out, '}');
}

static void put_tasks(tl_buffer *out, const group *g, const task_sums *sums, const char *dtype) {
    const tl_result_cell **sorted = malloc((size_t)g->count * sizeof *sorted);
    if (!sorted) {
        out->failed = true;
        return;
    }
    memcpy(sorted, g->cells, (size_t)g->count * sizeof *sorted);
    qsort(sorted, (size_t)g->count, sizeof *sorted, compare_tasks);
    tl_document_put_name(out, "configs");
    tl_buffer_append_byte(out, '{');
    for (int i = 0; i < g->count; i++)
        put_config(out, g, sorted[i], dtype);
    tl_buffer_append_byte(out, '}');
    put_versions(out, g, sorted);
    tl_document_put_name(out, "n-shot");
    tl_buffer_append_byte(out, '{');
    for (int i = 0; i < g->count; i++)
        put_integer(out, sorted[i]->task, sorted[i]->shots);
    tl_buffer_append_byte(out, '}');
    tl_document_put_name(out, "higher_is_better");
    tl_buffer_append_byte(out, '{');
    for (int i = 0; i < g->count; i++) {
        int k = 0;
        while (g->cells[k] != sorted[i])
            k++;
        tl_document_put_raw(out, sorted[i]->task,
                            sums[k].norm ? "{\"acc\": true, \"acc_norm\": true}"
                                         : "{\"acc\": true}");
    }
    tl_buffer_append_byte(out, '}');
    free(sorted);
    tl_document_put_name(out, "n-samples");
    tl_buffer_append_byte(out, '{');
    for (int i = 0; i < g->count; i++) {
        double rows = tl_store_measure(g->store, g->cells[i]->store_id, "rows_in_split");
        tl_document_put_name(out, g->cells[i]->task);
        tl_buffer_append_byte(out, '{');
        put_integer(out, "original", isnan(rows) ? g->cells[i]->planned : (int64_t)rows);
        put_integer(out, "effective", sums[i].documents);
        tl_buffer_append_byte(out, '}');
    }
    tl_buffer_append_byte(out, '}');
}

static void put_model(tl_buffer *out, const group *g, const char *dtype) {
    const tl_result_cell *cell = g->cells[0];
    cJSON *identity = cJSON_Parse(cell->identity);
    const char *bos = text_or(identity, "bos", "auto");
    const cJSON *limit = tl_json_get(identity, "limit");
    bool batched = cJSON_IsTrue(tl_json_get(identity, "batched"));
    char torch[64];
    snprintf(torch, sizeof torch, "torch.%s", dtype);
    tl_document_put_name(out, "config");
    tl_buffer_append_string(out, "{\"model\": \"hf\", \"model_args\": {");
    tl_document_put_text(out, "pretrained", g->name);
    tl_document_put_text(out, "dtype", dtype);
    if (strcmp(bos, "auto") != 0)
        tl_document_put_raw(out, "add_bos_token", strcmp(bos, "on") == 0 ? "true" : "false");
    tl_buffer_append_byte(out, '}');
    put_integer(out, "model_num_parameters", cell->model.parameters);
    tl_document_put_text(out, "model_dtype", torch);
    tl_document_put_text(out, "model_revision", "main");
    tl_document_put_text(out, "model_sha", "");
    tl_document_put_text(out, "batch_size", batched ? "auto" : "1");
    tl_document_put_raw(out, "batch_sizes", "[]");
    tl_document_put_text(out, "device", "cpu");
    tl_document_put_raw(out, "use_cache", "null");
    if (limit && limit->valuedouble > 0)
        put_float(out, "limit", limit->valuedouble);
    else
        tl_document_put_raw(out, "limit", "null");
    tl_buffer_append_string(out, ", \"bootstrap_iters\": 100000, \"gen_kwargs\": {}, "
                                 "\"random_seed\": 0, \"numpy_seed\": 1234, \"torch_seed\": 1234, "
                                 "\"fewshot_seed\": 1234}");
    cJSON_Delete(identity);
}

static void put_environment(tl_buffer *out, const group *g) {
    static const char *const tokens[] = {"tokenizer_pad_token", "tokenizer_eos_token",
                                         "tokenizer_bos_token", "eot_token_id", "max_length"};
    const tl_result_device *device = &g->results->devices[g->cells[0]->device];
    cJSON *model = read_fact(g, "model", g->cells[0]->model.id);
    tl_document_put_raw(out, "git_hash", "null");
    put_float(out, "date", g->seconds);
    tl_document_put_name(out, "pretty_env_info");
    tl_buffer_append_string(out, "\"tinyllm " TINYLLM_VERSION "; ");
    for (const char *c = device->name; *c; c++)
        if ((unsigned char)*c >= 0x20 && *c != '"' && *c != '\\') tl_buffer_append_byte(out, *c);
    tl_buffer_append_byte(out, '"');
    tl_document_put_raw(out, "transformers_version", "null");
    tl_document_put_raw(out, "lm_eval_version", "null");
    tl_document_put_raw(out, "upper_git_hash", "null");
    for (size_t i = 0; i < sizeof tokens / sizeof *tokens; i++)
        put_json(out, tokens[i], tl_json_get(model, tokens[i]));
    cJSON_Delete(model);
}

static void put_hashes(tl_buffer *out, const group *g, const task_sums *sums) {
    tl_document_put_name(out, "task_hashes");
    tl_buffer_append_byte(out, '{');
    for (int i = 0; i < g->count; i++) {
        char hex[TL_HEX_SIZE] = "";
        tl_digest_finish(sums[i].hashes, hex);
        tl_document_put_text(out, g->cells[i]->task, hex);
    }
    tl_buffer_append_byte(out, '}');
}

static void put_names(tl_buffer *out, const group *g) {
    char sanitized[1024], seconds[64];
    double total = 0;
    for (int i = 0; i < g->count; i++)
        if (isfinite(g->cells[i]->finished - g->cells[i]->started))
            total += g->cells[i]->finished - g->cells[i]->started;
    sanitize(g->name, sanitized, sizeof sanitized);
    snprintf(seconds, sizeof seconds, "%.6f", total);
    tl_document_put_text(out, "model_source", "hf");
    tl_document_put_text(out, "model_name", g->name);
    tl_document_put_text(out, "model_name_sanitized", sanitized);
    tl_buffer_append_string(out,
                            ", \"system_instruction\": null, \"system_instruction_sha\": null, "
                            "\"fewshot_as_multiturn\": null, \"chat_template\": null, "
                            "\"chat_template_sha\": null");
    tl_document_put_text(out, "total_evaluation_time_seconds", seconds);
}

/* Our own: what became of each cell, what its number means, and every measure. */
static void put_ours(tl_buffer *out, const group *g, const task_sums *sums) {
    tl_document_put_name(out, "tinyllm");
    tl_buffer_append_byte(out, '{');
    tl_document_put_text(out, "version", TINYLLM_VERSION);
    for (int i = 0; i < g->count; i++) {
        const tl_result_cell *cell = g->cells[i];
        double low, high;
        tl_wilson(sums[i].correct, sums[i].documents, &low, &high);
        tl_document_put_name(out, cell->task);
        tl_buffer_append_byte(out, '{');
        tl_document_put_text(out, "verdict", tl_verdict_name(cell->verdict));
        tl_document_put_text(out, "reason", cell->reason);
        tl_document_put_text(out, "precision", cell->precision);
        tl_document_put_text(out, "dtype", cell->dtype);
        put_integer(out, "skipped", sums[i].skipped);
        put_integer(out, "truncated", sums[i].truncated);
        put_float(out, "acc_wilson_low", low);
        put_float(out, "acc_wilson_high", high);
        put_float(out, "chance", cell->chance);
        put_float(out, "p_against_chance",
                  tl_binomial_p(sums[i].correct, sums[i].documents, cell->chance));
        tl_document_put_raw(out, "collapsed",
                            cell->labels && tl_collapsed(cell->predicted, cell->labels) ? "true"
                                                                                        : "false");
        if (sums[i].bytes) put_mean(out, "acc_bytes", sums[i].correct_bytes, sums[i].documents);
        tl_document_put_raw(out, "identity", *cell->identity ? cell->identity : "{}");
        tl_document_put_name(out, "measures");
        tl_buffer_append_byte(out, '{');
        for (int k = 0; k < cell->measure_count; k++)
            put_float(out, cell->measures[k].name, cell->measures[k].value);
        tl_buffer_append_string(out, "}}");
    }
    tl_buffer_append_byte(out, '}');
}

/* float32 and the like: of the weights as run. */
static const char *dtype_name(const group *g, const cJSON *model) {
    tl_dtype dtype;
    if (tl_dtype_parse(g->cells[0]->dtype, &dtype, NULL)) {
        const tl_dtype_traits *traits = tl_dtype_get(dtype);
        return traits->torch ? traits->torch : traits->name;
    }
    return text_or(model, "stored", "float32");
}

static bool write_results(const group *g, const task_sums *sums, tl_error *error) {
    cJSON *model = read_fact(g, "model", g->cells[0]->model.id);
    char dtype[32], path[MOST_PATH + 64];
    snprintf(dtype, sizeof dtype, "%s", dtype_name(g, model));
    cJSON_Delete(model);
    tl_buffer out = {0}, pretty = {0};
    tl_buffer_append_byte(&out, '{');
    put_results(&out, g, sums);
    put_tasks(&out, g, sums, dtype);
    put_model(&out, g, dtype);
    put_environment(&out, g);
    put_hashes(&out, g, sums);
    put_names(&out, g);
    put_ours(&out, g, sums);
    tl_buffer_append_byte(&out, '}');
    tl_document_append(&pretty, tl_buffer_string(&out), out.length, 2);
    snprintf(path, sizeof path, "%s/results_%s.json", g->directory, g->date);
    bool ok = !out.failed && !pretty.failed;
    if (!ok) tl_fail_memory(error, out.length, "the results");
    ok = ok && tl_file_write(path, pretty.data, pretty.length, error);
    tl_buffer_free(&out);
    tl_buffer_free(&pretty);
    return ok;
}

/* ---- groups ---- */

static bool wanted(const tl_result_cell *cell) {
    return strcmp(cell->protocol, "loglikelihood") == 0 && cell->examples > 0;
}

static bool together(const tl_result_cell *a, const tl_result_cell *b) {
    return a->device == b->device && a->shots == b->shots &&
           strcmp(a->model.id, b->model.id) == 0 && strcmp(a->dtype, b->dtype) == 0 &&
           strcmp(a->precision, b->precision) == 0;
}

/* The time of the last cell; later by a microsecond where another results file has it already. */
static void choose_date(group *g) {
    char path[MOST_PATH + 64];
    g->seconds = 0;
    for (int i = 0; i < g->count; i++)
        if (isfinite(g->cells[i]->finished) && g->cells[i]->finished > g->seconds)
            g->seconds = g->cells[i]->finished;
    if (g->seconds == 0) g->seconds = tl_clock_wall();
    do {
        write_date(g->seconds, g->date, sizeof g->date);
        snprintf(path, sizeof path, "%s/results_%s.json", g->directory, g->date);
        g->seconds += 1e-6;
    } while (tl_file_exists(path));
    g->seconds -= 1e-6;
}

static bool export_group(group *g, const char *out, tl_error *error) {
    char sanitized[1024];
    snprintf(g->name, sizeof g->name, "%s", g->cells[0]->model.id);
    sanitize(g->name, sanitized, sizeof sanitized);
    snprintf(g->directory, sizeof g->directory, "%s/%s", out, sanitized);
    task_sums *sums = calloc((size_t)g->count, sizeof *sums);
    if (!sums) return tl_fail_memory(error, (size_t)g->count * sizeof *sums, "an export");
    bool ok = tl_dir_create(g->directory, error);
    if (ok) choose_date(g);
    for (int i = 0; ok && i < g->count; i++) {
        cJSON *config = read_fact(g, "task", g->cells[i]->task);
        ok = write_samples(g, g->cells[i], text_or(config, "target_delimiter", " "), &sums[i],
                           error);
        cJSON_Delete(config);
    }
    ok = ok && write_results(g, sums, error);
    for (int i = 0; i < g->count; i++)
        tl_digest_free(sums[i].hashes);
    free(sums);
    return ok;
}

static bool export_all(const tl_results *results, tl_store *store, const char *out,
                       tl_error *error) {
    bool *done = calloc((size_t)results->cell_count + 1, sizeof *done);
    const tl_result_cell **cells = calloc((size_t)results->cell_count + 1, sizeof *cells);
    bool ok = done && cells;
    int groups = 0;
    if (!ok) tl_fail_memory(error, (size_t)results->cell_count * sizeof *cells, "an export");
    for (int i = 0; ok && i < results->cell_count; i++) {
        if (done[i] || !wanted(&results->cells[i])) continue;
        group g = {.results = results, .store = store, .cells = cells};
        for (int k = i; k < results->cell_count; k++) {
            if (!wanted(&results->cells[k]) || !together(&results->cells[i], &results->cells[k]))
                continue;
            done[k] = true;
            g.cells[g.count++] = &results->cells[k];
        }
        ok = export_group(&g, out, error);
        groups++;
    }
    free(done);
    free(cells);
    if (ok && groups == 0)
        return tl_fail(error, TL_ERROR_USAGE,
                       "%s: no examples of protocol loglikelihood: run with --protocol "
                       "loglikelihood",
                       tl_store_directory(store));
    return ok;
}

bool tl_export_lmeval(const char *directory, const char *out, tl_error *error) {
    tl_results *results = tl_results_new(error);
    tl_store *store = results ? tl_store_open(directory, false, error) : NULL;
    bool ok = store && tl_results_add(results, directory, error) &&
              export_all(results, store, out, error);
    tl_store_close(store);
    tl_results_free(results);
    return ok;
}
