/* What tokenizer_config.json and special_tokens_map.json say: BOS, EOS, PAD, UNK. */
#include "tokenizer/internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The class of a model whose tokenizer_config.json names none, as AutoTokenizer picks it. */
static const struct {
    const char *model_type, *name;
} classes[] = {
    {"gpt2", "GPT2Tokenizer"},   {"opt", "GPT2Tokenizer"}, {"qwen2", "Qwen2Tokenizer"},
    {"llama", "LlamaTokenizer"}, {"t5", "T5Tokenizer"},
};

bool tl_opening_class(tl_opening *opening, char name[64], tl_error *error) {
    const char *class;
    name[0] = 0;
    if (!tl_json_string_or(opening->config, "tokenizer_class", "", &class, opening->config_path,
                           error))
        return false;
    size_t length = strlen(class);
    if (length > 4 && strcmp(class + length - 4, "Fast") == 0) length -= 4;
    snprintf(name, 64, "%.*s", length > 63 ? 63 : (int)length, class);
    if (*name) return true;
    char path[4096];
    if (snprintf(path, sizeof path, "%s/config.json", opening->directory) >= (int)sizeof path ||
        !tl_file_exists(path))
        return true;
    cJSON *config = tl_json_read(path, 1 << 24, error);
    const char *type;
    bool good = config && tl_json_string_or(config, "model_type", "", &type, path, error);
    for (size_t i = 0; good && i < sizeof classes / sizeof *classes; i++)
        if (strcmp(classes[i].model_type, type) == 0) snprintf(name, 64, "%s", classes[i].name);
    cJSON_Delete(config);
    return good;
}

/* A token in either form: "text" or {"content": "text", …}. */
static bool token_text(const cJSON *json, const char *name, const char *where, const char **text,
                       tl_error *error) {
    const cJSON *item = tl_json_get(json, name);
    if (!cJSON_IsObject(item)) return tl_json_string_or(json, name, NULL, text, where, error);
    return tl_json_string_or(item, "content", NULL, text, where, error);
}

bool tl_opening_special(const tl_opening *opening, const char *name, const char **text,
                        tl_error *error) {
    if (!token_text(opening->config, name, opening->config_path, text, error)) return false;
    /* A field of tokenizer_config.json decides, even where it says null. */
    if (*text || cJSON_GetObjectItemCaseSensitive(opening->config, name)) return true;
    return token_text(opening->special, name, opening->special_path, text, error);
}

static bool special_id(const tl_opening *opening, const char *name, int32_t *id, tl_error *error) {
    const char *text;
    *id = -1;
    if (!tl_opening_special(opening, name, &text, error)) return false;
    if (text) *id = tl_tokenizer_id(opening->tokenizer, text);
    return true;
}

static bool read_max_length(tl_opening *opening, tl_error *error) {
    double length;
    if (!tl_json_double_or(opening->config, "model_max_length", -1, &length, opening->config_path,
                           error))
        return false;
    bool stated = length >= 1 && length < 1e15; /* 1e30 is how the hub writes "none" */
    opening->tokenizer->max_length = stated ? (int64_t)length : -1;
    return true;
}

bool tl_opening_finish(tl_opening *opening, tl_error *error) {
    tl_tokenizer *t = opening->tokenizer;
    return special_id(opening, "bos_token", &t->bos, error) &&
           special_id(opening, "eos_token", &t->eos, error) &&
           special_id(opening, "pad_token", &t->pad, error) &&
           special_id(opening, "unk_token", &t->unknown, error) &&
           read_max_length(opening, error) && tl_added_finish(t, error);
}

/* The keys of one trie, by the place of their text. */
static bool build_trie(tl_tokenizer *t, bool normalized, tl_trie *trie, tl_error *error) {
    tl_trie_key *keys = calloc(t->added.count + 1, sizeof *keys);
    size_t *places = calloc(t->added.count + 1, sizeof *places); /* of the keys in `texts` */
    tl_buffer texts = {0};
    tl_work work = {0};
    size_t count = 0;
    bool good = (keys && places) || tl_fail_memory(error, t->added.count * sizeof *keys, "added tokens");
    for (size_t i = 0; good && i < t->added.count; i++) {
        const tl_added_token *token = &t->added.tokens[i];
        if (token->normalized != normalized) continue;
        size_t length;
        bool first = true;
        const char *text = tl_vocab_text(&t->added.extra, token->id, &length);
        if (!text) text = tl_vocab_text(&t->model.vocab, token->id, &length);
        if (normalized)
            good = tl_normalizers_apply(&t->normalizers, &work, &text, &length, &first, error);
        if (!good || !length) continue;
        places[count] = texts.length;
        keys[count++] = (tl_trie_key){NULL, length, (int32_t)i};
        tl_buffer_append(&texts, text, length);
    }
    if (good && texts.failed) good = tl_fail_memory(error, texts.length, "added tokens");
    for (size_t i = 0; i < count; i++) /* now that the texts stay where they are */
        keys[i].text = texts.data + places[i];
    good = good && (!count || tl_trie_build(trie, keys, count, error));
    tl_work_free(&work);
    tl_buffer_free(&texts);
    free(keys);
    free(places);
    return good;
}

bool tl_added_finish(tl_tokenizer *tokenizer, tl_error *error) {
    return build_trie(tokenizer, false, &tokenizer->added.raw, error) &&
           build_trie(tokenizer, true, &tokenizer->added.normalized, error);
}
