/* JSON through cJSON, with typed access whose errors name the file and the field.
 *
 * `where` is how messages name the document ("model/config.json"). A missing or null field takes
 * the default where the function has one. */
#ifndef TL_BASE_JSON_H
#define TL_BASE_JSON_H

#include "base/buffer.h"
#include "base/error.h"

#include <cjson/cJSON.h>

/* Parses `length` bytes; NULL with the line of the mistake in `error`. Free with cJSON_Delete. */
cJSON *tl_json_parse(const char *text, size_t length, const char *where, tl_error *error);

/* Reads and parses a file of at most `limit` bytes. */
cJSON *tl_json_read(const char *path, size_t limit, tl_error *error);

/* Field access, exact in letter case; NULL when absent or null. */
const cJSON *tl_json_get(const cJSON *object, const char *field);

bool tl_json_int(const cJSON *object, const char *field, int64_t lowest, int64_t highest,
                 int64_t *value, const char *where, tl_error *error); /* required */
bool tl_json_int_or(const cJSON *object, const char *field, int64_t fallback, int64_t lowest,
                    int64_t highest, int64_t *value, const char *where, tl_error *error);
bool tl_json_double_or(const cJSON *object, const char *field, double fallback, double *value,
                       const char *where, tl_error *error);
bool tl_json_bool_or(const cJSON *object, const char *field, bool fallback, bool *value,
                     const char *where, tl_error *error);
/* The string lives as long as the document; `fallback` may be NULL. */
bool tl_json_string_or(const cJSON *object, const char *field, const char *fallback,
                       const char **value, const char *where, tl_error *error);

/* Appends `text` as a JSON string with its quotes; invalid UTF-8 becomes U+FFFD. */
void tl_json_append_string(tl_buffer *out, const char *text, size_t length);

/* Appends a number so that it reads back to the same double (shortest that does); NaN and
 * infinities as null. */
void tl_json_append_double(tl_buffer *out, double value);

/* As tl_json_append_double, shortest for a float. */
void tl_json_append_float(tl_buffer *out, float value);

/* ---- writing objects and lists without spaces ----
 * The comma before what follows another value comes by itself; closing brackets are the caller's.
 * Names are written as they are; a NULL name is for an item of a list. */

/* "name": and nothing more: the value is appended next. */
void tl_json_put_name(tl_buffer *out, const char *name);
/* An object ('{') or a list ('['), opened. */
void tl_json_open(tl_buffer *out, const char *name, char bracket);
void tl_json_put_string(tl_buffer *out, const char *name, const char *text);
void tl_json_put_double(tl_buffer *out, const char *name, double value);
void tl_json_put_int(tl_buffer *out, const char *name, int64_t value);
void tl_json_put_bool(tl_buffer *out, const char *name, bool value);

#endif
