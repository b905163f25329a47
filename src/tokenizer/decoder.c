#include "tokenizer/decoder.h"

#include "tokenizer/components.h"
#include "tokenizer/utf8.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DECODER_LIMIT = 64 };

/* All tokens as one run of bytes; a token with a character outside the byte alphabet stays as it
 * is. */
static bool apply_byte_level(const tl_decoder *d, tl_token_work *work, tl_pieces *in,
                             tl_pieces *out, tl_error *error) {
    (void)d, (void)work;
    tl_buffer bytes = {0};
    for (size_t i = 0; i < in->count; i++) {
        const char *text = in->text + in->items[i].start;
        size_t length = in->items[i].length, before = bytes.length;
        for (size_t at = 0; at < length; at += tl_utf8_size(text[at])) {
            int byte = tl_byte_level_byte(tl_utf8_at(text + at));
            if (byte < 0) {
                bytes.length = before;
                tl_buffer_append(&bytes, text, length);
                break;
            }
            tl_buffer_append_byte(&bytes, (char)byte);
        }
    }
    tl_pieces_clear(out);
    tl_utf8_lossy(tl_buffer_string(&bytes), bytes.length, &out->own);
    tl_pieces_push_own(out, 0, true);
    out->failed |= bytes.failed;
    tl_buffer_free(&bytes);
    return tl_pieces_finish(out, error);
}

static bool apply_metaspace(const tl_decoder *d, tl_token_work *work, tl_pieces *in, tl_pieces *out,
                            tl_error *error) {
    (void)work;
    size_t size = strlen(d->replacement);
    tl_pieces_clear(out);
    for (size_t i = 0; i < in->count; i++) {
        const char *at = in->text + in->items[i].start, *end = at + in->items[i].length;
        size_t start = out->own.length;
        bool dropped = i == 0 && d->prepend != TL_PREPEND_NEVER;
        while (at < end) {
            const char *found = memmem(at, (size_t)(end - at), d->replacement, size);
            tl_buffer_append(&out->own, at, (size_t)((found ? found : end) - at));
            if (!found) break;
            if (!dropped) tl_buffer_append_byte(&out->own, ' ');
            at = found + size;
        }
        tl_pieces_push_own(out, start, true);
    }
    return tl_pieces_finish(out, error);
}

/* Appends `text` with every occurrence of `from` replaced. */
static void append_replaced(tl_buffer *out, const char *text, size_t length, const char *from,
                            const char *to) {
    size_t size = strlen(from);
    const char *end = text + length;
    while (text < end) {
        const char *found = size ? memmem(text, (size_t)(end - text), from, size) : NULL;
        tl_buffer_append(out, text, (size_t)((found ? found : end) - text));
        if (!found) break;
        tl_buffer_append_string(out, to);
        text = found + size;
    }
}

static bool append_regex_replaced(const tl_decoder *d, tl_token_work *work, const char *text,
                                  size_t length, tl_buffer *out, tl_error *error) {
    tl_matcher *matcher = tl_token_work_matcher(work, error);
    size_t at = 0, last = SIZE_MAX, copied = 0;
    tl_match match = {0};
    for (;;) {
        if (!matcher || !tl_regex_next(d->regex, matcher, text, length, &at, &last, &match, error))
            return false;
        if (!match.found) break;
        tl_buffer_append(out, text + copied, match.start - copied);
        tl_buffer_append_string(out, d->content);
        copied = match.end;
    }
    tl_buffer_append(out, text + copied, length - copied);
    return true;
}

static bool apply_replace(const tl_decoder *d, tl_token_work *work, tl_pieces *in, tl_pieces *out,
                          tl_error *error) {
    tl_pieces_clear(out);
    for (size_t i = 0; i < in->count; i++) {
        const char *text = in->text + in->items[i].start;
        size_t start = out->own.length;
        if (!d->regex)
            append_replaced(&out->own, text, in->items[i].length, d->literal, d->content);
        else if (!append_regex_replaced(d, work, text, in->items[i].length, &out->own, error))
            return false;
        tl_pieces_push_own(out, start, true);
    }
    return tl_pieces_finish(out, error);
}

static int hex_digit(char c) {
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

/* The byte that "<0x4F>" stands for; -1 for other tokens. */
static int byte_token(const char *text, size_t length) {
    if (length != 6 || memcmp(text, "<0x", 3) != 0 || text[5] != '>') return -1;
    int high = text[3] == '+' ? 0 : hex_digit(text[3]), low = hex_digit(text[4]);
    return high < 0 || low < 0 ? -1 : high << 4 | low;
}

/* Ends a run of byte tokens: the text it spells, or one U+FFFD for every byte when it is none. */
static void flush_bytes(tl_buffer *bytes, tl_pieces *out) {
    if (!bytes->length) return;
    size_t start = out->own.length;
    if (tl_utf8_valid(bytes->data, bytes->length) == bytes->length)
        tl_buffer_append(&out->own, bytes->data, bytes->length);
    else
        for (size_t i = 0; i < bytes->length; i++)
            tl_buffer_append_string(&out->own, "\xef\xbf\xbd");
    tl_pieces_push_own(out, start, true);
    tl_buffer_clear(bytes);
}

static bool apply_byte_fallback(const tl_decoder *d, tl_token_work *work, tl_pieces *in,
                                tl_pieces *out, tl_error *error) {
    (void)d, (void)work;
    tl_buffer bytes = {0};
    tl_pieces_clear(out);
    for (size_t i = 0; i < in->count; i++) {
        const char *text = in->text + in->items[i].start;
        int byte = byte_token(text, in->items[i].length);
        if (byte >= 0) {
            tl_buffer_append_byte(&bytes, (char)byte);
            continue;
        }
        flush_bytes(&bytes, out);
        size_t start = out->own.length;
        tl_buffer_append(&out->own, text, in->items[i].length);
        tl_pieces_push_own(out, start, true);
    }
    flush_bytes(&bytes, out);
    out->failed |= bytes.failed;
    tl_buffer_free(&bytes);
    return tl_pieces_finish(out, error);
}

static bool apply_fuse(const tl_decoder *d, tl_token_work *work, tl_pieces *in, tl_pieces *out,
                       tl_error *error) {
    (void)d, (void)work;
    tl_pieces_clear(out);
    for (size_t i = 0; i < in->count; i++)
        tl_buffer_append(&out->own, in->text + in->items[i].start, in->items[i].length);
    tl_pieces_push_own(out, 0, true);
    return tl_pieces_finish(out, error);
}

static bool apply_strip(const tl_decoder *d, tl_token_work *work, tl_pieces *in, tl_pieces *out,
                        tl_error *error) {
    (void)work;
    size_t size = strlen(d->literal);
    tl_pieces_view(out, in);
    for (size_t i = 0; i < in->count; i++) {
        size_t start = in->items[i].start, length = in->items[i].length;
        for (int64_t n = 0;
             n < d->start && length >= size && memcmp(in->text + start, d->literal, size) == 0;
             n++) {
            start += size;
            length -= size;
        }
        for (int64_t n = 0; n < d->stop && length >= size &&
                            memcmp(in->text + start + length - size, d->literal, size) == 0;
             n++)
            length -= size;
        tl_pieces_push(out, start, length, true);
    }
    return tl_pieces_finish(out, error);
}

/* What English tokenization parts, joined again, one rule after the other. */
static void clean_up(tl_buffer *text) {
    static const char *const rules[][2] = {
        {" .", "."},   {" ?", "?"},     {" !", "!"},     {" ,", ","},
        {" ' ", "'"},  {" n't", "n't"}, {" 'm", "'m"},   {" do not", " don't"},
        {" 's", "'s"}, {" 've", "'ve"}, {" 're", "'re"},
    };
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++) {
        tl_buffer next = {0};
        append_replaced(&next, tl_buffer_string(text), text->length, rules[i][0], rules[i][1]);
        next.failed |= text->failed;
        tl_buffer_free(text);
        *text = next;
    }
}

static bool apply_wordpiece(const tl_decoder *d, tl_token_work *work, tl_pieces *in, tl_pieces *out,
                            tl_error *error) {
    (void)work;
    size_t prefix = strlen(d->literal);
    tl_pieces_clear(out);
    for (size_t i = 0; i < in->count; i++) {
        const char *text = in->text + in->items[i].start;
        size_t length = in->items[i].length;
        tl_buffer word = {0};
        bool continues = length >= prefix && memcmp(text, d->literal, prefix) == 0;
        if (i > 0 && !continues) tl_buffer_append_byte(&word, ' ');
        size_t skipped = i > 0 && continues ? prefix : 0;
        tl_buffer_append(&word, text + skipped, length - skipped);
        if (d->cleanup) clean_up(&word);
        size_t start = out->own.length;
        tl_buffer_append(&out->own, tl_buffer_string(&word), word.length);
        out->failed |= word.failed;
        tl_pieces_push_own(out, start, true);
        tl_buffer_free(&word);
    }
    return tl_pieces_finish(out, error);
}

static bool apply_bpe(const tl_decoder *d, tl_token_work *work, tl_pieces *in, tl_pieces *out,
                      tl_error *error) {
    (void)work;
    tl_pieces_clear(out);
    for (size_t i = 0; i < in->count; i++) {
        size_t start = out->own.length;
        append_replaced(&out->own, in->text + in->items[i].start, in->items[i].length, d->literal,
                        i + 1 == in->count ? "" : " ");
        tl_pieces_push_own(out, start, true);
    }
    return tl_pieces_finish(out, error);
}

static bool copy_text(const cJSON *json, const char *field, const char *fallback, char **copy,
                      const char *where, tl_error *error) {
    const char *text;
    if (!tl_json_string_or(json, field, fallback, &text, where, error)) return false;
    if (!text || strlen(text) > 256)
        return tl_fail(error, TL_ERROR_FORMAT,
                       "%s: field '%s': expected a string of at most 256 bytes", where, field);
    *copy = strdup(text);
    return *copy || tl_fail_memory(error, strlen(text), field);
}

static bool read_metaspace(tl_decoder *d, const cJSON *json, const char *where, tl_error *error) {
    bool split;
    return tl_metaspace_read(json, d->replacement, &d->prepend, &split, where, error);
}

static bool read_replace(tl_decoder *d, const cJSON *json, const char *where, tl_error *error) {
    return tl_pattern_read(json, &d->literal, &d->regex, where, error) &&
           copy_text(json, "content", NULL, &d->content, where, error);
}

static bool read_strip(tl_decoder *d, const cJSON *json, const char *where, tl_error *error) {
    if (!copy_text(json, "content", NULL, &d->literal, where, error) ||
        !tl_json_int_or(json, "start", 0, 0, INT32_MAX, &d->start, where, error) ||
        !tl_json_int_or(json, "stop", 0, 0, INT32_MAX, &d->stop, where, error))
        return false;
    return (*d->literal && strlen(d->literal) == tl_utf8_size(*d->literal)) ||
           tl_fail(error, TL_ERROR_FORMAT, "%s: field 'content': expected one character", where);
}

static bool read_wordpiece(tl_decoder *d, const cJSON *json, const char *where, tl_error *error) {
    return copy_text(json, "prefix", "##", &d->literal, where, error) &&
           tl_json_bool_or(json, "cleanup", true, &d->cleanup, where, error);
}

static bool read_bpe(tl_decoder *d, const cJSON *json, const char *where, tl_error *error) {
    return copy_text(json, "suffix", "</w>", &d->literal, where, error);
}

/* The decoders this build knows. */
static const struct {
    const char *type;
    bool (*apply)(const tl_decoder *d, tl_token_work *work, tl_pieces *in, tl_pieces *out,
                  tl_error *error);
    bool (*read)(tl_decoder *d, const cJSON *json, const char *where, tl_error *error);
} kinds[] = {
    {"ByteLevel", apply_byte_level},
    {"Metaspace", apply_metaspace, read_metaspace},
    {"Replace", apply_replace, read_replace},
    {"ByteFallback", apply_byte_fallback},
    {"Fuse", apply_fuse},
    {"Strip", apply_strip, read_strip},
    {"WordPiece", apply_wordpiece, read_wordpiece},
    {"BPEDecoder", apply_bpe, read_bpe},
};

static bool add_kind(tl_decoders *list, size_t kind, const cJSON *json, const char *where,
                     tl_error *error) {
    if (list->count == DECODER_LIMIT)
        return tl_fail(error, TL_ERROR_LIMIT, "%s: more than %d decoders", where, DECODER_LIMIT);
    tl_decoder *items = realloc(list->items, ((size_t)list->count + 1) * sizeof *items);
    if (!items) return tl_fail_memory(error, sizeof *items, "decoders");
    list->items = items;
    tl_decoder *d = &items[list->count++];
    *d = (tl_decoder){.apply = kinds[kind].apply};
    return !kinds[kind].read || kinds[kind].read(d, json, where, error);
}

static bool read_kind(void *context, const char *type, const cJSON *json, const char *where,
                      tl_error *error) {
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (strcmp(kinds[i].type, type) == 0) return add_kind(context, i, json, where, error);
    return tl_component_unknown(type, where, error);
}

bool tl_decoders_read(tl_decoders *list, const cJSON *json, const char *where, tl_error *error) {
    list->spaced = !json;
    return tl_component_read(json, "decoders", read_kind, list, where, error);
}

void tl_decoders_free(tl_decoders *list) {
    for (int i = 0; i < list->count; i++) {
        free(list->items[i].literal);
        free(list->items[i].content);
        tl_regex_free(list->items[i].regex);
    }
    free(list->items);
    *list = (tl_decoders){0};
}

bool tl_decoders_apply(const tl_decoders *list, tl_token_work *work, tl_buffer *text,
                       tl_error *error) {
    tl_pieces *in = &work->pieces[0], *out = &work->pieces[1];
    for (int i = 0; i < list->count; i++) {
        const tl_decoder *d = &list->items[i];
        if (!d->apply(d, work, in, out, error)) return false;
        tl_pieces *swapped = in;
        in = out;
        out = swapped;
    }
    for (size_t i = 0; i < in->count; i++) {
        if (list->spaced && i > 0) tl_buffer_append_byte(text, ' ');
        tl_buffer_append(text, in->text + in->items[i].start, in->items[i].length);
    }
    return !text->failed || tl_fail_memory(error, text->length, "decoded text");
}
