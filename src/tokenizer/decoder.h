/* Decoders: how the texts of tokens become text again. */
#ifndef TL_TOKENIZER_DECODER_H
#define TL_TOKENIZER_DECODER_H

#include "tokenizer/pretokenizer.h"

typedef struct tl_decoder tl_decoder;

struct tl_decoder {
    bool (*apply)(const tl_decoder *decoder, tl_token_work *work, tl_pieces *in, tl_pieces *out,
                  tl_error *error);
    char
        *literal; /* Replace: the pattern; Strip: the character; WordPiece, BPEDecoder: the affix */
    char *content; /* Replace */
    tl_regex *regex;
    char replacement[8]; /* Metaspace */
    tl_prepend prepend;  /* Metaspace */
    int64_t start, stop; /* Strip: at most so many characters at either end */
    bool cleanup;        /* WordPiece */
};

typedef struct tl_decoders {
    tl_decoder *items;
    int count;
    bool spaced; /* no decoder at all: tokens are joined with spaces */
} tl_decoders;

/* Appends what `json` (the field "decoder", may be NULL) describes; Sequences are flattened. */
bool tl_decoders_read(tl_decoders *list, const cJSON *json, const char *where, tl_error *error);
void tl_decoders_free(tl_decoders *list);

/* Appends the text of tokens: work->pieces[0] holds them. */
bool tl_decoders_apply(const tl_decoders *list, tl_token_work *work, tl_buffer *text,
                       tl_error *error);

#endif
