/* Keys of config.json → fields of tl_model_spec, as tables say. */
#include "model/family.h"

#include <string.h>

static const struct {
    const char *name;
    tl_activation activation;
} activations[] = {
    {"relu", TL_ACTIVATION_RELU},
    {"gelu", TL_ACTIVATION_GELU},
    {"gelu_python", TL_ACTIVATION_GELU},
    {"gelu_new", TL_ACTIVATION_GELU_TANH},
    {"gelu_fast", TL_ACTIVATION_GELU_TANH},
    {"gelu_accurate", TL_ACTIVATION_GELU_TANH},
    {"gelu_pytorch_tanh", TL_ACTIVATION_GELU_TANH},
    {"gelu_python_tanh", TL_ACTIVATION_GELU_TANH},
    {"quick_gelu", TL_ACTIVATION_GELU_QUICK},
    {"silu", TL_ACTIVATION_SILU},
    {"swish", TL_ACTIVATION_SILU},
};

bool tl_activation_parse(const char *name, tl_activation *activation, const char *field,
                         const char *where, tl_error *error) {
    tl_buffer known = {0};
    for (size_t i = 0; i < sizeof activations / sizeof *activations; i++) {
        if (strcmp(activations[i].name, name) == 0) {
            *activation = activations[i].activation;
            tl_buffer_free(&known);
            return true;
        }
        tl_buffer_append_format(&known, "%s%s", i ? ", " : "", activations[i].name);
    }
    tl_fail(error, TL_ERROR_UNSUPPORTED,
            "%s: field '%s': activation '%.64s' is not known: expected one of %s", where, field,
            name, tl_buffer_string(&known));
    tl_buffer_free(&known);
    return false;
}

static bool read_key(const cJSON *config, const tl_config_key *key, const char *name,
                     tl_model_spec *spec, const char *where, tl_error *error) {
    void *field = (char *)spec + key->offset;
    switch (key->kind) {
    case TL_KEY_SIZE: {
        int64_t value;
        if (!tl_json_int(config, name, 1, INT32_MAX, &value, where, error)) return false;
        *(int32_t *)field = (int32_t)value;
        return true;
    }
    case TL_KEY_DOUBLE:
        return tl_json_double_or(config, name, 0, field, where, error);
    case TL_KEY_FLOAT: {
        double value;
        if (!tl_json_double_or(config, name, 0, &value, where, error)) return false;
        *(float *)field = (float)value;
        return true;
    }
    case TL_KEY_FLAG:
        return tl_json_bool_or(config, name, false, field, where, error);
    case TL_KEY_ACTIVATION: {
        const char *value;
        return tl_json_string_or(config, name, "", &value, where, error) &&
               tl_activation_parse(value, field, name, where, error);
    }
    }
    return false;
}

bool tl_config_read_keys(const cJSON *config, const tl_config_key *keys, tl_model_spec *spec,
                         const char *where, tl_error *error) {
    for (const tl_config_key *key = keys; key->names[0]; key++) {
        const char *found = NULL;
        for (int i = 0; i < 3 && key->names[i] && !found; i++)
            if (tl_json_get(config, key->names[i])) found = key->names[i];
        if (!found && key->required)
            return tl_fail(error, TL_ERROR_FORMAT, "%s: field '%s' is missing: expected an integer",
                           where, key->names[0]);
        if (found && !read_key(config, key, found, spec, where, error)) return false;
    }
    return true;
}
