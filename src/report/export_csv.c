/* CSV: the cells, and every example. */
#include "report/export.h"
#include "report/load.h"
#include "report/tables.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

typedef struct writer {
    FILE *out;
    const tl_results *results;
    const tl_result_cell *cell;
    tl_buffer line;
} writer;

static void field(tl_buffer *line, const char *text) {
    if (line->length) tl_buffer_append_byte(line, ',');
    tl_csv_append(line, text ? text : "");
}

static void number(tl_buffer *line, double value) {
    tl_buffer_append_byte(line, ',');
    if (!isnan(value)) tl_json_append_double(line, value);
}

static void integer(tl_buffer *line, int64_t value) {
    tl_buffer_append_format(line, ",%lld", (long long)value);
}

/* The choices as a JSON array of strings, the scores as one of numbers. */
static void lists(tl_buffer *line, const tl_example *example) {
    tl_buffer texts = {0}, scores = {0};
    for (int i = 0; i < example->n_choices; i++) {
        const char *choice = example->choices ? example->choices[i] : "";
        tl_buffer_append_byte(&texts, i ? ',' : '[');
        tl_json_append_string(&texts, choice, strlen(choice));
        tl_buffer_append_byte(&scores, i ? ',' : '[');
        tl_json_append_double(&scores, example->scores ? example->scores[i] : NAN);
    }
    if (example->n_choices > 0) {
        tl_buffer_append_byte(&texts, ']');
        tl_buffer_append_byte(&scores, ']');
    }
    field(line, tl_buffer_string(&scores));
    field(line, tl_buffer_string(&texts));
    line->failed |= texts.failed || scores.failed;
    tl_buffer_free(&texts);
    tl_buffer_free(&scores);
}

static bool take_example(void *context, const tl_example *example) {
    writer *w = context;
    const tl_result_cell *cell = w->cell;
    tl_buffer *line = &w->line;
    tl_buffer_clear(line);
    field(line, w->results->devices[cell->device].name);
    field(line, cell->model.name);
    field(line, cell->task);
    field(line, cell->protocol);
    field(line, cell->dtype);
    integer(line, cell->shots);
    integer(line, example->index);
    integer(line, example->gold);
    integer(line, example->prediction);
    integer(line, example->prediction_norm);
    integer(line, example->gold >= 0 && example->gold == example->prediction);
    number(line, example->forward_seconds * 1e3);
    number(line, example->total_seconds * 1e3);
    integer(line, example->tokens_computed);
    integer(line, example->truncated);
    field(line, example->skipped);
    lists(line, example);
    field(line, example->prompt);
    tl_buffer_append_byte(line, '\n');
    return !line->failed && fwrite(line->data, 1, line->length, w->out) == line->length;
}

static bool write_examples(const tl_results *results, const char *path, tl_error *error) {
    writer w = {.out = fopen(path, "wbe"), .results = results};
    bool good = w.out || tl_fail_errno(error, "%s: cannot create", path);
    if (good)
        fputs("device,model,task,protocol,dtype,shots,row,gold,prediction,prediction_norm,correct,"
              "forward_ms,total_ms,tokens_computed,truncated,skipped,scores,choices,prompt\n",
              w.out);
    for (int i = 0; good && i < results->cell_count; i++) {
        w.cell = &results->cells[i];
        good = tl_store_each_example(results->runs[0].store, w.cell->store_id, take_example, &w,
                                     error);
        if (good && w.line.failed) good = tl_fail_memory(error, w.line.length, "an example");
        if (good && ferror(w.out)) good = tl_fail_errno(error, "%s: cannot write", path);
    }
    if (w.out && fclose(w.out) != 0 && good) good = tl_fail_errno(error, "%s: cannot write", path);
    tl_buffer_free(&w.line);
    return good;
}

static bool write_cells(tl_results *results, const char *path, tl_error *error) {
    tl_tables tables;
    tl_buffer text = {0};
    bool good = tl_tables_make(results, &tables, error) && tl_tables_csv(&tables, &text, error) &&
                tl_file_write(path, text.data, text.length, error);
    tl_buffer_free(&text);
    return good;
}

bool tl_export_csv(const char *directory, const char *out, tl_error *error) {
    tl_results *results = tl_results_load_run(directory, error);
    tl_buffer cells = {0}, examples = {0};
    tl_buffer_append_format(&cells, "%s/cells.csv", out);
    tl_buffer_append_format(&examples, "%s/examples.csv", out);
    bool good = results != NULL;
    if (good && (cells.failed || examples.failed)) good = tl_fail_memory(error, 0, "a path");
    good = good && tl_dir_create(out, error) && write_cells(results, cells.data, error) &&
           write_examples(results, examples.data, error);
    tl_buffer_free(&cells);
    tl_buffer_free(&examples);
    tl_results_free(results);
    return good;
}
