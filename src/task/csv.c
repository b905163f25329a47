#include "task/csv.h"

#include <stdlib.h>
#include <string.h>

enum { MOST_COLUMNS = 1024 };

struct tl_csv {
    const char *at, *end, *where;
    int64_t line;
    char **columns;
    int n_columns;
};

static bool ends_record(const tl_csv *csv) {
    return csv->at == csv->end || *csv->at == '\n' ||
           (*csv->at == '\r' && csv->at + 1 < csv->end && csv->at[1] == '\n');
}

static void skip_line_end(tl_csv *csv) {
    if (csv->at < csv->end && *csv->at == '\r') csv->at++;
    if (csv->at < csv->end && *csv->at == '\n') {
        csv->at++;
        csv->line++;
    }
}

/* Reads one field into `field`; `at` ends at the comma or the record's end. */
static bool read_field(tl_csv *csv, tl_buffer *field, tl_error *error) {
    tl_buffer_clear(field);
    if (csv->at == csv->end || *csv->at != '"') {
        while (!ends_record(csv) && *csv->at != ',') {
            if (*csv->at == 0)
                return tl_fail(error, TL_ERROR_FORMAT, "%s:%lld: a NUL byte", csv->where,
                               (long long)csv->line);
            tl_buffer_append_byte(field, *csv->at++);
        }
        return true;
    }
    int64_t line = csv->line;
    for (csv->at++; csv->at < csv->end; csv->at++) {
        if (*csv->at == '"') {
            if (csv->at + 1 == csv->end || csv->at[1] != '"') break;
            csv->at++;
        }
        csv->line += *csv->at == '\n';
        if (*csv->at) tl_buffer_append_byte(field, *csv->at);
    }
    if (csv->at == csv->end)
        return tl_fail(error, TL_ERROR_FORMAT, "%s:%lld: a quote is not closed", csv->where,
                       (long long)line);
    csv->at++;
    if (!ends_record(csv) && *csv->at != ',')
        return tl_fail(error, TL_ERROR_FORMAT, "%s:%lld: expected a comma after the closing quote",
                       csv->where, (long long)csv->line);
    return true;
}

/* Steps over the comma after a field; false at the record's end, whose line end it takes. */
static bool more_fields(tl_csv *csv) {
    if (csv->at < csv->end && *csv->at == ',') {
        csv->at++;
        return true;
    }
    skip_line_end(csv);
    return false;
}

static bool read_header(tl_csv *csv, tl_error *error) {
    tl_buffer field = {0};
    bool ok = true, more = true;
    while (ok && more) {
        ok = read_field(csv, &field, error);
        if (ok && field.length == 0)
            ok = tl_fail(error, TL_ERROR_FORMAT, "%s:1: column %d has no name", csv->where,
                         csv->n_columns + 1);
        for (int i = 0; i < csv->n_columns && ok; i++)
            if (strcmp(csv->columns[i], field.data) == 0)
                ok = tl_fail(error, TL_ERROR_FORMAT, "%s:1: column '%s' is given twice", csv->where,
                             field.data);
        if (ok && csv->n_columns == MOST_COLUMNS)
            ok = tl_fail(error, TL_ERROR_LIMIT, "%s:1: more than %d columns", csv->where,
                         MOST_COLUMNS);
        if (!ok) break;
        csv->columns[csv->n_columns] = strdup(field.data);
        ok =
            csv->columns[csv->n_columns] != NULL || tl_fail_memory(error, field.length, "a column");
        csv->n_columns += ok;
        more = ok && more_fields(csv);
    }
    tl_buffer_free(&field);
    return ok;
}

tl_csv *tl_csv_open(const char *text, size_t length, const char *where, tl_error *error) {
    size_t mark = tl_byte_order_mark(text, length);
    text += mark;
    length -= mark;
    tl_csv *csv = calloc(1, sizeof *csv);
    char **columns = calloc(MOST_COLUMNS, sizeof *columns);
    if (!csv || !columns) {
        free(csv);
        free(columns);
        tl_fail_memory(error, MOST_COLUMNS * sizeof *columns, "CSV columns");
        return NULL;
    }
    *csv =
        (tl_csv){.at = text, .end = text + length, .where = where, .line = 1, .columns = columns};
    if (read_header(csv, error)) return csv;
    tl_csv_free(csv);
    return NULL;
}

void tl_csv_free(tl_csv *csv) {
    if (!csv) return;
    for (int i = 0; i < csv->n_columns; i++)
        free(csv->columns[i]);
    free(csv->columns);
    free(csv);
}

int tl_csv_next(tl_csv *csv, tl_buffer *json, int64_t *line, tl_error *error) {
    while (csv->at < csv->end && ends_record(csv))
        skip_line_end(csv);
    if (csv->at == csv->end) return 0;
    *line = csv->line;
    tl_buffer field = {0};
    int n = 0;
    bool ok = true, more = true;
    tl_buffer_append_byte(json, '{');
    while (ok && more) {
        ok = read_field(csv, &field, error);
        if (!ok) break;
        if (n < csv->n_columns) {
            if (n) tl_buffer_append_string(json, ", ");
            tl_json_append_string(json, csv->columns[n], strlen(csv->columns[n]));
            tl_buffer_append_string(json, ": ");
            tl_json_append_string(json, tl_buffer_string(&field), field.length);
        }
        n++;
        more = more_fields(csv);
    }
    tl_buffer_append_byte(json, '}');
    tl_buffer_free(&field);
    if (ok && n != csv->n_columns)
        ok = tl_fail(error, TL_ERROR_FORMAT, "%s:%lld: %d fields where the header has %d",
                     csv->where, (long long)*line, n, csv->n_columns);
    return ok ? 1 : -1;
}
