/* The results as data: tidy CSV, and JSON with everything that is known. The page reads the same
 * JSON. */
#include "report/tables.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { BINS = 24 };

void tl_csv_append(tl_buffer *out, const char *text) {
    bool formula = *text && strchr("=+@\t\r", *text);
    if (!formula && !strpbrk(text, ",\"\r\n")) {
        tl_buffer_append_string(out, text);
        return;
    }
    tl_buffer_append_byte(out, '"');
    if (formula) tl_buffer_append_byte(out, '\'');
    for (; *text; text++) {
        if (*text == '"') tl_buffer_append_byte(out, '"');
        tl_buffer_append_byte(out, *text);
    }
    tl_buffer_append_byte(out, '"');
}

/* ---- CSV ---- */

static void csv_row(const tl_tables *tables, const tl_result_cell *cell, const char *measure,
                    double value, const char *unit, const char *note, tl_buffer *out) {
    const tl_results *results = tables->results;
    const char *const fields[] = {results->runs[cell->run].name,
                                  results->devices[cell->device].name,
                                  cell->model.name,
                                  cell->model.id,
                                  cell->model.family,
                                  cell->model.parameters_label,
                                  cell->task,
                                  cell->protocol,
                                  cell->dtype,
                                  cell->precision};
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        tl_csv_append(out, fields[i]);
        tl_buffer_append_byte(out, ',');
    }
    tl_buffer_append_format(out, "%d,%s,", cell->shots, tl_verdict_name(cell->verdict));
    tl_csv_append(out, cell->reason);
    tl_buffer_append_byte(out, ',');
    tl_csv_append(out, measure);
    tl_buffer_append_byte(out, ',');
    if (isfinite(value))
        tl_json_append_double(out, value);
    else if (!tl_cell_waiting(cell))
        tl_buffer_append_string(out, "nan");
    tl_buffer_append_byte(out, ',');
    tl_csv_append(out, unit);
    tl_buffer_append_byte(out, ',');
    tl_csv_append(out, note);
    tl_buffer_append_byte(out, '\n');
}

static void csv_cell(const tl_tables *tables, int index, tl_buffer *out) {
    const tl_result_cell *cell = &tables->results->cells[index];
    const tl_cell_meaning *meaning = &tables->meanings[index];
    for (int m = 0; m < TL_MEASURE_COUNT; m++) {
        const tl_measure_traits *traits = tl_measure_get((tl_measure)m);
        if (m >= TL_STUDY_TABLES && isnan(cell->values[m])) continue;
        const char *note = m == TL_MEASURE_MEMORY ? cell->memory_kind : "";
        if (m == TL_MEASURE_TIME && cell->shared_time) note = "computed together";
        if (m == TL_MEASURE_TIME && cell->swapping) note = "timed while swapping";
        csv_row(tables, cell, traits->key, cell->values[m], traits->unit, note, out);
    }
    if (cell->examples) {
        const struct {
            const char *name;
            double value;
            const char *unit;
        } more[] = {
            {"examples", (double)cell->examples, "count"},
            {"correct", (double)cell->correct, "count"},
            {"skipped", (double)cell->skipped, "count"},
            {"truncated", (double)cell->truncated, "count"},
            {"accuracy_standard_error", 100 * meaning->standard_error, "%"},
            {"accuracy_low", 100 * meaning->low, "%"},
            {"accuracy_high", 100 * meaning->high, "%"},
            {"chance", 100 * cell->chance, "%"},
            {"majority", 100 * meaning->majority, "%"},
            {"p_chance", meaning->p_chance, "1"},
            {"collapsed", meaning->collapsed, "1"},
        };
        for (size_t i = 0; i < sizeof more / sizeof *more; i++)
            csv_row(tables, cell, more[i].name, more[i].value, more[i].unit, "", out);
    }
    for (int i = 0; i < cell->measure_count; i++) {
        char name[128];
        snprintf(name, sizeof name, "run.%s", cell->measures[i].name);
        csv_row(tables, cell, name, cell->measures[i].value, cell->measures[i].unit,
                cell->measures[i].note, out);
    }
}

bool tl_tables_csv(const tl_tables *tables, tl_buffer *out, tl_error *error) {
    tl_buffer_append_string(out, "run,device,model,model_id,family,parameters,task,protocol,dtype,"
                                 "precision,shots,verdict,reason,measure,value,unit,note\n");
    for (int i = 0; i < tables->results->cell_count; i++)
        csv_cell(tables, i, out);
    return !out->failed || tl_fail_memory(error, out->length, "the tables");
}

/* ---- JSON ---- */

static void counts_field(tl_buffer *out, const char *name, const int64_t *counts, int count) {
    tl_json_open(out, name, '[');
    for (int i = 0; counts && i < count; i++)
        tl_json_put_int(out, NULL, counts[i]);
    tl_buffer_append_byte(out, ']');
}

/* Already JSON in the store; checked again, since a store is a file like others. */
static void json_field(tl_buffer *out, const char *name, const char *json) {
    cJSON *parsed = *json ? cJSON_Parse(json) : NULL;
    char *text = parsed ? cJSON_PrintUnformatted(parsed) : NULL;
    tl_json_put_name(out, name);
    tl_buffer_append_string(out, text ? text : "null");
    cJSON_free(text);
    cJSON_Delete(parsed);
}

/* Times from the least to the 99th percentile in equal bins; the last also counts those beyond. */
static void append_histogram(tl_buffer *out, const tl_result_cell *cell, const tl_summary *times) {
    int64_t bins[BINS] = {0};
    double span = times->p99 - times->least;
    for (int64_t i = 0; i < cell->examples; i++) {
        double value = (double)cell->outcomes[i].milliseconds;
        if (isnan(value)) continue;
        int bin = span > 0 ? (int)fmin((value - times->least) / span * BINS, BINS - 1) : 0;
        bins[bin < 0 ? 0 : bin]++;
    }
    counts_field(out, "histogram", bins, BINS);
}

static void append_times(tl_buffer *out, const tl_result_cell *cell, const tl_summary *times) {
    tl_json_open(out, "milliseconds", '{');
    tl_json_put_int(out, "n", times->n);
    if (times->n) {
        tl_json_put_double(out, "mean", times->mean);
        tl_json_put_double(out, "deviation", times->deviation);
        tl_json_put_double(out, "least", times->least);
        tl_json_put_double(out, "median", times->median);
        tl_json_put_double(out, "p90", times->p90);
        tl_json_put_double(out, "p99", times->p99);
        tl_json_put_double(out, "most", times->most);
        append_histogram(out, cell, times);
    }
    tl_buffer_append_byte(out, '}');
}

static void append_model(tl_buffer *out, const tl_store_model *model) {
    tl_json_open(out, "model", '{');
    tl_json_put_string(out, "name", model->name);
    tl_json_put_string(out, "id", model->id);
    tl_json_put_string(out, "family", model->family);
    tl_json_put_string(out, "parameters_label", model->parameters_label);
    tl_json_put_int(out, "parameters", model->parameters);
    tl_buffer_append_byte(out, '}');
}

static void append_meaning(tl_buffer *out, const tl_result_cell *cell,
                           const tl_cell_meaning *meaning) {
    tl_json_open(out, "meaning", '{');
    tl_json_put_double(out, "standard_error", 100 * meaning->standard_error);
    tl_json_put_double(out, "low", 100 * meaning->low);
    tl_json_put_double(out, "high", 100 * meaning->high);
    tl_json_put_double(out, "chance", cell->examples ? 100 * cell->chance : NAN);
    tl_json_put_double(out, "majority", 100 * meaning->majority);
    tl_json_put_double(out, "p_chance", meaning->p_chance);
    tl_json_put_bool(out, "like_chance", meaning->like_chance);
    tl_json_put_bool(out, "collapsed", meaning->collapsed);
    tl_buffer_append_byte(out, '}');
}

static void append_measures(tl_buffer *out, const tl_result_cell *cell) {
    tl_json_open(out, "values", '{');
    for (int m = 0; m < TL_MEASURE_COUNT; m++)
        tl_json_put_double(out, tl_measure_get((tl_measure)m)->key, cell->values[m]);
    tl_buffer_append_byte(out, '}');
    tl_json_open(out, "measures", '[');
    for (int i = 0; i < cell->measure_count; i++) {
        const tl_raw_measure *measure = &cell->measures[i];
        tl_json_open(out, NULL, '{');
        tl_json_put_string(out, "name", measure->name);
        tl_json_put_double(out, "value", measure->value);
        tl_json_put_string(out, "unit", measure->unit);
        tl_json_put_string(out, "note", measure->note);
        tl_buffer_append_byte(out, '}');
    }
    tl_buffer_append_byte(out, ']');
}

static void append_cell(const tl_tables *tables, int index, tl_buffer *out) {
    const tl_result_cell *cell = &tables->results->cells[index];
    tl_json_open(out, NULL, '{');
    tl_json_put_int(out, "run", cell->run);
    tl_json_put_int(out, "device", cell->device);
    append_model(out, &cell->model);
    tl_json_put_string(out, "task", cell->task);
    tl_json_put_string(out, "task_title", cell->task_title);
    tl_json_put_string(out, "protocol", cell->protocol);
    tl_json_put_string(out, "dtype", cell->dtype);
    tl_json_put_string(out, "precision", cell->precision);
    tl_json_put_int(out, "shots", cell->shots);
    tl_json_put_string(out, "verdict", tl_verdict_name(cell->verdict));
    tl_json_put_string(out, "reason", cell->reason);
    tl_json_put_bool(out, "done", tl_cell_done(cell));
    tl_json_put_bool(out, "waiting", tl_cell_waiting(cell));
    tl_json_put_double(out, "started", cell->started);
    tl_json_put_double(out, "finished", cell->finished);
    tl_json_put_int(out, "planned", cell->planned);
    tl_json_put_int(out, "n", cell->examples);
    tl_json_put_int(out, "correct", cell->correct);
    tl_json_put_int(out, "skipped", cell->skipped);
    tl_json_put_int(out, "truncated", cell->truncated);
    tl_json_put_string(out, "memory_kind", cell->memory_kind);
    tl_json_put_bool(out, "shared_time", cell->shared_time);
    tl_json_put_bool(out, "timed_while_swapping", cell->swapping);
    append_measures(out, cell);
    tl_json_put_bool(out, "best", tables->best[index]);
    append_meaning(out, cell, &tables->meanings[index]);
    counts_field(out, "predicted", cell->predicted, cell->labels);
    counts_field(out, "gold", cell->golden, cell->labels);
    append_times(out, cell, &tables->meanings[index].milliseconds);
    json_field(out, "identity", cell->identity);
    tl_buffer_append_byte(out, '}');
}

static void append_ranking(const tl_ranking *ranking, const char *task, tl_buffer *out) {
    tl_json_open(out, NULL, '{');
    tl_json_put_string(out, "task", task);
    tl_json_open(out, "order", '[');
    for (int i = 0; i < ranking->count; i++) {
        tl_json_open(out, NULL, '{');
        tl_json_put_int(out, "cell", ranking->cells[i]);
        tl_json_put_int(out, "group", ranking->group[i]);
        tl_buffer_append_byte(out, '}');
    }
    tl_buffer_append_byte(out, ']');
    tl_json_open(out, "pairs", '[');
    for (int i = 0; i < ranking->pair_count; i++) {
        const tl_model_pair *pair = &ranking->pairs[i];
        tl_json_open(out, NULL, '{');
        tl_json_put_int(out, "a", pair->a);
        tl_json_put_int(out, "b", pair->b);
        tl_json_put_int(out, "n", pair->both);
        tl_json_put_int(out, "only_a", pair->only_a);
        tl_json_put_int(out, "only_b", pair->only_b);
        tl_json_put_double(out, "p", pair->p);
        tl_json_put_double(out, "p_holm", pair->p_holm);
        tl_buffer_append_byte(out, '}');
    }
    tl_buffer_append_string(out, "]}");
}

static void append_averages(const tl_tables *tables, const tl_table_group *group, int model,
                            tl_buffer *out) {
    tl_json_open(out, "averages", '{');
    for (int m = 0; m < TL_MEASURE_COUNT; m++)
        tl_json_put_double(out, tl_measure_get((tl_measure)m)->key,
                           tl_tables_average(tables, group, model, (tl_measure)m));
    tl_buffer_append_byte(out, '}');
}

static void append_group(const tl_tables *tables, const tl_table_group *group, tl_buffer *out) {
    tl_json_open(out, NULL, '{');
    tl_json_put_string(out, "title", group->title);
    tl_json_put_int(out, "run", group->run);
    tl_json_put_int(out, "device", group->device);
    tl_json_put_string(out, "protocol", group->protocol);
    tl_json_put_string(out, "dtype", group->dtype);
    tl_json_put_string(out, "precision", group->precision);
    tl_json_put_int(out, "shots", group->shots);
    tl_json_open(out, "tasks", '[');
    for (int i = 0; i < group->task_count; i++) {
        tl_json_open(out, NULL, '{');
        tl_json_put_string(out, "name", group->tasks[i].name);
        tl_json_put_string(out, "title", group->tasks[i].title);
        tl_buffer_append_byte(out, '}');
    }
    tl_buffer_append_byte(out, ']');
    tl_json_open(out, "rows", '[');
    for (int model = 0; model < group->model_count; model++) {
        tl_json_open(out, NULL, '{');
        append_model(out, &tables->results->cells[group->models[model]].model);
        tl_json_open(out, "cells", '[');
        for (int task = 0; task < group->task_count; task++) {
            int cell = group->cells[model * group->task_count + task];
            tl_json_put_name(out, NULL);
            if (cell < 0)
                tl_buffer_append_string(out, "null");
            else
                tl_buffer_append_format(out, "%d", cell);
        }
        tl_buffer_append_byte(out, ']');
        append_averages(tables, group, model, out);
        tl_buffer_append_byte(out, '}');
    }
    tl_buffer_append_byte(out, ']');
    tl_json_open(out, "rankings", '[');
    for (int task = 0; task < group->task_count; task++)
        append_ranking(&group->rankings[task], group->tasks[task].name, out);
    tl_buffer_append_string(out, "]}");
}

static void append_run(const tl_result_run *run, tl_buffer *out) {
    static const char *const kinds[] = {
        [TL_RUN_STORE] = "store", [TL_RUN_PUBLISHED] = "published", [TL_RUN_HARNESS] = "harness"};
    tl_json_open(out, NULL, '{');
    tl_json_put_string(out, "name", run->name);
    tl_json_put_string(out, "kind", kinds[run->kind]);
    json_field(out, "facts", run->facts);
    tl_buffer_append_byte(out, '}');
}

static void append_measure_traits(tl_buffer *out) {
    tl_json_open(out, "measures", '[');
    for (int m = 0; m < TL_MEASURE_COUNT; m++) {
        const tl_measure_traits *traits = tl_measure_get((tl_measure)m);
        tl_json_open(out, NULL, '{');
        tl_json_put_string(out, "key", traits->key);
        tl_json_put_string(out, "title", traits->title);
        tl_json_put_string(out, "unit", traits->unit);
        tl_json_put_int(out, "decimals", traits->decimals);
        tl_json_put_bool(out, "more_is_better", traits->more_is_better);
        tl_buffer_append_byte(out, '}');
    }
    tl_buffer_append_byte(out, ']');
}

bool tl_tables_json(const tl_tables *tables, tl_buffer *out, tl_error *error) {
    const tl_results *results = tables->results;
    tl_buffer_append_string(out, "{\"format\":\"tinyllm-report-1\"");
    append_measure_traits(out);
    tl_json_open(out, "runs", '[');
    for (int i = 0; i < results->run_count; i++)
        append_run(&results->runs[i], out);
    tl_buffer_append_byte(out, ']');
    tl_json_open(out, "devices", '[');
    for (int i = 0; i < results->device_count; i++) {
        tl_json_open(out, NULL, '{');
        tl_json_put_string(out, "name", results->devices[i].name);
        json_field(out, "facts", results->devices[i].facts);
        tl_buffer_append_byte(out, '}');
    }
    tl_buffer_append_byte(out, ']');
    tl_json_open(out, "cells", '[');
    for (int i = 0; i < results->cell_count; i++)
        append_cell(tables, i, out);
    tl_buffer_append_byte(out, ']');
    tl_json_open(out, "groups", '[');
    for (int i = 0; i < tables->group_count; i++)
        append_group(tables, &tables->groups[i], out);
    tl_buffer_append_string(out, "]}\n");
    return !out->failed || tl_fail_memory(error, out->length, "the report");
}
