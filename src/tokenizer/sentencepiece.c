/* A SentencePiece model alone (tokenizer.model, spiece.model), as it is published for Llama and T5,
 * turned into the pipeline that transformers' converters make of it.
 *
 * Fields by sentencepiece_model.proto: ModelProto {1 pieces, 2 trainer_spec, 3 normalizer_spec}. */
#include "tokenizer/internal.h"
#include "tokenizer/protobuf.h"
#include "tokenizer/utf8.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MODEL_UNIGRAM = 1, MODEL_BPE = 2 };
enum {
    PIECE_NORMAL = 1,
    PIECE_UNKNOWN,
    PIECE_CONTROL,
    PIECE_USER_DEFINED,
    PIECE_UNUSED,
    PIECE_BYTE
};

typedef struct piece {
    const char *text;
    size_t length;
    float score;
    uint64_t type;
} piece;

typedef struct spm {
    const char *path;
    piece *pieces;
    int32_t count, capacity;
    int32_t unknown; /* id of the piece of that type; -1 for none */
    uint64_t model_type;
    bool byte_fallback;
    const char *charsmap;
    size_t charsmap_length;
    bool dummy_prefix, remove_extra_spaces, escape_spaces;
} spm;

static bool malformed(const spm *s, const char *what, tl_error *error) {
    return tl_fail(error, TL_ERROR_FORMAT, "%s: not a SentencePiece model: %s", s->path, what);
}

static bool read_piece(spm *s, const tl_protobuf_field *message, tl_error *error) {
    piece p = {.text = "", .type = PIECE_NORMAL};
    const unsigned char *start = (const unsigned char *)message->bytes;
    tl_protobuf cursor = {start, start + message->length};
    tl_protobuf_field field;
    bool done;
    while (tl_protobuf_next(&cursor, &field, &done)) {
        if (field.number == 1 && field.wire == 2) {
            p.text = field.bytes;
            p.length = field.length;
        } else if (field.number == 2 && field.wire == 5) {
            p.score = tl_protobuf_float(&field);
        } else if (field.number == 3 && field.wire == 0) {
            p.type = field.integer;
        }
    }
    if (!done) return malformed(s, "a piece is cut off", error);
    if (p.type < PIECE_NORMAL || p.type > PIECE_BYTE)
        return malformed(s, "a piece of an unknown type", error);
    if (tl_utf8_valid(p.text, p.length) != p.length)
        return malformed(s, "a piece that is not UTF-8", error);
    if (s->count == TL_VOCAB_LIMIT) return malformed(s, "too many pieces", error);
    if (s->count == s->capacity) {
        int32_t capacity = s->capacity ? s->capacity * 2 : 1024;
        piece *pieces = realloc(s->pieces, (size_t)capacity * sizeof *pieces);
        if (!pieces) return tl_fail_memory(error, (size_t)capacity * sizeof *pieces, s->path);
        s->pieces = pieces;
        s->capacity = capacity;
    }
    if (p.type == PIECE_UNKNOWN && s->unknown < 0) s->unknown = s->count;
    s->pieces[s->count++] = p;
    return true;
}

static bool read_trainer(spm *s, const tl_protobuf_field *message, tl_error *error) {
    const unsigned char *start = (const unsigned char *)message->bytes;
    tl_protobuf cursor = {start, start + message->length};
    tl_protobuf_field field;
    bool done, suffix = false;
    while (tl_protobuf_next(&cursor, &field, &done)) {
        if (field.wire != 0) continue;
        if (field.number == 3) s->model_type = field.integer;
        if (field.number == 24) suffix = field.integer;
        if (field.number == 35) s->byte_fallback = field.integer;
    }
    if (!done) return malformed(s, "trainer_spec is cut off", error);
    if (suffix)
        return tl_fail(error, TL_ERROR_UNSUPPORTED,
                       "%s: trainer_spec.treat_whitespace_as_suffix is not supported", s->path);
    return true;
}

static bool read_normalizer(spm *s, const tl_protobuf_field *message, tl_error *error) {
    const unsigned char *start = (const unsigned char *)message->bytes;
    tl_protobuf cursor = {start, start + message->length};
    tl_protobuf_field field;
    bool done;
    while (tl_protobuf_next(&cursor, &field, &done)) {
        if (field.number == 2 && field.wire == 2) {
            s->charsmap = field.bytes;
            s->charsmap_length = field.length;
        }
        if (field.wire != 0) continue;
        if (field.number == 3) s->dummy_prefix = field.integer;
        if (field.number == 4) s->remove_extra_spaces = field.integer;
        if (field.number == 5) s->escape_spaces = field.integer;
    }
    return done || malformed(s, "normalizer_spec is cut off", error);
}

static bool read_proto(spm *s, const char *bytes, size_t length, tl_error *error) {
    const unsigned char *start = (const unsigned char *)bytes;
    tl_protobuf cursor = {start, start + length};
    tl_protobuf_field field;
    bool done;
    while (tl_protobuf_next(&cursor, &field, &done)) {
        if (field.wire != 2) continue;
        if (field.number == 1 && !read_piece(s, &field, error)) return false;
        if (field.number == 2 && !read_trainer(s, &field, error)) return false;
        if (field.number == 3 && !read_normalizer(s, &field, error)) return false;
    }
    if (!done) return malformed(s, "it is cut off", error);
    return s->count > 0 || malformed(s, "it has no pieces", error);
}

/* A merge that some piece can be made by. */
typedef struct split {
    float score;
    int32_t piece, left, right;
} split;

/* Higher scores first; of one score in the order of the pieces, then of their two sides. */
static int compare_splits(const void *a, const void *b) {
    const split *x = a, *y = b;
    if (x->score != y->score) return x->score > y->score ? -1 : 1;
    if (x->piece != y->piece) return x->piece < y->piece ? -1 : 1;
    if (x->left != y->left) return x->left < y->left ? -1 : 1;
    return (x->right > y->right) - (x->right < y->right);
}

/* Every way to make a piece of two others. */
static bool find_splits(const spm *s, const tl_vocab *vocab, split **splits, size_t *count,
                        tl_error *error) {
    size_t capacity = 0;
    *splits = NULL;
    *count = 0;
    for (int32_t id = 0; id < s->count; id++) {
        const piece *p = &s->pieces[id];
        for (size_t at = p->length ? tl_utf8_size(*p->text) : 0; at < p->length;
             at += tl_utf8_size(p->text[at])) {
            int32_t left = tl_vocab_find(vocab, p->text, at);
            if (left < 0) continue;
            int32_t right = tl_vocab_find(vocab, p->text + at, p->length - at);
            if (right < 0) continue;
            if (*count == capacity) {
                capacity = capacity ? capacity * 2 : 4096;
                split *grown = realloc(*splits, capacity * sizeof *grown);
                if (!grown) return tl_fail_memory(error, capacity * sizeof *grown, s->path);
                *splits = grown;
            }
            (*splits)[(*count)++] = (split){p->score, id, left, right};
        }
    }
    if (*count) qsort(*splits, *count, sizeof **splits, compare_splits);
    return true;
}

static bool add_merges(const spm *s, tl_subword *model, tl_error *error) {
    split *splits;
    size_t count;
    bool good = find_splits(s, &model->vocab, &splits, &count, error);
    for (size_t i = 0; good && i < count; i++) {
        const piece *left = &s->pieces[splits[i].left], *right = &s->pieces[splits[i].right];
        good = tl_bpe_add_merge(model, left->text, left->length, right->text, right->length,
                                (uint32_t)i, s->path, error);
    }
    free(splits);
    return good;
}

/* The splitting of long pieces would take time with the square of their length. */
static bool check_lengths(const spm *s, tl_error *error) {
    enum { PIECE_LIMIT = 4096 };
    for (int32_t id = 0; id < s->count; id++)
        if (s->pieces[id].length > PIECE_LIMIT)
            return tl_fail(error, TL_ERROR_LIMIT, "%s: piece %d has %zu bytes: at most %d", s->path,
                           id, s->pieces[id].length, PIECE_LIMIT);
    return true;
}

static bool read_bpe(const spm *s, tl_subword *model, tl_error *error) {
    model->kind = &tl_bpe_kind;
    for (int32_t id = 0; id < s->count; id++)
        if (!tl_vocab_add(&model->vocab, s->pieces[id].text, s->pieces[id].length, id, s->path,
                          error))
            return false;
    model->bpe.unknown = s->unknown >= 0 ? s->unknown : TL_UNKNOWN_NONE;
    model->bpe.fuse_unknown = true;
    model->bpe.byte_fallback = true;
    return add_merges(s, model, error) && model->kind->finish(model, s->path, error);
}

/* Unigram; T5 has `sentinels` tokens more, the last of them first. */
static bool read_unigram(const spm *s, tl_subword *model, int64_t sentinels, tl_error *error) {
    model->kind = &tl_unigram_kind;
    for (int32_t id = 0; id < s->count; id++)
        if (!tl_unigram_add(model, s->pieces[id].text, s->pieces[id].length,
                            (double)s->pieces[id].score, s->path, error))
            return false;
    for (int64_t n = sentinels - 1; n >= 0; n--) {
        char text[32];
        int length = snprintf(text, sizeof text, "<extra_id_%lld>", (long long)n);
        if (!tl_unigram_add(model, text, (size_t)length, 0, s->path, error)) return false;
    }
    model->unigram.unknown = s->unknown;
    model->unigram.byte_fallback = s->byte_fallback;
    return model->kind->finish(model, s->path, error);
}

/* Control and unknown pieces are special tokens, user-defined ones plain added tokens. */
static bool add_pieces(const spm *s, tl_tokenizer *t, tl_error *error) {
    for (int32_t id = 0; id < t->model.vocab.size; id++) {
        uint64_t type = id < s->count ? s->pieces[id].type : PIECE_CONTROL; /* sentinels */
        if (type != PIECE_CONTROL && type != PIECE_UNKNOWN && type != PIECE_USER_DEFINED) continue;
        size_t length;
        const char *text = tl_vocab_text(&t->model.vocab, id, &length);
        tl_added_token token = {.id = id, .special = type != PIECE_USER_DEFINED};
        if (length &&
            !tl_added_add(&t->added, &t->model.vocab, text, length, token, s->path, error))
            return false;
    }
    return true;
}

/* Llama: the pipeline of transformers' LlamaConverter; "legacy" false is its newer form. */
static bool llama_pipeline(const spm *s, tl_opening *opening, tl_buffer *json, tl_error *error) {
    bool legacy, prefix;
    if (!tl_json_bool_or(opening->config, "legacy", true, &legacy, opening->config_path, error) ||
        !tl_json_bool_or(opening->config, "add_prefix_space", s->dummy_prefix, &prefix,
                         opening->config_path, error))
        return false;
    opening->adds_bos = true;
    tl_buffer_append_string(json, "{\"normalizer\": {\"type\": \"Sequence\", \"normalizers\": [");
    const char *separator = "";
    if (s->remove_extra_spaces) {
        tl_buffer_append_string(json, "{\"type\": \"Strip\"}, {\"type\": \"Replace\", \"pattern\": "
                                      "{\"Regex\": \" {2,}\"}, \"content\": \" \"}");
        separator = ", ";
    }
    if (legacy && prefix) {
        tl_buffer_append_format(json, "%s{\"type\": \"Prepend\", \"prepend\": \"▁\"}", separator);
        separator = ", ";
    }
    if (legacy && s->escape_spaces)
        tl_buffer_append_format(json,
                                "%s{\"type\": \"Replace\", \"pattern\": {\"String\": \" \"}, "
                                "\"content\": \"▁\"}",
                                separator);
    tl_buffer_append_string(json, "]}");
    if (!legacy)
        tl_buffer_append_format(json,
                                ", \"pre_tokenizer\": {\"type\": \"Metaspace\", \"split\": false, "
                                "\"prepend_scheme\": \"%s\"}",
                                prefix ? "first" : "never");
    tl_buffer_append_string(json, ", \"decoder\": {\"type\": \"Sequence\", \"decoders\": ["
                                  "{\"type\": \"Replace\", \"pattern\": {\"String\": \"▁\"}, "
                                  "\"content\": \" \"}, {\"type\": \"ByteFallback\"}, "
                                  "{\"type\": \"Fuse\"}");
    if (prefix)
        tl_buffer_append_string(json, ", {\"type\": \"Strip\", \"content\": \" \", \"start\": 1}");
    tl_buffer_append_string(json, "]}}");
    return true;
}

/* T5: words parted at white space, each with its "▁", "</s>" at the end. */
static bool t5_pipeline(const spm *s, tl_opening *opening, tl_buffer *json, tl_error *error) {
    const char *scheme = s->dummy_prefix ? "always" : "never";
    int32_t eos = tl_vocab_find(&opening->tokenizer->model.vocab, "</s>", 4);
    if (eos < 0) return malformed(s, "it has no piece '</s>'", error);
    tl_buffer_append_string(json,
                            "{\"pre_tokenizer\": {\"type\": \"Sequence\", \"pretokenizers\": [");
    if (s->remove_extra_spaces) tl_buffer_append_string(json, "{\"type\": \"WhitespaceSplit\"}, ");
    tl_buffer_append_format(json,
                            "{\"type\": \"Metaspace\", \"prepend_scheme\": \"%s\"}]}, "
                            "\"decoder\": {\"type\": \"Metaspace\", \"prepend_scheme\": \"%s\"}, "
                            "\"post_processor\": {\"type\": \"TemplateProcessing\", \"single\": ["
                            "{\"Sequence\": {\"id\": \"A\"}}, {\"SpecialToken\": {\"id\": "
                            "\"</s>\"}}], \"special_tokens\": {\"</s>\": {\"ids\": [%d]}}}}",
                            scheme, scheme, eos);
    return true;
}

static bool open_model(spm *s, tl_opening *opening, tl_error *error) {
    tl_tokenizer *t = opening->tokenizer;
    bool unigram = s->model_type == MODEL_UNIGRAM;
    const char *expected = unigram ? "T5Tokenizer" : "LlamaTokenizer";
    if (s->model_type != MODEL_UNIGRAM && s->model_type != MODEL_BPE)
        return tl_fail(error, TL_ERROR_UNSUPPORTED,
                       "%s: trainer_spec.model_type %llu is not supported (1 Unigram, 2 BPE are)",
                       s->path, (unsigned long long)s->model_type);
    if (*opening->class && strcmp(opening->class, expected) != 0 &&
        strcmp(opening->class, "PreTrainedTokenizer") != 0)
        return tl_fail(error, TL_ERROR_UNSUPPORTED,
                       "%s: tokenizer_class '%s' is not supported without tokenizer.json: "
                       "expected %s",
                       s->path, opening->class, expected);
    if (!*opening->class) strcpy(opening->class, expected);
    int64_t sentinels;
    if (!tl_json_int_or(opening->config, "extra_ids", 100, 0, 10000, &sentinels,
                        opening->config_path, error) ||
        !check_lengths(s, error))
        return false;
    tl_buffer json = {0};
    bool good = unigram ? read_unigram(s, &t->model, sentinels, error) &&
                              t5_pipeline(s, opening, &json, error)
                        : read_bpe(s, &t->model, error) && llama_pipeline(s, opening, &json, error);
    good =
        good && add_pieces(s, t, error) && tl_opening_add_tokens(opening, error) &&
        (!s->charsmap_length || tl_normalizers_add_charsmap(&t->normalizers, s->charsmap,
                                                            s->charsmap_length, s->path, error)) &&
        tl_pipeline_parse(opening, &json, s->path, error);
    tl_buffer_free(&json);
    return good;
}

bool tl_open_sentencepiece(tl_opening *opening, const char *path, const char *bytes, size_t length,
                           tl_error *error) {
    spm s = {
        .path = path,
        .unknown = -1,
        .model_type = MODEL_UNIGRAM,
        .dummy_prefix = true,
        .remove_extra_spaces = true,
        .escape_spaces = true,
    };
    bool good = read_proto(&s, bytes, length, error) && open_model(&s, opening, error);
    free(s.pieces);
    return good;
}
