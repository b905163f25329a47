/* A tokenizer opened: by the files of its directory. */
#include "tokenizer/internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *const tl_tokenizer_files[] = {"tokenizer.json",
                                          "tokenizer_config.json",
                                          "special_tokens_map.json",
                                          "added_tokens.json",
                                          "vocab.json",
                                          "merges.txt",
                                          "tokenizer.model",
                                          "spiece.model",
                                          NULL};

char *tl_opening_read(tl_opening *opening, const char *name, char path[4096], size_t *length,
                      bool *absent, tl_error *error) {
    *absent = false;
    if (snprintf(path, 4096, "%s/%s", opening->directory, name) >= 4096) {
        tl_fail(error, TL_ERROR_IO, "%.200s…: a path too long", path);
        return NULL;
    }
    if (!tl_file_exists(path)) {
        *absent = true;
        return NULL;
    }
    char *text = tl_file_read(path, TL_TOKENIZER_FILE_LIMIT, length, error);
    if (!text) return NULL;
    uint64_t size = *length;
    tl_digest_update(opening->digest, name, strlen(name) + 1);
    tl_digest_update(opening->digest, &size, sizeof size);
    tl_digest_update(opening->digest, text, *length);
    return text;
}

/* Reads an optional JSON file. */
static bool read_json(tl_opening *opening, const char *name, char path[4096], cJSON **json,
                      tl_error *error) {
    size_t length;
    bool absent;
    char *text = tl_opening_read(opening, name, path, &length, &absent, error);
    if (!text) return absent;
    *json = tl_json_parse(text, length, path, error);
    free(text);
    return *json;
}

/* The files a tokenizer may come as, in the order they are looked for. */
static const struct {
    const char *name;
    bool (*open)(tl_opening *opening, const char *path, const char *text, size_t length,
                 tl_error *error);
} forms[] = {
    {"tokenizer.json", tl_open_tokenizer_json},
    {"vocab.json", tl_open_vocab_merges},
    {"tokenizer.model", tl_open_sentencepiece},
    {"spiece.model", tl_open_sentencepiece},
};

static bool open_form(tl_opening *opening, tl_error *error) {
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        char path[4096];
        size_t length;
        bool absent;
        char *text = tl_opening_read(opening, forms[i].name, path, &length, &absent, error);
        if (!text && absent) continue;
        bool good = text && forms[i].open(opening, path, text, length, error);
        free(text);
        return good;
    }
    return tl_fail(error, TL_ERROR_IO,
                   "%s: no tokenizer: expected tokenizer.json, vocab.json with merges.txt, "
                   "tokenizer.model or spiece.model",
                   opening->directory);
}

tl_tokenizer *tl_tokenizer_open(const char *directory, tl_error *error) {
    tl_opening opening = {.directory = directory};
    opening.digest = tl_digest_new("sha256");
    opening.tokenizer = calloc(1, sizeof *opening.tokenizer);
    bool good = opening.digest && opening.tokenizer;
    if (!good) tl_fail_memory(error, sizeof *opening.tokenizer, "a tokenizer");
    good =
        good &&
        read_json(&opening, "tokenizer_config.json", opening.config_path, &opening.config, error) &&
        read_json(&opening, "special_tokens_map.json", opening.special_path, &opening.special,
                  error) &&
        read_json(&opening, "added_tokens.json", opening.added_path, &opening.added, error) &&
        tl_opening_find_class(&opening, error) && open_form(&opening, error) &&
        tl_opening_finish(&opening, error);
    if (good && !tl_digest_finish(opening.digest, opening.tokenizer->fingerprint))
        good = tl_fail(error, TL_ERROR_MEMORY, "%s: cannot compute a digest", directory);
    tl_digest_free(opening.digest);
    cJSON_Delete(opening.config);
    cJSON_Delete(opening.special);
    cJSON_Delete(opening.added);
    if (good) return opening.tokenizer;
    tl_tokenizer_free(opening.tokenizer);
    return NULL;
}
