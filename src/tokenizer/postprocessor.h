/* Post-processors: the tokens added around a text (BOS, EOS). */
#ifndef TL_TOKENIZER_POSTPROCESSOR_H
#define TL_TOKENIZER_POSTPROCESSOR_H

#include "tokenizer/ids.h"

/* One template: a list in which TL_TEMPLATE_SEQUENCE stands for the text's ids. */
typedef struct tl_postprocessor {
    int32_t *items;
    int count;
} tl_postprocessor;

enum { TL_TEMPLATE_SEQUENCE = -1 };

typedef struct tl_postprocessors {
    tl_postprocessor *items; /* applied one after the other */
    int count;
} tl_postprocessors;

/* Appends what `json` (the field "post_processor", may be NULL) describes. */
bool tl_postprocessors_read(tl_postprocessors *list, const cJSON *json, int32_t size,
                            const char *where, tl_error *error);
void tl_postprocessors_free(tl_postprocessors *list);

/* Appends "bos text eos" (-1: none). */
bool tl_postprocessors_add(tl_postprocessors *list, int32_t bos, int32_t eos, tl_error *error);

/* Rewrites the ids from `start` on. */
bool tl_postprocessors_apply(const tl_postprocessors *list, tl_ids *ids, size_t start,
                             tl_error *error);

#endif
