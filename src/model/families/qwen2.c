/* Qwen1.5 and Qwen2.5: Llama's block with biases on q, k and v. */
#include "model/families/llama_names.h"

static const tl_config_key keys[] = {TL_LLAMA_KEYS, TL_KEYS_END};

/* The window counts only with use_sliding_window, and then only from max_window_layers on. */
static bool adjust(const cJSON *config, tl_model_spec *spec, const char *where, tl_error *error) {
    bool sliding;
    int64_t window, first;
    if (!tl_json_bool_or(config, "use_sliding_window", false, &sliding, where, error)) return false;
    if (!sliding) return true;
    if (!tl_json_int_or(config, "sliding_window", 4096, 1, INT32_MAX, &window, where, error) ||
        !tl_json_int_or(config, "max_window_layers", 28, 0, INT32_MAX, &first, where, error))
        return false;
    spec->window = (int32_t)window;
    spec->window_layer = (int32_t)first;
    return true;
}

const tl_family tl_family_qwen2 = {
    .model_type = "qwen2",
    .prefixes = {"model.", "", "transformer."},
    .keys = keys,
    .names = tl_llama_names,
    .defaults = {.norm = TL_NORM_RMS,
                 .norm_eps = 1e-6f,
                 .final_norm = true,
                 .activation = TL_ACTIVATION_SILU,
                 .gated = true,
                 .qkv_bias = true,
                 .position = TL_POSITION_ROTARY,
                 .max_length = 32768},
    .adjust = adjust,
};
