#include "tokenizer/regex.h"

#include "tokenizer/utf8.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <stdlib.h>
#include <string.h>

enum {
    MATCH_LIMIT = 10 * 1000 * 1000, /* backtracking points of one match */
    HEAP_LIMIT_KIB = 64 * 1024,
    PATTERN_LIMIT = 1 << 16,
};

struct tl_regex {
    pcre2_code *code;
    bool jit;
    char *pattern; /* as the file has it, for messages */
};

struct tl_matcher {
    pcre2_match_data *data;
    pcre2_match_context *context;
};

tl_regex *tl_regex_new(const char *pattern, size_t length, tl_error *error) {
    if (length > PATTERN_LIMIT) {
        tl_fail(error, TL_ERROR_LIMIT, "a regular expression of %zu bytes: at most %d", length,
                PATTERN_LIMIT);
        return NULL;
    }
    tl_buffer translated = {0};
    tl_regex *regex = calloc(1, sizeof *regex);
    pcre2_compile_context *context = pcre2_compile_context_create(NULL);
    if (!regex || !context || !(regex->pattern = strndup(pattern, length))) {
        tl_fail_memory(error, length, "a regular expression");
        goto failed;
    }
    pcre2_set_newline(context, PCRE2_NEWLINE_LF);
    if (!tl_oniguruma_translate(pattern, length, &translated, error)) goto failed;
    int code;
    PCRE2_SIZE at;
    regex->code = pcre2_compile((PCRE2_SPTR)tl_buffer_string(&translated), translated.length,
                                PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C |
                                    PCRE2_NO_AUTO_CAPTURE,
                                &code, &at, context);
    if (!regex->code) {
        char message[128];
        pcre2_get_error_message(code, (PCRE2_UCHAR *)message, sizeof message);
        tl_fail(error, TL_ERROR_UNSUPPORTED, "regular expression '%.200s': %s", regex->pattern,
                message);
        goto failed;
    }
    regex->jit = pcre2_jit_compile(regex->code, PCRE2_JIT_COMPLETE) == 0;
    pcre2_compile_context_free(context);
    tl_buffer_free(&translated);
    return regex;
failed:
    pcre2_compile_context_free(context);
    tl_buffer_free(&translated);
    tl_regex_free(regex);
    return NULL;
}

void tl_regex_free(tl_regex *regex) {
    if (!regex) return;
    pcre2_code_free(regex->code);
    free(regex->pattern);
    free(regex);
}

size_t tl_regex_bytes(const tl_regex *regex) {
    size_t code = 0, jit = 0;
    pcre2_pattern_info(regex->code, PCRE2_INFO_SIZE, &code);
    pcre2_pattern_info(regex->code, PCRE2_INFO_JITSIZE, &jit);
    return code + jit;
}

tl_matcher *tl_matcher_new(tl_error *error) {
    tl_matcher *matcher = calloc(1, sizeof *matcher);
    if (matcher) {
        matcher->data = pcre2_match_data_create(1, NULL);
        matcher->context = pcre2_match_context_create(NULL);
        if (matcher->data && matcher->context) {
            pcre2_set_match_limit(matcher->context, MATCH_LIMIT);
            pcre2_set_heap_limit(matcher->context, HEAP_LIMIT_KIB);
            return matcher;
        }
    }
    tl_matcher_free(matcher);
    tl_fail_memory(error, sizeof *matcher, "matching");
    return NULL;
}

void tl_matcher_free(tl_matcher *matcher) {
    if (!matcher) return;
    pcre2_match_data_free(matcher->data);
    pcre2_match_context_free(matcher->context);
    free(matcher);
}

bool tl_regex_find(const tl_regex *regex, tl_matcher *matcher, const char *text, size_t length,
                   size_t from, tl_match *match, tl_error *error) {
    PCRE2_SPTR subject = (PCRE2_SPTR)text;
    int code = PCRE2_ERROR_JIT_STACKLIMIT;
    if (regex->jit)
        code =
            pcre2_jit_match(regex->code, subject, length, from, 0, matcher->data, matcher->context);
    if (code == PCRE2_ERROR_JIT_STACKLIMIT) /* the interpreter keeps its stack on the heap */
        code = pcre2_match(regex->code, subject, length, from, PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT,
                           matcher->data, matcher->context);
    match->found = code >= 0;
    if (match->found) {
        const PCRE2_SIZE *bounds = pcre2_get_ovector_pointer(matcher->data);
        match->start = bounds[0] < bounds[1] ? bounds[0] : bounds[1]; /* \K may cross them */
        match->end = bounds[1];
        return true;
    }
    if (code == PCRE2_ERROR_NOMATCH) return true;
    char message[128];
    pcre2_get_error_message(code, (PCRE2_UCHAR *)message, sizeof message);
    return tl_fail(error, TL_ERROR_LIMIT, "regular expression '%.200s' on %zu bytes: %s",
                   regex->pattern, length, message);
}

bool tl_regex_next(const tl_regex *regex, tl_matcher *matcher, const char *text, size_t length,
                   size_t *at, size_t *last, tl_match *match, tl_error *error) {
    while (*at <= length) {
        if (!tl_regex_find(regex, matcher, text, length, *at, match, error)) return false;
        if (!match->found) break;
        if (match->start < *at) match->start = *at; /* a lookbehind with \K must not go back */
        bool empty = match->end <= match->start;
        size_t step = match->end < length ? tl_utf8_size(text[match->end]) : 1;
        *at = empty ? match->end + step : match->end;
        if (empty && match->end == *last) continue;
        *last = match->end;
        return true;
    }
    match->found = false;
    *at = length + 1;
    return true;
}
