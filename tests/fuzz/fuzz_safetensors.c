/* Any bytes as a safetensors file. */
#include "fuzz/checkpoint_bytes.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    open_and_touch(data, size);
    return 0;
}
