/* Pre-tokenizers: how normalized text is cut into words. */
#ifndef TL_TOKENIZER_PRETOKENIZER_H
#define TL_TOKENIZER_PRETOKENIZER_H

#include "tokenizer/work.h"

/* What becomes of the stretches that a pattern matches, and of those between. */
typedef enum tl_behavior {
    TL_REMOVED,
    TL_ISOLATED,
    TL_MERGED_WITH_PREVIOUS,
    TL_MERGED_WITH_NEXT,
    TL_CONTIGUOUS,
} tl_behavior;

typedef enum tl_prepend {
    TL_PREPEND_ALWAYS,
    TL_PREPEND_FIRST, /* only where the text given to encode begins */
    TL_PREPEND_NEVER,
} tl_prepend;

typedef struct tl_pretokenizer tl_pretokenizer;

struct tl_pretokenizer {
    bool (*apply)(const tl_pretokenizer *p, tl_token_work *work, tl_pieces *in, tl_pieces *out,
                  tl_error *error);
    /* How a splitter finds what to split at: one of three. */
    bool (*is_match)(uint32_t point);
    uint32_t delimiter; /* CharDelimiterSplit */
    char *literal;
    tl_regex *regex;
    bool invert;
    tl_behavior behavior;
    bool prefix_space;   /* ByteLevel: add_prefix_space */
    char replacement[8]; /* Metaspace: UTF-8 */
    tl_prepend prepend;  /* Metaspace */
    bool split;          /* Metaspace */
    int64_t length;      /* FixedLength: characters */
};

typedef struct tl_pretokenizers {
    tl_pretokenizer *items;
    int count;
} tl_pretokenizers;

/* Appends what `json` (the field "pre_tokenizer", may be NULL) describes; Sequences are flattened.
 */
bool tl_pretokenizers_read(tl_pretokenizers *list, const cJSON *json, const char *where,
                           tl_error *error);
void tl_pretokenizers_free(tl_pretokenizers *list);

/* Cuts one stretch of normalized text; *pieces lives in `work` until the next call. */
bool tl_pretokenizers_apply(const tl_pretokenizers *list, tl_token_work *work, const char *text,
                            size_t length, bool first, const tl_pieces **pieces, tl_error *error);

/* Reads "prepend_scheme", "add_prefix_space", "replacement", "split" of a Metaspace component. */
bool tl_metaspace_read(const cJSON *json, char replacement[8], tl_prepend *prepend, bool *split,
                       const char *where, tl_error *error);

#endif
