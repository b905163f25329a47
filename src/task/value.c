#include "task/value.h"

#include <string.h>

tl_value tl_value_text(const char *text) {
    return (tl_value){.kind = TL_VALUE_TEXT, .text = text, .length = strlen(text)};
}

tl_value tl_value_integer(int64_t integer) {
    return (tl_value){.kind = TL_VALUE_INTEGER, .integer = integer};
}

bool tl_value_to_text(const tl_value *value, tl_arena *arena, const char **text, size_t *length,
                      tl_error *error) {
    tl_buffer buffer = {0};
    switch (value->kind) {
    case TL_VALUE_TEXT:
        *text = value->text;
        *length = value->length;
        return true;
    case TL_VALUE_LIST:
        return tl_fail(error, TL_ERROR_FORMAT, "expected text or a number, found a list");
    case TL_VALUE_BOOL:
        tl_buffer_append_string(&buffer, value->integer ? "true" : "false");
        break;
    case TL_VALUE_INTEGER:
        tl_buffer_append_format(&buffer, "%lld", (long long)value->integer);
        break;
    case TL_VALUE_NUMBER:
        tl_json_append_double(&buffer, value->number);
        break;
    }
    *length = buffer.length;
    *text = tl_arena_strndup(arena, tl_buffer_string(&buffer), buffer.length, error);
    tl_buffer_free(&buffer);
    return *text != NULL;
}
