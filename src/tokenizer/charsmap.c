#include "tokenizer/charsmap.h"

#include "tokenizer/utf8.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

/* The longest grapheme that is looked up whole, as in the reference; others go by characters. */
enum { GRAPHEME_LIMIT = 5 };

struct tl_charsmap {
    uint32_t *units;
    size_t unit_count;
    char *texts; /* replacements, each ended by a NUL; text_length bytes and one NUL more */
    size_t text_length;
    const char *ascii[128]; /* what replaces each character; NULL: itself */
};

static uint32_t offset_of(uint32_t unit) {
    return (unit >> 10) << ((unit & 1u << 9) >> 6);
}

/* What replaces `text`: decided by the shortest prefix of it that the trie knows, as in the
 * reference; NULL for none. */
static const char *replacement(const tl_charsmap *map, const char *text, size_t length) {
    size_t place = offset_of(map->units[0]);
    for (size_t i = 0; i < length && text[i]; i++) {
        unsigned char byte = (unsigned char)text[i];
        place ^= byte;
        if (place >= map->unit_count) return NULL;
        uint32_t unit = map->units[place];
        if ((unit & (1u << 31 | 0xff)) != byte) return NULL;
        place ^= offset_of(unit);
        if (place >= map->unit_count) return NULL;
        if (unit >> 8 & 1) {
            size_t at = map->units[place] & 0x7fffffff;
            return at <= map->text_length ? map->texts + at : NULL;
        }
    }
    return NULL;
}

tl_charsmap *tl_charsmap_new(const void *bytes, size_t length, const char *where, tl_error *error) {
    const unsigned char *at = bytes;
    uint64_t trie = length >= 4 ? (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 |
                                      (uint32_t)at[3] << 24
                                : 0;
    if (length < 8 || trie == 0 || trie % 4 || trie > length - 4) {
        tl_fail(error, TL_ERROR_FORMAT,
                "%s: precompiled_charsmap of %zu bytes: expected a trie of %llu bytes within",
                where, length, (unsigned long long)trie);
        return NULL;
    }
    tl_charsmap *map = calloc(1, sizeof *map);
    if (map) {
        map->unit_count = trie / 4;
        map->units = malloc(trie);
        map->text_length = length - 4 - trie;
        map->texts = calloc(map->text_length + 1, 1);
    }
    if (!map || !map->units || !map->texts) {
        tl_charsmap_free(map);
        tl_fail_memory(error, length, "a charsmap");
        return NULL;
    }
    for (size_t i = 0; i < map->unit_count; i++) {
        const unsigned char *unit = at + 4 + 4 * i;
        map->units[i] = (uint32_t)unit[0] | (uint32_t)unit[1] << 8 | (uint32_t)unit[2] << 16 |
                        (uint32_t)unit[3] << 24;
    }
    memcpy(map->texts, at + 4 + trie, map->text_length);
    if (tl_utf8_valid(map->texts, map->text_length) != map->text_length) {
        tl_charsmap_free(map);
        tl_fail(error, TL_ERROR_FORMAT, "%s: precompiled_charsmap: the replacements are not UTF-8",
                where);
        return NULL;
    }
    for (int c = 0; c < 128; c++)
        map->ascii[c] = replacement(map, (const char[]){(char)c}, 1);
    return map;
}

static int base64_value(char c) {
    if (c >= 'A' && c <= 'Z') return c - 'A';
    if (c >= 'a' && c <= 'z') return c - 'a' + 26;
    if (c >= '0' && c <= '9') return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

tl_charsmap *tl_charsmap_from_base64(const char *text, const char *where, tl_error *error) {
    tl_buffer bytes = {0};
    size_t length = strlen(text), at = 0;
    uint32_t bits = 0;
    int held = 0;
    tl_buffer_reserve(&bytes, length);
    for (; at < length && text[at] != '='; at++) {
        int value = base64_value(text[at]);
        if (value < 0) break;
        bits = bits << 6 | (uint32_t)value;
        held += 6;
        if (held < 8) continue;
        held -= 8;
        tl_buffer_append_byte(&bytes, (char)(bits >> held));
    }
    while (at < length && text[at] == '=')
        at++;
    tl_charsmap *map = NULL;
    if (bytes.failed)
        tl_fail_memory(error, length, "a charsmap");
    else if (at < length || length % 4)
        tl_fail(error, TL_ERROR_FORMAT, "%s: precompiled_charsmap is not base64", where);
    else
        map = tl_charsmap_new(tl_buffer_string(&bytes), bytes.length, where, error);
    tl_buffer_free(&bytes);
    return map;
}

void tl_charsmap_free(tl_charsmap *map) {
    if (!map) return;
    free(map->units);
    free(map->texts);
    free(map);
}

size_t tl_charsmap_bytes(const tl_charsmap *map) {
    return sizeof *map + map->unit_count * sizeof *map->units + map->text_length + 1;
}

/* The end of the grapheme that starts at `start`. */
static size_t grapheme_end(const char *text, size_t length, size_t start) {
    utf8proc_int32_t state = 0;
    uint32_t point = tl_utf8_at(text + start);
    size_t end = start + tl_utf8_size(text[start]);
    while (end < length) {
        uint32_t next = tl_utf8_at(text + end);
        if (utf8proc_grapheme_break_stateful((utf8proc_int32_t)point, (utf8proc_int32_t)next,
                                             &state))
            break;
        point = next;
        end += tl_utf8_size(text[end]);
    }
    return end;
}

/* Is the character at `start` a grapheme of its own, by a look at the next? */
static bool is_ascii_grapheme(const char *text, size_t length, size_t start) {
    if ((unsigned char)text[start] >= 0x80) return false;
    if (start + 1 == length) return true;
    return (unsigned char)text[start + 1] < 0x80 &&
           !(text[start] == '\r' && text[start + 1] == '\n');
}

void tl_charsmap_apply(const tl_charsmap *map, const char *text, size_t length, tl_buffer *out,
                       bool *first) {
    size_t before = out->length;
    for (size_t start = 0; start < length;) {
        if (is_ascii_grapheme(text, length, start)) {
            const char *other = map->ascii[(unsigned char)text[start]];
            if (other)
                tl_buffer_append_string(out, other);
            else
                tl_buffer_append(out, text + start, 1);
            if (start++ == 0 && out->length == before) *first = false;
            continue;
        }
        size_t end = grapheme_end(text, length, start);
        const char *whole =
            end - start <= GRAPHEME_LIMIT ? replacement(map, text + start, end - start) : NULL;
        if (whole) tl_buffer_append_string(out, whole);
        for (size_t at = start, size; !whole && at < end; at += size) {
            size = tl_utf8_size(text[at]);
            const char *part = replacement(map, text + at, size);
            if (part)
                tl_buffer_append_string(out, part);
            else
                tl_buffer_append(out, text + at, size);
            if (at == 0 && out->length == before) *first = false;
        }
        if (start == 0 && out->length == before) *first = false;
        start = end;
    }
}
