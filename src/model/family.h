/* What a family file (families/NAME.c) consists of: tables that map config.json's keys and the
 * names of tensors onto the one forward pass. docs/families.md shows how to add one. */
#ifndef TL_FAMILY_H
#define TL_FAMILY_H

#include "model/model.h"

typedef enum tl_key_kind {
    TL_KEY_SIZE,       /* int32_t, at least 1 */
    TL_KEY_DOUBLE,     /* double */
    TL_KEY_FLOAT,      /* float */
    TL_KEY_FLAG,       /* bool */
    TL_KEY_ACTIVATION, /* tl_activation, by its name in transformers */
} tl_key_kind;

/* A key of config.json and the field of tl_model_spec it sets. Absent or null, the family's default
 * stays, unless the key is required. */
typedef struct tl_config_key {
    const char *names[3]; /* the first that is there counts */
    tl_key_kind kind;
    size_t offset;
    bool required;
} tl_config_key;

/* TL_KEY(SIZE, dim, "hidden_size", "n_embed"): optional; TL_NEED: required. */
#define TL_KEY(kind_name, field, ...)                                                              \
    { {__VA_ARGS__}, TL_KEY_##kind_name, offsetof(tl_model_spec, field), false }
#define TL_NEED(kind_name, field, ...)                                                             \
    { {__VA_ARGS__}, TL_KEY_##kind_name, offsetof(tl_model_spec, field), true }

#define TL_KEYS_END                                                                                \
    {                                                                                              \
        .names = { NULL }                                                                          \
    }

/* What a weight does in the forward pass. */
typedef enum tl_weight_role {
    TL_ROLE_EMBEDDING,
    TL_ROLE_POSITIONS,
    TL_ROLE_EMBED_NORM,
    TL_ROLE_PROJECT_IN,
    TL_ROLE_PROJECT_OUT,
    TL_ROLE_ATTENTION_NORM,
    TL_ROLE_Q,
    TL_ROLE_K,
    TL_ROLE_V,
    TL_ROLE_O,
    TL_ROLE_CROSS_NORM,
    TL_ROLE_CROSS_Q,
    TL_ROLE_CROSS_K,
    TL_ROLE_CROSS_V,
    TL_ROLE_CROSS_O,
    TL_ROLE_FFN_NORM,
    TL_ROLE_GATE,
    TL_ROLE_UP,
    TL_ROLE_DOWN,
    TL_ROLE_RELATIVE_BIAS,
    TL_ROLE_FINAL_NORM,
    TL_ROLE_HEAD,
    TL_ROLE_QKV, /* in name tables only: q, k and v in one tensor */
} tl_weight_role;

/* How a matrix lies in the file. */
typedef enum tl_weight_layout {
    TL_LAYOUT_ROWS,       /* [out, in], as Linear; a fused one as blocks q | k | v */
    TL_LAYOUT_TRANSPOSED, /* [in, out], as GPT-2's Conv1D */
    TL_LAYOUT_PER_HEAD,   /* fused rows [head][q | k | v][head_dim] */
} tl_weight_layout;

typedef enum tl_stack { TL_STACK_DECODER, TL_STACK_ENCODER } tl_stack;

typedef struct tl_weight_name {
    tl_weight_role role;
    const char *name; /* without prefix and without ".weight"; '#' stands for the layer */
    tl_weight_layout layout;
    tl_stack stack;
} tl_weight_name;

typedef struct tl_family {
    const char *model_type;      /* config.json's */
    const char *prefixes[6];     /* tried in this order before every name but the head's */
    const tl_config_key *keys;   /* ends with TL_KEYS_END */
    const tl_weight_name *names; /* ends with {.name = NULL}; of several for one role, the first
                                    whose tensor is there counts */
    tl_model_spec defaults;
    /* What tables cannot say; NULL where there is nothing. `where` names the config in messages. */
    bool (*adjust)(const cJSON *config, tl_model_spec *spec, const char *where, tl_error *error);
} tl_family;

/* The family of that name, or NULL. */
const tl_family *tl_family_find(const char *model_type);

/* All of them, NULL-terminated. */
extern const tl_family *const tl_families[];

/* An activation by its name in transformers ("gelu_new"); `field` is the key that holds it. */
bool tl_activation_parse(const char *name, tl_activation *activation, const char *field,
                         const char *where, tl_error *error);

/* Sets the fields of `keys` that are in `config`; an error names the missing or wrong one. */
bool tl_config_read_keys(const cJSON *config, const tl_config_key *keys, tl_model_spec *spec,
                         const char *where, tl_error *error);

/* Rotary keys, after the family's own; a family whose default has a rotary_fraction turns a part of
 * each head. */
bool tl_rotary_read(const cJSON *config, tl_model_spec *spec, const char *where, tl_error *error);

/* The number of rotated dims, once head_dim is known. */
bool tl_rotary_complete(tl_model_spec *spec, const char *where, tl_error *error);

/* config.json as text → spec: for tl_model_read_spec and its fuzz target. */
bool tl_model_parse_spec(const cJSON *config, tl_model_spec *spec, const char *where,
                         tl_error *error);

/* A weight that a spec asks for. */
typedef struct tl_weight_need {
    tl_weight_role role;
    tl_stack stack;
    int32_t layer;   /* -1 outside the layers */
    int32_t out, in; /* a matrix [out, in]; in == 0: the weight and bias of a norm, [out] each */
    bool weight;     /* false: a norm without weights */
    bool bias;
} tl_weight_need;

typedef bool tl_weight_visitor(void *context, const tl_weight_need *need, tl_error *error);

/* Calls `visit` for every weight of a model of this spec, in the order of the forward pass; stops
 * at the first that returns false. A tied head is not visited. */
bool tl_model_visit(const tl_model_spec *spec, tl_weight_visitor *visit, void *context,
                    tl_error *error);

/* The version of the checkpoints that `tinyllm quantize` writes, under "tinyllm.format" in the
 * metadata. Their packed matrices are described there by name: "q8 [out, in]". */
#define TL_OWN_FORMAT "1"

/* Where a weight lies in a loaded model. */
tl_norm_weights *tl_model_norm(tl_model *model, const tl_weight_need *need);
tl_linear_weights *tl_model_linear(tl_model *model, const tl_weight_need *need);
tl_stack_weights *tl_model_stack(tl_model *model, tl_stack stack);

/* The dtype a matrix gets when `wanted` is asked for: position tables stay as stored, a row that is
 * no multiple of a block too, and q4 keeps the embedding and the head, where rounding shows most,
 * at q8. */
tl_dtype tl_weight_dtype(tl_weight_role role, int32_t in, tl_dtype wanted, tl_dtype stored);

/* The name a weight has in checkpoints of our own (tinyllm quantize): "decoder.3.q". */
void tl_weight_own_name(const tl_weight_need *need, char *name, size_t size);

#endif
