#include "tokenizer/components.h"

#include "tokenizer/utf8.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DEPTH = 8 };

typedef struct walk {
    const char *members;
    tl_component_reader *read;
    void *context;
} walk;

static bool read_nested(const walk *w, const cJSON *json, int depth, const char *where,
                        tl_error *error) {
    const char *type;
    if (!tl_json_string_or(json, "type", "", &type, where, error)) return false;
    if (strcmp(type, "Sequence") != 0) return w->read(w->context, type, json, where, error);
    if (depth == DEPTH) return tl_fail(error, TL_ERROR_LIMIT, "%s: nested too deeply", where);
    int index = 0;
    const cJSON *item;
    cJSON_ArrayForEach(item, tl_json_get(json, w->members)) {
        char inner[600];
        snprintf(inner, sizeof inner, "%.500s.%s[%d]", where, w->members, index++);
        if (!read_nested(w, item, depth + 1, inner, error)) return false;
    }
    return true;
}

bool tl_component_read(const cJSON *json, const char *members, tl_component_reader *read,
                       void *context, const char *where, tl_error *error) {
    return !json || read_nested(&(walk){members, read, context}, json, 0, where, error);
}

bool tl_component_unknown(const char *type, const char *where, tl_error *error) {
    return tl_fail(error, TL_ERROR_UNSUPPORTED, "%s: type '%.80s' is not supported", where, type);
}

bool tl_pattern_read(const cJSON *json, char **literal, tl_regex **regex, const char *where,
                     tl_error *error) {
    const cJSON *pattern = tl_json_get(json, "pattern");
    const char *string = cJSON_GetStringValue(tl_json_get(pattern, "String"));
    const char *expression = cJSON_GetStringValue(tl_json_get(pattern, "Regex"));
    if (!string == !expression)
        return tl_fail(error, TL_ERROR_FORMAT,
                       "%s: field 'pattern': expected {\"String\": …} or {\"Regex\": …}", where);
    if (string) {
        *literal = strdup(string);
        return *literal || tl_fail_memory(error, strlen(string), "a pattern");
    }
    *regex = tl_regex_new(expression, strlen(expression), error);
    return *regex || tl_fail_within(error, "%s: field 'pattern'", where);
}

static bool is_itself(unsigned byte) {
    return (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
}

/* How many bytes below `byte` are not themselves. */
static unsigned moved_below(unsigned byte) {
    return byte < 0x21 ? byte : byte < 0xa1 ? 0x21 + (byte - 0x7f) : 0x43;
}

void tl_byte_level_append(tl_buffer *out, const char *bytes, size_t length) {
    if (length > SIZE_MAX / 2 || !tl_buffer_reserve(out, 2 * length)) {
        out->failed = true;
        return;
    }
    char *to = out->data + out->length;
    for (size_t i = 0; i < length; i++) {
        unsigned byte = (unsigned char)bytes[i];
        unsigned point = is_itself(byte) ? byte : 0x100 + moved_below(byte);
        if (point >= 0x80) {
            *to++ = (char)(0xc0 | point >> 6);
            *to++ = (char)(0x80 | (point & 0x3f));
        } else {
            *to++ = (char)point;
        }
    }
    *to = 0;
    out->length = (size_t)(to - out->data);
}

int tl_byte_level_byte(uint32_t point) {
    if (point < 0x100) return is_itself(point) ? (int)point : -1;
    unsigned moved = point - 0x100;
    if (moved < 0x21) return (int)moved;
    if (moved < 0x43) return (int)(moved - 0x21 + 0x7f);
    return moved == 0x43 ? 0xad : -1;
}
