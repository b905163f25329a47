#include "tokenizer/utf8.h"

#include <string.h>
#include <utf8proc.h>

/* Bytes of the valid character at `at`, or 0; `*bad` then holds the size of the invalid subpart:
 * the bytes that could still have begun a character (Unicode, "maximal subpart"). */
static size_t character(const unsigned char *at, size_t left, size_t *bad) {
    unsigned char lead = at[0];
    size_t size;
    unsigned char low = 0x80, high = 0xbf; /* bounds of the second byte */
    *bad = 1;
    if (lead < 0x80) return 1;
    if (lead >= 0xc2 && lead <= 0xdf) {
        size = 2;
    } else if (lead >= 0xe0 && lead <= 0xef) {
        size = 3;
        if (lead == 0xe0) low = 0xa0;
        if (lead == 0xed) high = 0x9f;
    } else if (lead >= 0xf0 && lead <= 0xf4) {
        size = 4;
        if (lead == 0xf0) low = 0x90;
        if (lead == 0xf4) high = 0x8f;
    } else {
        return 0;
    }
    for (size_t i = 1; i < size; i++) {
        if (i >= left || at[i] < low || at[i] > high) return 0;
        *bad = i + 1;
        low = 0x80;
        high = 0xbf;
    }
    return size;
}

size_t tl_utf8_valid(const char *text, size_t length) {
    const unsigned char *bytes = (const unsigned char *)text;
    size_t at = 0;
    while (at < length) {
        uint64_t word;
        while (length - at >= sizeof word) {
            memcpy(&word, bytes + at, sizeof word);
            if (word & 0x8080808080808080u) break;
            at += sizeof word;
        }
        if (at >= length) break;
        size_t bad;
        size_t size = character(bytes + at, length - at, &bad);
        if (!size) return at;
        at += size;
    }
    return length;
}

void tl_utf8_lossy(const char *text, size_t length, tl_buffer *out) {
    while (length > 0) {
        size_t valid = tl_utf8_valid(text, length);
        tl_buffer_append(out, text, valid);
        text += valid;
        length -= valid;
        if (!length) break;
        size_t bad;
        character((const unsigned char *)text, length, &bad);
        tl_buffer_append(out, "\xef\xbf\xbd", 3);
        text += bad;
        length -= bad;
    }
}

void tl_utf8_append(tl_buffer *out, uint32_t point) {
    utf8proc_uint8_t bytes[4];
    utf8proc_ssize_t size = utf8proc_encode_char((utf8proc_int32_t)point, bytes);
    tl_buffer_append(out, bytes, (size_t)size);
}

void tl_utf8_write(char *at, uint32_t point) {
    utf8proc_encode_char((utf8proc_int32_t)point, (utf8proc_uint8_t *)at);
}
