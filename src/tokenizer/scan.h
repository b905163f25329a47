/* A cursor over JSON text, for the parts too large to hold as a tree: a vocabulary of 150 000
 * entries is read in one pass, without an allocation per entry. */
#ifndef TL_TOKENIZER_SCAN_H
#define TL_TOKENIZER_SCAN_H

#include "base/base.h"

typedef struct tl_scan {
    const char *text; /* the whole document, for line numbers */
    const char *at;
    const char *end;
    const char *file;
    tl_error *error;
    tl_buffer unescaped; /* holds the last string that had escapes; freed by tl_scan_free */
} tl_scan;

void tl_scan_free(tl_scan *scan);

/* Fills the error with "file:line: expected WHAT"; returns false. */
bool tl_scan_fail(tl_scan *scan, const char *what);

/* The next character that is not white space, not consumed; 0 at the end. */
char tl_scan_peek(tl_scan *scan);

/* Consumes `c` after white space, or fails. */
bool tl_scan_expect(tl_scan *scan, char c);

/* Consumes `c` if it comes next. */
bool tl_scan_accept(tl_scan *scan, char c);

/* A string: points into the document, or, where it has escapes, into `unescaped` (until the next
 * string). */
bool tl_scan_string(tl_scan *scan, const char **text, size_t *length);

bool tl_scan_number(tl_scan *scan, double *value);

/* An integer written without fraction or exponent. */
bool tl_scan_int(tl_scan *scan, int64_t *value);

/* Skips one value of any kind, nested at most 100 deep. */
bool tl_scan_skip(tl_scan *scan);

/* Walks an object or array: called after '{' or '[' and after each value; consumes a ',' and
 * returns true where another value follows, consumes `close` and sets *done otherwise. */
bool tl_scan_next(tl_scan *scan, char close, bool *first, bool *done);

#endif
