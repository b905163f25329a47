#include "base/json.h"

#include "base/file.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

static int line_of(const char *text, const char *at) {
    int line = 1;
    for (; text < at; text++)
        line += *text == '\n';
    return line;
}

/* Where a "\u" lacks its four hexadecimal digits, or `end`: cJSON would read a zero there. */
static const char *broken_escape(const char *text, const char *end) {
    for (const char *at = text; (at = memchr(at, '\\', (size_t)(end - at))); at += 2) {
        if (end - at < 2) return at;
        for (int i = 2; at[1] == 'u' && i < 6; i++)
            if (end - at <= i || !isxdigit((unsigned char)at[i])) return at;
    }
    return end;
}

cJSON *tl_json_parse(const char *text, size_t length, const char *where, tl_error *error) {
    size_t mark = tl_byte_order_mark(text, length);
    text += mark;
    length -= mark;
    const char *end = text, *limit = text + length;
    cJSON *document = NULL;
    if (!tl_byte_order_mark(text, length)) /* cJSON would skip a second one */
        document = cJSON_ParseWithLengthOpts(text, length, &end, false);
    const char *broken = document ? broken_escape(text, limit) : limit;
    if (broken != limit) {
        end = broken;
    } else if (document) {
        while (end < limit && strchr(" \t\r\n", *end) && *end)
            end++;
        if (end == limit) return document;
    }
    cJSON_Delete(document);
    if (!end || end > limit) end = limit;
    if (memchr(text, 0, length) == end && end < limit)
        tl_fail(error, TL_ERROR_FORMAT, "%s:%d: not JSON: a NUL byte", where, line_of(text, end));
    else
        tl_fail(error, TL_ERROR_FORMAT, "%s:%d: not JSON: near '%.*s'", where, line_of(text, end),
                (int)(limit - end > 24 ? 24 : limit - end), end);
    return NULL;
}

cJSON *tl_json_read(const char *path, size_t limit, tl_error *error) {
    size_t length;
    char *text = tl_file_read(path, limit, &length, error);
    if (!text) return NULL;
    cJSON *document = tl_json_parse(text, length, path, error);
    free(text);
    return document;
}

const cJSON *tl_json_get(const cJSON *object, const char *field) {
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, field);
    return item && !cJSON_IsNull(item) ? item : NULL;
}

bool tl_json_int(const cJSON *object, const char *field, int64_t lowest, int64_t highest,
                 int64_t *value, const char *where, tl_error *error) {
    const cJSON *item = tl_json_get(object, field);
    if (!item)
        return tl_fail(error, TL_ERROR_FORMAT, "%s: field '%s' is missing: expected an integer",
                       where, field);
    double number = item->valuedouble;
    if (!cJSON_IsNumber(item) || number != floor(number))
        return tl_fail(error, TL_ERROR_FORMAT, "%s: field '%s': expected an integer", where, field);
    if (number < (double)lowest || number > (double)highest)
        return tl_fail(error, TL_ERROR_FORMAT, "%s: field '%s' is %.0f: expected %lld to %lld",
                       where, field, number, (long long)lowest, (long long)highest);
    *value = (int64_t)number;
    return true;
}

bool tl_json_int_or(const cJSON *object, const char *field, int64_t fallback, int64_t lowest,
                    int64_t highest, int64_t *value, const char *where, tl_error *error) {
    if (tl_json_get(object, field))
        return tl_json_int(object, field, lowest, highest, value, where, error);
    *value = fallback;
    return true;
}

bool tl_json_double_or(const cJSON *object, const char *field, double fallback, double *value,
                       const char *where, tl_error *error) {
    const cJSON *item = tl_json_get(object, field);
    *value = item ? item->valuedouble : fallback;
    if (item && (!cJSON_IsNumber(item) || !isfinite(*value)))
        return tl_fail(error, TL_ERROR_FORMAT, "%s: field '%s': expected a number", where, field);
    return true;
}

bool tl_json_bool_or(const cJSON *object, const char *field, bool fallback, bool *value,
                     const char *where, tl_error *error) {
    const cJSON *item = tl_json_get(object, field);
    *value = item ? cJSON_IsTrue(item) : fallback;
    if (item && !cJSON_IsBool(item))
        return tl_fail(error, TL_ERROR_FORMAT, "%s: field '%s': expected true or false", where,
                       field);
    return true;
}

bool tl_json_string_or(const cJSON *object, const char *field, const char *fallback,
                       const char **value, const char *where, tl_error *error) {
    const cJSON *item = tl_json_get(object, field);
    *value = item ? cJSON_GetStringValue(item) : fallback;
    if (item && !*value)
        return tl_fail(error, TL_ERROR_FORMAT, "%s: field '%s': expected a string", where, field);
    return true;
}

void tl_json_append_string(tl_buffer *out, const char *text, size_t length) {
    tl_buffer_append_byte(out, '"');
    const char *end = text + length;
    while (text < end) {
        unsigned char c = (unsigned char)*text;
        if (c == '"' || c == '\\') {
            tl_buffer_append_byte(out, '\\');
            tl_buffer_append_byte(out, *text++);
        } else if (c == '\n' || c == '\r' || c == '\t') {
            tl_buffer_append_string(out, c == '\n' ? "\\n" : c == '\r' ? "\\r" : "\\t");
            text++;
        } else if (c < 0x20) {
            tl_buffer_append_format(out, "\\u%04x", c);
            text++;
        } else if (c < 0x80) {
            tl_buffer_append_byte(out, *text++);
        } else {
            utf8proc_int32_t point;
            utf8proc_ssize_t used =
                utf8proc_iterate((const utf8proc_uint8_t *)text, end - text, &point);
            if (used > 0)
                tl_buffer_append(out, text, (size_t)used);
            else
                tl_buffer_append_string(out, "\xef\xbf\xbd");
            text += used > 0 ? used : 1;
        }
    }
    tl_buffer_append_byte(out, '"');
}

void tl_json_append_double(tl_buffer *out, double value) {
    if (!isfinite(value)) {
        tl_buffer_append_string(out, "null");
        return;
    }
    char text[32];
    for (int digits = 15; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, value);
        if (strtod(text, NULL) == value) break;
    }
    tl_buffer_append_string(out, text);
}

void tl_json_append_float(tl_buffer *out, float value) {
    if (!isfinite(value)) {
        tl_buffer_append_string(out, "null");
        return;
    }
    char text[32];
    for (int digits = 6; digits <= 9; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, (double)value);
        if (strtof(text, NULL) == value) break;
    }
    tl_buffer_append_string(out, text);
}

void tl_json_put_name(tl_buffer *out, const char *name) {
    if (out->length && !strchr("{[,:", out->data[out->length - 1])) tl_buffer_append_byte(out, ',');
    if (name) tl_buffer_append_format(out, "\"%s\":", name);
}

void tl_json_open(tl_buffer *out, const char *name, char bracket) {
    tl_json_put_name(out, name);
    tl_buffer_append_byte(out, bracket);
}

void tl_json_put_string(tl_buffer *out, const char *name, const char *text) {
    tl_json_put_name(out, name);
    tl_json_append_string(out, text, strlen(text));
}

void tl_json_put_double(tl_buffer *out, const char *name, double value) {
    tl_json_put_name(out, name);
    tl_json_append_double(out, value);
}

void tl_json_put_int(tl_buffer *out, const char *name, int64_t value) {
    tl_json_put_name(out, name);
    tl_buffer_append_format(out, "%lld", (long long)value);
}

void tl_json_put_bool(tl_buffer *out, const char *name, bool value) {
    tl_json_put_name(out, name);
    tl_buffer_append_string(out, value ? "true" : "false");
}
