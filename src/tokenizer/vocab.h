/* The vocabulary: id → text and text → id. */
#ifndef TL_TOKENIZER_VOCAB_H
#define TL_TOKENIZER_VOCAB_H

#include "base/base.h"

/* Ids lie below this; a file that wants more is refused. */
enum { TL_VOCAB_LIMIT = 1 << 22 };

/* Holds the place of the text too: a look-up touches the slot and the text, nothing else. */
typedef struct tl_vocab_slot {
    uint32_t hash;
    int32_t id; /* -1: free */
    uint32_t offset, length;
} tl_vocab_slot;

typedef struct tl_vocab_token {
    uint32_t offset; /* into `text`; the token is followed by a NUL there */
    uint32_t length;
    bool present;
} tl_vocab_token;

typedef struct tl_vocab {
    tl_buffer text;
    tl_vocab_token *tokens; /* [size] by id */
    int32_t size;           /* largest id + 1 */
    int32_t allocated;
    int32_t count;  /* ids in use */
    size_t longest; /* bytes of the longest token */
    tl_vocab_slot *slots;
    uint32_t mask; /* slots - 1 */
} tl_vocab;

void tl_vocab_free(tl_vocab *vocab);

/* Adds a token. Fails when the id is out of range or taken, or the text is there already; the
 * message starts with `where`. */
bool tl_vocab_add(tl_vocab *vocab, const char *text, size_t length, int64_t id, const char *where,
                  tl_error *error);

/* Makes room for `count` tokens of `bytes` bytes in all. A hint: memory that cannot be had is no
 * error. */
void tl_vocab_reserve(tl_vocab *vocab, size_t count, size_t bytes);

/* The id of a token, or -1. */
int32_t tl_vocab_find(const tl_vocab *vocab, const char *text, size_t length);

/* The text of a token, NUL-terminated, or NULL; `length` may be NULL. */
const char *tl_vocab_text(const tl_vocab *vocab, int32_t id, size_t *length);

size_t tl_vocab_bytes(const tl_vocab *vocab);

#endif
