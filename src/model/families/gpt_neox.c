/* GPT-NeoX: Pythia. */
#include "model/family.h"

static const tl_config_key keys[] = {
    TL_NEED(SIZE, dim, "hidden_size"),
    TL_NEED(SIZE, layers, "num_hidden_layers"),
    TL_NEED(SIZE, heads, "num_attention_heads"),
    TL_NEED(SIZE, ffn_dim, "intermediate_size"),
    TL_KEY(SIZE, max_length, "max_position_embeddings"),
    TL_KEY(FLOAT, norm_eps, "layer_norm_eps"),
    TL_KEY(ACTIVATION, activation, "hidden_act"),
    TL_KEY(FLAG, parallel_residual, "use_parallel_residual"),
    TL_KEY(FLAG, qkv_bias, "attention_bias"),
    TL_KEY(FLAG, output_bias, "attention_bias"),
    TL_KEYS_END,
};

static const tl_weight_name names[] = {
    {TL_ROLE_EMBEDDING, "embed_in"},
    {TL_ROLE_ATTENTION_NORM, "layers.#.input_layernorm"},
    {TL_ROLE_QKV, "layers.#.attention.query_key_value", TL_LAYOUT_PER_HEAD},
    {TL_ROLE_O, "layers.#.attention.dense"},
    {TL_ROLE_FFN_NORM, "layers.#.post_attention_layernorm"},
    {TL_ROLE_UP, "layers.#.mlp.dense_h_to_4h"},
    {TL_ROLE_DOWN, "layers.#.mlp.dense_4h_to_h"},
    {TL_ROLE_FINAL_NORM, "final_layer_norm"},
    {TL_ROLE_HEAD, "embed_out"},
    {.name = NULL},
};

const tl_family tl_family_gpt_neox = {
    .model_type = "gpt_neox",
    .prefixes = {"gpt_neox.", "", "model.", "transformer."},
    .keys = keys,
    .names = names,
    .defaults = {.norm = TL_NORM_LAYER,
                 .norm_eps = 1e-5f,
                 .norm_bias = true,
                 .final_norm = true,
                 .activation = TL_ACTIVATION_GELU,
                 .parallel_residual = true,
                 .qkv_bias = true,
                 .output_bias = true,
                 .ffn_bias = true,
                 .position = TL_POSITION_ROTARY,
                 .rotary_fraction = 0.25,
                 .max_length = 2048},
};
