/* Any bytes as a file of torch.save: as they are (zip or legacy container), and behind the legacy
 * container's preamble, so that the state dict, the keys and the storages are reached at once. */
#include "fuzz/checkpoint_bytes.h"

static const char preamble[] = "\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19."
                               "\x80\x02M\xe9\x03."
                               "\x80\x02}X\x0d\x00\x00\x00little_endian\x88s.";

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    open_and_touch(data, size);
    uint8_t *legacy = malloc(sizeof preamble + size);
    if (!legacy) return 0;
    memcpy(legacy, preamble, sizeof preamble - 1);
    if (size) memcpy(legacy + sizeof preamble - 1, data, size);
    open_and_touch(legacy, sizeof preamble - 1 + size);
    free(legacy);
    return 0;
}
