/* Rows of a dataset's file: found once, checked once, parsed when asked for. */
#include "hub/parquet.h"
#include "task/csv.h"
#include "task/task.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

typedef struct span {
    size_t offset, length;
    int64_t line;
} span;

struct tl_rows {
    char *path;
    tl_mapping mapping;
    tl_buffer converted; /* rows as JSON, for formats that are not JSON */
    const char *text;    /* what the spans lie in: the mapping, or `converted` */
    span *spans;
    int64_t count, capacity, total, limit;
    char fingerprint[TL_HEX_SIZE];
};

/* Notes a row, unless the limit is reached; checks that it is a JSON object. */
static bool add_row(tl_rows *rows, const char *text, span s, tl_error *error) {
    rows->total++;
    if (rows->limit && rows->count == rows->limit) return true;
    cJSON *row = NULL;
    if (!tl_byte_order_mark(text + s.offset, s.length)) /* only a file may begin with one */
        row = tl_json_parse(text + s.offset, s.length, rows->path, error);
    bool object = cJSON_IsObject(row);
    cJSON_Delete(row);
    if (!row)
        return tl_fail(error, TL_ERROR_FORMAT, "%s:%lld: not a JSON object: '%.*s'", rows->path,
                       (long long)s.line, (int)(s.length < 40 ? s.length : 40), text + s.offset);
    if (!object)
        return tl_fail(error, TL_ERROR_FORMAT, "%s:%lld: expected a JSON object (one row)",
                       rows->path, (long long)s.line);
    if (rows->count == rows->capacity) {
        int64_t capacity = rows->capacity ? rows->capacity * 2 : 1024;
        span *spans = realloc(rows->spans, (size_t)capacity * sizeof *spans);
        if (!spans) return tl_fail_memory(error, (size_t)capacity * sizeof *spans, "rows");
        rows->spans = spans;
        rows->capacity = capacity;
    }
    rows->spans[rows->count++] = s;
    return true;
}

static bool is_blank(const char *text, size_t length) {
    while (length && (*text == ' ' || *text == '\t' || *text == '\r')) {
        text++;
        length--;
    }
    return length == 0;
}

/* One object a line; lines end at "\n" only, blank ones do not count. */
static bool read_jsonl(tl_rows *rows, const char *text, size_t size, tl_error *error) {
    int64_t line = 1;
    for (size_t at = 0; at < size; line++) {
        const char *newline = memchr(text + at, '\n', size - at);
        size_t length = newline ? (size_t)(newline - text) - at : size - at;
        size_t mark = at == 0 ? tl_byte_order_mark(text, length) : 0;
        span s = {at + mark, length - mark, line};
        if (!is_blank(text + s.offset, s.length) && !add_row(rows, text, s, error)) return false;
        at += length + 1;
    }
    return true;
}

/* The end of the value that begins at `at`: past its last bracket, or at the next comma or bracket
 * of the array. Brackets within strings do not count. */
static size_t end_of_value(const char *text, size_t size, size_t at, int64_t *line) {
    size_t depth = 0;
    for (bool quoted = false; at < size; at++) {
        char c = text[at];
        *line += c == '\n';
        if (quoted) {
            if (c == '\\' && at + 1 < size)
                at++;
            else if (c == '"')
                quoted = false;
        } else if (c == '"') {
            quoted = true;
        } else if (c == '{' || c == '[') {
            depth++;
        } else if (depth == 0 && (c == ',' || c == ']')) {
            return at;
        } else if ((c == '}' || c == ']') && (depth == 0 || --depth == 0)) {
            return at + 1;
        }
    }
    return size;
}

static size_t skip_space(const char *text, size_t size, size_t at, int64_t *line) {
    while (at < size &&
           (text[at] == ' ' || text[at] == '\t' || text[at] == '\r' || text[at] == '\n'))
        *line += text[at++] == '\n';
    return at;
}

/* An array of objects. */
static bool read_json(tl_rows *rows, const char *text, size_t size, tl_error *error) {
    int64_t line = 1;
    size_t at = skip_space(text, size, tl_byte_order_mark(text, size), &line);
    if (at == size || text[at] != '[')
        return tl_fail(error, TL_ERROR_FORMAT, "%s:%lld: expected a JSON array of rows", rows->path,
                       (long long)line);
    at = skip_space(text, size, at + 1, &line);
    bool more = at < size && text[at] != ']';
    while (more) {
        span s = {at, 0, line};
        at = end_of_value(text, size, at, &line);
        s.length = at - s.offset;
        if (!add_row(rows, text, s, error)) return false;
        at = skip_space(text, size, at, &line);
        more = at < size && text[at] == ',';
        if (more) at = skip_space(text, size, at + 1, &line);
    }
    if (at == size || text[at] != ']' || skip_space(text, size, at + 1, &line) != size)
        return tl_fail(error, TL_ERROR_FORMAT, "%s:%lld: expected ',' or the array's end",
                       rows->path, (long long)line);
    return true;
}

static bool read_csv(tl_rows *rows, const char *text, size_t size, tl_error *error) {
    tl_csv *csv = tl_csv_open(text, size, rows->path, error);
    if (!csv) return false;
    int status;
    bool ok = true;
    do {
        span s = {.offset = rows->converted.length};
        status = tl_csv_next(csv, &rows->converted, &s.line, error);
        s.length = rows->converted.length - s.offset;
        if (status > 0 && rows->converted.failed)
            ok = tl_fail_memory(error, rows->converted.length, "CSV rows");
        if (status > 0 && ok) ok = add_row(rows, rows->converted.data, s, error);
    } while (status > 0 && ok);
    tl_csv_free(csv);
    return ok && status == 0;
}

static bool append_parquet_row(tl_rows *rows, const cJSON *row, tl_error *error) {
    span s = {.offset = rows->converted.length, .line = rows->total + 1};
    char *text = cJSON_PrintUnformatted(row);
    if (text) tl_buffer_append_string(&rows->converted, text);
    free(text);
    if (!text || rows->converted.failed)
        return tl_fail_memory(error, rows->converted.length, "Parquet rows");
    s.length = rows->converted.length - s.offset;
    return add_row(rows, rows->converted.data, s, error);
}

/* For these the "line" of a row is its number. */
static bool read_parquet(tl_rows *rows, const char *text, size_t size, tl_error *error) {
    (void)text, (void)size;
    tl_parquet *parquet = tl_parquet_open(rows->path, error);
    cJSON *row = NULL;
    bool ok = parquet != NULL;
    while (ok && !(rows->limit && rows->count == rows->limit)) {
        ok = tl_parquet_next(parquet, &row, error);
        if (!ok || !row) break;
        ok = append_parquet_row(rows, row, error);
        cJSON_Delete(row);
    }
    if (ok) rows->total = tl_parquet_count(parquet);
    tl_parquet_free(parquet);
    return ok;
}

static const struct {
    const char *ending;
    bool (*read)(tl_rows *rows, const char *text, size_t size, tl_error *error);
} formats[] = {
    {".jsonl", read_jsonl}, {".ndjson", read_jsonl},    {".json", read_json},
    {".csv", read_csv},     {".parquet", read_parquet},
};

static bool read_rows(tl_rows *rows, tl_error *error) {
    const char *ending = strrchr(tl_path_base(rows->path), '.');
    const char *text = rows->mapping.size ? (const char *)rows->mapping.data : "";
    for (size_t i = 0; ending && i < sizeof formats / sizeof *formats; i++) {
        if (strcasecmp(ending, formats[i].ending) != 0) continue;
        if (!formats[i].read(rows, text, rows->mapping.size, error)) return false;
        rows->text = rows->converted.data ? rows->converted.data : text;
        if (rows->count == 0) return tl_fail(error, TL_ERROR_FORMAT, "%s: no rows", rows->path);
        return true;
    }
    return tl_fail(error, TL_ERROR_UNSUPPORTED,
                   "%s: unknown kind of file: expected .jsonl, .json, .csv or .parquet",
                   rows->path);
}

tl_rows *tl_rows_open(const char *path, int64_t limit, tl_error *error) {
    tl_rows *rows = calloc(1, sizeof *rows);
    if (rows) rows->path = strdup(path);
    if (!rows || !rows->path) {
        tl_fail_memory(error, sizeof *rows, "rows");
        tl_rows_free(rows);
        return NULL;
    }
    rows->limit = limit;
    if (tl_file_map(path, &rows->mapping, error)) {
        if (tl_sha256(rows->mapping.data, rows->mapping.size, rows->fingerprint) &&
            read_rows(rows, error))
            return rows;
    }
    tl_rows_free(rows);
    return NULL;
}

void tl_rows_free(tl_rows *rows) {
    if (!rows) return;
    tl_file_unmap(&rows->mapping);
    tl_buffer_free(&rows->converted);
    free(rows->spans);
    free(rows->path);
    free(rows);
}

int64_t tl_rows_count(const tl_rows *rows) {
    return rows->count;
}

int64_t tl_rows_total(const tl_rows *rows) {
    return rows->total;
}

const char *tl_rows_text(const tl_rows *rows, int64_t index, size_t *length) {
    *length = rows->spans[index].length;
    return rows->text + rows->spans[index].offset;
}

cJSON *tl_rows_parse(const tl_rows *rows, int64_t index, tl_error *error) {
    size_t length;
    const char *text = tl_rows_text(rows, index, &length);
    return tl_json_parse(text, length, rows->path, error);
}

int64_t tl_rows_line(const tl_rows *rows, int64_t index) {
    return rows->spans[index].line;
}

const char *tl_rows_path(const tl_rows *rows) {
    return rows->path;
}

const char *tl_rows_fingerprint(const tl_rows *rows) {
    return rows->fingerprint;
}
