/* Normalizers: what is done to the text before it is cut. */
#ifndef TL_TOKENIZER_NORMALIZER_H
#define TL_TOKENIZER_NORMALIZER_H

#include "tokenizer/charsmap.h"
#include "tokenizer/work.h"

typedef struct tl_normalizer tl_normalizer;

/* The text on its way through the normalizers. */
typedef struct tl_normal {
    const char *text;
    size_t length;
    bool first;      /* its first character comes from the start of the text given to encode */
    tl_buffer *next; /* where the next change is written */
    tl_token_work *work;
} tl_normal;

struct tl_normalizer {
    /* Changes `normal` in place: writes to normal->next and takes it as the text, or leaves it. */
    bool (*apply)(const tl_normalizer *normalizer, tl_normal *normal, tl_error *error);
    int form;         /* of the Unicode forms: utf8proc's options */
    char *text;       /* Prepend: what; Replace: the literal pattern, NULL for a regex */
    char *content;    /* Replace: with what */
    tl_regex *regex;  /* Replace */
    tl_charsmap *map; /* Precompiled */
    bool left, right; /* Strip */
    bool clean, chinese, accents, lowercase; /* BertNormalizer */
};

typedef struct tl_normalizers {
    tl_normalizer *items;
    int count;
} tl_normalizers;

/* Appends what `json` (the field "normalizer", may be NULL) describes; Sequences are flattened. */
bool tl_normalizers_read(tl_normalizers *list, const cJSON *json, const char *where,
                         tl_error *error);
/* Appends the rules of a SentencePiece model. */
bool tl_normalizers_add_charsmap(tl_normalizers *list, const void *bytes, size_t length,
                                 const char *where, tl_error *error);
void tl_normalizers_free(tl_normalizers *list);

/* Normalizes [*text, *length): points them into `work` where anything changed. */
bool tl_normalizers_apply(const tl_normalizers *list, tl_token_work *work, const char **text,
                          size_t *length, bool *first, tl_error *error);

#endif
