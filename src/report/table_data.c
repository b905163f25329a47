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

static void key(tl_buffer *out, const char *name) {
    char last = out->length ? out->data[out->length - 1] : 0;
    if (last != '{' && last != '[' && last != ',' && last != 0) tl_buffer_append_byte(out, ',');
    tl_buffer_append_format(out, "\"%s\":", name);
}

static void text_field(tl_buffer *out, const char *name, const char *value) {
    key(out, name);
    tl_json_append_string(out, value, strlen(value));
}

static void number_field(tl_buffer *out, const char *name, double value) {
    key(out, name);
    tl_json_append_double(out, value);
}

static void count_field(tl_buffer *out, const char *name, int64_t value) {
    key(out, name);
    tl_buffer_append_format(out, "%lld", (long long)value);
}

static void bool_field(tl_buffer *out, const char *name, bool value) {
    key(out, name);
    tl_buffer_append_string(out, value ? "true" : "false");
}

static void counts_field(tl_buffer *out, const char *name, const int64_t *counts, int count) {
    key(out, name);
    tl_buffer_append_byte(out, '[');
    for (int i = 0; counts && i < count; i++)
        tl_buffer_append_format(out, "%s%lld", i ? "," : "", (long long)counts[i]);
    tl_buffer_append_byte(out, ']');
}

/* Already JSON in the store; checked again, since a store is a file like others. */
static void json_field(tl_buffer *out, const char *name, const char *json) {
    cJSON *parsed = *json ? cJSON_Parse(json) : NULL;
    char *text = parsed ? cJSON_PrintUnformatted(parsed) : NULL;
    key(out, name);
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
    key(out, "milliseconds");
    tl_buffer_append_byte(out, '{');
    count_field(out, "n", times->n);
    if (times->n) {
        number_field(out, "mean", times->mean);
        number_field(out, "deviation", times->deviation);
        number_field(out, "least", times->least);
        number_field(out, "median", times->median);
        number_field(out, "p90", times->p90);
        number_field(out, "p99", times->p99);
        number_field(out, "most", times->most);
        append_histogram(out, cell, times);
    }
    tl_buffer_append_byte(out, '}');
}

static void append_model(tl_buffer *out, const tl_store_model *model) {
    key(out, "model");
    tl_buffer_append_byte(out, '{');
    text_field(out, "name", model->name);
    text_field(out, "id", model->id);
    text_field(out, "family", model->family);
    text_field(out, "parameters_label", model->parameters_label);
    count_field(out, "parameters", model->parameters);
    tl_buffer_append_byte(out, '}');
}

static void append_meaning(tl_buffer *out, const tl_result_cell *cell,
                           const tl_cell_meaning *meaning) {
    key(out, "meaning");
    tl_buffer_append_byte(out, '{');
    number_field(out, "standard_error", 100 * meaning->standard_error);
    number_field(out, "low", 100 * meaning->low);
    number_field(out, "high", 100 * meaning->high);
    number_field(out, "chance", cell->examples ? 100 * cell->chance : NAN);
    number_field(out, "majority", 100 * meaning->majority);
    number_field(out, "p_chance", meaning->p_chance);
    bool_field(out, "like_chance", meaning->like_chance);
    bool_field(out, "collapsed", meaning->collapsed);
    tl_buffer_append_byte(out, '}');
}

static void append_measures(tl_buffer *out, const tl_result_cell *cell) {
    key(out, "values");
    tl_buffer_append_byte(out, '{');
    for (int m = 0; m < TL_MEASURE_COUNT; m++)
        number_field(out, tl_measure_get((tl_measure)m)->key, cell->values[m]);
    tl_buffer_append_byte(out, '}');
    key(out, "measures");
    tl_buffer_append_byte(out, '[');
    for (int i = 0; i < cell->measure_count; i++) {
        const tl_raw_measure *measure = &cell->measures[i];
        tl_buffer_append_string(out, i ? ",{" : "{");
        text_field(out, "name", measure->name);
        number_field(out, "value", measure->value);
        text_field(out, "unit", measure->unit);
        text_field(out, "note", measure->note);
        tl_buffer_append_byte(out, '}');
    }
    tl_buffer_append_byte(out, ']');
}

static void append_cell(const tl_tables *tables, int index, tl_buffer *out) {
    const tl_result_cell *cell = &tables->results->cells[index];
    tl_buffer_append_byte(out, '{');
    count_field(out, "run", cell->run);
    count_field(out, "device", cell->device);
    append_model(out, &cell->model);
    text_field(out, "task", cell->task);
    text_field(out, "task_title", cell->task_title);
    text_field(out, "protocol", cell->protocol);
    text_field(out, "dtype", cell->dtype);
    text_field(out, "precision", cell->precision);
    count_field(out, "shots", cell->shots);
    text_field(out, "verdict", tl_verdict_name(cell->verdict));
    text_field(out, "reason", cell->reason);
    bool_field(out, "done", tl_cell_done(cell));
    bool_field(out, "waiting", tl_cell_waiting(cell));
    number_field(out, "started", cell->started);
    number_field(out, "finished", cell->finished);
    count_field(out, "planned", cell->planned);
    count_field(out, "n", cell->examples);
    count_field(out, "correct", cell->correct);
    count_field(out, "skipped", cell->skipped);
    count_field(out, "truncated", cell->truncated);
    text_field(out, "memory_kind", cell->memory_kind);
    bool_field(out, "shared_time", cell->shared_time);
    bool_field(out, "timed_while_swapping", cell->swapping);
    append_measures(out, cell);
    bool_field(out, "best", tables->best[index]);
    append_meaning(out, cell, &tables->meanings[index]);
    counts_field(out, "predicted", cell->predicted, cell->labels);
    counts_field(out, "gold", cell->golden, cell->labels);
    append_times(out, cell, &tables->meanings[index].milliseconds);
    json_field(out, "identity", cell->identity);
    tl_buffer_append_byte(out, '}');
}

static void append_ranking(const tl_ranking *ranking, const char *task, tl_buffer *out) {
    tl_buffer_append_byte(out, '{');
    text_field(out, "task", task);
    key(out, "order");
    tl_buffer_append_byte(out, '[');
    for (int i = 0; i < ranking->count; i++)
        tl_buffer_append_format(out, "%s{\"cell\":%d,\"group\":%d}", i ? "," : "",
                                ranking->cells[i], ranking->group[i]);
    tl_buffer_append_byte(out, ']');
    key(out, "pairs");
    tl_buffer_append_byte(out, '[');
    for (int i = 0; i < ranking->pair_count; i++) {
        const tl_model_pair *pair = &ranking->pairs[i];
        tl_buffer_append_string(out, i ? ",{" : "{");
        count_field(out, "a", pair->a);
        count_field(out, "b", pair->b);
        count_field(out, "n", pair->both);
        count_field(out, "only_a", pair->only_a);
        count_field(out, "only_b", pair->only_b);
        number_field(out, "p", pair->p);
        number_field(out, "p_holm", pair->p_holm);
        tl_buffer_append_byte(out, '}');
    }
    tl_buffer_append_string(out, "]}");
}

static void append_averages(const tl_tables *tables, const tl_table_group *group, int model,
                            tl_buffer *out) {
    key(out, "averages");
    tl_buffer_append_byte(out, '{');
    for (int m = 0; m < TL_MEASURE_COUNT; m++)
        number_field(out, tl_measure_get((tl_measure)m)->key,
                     tl_tables_average(tables, group, model, (tl_measure)m));
    tl_buffer_append_byte(out, '}');
}

static void append_group(const tl_tables *tables, const tl_table_group *group, tl_buffer *out) {
    tl_buffer_append_byte(out, '{');
    text_field(out, "title", group->title);
    count_field(out, "run", group->run);
    count_field(out, "device", group->device);
    text_field(out, "protocol", group->protocol);
    text_field(out, "dtype", group->dtype);
    text_field(out, "precision", group->precision);
    count_field(out, "shots", group->shots);
    key(out, "tasks");
    tl_buffer_append_byte(out, '[');
    for (int i = 0; i < group->task_count; i++) {
        tl_buffer_append_string(out, i ? ",{" : "{");
        text_field(out, "name", group->tasks[i].name);
        text_field(out, "title", group->tasks[i].title);
        tl_buffer_append_byte(out, '}');
    }
    tl_buffer_append_byte(out, ']');
    key(out, "rows");
    tl_buffer_append_byte(out, '[');
    for (int model = 0; model < group->model_count; model++) {
        tl_buffer_append_string(out, model ? ",{" : "{");
        append_model(out, &tables->results->cells[group->models[model]].model);
        key(out, "cells");
        tl_buffer_append_byte(out, '[');
        for (int task = 0; task < group->task_count; task++) {
            int cell = group->cells[model * group->task_count + task];
            if (task) tl_buffer_append_byte(out, ',');
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
    key(out, "rankings");
    tl_buffer_append_byte(out, '[');
    for (int task = 0; task < group->task_count; task++) {
        if (task) tl_buffer_append_byte(out, ',');
        append_ranking(&group->rankings[task], group->tasks[task].name, out);
    }
    tl_buffer_append_string(out, "]}");
}

static void append_run(const tl_result_run *run, tl_buffer *out) {
    static const char *const kinds[] = {
        [TL_RUN_STORE] = "store", [TL_RUN_PUBLISHED] = "published", [TL_RUN_HARNESS] = "harness"};
    tl_buffer_append_byte(out, '{');
    text_field(out, "name", run->name);
    text_field(out, "kind", kinds[run->kind]);
    json_field(out, "facts", run->facts);
    tl_buffer_append_byte(out, '}');
}

static void append_measure_traits(tl_buffer *out) {
    key(out, "measures");
    tl_buffer_append_byte(out, '[');
    for (int m = 0; m < TL_MEASURE_COUNT; m++) {
        const tl_measure_traits *traits = tl_measure_get((tl_measure)m);
        tl_buffer_append_string(out, m ? ",{" : "{");
        text_field(out, "key", traits->key);
        text_field(out, "title", traits->title);
        text_field(out, "unit", traits->unit);
        count_field(out, "decimals", traits->decimals);
        bool_field(out, "more_is_better", traits->more_is_better);
        tl_buffer_append_byte(out, '}');
    }
    tl_buffer_append_byte(out, ']');
}

bool tl_tables_json(const tl_tables *tables, tl_buffer *out, tl_error *error) {
    const tl_results *results = tables->results;
    tl_buffer_append_string(out, "{\"format\":\"tinyllm-report-1\"");
    append_measure_traits(out);
    key(out, "runs");
    tl_buffer_append_byte(out, '[');
    for (int i = 0; i < results->run_count; i++) {
        if (i) tl_buffer_append_byte(out, ',');
        append_run(&results->runs[i], out);
    }
    tl_buffer_append_byte(out, ']');
    key(out, "devices");
    tl_buffer_append_byte(out, '[');
    for (int i = 0; i < results->device_count; i++) {
        tl_buffer_append_string(out, i ? ",{" : "{");
        text_field(out, "name", results->devices[i].name);
        json_field(out, "facts", results->devices[i].facts);
        tl_buffer_append_byte(out, '}');
    }
    tl_buffer_append_byte(out, ']');
    key(out, "cells");
    tl_buffer_append_byte(out, '[');
    for (int i = 0; i < results->cell_count; i++) {
        if (i) tl_buffer_append_byte(out, ',');
        append_cell(tables, i, out);
    }
    tl_buffer_append_byte(out, ']');
    key(out, "groups");
    tl_buffer_append_byte(out, '[');
    for (int i = 0; i < tables->group_count; i++) {
        if (i) tl_buffer_append_byte(out, ',');
        append_group(tables, &tables->groups[i], out);
    }
    tl_buffer_append_string(out, "]}\n");
    return !out->failed || tl_fail_memory(error, out->length, "the report");
}
