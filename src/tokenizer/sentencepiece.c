/* A SentencePiece model, as it is published for Llama and T5. */
#include "tokenizer/internal.h"

bool tl_open_sentencepiece(tl_opening *opening, const char *path, const char *bytes, size_t length,
                           tl_error *error) {
    (void)opening, (void)bytes, (void)length;
    return tl_fail(error, TL_ERROR_UNSUPPORTED, "%s: without tokenizer.json", path);
}
