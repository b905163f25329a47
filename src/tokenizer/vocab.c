#include "tokenizer/vocab.h"

#include <stdlib.h>
#include <string.h>

void tl_vocab_free(tl_vocab *vocab) {
    tl_buffer_free(&vocab->text);
    free(vocab->tokens);
    free(vocab->slots);
    *vocab = (tl_vocab){0};
}

/* The slot that holds the text, or the free one where it would go. */
static tl_vocab_slot *find_slot(const tl_vocab *vocab, const char *text, size_t length,
                                uint32_t hash) {
    for (uint32_t i = hash & vocab->mask;; i = (i + 1) & vocab->mask) {
        tl_vocab_slot *slot = &vocab->slots[i];
        if (slot->id < 0) return slot;
        if (slot->hash == hash && slot->length == length &&
            memcmp(vocab->text.data + slot->offset, text, length) == 0)
            return slot;
    }
}

static bool grow_slots(tl_vocab *vocab, uint32_t count, tl_error *error) {
    uint32_t old_count = vocab->slots ? vocab->mask + 1 : 0;
    tl_vocab_slot *slots = malloc(count * sizeof *slots);
    if (!slots) return tl_fail_memory(error, count * sizeof *slots, "the vocabulary");
    memset(slots, 0xff, count * sizeof *slots);
    for (uint32_t i = 0; i < old_count; i++) {
        if (vocab->slots[i].id < 0) continue;
        uint32_t at = vocab->slots[i].hash & (count - 1);
        while (slots[at].id >= 0)
            at = (at + 1) & (count - 1);
        slots[at] = vocab->slots[i];
    }
    free(vocab->slots);
    vocab->slots = slots;
    vocab->mask = count - 1;
    return true;
}

static bool grow_tokens(tl_vocab *vocab, int32_t id, tl_error *error) {
    int32_t allocated = vocab->allocated ? vocab->allocated : 512;
    while (allocated <= id)
        allocated *= 2;
    size_t bytes = (size_t)allocated * sizeof *vocab->tokens;
    tl_vocab_token *tokens = realloc(vocab->tokens, bytes);
    if (!tokens) return tl_fail_memory(error, bytes, "the vocabulary");
    memset(tokens + vocab->allocated, 0,
           (size_t)(allocated - vocab->allocated) * sizeof *vocab->tokens);
    vocab->tokens = tokens;
    vocab->allocated = allocated;
    return true;
}

void tl_vocab_reserve(tl_vocab *vocab, size_t count, size_t bytes) {
    uint32_t slots = 1024;
    if (count > TL_VOCAB_LIMIT) count = TL_VOCAB_LIMIT;
    while (slots / 8 * 5 <= count)
        slots *= 2;
    if (!vocab->slots) grow_slots(vocab, slots, NULL);
    tl_buffer text = vocab->text;
    if (tl_buffer_reserve(&text, bytes)) vocab->text = text;
}

bool tl_vocab_add(tl_vocab *vocab, const char *text, size_t length, int64_t id, const char *where,
                  tl_error *error) {
    int shown = length > 60 ? 60 : (int)length;
    if (id < 0 || id >= TL_VOCAB_LIMIT)
        return tl_fail(error, TL_ERROR_FORMAT, "%s: token '%.*s': id %lld is not within 0 to %d",
                       where, shown, text, (long long)id, TL_VOCAB_LIMIT - 1);
    if (id < vocab->size && vocab->tokens[id].present)
        return tl_fail(error, TL_ERROR_FORMAT, "%s: id %lld belongs to both '%.60s' and '%.*s'",
                       where, (long long)id, tl_vocab_text(vocab, (int32_t)id, NULL), shown, text);
    if (vocab->text.length + length + 1 > UINT32_MAX)
        return tl_fail(error, TL_ERROR_LIMIT, "%s: a vocabulary of more than 4 GB", where);
    if ((!vocab->slots || (uint32_t)vocab->count > vocab->mask / 8 * 5) &&
        !grow_slots(vocab, vocab->slots ? 2 * (vocab->mask + 1) : 1024, error))
        return false;
    if (id >= vocab->allocated && !grow_tokens(vocab, (int32_t)id, error)) return false;
    uint32_t hash = (uint32_t)tl_hash(text, length);
    tl_vocab_slot *slot = find_slot(vocab, text, length, hash);
    if (slot->id >= 0)
        return tl_fail(error, TL_ERROR_FORMAT, "%s: token '%.*s' has both id %d and id %lld", where,
                       shown, text, slot->id, (long long)id);
    vocab->tokens[id] = (tl_vocab_token){(uint32_t)vocab->text.length, (uint32_t)length, true};
    *slot = (tl_vocab_slot){hash, (int32_t)id, (uint32_t)vocab->text.length, (uint32_t)length};
    tl_buffer_append(&vocab->text, text, length);
    tl_buffer_append_byte(&vocab->text, 0);
    if (vocab->text.failed) return tl_fail_memory(error, length, "the vocabulary");
    vocab->count++;
    if (id >= vocab->size) vocab->size = (int32_t)id + 1;
    if (length > vocab->longest) vocab->longest = length;
    return true;
}

int32_t tl_vocab_find(const tl_vocab *vocab, const char *text, size_t length) {
    if (!vocab->slots || length > vocab->longest) return -1;
    return find_slot(vocab, text, length, (uint32_t)tl_hash(text, length))->id;
}

const char *tl_vocab_text(const tl_vocab *vocab, int32_t id, size_t *length) {
    if (id < 0 || id >= vocab->size || !vocab->tokens[id].present) return NULL;
    if (length) *length = vocab->tokens[id].length;
    return vocab->text.data + vocab->tokens[id].offset;
}

size_t tl_vocab_bytes(const tl_vocab *vocab) {
    return vocab->text.capacity + (size_t)vocab->allocated * sizeof *vocab->tokens +
           (vocab->slots ? ((size_t)vocab->mask + 1) * sizeof *vocab->slots : 0);
}
