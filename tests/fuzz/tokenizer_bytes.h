/* Any bytes as one file of a tokenizer's directory: opened and used, or refused. */
#ifndef TESTS_FUZZ_TOKENIZER_BYTES_H
#define TESTS_FUZZ_TOKENIZER_BYTES_H

#include "tokenizer/tokenizer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char fuzz_directory[64];

static void remove_directory(void) {
    char command[128];
    snprintf(command, sizeof command, "rm -r '%s'", fuzz_directory);
    if (system(command) != 0) abort();
}

/* Writes directory/name. In memory where the system has such a place. */
static void write_bytes(const char *name, const uint8_t *data, size_t size) {
    if (!*fuzz_directory) {
        const char *place = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
        snprintf(fuzz_directory, sizeof fuzz_directory, "%s/tokenizer-XXXXXX", place);
        if (!mkdtemp(fuzz_directory)) abort();
        atexit(remove_directory);
    }
    char path[128];
    snprintf(path, sizeof path, "%s/%s", fuzz_directory, name);
    FILE *file = fopen(path, "w");
    if (!file || fwrite(data, 1, size, file) != size || fclose(file) != 0) abort();
}

/* Opens the directory, encodes and decodes a text of many kinds of characters and what follows. */
static void open_and_use(const uint8_t *more, size_t size) {
    static const char text[] = "Hello  wörld 12½ don't\n\t \xff ▁a<s></s> \xe4\xb8\xad\xf0\x9f\x98"
                               "\x80 e\xcc\x81 aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    tl_error error = {0};
    tl_tokenizer *tokenizer = tl_tokenizer_open(fuzz_directory, &error);
    if (!tokenizer) {
        if (error.code == TL_OK || !*error.message) abort();
        return;
    }
    tl_ids ids = {0};
    tl_buffer out = {0};
    if (tl_tokenizer_encode(tokenizer, text, sizeof text - 1, true, &ids, &error))
        tl_tokenizer_decode(tokenizer, ids.data, ids.count, false, &out, &error);
    for (size_t i = 0; i < ids.count; i++)
        if (ids.data[i] < 0 || ids.data[i] >= tl_tokenizer_size(tokenizer)) abort();
    if (size > 64) size = 64;
    tl_tokenizer_encode(tokenizer, (const char *)more, size, false, &ids, &error);
    tl_tokenizer_decode(tokenizer, ids.data, ids.count, true, &out, &error);
    tl_ids_free(&ids);
    tl_buffer_free(&out);
    tl_tokenizer_free(tokenizer);
}

#endif
