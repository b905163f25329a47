/* What the fuzzers of checkpoint formats share. */
#ifndef TESTS_FUZZ_CHECKPOINT_BYTES_H
#define TESTS_FUZZ_CHECKPOINT_BYTES_H

#include "checkpoint/reader.h"

#include <stdlib.h>
#include <string.h>

/* Opens the bytes as a weights file and reads both ends of every tensor. They are copied, so that
 * the sanitizer sees the smallest step outside. */
static inline void open_and_touch(const uint8_t *data, size_t size) {
    uint8_t *copy = malloc(size + 1);
    if (!copy) return;
    if (size) memcpy(copy, data, size);
    uint8_t *exact = realloc(copy, size ? size : 1);
    tl_error error = {0};
    tl_checkpoint *checkpoint = tl_checkpoint_open_memory(exact, size, "input", &error);
    for (size_t i = 0; checkpoint && i < tl_checkpoint_count(checkpoint); i++) {
        const tl_tensor *tensor = tl_checkpoint_at(checkpoint, i);
        const unsigned char *bytes = tensor->data;
        if (tensor->bytes) {
            (void)*(const volatile unsigned char *)bytes;
            (void)*(const volatile unsigned char *)(bytes + tensor->bytes - 1);
        }
        if (tl_checkpoint_find(checkpoint, tensor->name) != tensor) abort();
        if ((uintptr_t)bytes % tl_dtype_get(tensor->dtype)->block_bytes) abort();
    }
    if (!checkpoint && !error.message[0]) abort();
    tl_checkpoint_free(checkpoint);
    free(exact);
}

#endif
