/* Llama and all that took its shape: SmolLM, TinyLlama, Danube3, LiteLlama. */
#include "model/families/llama_names.h"

static const tl_config_key keys[] = {
    TL_LLAMA_KEYS,
    TL_KEY(FLAG, qkv_bias, "attention_bias"),
    TL_KEY(FLAG, output_bias, "attention_bias"),
    TL_KEY(FLAG, ffn_bias, "mlp_bias"),
    TL_KEYS_END,
};

const tl_family tl_family_llama = {
    .model_type = "llama",
    .prefixes = {"model.", "", "transformer."},
    .keys = keys,
    .names = tl_llama_names,
    .defaults = {.norm = TL_NORM_RMS,
                 .norm_eps = 1e-6f,
                 .final_norm = true,
                 .activation = TL_ACTIVATION_SILU,
                 .gated = true,
                 .position = TL_POSITION_ROTARY,
                 .max_length = 2048},
};
