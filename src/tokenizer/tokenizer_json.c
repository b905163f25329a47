/* tokenizer.json, the format of Hugging Face tokenizers. */
#include "tokenizer/internal.h"

#include "tokenizer/utf8.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The file taken apart: the two large fields by their place in it, all the rest as a tree. */
typedef struct parts {
    tl_scan vocab, merges; /* at == NULL: absent */
    tl_buffer rest;        /* JSON without the two */
} parts;

/* Walks one object: fields named in `large` are noted, others copied to `rest`; "model" is walked
 * the same way. */
static bool take_apart(tl_scan *scan, parts *p, bool in_model) {
    if (!tl_scan_expect(scan, '{')) return false;
    tl_buffer_append_byte(&p->rest, '{');
    bool first = true, done, copied = false, seen_model = false;
    while (tl_scan_next(scan, '}', &first, &done) && !done) {
        const char *name;
        size_t length;
        tl_scan_peek(scan);
        const char *start = scan->at;
        if (!tl_scan_string(scan, &name, &length)) return false;
        tl_scan *large = in_model && length == 5 && memcmp(name, "vocab", 5) == 0    ? &p->vocab
                         : in_model && length == 6 && memcmp(name, "merges", 6) == 0 ? &p->merges
                                                                                     : NULL;
        bool model = !in_model && length == 5 && memcmp(name, "model", 5) == 0;
        if ((large && large->at) || (model && seen_model))
            return tl_scan_fail(scan, "every field of the model once");
        if (!tl_scan_expect(scan, ':')) return false;
        tl_scan_peek(scan);
        if (large) {
            const char *value = scan->at;
            if (!tl_scan_skip(scan)) return false;
            *large = (tl_scan){scan->text, value, scan->at, scan->file, scan->error, {0}};
            continue;
        }
        if (copied) tl_buffer_append_byte(&p->rest, ',');
        copied = true;
        if (model && tl_scan_peek(scan) == '{') {
            seen_model = true;
            tl_buffer_append_string(&p->rest, "\"model\":");
            if (!take_apart(scan, p, true)) return false;
            continue;
        }
        if (!tl_scan_skip(scan)) return false;
        tl_buffer_append(&p->rest, start, (size_t)(scan->at - start));
    }
    tl_buffer_append_byte(&p->rest, '}');
    return done;
}

static const tl_subword_kind *const kinds[] = {
    &tl_bpe_kind,
    &tl_unigram_kind,
    &tl_wordpiece_kind,
    &tl_wordlevel_kind,
};

/* The kind by its "type"; by its fields where an old file has no type; NULL (with an error). */
static const tl_subword_kind *kind_of(const cJSON *model, bool has_merges, bool scored,
                                      const char *where, tl_error *error) {
    const char *type;
    if (!tl_json_string_or(model, "type", NULL, &type, where, error)) return NULL;
    if (!type)
        return has_merges                                       ? &tl_bpe_kind
               : scored                                         ? &tl_unigram_kind
               : tl_json_get(model, "max_input_chars_per_word") ? &tl_wordpiece_kind
                                                                : &tl_wordlevel_kind;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (strcmp(kinds[i]->type, type) == 0) return kinds[i];
    tl_fail(error, TL_ERROR_UNSUPPORTED,
            "%s: type '%s' is not supported (BPE, Unigram, WordPiece, WordLevel are)", where, type);
    return NULL;
}

static bool read_model(tl_subword *model, parts *p, const cJSON *json, const char *where,
                       tl_error *error) {
    if (!cJSON_IsObject(json) || !p->vocab.at)
        return tl_fail(error, TL_ERROR_FORMAT, "%s: expected an object with a field 'vocab'",
                       where);
    model->kind = kind_of(json, p->merges.at, tl_scan_peek(&p->vocab) == '[', where, error);
    if (!model->kind || !model->kind->read_vocab(model, &p->vocab, where, error)) return false;
    if (!model->vocab.count)
        return tl_fail(error, TL_ERROR_FORMAT, "%s: the vocabulary is empty", where);
    if (!model->kind->configure(model, json, where, error)) return false;
    if (model->kind == &tl_bpe_kind) {
        if (!p->merges.at)
            return tl_fail(error, TL_ERROR_FORMAT, "%s: field 'merges' is missing", where);
        if (!tl_bpe_read_merges(model, &p->merges, where, error)) return false;
    }
    return model->kind->finish(model, where, error);
}

static bool read_added(tl_tokenizer *t, const cJSON *json, const char *file, tl_error *error) {
    const cJSON *item;
    int index = 0;
    cJSON_ArrayForEach(item, json) {
        char where[4200];
        snprintf(where, sizeof where, "%s: added_tokens[%d]", file, index++);
        const char *content;
        int64_t id;
        if (!tl_json_int(item, "id", 0, TL_VOCAB_LIMIT - 1, &id, where, error) ||
            !tl_json_string_or(item, "content", "", &content, where, error) ||
            !tl_added_read(&t->added, &t->model.vocab, item, content, (int32_t)id, where, error))
            return false;
    }
    return true;
}

bool tl_pipeline_read(tl_opening *opening, const cJSON *json, const char *file, tl_error *error) {
    tl_tokenizer *t = opening->tokenizer;
    char where[4200];
    if (!read_added(t, tl_json_get(json, "added_tokens"), file, error)) return false;
    t->size = t->model.vocab.size > t->added.extra.size ? t->model.vocab.size : t->added.extra.size;
    snprintf(where, sizeof where, "%s: normalizer", file);
    if (!tl_normalizers_read(&t->normalizers, tl_json_get(json, "normalizer"), where, error))
        return false;
    snprintf(where, sizeof where, "%s: pre_tokenizer", file);
    if (!tl_pretokenizers_read(&t->pretokenizers, tl_json_get(json, "pre_tokenizer"), where, error))
        return false;
    snprintf(where, sizeof where, "%s: post_processor", file);
    if (!tl_postprocessors_read(&t->postprocessors, tl_json_get(json, "post_processor"), t->size,
                                where, error))
        return false;
    snprintf(where, sizeof where, "%s: decoder", file);
    return tl_decoders_read(&t->decoders, tl_json_get(json, "decoder"), where, error);
}

bool tl_pipeline_parse(tl_opening *opening, const tl_buffer *json, const char *file,
                       tl_error *error) {
    if (json->failed) return tl_fail_memory(error, json->length, file);
    cJSON *parsed = tl_json_parse(tl_buffer_string(json), json->length, file, error);
    bool good = parsed && tl_pipeline_read(opening, parsed, file, error);
    cJSON_Delete(parsed);
    return good;
}

bool tl_open_tokenizer_json(tl_opening *opening, const char *path, const char *text, size_t length,
                            tl_error *error) {
    size_t valid = tl_utf8_valid(text, length);
    if (valid != length)
        return tl_fail(error, TL_ERROR_FORMAT, "%s: not UTF-8 at byte %zu", path, valid);
    tl_scan scan = {text, text + tl_byte_order_mark(text, length), text + length, path, error, {0}};
    parts p = {0};
    bool good = take_apart(&scan, &p, false);
    if (good && tl_scan_peek(&scan)) good = tl_scan_fail(&scan, "the end of the file");
    if (good && p.rest.failed) good = tl_fail_memory(error, length, path);
    cJSON *rest =
        good ? tl_json_parse(tl_buffer_string(&p.rest), p.rest.length, path, error) : NULL;
    tl_buffer_free(&p.rest);
    char where[4200];
    snprintf(where, sizeof where, "%s: model", path);
    good = rest &&
           read_model(&opening->tokenizer->model, &p, tl_json_get(rest, "model"), where, error) &&
           tl_pipeline_read(opening, rest, path, error);
    cJSON_Delete(rest);
    tl_scan_free(&scan);
    tl_scan_free(&p.vocab);
    tl_scan_free(&p.merges);
    return good;
}
