/* Oniguruma's pattern language, as its default syntax reads it, rewritten for PCRE2.
 *
 * Source of the differences: Oniguruma's doc/RE and doc/SYNTAX.md; pcre2pattern(3). */
#include "tokenizer/regex.h"
#include "tokenizer/utf8.h"

#include <stdlib.h>
#include <string.h>

enum { DEPTH = 50 };

/* Contents of classes, spelled out where PCRE2's own escape means another set. */
#define SPACE                                                                                      \
    "\\x09-\\x0d "                                                                                 \
    "\\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}\\x{205f}\\x{3000}"
#define WORD                                                                                       \
    "\\p{L}\\p{M}\\p{Nd}\\p{Nl}\\p{Pc}\\x{24b6}-\\x{24e9}\\x{1f130}-\\x{1f149}\\x{1f150}-"         \
    "\\x{1f169}\\x{1f170}-\\x{1f189}"
/* Oniguruma's \w holds the superscript digits and fractions of Latin-1 too; [[:word:]] does not. */
#define WORD_ESCAPE WORD "\\x{b2}\\x{b3}\\x{b9}\\x{bc}-\\x{be}"
#define DIGIT       "\\p{Nd}"
#define HEX         "0-9a-fA-F"

typedef struct translation {
    const char *start, *at, *end;
    tl_buffer *out;
    tl_error *error;
    int depth;
} translation;

static bool refuse(translation *t, const char *what) {
    return tl_fail(t->error, TL_ERROR_UNSUPPORTED,
                   "regular expression '%.*s': %s at byte %zu is not supported",
                   (int)(t->end - t->start > 200 ? 200 : t->end - t->start), t->start, what,
                   (size_t)(t->at - t->start));
}

static bool malformed(translation *t, const char *what) {
    return tl_fail(t->error, TL_ERROR_FORMAT, "regular expression '%.*s': %s at byte %zu",
                   (int)(t->end - t->start > 200 ? 200 : t->end - t->start), t->start, what,
                   (size_t)(t->at - t->start));
}

static void emit(translation *t, const char *text) {
    tl_buffer_append_string(t->out, text);
}

static void emit_point(tl_buffer *out, uint32_t point) {
    bool plain = (point >= '0' && point <= '9') || (point >= 'A' && point <= 'Z') ||
                 (point >= 'a' && point <= 'z') || point >= 0xa0;
    if (plain)
        tl_utf8_append(out, point);
    else
        tl_buffer_append_format(out, "\\x{%x}", point);
}

static bool is_next(const translation *t, const char *text) {
    size_t length = strlen(text);
    return (size_t)(t->end - t->at) >= length && memcmp(t->at, text, length) == 0;
}

static int hex_value(char c) {
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

/* Reads up to `most` hex digits. */
static int read_hex(translation *t, int most, uint32_t *value) {
    int digits = 0;
    *value = 0;
    while (digits < most && t->at < t->end && hex_value(*t->at) >= 0) {
        *value = *value << 4 | (uint32_t)hex_value(*t->at++);
        digits++;
    }
    return digits;
}

/* After "\x" or "\u": a code point. */
static bool read_code(translation *t, char kind, uint32_t *point) {
    if (kind == 'u') {
        if (read_hex(t, 4, point) != 4) return malformed(t, "\\u without four hex digits");
    } else if (t->at < t->end && *t->at == '{') {
        t->at++;
        if (read_hex(t, 8, point) == 0 || t->at >= t->end || *t->at != '}')
            return malformed(t, "\\x{ without hex digits and '}'");
        t->at++;
    } else {
        if (read_hex(t, 2, point) == 0) return malformed(t, "\\x without hex digits");
        if (*point >= 0x80) return refuse(t, "\\x of a single byte above 7F");
    }
    if (*point > 0x10ffff || (*point >= 0xd800 && *point <= 0xdfff))
        return malformed(t, "a code point that is none");
    return true;
}

/* Names of properties that PCRE2 spells otherwise, without case, spaces, '_' and '-'. */
static const struct {
    const char *name, *content;
} properties[] = {
    {"any", "\\x{0}-\\x{10ffff}"},
    {"letter", "\\p{L}"},
    {"lowercaseletter", "\\p{Ll}"},
    {"uppercaseletter", "\\p{Lu}"},
    {"titlecaseletter", "\\p{Lt}"},
    {"modifierletter", "\\p{Lm}"},
    {"otherletter", "\\p{Lo}"},
    {"mark", "\\p{M}"},
    {"nonspacingmark", "\\p{Mn}"},
    {"spacingmark", "\\p{Mc}"},
    {"enclosingmark", "\\p{Me}"},
    {"number", "\\p{N}"},
    {"decimalnumber", "\\p{Nd}"},
    {"letternumber", "\\p{Nl}"},
    {"othernumber", "\\p{No}"},
    {"punctuation", "\\p{P}"},
    {"symbol", "\\p{S}"},
    {"separator", "\\p{Z}"},
    {"spaceseparator", "\\p{Zs}"},
    {"other", "\\p{C}"},
    {"control", "\\p{Cc}"},
    {"format", "\\p{Cf}"},
    {"unassigned", "\\p{Cn}"},
    {"space", SPACE},
    {"whitespace", SPACE},
    {"word", WORD},
    {"digit", DIGIT},
    {"xdigit", HEX},
    {"ascii", "\\x{0}-\\x{7f}"},
    {"cntrl", "\\p{Cc}"},
    {"alpha", "\\p{Alphabetic}"},
    {"alphabetic", "\\p{Alphabetic}"},
    {"upper", "\\p{Uppercase}"},
    {"lower", "\\p{Lowercase}"},
    {"alnum", "\\p{Alphabetic}\\p{Nd}"},
};

/* After "\p" or "\P": the property as the content of a class, its negation apart. */
static bool read_property(translation *t, char kind, tl_buffer *content, bool *negated) {
    if (t->at >= t->end || *t->at != '{') return refuse(t, "\\p without '{'");
    t->at++;
    *negated = kind == 'P';
    if (t->at < t->end && *t->at == '^') {
        *negated = !*negated;
        t->at++;
    }
    char name[64], folded[64];
    size_t length = 0, plain = 0;
    for (; t->at < t->end && *t->at != '}' && length < sizeof name - 1; t->at++) {
        char c = *t->at;
        if (!strchr(" _-", c)) folded[plain++] = c >= 'A' && c <= 'Z' ? (char)(c + 32) : c;
        name[length++] = c;
    }
    name[length] = folded[plain] = 0;
    if (t->at >= t->end || *t->at != '}') return malformed(t, "\\p{ without '}'");
    t->at++;
    for (size_t i = 0; i < sizeof properties / sizeof *properties; i++) {
        if (strcmp(properties[i].name, folded) != 0) continue;
        tl_buffer_append_string(content, properties[i].content);
        return true;
    }
    if (plain == 0 || strspn(folded, "abcdefghijklmnopqrstuvwxyz") != plain)
        return refuse(t, "a \\p of that name");
    if (plain <= 2) {
        folded[0] = (char)(folded[0] - 32); /* general categories: L, Lu, … */
        tl_buffer_append_format(content, "\\p{%s}", folded);
    } else {
        tl_buffer_append_format(content, "\\p{sc:%s}", name); /* scripts; PCRE2 refuses others */
    }
    return true;
}

/* The set that an escape like \s stands for, as the content of a class. */
static const char *shorthand(char c, bool in_class, bool *negated) {
    *negated = c >= 'A' && c <= 'Z';
    switch (c) {
    case 's':
    case 'S':
        return SPACE;
    case 'w':
    case 'W':
        return in_class ? WORD : WORD_ESCAPE;
    case 'd':
    case 'D':
        return DIGIT;
    case 'h':
    case 'H':
        return HEX;
    }
    return NULL;
}

/* The character that an escape like \n stands for; 0 where it is another kind of escape. */
static uint32_t control_escape(char c) {
    switch (c) {
    case 'n':
        return '\n';
    case 't':
        return '\t';
    case 'r':
        return '\r';
    case 'f':
        return '\f';
    case 'v':
        return '\v';
    case 'a':
        return '\a';
    case 'e':
        return 0x1b;
    }
    return 0;
}

/* A set under construction: `flat` is content for one pair of brackets, `others` are alternatives
 * that need their own. */
typedef struct set {
    tl_buffer flat, others;
} set;

static void set_free(set *s) {
    tl_buffer_free(&s->flat);
    tl_buffer_free(&s->others);
}

static void set_other(set *s, const char *before, const char *content, const char *after) {
    if (s->others.length) tl_buffer_append_byte(&s->others, '|');
    tl_buffer_append_string(&s->others, before);
    tl_buffer_append_string(&s->others, content);
    tl_buffer_append_string(&s->others, after);
}

/* Writes a set as an expression that matches one character. */
static void set_write(const set *s, bool negated, tl_buffer *out) {
    if (!s->others.length && s->flat.length) {
        tl_buffer_append_format(out, "[%s%s]", negated ? "^" : "", tl_buffer_string(&s->flat));
        return;
    }
    tl_buffer_append_string(out, negated ? "(?:(?!" : "(?:");
    if (s->flat.length) tl_buffer_append_format(out, "[%s]|", tl_buffer_string(&s->flat));
    tl_buffer_append_string(out, tl_buffer_string(&s->others));
    tl_buffer_append_string(out, negated ? ")(?s:.))" : ")");
}

static bool class_body(translation *t, set *result, bool *negated);

/* A set within a class: merged when it is plain, an alternative otherwise. */
static bool nested_class(translation *t, set *into) {
    set inner = {0};
    bool negated;
    bool good = class_body(t, &inner, &negated);
    if (good && !negated && !inner.others.length) {
        tl_buffer_append_string(&into->flat, tl_buffer_string(&inner.flat));
    } else if (good) {
        tl_buffer expression = {0};
        set_write(&inner, negated, &expression);
        set_other(into, "", tl_buffer_string(&expression), "");
        tl_buffer_free(&expression);
    }
    set_free(&inner);
    return good;
}

/* "[:alpha:]" and its like. */
static bool posix_class(translation *t, set *into) {
    static const struct {
        const char *name, *content;
    } names[] = {
        {"alnum", "\\p{Alphabetic}\\p{Nd}"},
        {"digit", DIGIT},
        {"space", SPACE},
        {"upper", "\\p{Uppercase}"},
        {"lower", "\\p{Lowercase}"},
        {"punct", "\\p{P}\\p{S}"},
        {"xdigit", HEX},
        {"word", WORD},
        {"cntrl", "\\p{Cc}"},
        {"alpha", "\\p{Alphabetic}"},
        {"ascii", "\\x{0}-\\x{7f}"},
    };
    const char *close = memchr(t->at, ']', (size_t)(t->end - t->at));
    const char *name = t->at + 2;
    bool negated = name < t->end && *name == '^';
    name += negated;
    for (size_t i = 0; close && close > name && i < sizeof names / sizeof *names; i++) {
        size_t length = strlen(names[i].name);
        if ((size_t)(close - name) != length + 1 || memcmp(name, names[i].name, length) != 0)
            continue;
        if (negated)
            set_other(into, "[^", names[i].content, "]");
        else
            tl_buffer_append_string(&into->flat, names[i].content);
        t->at = close + 1;
        return true;
    }
    return refuse(t, "that POSIX class");
}

/* One end of a range or a single character; *is_set when it was a set (added already). */
static bool class_atom(translation *t, set *into, uint32_t *point, bool *is_set) {
    *is_set = false;
    if (*t->at != '\\') {
        *point = tl_utf8_at(t->at);
        t->at += tl_utf8_size(*t->at);
        return true;
    }
    if (++t->at >= t->end) return malformed(t, "a '\\' at the end");
    char c = *t->at;
    bool negated;
    const char *content = shorthand(c, true, &negated);
    if (content) {
        t->at++;
        *is_set = true;
        if (negated)
            set_other(into, "[^", content, "]");
        else
            tl_buffer_append_string(&into->flat, content);
        return true;
    }
    if (c == 'p' || c == 'P') {
        t->at++;
        *is_set = true;
        tl_buffer property = {0};
        bool good = read_property(t, c, &property, &negated);
        if (good && negated)
            set_other(into, "[^", tl_buffer_string(&property), "]");
        else if (good)
            tl_buffer_append_string(&into->flat, tl_buffer_string(&property));
        tl_buffer_free(&property);
        return good;
    }
    if (c == 'x' || c == 'u') {
        t->at++;
        return read_code(t, c, point);
    }
    *point = c == 'b' ? '\b' : control_escape(c);
    if (!*point && ((c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z')))
        return refuse(t, "that escape in a class");
    if (!*point) *point = tl_utf8_at(t->at);
    t->at += tl_utf8_size(*t->at);
    return true;
}

/* One item of a class: a nested class, a POSIX class, a character, a range, or a shorthand. */
static bool class_item(translation *t, set *into) {
    if (is_next(t, "[:")) return posix_class(t, into);
    if (*t->at == '[') {
        t->at++;
        return nested_class(t, into);
    }
    uint32_t low, high;
    bool is_set;
    if (!class_atom(t, into, &low, &is_set)) return false;
    if (is_set) return true;
    bool range = t->end - t->at >= 2 && t->at[0] == '-' && t->at[1] != ']' && t->at[1] != '[';
    if (!range) {
        emit_point(&into->flat, low);
        return true;
    }
    t->at++;
    if (!class_atom(t, into, &high, &is_set)) return false;
    if (is_set) return refuse(t, "a range that ends in a set");
    if (high < low) return malformed(t, "a range whose end is before its start");
    emit_point(&into->flat, low);
    tl_buffer_append_byte(&into->flat, '-');
    emit_point(&into->flat, high);
    return true;
}

/* After '[': the class up to its ']'. */
static bool class_body(translation *t, set *result, bool *negated) {
    if (++t->depth > DEPTH) return refuse(t, "nesting so deep");
    *negated = t->at < t->end && *t->at == '^';
    t->at += *negated;
    tl_buffer intersected = {0}; /* the operands before each "&&", as lookaheads */
    bool good = true, first = true;
    while (good && t->at < t->end && (*t->at != ']' || first)) {
        first = false;
        if (!is_next(t, "&&")) {
            good = class_item(t, result);
            continue;
        }
        t->at += 2;
        tl_buffer_append_string(&intersected, "(?=");
        if (!result->flat.length && !result->others.length)
            good = malformed(t, "'&&' without a left side");
        else
            set_write(result, false, &intersected);
        tl_buffer_append_byte(&intersected, ')');
        set_free(result);
    }
    if (good && t->at >= t->end) good = malformed(t, "a '[' without ']'");
    if (good && !result->flat.length && !result->others.length)
        good = malformed(t, "an empty class");
    if (good) t->at++;
    if (good && intersected.length) {
        set_write(result, false, &intersected);
        set_free(result);
        set_other(result, "", tl_buffer_string(&intersected), "");
    }
    tl_buffer_free(&intersected);
    t->depth--;
    return good;
}

static bool translate_class(translation *t) {
    set s = {0};
    bool negated;
    t->at++;
    bool good = class_body(t, &s, &negated);
    if (good) set_write(&s, negated, t->out);
    set_free(&s);
    return good;
}

static bool translate_escape(translation *t) {
    if (++t->at >= t->end) return malformed(t, "a '\\' at the end");
    char c = *t->at;
    bool negated;
    const char *content = shorthand(c, false, &negated);
    if (content) {
        t->at++;
        tl_buffer_append_format(t->out, "[%s%s]", negated ? "^" : "", content);
        return true;
    }
    if (c == 'p' || c == 'P') {
        t->at++;
        tl_buffer property = {0};
        bool good = read_property(t, c, &property, &negated);
        if (good)
            tl_buffer_append_format(t->out, "[%s%s]", negated ? "^" : "",
                                    tl_buffer_string(&property));
        tl_buffer_free(&property);
        return good;
    }
    uint32_t point = control_escape(c);
    if (c == 'x' || c == 'u') {
        t->at++;
        if (!read_code(t, c, &point)) return false;
        emit_point(t->out, point);
        return true;
    }
    if (point) {
        t->at++;
        emit_point(t->out, point);
        return true;
    }
    if (c == 'b' || c == 'B') { /* by our own \w */
        t->at++;
        emit(t, c == 'b' ? "(?:(?<=[" WORD_ESCAPE "])(?![" WORD_ESCAPE "])|(?<![" WORD_ESCAPE
                           "])(?=[" WORD_ESCAPE "]))"
                         : "(?:(?<=[" WORD_ESCAPE "])(?=[" WORD_ESCAPE "])|(?<![" WORD_ESCAPE
                           "])(?![" WORD_ESCAPE "]))");
        return true;
    }
    if (c && strchr("AzZGRX", c)) {
        t->at++;
        tl_buffer_append_format(t->out, "\\%c", c);
        return true;
    }
    if (c >= '1' && c <= '9') return refuse(t, "a back reference");
    if ((c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '0') {
        char what[] = "the escape \\?";
        what[sizeof what - 2] = c;
        return refuse(t, what);
    }
    emit_point(t->out, tl_utf8_at(t->at));
    t->at += tl_utf8_size(*t->at);
    return true;
}

static bool translate_alternatives(translation *t);

/* "(?imx-imx)" and "(?imx-imx:": options; *scoped when the rest of the group is within them. */
static bool translate_options(translation *t, bool *isolated) {
    bool on = true, any_off = false;
    tl_buffer off = {0};
    emit(t, "(?");
    for (; t->at < t->end && *t->at != ':' && *t->at != ')'; t->at++) {
        char letter = *t->at == 'i' ? 'i' : *t->at == 'm' ? 's' : 0;
        if (*t->at == '-') {
            on = false;
            any_off = true;
        } else if (letter) {
            tl_buffer_append_byte(on ? t->out : &off, letter);
        } else {
            tl_buffer_free(&off);
            return refuse(t, "that group option");
        }
    }
    if (any_off) tl_buffer_append_format(t->out, "-%s", tl_buffer_string(&off));
    tl_buffer_free(&off);
    if (t->at >= t->end) return malformed(t, "a '(' without ')'");
    emit(t, ":");
    *isolated = *t->at == ')';
    t->at++;
    return true;
}

/* "(…)": a group of any kind. */
static bool translate_group(translation *t) {
    static const char *const kinds[] = {"(?:", "(?=", "(?!", "(?>", "(?<=", "(?<!"};
    if (++t->depth > DEPTH) return refuse(t, "nesting so deep");
    bool isolated = false, known = false;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds && !known; i++) {
        if (!is_next(t, kinds[i])) continue;
        emit(t, kinds[i]);
        t->at += strlen(kinds[i]);
        known = true;
    }
    if (!known && is_next(t, "(?#")) {
        const char *close = memchr(t->at, ')', (size_t)(t->end - t->at));
        if (!close) return malformed(t, "a '(' without ')'");
        t->at = close + 1;
        t->depth--;
        return true;
    }
    if (!known && is_next(t, "(?<")) { /* a named group: nothing here refers to it */
        const char *close = memchr(t->at, '>', (size_t)(t->end - t->at));
        if (!close) return malformed(t, "a group's name without '>'");
        emit(t, "(?:");
        t->at = close + 1;
    } else if (!known && is_next(t, "(?")) {
        t->at += 2;
        if (!translate_options(t, &isolated)) return false;
    } else if (!known) {
        emit(t, "(?:");
        t->at++;
    }
    if (!translate_alternatives(t)) return false;
    emit(t, ")");
    t->depth--;
    /* "(?i)": what follows up to the end of the group around it was the content; the ')' that ended
     * it belongs to that group. */
    if (isolated) return true;
    if (t->at >= t->end) return malformed(t, "a '(' without ')'");
    t->at++;
    return true;
}

/* "{n}", "{n,}", "{,m}", "{n,m}": the bounds; false and nothing consumed when it is not one. */
static bool read_interval(translation *t, long *low, long *high) {
    const char *at = t->at + 1;
    *low = *high = -1;
    long *bound = low;
    for (; at < t->end && *at != '}'; at++) {
        if (*at == ',' && bound == low) {
            bound = high;
            continue;
        }
        if (*at < '0' || *at > '9') return false;
        *bound = (*bound < 0 ? 0 : *bound) * 10 + (*at - '0');
        if (*bound > 65535) return false;
    }
    if (at >= t->end || (*low < 0 && *high < 0)) return false;
    if (bound == low) *high = *low;
    if (*low < 0) *low = 0;
    t->at = at + 1;
    return true;
}

/* Wraps what was written since `start` in "(?:…)". */
static void wrap(translation *t, size_t start) {
    tl_buffer tail = {0};
    tl_buffer_append(&tail, t->out->data + start, t->out->length - start);
    t->out->length = start;
    tl_buffer_append_format(t->out, "(?:%s)", tl_buffer_string(&tail));
    t->out->failed |= tail.failed;
    tl_buffer_free(&tail);
}

/* The quantifiers after an atom that was written, as one item, from `start` on. */
static bool translate_quantifiers(translation *t, size_t start) {
    for (bool repeated = false; t->at < t->end; repeated = true) {
        char c = *t->at;
        long low, high;
        if (t->out->length - start > (1 << 16)) return refuse(t, "so long an expression");
        if (c == '*' || c == '+' || c == '?') {
            if (repeated) wrap(t, start);
            tl_buffer_append_byte(t->out, c);
            t->at++;
            if (t->at < t->end && (*t->at == '?' || *t->at == '+'))
                tl_buffer_append_byte(t->out, *t->at++);
        } else if (c == '{' && read_interval(t, &low, &high)) {
            if (repeated) wrap(t, start);
            if (high < 0)
                tl_buffer_append_format(t->out, "{%ld,}", low);
            else if (high < low)
                return refuse(t, "an interval whose end is before its start");
            else
                tl_buffer_append_format(t->out, "{%ld,%ld}", low, high);
            /* Lazy, but for {n}?, where the '?' repeats the whole; a '+' always does. */
            if (t->at < t->end && *t->at == '?' && high != low)
                tl_buffer_append_byte(t->out, *t->at++);
        } else {
            return true;
        }
    }
    return true;
}

static bool translate_atom(translation *t) {
    switch (*t->at) {
    case '[':
        return translate_class(t);
    case '\\':
        return translate_escape(t);
    case '(':
        return translate_group(t);
    case '.':
    case '^':
    case '$':
        tl_buffer_append_byte(t->out, *t->at++);
        return true;
    case '*':
    case '+':
    case '?':
        return malformed(t, "a quantifier with nothing before it");
    }
    emit_point(t->out, tl_utf8_at(t->at));
    t->at += tl_utf8_size(*t->at);
    return true;
}

/* Up to the ')' that closes the group around, or the end. */
static bool translate_alternatives(translation *t) {
    while (t->at < t->end && *t->at != ')') {
        if (*t->at == '|') {
            tl_buffer_append_byte(t->out, *t->at++);
            continue;
        }
        size_t start = t->out->length;
        if (!translate_atom(t) || !translate_quantifiers(t, start)) return false;
    }
    return true;
}

bool tl_oniguruma_translate(const char *pattern, size_t length, tl_buffer *out, tl_error *error) {
    translation t = {pattern, pattern, pattern + length, out, error, 0};
    tl_buffer_reserve(out, length * 4 + 64);
    if (!translate_alternatives(&t)) return false;
    if (t.at < t.end) return malformed(&t, "a ')' without '('");
    return !out->failed || tl_fail_memory(error, length, "a regular expression");
}
