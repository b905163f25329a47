/* Rotary positions: config.json's keys → tl_model_spec. transformers 4 writes rope_theta and
 * rope_scaling {type | rope_type, …} (null for none), transformers 5 rope_parameters {rope_type,
 * rope_theta, partial_rotary_factor, …}; the formulas are modeling_rope_utils.py's. */
#include "model/family.h"

#include <math.h>
#include <string.h>

static const tl_config_key rotary_keys[] = {
    TL_KEY(DOUBLE, rope_theta, "rope_theta", "rotary_emb_base"),
    TL_KEY(DOUBLE, rotary_fraction, "partial_rotary_factor", "rotary_pct"),
    TL_KEYS_END,
};

static const tl_config_key scaling_keys[] = {
    TL_KEY(DOUBLE, rope_factor, "factor"),
    TL_KEY(DOUBLE, rope_low_factor, "low_freq_factor"),
    TL_KEY(DOUBLE, rope_high_factor, "high_freq_factor"),
    TL_KEY(SIZE, rope_original_positions, "original_max_position_embeddings"),
    TL_KEY(DOUBLE, rope_attention_factor, "attention_factor"),
    TL_KEY(DOUBLE, rope_beta_fast, "beta_fast"),
    TL_KEY(DOUBLE, rope_beta_slow, "beta_slow"),
    TL_KEY(DOUBLE, rope_mscale, "mscale"),
    TL_KEY(DOUBLE, rope_mscale_all, "mscale_all_dim"),
    TL_KEYS_END,
};

static const struct {
    const char *name;
    tl_rope_scaling scaling;
} types[] = {
    {"default", TL_ROPE_NONE},    {"linear", TL_ROPE_LINEAR}, {"llama3", TL_ROPE_LLAMA3},
    {"dynamic", TL_ROPE_DYNAMIC}, {"yarn", TL_ROPE_YARN},
};

static bool read_type(const cJSON *object, const char *field, tl_model_spec *spec,
                      const char *where, tl_error *error) {
    const char *type, *old_type;
    if (!tl_json_string_or(object, "type", "default", &old_type, where, error) ||
        !tl_json_string_or(object, "rope_type", old_type, &type, where, error))
        return false;
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        if (strcmp(types[i].name, type) != 0) continue;
        spec->rope_scaling = types[i].scaling;
        return true;
    }
    return tl_fail(error, TL_ERROR_UNSUPPORTED,
                   "%s: '%s' has type '%.64s': expected default, linear, llama3, dynamic or yarn",
                   where, field, type);
}

static bool is_positive(double value) {
    return value > 0 && isfinite(value);
}

static double yarn_scale(double factor, double mscale) {
    return factor > 1 ? 0.1 * mscale * log(factor) + 1 : 1;
}

static bool check_yarn(tl_model_spec *spec, const char *where, tl_error *error) {
    if (spec->rope_beta_fast == 0) spec->rope_beta_fast = 32;
    if (spec->rope_beta_slow == 0) spec->rope_beta_slow = 1;
    if (!is_positive(spec->rope_beta_fast) || !is_positive(spec->rope_beta_slow) ||
        spec->rope_theta <= 1)
        return tl_fail(error, TL_ERROR_FORMAT,
                       "%s: yarn rope scaling needs positive 'beta_fast' and 'beta_slow', and "
                       "'rope_theta' above 1",
                       where);
    if (spec->rope_attention_factor == 0) {
        bool both = spec->rope_mscale != 0 && spec->rope_mscale_all != 0;
        spec->rope_attention_factor = yarn_scale(spec->rope_factor, both ? spec->rope_mscale : 1);
        if (both)
            spec->rope_attention_factor /= yarn_scale(spec->rope_factor, spec->rope_mscale_all);
    }
    if (!isfinite(spec->rope_attention_factor) || spec->rope_int8)
        return tl_fail(error, TL_ERROR_UNSUPPORTED,
                       "%s: yarn rope scaling with %s: expected default or linear", where,
                       spec->rope_int8 ? "int8 tables" : "an attention factor that is no number");
    return true;
}

static bool check_scaling(tl_model_spec *spec, const char *where, tl_error *error) {
    if (spec->rope_scaling == TL_ROPE_NONE) return true;
    if (!is_positive(spec->rope_factor))
        return tl_fail(error, TL_ERROR_FORMAT,
                       "%s: rope scaling needs 'factor': expected a positive number", where);
    if (!spec->rope_original_positions) spec->rope_original_positions = spec->max_length;
    if (spec->rope_scaling == TL_ROPE_LLAMA3 &&
        (!(spec->rope_low_factor > 0) || !(spec->rope_high_factor > spec->rope_low_factor) ||
         !isfinite(spec->rope_high_factor)))
        return tl_fail(error, TL_ERROR_FORMAT,
                       "%s: llama3 rope scaling needs 0 < 'low_freq_factor' < 'high_freq_factor'",
                       where);
    return spec->rope_scaling != TL_ROPE_YARN || check_yarn(spec, where, error);
}

bool tl_rotary_read(const cJSON *config, tl_model_spec *spec, const char *where, tl_error *error) {
    static const char *const objects[] = {"rope_scaling", "rope_parameters"};
    bool partial = spec->rotary_fraction != 0;
    spec->rope_theta = 10000;
    if (!partial) spec->rotary_fraction = 1;
    if (!tl_config_read_keys(config, rotary_keys, spec, where, error)) return false;
    for (int i = 0; i < 2; i++) {
        const cJSON *object = tl_json_get(config, objects[i]);
        if (!object) continue;
        if (!cJSON_IsObject(object))
            return tl_fail(error, TL_ERROR_FORMAT, "%s: field '%s': expected an object", where,
                           objects[i]);
        bool rounded;
        if (!tl_config_read_keys(object, rotary_keys, spec, where, error) ||
            !tl_config_read_keys(object, scaling_keys, spec, where, error) ||
            !tl_json_bool_or(object, "truncate", true, &rounded, where, error) ||
            !read_type(object, objects[i], spec, where, error))
            return false;
        spec->rope_exact_range = !rounded;
    }
    if (!is_positive(spec->rope_theta))
        return tl_fail(error, TL_ERROR_FORMAT, "%s: rope_theta is %g: expected a positive number",
                       where, spec->rope_theta);
    if (!partial && spec->rotary_fraction != 1) {
        if (spec->rope_scaling != TL_ROPE_NONE)
            return tl_fail(error, TL_ERROR_UNSUPPORTED,
                           "%s: 'partial_rotary_factor' %g with rope scaling in a %s: expected 1",
                           where, spec->rotary_fraction, spec->family);
        spec->rotary_fraction = 1; /* their modeling files do not read it */
    }
    return check_scaling(spec, where, error);
}

/* The reference has a frequency for every second of the int(head_dim × fraction) dims, the last odd
 * one included, and turns two dims with each. */
bool tl_rotary_complete(tl_model_spec *spec, const char *where, tl_error *error) {
    bool fraction = spec->rotary_fraction >= 0 && spec->rotary_fraction <= 1;
    spec->rotary_period = fraction ? (int32_t)(spec->head_dim * spec->rotary_fraction) : 0;
    spec->rotary_dim = (spec->rotary_period + 1) / 2 * 2;
    if (fraction && spec->rotary_dim <= spec->head_dim) return true;
    return tl_fail(error, TL_ERROR_FORMAT,
                   "%s: a share of %g of %d dims is rotated: expected 0 to 1, and an even head_dim",
                   where, spec->rotary_fraction, spec->head_dim);
}
