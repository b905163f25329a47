/* Comparisons as Markdown, CSV and JSON, and the examples on which sides differ. */
#include "report/compare.h"
#include "report/tables.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { EXCERPT = 160 };

static void append_number(tl_buffer *out, double value, const char *format, const char *unknown) {
    if (isnan(value))
        tl_buffer_append_string(out, unknown);
    else
        tl_buffer_append_format(out, format, value);
}

/* A name inside a Markdown table. */
static void append_name(tl_buffer *out, const char *text) {
    for (; *text; text++) {
        if (*text == '|' || *text == '\\' || *text == '`') tl_buffer_append_byte(out, '\\');
        tl_buffer_append_byte(out, (unsigned char)*text < 0x20 ? ' ' : *text);
    }
}

/* ---- examples that differ ---- */

/* A question's text is read again from whichever side has a store; only what will be shown is kept.
 */
typedef struct excerpt {
    int32_t index;
    int16_t gold, base, other;
    char text[EXCERPT + 4];
} excerpt;

typedef struct excerpts {
    excerpt *items;
    int count;
} excerpts;

static bool is_letter_protocol(const char *protocol) {
    return strcmp(protocol, "loglikelihood") != 0;
}

/* The beginning of a text, on one line. */
static void copy_line(char *to, const char *text) {
    size_t used = 0;
    for (; *text && used < EXCERPT; text++)
        to[used++] = (unsigned char)*text < 0x20 ? ' ' : *text;
    if (((unsigned char)*text & 0xc0) == 0x80) { /* no half characters */
        while (used > 0 && ((unsigned char)to[used - 1] & 0xc0) == 0x80)
            used--;
        if (used > 0) used--;
    }
    strcpy(to + used, *text ? "…" : "");
}

static bool take_text(void *context, const tl_example *example) {
    excerpts *wanted = context;
    for (int i = 0; i < wanted->count; i++)
        if (wanted->items[i].index == example->index)
            copy_line(wanted->items[i].text, example->document ? example->document : "");
    return true;
}

static bool find_texts(const tl_results *results, const tl_compared *row, excerpts *wanted,
                       tl_error *error) {
    const int sides[] = {row->base, row->other};
    for (int i = 0; i < 2; i++) {
        const tl_result_cell *cell = &results->cells[sides[i]];
        const tl_result_run *run = &results->runs[cell->run];
        if (run->store)
            return tl_store_each_example(run->store, cell->store_id, take_text, wanted, error);
    }
    return true;
}

static bool find_excerpts(const tl_results *results, const tl_compared *row, int64_t limit,
                          excerpts *found, tl_error *error) {
    const tl_result_cell *a = &results->cells[row->base], *b = &results->cells[row->other];
    int64_t most = row->differ < limit ? row->differ : limit;
    *found = (excerpts){calloc((size_t)most + 1, sizeof(excerpt)), 0};
    if (!found->items) return tl_fail_memory(error, (size_t)most * sizeof(excerpt), "examples");
    for (int64_t i = 0, k = 0; i < a->examples && k < b->examples && found->count < most;) {
        const tl_outcome *left = &a->outcomes[i], *right = &b->outcomes[k];
        if (left->index == right->index && left->prediction != right->prediction)
            found->items[found->count++] =
                (excerpt){left->index, left->gold, left->prediction, right->prediction, ""};
        int32_t at = left->index;
        i += at <= right->index;
        k += right->index <= at;
    }
    return found->count == 0 || find_texts(results, row, found, error);
}

/* "B" for the letter protocols, "2" (from 1) for choices scored by likelihood. */
static void append_label(tl_buffer *out, int label, bool letters) {
    if (label < 0)
        tl_buffer_append_string(out, "none");
    else if (letters && label < 26)
        tl_buffer_append_byte(out, (char)('A' + label));
    else
        tl_buffer_append_format(out, "%d", label + 1);
}

/* ---- Markdown ---- */

static void markdown_row(const tl_results *results, const tl_compared *row, tl_buffer *out) {
    const tl_result_cell *a = &results->cells[row->base], *b = &results->cells[row->other];
    tl_buffer_append_string(out, "| ");
    append_name(out, b->model.name);
    tl_buffer_append_string(out, " | ");
    append_name(out, b->task_title);
    tl_buffer_append_format(out, " | %s", b->protocol);
    tl_buffer_append_format(out, strcmp(a->dtype, b->dtype) ? " | %s → %s" : " | %s", a->dtype,
                            b->dtype);
    const tl_result_cell *const cells[] = {a, b};
    for (int i = 0; i < 2; i++) {
        tl_buffer_append_string(out, " | ");
        append_number(out, tl_cell_done(cells[i]) ? cells[i]->values[TL_MEASURE_ACCURACY] : NAN,
                      "%.2f", tl_cell_waiting(cells[i]) ? "…" : "nan");
    }
    tl_buffer_append_string(out, " | ");
    append_number(out, row->accuracy_difference, "%+.2f", "");
    tl_buffer_append_string(out, !row->known ? " | " : row->agrees ? " | yes" : " | no");
    if (row->known && a->examples && b->examples && a->examples != b->examples)
        tl_buffer_append_format(out, " (n %lld, %lld)", (long long)a->examples,
                                (long long)b->examples);
    tl_buffer_append_string(out, " | ");
    if (row->both)
        tl_buffer_append_format(out, "%lld of %lld", (long long)row->differ, (long long)row->both);
    tl_buffer_append_string(out, " | ");
    append_number(out, row->p, "%.3g", "");
    tl_buffer_append_string(out, " | ");
    append_number(out, row->speed_up, "%.2f ×", "");
    tl_buffer_append_string(out, " | ");
    append_number(out, row->memory_ratio, "%.2f ×", "");
    tl_buffer_append_string(out, " |\n");
}

static void markdown_summary(const tl_comparison *item, tl_buffer *out) {
    int known = 0, agree = 0, timed = 0;
    double difference = 0, log_speed = 0;
    for (int i = 0; i < item->count; i++) {
        const tl_compared *row = &item->rows[i];
        known += row->known;
        agree += row->known && row->agrees;
        if (row->known) difference += row->accuracy_difference;
        if (isnan(row->speed_up)) continue;
        timed++;
        log_speed += log(row->speed_up);
    }
    tl_buffer_append_format(out, "\n%d cells compared; accuracy agrees exactly in %d", known,
                            agree);
    if (known) tl_buffer_append_format(out, "; mean difference %+.2f points", difference / known);
    if (timed)
        tl_buffer_append_format(out, "; speed-up %.2f × (geometric mean)", exp(log_speed / timed));
    tl_buffer_append_string(out, ".\n");
}

static void markdown_alone(const tl_results *results, const char *side, const int *cells, int count,
                           tl_buffer *out) {
    if (!count) return;
    tl_buffer_append_string(out, "\nOnly in ");
    append_name(out, side);
    tl_buffer_append_string(out, ":");
    for (int i = 0; i < count; i++) {
        const tl_result_cell *cell = &results->cells[cells[i]];
        tl_buffer_append_string(out, i ? ", " : " ");
        append_name(out, cell->model.name);
        tl_buffer_append_format(out, " on %s (%s)", cell->task_title, cell->protocol);
    }
    tl_buffer_append_string(out, ".\n");
}

static bool markdown_examples(const tl_results *results, const tl_comparison *item, int64_t limit,
                              tl_buffer *out, tl_error *error) {
    for (int i = 0; i < item->count; i++) {
        const tl_compared *row = &item->rows[i];
        if (!row->differ) continue;
        const tl_result_cell *cell = &results->cells[row->other];
        bool letters = is_letter_protocol(cell->protocol);
        excerpts found;
        if (!find_excerpts(results, row, limit, &found, error)) {
            free(found.items);
            return false;
        }
        tl_buffer_append_string(out, "\n## ");
        append_name(out, cell->model.name);
        tl_buffer_append_format(out, " on %s: %lld differ\n\n", cell->task_title,
                                (long long)row->differ);
        for (int k = 0; k < found.count; k++) {
            const excerpt *e = &found.items[k];
            tl_buffer_append_format(out, "- %d: gold ", e->index);
            append_label(out, e->gold, letters);
            tl_buffer_append_string(out, ", base ");
            append_label(out, e->base, letters);
            tl_buffer_append_string(out, ", here ");
            append_label(out, e->other, letters);
            tl_buffer_append_string(out, ": ");
            append_name(out, e->text);
            tl_buffer_append_byte(out, '\n');
        }
        free(found.items);
    }
    return true;
}

static bool write_markdown(const tl_comparisons *comparisons, int64_t examples, tl_buffer *out,
                           tl_error *error) {
    const tl_results *results = comparisons->results;
    for (int i = 0; i < comparisons->count; i++) {
        const tl_comparison *item = &comparisons->items[i];
        tl_buffer_append_string(out, i ? "\n# " : "# ");
        append_name(out, item->other.title);
        tl_buffer_append_string(out, " against ");
        append_name(out, item->base.title);
        tl_buffer_append_string(
            out, "\n\n| Model | Task | Protocol | dtype | Accuracy of base (%) | Accuracy (%) | "
                 "Difference | Agrees | Answers that differ | p | Speed-up | Memory |\n"
                 "| :--- | :--- | :--- | :--- | ---: | ---: | ---: | :--- | ---: | ---: | ---: | "
                 "---: |\n");
        for (int k = 0; k < item->count; k++)
            markdown_row(results, &item->rows[k], out);
        markdown_summary(item, out);
        markdown_alone(results, item->base.title, item->only_base, item->only_base_count, out);
        markdown_alone(results, item->other.title, item->only_other, item->only_other_count, out);
        if (examples && !markdown_examples(results, item, examples, out, error)) return false;
    }
    return true;
}

/* ---- CSV and JSON ---- */

typedef struct field {
    const char *name;
    double value;
} field;

enum { FIELDS = 16 };

static int number_fields(const tl_results *results, const tl_compared *row, field fields[FIELDS]) {
    const tl_result_cell *a = &results->cells[row->base], *b = &results->cells[row->other];
    const field all[FIELDS] = {
        {"base_accuracy", a->values[TL_MEASURE_ACCURACY]},
        {"accuracy", b->values[TL_MEASURE_ACCURACY]},
        {"accuracy_difference", row->accuracy_difference},
        {"agrees", row->known ? row->agrees : NAN},
        {"base_examples", (double)a->examples},
        {"examples", (double)b->examples},
        {"both", (double)row->both},
        {"differ", (double)row->differ},
        {"p", row->p},
        {"base_inference_time_ms", a->values[TL_MEASURE_TIME]},
        {"inference_time_ms", b->values[TL_MEASURE_TIME]},
        {"speed_up", row->speed_up},
        {"base_peak_memory_gb", a->values[TL_MEASURE_MEMORY]},
        {"peak_memory_gb", b->values[TL_MEASURE_MEMORY]},
        {"memory_ratio", row->memory_ratio},
        {"size_ratio", row->size_ratio},
    };
    memcpy(fields, all, sizeof all);
    return FIELDS;
}

static void write_csv(const tl_comparisons *comparisons, tl_buffer *out) {
    const tl_results *results = comparisons->results;
    tl_buffer_append_string(out, "base,other,model,task,protocol,base_dtype,dtype,base_accuracy,"
                                 "accuracy,accuracy_difference,agrees,base_examples,examples,both,"
                                 "differ,p,base_inference_time_ms,inference_time_ms,speed_up,"
                                 "base_peak_memory_gb,peak_memory_gb,memory_ratio,size_ratio\n");
    for (int i = 0; i < comparisons->count; i++) {
        const tl_comparison *item = &comparisons->items[i];
        for (int k = 0; k < item->count; k++) {
            const tl_result_cell *a = &results->cells[item->rows[k].base];
            const tl_result_cell *b = &results->cells[item->rows[k].other];
            const char *const texts[] = {item->base.title, item->other.title, b->model.name,
                                         b->task,          b->protocol,       a->dtype,
                                         b->dtype};
            for (int t = 0; t < 7; t++) {
                if (t) tl_buffer_append_byte(out, ',');
                tl_csv_append(out, texts[t]);
            }
            field fields[FIELDS];
            int count = number_fields(results, &item->rows[k], fields);
            for (int f = 0; f < count; f++) {
                tl_buffer_append_byte(out, ',');
                if (!isnan(fields[f].value)) tl_json_append_double(out, fields[f].value);
            }
            tl_buffer_append_byte(out, '\n');
        }
    }
}

static bool json_examples(const tl_results *results, const tl_compared *row, int64_t limit,
                          tl_buffer *out, tl_error *error) {
    excerpts found = {0};
    bool good = !row->differ || find_excerpts(results, row, limit, &found, error);
    tl_json_open(out, "examples", '[');
    for (int i = 0; good && i < found.count; i++) {
        const excerpt *e = &found.items[i];
        tl_json_open(out, NULL, '{');
        tl_json_put_int(out, "index", e->index);
        tl_json_put_int(out, "gold", e->gold);
        tl_json_put_int(out, "base", e->base);
        tl_json_put_int(out, "other", e->other);
        tl_json_put_string(out, "row", e->text);
        tl_buffer_append_byte(out, '}');
    }
    tl_buffer_append_byte(out, ']');
    free(found.items);
    return good;
}

static void json_alone(const tl_results *results, const char *key, const int *cells, int count,
                       tl_buffer *out) {
    tl_json_open(out, key, '[');
    for (int i = 0; i < count; i++) {
        const tl_result_cell *cell = &results->cells[cells[i]];
        tl_json_open(out, NULL, '{');
        tl_json_put_string(out, "model", cell->model.name);
        tl_json_put_string(out, "task", cell->task);
        tl_json_put_string(out, "protocol", cell->protocol);
        tl_json_put_string(out, "verdict", tl_verdict_name(cell->verdict));
        tl_buffer_append_byte(out, '}');
    }
    tl_buffer_append_byte(out, ']');
}

static bool json_row(const tl_results *results, const tl_compared *row, int64_t examples,
                     tl_buffer *out, tl_error *error) {
    const tl_result_cell *a = &results->cells[row->base], *b = &results->cells[row->other];
    tl_json_open(out, NULL, '{');
    tl_json_put_string(out, "model", b->model.name);
    tl_json_put_string(out, "task", b->task);
    tl_json_put_string(out, "protocol", b->protocol);
    tl_json_put_string(out, "base_dtype", a->dtype);
    tl_json_put_string(out, "dtype", b->dtype);
    tl_json_put_string(out, "base_verdict", tl_verdict_name(a->verdict));
    tl_json_put_string(out, "verdict", tl_verdict_name(b->verdict));
    field fields[FIELDS];
    int count = number_fields(results, row, fields);
    for (int f = 0; f < count; f++) {
        if (strcmp(fields[f].name, "agrees") == 0 && row->known)
            tl_json_put_bool(out, fields[f].name, row->agrees);
        else
            tl_json_put_double(out, fields[f].name, fields[f].value);
    }
    if (examples && !json_examples(results, row, examples, out, error)) return false;
    tl_buffer_append_byte(out, '}');
    return true;
}

static bool write_json(const tl_comparisons *comparisons, int64_t examples, tl_buffer *out,
                       tl_error *error) {
    const tl_results *results = comparisons->results;
    tl_buffer_append_string(out, "{\"format\":\"tinyllm-compare-1\",\"comparisons\":[");
    for (int i = 0; i < comparisons->count; i++) {
        const tl_comparison *item = &comparisons->items[i];
        tl_json_open(out, NULL, '{');
        tl_json_put_string(out, "base", item->base.title);
        tl_json_put_string(out, "other", item->other.title);
        tl_json_open(out, "cells", '[');
        for (int k = 0; k < item->count; k++)
            if (!json_row(results, &item->rows[k], examples, out, error)) return false;
        tl_buffer_append_byte(out, ']');
        json_alone(results, "only_base", item->only_base, item->only_base_count, out);
        json_alone(results, "only_other", item->only_other, item->only_other_count, out);
        tl_buffer_append_byte(out, '}');
    }
    tl_buffer_append_string(out, "]}\n");
    return true;
}

bool tl_compare_write(const tl_comparisons *comparisons, const char *format, int64_t examples,
                      tl_buffer *out, tl_error *error) {
    if (strcmp(format, "md") == 0) {
        if (!write_markdown(comparisons, examples, out, error)) return false;
    } else if (strcmp(format, "csv") == 0) {
        write_csv(comparisons, out);
    } else if (strcmp(format, "json") == 0) {
        if (!write_json(comparisons, examples, out, error)) return false;
    } else {
        return tl_fail(error, TL_ERROR_USAGE, "unknown format '%s': expected md, csv or json",
                       format);
    }
    return !out->failed || tl_fail_memory(error, out->length, "the comparison");
}
