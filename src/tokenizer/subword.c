/* What the models share: their table, their vocabulary, WordPiece and WordLevel. */
#include "tokenizer/subword.h"

#include "tokenizer/utf8.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const tl_subword_kind *const kinds[] = {
    &tl_bpe_kind,
    &tl_unigram_kind,
    &tl_wordpiece_kind,
    &tl_wordlevel_kind,
};

const tl_subword_kind *tl_subword_kind_of(const cJSON *model, bool has_merges, bool scored,
                                          const char *where, tl_error *error) {
    const char *type;
    if (!tl_json_string_or(model, "type", NULL, &type, where, error)) return NULL;
    if (!type)
        return has_merges                                       ? &tl_bpe_kind
               : scored                                         ? &tl_unigram_kind
               : tl_json_get(model, "max_input_chars_per_word") ? &tl_wordpiece_kind
                                                                : &tl_wordlevel_kind;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (strcmp(kinds[i]->type, type) == 0) return kinds[i];
    tl_fail(error, TL_ERROR_UNSUPPORTED,
            "%s: type '%s' is not supported (BPE, Unigram, WordPiece, WordLevel are)", where, type);
    return NULL;
}

static void bpe_free(tl_bpe *bpe) {
    free(bpe->merges);
    free(bpe->prefix);
    free(bpe->suffix);
    free((void *)bpe->whole);
}

void tl_subword_free(tl_subword *model) {
    if (model->kind == &tl_bpe_kind) {
        bpe_free(&model->bpe);
    } else if (model->kind == &tl_unigram_kind) {
        tl_trie_free(&model->unigram.trie);
        free(model->unigram.scores);
    } else {
        free(model->wordpiece.prefix);
    }
    tl_vocab_free(&model->vocab);
    *model = (tl_subword){0};
}

size_t tl_subword_bytes(const tl_subword *model) {
    size_t bytes = tl_vocab_bytes(&model->vocab);
    if (model->kind == &tl_bpe_kind)
        bytes += ((size_t)model->bpe.mask + 1) * sizeof(tl_merge) + (size_t)model->vocab.size;
    if (model->kind == &tl_unigram_kind)
        bytes +=
            tl_trie_bytes(&model->unigram.trie) + (size_t)model->vocab.allocated * sizeof(double);
    return bytes;
}

static bool read_ids(tl_subword *model, tl_scan *scan, const char *where, tl_error *error) {
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

static bool read_scores(tl_subword *model, tl_scan *scan, const char *where, tl_error *error) {
    if (!tl_scan_expect(scan, '[')) return false;
    bool first = true, done;
    while (tl_scan_next(scan, ']', &first, &done) && !done) {
        tl_buffer copy = {0};
        const char *text;
        size_t length;
        double score;
        bool good = tl_scan_expect(scan, '[') && tl_scan_string(scan, &text, &length);
        if (good) tl_buffer_append(&copy, text, length);
        good = good && tl_scan_expect(scan, ',') && tl_scan_number(scan, &score) &&
               tl_scan_expect(scan, ']') &&
               tl_unigram_add(model, tl_buffer_string(&copy), copy.length, score, where, error);
        tl_buffer_free(&copy);
        if (!good) return false;
    }
    return done;
}

bool tl_subword_read_vocab(tl_subword *model, tl_scan *scan, const char *where, tl_error *error) {
    return model->kind->scored ? read_scores(model, scan, where, error)
                               : read_ids(model, scan, where, error);
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

static bool find_unknown(tl_subword *model, const cJSON *json, const char *where, tl_error *error) {
    const char *unknown;
    if (!tl_json_string_or(json, "unk_token", "[UNK]", &unknown, where, error)) return false;
    model->wordpiece.unknown = tl_vocab_find(&model->vocab, unknown, strlen(unknown));
    return true;
}

static bool nothing_more(tl_subword *model, const char *where, tl_error *error) {
    (void)model, (void)where, (void)error;
    return true;
}

static bool append_unknown(const tl_subword *model, const char *word, size_t length, tl_ids *ids,
                           tl_error *error) {
    if (model->wordpiece.unknown < 0)
        return tl_fail(error, TL_ERROR_FORMAT,
                       "'%.*s' is not in the vocabulary, nor is the unk_token",
                       (int)(length > 60 ? 60 : length), word);
    return tl_ids_append(ids, &model->wordpiece.unknown, 1, error);
}

static bool wordlevel_encode(const tl_subword *model, tl_token_work *work, const char *word,
                             size_t length, tl_ids *ids, tl_error *error) {
    (void)work;
    int32_t id = tl_vocab_find(&model->vocab, word, length);
    return id >= 0 ? tl_ids_append(ids, &id, 1, error)
                   : append_unknown(model, word, length, ids, error);
}

const tl_subword_kind tl_wordlevel_kind = {
    .type = "WordLevel",
    .configure = find_unknown,
    .finish = nothing_more,
    .encode = wordlevel_encode,
};

static bool wordpiece_configure(tl_subword *model, const cJSON *json, const char *where,
                                tl_error *error) {
    const char *prefix;
    if (!find_unknown(model, json, where, error) ||
        !tl_json_string_or(json, "continuing_subword_prefix", "##", &prefix, where, error) ||
        !tl_json_int_or(json, "max_input_chars_per_word", 100, 1, 10000, &model->wordpiece.longest,
                        where, error))
        return false;
    if (strlen(prefix) > 64)
        return tl_fail(error, TL_ERROR_LIMIT,
                       "%s: field 'continuing_subword_prefix' is longer than 64 bytes", where);
    model->wordpiece.prefix = strdup(prefix);
    return model->wordpiece.prefix || tl_fail_memory(error, strlen(prefix), where);
}

/* Length of the longest token that begins `rest`; 0 where there is none. */
static size_t longest_token(const tl_subword *model, const char *rest, size_t length, bool first,
                            int32_t *id) {
    char text[1024];
    size_t prefix = first ? 0 : strlen(model->wordpiece.prefix);
    memcpy(text, model->wordpiece.prefix, prefix);
    size_t end = length < sizeof text - prefix ? length : sizeof text - prefix;
    if (end > model->vocab.longest) end = model->vocab.longest;
    while (end > 0 && end < length && ((unsigned char)rest[end] & 0xc0) == 0x80)
        end--;
    memcpy(text + prefix, rest, end);
    while (end > 0) {
        *id = tl_vocab_find(&model->vocab, text, prefix + end);
        if (*id >= 0) return end;
        end = (size_t)(tl_utf8_before(rest + end) - rest);
    }
    return 0;
}

static bool wordpiece_encode(const tl_subword *model, tl_token_work *work, const char *word,
                             size_t length, tl_ids *ids, tl_error *error) {
    (void)work;
    int64_t characters = 0;
    for (size_t i = 0; i < length; i++)
        characters += ((unsigned char)word[i] & 0xc0) != 0x80;
    if (characters > model->wordpiece.longest)
        return append_unknown(model, word, length, ids, error);
    size_t before = ids->count;
    for (size_t at = 0; at < length;) {
        int32_t id;
        size_t used = longest_token(model, word + at, length - at, at == 0, &id);
        if (!used) {
            ids->count = before;
            return append_unknown(model, word, length, ids, error);
        }
        if (!tl_ids_append(ids, &id, 1, error)) return false;
        at += used;
    }
    return true;
}

const tl_subword_kind tl_wordpiece_kind = {
    .type = "WordPiece",
    .configure = wordpiece_configure,
    .finish = nothing_more,
    .encode = wordpiece_encode,
};
