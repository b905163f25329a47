/* vocab.json with merges.txt, the files of GPT-2 and its likes. */
#include "tokenizer/internal.h"

bool tl_open_vocab_merges(tl_opening *opening, const char *vocab_path, const char *vocab,
                          size_t vocab_length, tl_error *error) {
    (void)opening, (void)vocab, (void)vocab_length;
    return tl_fail(error, TL_ERROR_UNSUPPORTED, "%s: without tokenizer.json", vocab_path);
}
