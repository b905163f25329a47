#include "tokenizer/scan.h"

#include "tokenizer/utf8.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DEPTH = 100 };

void tl_scan_free(tl_scan *scan) {
    tl_buffer_free(&scan->unescaped);
}

bool tl_scan_fail(tl_scan *scan, const char *what) {
    size_t line = 1;
    for (const char *c = scan->text; c < scan->at; c++)
        line += *c == '\n';
    return tl_fail(scan->error, TL_ERROR_FORMAT, "%s:%zu: expected %s", scan->file, line, what);
}

static void skip_space(tl_scan *scan) {
    while (scan->at < scan->end &&
           (*scan->at == ' ' || *scan->at == '\n' || *scan->at == '\t' || *scan->at == '\r'))
        scan->at++;
}

char tl_scan_peek(tl_scan *scan) {
    skip_space(scan);
    return scan->at < scan->end ? *scan->at : 0;
}

bool tl_scan_accept(tl_scan *scan, char c) {
    if (tl_scan_peek(scan) != c) return false;
    scan->at++;
    return true;
}

bool tl_scan_expect(tl_scan *scan, char c) {
    if (tl_scan_accept(scan, c)) return true;
    char what[] = {'\'', c, '\'', 0};
    return tl_scan_fail(scan, what);
}

static bool hex4(tl_scan *scan, uint32_t *value) {
    if (scan->end - scan->at < 4) return tl_scan_fail(scan, "four hex digits after \\u");
    *value = 0;
    for (int i = 0; i < 4; i++) {
        char c = *scan->at++;
        int digit = c >= '0' && c <= '9'   ? c - '0'
                    : c >= 'a' && c <= 'f' ? c - 'a' + 10
                    : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                           : -1;
        if (digit < 0) return tl_scan_fail(scan, "four hex digits after \\u");
        *value = *value << 4 | (uint32_t)digit;
    }
    return true;
}

static bool unicode_escape(tl_scan *scan) {
    uint32_t point, low;
    if (!hex4(scan, &point)) return false;
    if (point >= 0xd800 && point <= 0xdbff) {
        if (scan->end - scan->at < 2 || scan->at[0] != '\\' || scan->at[1] != 'u')
            return tl_scan_fail(scan, "the second half of a surrogate pair");
        scan->at += 2;
        if (!hex4(scan, &low)) return false;
        if (low < 0xdc00 || low > 0xdfff)
            return tl_scan_fail(scan, "the second half of a surrogate pair");
        point = 0x10000 + ((point - 0xd800) << 10) + (low - 0xdc00);
    } else if (point >= 0xdc00 && point <= 0xdfff) {
        return tl_scan_fail(scan, "the first half of a surrogate pair");
    }
    tl_utf8_append(&scan->unescaped, point);
    return true;
}

static bool escape(tl_scan *scan) {
    static const char names[] = "\"\\/bfnrt", values[] = "\"\\/\b\f\n\r\t";
    scan->at++;
    if (scan->at >= scan->end) return tl_scan_fail(scan, "a character after '\\'");
    char c = *scan->at++;
    if (c == 'u') return unicode_escape(scan);
    const char *name = c ? strchr(names, c) : NULL;
    if (!name) return tl_scan_fail(scan, "an escape that JSON knows");
    tl_buffer_append_byte(&scan->unescaped, values[name - names]);
    return true;
}

bool tl_scan_string(tl_scan *scan, const char **text, size_t *length) {
    if (tl_scan_peek(scan) != '"') return tl_scan_fail(scan, "a string");
    const char *start = ++scan->at;
    bool escaped = false;
    while (scan->at < scan->end && *scan->at != '"') {
        if ((unsigned char)*scan->at < 0x20)
            return tl_scan_fail(scan, "no control character within a string");
        if (*scan->at != '\\') {
            scan->at++;
            continue;
        }
        if (!escaped) tl_buffer_clear(&scan->unescaped);
        escaped = true;
        tl_buffer_append(&scan->unescaped, start, (size_t)(scan->at - start));
        if (!escape(scan)) return false;
        start = scan->at;
    }
    if (scan->at >= scan->end) return tl_scan_fail(scan, "a closing '\"'");
    *text = start;
    *length = (size_t)(scan->at++ - start);
    if (!escaped) return true;
    tl_buffer_append(&scan->unescaped, *text, *length);
    *text = scan->unescaped.data;
    *length = scan->unescaped.length;
    return !scan->unescaped.failed || tl_fail_memory(scan->error, *length, "a string");
}

/* As serde_json reads it: what the digits spell times or over a power of ten, each rounded. That
 * may be one unit off the nearest double, and decides which of two equal ways of splitting wins. */
static double scaled(uint64_t digits, int64_t exponent) {
    double value = (double)digits;
    for (; exponent < -308 && value != 0; exponent += 308)
        value /= 1e308;
    if (exponent > 308) return value == 0 ? 0 : INFINITY;
    char power[8];
    snprintf(power, sizeof power, "1e%d", exponent < 0 ? (int)-exponent : (int)exponent);
    double ten = strtod(power, NULL);
    return exponent < 0 ? value / ten : value * ten;
}

/* Reads digits into `value` until it is full; the rest are only counted. */
static size_t read_digits(tl_scan *scan, uint64_t *value, size_t *dropped) {
    const char *start = scan->at;
    for (; scan->at < scan->end && *scan->at >= '0' && *scan->at <= '9'; scan->at++) {
        unsigned digit = (unsigned)(*scan->at - '0');
        if (*dropped || *value > (UINT64_MAX - digit) / 10)
            ++*dropped;
        else
            *value = *value * 10 + digit;
    }
    return (size_t)(scan->at - start);
}

bool tl_scan_number(tl_scan *scan, double *value) {
    uint64_t digits = 0, power = 0;
    size_t whole_dropped = 0, fraction = 0, dropped = 0, ignored = 0;
    bool negative = tl_scan_accept(scan, '-'), below = false;
    if (!read_digits(scan, &digits, &whole_dropped)) return tl_scan_fail(scan, "a number");
    dropped = whole_dropped;
    if (scan->at < scan->end && *scan->at == '.') {
        scan->at++;
        fraction = read_digits(scan, &digits, &dropped);
        if (!fraction) return tl_scan_fail(scan, "a number");
        fraction -= dropped - whole_dropped;
    }
    if (scan->at < scan->end && (*scan->at == 'e' || *scan->at == 'E')) {
        scan->at++;
        below = scan->at < scan->end && *scan->at == '-';
        if (scan->at < scan->end && (*scan->at == '-' || *scan->at == '+')) scan->at++;
        if (!read_digits(scan, &power, &ignored)) return tl_scan_fail(scan, "a number");
        if (power > 100000) power = 100000;
    }
    int64_t exponent = (int64_t)whole_dropped - (int64_t)fraction;
    exponent += below ? -(int64_t)power : (int64_t)power;
    *value = scaled(digits, exponent);
    if (negative) *value = -*value;
    return true;
}

bool tl_scan_int(tl_scan *scan, int64_t *value) {
    skip_space(scan);
    const char *at = scan->at;
    bool negative = at < scan->end && *at == '-';
    at += negative;
    const char *digits = at;
    int64_t number = 0;
    while (at < scan->end && *at >= '0' && *at <= '9' && at - digits < 18)
        number = number * 10 + (*at++ - '0');
    if (at == digits || (at < scan->end && *at && strchr(".eE0123456789", *at)))
        return tl_scan_fail(scan, "an integer");
    *value = negative ? -number : number;
    scan->at = at;
    return true;
}

static bool skip_string(tl_scan *scan) {
    scan->at++;
    while (scan->at < scan->end && *scan->at != '"')
        scan->at += *scan->at == '\\' ? 2 : 1;
    if (scan->at >= scan->end) {
        scan->at = scan->end;
        return tl_scan_fail(scan, "a closing '\"'");
    }
    scan->at++;
    return true;
}

bool tl_scan_skip(tl_scan *scan) {
    int depth = 0;
    do {
        char c = tl_scan_peek(scan);
        if (!c) return tl_scan_fail(scan, "a value");
        if (c == '"') {
            if (!skip_string(scan)) return false;
            continue;
        }
        if (c == '{' || c == '[') {
            if (++depth > DEPTH) return tl_scan_fail(scan, "values nested less deeply");
        } else if (c == '}' || c == ']') {
            if (--depth < 0) return tl_scan_fail(scan, "a value");
        } else if (depth == 0 && (c == ',' || c == ':')) {
            return tl_scan_fail(scan, "a value");
        } else if (c != ',' && c != ':') {
            while (scan->at < scan->end && !strchr(" \t\r\n,:{}[]\"", *scan->at))
                scan->at++;
            continue;
        }
        scan->at++;
    } while (depth > 0);
    return true;
}

bool tl_scan_next(tl_scan *scan, char close, bool *first, bool *done) {
    *done = tl_scan_accept(scan, close);
    if (*done) return true;
    if (!*first && !tl_scan_expect(scan, ',')) return false;
    *first = false;
    return true;
}
