#include "task/filters.h"

#include "task/text.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

enum { MOST_TEXT = 16 << 20 }; /* no filter may make more */

static bool need_text(const tl_filter_call *call, const tl_value *value) {
    if (value->kind == TL_VALUE_TEXT) return true;
    return tl_fail(call->error, TL_ERROR_FORMAT, "filter '%s': expected text", call->filter->name);
}

/* Moves the buffer's text into the arena and frees the buffer. */
static bool give_text(const tl_filter_call *call, tl_buffer *buffer, tl_value *output) {
    bool ok = !buffer->failed && buffer->length <= MOST_TEXT;
    if (!ok) tl_fail(call->error, TL_ERROR_LIMIT, "filter '%s': text too long", call->filter->name);
    if (ok) {
        char *copy =
            tl_arena_strndup(call->arena, tl_buffer_string(buffer), buffer->length, call->error);
        *output = (tl_value){.kind = TL_VALUE_TEXT, .text = copy, .length = buffer->length};
        ok = copy != NULL;
    }
    tl_buffer_free(buffer);
    return ok;
}

static bool give_part(const tl_filter_call *call, const char *text, size_t length,
                      tl_value *output) {
    char *copy = tl_arena_strndup(call->arena, text, length, call->error);
    *output = (tl_value){.kind = TL_VALUE_TEXT, .text = copy, .length = length};
    return copy != NULL;
}

static bool strip_sides(const tl_filter_call *call, const tl_value *input, tl_value *output,
                        bool left, bool right) {
    if (!need_text(call, input)) return false;
    const char *text = input->text;
    size_t length = input->length;
    tl_text_strip(&text, &length, left, right);
    return give_part(call, text, length, output);
}

static bool filter_strip(const tl_filter_call *call, const tl_value *input, tl_value *output) {
    return strip_sides(call, input, output, true, true);
}

static bool filter_strip_left(const tl_filter_call *call, const tl_value *input, tl_value *output) {
    return strip_sides(call, input, output, true, false);
}

static bool filter_strip_right(const tl_filter_call *call, const tl_value *input,
                               tl_value *output) {
    return strip_sides(call, input, output, false, true);
}

static bool filter_lower(const tl_filter_call *call, const tl_value *input, tl_value *output) {
    if (!need_text(call, input)) return false;
    tl_buffer buffer = {0};
    tl_text_lower(&buffer, input->text, input->length);
    return give_text(call, &buffer, output);
}

static bool filter_capitalize(const tl_filter_call *call, const tl_value *input, tl_value *output) {
    if (!need_text(call, input)) return false;
    tl_buffer buffer = {0};
    tl_text_capitalize(&buffer, input->text, input->length);
    return give_text(call, &buffer, output);
}

/* The first place of `part` at or after `from`, or NULL. */
static const char *find(const tl_value *text, const char *from, const tl_value *part) {
    size_t left = text->length - (size_t)(from - text->text);
    return part->length ? memmem(from, left, part->text, part->length) : NULL;
}

static bool filter_replace(const tl_filter_call *call, const tl_value *input, tl_value *output) {
    const tl_value *from = &call->arguments[0], *to = &call->arguments[1];
    if (!need_text(call, input) || !need_text(call, from) || !need_text(call, to)) return false;
    tl_buffer buffer = {0};
    const char *at = input->text, *hit;
    while ((hit = find(input, at, from)) && buffer.length <= MOST_TEXT) {
        tl_buffer_append(&buffer, at, (size_t)(hit - at));
        tl_buffer_append(&buffer, to->text, to->length);
        at = hit + from->length;
    }
    tl_buffer_append(&buffer, at, input->length - (size_t)(at - input->text));
    return give_text(call, &buffer, output);
}

static bool filter_before(const tl_filter_call *call, const tl_value *input, tl_value *output) {
    if (!need_text(call, input) || !need_text(call, &call->arguments[0])) return false;
    const char *hit = find(input, input->text, &call->arguments[0]);
    if (!hit)
        return tl_fail(call->error, TL_ERROR_FORMAT, "filter 'before': no '%s' in the text",
                       call->arguments[0].text);
    return give_part(call, input->text, (size_t)(hit - input->text), output);
}

static bool filter_after(const tl_filter_call *call, const tl_value *input, tl_value *output) {
    if (!need_text(call, input) || !need_text(call, &call->arguments[0])) return false;
    const char *hit = find(input, input->text, &call->arguments[0]);
    if (!hit)
        return tl_fail(call->error, TL_ERROR_FORMAT, "filter 'after': no '%s' in the text",
                       call->arguments[0].text);
    hit += call->arguments[0].length;
    return give_part(call, hit, input->length - (size_t)(hit - input->text), output);
}

/* ---- regular expressions ---- */

void *tl_filter_pattern_compile(const char *pattern, tl_error *error) {
    pcre2_compile_context *context = pcre2_compile_context_create(NULL);
    if (!context) {
        tl_fail_memory(error, 0, "a pattern");
        return NULL;
    }
    pcre2_set_newline(context, PCRE2_NEWLINE_LF);
    int code;
    PCRE2_SIZE at;
    pcre2_code *compiled =
        pcre2_compile((PCRE2_SPTR)pattern, PCRE2_ZERO_TERMINATED,
                      PCRE2_UTF | PCRE2_UCP | PCRE2_MATCH_INVALID_UTF | PCRE2_NEVER_BACKSLASH_C,
                      &code, &at, context);
    pcre2_compile_context_free(context);
    if (!compiled) {
        char message[128] = "";
        pcre2_get_error_message(code, (PCRE2_UCHAR *)message, sizeof message);
        tl_fail(error, TL_ERROR_FORMAT, "pattern '%s': %s at %zu", pattern, message, at);
    }
    return compiled;
}

void tl_filter_pattern_free(void *pattern) {
    pcre2_code_free(pattern);
}

/* re.sub with a literal replacement. An empty match is replaced too and the search goes on one
 * character further, as in Python since 3.7. */
static int substitute(const tl_filter_call *call, const tl_value *input, pcre2_match_data *data,
                      pcre2_match_context *limits, tl_buffer *buffer) {
    const tl_value *to = &call->arguments[1];
    size_t at = 0, copied = 0;
    int found = 0;
    while (at <= input->length && buffer->length <= MOST_TEXT) {
        found =
            pcre2_match(call->pattern, (PCRE2_SPTR)input->text, input->length, at, 0, data, limits);
        if (found < 0) break;
        const PCRE2_SIZE *span = pcre2_get_ovector_pointer(data);
        if (span[1] < span[0] || span[1] < at) break; /* \K in a lookahead */
        size_t start = span[0] < copied ? copied : span[0];
        tl_buffer_append(buffer, input->text + copied, start - copied);
        tl_buffer_append(buffer, to->text, to->length);
        copied = span[1];
        at = span[1];
        if (span[1] == span[0]) {
            at++;
            while (at < input->length && ((unsigned char)input->text[at] & 0xc0) == 0x80)
                at++;
        }
    }
    tl_buffer_append(buffer, input->text + copied, input->length - copied);
    return found < 0 && found != PCRE2_ERROR_NOMATCH ? found : 0;
}

static bool filter_regex_replace(const tl_filter_call *call, const tl_value *input,
                                 tl_value *output) {
    if (!need_text(call, input) || !need_text(call, &call->arguments[1])) return false;
    pcre2_match_data *data = pcre2_match_data_create_from_pattern(call->pattern, NULL);
    pcre2_match_context *limits = pcre2_match_context_create(NULL);
    tl_buffer buffer = {0};
    int failure = PCRE2_ERROR_NOMEMORY;
    if (data && limits) {
        pcre2_set_match_limit(limits, 1000000);
        pcre2_set_depth_limit(limits, 10000);
        failure = substitute(call, input, data, limits, &buffer);
    }
    pcre2_match_context_free(limits);
    pcre2_match_data_free(data);
    if (failure == 0) return give_text(call, &buffer, output);
    tl_buffer_free(&buffer);
    char message[128] = "";
    pcre2_get_error_message(failure, (PCRE2_UCHAR *)message, sizeof message);
    return tl_fail(call->error, TL_ERROR_LIMIT, "filter 'regex_replace': %s", message);
}

/* ---- numbers and places ---- */

static bool filter_int(const tl_filter_call *call, const tl_value *input, tl_value *output) {
    *output = (tl_value){.kind = TL_VALUE_INTEGER, .integer = input->integer};
    if (input->kind == TL_VALUE_INTEGER || input->kind == TL_VALUE_BOOL) return true;
    if (input->kind == TL_VALUE_NUMBER && fabs(input->number) < 0x1p53) {
        output->integer = (int64_t)input->number; /* int() truncates */
        return true;
    }
    if (input->kind == TL_VALUE_TEXT) {
        const char *text = input->text;
        size_t length = input->length;
        tl_text_strip(&text, &length, true, true);
        bool sign = length && (*text == '-' || *text == '+');
        size_t digits = sign;
        while (digits < length && text[digits] >= '0' && text[digits] <= '9')
            digits++;
        if (digits == length && digits > (size_t)sign && digits <= 18) {
            output->integer = strtoll(text, NULL, 10);
            return true;
        }
        return tl_fail(call->error, TL_ERROR_FORMAT, "filter 'int': '%.40s' is not an integer",
                       input->text);
    }
    return tl_fail(call->error, TL_ERROR_FORMAT, "filter 'int': expected a number");
}

static bool add(const tl_filter_call *call, const tl_value *input, int sign, tl_value *output) {
    const tl_value *other = &call->arguments[0];
    *output = (tl_value){.kind = TL_VALUE_INTEGER};
    if (input->kind != TL_VALUE_INTEGER || other->kind != TL_VALUE_INTEGER ||
        other->integer == INT64_MIN ||
        __builtin_add_overflow(input->integer, sign * other->integer, &output->integer))
        return tl_fail(call->error, TL_ERROR_FORMAT, "filter '%s': expected integers",
                       call->filter->name);
    return true;
}

static bool filter_plus(const tl_filter_call *call, const tl_value *input, tl_value *output) {
    return add(call, input, 1, output);
}

static bool filter_minus(const tl_filter_call *call, const tl_value *input, tl_value *output) {
    return add(call, input, -1, output);
}

static bool equal(const tl_value *a, const tl_value *b) {
    if (a->kind != b->kind) return false;
    switch (a->kind) {
    case TL_VALUE_TEXT:
        return a->length == b->length && memcmp(a->text, b->text, a->length) == 0;
    case TL_VALUE_NUMBER:
        return a->number == b->number;
    case TL_VALUE_LIST:
        return false;
    default:
        return a->integer == b->integer;
    }
}

/* The place, from 0, of the input among the arguments: one list, or several values. */
static bool filter_position(const tl_filter_call *call, const tl_value *input, tl_value *output) {
    const tl_value *items = call->arguments;
    size_t count = (size_t)call->n_arguments;
    if (count == 1 && items[0].kind == TL_VALUE_LIST) {
        count = items[0].count;
        items = items[0].items;
    }
    for (size_t i = 0; i < count; i++)
        if (equal(input, &items[i])) {
            *output = tl_value_integer((int64_t)i);
            return true;
        }
    const char *text = "a list";
    tl_value_to_text(input, call->arena, &text, &(size_t){0}, NULL);
    return tl_fail(call->error, TL_ERROR_FORMAT, "filter 'position': '%.40s' is not among the %zu",
                   text, count);
}

/* A letter's place in the alphabet: "A" or "a" is 0. */
static bool filter_letter(const tl_filter_call *call, const tl_value *input, tl_value *output) {
    if (!need_text(call, input)) return false;
    const char *text = input->text;
    size_t length = input->length;
    tl_text_strip(&text, &length, true, true);
    char letter = length == 1 ? (char)(*text & ~0x20) : 0;
    if (letter < 'A' || letter > 'Z')
        return tl_fail(call->error, TL_ERROR_FORMAT, "filter 'letter': '%.40s' is not a letter",
                       input->text);
    *output = tl_value_integer(letter - 'A');
    return true;
}

static bool filter_join(const tl_filter_call *call, const tl_value *input, tl_value *output) {
    const tl_value *between = &call->arguments[0];
    if (input->kind != TL_VALUE_LIST)
        return tl_fail(call->error, TL_ERROR_FORMAT, "filter 'join': expected a list");
    if (!need_text(call, between)) return false;
    tl_buffer buffer = {0};
    bool ok = true;
    for (size_t i = 0; i < input->count && ok && buffer.length <= MOST_TEXT; i++) {
        const char *text = "";
        size_t length = 0;
        ok = tl_value_to_text(&input->items[i], call->arena, &text, &length, call->error);
        if (i) tl_buffer_append(&buffer, between->text, between->length);
        if (ok) tl_buffer_append(&buffer, text, length);
    }
    if (ok) return give_text(call, &buffer, output);
    tl_buffer_free(&buffer);
    return false;
}

static bool filter_split(const tl_filter_call *call, const tl_value *input, tl_value *output) {
    const tl_value *between = &call->arguments[0];
    if (!need_text(call, input) || !need_text(call, between)) return false;
    size_t count = 1;
    const char *hit;
    for (const char *at = input->text; (hit = find(input, at, between)); at = hit + between->length)
        count++;
    tl_value *items = tl_arena_alloc(call->arena, count, sizeof *items, "a list", call->error);
    if (!items) return false;
    const char *at = input->text, *end = input->text + input->length;
    for (size_t i = 0; i < count; i++) {
        hit = i + 1 < count ? find(input, at, between) : end;
        if (!give_part(call, at, (size_t)(hit - at), &items[i])) return false;
        at = hit + between->length;
    }
    *output = (tl_value){.kind = TL_VALUE_LIST, .items = items, .count = count};
    return true;
}

static const tl_filter filters[] = {
    {"strip", 0, 0, true, false, filter_strip},
    {"strip_left", 0, 0, true, false, filter_strip_left},
    {"strip_right", 0, 0, true, false, filter_strip_right},
    {"lower", 0, 0, true, false, filter_lower},
    {"capitalize", 0, 0, true, false, filter_capitalize},
    {"replace", 2, 2, true, false, filter_replace},
    {"regex_replace", 2, 2, true, true, filter_regex_replace},
    {"before", 1, 1, true, false, filter_before},
    {"after", 1, 1, true, false, filter_after},
    {"int", 0, 0, true, false, filter_int},
    {"plus", 1, 1, true, false, filter_plus},
    {"minus", 1, 1, true, false, filter_minus},
    {"position", 1, TL_FILTER_ARGUMENTS, false, false, filter_position},
    {"letter", 0, 0, false, false, filter_letter},
    {"join", 1, 1, false, false, filter_join},
    {"split", 1, 1, false, false, filter_split},
};

const tl_filter *tl_filter_find(const char *name, size_t length) {
    for (size_t i = 0; i < sizeof filters / sizeof *filters; i++)
        if (strlen(filters[i].name) == length && memcmp(filters[i].name, name, length) == 0)
            return &filters[i];
    return NULL;
}

bool tl_filter_apply(const tl_filter_call *call, const tl_value *input, tl_value *output) {
    if (!call->filter->each || input->kind != TL_VALUE_LIST)
        return call->filter->apply(call, input, output);
    tl_value *items =
        tl_arena_alloc(call->arena, input->count + 1, sizeof *items, "a list", call->error);
    if (!items) return false;
    for (size_t i = 0; i < input->count; i++)
        if (!call->filter->apply(call, &input->items[i], &items[i])) return false;
    *output = (tl_value){.kind = TL_VALUE_LIST, .items = items, .count = input->count};
    return true;
}
