#include "task/document.h"

#include "task/text.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

void tl_document_append_string(tl_buffer *out, const char *text, size_t length) {
    static const char named[] = {['\b'] = 'b', ['\t'] = 't', ['\n'] = 'n', ['\f'] = 'f',
                                 ['\r'] = 'r', ['"'] = '"',  ['\\'] = '\\'};
    tl_buffer_append_byte(out, '"');
    for (size_t i = 0; i < length; i++) {
        unsigned char c = (unsigned char)text[i];
        if (c < sizeof named && named[c])
            tl_buffer_append_format(out, "\\%c", named[c]);
        else if (c < 0x20)
            tl_buffer_append_format(out, "\\u%04x", c);
        else
            tl_buffer_append_byte(out, (char)c);
    }
    tl_buffer_append_byte(out, '"');
}

static int hex4(const char *text) {
    int value = 0;
    for (int i = 0; i < 4; i++) {
        char c = text[i];
        int digit = c >= '0' && c <= '9'   ? c - '0'
                    : c >= 'a' && c <= 'f' ? c - 'a' + 10
                    : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                           : -1;
        if (digit < 0) return -1;
        value = value * 16 + digit;
    }
    return value;
}

/* "\uXXXX" (or a surrogate pair) at `at`; returns the bytes read. */
static size_t unescape_unicode(const char *at, const char *end, tl_buffer *plain) {
    int32_t point = end - at >= 6 ? hex4(at + 2) : -1;
    size_t used = 6;
    if (point >= 0xd800 && point < 0xdc00 && end - at >= 12 && at[6] == '\\' && at[7] == 'u') {
        int low = hex4(at + 8);
        if (low >= 0xdc00 && low < 0xe000) {
            point = 0x10000 + ((point - 0xd800) << 10) + (low - 0xdc00);
            used = 12;
        }
    }
    if (point < 0 || (point >= 0xd800 && point < 0xe000)) point = 0xfffd;
    utf8proc_uint8_t bytes[4];
    tl_buffer_append(plain, bytes, (size_t)utf8proc_encode_char(point, bytes));
    return used < (size_t)(end - at) ? used : (size_t)(end - at);
}

/* Rewrites the string whose opening quote is at `at`; returns what follows its closing quote. */
static const char *rewrite_string(const char *at, const char *end, tl_buffer *plain,
                                  tl_buffer *out) {
    static const char *const from = "bfnrt\"\\/", *const to = "\b\f\n\r\t\"\\/";
    tl_buffer_clear(plain);
    for (at++; at < end && *at != '"';) {
        if (*at != '\\' || at + 1 == end) {
            tl_buffer_append_byte(plain, *at++);
        } else if (at[1] == 'u') {
            at += unescape_unicode(at, end, plain);
        } else {
            const char *known = at[1] ? strchr(from, at[1]) : NULL;
            tl_buffer_append_byte(plain, known ? to[known - from] : at[1]);
            at += 2;
        }
    }
    tl_document_append_string(out, tl_buffer_string(plain), plain->length);
    return at < end ? at + 1 : end;
}

/* White space as the parser has it: rows may hold any control character between their parts. */
static bool is_space(char c) {
    return (unsigned char)c <= 0x20;
}

/* Rewrites a number or word; returns what follows it. */
static const char *rewrite_scalar(const char *at, const char *end, tl_buffer *plain,
                                  tl_buffer *out) {
    const char *start = at;
    bool number = *at == '-' || (*at >= '0' && *at <= '9'), floating = false;
    while (at < end && !strchr(",]}", *at) && !is_space(*at)) {
        floating |= number && strchr(".eE", *at);
        at++;
    }
    if (at == start) return at + 1; /* not JSON: never stand still */
    tl_buffer_clear(plain);
    tl_buffer_append(plain, start, (size_t)(at - start));
    double value = floating ? strtod(tl_buffer_string(plain), NULL) : 0;
    if (floating && isfinite(value)) /* beyond a double's range Python's text would not be JSON */
        tl_text_append_python_float(out, value);
    else if (strcmp(tl_buffer_string(plain), "-0") == 0)
        tl_buffer_append_byte(out, '0');
    else
        tl_buffer_append(out, plain->data, plain->length);
    return at;
}

static void new_line(tl_buffer *out, int indent, int depth) {
    if (indent > 0) tl_buffer_append_format(out, "\n%*s", indent * depth, "");
}

void tl_document_append(tl_buffer *out, const char *text, size_t length, int indent) {
    const char *at = text, *end = text + length;
    tl_buffer plain = {0};
    int depth = 0;
    bool empty = false; /* a list or object has just been opened */
    while (at < end) {
        char c = *at;
        if (is_space(c)) {
            at++;
            continue;
        }
        bool closing = c == ']' || c == '}';
        if (closing && depth > 0) depth--;
        if (empty != closing && (empty || closing)) new_line(out, indent, depth);
        empty = false;
        if (c == '"') {
            at = rewrite_string(at, end, &plain, out);
            continue;
        }
        if (!strchr("[]{},:", c) || !c) {
            at = rewrite_scalar(at, end, &plain, out);
            continue;
        }
        tl_buffer_append_byte(out, c);
        at++;
        if (c == '[' || c == '{') {
            depth++;
            empty = true;
        } else if (c == ',' && indent > 0) {
            new_line(out, indent, depth);
        } else if (c == ',' || c == ':') {
            tl_buffer_append_byte(out, ' ');
        }
    }
    tl_buffer_free(&plain);
}

void tl_document_put_name(tl_buffer *out, const char *name) {
    if (out->length && !strchr("{[", out->data[out->length - 1]))
        tl_buffer_append_string(out, ", ");
    tl_document_append_string(out, name, strlen(name));
    tl_buffer_append_string(out, ": ");
}

void tl_document_put_text(tl_buffer *out, const char *name, const char *text) {
    tl_document_put_name(out, name);
    tl_document_append_string(out, text, strlen(text));
}

void tl_document_put_raw(tl_buffer *out, const char *name, const char *json) {
    tl_document_put_name(out, name);
    tl_buffer_append_string(out, json);
}
