/* What the models share. */
#include "tokenizer/subword.h"

#include <stdio.h>
#include <string.h>

void tl_subword_free(tl_subword *model) {
    if (model->kind && model->kind->free) model->kind->free(model);
    tl_vocab_free(&model->vocab);
    *model = (tl_subword){0};
}

size_t tl_subword_bytes(const tl_subword *model) {
    size_t own = model->kind && model->kind->bytes ? model->kind->bytes(model) : 0;
    return own + tl_vocab_bytes(&model->vocab);
}

bool tl_subword_read_ids(tl_subword *model, tl_scan *scan, const char *where, tl_error *error) {
    size_t entries = 1, bytes = (size_t)(scan->end - scan->at);
    for (const char *at = scan->at; (at = memchr(at, ',', (size_t)(scan->end - at))); at++)
        entries++; /* about: a token may hold commas */
    tl_vocab_reserve(&model->vocab, entries, bytes / 2);
    if (!tl_scan_expect(scan, '{')) return false;
    bool first = true, done;
    while (tl_scan_next(scan, '}', &first, &done) && !done) {
        const char *text;
        size_t length;
        int64_t id;
        if (!tl_scan_string(scan, &text, &length) || !tl_scan_expect(scan, ':') ||
            !tl_scan_int(scan, &id) || !tl_vocab_add(&model->vocab, text, length, id, where, error))
            return false;
    }
    return done;
}

void tl_subword_byte_ids(const tl_vocab *vocab, int32_t bytes[256]) {
    for (int byte = 0; byte < 256; byte++) {
        char name[8];
        snprintf(name, sizeof name, "<0x%02X>", (unsigned)byte);
        bytes[byte] = tl_vocab_find(vocab, name, 6);
    }
}

bool tl_subword_bytes_of(const int32_t bytes[256], const char *text, size_t length, int32_t *ids) {
    for (size_t i = 0; i < length; i++) {
        ids[i] = bytes[(unsigned char)text[i]];
        if (ids[i] < 0) return false;
    }
    return true;
}
