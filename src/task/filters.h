/* filters: the named functions of field expressions. */
#ifndef TL_TASK_FILTERS_H
#define TL_TASK_FILTERS_H

#include "task/value.h"

enum { TL_FILTER_ARGUMENTS = 12 };

typedef struct tl_filter tl_filter;

/* A filter with its arguments, as one application sees it. */
typedef struct tl_filter_call {
    const tl_filter *filter;
    const tl_value *arguments;
    int n_arguments;
    const void *pattern; /* compiled, for filters whose first argument is a pattern */
    tl_arena *arena;
    tl_error *error;
} tl_filter_call;

struct tl_filter {
    const char *name;
    int least, most; /* arguments */
    bool each;       /* applied to each item of a list */
    bool pattern;    /* the first argument is a regular expression, known beforehand */
    bool (*apply)(const tl_filter_call *call, const tl_value *input, tl_value *output);
};

/* The filter of that name (`length` bytes), or NULL. */
const tl_filter *tl_filter_find(const char *name, size_t length);

/* Compiles a pattern for filters that take one; NULL with a message. Free with
 * tl_filter_pattern_free. */
void *tl_filter_pattern_compile(const char *pattern, tl_error *error);
void tl_filter_pattern_free(void *pattern);

/* Applies a filter, to every item where the input is a list and the filter works on single values.
 */
bool tl_filter_apply(const tl_filter_call *call, const tl_value *input, tl_value *output);

#endif
