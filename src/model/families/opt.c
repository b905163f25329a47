/* OPT: 125m and its larger kin (pre-norm), 350m (post-norm, embedding projections). */
#include "model/family.h"

static const tl_config_key keys[] = {
    TL_NEED(SIZE, dim, "hidden_size"),
    TL_NEED(SIZE, layers, "num_hidden_layers"),
    TL_NEED(SIZE, heads, "num_attention_heads"),
    TL_NEED(SIZE, ffn_dim, "ffn_dim"),
    TL_KEY(SIZE, positions, "max_position_embeddings"),
    TL_KEY(SIZE, embed_dim, "word_embed_proj_dim"),
    TL_KEY(ACTIVATION, activation, "activation_function"),
    TL_KEY(FLAG, qkv_bias, "enable_bias"),
    TL_KEY(FLAG, output_bias, "enable_bias"),
    TL_KEY(FLAG, ffn_bias, "enable_bias"),
    TL_KEYS_END,
};

static const tl_weight_name names[] = {
    {TL_ROLE_EMBEDDING, "embed_tokens"},
    {TL_ROLE_POSITIONS, "embed_positions"},
    {TL_ROLE_PROJECT_IN, "project_in"},
    {TL_ROLE_PROJECT_OUT, "project_out"},
    {TL_ROLE_ATTENTION_NORM, "layers.#.self_attn_layer_norm"},
    {TL_ROLE_Q, "layers.#.self_attn.q_proj"},
    {TL_ROLE_K, "layers.#.self_attn.k_proj"},
    {TL_ROLE_V, "layers.#.self_attn.v_proj"},
    {TL_ROLE_O, "layers.#.self_attn.out_proj"},
    {TL_ROLE_FFN_NORM, "layers.#.final_layer_norm"},
    {TL_ROLE_UP, "layers.#.fc1"},
    {TL_ROLE_DOWN, "layers.#.fc2"},
    {TL_ROLE_FINAL_NORM, "final_layer_norm"},
    {TL_ROLE_HEAD, "lm_head"},
    {.name = NULL},
};

static bool adjust(const cJSON *config, tl_model_spec *spec, const char *where, tl_error *error) {
    bool before, removed, affine;
    if (!tl_json_bool_or(config, "do_layer_norm_before", true, &before, where, error) ||
        !tl_json_bool_or(config, "_remove_final_layer_norm", false, &removed, where, error) ||
        !tl_json_bool_or(config, "layer_norm_elementwise_affine", true, &affine, where, error))
        return false;
    spec->norm_after = !before;
    spec->final_norm = before && !removed;
    spec->norm_plain = !affine;
    return true;
}

const tl_family tl_family_opt = {
    .model_type = "opt",
    .prefixes = {"model.decoder.", "decoder.", "", "model."},
    .keys = keys,
    .names = names,
    .defaults = {.norm = TL_NORM_LAYER,
                 .norm_eps = 1e-5f, /* not in config.json */
                 .norm_bias = true,
                 .activation = TL_ACTIVATION_RELU,
                 .qkv_bias = true,
                 .output_bias = true,
                 .ffn_bias = true,
                 .position = TL_POSITION_LEARNED,
                 .positions = 2048,
                 .position_offset = 2,
                 .tied_head = true},
    .adjust = adjust,
};
