/* What tokenizer_config.json and special_tokens_map.json say: BOS, EOS, PAD, UNK. */
#include "tokenizer/internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The classes this build knows: the model_type that stands for each, and the special tokens that it
 * has where no file says otherwise (transformers' tokenization_*.py). */
enum { BOS, EOS, UNK, PAD, NAMED };

static const char *const named[NAMED] = {"bos_token", "eos_token", "unk_token", "pad_token"};

static const struct {
    const char *model_type, *name;
    const char *tokens[NAMED];
} classes[] = {
    {"gpt2", "GPT2Tokenizer", {"<|endoftext|>", "<|endoftext|>", "<|endoftext|>", NULL}},
    {"opt", "GPT2Tokenizer", {"<|endoftext|>", "<|endoftext|>", "<|endoftext|>", NULL}},
    {"gpt_neox",
     "GPTNeoXTokenizer",
     {"<|endoftext|>", "<|endoftext|>", "<|endoftext|>", "<|padding|>"}},
    {"qwen2", "Qwen2Tokenizer", {NULL, "<|endoftext|>", "<|endoftext|>", "<|endoftext|>"}},
    {"llama", "LlamaTokenizer", {"<s>", "</s>", "<unk>", NULL}},
    {"t5", "T5Tokenizer", {NULL, "</s>", "<unk>", "<pad>"}},
    {"bloom", "BloomTokenizer", {"<s>", "</s>", "<unk>", "<pad>"}},
};

bool tl_opening_find_class(tl_opening *opening, tl_error *error) {
    const char *class;
    if (!tl_json_string_or(opening->config, "tokenizer_class", "", &class, opening->config_path,
                           error))
        return false;
    size_t length = strlen(class);
    if (length > 4 && strcmp(class + length - 4, "Fast") == 0) length -= 4;
    if (length >= sizeof opening->class)
        return tl_fail(error, TL_ERROR_UNSUPPORTED, "%s: tokenizer_class '%.80s' is not supported",
                       opening->config_path, class);
    memcpy(opening->class, class, length);
    if (length) return true;
    char path[4096];
    if (snprintf(path, sizeof path, "%s/config.json", opening->directory) >= (int)sizeof path ||
        !tl_file_exists(path))
        return true;
    cJSON *config = tl_json_read(path, 1 << 24, error);
    const char *type;
    bool good = config && tl_json_string_or(config, "model_type", "", &type, path, error);
    for (size_t i = 0; good && i < sizeof classes / sizeof *classes; i++)
        if (strcmp(classes[i].model_type, type) == 0) strcpy(opening->class, classes[i].name);
    cJSON_Delete(config);
    return good;
}

/* The named special token, "text" or {"content": "text", …}: by tokenizer_config.json, which
 * decides even where it says null, by special_tokens_map.json, by the class; *text NULL for none.
 * *flags is the object where there is one. */
static bool find_special(const tl_opening *opening, int which, const char **text,
                         const cJSON **flags, tl_error *error) {
    bool decided = cJSON_GetObjectItemCaseSensitive(opening->config, named[which]);
    const cJSON *file = decided ? opening->config : opening->special;
    const char *path = decided ? opening->config_path : opening->special_path;
    const cJSON *item = tl_json_get(file, named[which]);
    *text = NULL;
    *flags = cJSON_IsObject(item) ? item : NULL;
    if (*flags) return tl_json_string_or(item, "content", NULL, text, path, error);
    if (item) return tl_json_string_or(file, named[which], NULL, text, path, error);
    for (size_t i = 0; !decided && !*text && i < sizeof classes / sizeof *classes; i++)
        if (strcmp(classes[i].name, opening->class) == 0) *text = classes[i].tokens[which];
    return true;
}

static int32_t size_of(const tl_tokenizer *t) {
    int32_t extra = t->added.extra.size;
    return t->model.vocab.size > extra ? t->model.vocab.size : extra;
}

/* Adds a special token with the id it has, or the next one. */
static bool add_special(tl_opening *opening, const char *text, const cJSON *flags,
                        tl_error *error) {
    tl_tokenizer *t = opening->tokenizer;
    tl_added_token token = {.id = tl_tokenizer_id(t, text), .special = true};
    const char *where = opening->config_path;
    if (token.id >= 0 && tl_added_find(&t->added, token.id)) return true;
    if (token.id < 0) token.id = size_of(t);
    return tl_json_bool_or(flags, "single_word", false, &token.single_word, where, error) &&
           tl_json_bool_or(flags, "lstrip", false, &token.lstrip, where, error) &&
           tl_json_bool_or(flags, "rstrip", false, &token.rstrip, where, error) &&
           tl_json_bool_or(flags, "normalized", flags, &token.normalized, where, error) &&
           tl_added_add(&t->added, &t->model.vocab, text, strlen(text), token, where, error);
}

/* "added_tokens_decoder" of tokenizer_config.json: {"id": {"content": …, flags}}. */
static bool add_decoder(tl_opening *opening, tl_error *error) {
    tl_tokenizer *t = opening->tokenizer;
    const cJSON *item;
    cJSON_ArrayForEach(item, tl_json_get(opening->config, "added_tokens_decoder")) {
        char where[4300], *end;
        snprintf(where, sizeof where, "%s: added_tokens_decoder.%.40s", opening->config_path,
                 item->string ? item->string : "");
        long id = item->string ? strtol(item->string, &end, 10) : -1;
        const char *content;
        if (id < 0 || id >= TL_VOCAB_LIMIT || *end)
            return tl_fail(error, TL_ERROR_FORMAT, "%s: expected an id within 0 to %d", where,
                           TL_VOCAB_LIMIT - 1);
        if (!tl_json_string_or(item, "content", "", &content, where, error) ||
            !tl_added_read(&t->added, &t->model.vocab, item, content, (int32_t)id, where, error))
            return false;
    }
    return true;
}

/* Is the text one of the named special tokens? */
static bool is_named(const tl_opening *opening, const char *text, bool *found, tl_error *error) {
    *found = false;
    for (int which = 0; which < NAMED; which++) {
        const char *name;
        const cJSON *flags;
        if (!find_special(opening, which, &name, &flags, error)) return false;
        *found |= name && strcmp(name, text) == 0;
    }
    return true;
}

/* added_tokens.json: {"text": id}. */
static bool add_old_form(tl_opening *opening, tl_error *error) {
    tl_tokenizer *t = opening->tokenizer;
    const cJSON *item;
    cJSON_ArrayForEach(item, opening->added) {
        const char *text = item->string ? item->string : "";
        int64_t id;
        bool special;
        if (!tl_json_int(opening->added, text, 0, TL_VOCAB_LIMIT - 1, &id, opening->added_path,
                         error) ||
            !is_named(opening, text, &special, error))
            return false;
        tl_added_token token = {(int32_t)id, .special = special, .normalized = !special};
        if (!tl_added_add(&t->added, &t->model.vocab, text, strlen(text), token,
                          opening->added_path, error))
            return false;
    }
    return true;
}

bool tl_opening_add_tokens(tl_opening *opening, tl_error *error) {
    if (!add_decoder(opening, error) || !add_old_form(opening, error)) return false;
    for (int which = 0; which < NAMED; which++) {
        const char *text;
        const cJSON *flags;
        if (!find_special(opening, which, &text, &flags, error)) return false;
        if (text && *text && !add_special(opening, text, flags, error)) return false;
    }
    const cJSON *item;
    cJSON_ArrayForEach(item, tl_json_get(opening->config, "additional_special_tokens")) {
        const cJSON *flags = cJSON_IsObject(item) ? item : NULL;
        const char *text = cJSON_GetStringValue(flags ? tl_json_get(flags, "content") : item);
        if (text && *text && !add_special(opening, text, flags, error)) return false;
    }
    return true;
}

/* BOS and EOS around a text, where tokenizer_config.json or the class has a say. */
static bool finish_template(tl_opening *opening, tl_error *error) {
    tl_tokenizer *t = opening->tokenizer;
    bool stated = tl_json_get(opening->config, "add_bos_token") ||
                  tl_json_get(opening->config, "add_eos_token");
    bool bos, eos;
    if (!tl_json_bool_or(opening->config, "add_bos_token", opening->adds_bos, &bos,
                         opening->config_path, error) ||
        !tl_json_bool_or(opening->config, "add_eos_token", false, &eos, opening->config_path,
                         error))
        return false;
    if (!stated && !opening->adds_bos) return true;
    if (strcmp(opening->class, "T5Tokenizer") == 0) return true; /* has its own, always */
    tl_postprocessors_free(&t->postprocessors);
    return tl_postprocessors_add(&t->postprocessors, bos ? t->bos : -1, eos ? t->eos : -1, error);
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
    int32_t *const ids[NAMED] = {&t->bos, &t->eos, &t->unknown, &t->pad};
    t->size = size_of(t);
    for (int which = 0; which < NAMED; which++) {
        const char *text;
        const cJSON *flags;
        if (!find_special(opening, which, &text, &flags, error)) return false;
        *ids[which] = text ? tl_tokenizer_id(t, text) : -1;
    }
    return read_max_length(opening, error) && finish_template(opening, error) &&
           tl_added_finish(t, error);
}

/* The keys of one trie, by the place of their text. */
static bool build_trie(tl_tokenizer *t, bool normalized, tl_trie *trie, tl_error *error) {
    tl_trie_key *keys = calloc(t->added.count + 1, sizeof *keys);
    size_t *places = calloc(t->added.count + 1, sizeof *places); /* of the keys in `texts` */
    tl_buffer texts = {0};
    tl_token_work work = {0};
    size_t count = 0;
    bool good =
        (keys && places) || tl_fail_memory(error, t->added.count * sizeof *keys, "added tokens");
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
    tl_token_work_free(&work);
    tl_buffer_free(&texts);
    free(keys);
    free(places);
    return good;
}

bool tl_added_finish(tl_tokenizer *tokenizer, tl_error *error) {
    return build_trie(tokenizer, false, &tokenizer->added.raw, error) &&
           build_trie(tokenizer, true, &tokenizer->added.normalized, error);
}
