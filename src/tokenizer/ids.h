/* A growable list of token ids. */
#ifndef TL_TOKENIZER_IDS_H
#define TL_TOKENIZER_IDS_H

#include "base/base.h"

/* Starts as {0}, ends with tl_ids_free. */
typedef struct tl_ids {
    int32_t *data;
    size_t count;
    size_t capacity;
} tl_ids;

void tl_ids_free(tl_ids *ids);
bool tl_ids_append(tl_ids *ids, const int32_t *data, size_t count, tl_error *error);

#endif
