/* T5, classic and v1.1 (Flan-T5): encoder-decoder with bucketed relative positions. */
#include "model/family.h"

#include <math.h>
#include <string.h>

static const tl_config_key keys[] = {
    TL_NEED(SIZE, dim, "d_model"),
    TL_NEED(SIZE, layers, "num_layers"),
    TL_KEY(SIZE, decoder_layers, "num_decoder_layers"),
    TL_NEED(SIZE, heads, "num_heads"),
    TL_NEED(SIZE, head_dim, "d_kv"),
    TL_NEED(SIZE, ffn_dim, "d_ff"),
    TL_KEY(SIZE, max_length, "n_positions"),
    TL_KEY(FLOAT, norm_eps, "layer_norm_epsilon"),
    TL_KEY(SIZE, relative_buckets, "relative_attention_num_buckets"),
    TL_KEY(SIZE, relative_max_distance, "relative_attention_max_distance"),
    TL_KEYS_END,
};

/* A block's self-attention is its layer 0; its feed-forward comes last. */
#define BLOCKS(name, which, ffn_layer)                                                             \
    {TL_ROLE_RELATIVE_BIAS, name ".block.0.layer.0.SelfAttention.relative_attention_bias",         \
     .stack = which},                                                                              \
        {TL_ROLE_ATTENTION_NORM, name ".block.#.layer.0.layer_norm", .stack = which},              \
        {TL_ROLE_Q, name ".block.#.layer.0.SelfAttention.q", .stack = which},                      \
        {TL_ROLE_K, name ".block.#.layer.0.SelfAttention.k", .stack = which},                      \
        {TL_ROLE_V, name ".block.#.layer.0.SelfAttention.v", .stack = which},                      \
        {TL_ROLE_O, name ".block.#.layer.0.SelfAttention.o", .stack = which},                      \
        {TL_ROLE_FFN_NORM, name ".block.#.layer." ffn_layer ".layer_norm", .stack = which},        \
        {TL_ROLE_GATE, name ".block.#.layer." ffn_layer ".DenseReluDense.wi_0", .stack = which},   \
        {TL_ROLE_UP, name ".block.#.layer." ffn_layer ".DenseReluDense.wi_1", .stack = which},     \
        {TL_ROLE_UP, name ".block.#.layer." ffn_layer ".DenseReluDense.wi", .stack = which},       \
        {TL_ROLE_DOWN, name ".block.#.layer." ffn_layer ".DenseReluDense.wo", .stack = which}, {   \
        TL_ROLE_FINAL_NORM, name ".final_layer_norm", .stack = which                               \
    }

static const tl_weight_name names[] = {
    {TL_ROLE_EMBEDDING, "shared"},
    {TL_ROLE_EMBEDDING, "encoder.embed_tokens"},
    {TL_ROLE_EMBEDDING, "decoder.embed_tokens"},
    BLOCKS("encoder", TL_STACK_ENCODER, "1"),
    BLOCKS("decoder", TL_STACK_DECODER, "2"),
    {TL_ROLE_CROSS_NORM, "decoder.block.#.layer.1.layer_norm"},
    {TL_ROLE_CROSS_Q, "decoder.block.#.layer.1.EncDecAttention.q"},
    {TL_ROLE_CROSS_K, "decoder.block.#.layer.1.EncDecAttention.k"},
    {TL_ROLE_CROSS_V, "decoder.block.#.layer.1.EncDecAttention.v"},
    {TL_ROLE_CROSS_O, "decoder.block.#.layer.1.EncDecAttention.o"},
    {TL_ROLE_HEAD, "lm_head"},
    {.name = NULL},
};

static bool adjust(const cJSON *config, tl_model_spec *spec, const char *where, tl_error *error) {
    static const char gated[] = "gated-";
    const char *name;
    int64_t start;
    if (!tl_json_string_or(config, "feed_forward_proj", "relu", &name, where, error)) return false;
    spec->gated = strncmp(name, gated, sizeof gated - 1) == 0;
    if (strcmp(name, "gated-gelu") == 0) name = "gated-gelu_new"; /* as T5Config does */
    if (!tl_activation_parse(spec->gated ? name + sizeof gated - 1 : name, &spec->activation,
                             "feed_forward_proj", where, error))
        return false;
    if (!tl_json_int_or(config, "decoder_start_token_id", 0, 0, spec->vocab - 1, &start, where,
                        error))
        return false;
    spec->decoder_start = (int32_t)start;
    if (!spec->decoder_layers) spec->decoder_layers = spec->layers;
    if (spec->tied_head) spec->head_scale = (float)pow(spec->dim, -0.5);
    return true;
}

const tl_family tl_family_t5 = {
    .model_type = "t5",
    .prefixes = {"", "model.", "transformer."},
    .keys = keys,
    .names = names,
    .defaults = {.norm = TL_NORM_RMS,
                 .norm_eps = 1e-6f,
                 .final_norm = true,
                 .position = TL_POSITION_RELATIVE,
                 .relative_buckets = 32,
                 .relative_max_distance = 128,
                 .attention_scale = 1,
                 .encoder = true,
                 .tied_head = true},
    .adjust = adjust,
};
