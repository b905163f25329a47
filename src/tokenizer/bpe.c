/* Byte-pair encoding: a word's characters, merged pair by pair in the order of the merges.
 *
 * Sennrich et al. 2016 (arXiv:1508.07909); order and unknowns as in Hugging Face tokenizers 0.23.
 */
#include "tokenizer/subword.h"
#include "tokenizer/utf8.h"

#include <stdlib.h>
#include <string.h>

static const char marker[] = "\xe2\x96\x81"; /* "▁": SentencePiece's space */

enum { SHORT_WORD = 24, AFFIX_LIMIT = 64 };

static bool copy_affix(const cJSON *json, const char *field, char **copy, const char *where,
                       tl_error *error) {
    const char *text;
    if (!tl_json_string_or(json, field, NULL, &text, where, error)) return false;
    if (!text || !*text) return true;
    if (strlen(text) > AFFIX_LIMIT)
        return tl_fail(error, TL_ERROR_LIMIT, "%s: field '%s' is longer than %d bytes", where,
                       field, AFFIX_LIMIT);
    *copy = strdup(text);
    return *copy || tl_fail_memory(error, strlen(text), field);
}

static bool bpe_configure(tl_subword *model, const cJSON *json, const char *where,
                          tl_error *error) {
    tl_bpe *bpe = &model->bpe;
    double dropout;
    const char *unknown;
    if (!tl_json_double_or(json, "dropout", 0, &dropout, where, error) ||
        !tl_json_bool_or(json, "fuse_unk", false, &bpe->fuse_unknown, where, error) ||
        !tl_json_bool_or(json, "byte_fallback", false, &bpe->byte_fallback, where, error) ||
        !tl_json_bool_or(json, "ignore_merges", false, &bpe->ignore_merges, where, error) ||
        !copy_affix(json, "continuing_subword_prefix", &bpe->prefix, where, error) ||
        !copy_affix(json, "end_of_word_suffix", &bpe->suffix, where, error) ||
        !tl_json_string_or(json, "unk_token", NULL, &unknown, where, error))
        return false;
    if (dropout != 0)
        return tl_fail(error, TL_ERROR_UNSUPPORTED,
                       "%s: field 'dropout' is %g: random merges are not supported", where,
                       dropout);
    bpe->unknown = TL_UNKNOWN_NONE;
    if (unknown) {
        bpe->unknown = tl_vocab_find(&model->vocab, unknown, strlen(unknown));
        if (bpe->unknown < 0) bpe->unknown = TL_UNKNOWN_ABSENT;
    }
    return true;
}

static tl_merge *find_merge(const tl_bpe *bpe, uint64_t pair) {
    uint32_t at = (uint32_t)((pair * 0x9e3779b97f4a7c15u) >> 32) & bpe->mask;
    while (bpe->merges[at].pair != pair && bpe->merges[at].pair != UINT64_MAX)
        at = (at + 1) & bpe->mask;
    return &bpe->merges[at];
}

static const tl_merge *merge_of(const tl_bpe *bpe, int32_t left, int32_t right) {
    const tl_merge *merge = find_merge(bpe, (uint64_t)(uint32_t)left << 32 | (uint32_t)right);
    return merge->pair == UINT64_MAX ? NULL : merge;
}

static bool grow_merges(tl_bpe *bpe, uint32_t slots, tl_error *error) {
    uint32_t old = bpe->merges ? bpe->mask + 1 : 0;
    tl_bpe grown = {.merges = malloc(slots * sizeof(tl_merge)), .mask = slots - 1};
    if (!grown.merges) return tl_fail_memory(error, slots * sizeof(tl_merge), "merges");
    memset(grown.merges, 0xff, slots * sizeof(tl_merge));
    for (uint32_t i = 0; i < old; i++)
        if (bpe->merges[i].pair != UINT64_MAX)
            *find_merge(&grown, bpe->merges[i].pair) = bpe->merges[i];
    free(bpe->merges);
    bpe->merges = grown.merges;
    bpe->mask = grown.mask;
    return true;
}

/* The id of "left right". Files list merges in the order of what they make: the id after that of
 * the merge before is tried first, which spares most look-ups. */
static int32_t merged_id(const tl_subword *model, const char *left, size_t left_length,
                         const char *right, size_t right_length) {
    size_t length, wanted = left_length + right_length;
    const char *text = tl_vocab_text(&model->vocab, model->bpe.last + 1, &length);
    if (text && length == wanted && memcmp(text, left, left_length) == 0 &&
        memcmp(text + left_length, right, right_length) == 0)
        return model->bpe.last + 1;
    char stack[256];
    char *merged = wanted <= sizeof stack ? stack : malloc(wanted);
    if (!merged) return -1;
    memcpy(merged, left, left_length);
    memcpy(merged + left_length, right, right_length);
    int32_t id = tl_vocab_find(&model->vocab, merged, wanted);
    if (merged != stack) free(merged);
    return id;
}

/* Slots to make next: at first for about as many merges as there are tokens. */
static uint32_t next_size(const tl_subword *model) {
    if (model->bpe.merges) return 2 * (model->bpe.mask + 1);
    uint32_t slots = 64;
    while (slots / 8 * 5 <= (uint32_t)model->vocab.count)
        slots *= 2;
    return slots;
}

static bool absent(const char *text, size_t length, const char *where, tl_error *error) {
    return tl_fail(error, TL_ERROR_FORMAT, "%s: merges: '%.*s' is not in the vocabulary", where,
                   (int)(length > 60 ? 60 : length), text);
}

bool tl_bpe_add_merge(tl_subword *model, const char *left, size_t left_length, const char *right,
                      size_t right_length, uint32_t rank, const char *where, tl_error *error) {
    tl_bpe *bpe = &model->bpe;
    int32_t left_id = tl_vocab_find(&model->vocab, left, left_length);
    if (left_id < 0) return absent(left, left_length, where, error);
    int32_t right_id = tl_vocab_find(&model->vocab, right, right_length);
    if (right_id < 0) return absent(right, right_length, where, error);
    size_t prefix = bpe->prefix ? strlen(bpe->prefix) : 0;
    size_t kept = right_length > prefix ? right_length - prefix : 0;
    right += right_length - kept;
    int32_t id = merged_id(model, left, left_length, right, kept);
    if (id < 0)
        return tl_fail(error, TL_ERROR_FORMAT, "%s: merges: '%.*s%.*s' is not in the vocabulary",
                       where, left_length > 60 ? 60 : (int)left_length, left,
                       kept > 60 ? 60 : (int)kept, right);
    bpe->last = id;
    if ((!bpe->merges || bpe->count >= bpe->mask / 8 * 5) &&
        !grow_merges(bpe, next_size(model), error))
        return false;
    uint64_t pair = (uint64_t)(uint32_t)left_id << 32 | (uint32_t)right_id;
    tl_merge *slot = find_merge(bpe, pair);
    bpe->count += slot->pair == UINT64_MAX;
    *slot = (tl_merge){pair, rank, id};
    return true;
}

bool tl_bpe_add_spaced(tl_subword *model, const char *text, size_t length, uint32_t rank,
                       const char *where, tl_error *error) {
    const char *space = memchr(text, ' ', length);
    size_t left = space ? (size_t)(space - text) : 0;
    if (!space || memchr(space + 1, ' ', length - left - 1))
        return tl_fail(error, TL_ERROR_FORMAT,
                       "%s: merges: '%.*s': expected two tokens with one space between", where,
                       (int)(length > 60 ? 60 : length), text);
    return tl_bpe_add_merge(model, text, left, space + 1, length - left - 1, rank, where, error);
}

/* ["a", "b"]. */
static bool read_pair(tl_subword *model, tl_scan *scan, uint32_t rank, const char *where,
                      tl_error *error) {
    const char *text;
    size_t length;
    tl_buffer left = {0};
    bool good = tl_scan_expect(scan, '[') && tl_scan_string(scan, &text, &length);
    if (good) tl_buffer_append(&left, text, length);
    good = good && tl_scan_expect(scan, ',') && tl_scan_string(scan, &text, &length) &&
           tl_scan_expect(scan, ']') &&
           tl_bpe_add_merge(model, tl_buffer_string(&left), left.length, text, length, rank, where,
                            error);
    tl_buffer_free(&left);
    return good;
}

bool tl_bpe_read_merges(tl_subword *model, tl_scan *scan, const char *where, tl_error *error) {
    if (!tl_scan_expect(scan, '[')) return false;
    bool first = true, done;
    uint32_t rank = 0;
    while (tl_scan_next(scan, ']', &first, &done) && !done) {
        if (tl_scan_peek(scan) == '[') {
            if (!read_pair(model, scan, rank++, where, error)) return false;
            continue;
        }
        const char *text;
        size_t length;
        if (!tl_scan_string(scan, &text, &length)) return false;
        if (length >= 8 && memcmp(text, "#version", 8) == 0) continue;
        if (!tl_bpe_add_spaced(model, text, length, rank++, where, error)) return false;
    }
    return done;
}

/* Does every merged token have "▁" at its start only? Then no merge crosses from one word into the
 * next, and words may be merged one by one. */
static bool words_are_marked(const tl_subword *model) {
    const tl_bpe *bpe = &model->bpe;
    if (bpe->prefix || bpe->suffix || bpe->ignore_merges) return false;
    if (tl_vocab_find(&model->vocab, marker, 3) < 0) return false;
    for (uint32_t i = 0; i <= bpe->mask; i++) {
        if (bpe->merges[i].pair == UINT64_MAX) continue;
        size_t length;
        const char *text = tl_vocab_text(&model->vocab, bpe->merges[i].id, &length);
        const char *end = text + length;
        while (end - text >= 3 && memcmp(text, marker, 3) == 0)
            text += 3;
        if (memmem(text, (size_t)(end - text), marker, 3)) return false;
    }
    return true;
}

static bool bpe_finish(tl_subword *model, const char *where, tl_error *error) {
    (void)where;
    tl_bpe *bpe = &model->bpe;
    if (!bpe->merges && !grow_merges(bpe, 64, error)) return false;
    tl_subword_byte_ids(&model->vocab, bpe->bytes);
    for (uint32_t point = 0; point < sizeof bpe->low / sizeof *bpe->low; point++) {
        tl_buffer text = {0};
        tl_utf8_append(&text, point);
        bpe->low[point] = tl_vocab_find(&model->vocab, text.data, text.length);
        tl_buffer_free(&text);
    }
    bpe->marked_words = words_are_marked(model);
    bpe->whole = calloc((size_t)model->vocab.size + 1, 1);
    return bpe->whole || tl_fail_memory(error, (size_t)model->vocab.size, "the vocabulary");
}

/* The id of one character of a word, with the affixes that its place asks for; -1 when unknown. */
static int32_t character_id(const tl_subword *model, const char *at, size_t size, bool first,
                            bool last) {
    const tl_bpe *bpe = &model->bpe;
    const char *prefix = !first && bpe->prefix ? bpe->prefix : "";
    const char *suffix = last && bpe->suffix ? bpe->suffix : "";
    if (!*prefix && !*suffix) {
        if (size <= 2) {
            uint32_t point = tl_utf8_at(at);
            if (point < sizeof bpe->low / sizeof *bpe->low) return bpe->low[point];
        }
        return tl_vocab_find(&model->vocab, at, size);
    }
    char text[2 * AFFIX_LIMIT + 8];
    size_t before = strlen(prefix), after = strlen(suffix);
    memcpy(text, prefix, before);
    memcpy(text + before, at, size);
    memcpy(text + before + size, suffix, after);
    return tl_vocab_find(&model->vocab, text, before + size + after);
}

/* The ids of a word's characters, before any merge. At most one for every byte. A pending unknown
 * comes after the byte tokens that follow it, as in the reference. */
static bool character_ids(const tl_subword *model, const char *word, size_t length, int32_t *ids,
                          size_t *count, tl_error *error) {
    const tl_bpe *bpe = &model->bpe;
    bool pending = false;
    *count = 0;
    for (size_t at = 0, size; at < length; at += size) {
        size = tl_utf8_size(word[at]);
        int32_t id = character_id(model, word + at, size, at == 0, at + size == length);
        if (id >= 0) {
            if (pending) ids[(*count)++] = bpe->unknown;
            pending = false;
            ids[(*count)++] = id;
            continue;
        }
        /* With an affix the reference looks up the bytes of both; a file with both is unheard of.
         */
        if (bpe->byte_fallback && !bpe->prefix && !bpe->suffix &&
            tl_subword_bytes_of(bpe->bytes, word + at, size, ids + *count)) {
            *count += size;
            continue;
        }
        if (bpe->unknown == TL_UNKNOWN_NONE) continue;
        if (bpe->unknown < 0)
            return tl_fail(error, TL_ERROR_FORMAT,
                           "'%.*s' is not in the vocabulary, nor is the unk_token", (int)size,
                           word + at);
        if (pending && !bpe->fuse_unknown) ids[(*count)++] = bpe->unknown;
        pending = true;
    }
    if (pending) ids[(*count)++] = bpe->unknown;
    return true;
}

/* Merges a short word in place: the leftmost of the pairs with the lowest rank, again and again. */
static size_t merge_short(const tl_bpe *bpe, int32_t *ids, size_t count) {
    uint32_t ranks[SHORT_WORD] = {0};
    int32_t merged[SHORT_WORD] = {0};
    for (size_t i = 0; i + 1 < count; i++) {
        const tl_merge *merge = merge_of(bpe, ids[i], ids[i + 1]);
        ranks[i] = merge ? merge->rank : UINT32_MAX;
        merged[i] = merge ? merge->id : -1;
    }
    while (count > 1) {
        size_t best = 0;
        for (size_t i = 1; i + 1 < count; i++)
            if (ranks[i] < ranks[best]) best = i;
        if (ranks[best] == UINT32_MAX) break;
        ids[best] = merged[best];
        count--;
        for (size_t i = best + 1; i < count; i++) {
            ids[i] = ids[i + 1];
            ranks[i] = ranks[i + 1];
            merged[i] = merged[i + 1];
        }
        for (size_t i = best ? best - 1 : 0; i <= best && i + 1 < count; i++) {
            const tl_merge *merge = merge_of(bpe, ids[i], ids[i + 1]);
            ranks[i] = merge ? merge->rank : UINT32_MAX;
            merged[i] = merge ? merge->id : -1;
        }
    }
    return count;
}

static bool comes_before(tl_candidate a, tl_candidate b) {
    return a.rank != b.rank ? a.rank < b.rank : a.position < b.position;
}

static void heap_push(tl_candidate *heap, size_t *count, tl_candidate candidate) {
    size_t at = (*count)++;
    while (at > 0 && comes_before(candidate, heap[(at - 1) / 2])) {
        heap[at] = heap[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    heap[at] = candidate;
}

static tl_candidate heap_pop(tl_candidate *heap, size_t *count) {
    tl_candidate top = heap[0], last = heap[--*count];
    size_t at = 0;
    for (size_t child; (child = 2 * at + 1) < *count; at = child) {
        if (child + 1 < *count && comes_before(heap[child + 1], heap[child])) child++;
        if (!comes_before(heap[child], last)) break;
        heap[at] = heap[child];
    }
    heap[at] = last;
    return top;
}

static void propose(const tl_bpe *bpe, const tl_symbol *symbols, int32_t position,
                    tl_candidate *heap, size_t *count) {
    int32_t next = symbols[position].next;
    const tl_merge *merge = merge_of(bpe, symbols[position].id, symbols[next].id);
    if (merge) heap_push(heap, count, (tl_candidate){merge->rank, position, merge->id});
}

/* Merges a long word: O(n log n) with a heap of candidates over a linked list of symbols. */
static size_t merge_long(const tl_bpe *bpe, int32_t *ids, size_t count, tl_symbol *symbols,
                         tl_candidate *heap) {
    size_t heaped = 0;
    int32_t last = (int32_t)count - 1;
    for (int32_t i = 0; i <= last; i++)
        symbols[i] = (tl_symbol){ids[i], i - 1, i < last ? i + 1 : -1};
    for (int32_t i = 0; i < last; i++)
        propose(bpe, symbols, i, heap, &heaped);
    while (heaped > 0) {
        tl_candidate top = heap_pop(heap, &heaped);
        tl_symbol *symbol = &symbols[top.position];
        if (symbol->id < 0 || symbol->next < 0) continue;
        tl_symbol *right = &symbols[symbol->next];
        const tl_merge *merge = merge_of(bpe, symbol->id, right->id);
        if (!merge || merge->id != top.id) continue; /* the pair is no longer what it was */
        symbol->id = top.id;
        symbol->next = right->next;
        right->id = -1;
        if (symbol->next >= 0) {
            symbols[symbol->next].previous = top.position;
            propose(bpe, symbols, top.position, heap, &heaped);
        }
        if (symbol->previous >= 0) propose(bpe, symbols, symbol->previous, heap, &heaped);
    }
    size_t kept = 0;
    for (int32_t i = 0; i >= 0; i = symbols[i].next)
        ids[kept++] = symbols[i].id;
    return kept;
}

/* Cuts a word by its merges and appends the ids. */
static bool merge_word(const tl_subword *model, tl_token_work *work, const char *word,
                       size_t length, tl_ids *ids, tl_error *error) {
    if (length <= SHORT_WORD) {
        int32_t few[SHORT_WORD];
        size_t count;
        if (!character_ids(model, word, length, few, &count, error)) return false;
        count = merge_short(&model->bpe, few, count);
        return tl_ids_append(ids, few, count, error);
    }
    /* One symbol and at most three candidates for every byte. */
    size_t each = sizeof(int32_t) + sizeof(tl_symbol) + 3 * sizeof(tl_candidate);
    tl_candidate *heap = tl_token_work_memory(work, length, each, error);
    if (!heap) return false;
    tl_symbol *symbols = (tl_symbol *)(heap + 3 * length);
    int32_t *many = (int32_t *)(symbols + length);
    size_t count;
    if (!character_ids(model, word, length, many, &count, error)) return false;
    if (count) count = merge_long(&model->bpe, many, count, symbols, heap);
    return tl_ids_append(ids, many, count, error);
}

/* One word: by the vocabulary where the word is a token that its merges lead to. */
static bool encode_word(const tl_subword *model, tl_token_work *work, const char *word,
                        size_t length, tl_ids *ids, tl_error *error) {
    enum { UNASKED, YES, NO };
    int32_t id = tl_vocab_find(&model->vocab, word, length);
    if (id < 0) return merge_word(model, work, word, length, ids, error);
    unsigned char known = model->bpe.ignore_merges
                              ? YES
                              : atomic_load_explicit(&model->bpe.whole[id], memory_order_relaxed);
    if (known == YES) return tl_ids_append(ids, &id, 1, error);
    size_t before = ids->count;
    if (!merge_word(model, work, word, length, ids, error)) return false;
    bool whole = ids->count == before + 1 && ids->data[before] == id;
    if (known == UNASKED)
        atomic_store_explicit(&model->bpe.whole[id], whole ? YES : NO, memory_order_relaxed);
    return true;
}

/* The start of the next word at or after `at`: a "▁" that follows something else. */
static const char *next_word(const char *at, const char *end) {
    while (end - at >= 3 && memcmp(at, marker, 3) == 0)
        at += 3;
    const char *next = end > at ? memmem(at, (size_t)(end - at), marker, 3) : NULL;
    return next ? next : end;
}

static bool bpe_encode(const tl_subword *model, tl_token_work *work, const char *word,
                       size_t length, tl_ids *ids, tl_error *error) {
    if (!model->bpe.marked_words) return encode_word(model, work, word, length, ids, error);
    const char *end = word + length;
    while (word < end) {
        const char *next = next_word(word, end);
        if (!encode_word(model, work, word, (size_t)(next - word), ids, error)) return false;
        word = next;
    }
    return true;
}

static void bpe_free(tl_subword *model) {
    tl_bpe *bpe = &model->bpe;
    free(bpe->merges);
    free(bpe->prefix);
    free(bpe->suffix);
    free((void *)bpe->whole);
}

static size_t bpe_bytes(const tl_subword *model) {
    return ((size_t)model->bpe.mask + 1) * sizeof(tl_merge) + (size_t)model->vocab.size;
}

const tl_subword_kind tl_bpe_kind = {
    .type = "BPE",
    .configure = bpe_configure,
    .finish = bpe_finish,
    .encode = bpe_encode,
    .free = bpe_free,
    .bytes = bpe_bytes,
    .read_vocab = tl_subword_read_ids,
};
