/* UTF-8: checking, repairing, walking. */
#ifndef TL_TOKENIZER_UTF8_H
#define TL_TOKENIZER_UTF8_H

#include "base/base.h"

/* Bytes of the longest valid prefix: `length` when all of it is valid (no overlong forms, no
 * surrogates, nothing above U+10FFFF). */
size_t tl_utf8_valid(const char *text, size_t length);

/* Appends `text` with every maximal invalid subpart replaced by U+FFFD. */
void tl_utf8_lossy(const char *text, size_t length, tl_buffer *out);

void tl_utf8_append(tl_buffer *out, uint32_t point);

/* Writes the character's one to four bytes. */
void tl_utf8_write(char *at, uint32_t point);

/* Bytes of the character that starts with `lead`, in valid text. */
static inline size_t tl_utf8_size(char lead) {
    unsigned char byte = (unsigned char)lead;
    return byte < 0x80 ? 1 : byte < 0xe0 ? 2 : byte < 0xf0 ? 3 : 4;
}

/* The character at `at`, in valid text. */
static inline uint32_t tl_utf8_at(const char *at) {
    const unsigned char *b = (const unsigned char *)at;
    if (b[0] < 0x80) return b[0];
    if (b[0] < 0xe0) return (uint32_t)(b[0] & 0x1f) << 6 | (b[1] & 0x3f);
    if (b[0] < 0xf0)
        return (uint32_t)(b[0] & 0x0f) << 12 | (uint32_t)(b[1] & 0x3f) << 6 | (b[2] & 0x3f);
    return (uint32_t)(b[0] & 0x07) << 18 | (uint32_t)(b[1] & 0x3f) << 12 |
           (uint32_t)(b[2] & 0x3f) << 6 | (b[3] & 0x3f);
}

/* Start of the character before `at`, in valid text with one there. */
static inline const char *tl_utf8_before(const char *at) {
    do
        at--;
    while (((unsigned char)*at & 0xc0) == 0x80);
    return at;
}

#endif
