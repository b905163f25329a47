/* Small tokenizers written on the spot. */
#ifndef TESTS_TOKENIZER_FIXTURE_H
#define TESTS_TOKENIZER_FIXTURE_H

#include "support/support.h"

#include "tokenizer/tokenizer.h"

/* Opens a directory that holds only `name` with this content; NULL with an error. */
tl_tokenizer *fixture_file(const char *name, const void *content, size_t length, tl_error *error);

/* Opens a tokenizer.json made of the model and the other fields (each with its comma before). */
tl_tokenizer *fixture_json(const char *model, const char *fields, tl_error *error);

/* A byte-level BPE: bytes a, b, c, space ("Ġ"), the merges "a b", "ab c", "Ġ a". */
extern const char fixture_bpe[];

/* Encodes and compares with ids written as "1 2 3"; fails the test where they differ. */
void assert_encodes(const tl_tokenizer *tokenizer, const char *text, const char *ids);

/* The same without special tokens. */
void assert_encodes_plain(const tl_tokenizer *tokenizer, const char *text, const char *ids);

/* Decodes ids written as "1 2 3" and compares the text. */
void assert_decodes(const tl_tokenizer *tokenizer, const char *ids, bool skip_special,
                    const char *text);

#endif
