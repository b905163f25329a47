/* config.json → tl_model_spec, by the tables of its family. */
#include "model/family.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    CONFIG_LIMIT = 8 << 20,
    MOST_WIDTH = 1 << 20,
    MOST_HEADS = 4096,
    MOST_VOCAB = 1 << 26,
    MOST_POSITIONS = 1 << 26,
};

static bool check_range(const char *name, int64_t value, int64_t lowest, int64_t highest,
                        const char *where, tl_error *error) {
    if (value >= lowest && value <= highest) return true;
    return tl_fail(error, TL_ERROR_FORMAT, "%s: %s is %lld: expected %lld to %lld", where, name,
                   (long long)value, (long long)lowest, (long long)highest);
}

/* How positions are told, and how many there are. */
static bool complete_positions(tl_model_spec *spec, const char *where, tl_error *error) {
    if (spec->position == TL_POSITION_ROTARY && !tl_rotary_complete(spec, where, error))
        return false;
    if (spec->position == TL_POSITION_RELATIVE &&
        (spec->relative_buckets < 4 || spec->relative_buckets % 2 ||
         !check_range("relative_attention_num_buckets", spec->relative_buckets, 4, 4096, where,
                      error) ||
         spec->relative_max_distance <= spec->relative_buckets / 2))
        return tl_fail(error, TL_ERROR_FORMAT,
                       "%s: %d relative buckets up to distance %d: expected an even number of "
                       "buckets, at least 4, and a distance above half of it",
                       where, spec->relative_buckets, spec->relative_max_distance);
    if (spec->position == TL_POSITION_LEARNED) {
        if (!check_range("the number of positions", spec->positions, 1, MOST_POSITIONS, where,
                         error))
            return false;
        spec->max_length = spec->positions;
    } else {
        /* Computed, not looked up; beyond its positions a dynamic scaling depends on the length. */
        spec->positions = spec->rope_scaling == TL_ROPE_DYNAMIC ? spec->max_length : INT32_MAX;
    }
    return true;
}

/* Fills in what follows from other fields and refuses what cannot be computed. */
static bool complete(tl_model_spec *spec, const char *where, tl_error *error) {
    if (!check_range("the number of layers", spec->layers, 1, TL_MOST_LAYERS, where, error) ||
        !check_range("the number of decoder layers", spec->decoder_layers, 0, TL_MOST_LAYERS, where,
                     error) ||
        !check_range("the hidden size", spec->dim, 1, MOST_WIDTH, where, error) ||
        !check_range("the number of heads", spec->heads, 1, MOST_HEADS, where, error))
        return false;
    if (!spec->embed_dim) spec->embed_dim = spec->dim;
    if (!spec->kv_heads) spec->kv_heads = spec->heads;
    if (!spec->ffn_dim) spec->ffn_dim = 4 * spec->dim;
    if (!spec->head_dim) {
        if (spec->dim % spec->heads)
            return tl_fail(error, TL_ERROR_FORMAT,
                           "%s: hidden size %d with %d heads: expected a multiple of them", where,
                           spec->dim, spec->heads);
        spec->head_dim = spec->dim / spec->heads;
    }
    if (!check_range("the embedding's size", spec->embed_dim, 1, MOST_WIDTH, where, error) ||
        !check_range("the feed-forward size", spec->ffn_dim, 1, 4 * MOST_WIDTH, where, error) ||
        !check_range("heads × head_dim", (int64_t)spec->heads * spec->head_dim, 1, MOST_WIDTH,
                     where, error) ||
        !check_range("vocab_size", spec->vocab, 1, MOST_VOCAB, where, error))
        return false;
    if (spec->kv_heads > spec->heads || spec->heads % spec->kv_heads)
        return tl_fail(error, TL_ERROR_FORMAT,
                       "%s: %d heads with %d key-value heads: expected a multiple of them", where,
                       spec->heads, spec->kv_heads);
    if (!(spec->norm_eps >= 0) || !isfinite(spec->norm_eps))
        return tl_fail(error, TL_ERROR_FORMAT, "%s: the norm's epsilon is %g: expected at least 0",
                       where, (double)spec->norm_eps);
    if (!complete_positions(spec, where, error)) return false;
    if (spec->attention_scale == 0) spec->attention_scale = (float)(1 / sqrt(spec->head_dim));
    if (spec->embed_scale == 0) spec->embed_scale = 1;
    if (spec->head_scale == 0) spec->head_scale = 1;
    return true;
}

/* A token id, or the first of a list of them; -1 where absent. */
static int32_t read_token(const cJSON *config, const char *field) {
    const cJSON *item = tl_json_get(config, field);
    if (cJSON_IsArray(item)) item = cJSON_GetArrayItem(item, 0);
    if (!cJSON_IsNumber(item) || item->valuedouble < 0 || item->valuedouble > INT32_MAX) return -1;
    return (int32_t)item->valuedouble;
}

/* The ids that end a generated text: one or a list; unchanged where `config` is silent. */
static void read_stops(const cJSON *config, tl_model_spec *spec) {
    const cJSON *field = tl_json_get(config, "eos_token_id");
    bool list = cJSON_IsArray(field);
    const cJSON *item = list ? field->child : field;
    if (item) spec->n_stops = 0;
    for (; item && spec->n_stops < TL_MOST_STOPS; item = list ? item->next : NULL)
        if (cJSON_IsNumber(item) && item->valuedouble >= 0 && item->valuedouble <= INT32_MAX)
            spec->stops[spec->n_stops++] = (int32_t)item->valuedouble;
}

static tl_dtype read_dtype(const cJSON *config) {
    const char *name = NULL;
    for (int i = 0; i < 2 && !name; i++) {
        const cJSON *item = tl_json_get(config, i ? "torch_dtype" : "dtype");
        if (cJSON_IsString(item)) name = item->valuestring;
    }
    for (int i = 0; name && i < TL_DTYPE_COUNT; i++) {
        const tl_dtype_traits *traits = tl_dtype_get((tl_dtype)i);
        if (traits->compute && traits->torch && strcmp(traits->torch, name) == 0)
            return (tl_dtype)i;
    }
    return TL_F32;
}

static const tl_family *find_family(const cJSON *config, const char *where, tl_error *error) {
    if (!cJSON_IsObject(config)) {
        tl_fail(error, TL_ERROR_FORMAT, "%s: expected a JSON object", where);
        return NULL;
    }
    const char *type;
    if (!tl_json_string_or(config, "model_type", NULL, &type, where, error)) return NULL;
    const tl_family *family = type ? tl_family_find(type) : NULL;
    if (family) return family;
    tl_buffer known = {0};
    for (const tl_family *const *each = tl_families; *each; each++)
        tl_buffer_append_format(&known, "%s%s", each == tl_families ? "" : ", ",
                                (*each)->model_type);
    if (type)
        tl_fail(error, TL_ERROR_UNSUPPORTED,
                "%s: model_type '%.64s' is not known: expected one of %s", where, type,
                tl_buffer_string(&known));
    else
        tl_fail(error, TL_ERROR_FORMAT, "%s: field 'model_type' is missing: expected one of %s",
                where, tl_buffer_string(&known));
    tl_buffer_free(&known);
    return NULL;
}

bool tl_model_parse_spec(const cJSON *config, tl_model_spec *spec, const char *where,
                         tl_error *error) {
    static const tl_config_key common[] = {
        TL_NEED(SIZE, vocab, "vocab_size"),
        TL_KEY(FLAG, tied_head, "tie_word_embeddings"),
        TL_KEYS_END,
    };
    const tl_family *family = find_family(config, where, error);
    if (!family) return false;
    *spec = family->defaults;
    spec->family = family->model_type;
    spec->bos = read_token(config, "bos_token_id");
    spec->eos = read_token(config, "eos_token_id");
    read_stops(config, spec);
    spec->stored = read_dtype(config);
    return tl_config_read_keys(config, common, spec, where, error) &&
           tl_config_read_keys(config, family->keys, spec, where, error) &&
           (spec->position != TL_POSITION_ROTARY || tl_rotary_read(config, spec, where, error)) &&
           (!family->adjust || family->adjust(config, spec, where, error)) &&
           complete(spec, where, error);
}

/* generation_config.json, where there is one, has the last word on what ends a text. */
static bool read_generation(const char *directory, tl_model_spec *spec, tl_error *error) {
    char *path = tl_path_join(directory, "generation_config.json");
    if (!path) return tl_fail_memory(error, strlen(directory), "a path");
    cJSON *config = NULL;
    bool there = tl_file_exists(path), ok = !there;
    if (there) config = tl_json_read(path, CONFIG_LIMIT, error);
    if (config) {
        ok = cJSON_IsObject(config) ||
             tl_fail(error, TL_ERROR_FORMAT, "%s: expected a JSON object", path);
        if (ok) read_stops(config, spec);
    }
    cJSON_Delete(config);
    free(path);
    return ok;
}

bool tl_model_read_spec(const char *directory, tl_model_spec *spec, tl_error *error) {
    char *path = tl_path_join(directory, "config.json");
    if (!path) return tl_fail_memory(error, strlen(directory), "a path");
    cJSON *config = tl_json_read(path, CONFIG_LIMIT, error);
    bool ok = config && tl_model_parse_spec(config, spec, path, error);
    cJSON_Delete(config);
    free(path);
    return ok && read_generation(directory, spec, error);
}
