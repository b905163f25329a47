/* Unigram: the cut of a word with the highest sum of log-probabilities, found by Viterbi.
 *
 * Kudo 2018 (arXiv:1804.10959); ties and unknowns as in Hugging Face tokenizers 0.23. */
#include "tokenizer/subword.h"
#include "tokenizer/utf8.h"

#include <math.h>
#include <stdlib.h>

#define UNKNOWN_PENALTY 10.0 /* below the lowest score */

bool tl_unigram_add(tl_subword *model, const char *text, size_t length, double score,
                    const char *where, tl_error *error) {
    tl_unigram *unigram = &model->unigram;
    int32_t id = model->vocab.size, before = model->vocab.allocated;
    if (!isfinite(score))
        return tl_fail(error, TL_ERROR_FORMAT, "%s: vocab[%d]: the score is not a number", where,
                       id);
    if (!tl_vocab_add(&model->vocab, text, length, id, where, error)) return false;
    if (model->vocab.allocated != before) {
        size_t bytes = (size_t)model->vocab.allocated * sizeof(double);
        double *scores = realloc(unigram->scores, bytes);
        if (!scores) return tl_fail_memory(error, bytes, "the vocabulary");
        unigram->scores = scores;
    }
    unigram->scores[id] = score;
    return true;
}

static bool unigram_read_scores(tl_subword *model, tl_scan *scan, const char *where,
                                tl_error *error) {
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

static bool unigram_configure(tl_subword *model, const cJSON *json, const char *where,
                              tl_error *error) {
    int64_t unknown;
    if (!tl_json_int_or(json, "unk_id", -1, 0, (int64_t)model->vocab.size - 1, &unknown, where,
                        error) ||
        !tl_json_bool_or(json, "byte_fallback", false, &model->unigram.byte_fallback, where, error))
        return false;
    model->unigram.unknown = (int32_t)unknown;
    return true;
}

static bool unigram_finish(tl_subword *model, const char *where, tl_error *error) {
    (void)where;
    tl_unigram *unigram = &model->unigram;
    size_t count = 0, size = (size_t)model->vocab.size;
    tl_trie_key *keys = malloc((size + 1) * sizeof *keys);
    if (!keys) return tl_fail_memory(error, size * sizeof *keys, "the vocabulary");
    double lowest = HUGE_VAL;
    for (size_t id = 0; id < size; id++) {
        if (unigram->scores[id] < lowest) lowest = unigram->scores[id];
        size_t length;
        const char *text = tl_vocab_text(&model->vocab, (int32_t)id, &length);
        if (length) keys[count++] = (tl_trie_key){text, length, (int32_t)id};
    }
    unigram->unknown_score = lowest - UNKNOWN_PENALTY;
    tl_subword_byte_ids(&model->vocab, unigram->bytes);
    bool good = tl_trie_build(&unigram->trie, keys, count, error);
    free(keys);
    return good;
}

static void reach(tl_best *place, double score, int32_t id, size_t start) {
    if (place->id >= 0 && score <= place->score) return;
    *place = (tl_best){score, id, (uint32_t)start};
}

/* Fills best[0 … length]: the best last token of every prefix that ends a character. */
static bool search(const tl_subword *model, const char *word, size_t length, tl_best *best,
                   tl_error *error) {
    const tl_unigram *unigram = &model->unigram;
    for (size_t i = 0; i <= length; i++)
        best[i] = (tl_best){.id = -1};
    for (size_t start = 0, size; start < length; start += size) {
        size = tl_utf8_size(word[start]);
        double here = best[start].score;
        bool single = false; /* is the character a token of its own? */
        uint32_t node = 0;
        for (size_t end = start; end < length;) {
            node = tl_trie_step(&unigram->trie, node, (unsigned char)word[end++]);
            if (!node) break;
            int32_t id = unigram->trie.nodes[node].value;
            if (id < 0) continue;
            reach(&best[end], unigram->scores[id] + here, id, start);
            single |= end - start == size;
        }
        if (single) continue;
        if (unigram->unknown < 0)
            return tl_fail(error, TL_ERROR_FORMAT,
                           "'%.*s' is not in the vocabulary, and the model has no unk_id",
                           (int)size, word + start);
        reach(&best[start + size], unigram->unknown_score + here, unigram->unknown, start);
    }
    return true;
}

/* Appends what an unknown stretch of text becomes. */
static bool append_unknown(const tl_subword *model, const char *text, size_t length, tl_ids *ids,
                           tl_error *error) {
    int32_t id = tl_vocab_find(&model->vocab, text, length);
    if (id >= 0) return tl_ids_append(ids, &id, 1, error);
    if (!model->unigram.byte_fallback) return tl_ids_append(ids, &model->unigram.unknown, 1, error);
    size_t before = ids->count;
    for (size_t i = 0; i < length; i++) {
        int32_t byte = model->unigram.bytes[(unsigned char)text[i]];
        if (byte < 0) {
            ids->count = before;
            return tl_ids_append(ids, &model->unigram.unknown, 1, error);
        }
        if (!tl_ids_append(ids, &byte, 1, error)) return false;
    }
    return true;
}

static bool unigram_encode(const tl_subword *model, tl_token_work *work, const char *word,
                           size_t length, tl_ids *ids, tl_error *error) {
    tl_best *best = tl_token_work_memory(work, length + 1, sizeof *best, error);
    if (!best || !search(model, word, length, best, error)) return false;
    /* Turn the links around: best[start].start becomes the end of the token that begins there. */
    size_t end = length;
    int32_t id = best[end].id;
    size_t start = best[end].start;
    while (end > 0) {
        size_t before = best[start].start;
        int32_t before_id = best[start].id;
        best[start] = (tl_best){.id = id, .start = (uint32_t)end};
        end = start;
        id = before_id;
        start = before;
    }
    for (size_t at = 0; at < length;) {
        size_t next = best[at].start;
        if (best[at].id != model->unigram.unknown) {
            if (!tl_ids_append(ids, &best[at].id, 1, error)) return false;
        } else { /* unknowns in a row are one */
            while (next < length && best[next].id == model->unigram.unknown)
                next = best[next].start;
            if (!append_unknown(model, word + at, next - at, ids, error)) return false;
        }
        at = next;
    }
    return true;
}

static void unigram_free(tl_subword *model) {
    tl_trie_free(&model->unigram.trie);
    free(model->unigram.scores);
}

static size_t unigram_bytes(const tl_subword *model) {
    return tl_trie_bytes(&model->unigram.trie) + (size_t)model->vocab.allocated * sizeof(double);
}

const tl_subword_kind tl_unigram_kind = {
    .type = "Unigram",
    .configure = unigram_configure,
    .finish = unigram_finish,
    .encode = unigram_encode,
    .free = unigram_free,
    .bytes = unigram_bytes,
    .read_vocab = unigram_read_scores,
};
