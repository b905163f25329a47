/* WordPiece: the longest token that a word begins with, then the longest of the rest; and
 * WordLevel, where a word is one token. As in Hugging Face tokenizers 0.23. */
#include "tokenizer/subword.h"
#include "tokenizer/utf8.h"

#include <stdlib.h>
#include <string.h>

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
    .read_vocab = tl_subword_read_ids,
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

static void wordpiece_free(tl_subword *model) {
    free(model->wordpiece.prefix);
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
    .free = wordpiece_free,
    .read_vocab = tl_subword_read_ids,
};
