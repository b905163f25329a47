/* What expressions are made of and come to: texts, numbers, lists. */
#ifndef TL_TASK_VALUE_H
#define TL_TASK_VALUE_H

#include "base/base.h"

typedef enum tl_value_kind {
    TL_VALUE_TEXT,
    TL_VALUE_INTEGER,
    TL_VALUE_NUMBER,
    TL_VALUE_BOOL,
    TL_VALUE_LIST,
} tl_value_kind;

typedef struct tl_value {
    tl_value_kind kind;
    const char *text;             /* TL_VALUE_TEXT: NUL-terminated */
    size_t length;                /* bytes of text */
    int64_t integer;              /* TL_VALUE_INTEGER, TL_VALUE_BOOL */
    double number;                /* TL_VALUE_NUMBER */
    const struct tl_value *items; /* TL_VALUE_LIST: [count], none of them a list */
    size_t count;
} tl_value;

tl_value tl_value_text(const char *text);
tl_value tl_value_integer(int64_t integer);

/* A value as text: texts as they are, integers and numbers as JSON writes them, true, false. Lists
 * have no text. */
bool tl_value_to_text(const tl_value *value, tl_arena *arena, const char **text, size_t *length,
                      tl_error *error);

#endif
