/* Which weights a spec asks for: one list, walked for loading, counting and predicting. */
#include "model/family.h"

#include <stdio.h>

typedef struct walk {
    const tl_model_spec *spec;
    tl_weight_visitor *visit;
    void *context;
    tl_error *error;
    tl_stack stack;
    int32_t layer;
} walk;

static bool visit_matrix(const walk *w, tl_weight_role role, int32_t out, int32_t in, bool bias) {
    tl_weight_need need = {role, w->stack, w->layer, out, in, true, bias};
    return w->visit(w->context, &need, w->error);
}

static bool visit_norm(const walk *w, tl_weight_role role) {
    bool weight = !w->spec->norm_plain;
    tl_weight_need need = {
        role, w->stack, w->layer, w->spec->dim, 0, weight, weight && w->spec->norm_bias};
    return w->visit(w->context, &need, w->error);
}

static bool visit_attention(const walk *w, const tl_weight_role roles[5]) {
    const tl_model_spec *spec = w->spec;
    int32_t inner = spec->heads * spec->head_dim, kv = spec->kv_heads * spec->head_dim;
    return visit_norm(w, roles[0]) && visit_matrix(w, roles[1], inner, spec->dim, spec->qkv_bias) &&
           visit_matrix(w, roles[2], kv, spec->dim, spec->qkv_bias) &&
           visit_matrix(w, roles[3], kv, spec->dim, spec->qkv_bias) &&
           visit_matrix(w, roles[4], spec->dim, inner, spec->output_bias);
}

static bool visit_layer(const walk *w) {
    static const tl_weight_role self[] = {TL_ROLE_ATTENTION_NORM, TL_ROLE_Q, TL_ROLE_K, TL_ROLE_V,
                                          TL_ROLE_O};
    static const tl_weight_role cross[] = {TL_ROLE_CROSS_NORM, TL_ROLE_CROSS_Q, TL_ROLE_CROSS_K,
                                           TL_ROLE_CROSS_V, TL_ROLE_CROSS_O};
    const tl_model_spec *spec = w->spec;
    bool crossed = spec->encoder && w->stack == TL_STACK_DECODER;
    return visit_attention(w, self) && (!crossed || visit_attention(w, cross)) &&
           visit_norm(w, TL_ROLE_FFN_NORM) &&
           (!spec->gated ||
            visit_matrix(w, TL_ROLE_GATE, spec->ffn_dim, spec->dim, spec->ffn_bias)) &&
           visit_matrix(w, TL_ROLE_UP, spec->ffn_dim, spec->dim, spec->ffn_bias) &&
           visit_matrix(w, TL_ROLE_DOWN, spec->dim, spec->ffn_dim, spec->ffn_bias);
}

static bool visit_stack(walk *w, tl_stack stack, int32_t layers) {
    const tl_model_spec *spec = w->spec;
    w->stack = stack;
    w->layer = -1;
    if (spec->position == TL_POSITION_RELATIVE &&
        !visit_matrix(w, TL_ROLE_RELATIVE_BIAS, spec->relative_buckets, spec->heads, false))
        return false;
    for (w->layer = 0; w->layer < layers; w->layer++)
        if (!visit_layer(w)) return false;
    w->layer = -1;
    return !spec->final_norm || visit_norm(w, TL_ROLE_FINAL_NORM);
}

bool tl_model_visit(const tl_model_spec *spec, tl_weight_visitor *visit, void *context,
                    tl_error *error) {
    walk w = {spec, visit, context, error, TL_STACK_DECODER, -1};
    bool projected = spec->embed_dim != spec->dim;
    if (!visit_matrix(&w, TL_ROLE_EMBEDDING, spec->vocab, spec->embed_dim, false)) return false;
    if (spec->position == TL_POSITION_LEARNED &&
        !visit_matrix(&w, TL_ROLE_POSITIONS, spec->positions + spec->position_offset, spec->dim,
                      false))
        return false;
    if (spec->embed_norm && !visit_norm(&w, TL_ROLE_EMBED_NORM)) return false;
    if (projected && !visit_matrix(&w, TL_ROLE_PROJECT_IN, spec->dim, spec->embed_dim, false))
        return false;
    if (spec->encoder && !visit_stack(&w, TL_STACK_ENCODER, spec->layers)) return false;
    if (!visit_stack(&w, TL_STACK_DECODER, spec->encoder ? spec->decoder_layers : spec->layers))
        return false;
    if (projected && !visit_matrix(&w, TL_ROLE_PROJECT_OUT, spec->embed_dim, spec->dim, false))
        return false;
    return spec->tied_head || visit_matrix(&w, TL_ROLE_HEAD, spec->vocab, spec->embed_dim, false);
}

static bool count_need(void *context, const tl_weight_need *need, tl_error *error) {
    (void)error;
    int64_t *parameters = context;
    if (need->weight) *parameters += need->in ? (int64_t)need->out * need->in : need->out;
    if (need->bias) *parameters += need->out;
    return true;
}

int64_t tl_model_count_parameters(const tl_model_spec *spec) {
    int64_t parameters = 0;
    tl_model_visit(spec, count_need, &parameters, NULL);
    return parameters;
}

tl_dtype tl_weight_dtype(tl_weight_role role, int32_t in, tl_dtype wanted, tl_dtype stored) {
    bool sensitive = role == TL_ROLE_EMBEDDING || role == TL_ROLE_HEAD;
    if (stored == TL_Q8 || stored == TL_Q4) return sensitive ? TL_Q8 : stored;
    if (role == TL_ROLE_POSITIONS || in % (int32_t)tl_dtype_get(wanted)->block) return stored;
    return wanted == TL_Q4 && sensitive ? TL_Q8 : wanted;
}

void tl_weight_own_name(const tl_weight_need *need, char *name, size_t size) {
    static const char *const roles[] = {
        [TL_ROLE_EMBEDDING] = "embedding",
        [TL_ROLE_POSITIONS] = "positions",
        [TL_ROLE_EMBED_NORM] = "embed_norm",
        [TL_ROLE_PROJECT_IN] = "project_in",
        [TL_ROLE_PROJECT_OUT] = "project_out",
        [TL_ROLE_ATTENTION_NORM] = "attention_norm",
        [TL_ROLE_Q] = "q",
        [TL_ROLE_K] = "k",
        [TL_ROLE_V] = "v",
        [TL_ROLE_O] = "o",
        [TL_ROLE_CROSS_NORM] = "cross_norm",
        [TL_ROLE_CROSS_Q] = "cross_q",
        [TL_ROLE_CROSS_K] = "cross_k",
        [TL_ROLE_CROSS_V] = "cross_v",
        [TL_ROLE_CROSS_O] = "cross_o",
        [TL_ROLE_FFN_NORM] = "ffn_norm",
        [TL_ROLE_GATE] = "gate",
        [TL_ROLE_UP] = "up",
        [TL_ROLE_DOWN] = "down",
        [TL_ROLE_RELATIVE_BIAS] = "relative_bias",
        [TL_ROLE_FINAL_NORM] = "final_norm",
        [TL_ROLE_HEAD] = "head",
        [TL_ROLE_QKV] = "qkv",
    };
    const char *stack = need->stack == TL_STACK_ENCODER ? "encoder" : "decoder";
    if (need->layer >= 0)
        snprintf(name, size, "%s.%d.%s", stack, need->layer, roles[need->role]);
    else
        snprintf(name, size, "%s.%s", stack, roles[need->role]);
}
