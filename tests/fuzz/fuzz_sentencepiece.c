/* Any bytes as a SentencePiece model. */
#include "fuzz/tokenizer_bytes.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    write_bytes("tokenizer.model", data, size);
    open_and_use(data, size);
    return 0;
}
