/* Any bytes as a tokenizer.json. */
#include "fuzz/tokenizer_bytes.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    write_bytes("tokenizer.json", data, size);
    open_and_use(data, size);
    return 0;
}
