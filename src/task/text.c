#include "task/text.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

/* Decodes the character at `text`; a byte that is not UTF-8 gives -1 and a length of 1. */
static int32_t decode(const char *text, size_t length, size_t *used) {
    utf8proc_int32_t point;
    utf8proc_ssize_t n = utf8proc_iterate((const utf8proc_uint8_t *)text,
                                          (utf8proc_ssize_t)(length < 4 ? length : 4), &point);
    *used = n > 0 ? (size_t)n : 1;
    return n > 0 ? point : -1;
}

/* Decodes the character that ends at text + length. */
static int32_t decode_last(const char *text, size_t length, size_t *used) {
    for (size_t n = 1; n <= 4 && n <= length; n++) {
        int32_t point = decode(text + length - n, n, used);
        if (point >= 0 && *used == n) return point;
    }
    *used = 1;
    return -1;
}

static void encode(tl_buffer *out, int32_t point) {
    utf8proc_uint8_t bytes[4];
    tl_buffer_append(out, bytes, (size_t)utf8proc_encode_char(point, bytes));
}

/* str.isspace() of one character: bidirectional type WS, B or S, or category Zs. */
static bool is_space(int32_t c) {
    return (c >= 9 && c <= 13) || (c >= 28 && c <= 32) || c == 0x85 || c == 0xa0 || c == 0x1680 ||
           (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 || c == 0x202f ||
           c == 0x205f || c == 0x3000;
}

void tl_text_strip(const char **text, size_t *length, bool left, bool right) {
    size_t used;
    while (left && *length && is_space(decode(*text, *length, &used))) {
        *text += used;
        *length -= used;
    }
    while (right && *length && is_space(decode_last(*text, *length, &used)))
        *length -= used;
}

/* Unicode's Case_Ignorable: marks, format characters, modifiers, and the punctuation that may stand
 * inside a word. */
static bool is_case_ignorable(int32_t c) {
    static const int32_t mid_word[] = {0x27,   0x2e,   0x3a,   0xb7,   0x387,  0x55f,
                                       0x5f4,  0x2018, 0x2019, 0x2024, 0x2027, 0xfe13,
                                       0xfe52, 0xfe55, 0xff07, 0xff0e, 0xff1a};
    for (size_t i = 0; i < sizeof mid_word / sizeof *mid_word; i++)
        if (c == mid_word[i]) return true;
    utf8proc_category_t category = c < 0 ? UTF8PROC_CATEGORY_CN : utf8proc_category(c);
    return category == UTF8PROC_CATEGORY_MN || category == UTF8PROC_CATEGORY_ME ||
           category == UTF8PROC_CATEGORY_CF || category == UTF8PROC_CATEGORY_LM ||
           category == UTF8PROC_CATEGORY_SK;
}

/* Unicode's Cased, of characters that are not case-ignorable. */
static bool is_cased(int32_t c) {
    if (c < 0) return false;
    utf8proc_category_t category = utf8proc_category(c);
    return category == UTF8PROC_CATEGORY_LU || category == UTF8PROC_CATEGORY_LL ||
           category == UTF8PROC_CATEGORY_LT || c == 0xaa || c == 0xba ||
           (c >= 0x2160 && c <= 0x217f) || (c >= 0x24b6 && c <= 0x24e9) ||
           (c >= 0x1f130 && c <= 0x1f149) || (c >= 0x1f150 && c <= 0x1f169) ||
           (c >= 0x1f170 && c <= 0x1f189);
}

/* Is the capital sigma at `at` the last letter of a word of more than one? */
static bool is_final_sigma(const char *text, size_t length, size_t at) {
    size_t used, before = at, after = at + 2;
    int32_t c = -1;
    while (before > 0) {
        c = decode_last(text, before, &used);
        if (!is_case_ignorable(c)) break;
        before -= used;
    }
    if (before == 0 || !is_cased(c)) return false;
    while (after < length) {
        c = decode(text + after, length - after, &used);
        if (!is_case_ignorable(c)) return !is_cased(c);
        after += used;
    }
    return true;
}

static void lower_from(tl_buffer *out, const char *text, size_t length, size_t from) {
    enum { CAPITAL_SIGMA = 0x3a3, SIGMA = 0x3c3, FINAL_SIGMA = 0x3c2, DOTTED_CAPITAL_I = 0x130 };
    size_t used;
    for (size_t i = from; i < length; i += used) {
        int32_t c = decode(text + i, length - i, &used);
        if (c < 0) {
            tl_buffer_append_byte(out, text[i]);
        } else if (c == CAPITAL_SIGMA) {
            encode(out, is_final_sigma(text, length, i) ? FINAL_SIGMA : SIGMA);
        } else if (c == DOTTED_CAPITAL_I) {
            tl_buffer_append_string(out, "i\xcc\x87");
        } else {
            encode(out, utf8proc_tolower(c));
        }
    }
}

void tl_text_lower(tl_buffer *out, const char *text, size_t length) {
    lower_from(out, text, length, 0);
}

/* Title case of the characters that become several (Unicode's SpecialCasing.txt). */
static const struct {
    int32_t from, to[3];
} title_specials[] = {
    {0xdf, {0x53, 0x73}},
    {0x149, {0x2bc, 0x4e}},
    {0x1f0, {0x4a, 0x30c}},
    {0x390, {0x399, 0x308, 0x301}},
    {0x3b0, {0x3a5, 0x308, 0x301}},
    {0x587, {0x535, 0x582}},
    {0x1e96, {0x48, 0x331}},
    {0x1e97, {0x54, 0x308}},
    {0x1e98, {0x57, 0x30a}},
    {0x1e99, {0x59, 0x30a}},
    {0x1e9a, {0x41, 0x2be}},
    {0x1f50, {0x3a5, 0x313}},
    {0x1f52, {0x3a5, 0x313, 0x300}},
    {0x1f54, {0x3a5, 0x313, 0x301}},
    {0x1f56, {0x3a5, 0x313, 0x342}},
    {0x1fb2, {0x1fba, 0x345}},
    {0x1fb4, {0x386, 0x345}},
    {0x1fb6, {0x391, 0x342}},
    {0x1fb7, {0x391, 0x342, 0x345}},
    {0x1fc2, {0x1fca, 0x345}},
    {0x1fc4, {0x389, 0x345}},
    {0x1fc6, {0x397, 0x342}},
    {0x1fc7, {0x397, 0x342, 0x345}},
    {0x1fd2, {0x399, 0x308, 0x300}},
    {0x1fd3, {0x399, 0x308, 0x301}},
    {0x1fd6, {0x399, 0x342}},
    {0x1fd7, {0x399, 0x308, 0x342}},
    {0x1fe2, {0x3a5, 0x308, 0x300}},
    {0x1fe3, {0x3a5, 0x308, 0x301}},
    {0x1fe4, {0x3a1, 0x313}},
    {0x1fe6, {0x3a5, 0x342}},
    {0x1fe7, {0x3a5, 0x308, 0x342}},
    {0x1ff2, {0x1ffa, 0x345}},
    {0x1ff4, {0x38f, 0x345}},
    {0x1ff6, {0x3a9, 0x342}},
    {0x1ff7, {0x3a9, 0x342, 0x345}},
    {0xfb00, {0x46, 0x66}},
    {0xfb01, {0x46, 0x69}},
    {0xfb02, {0x46, 0x6c}},
    {0xfb03, {0x46, 0x66, 0x69}},
    {0xfb04, {0x46, 0x66, 0x6c}},
    {0xfb05, {0x53, 0x74}},
    {0xfb06, {0x53, 0x74}},
    {0xfb13, {0x544, 0x576}},
    {0xfb14, {0x544, 0x565}},
    {0xfb15, {0x544, 0x56b}},
    {0xfb16, {0x54e, 0x576}},
    {0xfb17, {0x544, 0x56d}},
};

static void append_title(tl_buffer *out, int32_t c) {
    for (size_t i = 0; i < sizeof title_specials / sizeof *title_specials; i++) {
        if (title_specials[i].from != c) continue;
        for (int j = 0; j < 3 && title_specials[i].to[j]; j++)
            encode(out, title_specials[i].to[j]);
        return;
    }
    encode(out, utf8proc_totitle(c));
}

void tl_text_capitalize(tl_buffer *out, const char *text, size_t length) {
    if (!length) return;
    size_t used;
    int32_t c = decode(text, length, &used);
    if (c < 0)
        tl_buffer_append_byte(out, *text);
    else
        append_title(out, c);
    lower_from(out, text, length, used);
}

size_t tl_text_characters(const char *text, size_t length) {
    size_t count = 0, used;
    for (size_t i = 0; i < length; i += used, count++)
        decode(text + i, length - i, &used);
    return count;
}

void tl_text_append_python_float(tl_buffer *out, double value) {
    if (!isfinite(value)) {
        tl_buffer_append_string(out, isnan(value) ? "nan" : value < 0 ? "-inf" : "inf");
        return;
    }
    char digits[40];
    for (int precision = 0; precision <= 16; precision++) {
        snprintf(digits, sizeof digits, "%.*e", precision, value);
        if (strtod(digits, NULL) == value) break;
    }
    int exponent = atoi(strchr(digits, 'e') + 1);
    if (exponent < -4 || exponent >= 16) {
        tl_buffer_append_string(out, digits); /* "1e-05", as repr has it */
        return;
    }
    int significant = (int)(strchr(digits, 'e') - digits) - (digits[0] == '-');
    significant -= significant > 1; /* the point */
    int places = significant - 1 - exponent;
    tl_buffer_append_format(out, "%.*f", places < 1 ? 1 : places, value);
}
