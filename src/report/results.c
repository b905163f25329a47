#include "report/results.h"

#include "report/lmeval_read.h"
#include "report/published.h"
#include "study/names.h"
#include "tokenizer/utf8.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

tl_results *tl_results_new(tl_error *error) {
    tl_results *results = calloc(1, sizeof *results);
    if (results) results->arena = tl_arena_new();
    if (results && results->arena) return results;
    free(results);
    tl_fail_memory(error, sizeof *results, "results");
    return NULL;
}

void tl_results_free(tl_results *results) {
    if (!results) return;
    for (int i = 0; i < results->run_count; i++)
        tl_store_close(results->runs[i].store);
    tl_arena_free(results->arena);
    tl_buffer_free(&results->salvaged);
    free(results->runs);
    free(results->devices);
    free(results->cells);
    free(results);
}

/* Makes room for one more of `size` bytes in a growing array. */
static bool grow(void **items, int count, int *capacity, size_t size, tl_error *error) {
    if (count < *capacity) return true;
    int wanted = *capacity ? *capacity * 2 : 8;
    void *bigger = realloc(*items, (size_t)wanted * size);
    if (!bigger) return tl_fail_memory(error, (size_t)wanted * size, "results");
    *items = bigger;
    *capacity = wanted;
    return true;
}

/* A store is a file like others: what is no text in it becomes U+FFFD here, for all reports. */
const char *tl_results_string(tl_results *results, const char *text, tl_error *error) {
    size_t length = text ? strlen(text) : 0;
    if (length == 0) return "";
    if (tl_utf8_valid(text, length) == length)
        return tl_arena_strndup(results->arena, text, length, error);
    tl_buffer lossy = {0};
    tl_utf8_lossy(text, length, &lossy);
    const char *kept = lossy.failed ? NULL : tl_arena_strdup(results->arena, lossy.data, error);
    if (lossy.failed) tl_fail_memory(error, length, "a text");
    tl_buffer_free(&lossy);
    return kept;
}

/* Replaces each of the given borrowed strings by a copy in the arena. */
static bool keep_strings(tl_results *results, const char **strings[], int count, tl_error *error) {
    for (int i = 0; i < count; i++) {
        *strings[i] = tl_results_string(results, *strings[i], error);
        if (!*strings[i]) return false;
    }
    return true;
}

int tl_results_new_run(tl_results *results, const tl_result_run *run, tl_error *error) {
    if (!grow((void **)&results->runs, results->run_count, &results->run_capacity, sizeof *run,
              error))
        return -1;
    tl_result_run *kept = &results->runs[results->run_count];
    *kept = *run;
    const char **strings[] = {&kept->name, &kept->directory, &kept->facts};
    if (!keep_strings(results, strings, 3, error)) return -1;
    return results->run_count++;
}

int tl_results_new_device(tl_results *results, const tl_result_device *device, tl_error *error) {
    for (int i = 0; i < results->device_count; i++)
        if (strcmp(results->devices[i].fingerprint, device->fingerprint) == 0) return i;
    if (!grow((void **)&results->devices, results->device_count, &results->device_capacity,
              sizeof *device, error))
        return -1;
    tl_result_device *kept = &results->devices[results->device_count];
    *kept = *device;
    const char **strings[] = {&kept->fingerprint, &kept->name, &kept->facts};
    if (!keep_strings(results, strings, 3, error)) return -1;
    return results->device_count++;
}

tl_result_cell *tl_results_new_cell(tl_results *results, tl_error *error) {
    if (!grow((void **)&results->cells, results->cell_count, &results->cell_capacity,
              sizeof *results->cells, error))
        return NULL;
    tl_result_cell *cell = &results->cells[results->cell_count++];
    *cell = (tl_result_cell){.started = NAN, .finished = NAN};
    cell->model = (tl_store_model){"", "", "", "", "", 0};
    const char **strings[] = {&cell->task,   &cell->task_title, &cell->protocol,
                              &cell->dtype,  &cell->precision,  &cell->identity,
                              &cell->reason, &cell->memory_kind};
    for (size_t i = 0; i < sizeof strings / sizeof *strings; i++)
        *strings[i] = "";
    for (int i = 0; i < TL_MEASURE_COUNT; i++)
        cell->values[i] = NAN;
    return cell;
}

bool tl_cell_done(const tl_result_cell *cell) {
    return cell->verdict == TL_VERDICT_DONE;
}

bool tl_cell_waiting(const tl_result_cell *cell) {
    return cell->verdict == TL_VERDICT_PLANNED || cell->verdict == TL_VERDICT_RUNNING ||
           cell->verdict == TL_VERDICT_INTERRUPTED;
}

/* ---- counting ---- */

/* Sums over examples as they stream by. */
typedef struct tally {
    tl_buffer outcomes; /* tl_outcome each */
    int64_t *predicted, *golden;
    int labels;
    int64_t skipped, truncated, correct, correct_norm;
    double chance_sum, seconds_sum;
    int64_t timed;
    bool has_norm, failed;
} tally;

static bool widen(tally *t, int labels) {
    if (labels <= t->labels) return true;
    for (int pass = 0; pass < 2; pass++) {
        int64_t **counts = pass ? &t->golden : &t->predicted;
        int64_t *wider = realloc(*counts, (size_t)labels * sizeof *wider);
        if (!wider) return false;
        memset(wider + t->labels, 0, (size_t)(labels - t->labels) * sizeof *wider);
        *counts = wider;
    }
    t->labels = labels;
    return true;
}

static void count_outcome(tally *t, const tl_outcome *outcome, int choices) {
    if (!widen(t, choices)) {
        t->failed = true;
        return;
    }
    if (outcome->prediction >= 0 && outcome->prediction < choices)
        t->predicted[outcome->prediction]++;
    if (outcome->gold >= 0 && outcome->gold < choices) t->golden[outcome->gold]++;
    if (outcome->gold >= 0 && outcome->gold == outcome->prediction) t->correct++;
    if (outcome->prediction_norm >= 0) t->has_norm = true;
    if (outcome->gold >= 0 && outcome->gold == outcome->prediction_norm) t->correct_norm++;
    if (choices > 0) t->chance_sum += 1.0 / choices;
    if (!isnan(outcome->milliseconds)) t->timed++;
}

static int by_index(const void *a, const void *b) {
    int32_t left = ((const tl_outcome *)a)->index, right = ((const tl_outcome *)b)->index;
    return (left > right) - (left < right);
}

/* Moves what was counted into the cell. */
static bool settle(tl_results *results, tl_result_cell *cell, tally *t, tl_error *error) {
    cell->examples = (int64_t)(t->outcomes.length / sizeof(tl_outcome));
    cell->skipped = t->skipped;
    cell->truncated = t->truncated;
    cell->correct = t->correct;
    cell->correct_norm = t->correct_norm;
    cell->has_norm = t->has_norm;
    cell->labels = t->labels;
    if (t->failed || t->outcomes.failed) return tl_fail_memory(error, 0, "examples of a cell");
    size_t count = (size_t)cell->examples, labels = (size_t)t->labels;
    cell->outcomes = tl_arena_alloc(results->arena, count, sizeof(tl_outcome), "examples", error);
    cell->predicted = tl_arena_alloc(results->arena, labels, sizeof(int64_t), "labels", error);
    cell->golden = tl_arena_alloc(results->arena, labels, sizeof(int64_t), "labels", error);
    if (!cell->outcomes || !cell->predicted || !cell->golden) return false;
    if (labels) {
        memcpy(cell->predicted, t->predicted, labels * sizeof(int64_t));
        memcpy(cell->golden, t->golden, labels * sizeof(int64_t));
    }
    if (count == 0) return true;
    memcpy(cell->outcomes, t->outcomes.data, count * sizeof(tl_outcome));
    qsort(cell->outcomes, count, sizeof(tl_outcome), by_index);
    double n = (double)count;
    cell->chance = t->chance_sum / n;
    cell->values[TL_MEASURE_ACCURACY] = 100.0 * (double)t->correct / n;
    if (t->has_norm) cell->values[TL_MEASURE_ACCURACY_NORM] = 100.0 * (double)t->correct_norm / n;
    if (t->timed) cell->values[TL_MEASURE_TIME] = 1e3 * t->seconds_sum / (double)t->timed;
    return true;
}

static void tally_free(tally *t) {
    tl_buffer_free(&t->outcomes);
    free(t->predicted);
    free(t->golden);
}

bool tl_cell_count_outcomes(tl_results *results, tl_result_cell *cell, const int16_t *choices,
                            tl_error *error) {
    tally t = {0};
    for (int64_t i = 0; i < cell->examples; i++) {
        const tl_outcome *outcome = &cell->outcomes[i];
        count_outcome(&t, outcome, choices ? choices[i] : cell->labels);
        if (!isnan(outcome->milliseconds)) t.seconds_sum += outcome->milliseconds / 1e3;
        tl_buffer_append(&t.outcomes, outcome, sizeof *outcome);
    }
    t.skipped = cell->skipped;
    t.truncated = cell->truncated;
    bool good = settle(results, cell, &t, error);
    tally_free(&t);
    return good;
}

/* ---- a store ---- */

typedef struct reading {
    tl_results *results;
    tl_store *store;
    int run;
    int64_t *device_ids; /* of the store, by index - first_device */
    int *device_indices;
    int device_count;
    tally tally;
    tl_buffer measures; /* tl_raw_measure each */
    tl_error *error;
    bool failed;
} reading;

static bool take_device(void *context, int64_t id, const char *fingerprint, const char *name,
                        const char *facts) {
    reading *r = context;
    tl_result_device device = {fingerprint, name, facts};
    int index = tl_results_new_device(r->results, &device, r->error);
    int64_t *ids = realloc(r->device_ids, ((size_t)r->device_count + 1) * sizeof *ids);
    if (ids) r->device_ids = ids;
    int *indices = realloc(r->device_indices, ((size_t)r->device_count + 1) * sizeof *indices);
    if (indices) r->device_indices = indices;
    if (index < 0 || !ids || !indices) {
        r->failed = true;
        if (index >= 0) tl_fail_memory(r->error, 0, "devices");
        return false;
    }
    ids[r->device_count] = id;
    indices[r->device_count++] = index;
    return true;
}

static int device_index(const reading *r, int64_t id) {
    for (int i = 0; i < r->device_count; i++)
        if (r->device_ids[i] == id) return r->device_indices[i];
    return -1;
}

static bool take_cell(void *context, const tl_store_cell *row) {
    reading *r = context;
    tl_result_cell *cell = tl_results_new_cell(r->results, r->error);
    if (!cell) return !(r->failed = true);
    cell->run = r->run;
    cell->device = device_index(r, row->device);
    cell->store_id = row->id;
    cell->model = row->model;
    cell->task = row->task;
    cell->task_title = row->task_title && *row->task_title ? row->task_title : row->task;
    cell->protocol = tl_protocol_name(row->protocol);
    cell->dtype = row->dtype;
    cell->precision = row->precision;
    cell->shots = row->shots;
    cell->order = row->order;
    cell->identity = row->identity;
    cell->verdict = row->verdict;
    cell->reason = row->reason;
    cell->planned = row->examples;
    cell->started = row->started;
    cell->finished = row->finished;
    const char **strings[] = {
        &cell->model.name, &cell->model.id,   &cell->model.path, &cell->model.family,
        &cell->task,       &cell->task_title, &cell->protocol,   &cell->model.parameters_label,
        &cell->dtype,      &cell->precision,  &cell->identity,   &cell->reason};
    if (!keep_strings(r->results, strings, sizeof strings / sizeof *strings, r->error))
        return !(r->failed = true);
    if (cell->device >= 0) return true;
    tl_fail(r->error, TL_ERROR_FORMAT, "%s: a cell names a device that the store does not have",
            tl_store_directory(r->store));
    return !(r->failed = true);
}

static bool take_measure(void *context, const char *name, double value, const char *unit,
                         const char *note) {
    reading *r = context;
    tl_raw_measure measure = {name, unit, note, value};
    const char **strings[] = {&measure.name, &measure.unit, &measure.note};
    if (!keep_strings(r->results, strings, 3, r->error)) return !(r->failed = true);
    tl_buffer_append(&r->measures, &measure, sizeof measure);
    return true;
}

static int16_t small(int32_t label) {
    return label < 0 ? -1 : label > INT16_MAX ? INT16_MAX : (int16_t)label;
}

static bool take_example(void *context, const tl_example *example) {
    tally *t = &((reading *)context)->tally;
    if (example->skipped) {
        t->skipped++;
        return true;
    }
    if (example->index < 0 || example->index > INT32_MAX) return true;
    tl_outcome outcome = {
        .index = (int32_t)example->index,
        .gold = small(example->gold),
        .prediction = small(example->prediction),
        .prediction_norm =
            example->protocol == TL_PROTOCOL_LOGLIKELIHOOD ? small(example->prediction_norm) : -1,
        .milliseconds = (float)(example->forward_seconds * 1e3),
    };
    count_outcome(t, &outcome, small(example->n_choices));
    if (!isnan(outcome.milliseconds)) t->seconds_sum += example->forward_seconds;
    t->truncated += example->truncated;
    tl_buffer_append(&t->outcomes, &outcome, sizeof outcome);
    return true;
}

/* A value in bytes, seconds … as the tables want it. */
static double in_unit(const tl_raw_measure *measure, const char *wanted) {
    static const struct {
        const char *from, *to;
        double factor;
    } factors[] = {
        {"bytes", "GB", 1.0 / (1u << 30)},
        {"B", "GB", 1.0 / (1u << 30)},
        {"bytes", "MB", 1.0 / (1u << 20)},
        {"B", "MB", 1.0 / (1u << 20)},
        {"MB", "GB", 1.0 / 1024},
        {"GB", "MB", 1024},
        {"s", "ms", 1e3},
        {"mJ", "J", 1e-3},
    };
    for (size_t i = 0; i < sizeof factors / sizeof *factors; i++)
        if (strcmp(measure->unit, factors[i].from) == 0 && strcmp(wanted, factors[i].to) == 0)
            return measure->value * factors[i].factor;
    return measure->value;
}

static const tl_raw_measure *find_measure(const tl_result_cell *cell, const char *name) {
    for (int i = 0; i < cell->measure_count; i++)
        if (strcmp(cell->measures[i].name, name) == 0 && !isnan(cell->measures[i].value))
            return &cell->measures[i];
    return NULL;
}

/* Which of the store's measures fill the tables; the first that was measured counts. Accuracy
 * always comes from the examples, and time does where each was timed alone. */
static void take_values(tl_result_cell *cell) {
    static const struct {
        tl_measure measure;
        const char *names[4];
    } sources[] = {
        {TL_MEASURE_TIME, {"forward_ms_mean"}},
        {TL_MEASURE_MEMORY, {"peak_gpu_gb", "peak_rss_mb"}},
        {TL_MEASURE_SIZE, {"model_size_mb"}},
        {TL_MEASURE_ENERGY, {"energy_per_example_j"}},
    };
    for (size_t i = 0; i < sizeof sources / sizeof *sources; i++) {
        double *value = &cell->values[sources[i].measure];
        for (int k = 0; k < 4 && sources[i].names[k] && isnan(*value); k++) {
            const tl_raw_measure *found = find_measure(cell, sources[i].names[k]);
            if (!found) continue;
            *value = in_unit(found, tl_measure_get(sources[i].measure)->unit);
            if (sources[i].measure == TL_MEASURE_MEMORY) cell->memory_kind = found->name;
        }
    }
    const tl_raw_measure *swapping = find_measure(cell, "timed_while_swapping");
    cell->swapping = swapping && swapping->value > 0;
    const tl_raw_measure *rate = find_measure(cell, "examples_per_s");
    if (!isnan(cell->values[TL_MEASURE_TIME]) || !rate || !(rate->value > 0)) return;
    cell->values[TL_MEASURE_TIME] = 1e3 / rate->value;
    cell->shared_time = true;
}

static bool fill_cell(reading *r, tl_result_cell *cell) {
    r->tally = (tally){0};
    tl_buffer_clear(&r->measures);
    bool good = tl_store_each_measure(r->store, cell->store_id, take_measure, r, r->error) &&
                !r->failed &&
                tl_store_each_example(r->store, cell->store_id, take_example, r, r->error) &&
                settle(r->results, cell, &r->tally, r->error);
    tally_free(&r->tally);
    if (!good) return false;
    if (r->measures.failed) return tl_fail_memory(r->error, r->measures.length, "measures");
    cell->measure_count = (int)(r->measures.length / sizeof(tl_raw_measure));
    cell->measures = tl_arena_alloc(r->results->arena, (size_t)cell->measure_count,
                                    sizeof(tl_raw_measure), "measures", r->error);
    if (!cell->measures) return false;
    if (cell->measure_count) memcpy(cell->measures, r->measures.data, r->measures.length);
    take_values(cell);
    return true;
}

/* The facts a page shows, gathered into one JSON object. */
static bool gather_facts(tl_store *store, tl_buffer *facts) {
    static const char *const keys[] = {"command", "version", "started", "finished",
                                       "host",    "plan",    "options", "build"};
    tl_buffer_append_byte(facts, '{');
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        char *value = tl_store_fact(store, keys[i]);
        if (!value) continue;
        cJSON *parsed = cJSON_Parse(value);
        if (facts->length > 1) tl_buffer_append_byte(facts, ',');
        tl_buffer_append_format(facts, "\"%s\":", keys[i]);
        if (parsed)
            tl_buffer_append_string(facts, value);
        else
            tl_json_append_string(facts, value, strlen(value));
        cJSON_Delete(parsed);
        free(value);
    }
    tl_buffer_append_byte(facts, '}');
    return !facts->failed;
}

static bool read_store(reading *r, const char *operand) {
    tl_buffer facts = {0};
    bool good = gather_facts(r->store, &facts) || tl_fail_memory(r->error, 0, "facts");
    tl_result_run run = {TL_RUN_STORE, operand, operand, tl_buffer_string(&facts), r->store};
    r->run = good ? tl_results_new_run(r->results, &run, r->error) : -1;
    tl_buffer_free(&facts);
    if (r->run < 0) {
        tl_store_close(r->store); /* from here on the results own it */
        return false;
    }
    int first = r->results->cell_count;
    if (!tl_store_each_device(r->store, take_device, r, r->error) || r->failed) return false;
    if (!tl_store_each_cell(r->store, take_cell, r, r->error) || r->failed) return false;
    for (int i = first; i < r->results->cell_count; i++)
        if (!fill_cell(r, &r->results->cells[i])) return false;
    return true;
}

static tl_store *open_store(tl_results *results, const char *directory, tl_error *error) {
    if (!results->salvage) return tl_store_open(directory, false, error);
    tl_store_salvaged found = {0};
    tl_store *store = tl_store_salvage(directory, &found, error);
    if (store)
        tl_buffer_append_format(
            &results->salvaged, "%s: %lld cells, %lld examples, %lld measures could be read%s%s\n",
            directory, (long long)found.cells, (long long)found.examples, (long long)found.measures,
            found.complete ? "; nothing is damaged" : "; damaged: ", found.damaged);
    return store;
}

static bool add_store(tl_results *results, const char *operand, tl_error *error) {
    reading r = {.results = results, .error = error};
    r.store = open_store(results, operand, error);
    if (!r.store) return false;
    bool good = read_store(&r, operand);
    free(r.device_ids);
    free(r.device_indices);
    tl_buffer_free(&r.measures);
    return good;
}

bool tl_results_add(tl_results *results, const char *operand, tl_error *error) {
    if (strcmp(operand, "study") == 0) return tl_published_read(results, error);
    /* a run may have been exported into its own directory: its store comes first */
    char *store = tl_path_join(operand, "run.sqlite");
    bool is_run = store && tl_file_exists(store);
    free(store);
    if (!is_run && tl_lmeval_is_output(operand)) return tl_lmeval_read(results, operand, error);
    return add_store(results, operand, error);
}

/* ---- models of the same name ---- */

static int by_side(const void *a, const void *b) {
    const tl_result_cell *left = *(tl_result_cell *const *)a, *right = *(tl_result_cell *const *)b;
    if (left->run != right->run) return left->run - right->run;
    if (left->device != right->device) return left->device - right->device;
    int names = strcmp(left->model.name, right->model.name);
    return names ? names : strcmp(left->model.id, right->model.id);
}

static bool beside(const tl_result_cell *a, const tl_result_cell *b) {
    return a->run == b->run && a->device == b->device && strcmp(a->model.name, b->model.name) == 0;
}

/* Notes, for each id of cells that stand side by side under one name, how much of it they need. */
static bool note_parts(tl_result_cell *const *cells, int count, tl_map *parts, tl_error *error) {
    const char **ids = malloc(((size_t)count + 1) * sizeof *ids);
    if (!ids) return tl_fail_memory(error, (size_t)count * sizeof *ids, "names");
    int different = 0;
    for (int i = 0; i < count; i++)
        if (i == 0 || strcmp(cells[i]->model.id, cells[i - 1]->model.id) != 0)
            ids[different++] = cells[i]->model.id;
    bool good = true;
    for (int i = 0; good && different > 1 && i < different; i++) {
        uint64_t most = 0, needed = (uint64_t)tl_model_parts(ids[i], ids, different);
        tl_map_get(parts, ids[i], strlen(ids[i]), &most);
        good = needed <= most || tl_map_set(parts, ids[i], strlen(ids[i]), needed);
    }
    free(ids);
    return good || tl_fail_memory(error, 0, "names");
}

/* Two directories may end in the same name, as may models of two owners. Where both were run on a
 * device, they take as much of their ids as tells them apart, and so wherever they appear. */
static bool tell_apart(tl_results *results, tl_error *error) {
    int count = results->cell_count;
    tl_result_cell **cells = malloc(((size_t)count + 1) * sizeof *cells);
    tl_map *parts = tl_map_new(16);
    bool good = (cells && parts) || tl_fail_memory(error, (size_t)count * sizeof *cells, "names");
    for (int i = 0; good && i < count; i++)
        cells[i] = &results->cells[i];
    if (good) qsort(cells, (size_t)count, sizeof *cells, by_side);
    for (int first = 0, next; good && first < count; first = next) {
        for (next = first + 1; next < count && beside(cells[first], cells[next]);)
            next++;
        good = note_parts(cells + first, next - first, parts, error);
    }
    for (int i = 0; good && i < count; i++) {
        tl_store_model *model = &results->cells[i].model;
        uint64_t needed;
        if (tl_map_get(parts, model->id, strlen(model->id), &needed))
            model->name = tl_model_tail(model->id, (int)needed);
    }
    tl_map_free(parts);
    free(cells);
    return good;
}

tl_results *tl_results_load(const char *const *operands, int count, bool salvage, tl_error *error) {
    tl_results *results = tl_results_new(error);
    if (results) results->salvage = salvage;
    bool good = results != NULL;
    for (int i = 0; good && i < count; i++)
        good = tl_results_add(results, operands[i], error);
    if (good && tell_apart(results, error)) return results;
    tl_results_free(results);
    return NULL;
}

tl_results *tl_results_load_run(const char *directory, tl_error *error) {
    tl_results *results = tl_results_load(&directory, 1, false, error);
    if (!results || results->runs[0].store) return results;
    tl_fail(error, TL_ERROR_USAGE, "%s: expected the directory of a run", directory);
    tl_results_free(results);
    return NULL;
}
