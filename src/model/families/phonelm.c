/* PhoneLM: Llama's block with a plain ReLU gate and rotary tables rounded to int8 anew in each
 * forward call (modeling_phonelm.py). */
#include "model/families/llama_names.h"

static const tl_config_key keys[] = {
    TL_LLAMA_KEYS,
    TL_KEY(FLAG, qkv_bias, "attention_bias"),
    TL_KEY(FLAG, output_bias, "attention_bias"),
    TL_KEYS_END,
};

const tl_family tl_family_phonelm = {
    .model_type = "phonelm",
    .prefixes = {"model.", "", "transformer."},
    .keys = keys,
    .names = tl_llama_names,
    .defaults = {.norm = TL_NORM_RMS,
                 .norm_eps = 1e-6f,
                 .final_norm = true,
                 .activation = TL_ACTIVATION_RELU,
                 .gated = true,
                 .position = TL_POSITION_ROTARY,
                 .rope_int8 = true,
                 .max_length = 2048},
};
