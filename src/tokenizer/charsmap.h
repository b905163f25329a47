/* SentencePiece's precompiled normalization: a double-array trie (Darts) from stretches of text to
 * what replaces them. */
#ifndef TL_TOKENIZER_CHARSMAP_H
#define TL_TOKENIZER_CHARSMAP_H

#include "base/base.h"

typedef struct tl_charsmap tl_charsmap;

/* From the bytes of normalizer_spec.precompiled_charsmap, which are copied. */
tl_charsmap *tl_charsmap_new(const void *bytes, size_t length, const char *where, tl_error *error);

/* The same in base64, as tokenizer.json has it. */
tl_charsmap *tl_charsmap_from_base64(const char *text, const char *where, tl_error *error);
void tl_charsmap_free(tl_charsmap *map);
size_t tl_charsmap_bytes(const tl_charsmap *map);

/* Appends the normalized text; *first becomes false when the first character is left out. */
void tl_charsmap_apply(const tl_charsmap *map, const char *text, size_t length, tl_buffer *out,
                       bool *first);

#endif
