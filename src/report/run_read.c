#include "report/run_read.h"

#include "report/tally.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct reading {
    tl_results *results;
    tl_store *store;
    int run;
    int64_t *device_ids; /* of the store, by index - first_device */
    int *device_indices;
    int device_count;
    tl_tally tally;
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
    if (!tl_results_keep(r->results, strings, sizeof strings / sizeof *strings, r->error))
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
    if (!tl_results_keep(r->results, strings, 3, r->error)) return !(r->failed = true);
    tl_buffer_append(&r->measures, &measure, sizeof measure);
    return true;
}

static int16_t small(int32_t label) {
    return label < 0 ? -1 : label > INT16_MAX ? INT16_MAX : (int16_t)label;
}

static bool take_example(void *context, const tl_example *example) {
    tl_tally *t = &((reading *)context)->tally;
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
    tl_tally_add(t, &outcome, small(example->n_choices), example->forward_seconds);
    t->truncated += example->truncated;
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
    r->tally = (tl_tally){0};
    tl_buffer_clear(&r->measures);
    bool good = tl_store_each_measure(r->store, cell->store_id, take_measure, r, r->error) &&
                !r->failed &&
                tl_store_each_example(r->store, cell->store_id, take_example, r, r->error) &&
                tl_tally_settle(&r->tally, r->results, cell, r->error);
    tl_tally_free(&r->tally);
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

static bool read_store(reading *r, const char *directory) {
    tl_buffer facts = {0};
    bool good = gather_facts(r->store, &facts) || tl_fail_memory(r->error, 0, "facts");
    tl_result_run run = {TL_RUN_STORE, directory, directory, tl_buffer_string(&facts), r->store};
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

bool tl_run_is_store(const char *directory) {
    char *path = tl_path_join(directory, "run.sqlite");
    bool there = path && tl_file_exists(path);
    free(path);
    return there;
}

bool tl_run_read(tl_results *results, const char *directory, tl_error *error) {
    reading r = {.results = results, .error = error};
    r.store = open_store(results, directory, error);
    if (!r.store) return false;
    bool good = read_store(&r, directory);
    free(r.device_ids);
    free(r.device_indices);
    tl_buffer_free(&r.measures);
    return good;
}
