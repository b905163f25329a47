/* random_checkpoint: a checkpoint with random weights of a model's true shape.
 *
 *   random_checkpoint [--dtype f32|f16|bf16] [--seed N] [--tokenizer DIR] CONFIG.json DIR
 *
 * Writes DIR/config.json (with that torch_dtype) and DIR/model.safetensors, with the tensor names
 * and shapes that the hub's files have, and copies the tokenizer's files beside them. Speed and
 * memory do not depend on the values of weights, so benchmarks and tests of loading need no more.
 * Prints the number of parameters. bench/shapes holds configs of the models that are compared. */
#include "base/base.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The lengths that tensors have. */
typedef enum extent {
    END,
    VOCAB,
    DIM,
    EMBED,     /* of a token's embedding: DIM but for OPT-350m */
    POSITIONS, /* rows of the position table */
    QUERY,     /* heads × head_dim */
    KEY,       /* kv_heads × head_dim */
    QUERY3,    /* q, k and v in one */
    FFN,
    HEADS,
    BUCKETS,
    LENGTHS,
} extent;

/* When a tensor is there. */
typedef enum condition {
    ALWAYS,
    UNTIED,
    QKV_BIAS,
    PROJECTED, /* EMBED differs from DIM */
    PRE_NORM,
    GATED,
    PLAIN, /* not GATED */
    FIRST, /* only in the first layer */
    CONDITIONS,
} condition;

typedef struct pattern {
    const char *name; /* '#' stands for the layer */
    extent rows, columns;
    condition when;
} pattern;

typedef struct family {
    const char *model_type;
    pattern patterns[48];
} family;

#define NORM(name)                                                                                 \
    {name ".weight", DIM, END, ALWAYS}, {                                                          \
        name ".bias", DIM, END, ALWAYS                                                             \
    }
#define LINEAR(name, out, in)                                                                      \
    {name ".weight", out, in, ALWAYS}, {                                                           \
        name ".bias", out, END, ALWAYS                                                             \
    }
#define LLAMA_LAYER                                                                                \
    {"model.layers.#.input_layernorm.weight", DIM, END, ALWAYS},                                   \
        {"model.layers.#.mlp.down_proj.weight", DIM, FFN, ALWAYS},                                 \
        {"model.layers.#.mlp.gate_proj.weight", FFN, DIM, ALWAYS},                                 \
        {"model.layers.#.mlp.up_proj.weight", FFN, DIM, ALWAYS},                                   \
        {"model.layers.#.post_attention_layernorm.weight", DIM, END, ALWAYS},                      \
        {"model.layers.#.self_attn.k_proj.weight", KEY, DIM, ALWAYS},                              \
        {"model.layers.#.self_attn.k_proj.bias", KEY, END, QKV_BIAS},                              \
        {"model.layers.#.self_attn.o_proj.weight", DIM, QUERY, ALWAYS},                            \
        {"model.layers.#.self_attn.q_proj.weight", QUERY, DIM, ALWAYS},                            \
        {"model.layers.#.self_attn.q_proj.bias", QUERY, END, QKV_BIAS},                            \
        {"model.layers.#.self_attn.v_proj.weight", KEY, DIM, ALWAYS}, {                            \
        "model.layers.#.self_attn.v_proj.bias", KEY, END, QKV_BIAS                                 \
    }
#define LLAMA                                                                                      \
    {"model.embed_tokens.weight", VOCAB, DIM, ALWAYS}, LLAMA_LAYER,                                \
        {"model.norm.weight", DIM, END, ALWAYS}, {                                                 \
        "lm_head.weight", VOCAB, DIM, UNTIED                                                       \
    }
#define T5_ATTENTION(name)                                                                         \
    {name ".q.weight", QUERY, DIM, ALWAYS}, {name ".k.weight", QUERY, DIM, ALWAYS},                \
        {name ".v.weight", QUERY, DIM, ALWAYS}, {                                                  \
        name ".o.weight", DIM, QUERY, ALWAYS                                                       \
    }
#define T5_FFN(name)                                                                               \
    {name ".wi.weight", FFN, DIM, PLAIN}, {name ".wi_0.weight", FFN, DIM, GATED},                  \
        {name ".wi_1.weight", FFN, DIM, GATED}, {                                                  \
        name ".wo.weight", DIM, FFN, ALWAYS                                                        \
    }

static const family families[] = {
    {"llama", {LLAMA}},
    {"qwen2", {LLAMA}},
    {"phonelm", {LLAMA}},
    {"gpt2",
     {{"transformer.wte.weight", VOCAB, DIM, ALWAYS},
      {"transformer.wpe.weight", POSITIONS, DIM, ALWAYS},
      NORM("transformer.h.#.ln_1"),
      {"transformer.h.#.attn.c_attn.weight", DIM, QUERY3, ALWAYS}, /* stored as x·W, not x·Wᵀ */
      {"transformer.h.#.attn.c_attn.bias", QUERY3, END, ALWAYS},
      LINEAR("transformer.h.#.attn.c_proj", DIM, DIM),
      NORM("transformer.h.#.ln_2"),
      {"transformer.h.#.mlp.c_fc.weight", DIM, FFN, ALWAYS},
      {"transformer.h.#.mlp.c_fc.bias", FFN, END, ALWAYS},
      {"transformer.h.#.mlp.c_proj.weight", FFN, DIM, ALWAYS},
      {"transformer.h.#.mlp.c_proj.bias", DIM, END, ALWAYS},
      NORM("transformer.ln_f")}},
    {"gpt_neox",
     {{"gpt_neox.embed_in.weight", VOCAB, DIM, ALWAYS},
      NORM("gpt_neox.layers.#.input_layernorm"),
      NORM("gpt_neox.layers.#.post_attention_layernorm"),
      LINEAR("gpt_neox.layers.#.attention.query_key_value", QUERY3, DIM),
      LINEAR("gpt_neox.layers.#.attention.dense", DIM, DIM),
      LINEAR("gpt_neox.layers.#.mlp.dense_h_to_4h", FFN, DIM),
      LINEAR("gpt_neox.layers.#.mlp.dense_4h_to_h", DIM, FFN),
      NORM("gpt_neox.final_layer_norm"),
      {"embed_out.weight", VOCAB, DIM, UNTIED}}},
    {"bloom",
     {{"word_embeddings.weight", VOCAB, DIM, ALWAYS},
      NORM("word_embeddings_layernorm"),
      NORM("h.#.input_layernorm"),
      LINEAR("h.#.self_attention.query_key_value", QUERY3, DIM),
      LINEAR("h.#.self_attention.dense", DIM, DIM),
      NORM("h.#.post_attention_layernorm"),
      LINEAR("h.#.mlp.dense_h_to_4h", FFN, DIM),
      LINEAR("h.#.mlp.dense_4h_to_h", DIM, FFN),
      NORM("ln_f")}},
    {"opt",
     {{"model.decoder.embed_tokens.weight", VOCAB, EMBED, ALWAYS},
      {"model.decoder.embed_positions.weight", POSITIONS, DIM, ALWAYS},
      {"model.decoder.project_in.weight", DIM, EMBED, PROJECTED},
      {"model.decoder.project_out.weight", EMBED, DIM, PROJECTED},
      {"model.decoder.final_layer_norm.weight", DIM, END, PRE_NORM},
      {"model.decoder.final_layer_norm.bias", DIM, END, PRE_NORM},
      LINEAR("model.decoder.layers.#.self_attn.k_proj", DIM, DIM),
      LINEAR("model.decoder.layers.#.self_attn.v_proj", DIM, DIM),
      LINEAR("model.decoder.layers.#.self_attn.q_proj", DIM, DIM),
      LINEAR("model.decoder.layers.#.self_attn.out_proj", DIM, DIM),
      NORM("model.decoder.layers.#.self_attn_layer_norm"),
      LINEAR("model.decoder.layers.#.fc1", FFN, DIM),
      LINEAR("model.decoder.layers.#.fc2", DIM, FFN),
      NORM("model.decoder.layers.#.final_layer_norm")}},
    {"t5",
     {{"shared.weight", VOCAB, DIM, ALWAYS},
      T5_ATTENTION("encoder.block.#.layer.0.SelfAttention"),
      {"encoder.block.#.layer.0.SelfAttention.relative_attention_bias.weight", BUCKETS, HEADS,
       FIRST},
      {"encoder.block.#.layer.0.layer_norm.weight", DIM, END, ALWAYS},
      T5_FFN("encoder.block.#.layer.1.DenseReluDense"),
      {"encoder.block.#.layer.1.layer_norm.weight", DIM, END, ALWAYS},
      {"encoder.final_layer_norm.weight", DIM, END, ALWAYS},
      T5_ATTENTION("decoder.block.#.layer.0.SelfAttention"),
      {"decoder.block.#.layer.0.SelfAttention.relative_attention_bias.weight", BUCKETS, HEADS,
       FIRST},
      {"decoder.block.#.layer.0.layer_norm.weight", DIM, END, ALWAYS},
      T5_ATTENTION("decoder.block.#.layer.1.EncDecAttention"),
      {"decoder.block.#.layer.1.layer_norm.weight", DIM, END, ALWAYS},
      T5_FFN("decoder.block.#.layer.2.DenseReluDense"),
      {"decoder.block.#.layer.2.layer_norm.weight", DIM, END, ALWAYS},
      {"decoder.final_layer_norm.weight", DIM, END, ALWAYS},
      {"lm_head.weight", VOCAB, DIM, UNTIED}}},
};

/* A config, read. */
typedef struct shape {
    const family *family;
    int64_t lengths[LENGTHS];
    bool holds[CONDITIONS];
    int64_t layers;
    tl_dtype dtype;
    uint32_t seed;
} shape;

/* The first of several names for one number; the family decides which is there. */
static bool read_number(const cJSON *config, const char *const names[], int64_t fallback,
                        int64_t *value, const char *where, tl_error *error) {
    for (; *names; names++)
        if (tl_json_get(config, *names))
            return tl_json_int(config, *names, 1, 1 << 24, value, where, error);
    *value = fallback;
    return true;
}
#define NAMES(...) ((const char *const[]){__VA_ARGS__, NULL})

static bool find_family(const cJSON *config, shape *s, const char *where, tl_error *error) {
    const char *type;
    if (!tl_json_string_or(config, "model_type", "", &type, where, error)) return false;
    for (size_t i = 0; i < sizeof families / sizeof families[0]; i++)
        if (strcmp(families[i].model_type, type) == 0) s->family = &families[i];
    if (s->family) return true;
    return tl_fail(error, TL_ERROR_UNSUPPORTED, "%s: field 'model_type': unknown family '%s'",
                   where, type);
}

static bool read_conditions(const cJSON *config, shape *s, const char *where, tl_error *error) {
    const char *type = s->family->model_type, *projection;
    bool tied, before;
    /* Where config.json is silent, its family's class decides. */
    bool tied_by_default = strcmp(type, "gpt_neox") != 0 && strcmp(type, "llama") != 0;
    if (!tl_json_bool_or(config, "tie_word_embeddings", tied_by_default, &tied, where, error) ||
        !tl_json_bool_or(config, "do_layer_norm_before", true, &before, where, error) ||
        !tl_json_string_or(config, "feed_forward_proj", "", &projection, where, error))
        return false;
    s->holds[ALWAYS] = true;
    s->holds[UNTIED] = !tied;
    s->holds[QKV_BIAS] = strcmp(type, "qwen2") == 0;
    s->holds[PROJECTED] = s->lengths[EMBED] != s->lengths[DIM];
    s->holds[PRE_NORM] = before;
    s->holds[GATED] = strncmp(projection, "gated-", 6) == 0;
    s->holds[PLAIN] = !s->holds[GATED];
    s->holds[FIRST] = true;
    return true;
}

static bool read_shape(const cJSON *config, shape *s, const char *where, tl_error *error) {
    int64_t heads, kv_heads, head_dim, *l = s->lengths;
    if (!find_family(config, s, where, error) ||
        !tl_json_int(config, "vocab_size", 1, 1 << 24, &l[VOCAB], where, error) ||
        !read_number(config, NAMES("hidden_size", "n_embd", "n_embed", "d_model"), 0, &l[DIM],
                     where, error) ||
        !read_number(config, NAMES("num_hidden_layers", "n_layer", "num_layers"), 0, &s->layers,
                     where, error) ||
        !read_number(config, NAMES("num_attention_heads", "n_head", "num_heads"), 0, &heads, where,
                     error) ||
        !read_number(config, NAMES("num_key_value_heads"), heads, &kv_heads, where, error) ||
        !read_number(config, NAMES("intermediate_size", "n_inner", "ffn_dim", "d_ff"), 4 * l[DIM],
                     &l[FFN], where, error) ||
        !read_number(config, NAMES("word_embed_proj_dim"), l[DIM], &l[EMBED], where, error) ||
        !read_number(config, NAMES("max_position_embeddings", "n_positions"), 2048, &l[POSITIONS],
                     where, error) ||
        !read_number(config, NAMES("relative_attention_num_buckets"), 32, &l[BUCKETS], where,
                     error))
        return false;
    if (l[DIM] == 0 || s->layers == 0 || heads == 0)
        return tl_fail(error, TL_ERROR_FORMAT, "%s: expected a width, layers and heads", where);
    if (!read_number(config, NAMES("head_dim", "d_kv"), l[DIM] / heads, &head_dim, where, error))
        return false;
    l[HEADS] = heads;
    l[QUERY] = heads * head_dim;
    l[KEY] = kv_heads * head_dim;
    l[QUERY3] = 3 * l[QUERY];
    if (strcmp(s->family->model_type, "opt") == 0) l[POSITIONS] += 2; /* its offset */
    return read_conditions(config, s, where, error);
}

/* Visiting every tensor in the order of the file. */

typedef struct visit {
    const shape *shape;
    tl_buffer header;
    uint64_t offset, parameters;
    FILE *out;
    uint32_t index; /* of the tensor: no two get the same numbers */
} visit;

typedef bool visitor(visit *v, const char *name, const pattern *p);

static bool for_each_tensor(visit *v, visitor *function) {
    const shape *s = v->shape;
    for (const pattern *p = s->family->patterns; p->name; p++) {
        if (!s->holds[p->when]) continue;
        const char *mark = strchr(p->name, '#');
        int64_t copies = mark && p->when != FIRST ? s->layers : 1;
        for (int64_t layer = 0; layer < copies; layer++) {
            char name[128];
            if (mark)
                snprintf(name, sizeof name, "%.*s%lld%s", (int)(mark - p->name), p->name,
                         (long long)layer, mark + 1);
            else
                snprintf(name, sizeof name, "%s", p->name);
            if (!function(v, name, p)) return false;
        }
    }
    return true;
}

static uint64_t elements_of(const shape *s, const pattern *p) {
    return (uint64_t)s->lengths[p->rows] * (uint64_t)(p->columns ? s->lengths[p->columns] : 1);
}

static bool describe(visit *v, const char *name, const pattern *p) {
    const shape *s = v->shape;
    const tl_dtype_traits *traits = tl_dtype_get(s->dtype);
    uint64_t elements = elements_of(s, p), bytes = elements * traits->block_bytes;
    tl_buffer_append_format(&v->header, "%s\"%s\":{\"dtype\":\"%s\",\"shape\":[%lld",
                            v->header.length > 1 ? "," : "", name, traits->safetensors,
                            (long long)s->lengths[p->rows]);
    if (p->columns) tl_buffer_append_format(&v->header, ",%lld", (long long)s->lengths[p->columns]);
    tl_buffer_append_format(&v->header, "],\"data_offsets\":[%llu,%llu]}",
                            (unsigned long long)v->offset, (unsigned long long)(v->offset + bytes));
    v->offset += bytes;
    v->parameters += elements;
    return true;
}

/* A number that depends on its place only: good enough to keep rows different. */
static inline uint32_t scramble(uint32_t x) {
    x ^= x >> 16;
    x *= 0x7feb352du;
    x ^= x >> 15;
    x *= 0x846ca68bu;
    return x ^ x >> 16;
}

/* Norm weights lie around 1; everything else around 0 with the usual deviation of 0.02. */
static void fill(float *values, size_t count, uint32_t first, uint32_t seed, float centre) {
    const float scale = 0.0346f / 0x1p31f; /* uniform: deviation = half-width / √3 */
    for (size_t i = 0; i < count; i++)
        values[i] = centre + (float)(int32_t)scramble((first + (uint32_t)i) ^ seed) * scale;
}

static size_t convert(const float *values, size_t count, tl_dtype dtype, void *out) {
    uint16_t *halves = out;
    if (dtype == TL_F32) memcpy(out, values, count * sizeof *values);
    for (size_t i = 0; dtype == TL_F16 && i < count; i++)
        halves[i] = tl_f32_to_f16(values[i]);
    for (size_t i = 0; dtype == TL_BF16 && i < count; i++) {
        uint32_t bits;
        memcpy(&bits, &values[i], sizeof bits);
        halves[i] = (uint16_t)(bits >> 16); /* random either way: no need to round */
    }
    return count * tl_dtype_get(dtype)->block_bytes;
}

static bool write_tensor(visit *v, const char *name, const pattern *p) {
    enum { PIECE = 1 << 16 };
    static float values[PIECE];
    static uint32_t bytes[PIECE];
    bool norm = p->columns == END && strstr(name, ".weight");
    uint32_t seed = scramble(v->shape->seed * 0x9e3779b9u + v->index++);
    uint64_t left = elements_of(v->shape, p);
    for (uint32_t first = 0; left > 0; first += PIECE) {
        size_t count = left < PIECE ? (size_t)left : PIECE;
        fill(values, count, first, seed, norm ? 1.0f : 0.0f);
        size_t size = convert(values, count, v->shape->dtype, bytes);
        if (fwrite(bytes, 1, size, v->out) != size) return false;
        left -= count;
    }
    return true;
}

static bool write_weights(visit *v, const char *path, tl_error *error) {
    tl_buffer_append_byte(&v->header, '{');
    for_each_tensor(v, describe);
    tl_buffer_append_byte(&v->header, '}');
    while (v->header.length % 8)
        tl_buffer_append_byte(&v->header, ' ');
    if (v->header.failed) return tl_fail_memory(error, v->header.length, "a header");
    v->out = fopen(path, "wb");
    if (!v->out) return tl_fail_errno(error, "%s: cannot create", path);
    uint64_t length = v->header.length;
    bool good = fwrite(&length, sizeof length, 1, v->out) == 1 &&
                fwrite(v->header.data, 1, v->header.length, v->out) == v->header.length &&
                for_each_tensor(v, write_tensor);
    if (fclose(v->out) != 0) good = false;
    return good || tl_fail_errno(error, "%s: cannot write", path);
}

static bool write_config(cJSON *config, tl_dtype dtype, const char *path, tl_error *error) {
    cJSON_DeleteItemFromObjectCaseSensitive(config, "torch_dtype");
    cJSON_AddStringToObject(config, "torch_dtype", tl_dtype_get(dtype)->torch);
    char *text = cJSON_Print(config);
    bool good = text ? tl_file_write(path, text, strlen(text), error)
                     : tl_fail_memory(error, 1, "a config");
    cJSON_free(text);
    return good;
}

static bool copy_tokenizer(const char *from, const char *to, tl_error *error) {
    static const char *const names[] = {
        "tokenizer.json", "tokenizer_config.json",   "vocab.json",
        "merges.txt",     "special_tokens_map.json", "tokenizer.model",
        "spiece.model",   "added_tokens.json",       "generation_config.json"};
    int copied = 0;
    bool good = true;
    for (size_t i = 0; good && i < sizeof names / sizeof names[0]; i++) {
        char *source = tl_path_join(from, names[i]), *target = tl_path_join(to, names[i]);
        size_t length;
        if (source && target && tl_file_exists(source)) {
            char *content = tl_file_read(source, (size_t)1 << 30, &length, error);
            good = content && tl_file_write(target, content, length, error);
            free(content);
            copied++;
        }
        free(source);
        free(target);
    }
    if (good && !copied) good = tl_fail(error, TL_ERROR_IO, "%s: no tokenizer's files", from);
    return good;
}

typedef struct arguments {
    const char *config, *directory, *tokenizer;
    tl_dtype dtype;
    uint32_t seed;
} arguments;

static bool parse_arguments(int count, char **words, arguments *a, tl_error *error) {
    a->dtype = TL_BF16;
    for (int i = 1; i < count; i++) {
        const char *word = words[i], *value = i + 1 < count ? words[i + 1] : "";
        if (strcmp(word, "--dtype") == 0) {
            if (!tl_dtype_parse(value, &a->dtype, error)) return false;
            i++;
        } else if (strcmp(word, "--seed") == 0) {
            a->seed = (uint32_t)strtoul(value, NULL, 10);
            i++;
        } else if (strcmp(word, "--tokenizer") == 0) {
            a->tokenizer = value;
            i++;
        } else if (!a->config) {
            a->config = word;
        } else if (!a->directory) {
            a->directory = word;
        }
    }
    if (a->directory && tl_dtype_get(a->dtype)->safetensors) return true;
    return tl_fail(error, TL_ERROR_USAGE,
                   "usage: random_checkpoint [--dtype f32|f16|bf16] [--seed N] [--tokenizer DIR] "
                   "CONFIG.json DIR");
}

static bool run(const arguments *a, tl_error *error) {
    shape s = {.dtype = a->dtype, .seed = a->seed};
    cJSON *config = tl_json_read(a->config, 1 << 20, error);
    char *config_path = tl_path_join(a->directory, "config.json");
    char *weights_path = tl_path_join(a->directory, "model.safetensors");
    visit v = {.shape = &s};
    bool good = config && config_path && weights_path && read_shape(config, &s, a->config, error) &&
                tl_dir_create(a->directory, error) &&
                write_config(config, a->dtype, config_path, error) &&
                write_weights(&v, weights_path, error) &&
                (!a->tokenizer || copy_tokenizer(a->tokenizer, a->directory, error));
    if (good) printf("%llu\n", (unsigned long long)v.parameters);
    tl_buffer_free(&v.header);
    cJSON_Delete(config);
    free(config_path);
    free(weights_path);
    return good;
}

int main(int count, char **words) {
    tl_error error = {0};
    arguments a = {0};
    if (parse_arguments(count, words, &a, &error) && run(&a, &error)) return 0;
    fprintf(stderr, "random_checkpoint: %s\n", error.message);
    return error.code == TL_ERROR_USAGE ? 2 : 1;
}
