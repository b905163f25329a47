#include "base/buffer.h"

#include "base/checked.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void tl_buffer_free(tl_buffer *buffer) {
    free(buffer->data);
    *buffer = (tl_buffer){0};
}

void tl_buffer_clear(tl_buffer *buffer) {
    buffer->length = 0;
    buffer->failed = false;
    if (buffer->data) buffer->data[0] = 0;
}

bool tl_buffer_reserve(tl_buffer *buffer, size_t extra) {
    size_t needed;
    if (buffer->failed) return false;
    if (!tl_add_size(buffer->length, extra, &needed) || !tl_add_size(needed, 1, &needed)) {
        buffer->failed = true;
        return false;
    }
    if (needed <= buffer->capacity) return true;
    size_t capacity = buffer->capacity ? buffer->capacity : 64;
    while (capacity < needed)
        capacity = capacity > SIZE_MAX / 2 ? needed : capacity * 2;
    char *data = realloc(buffer->data, capacity);
    if (!data) {
        buffer->failed = true;
        return false;
    }
    buffer->data = data;
    buffer->capacity = capacity;
    return true;
}

void tl_buffer_append(tl_buffer *buffer, const void *bytes, size_t length) {
    if (!tl_buffer_reserve(buffer, length)) return;
    if (length) memcpy(buffer->data + buffer->length, bytes, length);
    buffer->length += length;
    buffer->data[buffer->length] = 0;
}

void tl_buffer_append_string(tl_buffer *buffer, const char *text) {
    tl_buffer_append(buffer, text, strlen(text));
}

void tl_buffer_append_byte(tl_buffer *buffer, char byte) {
    tl_buffer_append(buffer, &byte, 1);
}

void tl_buffer_append_format(tl_buffer *buffer, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(NULL, 0, format, arguments);
    va_end(arguments);
    if (length < 0 || !tl_buffer_reserve(buffer, (size_t)length)) {
        buffer->failed = true;
        return;
    }
    va_start(arguments, format);
    vsnprintf(buffer->data + buffer->length, (size_t)length + 1, format, arguments);
    va_end(arguments);
    buffer->length += (size_t)length;
}

const char *tl_buffer_string(const tl_buffer *buffer) {
    return buffer->data ? buffer->data : "";
}

size_t tl_byte_order_mark(const char *text, size_t length) {
    return length >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0 ? 3 : 0;
}

char *tl_buffer_take(tl_buffer *buffer) {
    char *data = NULL;
    if (tl_buffer_reserve(buffer, 0)) {
        data = buffer->data;
        data[buffer->length] = 0;
    } else {
        free(buffer->data);
    }
    *buffer = (tl_buffer){0};
    return data;
}
