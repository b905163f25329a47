#include "tokenizer/internal.h"

#include "tokenizer/utf8.h"

#include <stdlib.h>
#include <string.h>

/* The longest text of one call: positions are 32 bits wide. */
enum { TEXT_LIMIT = 1 << 28 };

void tl_tokenizer_free(tl_tokenizer *tokenizer) {
    if (!tokenizer) return;
    tl_normalizers_free(&tokenizer->normalizers);
    tl_pretokenizers_free(&tokenizer->pretokenizers);
    tl_subword_free(&tokenizer->model);
    tl_postprocessors_free(&tokenizer->postprocessors);
    tl_decoders_free(&tokenizer->decoders);
    tl_added_free(&tokenizer->added);
    free(tokenizer);
}

/* Encodes what lies between added tokens of the normalized text. */
static bool encode_words(const tl_tokenizer *t, tl_token_work *work, const char *text,
                         size_t length, bool first, tl_ids *ids, tl_error *error) {
    const tl_pieces *pieces;
    if (!tl_pretokenizers_apply(&t->pretokenizers, work, text, length, first, &pieces, error))
        return false;
    for (size_t i = 0; i < pieces->count; i++)
        if (!t->model.kind->encode(&t->model, work, pieces->text + pieces->items[i].start,
                                   pieces->items[i].length, ids, error))
            return false;
    return true;
}

/* Encodes what lies between added tokens of the raw text. */
static bool encode_stretch(const tl_tokenizer *t, tl_token_work *work, const char *text,
                           size_t length, bool first, tl_ids *ids, tl_error *error) {
    if (!tl_normalizers_apply(&t->normalizers, work, &text, &length, &first, error)) return false;
    if (!t->added.normalized.count) return encode_words(t, work, text, length, first, ids, error);
    if (!tl_added_split(&t->added, &t->added.normalized, text, length, &work->normalized, error))
        return false;
    for (size_t i = 0; i < work->normalized.count; i++) {
        tl_stretch stretch = work->normalized.items[i];
        if (stretch.id >= 0
                ? !tl_ids_append(ids, &stretch.id, 1, error)
                : !encode_words(t, work, text + stretch.start, stretch.end - stretch.start,
                                first && stretch.start == 0, ids, error))
            return false;
    }
    return true;
}

static bool encode_text(const tl_tokenizer *t, tl_token_work *work, const char *text, size_t length,
                        tl_ids *ids, tl_error *error) {
    if (!tl_added_split(&t->added, &t->added.raw, text, length, &work->raw, error)) return false;
    for (size_t i = 0; i < work->raw.count; i++) {
        tl_stretch stretch = work->raw.items[i];
        if (stretch.id >= 0
                ? !tl_ids_append(ids, &stretch.id, 1, error)
                : !encode_stretch(t, work, text + stretch.start, stretch.end - stretch.start,
                                  stretch.start == 0, ids, error))
            return false;
    }
    return true;
}

bool tl_tokenizer_encode(const tl_tokenizer *tokenizer, const char *text, size_t length,
                         bool special, tl_ids *ids, tl_error *error) {
    if (length > TEXT_LIMIT)
        return tl_fail(error, TL_ERROR_LIMIT, "a text of %zu bytes: at most %d can be tokenized",
                       length, TEXT_LIMIT);
    tl_token_work work = {0};
    size_t before = ids->count;
    bool good = true;
    if (tl_utf8_valid(text, length) != length) {
        tl_utf8_lossy(text, length, &work.repaired);
        good = !work.repaired.failed || tl_fail_memory(error, length, "a text");
        text = tl_buffer_string(&work.repaired);
        length = work.repaired.length;
    }
    good = good && encode_text(tokenizer, &work, text, length, ids, error);
    if (good && special)
        good = tl_postprocessors_apply(&tokenizer->postprocessors, ids, before, error);
    tl_token_work_free(&work);
    if (!good) ids->count = before;
    return good;
}

/* The text of an id as the vocabulary writes it. */
static const char *token_text(const tl_tokenizer *t, int32_t id, size_t *length) {
    const char *text = tl_vocab_text(&t->added.extra, id, length);
    return text ? text : tl_vocab_text(&t->model.vocab, id, length);
}

bool tl_tokenizer_decode(const tl_tokenizer *tokenizer, const int32_t *ids, size_t count,
                         bool skip_special, tl_buffer *text, tl_error *error) {
    tl_token_work work = {0};
    tl_pieces *tokens = &work.pieces[0];
    tl_pieces_clear(tokens);
    for (size_t i = 0; i < count; i++) {
        size_t length, start = tokens->own.length;
        const char *token = token_text(tokenizer, ids[i], &length);
        if (!token) continue;
        const tl_added_token *added = tl_added_find(&tokenizer->added, ids[i]);
        if (skip_special && added && added->special) continue;
        tl_buffer_append(&tokens->own, token, length);
        tl_pieces_push_own(tokens, start, true);
    }
    bool good = tl_pieces_finish(tokens, error) &&
                tl_decoders_apply(&tokenizer->decoders, &work, text, error);
    tl_token_work_free(&work);
    return good;
}

int32_t tl_tokenizer_size(const tl_tokenizer *tokenizer) {
    return tokenizer->size;
}

const char *tl_tokenizer_token(const tl_tokenizer *tokenizer, int32_t id) {
    return token_text(tokenizer, id, NULL);
}

int32_t tl_tokenizer_id(const tl_tokenizer *tokenizer, const char *token) {
    int32_t id = tl_vocab_find(&tokenizer->added.extra, token, strlen(token));
    return id >= 0 ? id : tl_vocab_find(&tokenizer->model.vocab, token, strlen(token));
}

int32_t tl_tokenizer_bos(const tl_tokenizer *tokenizer) {
    return tokenizer->bos;
}

int32_t tl_tokenizer_eos(const tl_tokenizer *tokenizer) {
    return tokenizer->eos;
}

int32_t tl_tokenizer_pad(const tl_tokenizer *tokenizer) {
    return tokenizer->pad;
}

int32_t tl_tokenizer_unk(const tl_tokenizer *tokenizer) {
    return tokenizer->unknown;
}

int64_t tl_tokenizer_max_length(const tl_tokenizer *tokenizer) {
    return tokenizer->max_length;
}

size_t tl_tokenizer_bytes(const tl_tokenizer *tokenizer) {
    size_t bytes = sizeof *tokenizer + tl_subword_bytes(&tokenizer->model) +
                   tl_vocab_bytes(&tokenizer->added.extra) + tl_trie_bytes(&tokenizer->added.raw) +
                   tl_trie_bytes(&tokenizer->added.normalized) +
                   tokenizer->added.capacity * sizeof *tokenizer->added.tokens +
                   (size_t)tokenizer->added.indexed * sizeof *tokenizer->added.index;
    for (int i = 0; i < tokenizer->normalizers.count; i++) {
        const tl_normalizer *n = &tokenizer->normalizers.items[i];
        bytes +=
            (n->regex ? tl_regex_bytes(n->regex) : 0) + (n->map ? tl_charsmap_bytes(n->map) : 0);
    }
    for (int i = 0; i < tokenizer->pretokenizers.count; i++)
        if (tokenizer->pretokenizers.items[i].regex)
            bytes += tl_regex_bytes(tokenizer->pretokenizers.items[i].regex);
    return bytes;
}

const char *tl_tokenizer_fingerprint(const tl_tokenizer *tokenizer) {
    return tokenizer->fingerprint;
}
