/* BLOOM and BLOOMZ. */
#include "model/family.h"

static const tl_config_key keys[] = {
    TL_NEED(SIZE, dim, "hidden_size", "n_embed", "n_embd"),
    TL_NEED(SIZE, layers, "n_layer", "num_hidden_layers"),
    TL_NEED(SIZE, heads, "n_head", "num_attention_heads"),
    TL_KEY(FLOAT, norm_eps, "layer_norm_epsilon"),
    TL_KEY(FLAG, norm_replaces, "apply_residual_connection_post_layernorm"),
    TL_KEYS_END,
};

static const tl_weight_name names[] = {
    {TL_ROLE_EMBEDDING, "word_embeddings"},
    {TL_ROLE_EMBED_NORM, "word_embeddings_layernorm"},
    {TL_ROLE_ATTENTION_NORM, "h.#.input_layernorm"},
    {TL_ROLE_QKV, "h.#.self_attention.query_key_value", TL_LAYOUT_PER_HEAD},
    {TL_ROLE_O, "h.#.self_attention.dense"},
    {TL_ROLE_FFN_NORM, "h.#.post_attention_layernorm"},
    {TL_ROLE_UP, "h.#.mlp.dense_h_to_4h"},
    {TL_ROLE_DOWN, "h.#.mlp.dense_4h_to_h"},
    {TL_ROLE_FINAL_NORM, "ln_f"},
    {TL_ROLE_HEAD, "lm_head"},
    {.name = NULL},
};

const tl_family tl_family_bloom = {
    .model_type = "bloom",
    .prefixes = {"transformer.", "", "model."},
    .keys = keys,
    .names = names,
    .defaults = {.norm = TL_NORM_LAYER,
                 .norm_eps = 1e-5f,
                 .norm_bias = true,
                 .final_norm = true,
                 .embed_norm = true,
                 .activation = TL_ACTIVATION_GELU_TANH,
                 .qkv_bias = true,
                 .output_bias = true,
                 .ffn_bias = true,
                 .position = TL_POSITION_ALIBI,
                 .tied_head = true},
};
