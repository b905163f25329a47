#include "tokenizer/added.h"

#include "tokenizer/classes.h"
#include "tokenizer/utf8.h"

#include <stdlib.h>
#include <string.h>

/* Matching looks at most this far from every place, so that it stays linear. */
enum { LENGTH_LIMIT = 1024, COUNT_LIMIT = 1 << 18 };

void tl_added_free(tl_added *added) {
    tl_vocab_free(&added->extra);
    free(added->tokens);
    free(added->index);
    tl_trie_free(&added->raw);
    tl_trie_free(&added->normalized);
    *added = (tl_added){0};
}

const tl_added_token *tl_added_find(const tl_added *added, int32_t id) {
    if (id < 0 || id >= added->indexed || !added->index[id]) return NULL;
    return &added->tokens[added->index[id] - 1];
}

/* Makes room for one more token and for `id` in the index. */
static bool reserve(tl_added *added, int32_t id, tl_error *error) {
    if (added->count == added->capacity) {
        size_t capacity = added->capacity ? added->capacity * 2 : 32;
        tl_added_token *tokens = realloc(added->tokens, capacity * sizeof *tokens);
        if (!tokens) return tl_fail_memory(error, capacity * sizeof *tokens, "added tokens");
        added->tokens = tokens;
        added->capacity = capacity;
    }
    if (id < added->indexed) return true;
    int32_t indexed = added->indexed ? added->indexed : 512;
    while (indexed <= id)
        indexed *= 2;
    int32_t *index = realloc(added->index, (size_t)indexed * sizeof *index);
    if (!index) return tl_fail_memory(error, (size_t)indexed * sizeof *index, "added tokens");
    memset(index + added->indexed, 0, (size_t)(indexed - added->indexed) * sizeof *index);
    added->index = index;
    added->indexed = indexed;
    return true;
}

bool tl_added_add(tl_added *added, const tl_vocab *vocab, const char *text, size_t length,
                  tl_added_token token, const char *where, tl_error *error) {
    int shown = length > 60 ? 60 : (int)length;
    if (length == 0 || length > LENGTH_LIMIT || added->count >= COUNT_LIMIT)
        return tl_fail(error, TL_ERROR_LIMIT,
                       "%s: expected at most %d added tokens of 1 to %d bytes", where, COUNT_LIMIT,
                       LENGTH_LIMIT);
    int32_t known = tl_vocab_find(vocab, text, length);
    const char *other = tl_vocab_text(vocab, token.id, NULL);
    if (known >= 0 && known != token.id)
        return tl_fail(error, TL_ERROR_FORMAT,
                       "%s: added token '%.*s' has id %d, but the vocabulary gives it %d", where,
                       shown, text, token.id, known);
    if (known < 0 && other)
        return tl_fail(error, TL_ERROR_FORMAT,
                       "%s: added token '%.*s' has id %d, which is '%.60s' in the vocabulary",
                       where, shown, text, token.id, other);
    if (known < 0 && tl_vocab_find(&added->extra, text, length) != token.id &&
        !tl_vocab_add(&added->extra, text, length, token.id, where, error))
        return false;
    if (!reserve(added, token.id, error)) return false;
    if (!added->index[token.id]) added->index[token.id] = (int32_t)++added->count;
    added->tokens[added->index[token.id] - 1] = token;
    return true;
}

bool tl_added_read(tl_added *added, const tl_vocab *vocab, const cJSON *json, const char *text,
                   int32_t id, const char *where, tl_error *error) {
    tl_added_token token = {.id = id};
    return tl_json_bool_or(json, "single_word", false, &token.single_word, where, error) &&
           tl_json_bool_or(json, "lstrip", false, &token.lstrip, where, error) &&
           tl_json_bool_or(json, "rstrip", false, &token.rstrip, where, error) &&
           tl_json_bool_or(json, "special", false, &token.special, where, error) &&
           tl_json_bool_or(json, "normalized", !token.special, &token.normalized, where, error) &&
           tl_added_add(added, vocab, text, strlen(text), token, where, error);
}

/* The longest token that begins at `at`: its index and end; -1 where there is none. */
static int32_t longest(const tl_trie *trie, const char *text, size_t length, size_t at,
                       size_t *end) {
    int32_t index = -1;
    uint32_t node = trie->first[(unsigned char)text[at]];
    while (node) {
        at++;
        if (trie->nodes[node].value >= 0) {
            index = trie->nodes[node].value;
            *end = at;
        }
        if (at == length) break;
        node = tl_trie_step(trie, node, (unsigned char)text[at]);
    }
    return index;
}

static bool stands_alone(const char *text, size_t length, size_t start, size_t end) {
    if (start > 0 && tl_is_word(tl_utf8_at(tl_utf8_before(text + start)))) return false;
    return end == length || !tl_is_word(tl_utf8_at(text + end));
}

/* Start of the white space before `start`, but not before `floor`. */
static size_t space_before(const char *text, size_t start, size_t floor) {
    while (start > floor) {
        const char *before = tl_utf8_before(text + start);
        if (!tl_is_whitespace(tl_utf8_at(before))) break;
        start = (size_t)(before - text);
    }
    return start;
}

static size_t space_after(const char *text, size_t length, size_t end) {
    while (end < length && tl_is_whitespace(tl_utf8_at(text + end)))
        end += tl_utf8_size(text[end]);
    return end;
}

bool tl_added_split(const tl_added *added, const tl_trie *trie, const char *text, size_t length,
                    tl_stretches *stretches, tl_error *error) {
    stretches->count = 0;
    size_t from = 0; /* end of the last stretch */
    for (size_t at = 0, end = 0; trie->count && at < length;) {
        int32_t index = longest(trie, text, length, at, &end);
        if (index < 0) {
            at++;
            continue;
        }
        const tl_added_token *token = &added->tokens[index];
        size_t start = at;
        at = end;
        if (token->single_word && !stands_alone(text, length, start, end)) continue;
        /* The token before it may have taken its text, through rstrip: then it comes without text
         * of its own, or, where it takes spaces on its left, only with what is left to take: so
         * the reference. */
        if (token->lstrip) start = start > from ? space_before(text, start, from) : from;
        if (token->rstrip) end = space_after(text, length, end);
        if (end <= start) continue;
        if (from < start) tl_stretches_add(stretches, from, start, -1);
        tl_stretches_add(stretches, start, end, token->id);
        from = end;
    }
    if (from < length) tl_stretches_add(stretches, from, length, -1);
    return !stretches->failed ||
           tl_fail_memory(error, stretches->capacity * sizeof *stretches->items, "text");
}
