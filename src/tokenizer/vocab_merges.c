/* vocab.json with merges.txt, the files of GPT-2 and its likes, as AutoTokenizer reads them. */
#include "tokenizer/internal.h"

#include "tokenizer/utf8.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Qwen2's words (transformers, tokenization_qwen2.py), as JSON. */
#define QWEN2_PATTERN                                                                              \
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?\\\\p{L}+|\\\\p{N}|"               \
    " ?[^\\\\s\\\\p{L}\\\\p{N}]+[\\\\r\\\\n]*|\\\\s*[\\\\r\\\\n]+|\\\\s+(?!\\\\S)|\\\\s+"

/* The pipeline of each class, in the form of tokenizer.json; %s: add_prefix_space. */
static const struct {
    const char *class, *pipeline;
} pipelines[] = {
    {"GPT2Tokenizer", "{\"pre_tokenizer\": {\"type\": \"ByteLevel\", \"add_prefix_space\": %s},"
                      " \"decoder\": {\"type\": \"ByteLevel\"}}"},
    {"Qwen2Tokenizer",
     "{\"normalizer\": {\"type\": \"NFC\"}, \"pre_tokenizer\": {\"type\": \"Sequence\","
     " \"pretokenizers\": [{\"type\": \"Split\", \"pattern\": {\"Regex\": \"" QWEN2_PATTERN "\"},"
     " \"behavior\": \"Isolated\"}, {\"type\": \"ByteLevel\", \"add_prefix_space\": %s,"
     " \"use_regex\": false}]}, \"decoder\": {\"type\": \"ByteLevel\"}}"},
};

static const char *pipeline_of(const tl_opening *opening) {
    const char *class = *opening->class ? opening->class : "GPT2Tokenizer";
    if (strcmp(class, "PreTrainedTokenizer") == 0) class = "GPT2Tokenizer";
    for (size_t i = 0; i < sizeof pipelines / sizeof *pipelines; i++)
        if (strcmp(pipelines[i].class, class) == 0) return pipelines[i].pipeline;
    return NULL;
}

static bool read_merges(tl_subword *model, const char *path, const char *text, size_t length,
                        tl_error *error) {
    uint32_t rank = 0;
    size_t number = 0;
    for (const char *line = text, *end = text + length; line < end;) {
        const char *stop = memchr(line, '\n', (size_t)(end - line));
        if (!stop) stop = end;
        const char *next = stop < end ? stop + 1 : end;
        if (stop > line && stop[-1] == '\r') stop--;
        size_t size = (size_t)(stop - line);
        char where[4200];
        snprintf(where, sizeof where, "%s:%zu", path, ++number);
        if (size > 0 && !(size >= 8 && memcmp(line, "#version", 8) == 0) &&
            !tl_bpe_add_spaced(model, line, size, rank++, where, error))
            return false;
        line = next;
    }
    return true;
}

static bool read_model(tl_opening *opening, const char *vocab_path, const char *vocab,
                       size_t vocab_length, tl_error *error) {
    tl_subword *model = &opening->tokenizer->model;
    model->kind = &tl_bpe_kind;
    tl_scan scan = {vocab, vocab, vocab + vocab_length, vocab_path, error, {0}};
    bool good = tl_subword_read_ids(model, &scan, vocab_path, error) &&
                (!tl_scan_peek(&scan) || tl_scan_fail(&scan, "the end of the file"));
    tl_scan_free(&scan);
    if (!good || !model->kind->configure(model, NULL, vocab_path, error)) return false;
    char path[4096];
    size_t length;
    bool absent;
    char *merges = tl_opening_read(opening, "merges.txt", path, &length, &absent, error);
    if (!merges && absent)
        return tl_fail(error, TL_ERROR_IO, "%s: there is no merges.txt beside it", vocab_path);
    good = merges && read_merges(model, path, merges, length, error) &&
           model->kind->finish(model, path, error);
    free(merges);
    return good;
}

bool tl_open_vocab_merges(tl_opening *opening, const char *path, const char *text, size_t length,
                          tl_error *error) {
    const char *pipeline = pipeline_of(opening);
    bool prefix_space;
    if (!pipeline)
        return tl_fail(error, TL_ERROR_UNSUPPORTED,
                       "%s: tokenizer_class '%s' is not supported without tokenizer.json", path,
                       opening->class);
    size_t valid = tl_utf8_valid(text, length);
    if (valid != length)
        return tl_fail(error, TL_ERROR_FORMAT, "%s: not UTF-8 at byte %zu", path, valid);
    if (!tl_json_bool_or(opening->config, "add_prefix_space", false, &prefix_space,
                         opening->config_path, error) ||
        !read_model(opening, path, text, length, error) || !tl_opening_add_tokens(opening, error))
        return false;
    tl_buffer json = {0};
    tl_buffer_append_format(&json, pipeline, prefix_space ? "true" : "false");
    bool good = tl_pipeline_parse(opening, &json, path, error);
    tl_buffer_free(&json);
    return good;
}
