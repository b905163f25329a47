/* GPT-2 and its kin: Cerebras-GPT, LaMini-GPT. */
#include "model/family.h"

static const tl_config_key keys[] = {
    TL_NEED(SIZE, dim, "n_embd", "hidden_size"),
    TL_NEED(SIZE, layers, "n_layer", "num_hidden_layers"),
    TL_NEED(SIZE, heads, "n_head", "num_attention_heads"),
    TL_KEY(SIZE, ffn_dim, "n_inner"),
    TL_KEY(SIZE, positions, "n_positions", "max_position_embeddings", "n_ctx"),
    TL_KEY(FLOAT, norm_eps, "layer_norm_epsilon"),
    TL_KEY(ACTIVATION, activation, "activation_function"),
    TL_KEY(FLAG, scale_by_layer, "scale_attn_by_inverse_layer_idx"),
    TL_KEYS_END,
};

static const tl_weight_name names[] = {
    {TL_ROLE_EMBEDDING, "wte"},
    {TL_ROLE_POSITIONS, "wpe"},
    {TL_ROLE_ATTENTION_NORM, "h.#.ln_1"},
    {TL_ROLE_QKV, "h.#.attn.c_attn", TL_LAYOUT_TRANSPOSED},
    {TL_ROLE_O, "h.#.attn.c_proj", TL_LAYOUT_TRANSPOSED},
    {TL_ROLE_FFN_NORM, "h.#.ln_2"},
    {TL_ROLE_UP, "h.#.mlp.c_fc", TL_LAYOUT_TRANSPOSED},
    {TL_ROLE_DOWN, "h.#.mlp.c_proj", TL_LAYOUT_TRANSPOSED},
    {TL_ROLE_FINAL_NORM, "ln_f"},
    {TL_ROLE_HEAD, "lm_head"},
    {.name = NULL},
};

static bool adjust(const cJSON *config, tl_model_spec *spec, const char *where, tl_error *error) {
    bool scaled, crossed;
    if (!tl_json_bool_or(config, "scale_attn_weights", true, &scaled, where, error) ||
        !tl_json_bool_or(config, "add_cross_attention", false, &crossed, where, error))
        return false;
    if (crossed)
        return tl_fail(error, TL_ERROR_UNSUPPORTED,
                       "%s: 'add_cross_attention' is true: expected a causal GPT-2", where);
    if (!scaled) spec->attention_scale = 1;
    return true;
}

const tl_family tl_family_gpt2 = {
    .model_type = "gpt2",
    .prefixes = {"transformer.", "", "model.", "model.transformer."},
    .keys = keys,
    .names = names,
    .defaults = {.norm = TL_NORM_LAYER,
                 .norm_eps = 1e-5f,
                 .norm_bias = true,
                 .final_norm = true,
                 .activation = TL_ACTIVATION_GELU_TANH,
                 .qkv_bias = true,
                 .output_bias = true,
                 .ffn_bias = true,
                 .position = TL_POSITION_LEARNED,
                 .positions = 1024,
                 .tied_head = true},
    .adjust = adjust,
};
