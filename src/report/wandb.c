/* W&B offline runs: one per cell, as the study logged them. */
#include "report/export.h"
#include "report/load.h"
#include "report/wandb_log.h"

#include "wandb.pb-c.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum {
    TABLE_ROWS = 10000, /* W&B shows no more of one table */
    ITEMS = 128,
    SYSTEM_STATS = 0,
    POLICY_NOW = 0,
    TYPE_MEDIA = 3,
    TAGS = 3,
    TAG_LENGTH = 64,
};

/* Keys and JSON values that go into one record. */
typedef struct items {
    Wb__Item items[ITEMS];
    Wb__Item *pointers[ITEMS];
    size_t count;
    tl_arena *arena;
    tl_error *error;
    bool failed;
} items;

/* What is being written of one cell. */
typedef struct run_writer {
    const tl_results *results;
    const tl_result_cell *cell;
    const char *project;
    char id[TL_CELL_ID + 1];
    tl_buffer directory;
    tl_wandb_log log;
    tl_arena *arena;
    tl_buffer packed;
    int64_t number; /* of the next record */
    tl_error *error;
} run_writer;

static void add_json(items *list, const char *key, const char *json) {
    if (list->failed || list->count == ITEMS) return;
    Wb__Item *item = &list->items[list->count];
    wb__item__init(item);
    item->key = tl_arena_strdup(list->arena, key, list->error);
    item->value_json = tl_arena_strdup(list->arena, json, list->error);
    list->failed = !item->key || !item->value_json;
    list->pointers[list->count++] = item;
}

static void add_string(items *list, const char *key, const char *text) {
    tl_buffer json = {0};
    tl_json_append_string(&json, text, strlen(text));
    add_json(list, key, tl_buffer_string(&json));
    tl_buffer_free(&json);
}

static void add_number(items *list, const char *key, double value) {
    tl_buffer json = {0};
    if (isfinite(value))
        tl_json_append_double(&json, value);
    else
        tl_buffer_append_string(&json, "NaN");
    add_json(list, key, tl_buffer_string(&json));
    tl_buffer_free(&json);
}

static items *new_items(run_writer *w) {
    items *list = tl_arena_alloc(w->arena, 1, sizeof *list, "a W&B record", w->error);
    if (!list) return NULL;
    list->arena = w->arena;
    list->error = w->error;
    return list;
}

static bool append(run_writer *w, Wb__Record *record) {
    record->num = ++w->number;
    size_t size = wb__record__get_packed_size(record);
    tl_buffer_clear(&w->packed);
    if (!tl_buffer_reserve(&w->packed, size)) return tl_fail_memory(w->error, size, "a record");
    wb__record__pack(record, (uint8_t *)w->packed.data);
    return tl_wandb_log_append(&w->log, w->packed.data, size, w->error);
}

/* ---- the run ---- */

static bool write_header(run_writer *w) {
    Wb__VersionInfo version = WB__VERSION_INFO__INIT;
    version.producer = "tinyllm";
    Wb__HeaderRecord header = WB__HEADER_RECORD__INIT;
    header.version_info = &version;
    Wb__Record record = WB__RECORD__INIT;
    record.record_type_case = WB__RECORD__RECORD_TYPE_HEADER;
    record.header = &header;
    return append(w, &record);
}

static void fill_config(const run_writer *w, items *config) {
    const tl_result_cell *cell = w->cell;
    add_string(config, "model", cell->model.id);
    add_string(config, "model_name", cell->model.name);
    add_string(config, "family", cell->model.family);
    add_number(config, "parameters", (double)cell->model.parameters);
    add_string(config, "dataset", cell->task);
    add_string(config, "protocol", cell->protocol);
    add_string(config, "dtype", cell->dtype);
    add_string(config, "precision", cell->precision);
    add_number(config, "shots", cell->shots);
    add_string(config, "device", w->results->devices[cell->device].name);
    if (*cell->identity) add_json(config, "identity", cell->identity);
    if (*w->results->devices[cell->device].facts)
        add_json(config, "device_facts", w->results->devices[cell->device].facts);
    add_json(config, "run", w->results->runs[cell->run].facts);
}

static Wb__Timestamp timestamp(double seconds) {
    Wb__Timestamp stamp = WB__TIMESTAMP__INIT;
    if (!(fabs(seconds) < 0x1p53)) return stamp;
    stamp.seconds = (int64_t)floor(seconds);
    stamp.nanos = (int32_t)((seconds - floor(seconds)) * 1e9);
    return stamp;
}

/* W&B takes tags of 1 to 64 characters. */
static bool copy_tags(run_writer *w, const char *const names[TAGS], char *tags[TAGS]) {
    for (int i = 0; i < TAGS; i++) {
        const char *name = *names[i] ? names[i] : "unknown";
        size_t length = strlen(name);
        if (length > TAG_LENGTH) length = TAG_LENGTH;
        while (length < strlen(name) && ((unsigned char)name[length] & 0xc0) == 0x80)
            length--; /* no half characters */
        tags[i] = tl_arena_strndup(w->arena, name, length, w->error);
        if (!tags[i]) return false;
    }
    return true;
}

static bool write_run(run_writer *w) {
    const tl_result_cell *cell = w->cell;
    items *config = new_items(w);
    if (!config) return false;
    fill_config(w, config);
    Wb__ConfigRecord config_record = WB__CONFIG_RECORD__INIT;
    config_record.n_update = config->count;
    config_record.update = config->pointers;
    tl_buffer name = {0};
    tl_buffer_append_format(&name, "%s in %s", cell->model.name, cell->task);
    const char *const names[TAGS] = {w->results->devices[cell->device].name, cell->model.name,
                                     cell->task};
    char *tags[TAGS];
    if (!copy_tags(w, names, tags)) return false;
    Wb__Timestamp started = timestamp(cell->started);
    Wb__RunRecord run = WB__RUN_RECORD__INIT;
    run.run_id = w->id;
    run.project = (char *)w->project;
    run.config = &config_record;
    run.display_name = (char *)tl_buffer_string(&name);
    run.tags = tags;
    run.n_tags = TAGS;
    run.start_time = &started;
    Wb__Record record = WB__RECORD__INIT;
    record.record_type_case = WB__RECORD__RECORD_TYPE_RUN;
    record.run = &run;
    bool good = !config->failed && append(w, &record);
    tl_buffer_free(&name);
    return good;
}

/* ---- the table of examples, as a media file ---- */

typedef struct table {
    run_writer *writer;
    FILE *out;
    tl_digest *digest;
    tl_buffer line, path;
    tl_buffer columns; /* names of the row's own fields, each with its NUL */
    int column_count;
    int64_t rows, size;
    int tables;     /* finished ones */
    items *history; /* where each is mentioned */
    bool failed;
} table;

static bool put_text(table *t, const char *text, size_t length) {
    tl_digest_update(t->digest, text, length);
    t->size += (int64_t)length;
    if (fwrite(text, 1, length, t->out) == length) return true;
    return tl_fail_errno(t->writer->error, "%s: cannot write", tl_buffer_string(&t->path));
}

static const char *const own_columns[] = {"choices",   "ground_truth", "prediction",
                                          "correct",   "scores",       "inference_time_ms",
                                          "truncated", "skipped",      "prompt"};
enum { OWN_COLUMNS = sizeof own_columns / sizeof *own_columns };

static bool begin_table(table *t, const cJSON *first) {
    tl_buffer_clear(&t->path);
    tl_buffer_append_format(&t->path, "%s/files/media/table/part", t->writer->directory.data);
    t->out = fopen(tl_buffer_string(&t->path), "wbe");
    t->digest = tl_digest_new("sha256");
    if (!t->out || !t->digest)
        return tl_fail_errno(t->writer->error, "%s: cannot create", tl_buffer_string(&t->path));
    t->rows = t->size = 0;
    tl_buffer_clear(&t->columns);
    tl_buffer_clear(&t->line);
    tl_buffer_append_string(&t->line, "{\"columns\":[\"row\"");
    t->column_count = 0;
    const cJSON *field;
    cJSON_ArrayForEach(field, first) {
        if (!cJSON_IsObject(first)) break;
        tl_buffer_append(&t->columns, field->string, strlen(field->string) + 1);
        t->column_count++;
        tl_buffer_append_byte(&t->line, ',');
        tl_json_append_string(&t->line, field->string, strlen(field->string));
    }
    for (int i = 0; i < OWN_COLUMNS; i++)
        tl_buffer_append_format(&t->line, ",\"%s\"", own_columns[i]);
    tl_buffer_append_string(&t->line, "],\"data\":[");
    return put_text(t, tl_buffer_string(&t->line), t->line.length);
}

/* Mentions a finished table: the file in a record of its own, its value in the history. */
static bool mention_table(table *t, const char *key, const char *name, const char *hex) {
    char path[160], value[480];
    snprintf(path, sizeof path, "media/table/%s", name);
    snprintf(value, sizeof value,
             "{\"_type\":\"table-file\",\"path\":\"%s\",\"sha256\":\"%s\",\"size\":%lld,"
             "\"ncols\":%d,\"nrows\":%lld}",
             path, hex, (long long)t->size, t->column_count + 1 + OWN_COLUMNS, (long long)t->rows);
    add_json(t->history, key, value);
    Wb__FilesItem file = WB__FILES_ITEM__INIT;
    file.path = path;
    file.policy = POLICY_NOW;
    file.type = TYPE_MEDIA;
    Wb__FilesItem *files[] = {&file};
    Wb__FilesRecord list = WB__FILES_RECORD__INIT;
    list.files = files;
    list.n_files = 1;
    Wb__Record record = WB__RECORD__INIT;
    record.record_type_case = WB__RECORD__RECORD_TYPE_FILES;
    record.files = &list;
    return append(t->writer, &record);
}

/* Ends the file and gives it the name that W&B expects: key, step, and the start of its hash. */
static bool end_table(table *t) {
    if (!t->out) return true;
    char hex[TL_HEX_SIZE], key[32], name[96];
    bool good = put_text(t, "]}", 2) && tl_digest_finish(t->digest, hex);
    if (fclose(t->out) != 0 && good)
        good = tl_fail_errno(t->writer->error, "%s: cannot write", t->path.data);
    tl_digest_free(t->digest);
    t->out = NULL;
    t->digest = NULL;
    if (!good) return false;
    t->tables++;
    snprintf(key, sizeof key, t->tables == 1 ? "examples" : "examples_%d", t->tables);
    snprintf(name, sizeof name, "%s_0_%.20s.table.json", key, hex);
    tl_buffer final = {0};
    tl_buffer_append_format(&final, "%s/files/media/table/%s", t->writer->directory.data, name);
    good = !final.failed && rename(t->path.data, final.data) == 0;
    if (!good) tl_fail_errno(t->writer->error, "%s: cannot rename", t->path.data);
    tl_buffer_free(&final);
    return good && mention_table(t, key, name, hex);
}

/* Numbers, truth values and strings as they are; anything deeper as its JSON text. */
static void append_field(tl_buffer *line, const cJSON *value) {
    tl_buffer_append_byte(line, ',');
    if (!value || cJSON_IsNull(value)) {
        tl_buffer_append_string(line, "null");
    } else if (cJSON_IsString(value)) {
        tl_json_append_string(line, value->valuestring, strlen(value->valuestring));
    } else {
        char *text = cJSON_PrintUnformatted(value);
        bool deep = cJSON_IsObject(value) || cJSON_IsArray(value);
        if (text && deep)
            tl_json_append_string(line, text, strlen(text));
        else
            tl_buffer_append_string(line, text ? text : "null");
        cJSON_free(text);
    }
}

static void append_label(tl_buffer *line, const tl_example *example, int32_t label) {
    tl_buffer_append_byte(line, ',');
    if (label < 0 || label >= example->n_choices)
        tl_buffer_append_string(line, "null");
    else if (example->protocol != TL_PROTOCOL_LOGLIKELIHOOD && label < 26)
        tl_buffer_append_format(line, "\"%c\"", 'A' + label);
    else
        tl_buffer_append_format(line, "\"%d\"", label);
}

static void append_own_columns(tl_buffer *line, const tl_example *example) {
    tl_buffer texts = {0};
    for (int i = 0; i < example->n_choices && example->choices; i++)
        tl_buffer_append_format(&texts, "%s%s", i ? "\n" : "", example->choices[i]);
    tl_buffer_append_byte(line, ',');
    tl_json_append_string(line, tl_buffer_string(&texts), texts.length);
    append_label(line, example, example->gold);
    append_label(line, example, example->prediction);
    bool correct = example->gold >= 0 && example->gold == example->prediction;
    tl_buffer_append_string(line, correct ? ",true,\"" : ",false,\"");
    for (int i = 0; i < example->n_choices && example->scores; i++)
        tl_buffer_append_format(line, "%s%.6g", i ? " " : "", example->scores[i]);
    tl_buffer_append_string(line, "\",");
    tl_json_append_double(line, example->forward_seconds * 1e3);
    tl_buffer_append_string(line, example->truncated ? ",true," : ",false,");
    const char *skipped = example->skipped ? example->skipped : "";
    tl_json_append_string(line, skipped, strlen(skipped));
    tl_buffer_append_byte(line, ',');
    const char *prompt = example->prompt ? example->prompt : "";
    tl_json_append_string(line, prompt, strlen(prompt));
    line->failed |= texts.failed;
    tl_buffer_free(&texts);
}

static bool add_row(table *t, const tl_example *example, const cJSON *document) {
    tl_buffer_clear(&t->line);
    tl_buffer_append_format(&t->line, "%s[%lld", t->rows ? "," : "", (long long)example->index);
    const char *name = tl_buffer_string(&t->columns);
    for (int i = 0; i < t->column_count; i++, name += strlen(name) + 1)
        append_field(&t->line, cJSON_GetObjectItemCaseSensitive(document, name));
    append_own_columns(&t->line, example);
    tl_buffer_append_byte(&t->line, ']');
    t->rows++;
    if (t->line.failed) return tl_fail_memory(t->writer->error, t->line.length, "a row");
    return put_text(t, t->line.data, t->line.length);
}

static bool take_example(void *context, const tl_example *example) {
    table *t = context;
    const char *text = example->document ? example->document : "";
    cJSON *document = cJSON_Parse(text);
    bool good = true;
    if (t->out && t->rows == TABLE_ROWS) good = end_table(t);
    if (good && !t->out) good = begin_table(t, document);
    good = good && add_row(t, example, document);
    cJSON_Delete(document);
    t->failed |= !good;
    return good;
}

static bool write_tables(run_writer *w, tl_store *store, items *history) {
    table t = {.writer = w, .history = history};
    bool good = tl_store_each_example(store, w->cell->store_id, take_example, &t, w->error) &&
                !t.failed && end_table(&t);
    if (t.out) fclose(t.out);
    tl_digest_free(t.digest);
    tl_buffer_free(&t.line);
    tl_buffer_free(&t.path);
    tl_buffer_free(&t.columns);
    return good;
}

/* ---- what was measured ---- */

static double raw(const tl_result_cell *cell, const char *name) {
    for (int i = 0; i < cell->measure_count; i++)
        if (strcmp(cell->measures[i].name, name) == 0) return cell->measures[i].value;
    return NAN;
}

/* The study's values under titles of their own, then every measure of the store by its name. */
static void fill_summary(const tl_result_cell *cell, items *summary) {
    bool gpu = strcmp(cell->memory_kind, "peak_gpu_gb") == 0;
    add_number(summary, "Model size (MB)", cell->values[TL_MEASURE_SIZE]);
    add_number(summary, "Accuracy (%)", cell->values[TL_MEASURE_ACCURACY]);
    add_number(summary, "Inference time (ms)", cell->values[TL_MEASURE_TIME]);
    add_number(summary, gpu ? "Peak GPU memory (GB)" : "Peak memory (GB)",
               cell->values[TL_MEASURE_MEMORY]);
    add_number(summary, "Max swap (MB)", raw(cell, "swap_max_mb"));
    for (int i = 0; i < cell->measure_count; i++)
        if (!isnan(cell->measures[i].value))
            add_number(summary, cell->measures[i].name, cell->measures[i].value);
    add_string(summary, "verdict", tl_verdict_name(cell->verdict));
    if (*cell->reason) add_string(summary, "reason", cell->reason);
}

static double runtime_of(const tl_result_cell *cell) {
    double seconds = cell->finished - cell->started;
    return isfinite(seconds) && seconds > 0 ? seconds : 0;
}

static bool write_history(run_writer *w, items *history) {
    const tl_result_cell *cell = w->cell;
    add_number(history, "Accuracy (%)", cell->values[TL_MEASURE_ACCURACY]);
    add_number(history, "Inference time (ms)", cell->values[TL_MEASURE_TIME]);
    add_number(history, "_step", 0);
    add_number(history, "_runtime", runtime_of(cell));
    add_number(history, "_timestamp", isfinite(cell->finished) ? cell->finished : 0);
    Wb__HistoryStep step = WB__HISTORY_STEP__INIT;
    Wb__HistoryRecord list = WB__HISTORY_RECORD__INIT;
    list.item = history->pointers;
    list.n_item = history->count;
    list.step = &step;
    Wb__Record record = WB__RECORD__INIT;
    record.record_type_case = WB__RECORD__RECORD_TYPE_HISTORY;
    record.history = &list;
    return !history->failed && append(w, &record);
}

static bool write_summary(run_writer *w, const items *history) {
    items *summary = new_items(w);
    if (!summary) return false;
    fill_summary(w->cell, summary);
    for (size_t i = 0; i < history->count; i++)
        if (strncmp(history->items[i].key, "examples", 8) == 0)
            add_json(summary, history->items[i].key, history->items[i].value_json);
    Wb__SummaryRecord list = WB__SUMMARY_RECORD__INIT;
    list.update = summary->pointers;
    list.n_update = summary->count;
    Wb__Record record = WB__RECORD__INIT;
    record.record_type_case = WB__RECORD__RECORD_TYPE_SUMMARY;
    record.summary = &list;
    return !summary->failed && append(w, &record);
}

/* The system's side, for W&B's system tab: one sample at the cell's end. */
static bool write_stats(run_writer *w) {
    static const struct {
        const char *measure, *key;
    } stats[] = {{"peak_rss_mb", "proc.memory.rssMB"},
                 {"temperature_max_c", "gpu.0.temp"},
                 {"power_mean_w", "gpu.0.powerWatts"},
                 {"threads", "proc.cpu.threads"}};
    enum { STATS = sizeof stats / sizeof *stats };
    Wb__StatsItem all[STATS], *pointers[STATS];
    char values[STATS][32];
    size_t count = 0;
    for (size_t i = 0; i < STATS; i++) {
        double value = raw(w->cell, stats[i].measure);
        if (isnan(value)) continue;
        wb__stats_item__init(&all[count]);
        snprintf(values[count], sizeof values[count], "%.9g", value);
        all[count].key = (char *)stats[i].key;
        all[count].value_json = values[count];
        pointers[count] = &all[count];
        count++;
    }
    if (count == 0) return true;
    Wb__Timestamp now = timestamp(w->cell->finished);
    Wb__StatsRecord list = WB__STATS_RECORD__INIT;
    list.stats_type = SYSTEM_STATS;
    list.timestamp = &now;
    list.item = pointers;
    list.n_item = count;
    Wb__Record record = WB__RECORD__INIT;
    record.record_type_case = WB__RECORD__RECORD_TYPE_STATS;
    record.stats = &list;
    return append(w, &record);
}

static bool write_end(run_writer *w) {
    Wb__RunExitRecord exit_record = WB__RUN_EXIT_RECORD__INIT;
    exit_record.exit_code = tl_cell_done(w->cell) ? 0 : 1;
    exit_record.runtime = (int32_t)fmin(runtime_of(w->cell), INT32_MAX);
    Wb__Record record = WB__RECORD__INIT;
    record.record_type_case = WB__RECORD__RECORD_TYPE_EXIT;
    record.exit = &exit_record;
    if (!append(w, &record)) return false;
    Wb__FinalRecord last = WB__FINAL_RECORD__INIT;
    wb__record__init(&record);
    record.record_type_case = WB__RECORD__RECORD_TYPE_FINAL;
    record.final = &last;
    return append(w, &record);
}

/* ---- one cell ---- */

static bool make_directory(run_writer *w, const char *out) {
    char stamp[32] = "19700101_000000";
    time_t started = isfinite(w->cell->started) ? (time_t)w->cell->started : 0;
    struct tm utc;
    if (gmtime_r(&started, &utc)) strftime(stamp, sizeof stamp, "%Y%m%d_%H%M%S", &utc);
    tl_buffer_append_format(&w->directory, "%s/offline-run-%s-%s", out, stamp, w->id);
    tl_buffer media = {0};
    tl_buffer_append_format(&media, "%s/files/media/table", tl_buffer_string(&w->directory));
    bool good = w->directory.failed || media.failed ? tl_fail_memory(w->error, 0, "a path")
                                                    : tl_dir_create(media.data, w->error);
    tl_buffer_free(&media);
    return good;
}

static bool write_records(run_writer *w, tl_store *store, FILE *out) {
    items *history = new_items(w);
    return history && tl_wandb_log_begin(&w->log, out, w->error) && write_header(w) &&
           write_run(w) && write_tables(w, store, history) && write_history(w, history) &&
           write_summary(w, history) && write_stats(w) && write_end(w);
}

static bool write_cell(run_writer *w, tl_store *store, const char *out) {
    tl_cell_id(w->results, w->cell, w->id);
    if (!make_directory(w, out)) return false;
    tl_buffer path = {0};
    tl_buffer_append_format(&path, "%s/run-%s.wandb", w->directory.data, w->id);
    FILE *file = path.failed ? NULL : fopen(path.data, "wbe");
    bool good = file || tl_fail_errno(w->error, "%s: cannot create", tl_buffer_string(&path));
    if (file) {
        good = write_records(w, store, file);
        if (fclose(file) != 0 && good)
            good = tl_fail_errno(w->error, "%s: cannot write", path.data);
    }
    tl_buffer_free(&path);
    return good;
}

static bool export_cells(const tl_results *results, tl_store *store, const char *out,
                         const char *project, int *count, tl_error *error) {
    bool good = true;
    for (int i = 0; good && i < results->cell_count; i++) {
        if (tl_cell_waiting(&results->cells[i])) continue;
        run_writer w = {.results = results,
                        .cell = &results->cells[i],
                        .project = project,
                        .arena = tl_arena_new(),
                        .error = error};
        good = w.arena ? write_cell(&w, store, out) : tl_fail_memory(error, 0, "a W&B run");
        tl_arena_free(w.arena);
        tl_buffer_free(&w.directory);
        tl_buffer_free(&w.packed);
        if (good && count) (*count)++;
    }
    return good;
}

bool tl_export_wandb(const char *directory, const char *out, const char *project, int *count,
                     tl_error *error) {
    if (count) *count = 0;
    tl_results *results = tl_results_load_run(directory, error);
    if (!results) return false;
    bool good = export_cells(results, results->runs[0].store, out, project, count, error);
    tl_results_free(results);
    return good;
}
