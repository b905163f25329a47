/* Regular expressions of tokenizer files: written for Oniguruma, matched by PCRE2.
 *
 * A pattern is translated first (oniguruma.c): what the two read differently is rewritten (nested
 * and intersected classes, \h, \s, \w, \uHHHH, (?m), intervals), what has no equal is refused by
 * name. Matching has limits, so that no pattern of a hostile file can hang. */
#ifndef TL_TOKENIZER_REGEX_H
#define TL_TOKENIZER_REGEX_H

#include "base/base.h"

typedef struct tl_regex tl_regex;
typedef struct tl_matcher tl_matcher;

/* Compiles an Oniguruma pattern of valid UTF-8. Immutable: threads may share it. */
tl_regex *tl_regex_new(const char *pattern, size_t length, tl_error *error);
void tl_regex_free(tl_regex *regex);
size_t tl_regex_bytes(const tl_regex *regex);

/* Working memory of one thread. */
tl_matcher *tl_matcher_new(tl_error *error);
void tl_matcher_free(tl_matcher *matcher);

typedef struct tl_match {
    size_t start, end; /* bytes */
    bool found;
} tl_match;

/* The first match at or after `from` in valid UTF-8. Fails (TL_ERROR_LIMIT) when the pattern
 * backtracks too much. */
bool tl_regex_find(const tl_regex *regex, tl_matcher *matcher, const char *text, size_t length,
                   size_t from, tl_match *match, tl_error *error);

/* The next match of a walk over all that do not overlap, as Oniguruma's find_iter gives them: an
 * empty match right after a match is passed over. Start with *at = 0 and *last = SIZE_MAX. */
bool tl_regex_next(const tl_regex *regex, tl_matcher *matcher, const char *text, size_t length,
                   size_t *at, size_t *last, tl_match *match, tl_error *error);

/* Rewrites an Oniguruma pattern for PCRE2 (oniguruma.c). */
bool tl_oniguruma_translate(const char *pattern, size_t length, tl_buffer *out, tl_error *error);

#endif
