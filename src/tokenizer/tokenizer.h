/* tokenizer: text ↔ ids, as the model's published files define it.
 *
 * Reads tokenizer.json; else vocab.json + merges.txt; else tokenizer.model / spiece.model
 * (SentencePiece); with tokenizer_config.json and special_tokens_map.json for the special tokens.
 * A component this build does not know is an error that names it, never an approximation. */
#ifndef TL_TOKENIZER_H
#define TL_TOKENIZER_H

#include "tokenizer/ids.h"

typedef struct tl_tokenizer tl_tokenizer;

/* The names of the files that may define a tokenizer, NULL-terminated, in a fixed order (it enters
 * the identity of a cell). */
extern const char *const tl_tokenizer_files[];

/* Opens the tokenizer in a checkpoint directory. Immutable afterwards: threads may share it. */
tl_tokenizer *tl_tokenizer_open(const char *directory, tl_error *error);
void tl_tokenizer_free(tl_tokenizer *tokenizer);

/* Appends the ids of `length` bytes of UTF-8 (invalid bytes count as U+FFFD) to `ids`. With
 * `special`, the tokens that the post-processor adds by default (BOS, EOS, …) are added; the text
 * of special tokens inside `text` is recognised either way. */
bool tl_tokenizer_encode(const tl_tokenizer *tokenizer, const char *text, size_t length,
                         bool special, tl_ids *ids, tl_error *error);

/* Appends the text of ids; special tokens are left out with `skip_special`. An id without a token
 * is skipped. */
bool tl_tokenizer_decode(const tl_tokenizer *tokenizer, const int32_t *ids, size_t count,
                         bool skip_special, tl_buffer *text, tl_error *error);

/* Number of ids (largest id + 1), added tokens included. */
int32_t tl_tokenizer_size(const tl_tokenizer *tokenizer);

/* The text of a token as the vocabulary writes it, or NULL for an id without one. */
const char *tl_tokenizer_token(const tl_tokenizer *tokenizer, int32_t id);

/* The id of a token by its vocabulary text, or -1. */
int32_t tl_tokenizer_id(const tl_tokenizer *tokenizer, const char *token);

/* Special tokens as AutoTokenizer gives them: -1 where there is none. */
int32_t tl_tokenizer_bos(const tl_tokenizer *tokenizer);
int32_t tl_tokenizer_eos(const tl_tokenizer *tokenizer);
int32_t tl_tokenizer_pad(const tl_tokenizer *tokenizer);
int32_t tl_tokenizer_unk(const tl_tokenizer *tokenizer);

/* tokenizer_config.json's model_max_length; -1 where absent or the 1e30 that means none. */
int64_t tl_tokenizer_max_length(const tl_tokenizer *tokenizer);

/* Bytes it holds in memory, for the program's own account. */
size_t tl_tokenizer_bytes(const tl_tokenizer *tokenizer);

/* SHA-256 over what defines it (the files read), for a cell's identity. */
const char *tl_tokenizer_fingerprint(const tl_tokenizer *tokenizer);

#endif
