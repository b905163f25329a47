/* Added tokens: found in the text before anything else is done to it. */
#ifndef TL_TOKENIZER_ADDED_H
#define TL_TOKENIZER_ADDED_H

#include "tokenizer/trie.h"
#include "tokenizer/vocab.h"
#include "tokenizer/work.h"

typedef struct tl_added_token {
    int32_t id;
    bool single_word; /* only where no word character touches it */
    bool lstrip;      /* takes the white space before it along */
    bool rstrip;      /* and after it */
    bool normalized;  /* matched in the normalized text, otherwise in the raw text */
    bool special;     /* left out when decoding with skip_special */
} tl_added_token;

typedef struct tl_added {
    tl_vocab extra;         /* those that the model's vocabulary lacks */
    tl_added_token *tokens; /* [count] */
    size_t count, capacity;
    int32_t *index; /* [indexed] by id: place in `tokens` + 1, 0 for none */
    int32_t indexed;
    tl_trie raw, normalized; /* values are indices of `tokens` */
} tl_added;

void tl_added_free(tl_added *added);

/* Adds a token (its id in `token`) or replaces the flags of one that is there. Its id must agree
 * with the model's vocabulary. */
bool tl_added_add(tl_added *added, const tl_vocab *vocab, const char *text, size_t length,
                  tl_added_token token, const char *where, tl_error *error);

/* The same with the flags that `json` states ("single_word", "lstrip", …). */
bool tl_added_read(tl_added *added, const tl_vocab *vocab, const cJSON *json, const char *text,
                   int32_t id, const char *where, tl_error *error);

/* The token with that id, or NULL. */
const tl_added_token *tl_added_find(const tl_added *added, int32_t id);

/* Cuts text at the tokens of a trie: the longest at the leftmost place, then on after it. */
bool tl_added_split(const tl_added *added, const tl_trie *trie, const char *text, size_t length,
                    tl_stretches *stretches, tl_error *error);

#endif
