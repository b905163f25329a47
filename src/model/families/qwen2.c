/* Qwen1.5 and Qwen2.5: Llama's block with biases on q, k and v. */
#include "model/families/llama_names.h"

#include <string.h>

static const tl_config_key keys[] = {TL_LLAMA_KEYS, TL_KEYS_END};

/* The layers of the window: those that layer_types names, or all from max_window_layers on. */
static bool read_window_layers(const cJSON *config, tl_model_spec *spec, const char *where,
                               tl_error *error) {
    const cJSON *types = tl_json_get(config, "layer_types");
    int64_t first;
    if (!tl_json_int_or(config, "max_window_layers", 28, 0, INT32_MAX, &first, where, error))
        return false;
    if (types && (!cJSON_IsArray(types) || cJSON_GetArraySize(types) != spec->layers))
        return tl_fail(error, TL_ERROR_FORMAT,
                       "%s: field 'layer_types': expected an array of %d, one for each layer",
                       where, spec->layers);
    const cJSON *type = types ? types->child : NULL;
    for (int32_t i = 0; i < spec->layers && i < TL_MOST_LAYERS; i++) {
        bool sliding = i >= first;
        if (type) {
            const char *name = cJSON_IsString(type) ? type->valuestring : "";
            sliding = strcmp(name, "sliding_attention") == 0;
            if (!sliding && strcmp(name, "full_attention") != 0)
                return tl_fail(error, TL_ERROR_UNSUPPORTED,
                               "%s: 'layer_types' item %d is '%.64s': expected 'full_attention' or "
                               "'sliding_attention'",
                               where, i, name);
            type = type->next;
        }
        if (sliding) spec->window_layers[i / 64] |= UINT64_C(1) << (i % 64);
    }
    return true;
}

/* The window counts only with use_sliding_window. */
static bool adjust(const cJSON *config, tl_model_spec *spec, const char *where, tl_error *error) {
    bool sliding;
    int64_t window;
    if (!tl_json_bool_or(config, "use_sliding_window", false, &sliding, where, error)) return false;
    if (!sliding) return true;
    if (!tl_json_int_or(config, "sliding_window", 4096, 1, INT32_MAX, &window, where, error))
        return false;
    spec->window = (int32_t)window;
    return read_window_layers(config, spec, where, error);
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
