/* One forward pass for every family: rows through the layers of a stack, as the spec says. */
#include "engine/internal.h"

#include <string.h>

/* ---- memory ---------------------------------------------------------------------------------- */

/* Takes `count` floats per row from `*at`. */
static float *carve(char **at, size_t rows, int64_t width) {
    float *part = (float *)*at;
    *at += (rows * (size_t)width * sizeof(float) + 63) / 64 * 64;
    return part;
}

static int64_t larger(int64_t a, int64_t b) {
    return a > b ? a : b;
}

size_t tl_pass_row_bytes(const tl_model_spec *s) {
    int64_t inner = (int64_t)s->heads * s->head_dim, kv = (int64_t)s->kv_heads * s->head_dim;
    int64_t wide = larger(s->dim, s->embed_dim);
    return (size_t)(s->dim + 2 * wide + 2 * inner + 2 * kv + s->ffn_dim) * sizeof(float);
}

static bool reserve_rows(tl_engine *e, int32_t rows, tl_error *error) {
    const tl_model_spec *s = &e->model->spec;
    int64_t inner = (int64_t)s->heads * s->head_dim, kv = (int64_t)s->kv_heads * s->head_dim;
    int64_t wide = larger(s->dim, s->embed_dim);
    int32_t launched = e->table ? e->table->round_rows(e->backend, rows) : rows;
    size_t count = (size_t)launched;
    if (rows <= e->row_capacity) return true;
    if (!tl_tables_reserve_calls(e, launched, error) ||
        !tl_region_reserve(&e->rows, count * tl_pass_row_bytes(s) + 10 * 64, "the activations",
                           error))
        return false;
    char *at = e->rows.data;
    e->x = carve(&at, count, s->dim);
    e->normed = carve(&at, count, wide);
    e->hidden = carve(&at, count, wide);
    e->q = carve(&at, count, inner);
    e->mixed = carve(&at, count, inner);
    e->k = carve(&at, count, kv);
    e->v = carve(&at, count, kv);
    e->ffn = carve(&at, count, s->ffn_dim);
    size_t per_row = 9 * sizeof(int32_t) + 4 * sizeof(tl_attention_span);
    if (!tl_region_reserve(&e->indices, count * per_row, "the pass", error)) return false;
    tl_pass *pass = &e->pass;
    pass->spans = e->indices.data;
    pass->last_spans = pass->spans + launched;
    pass->cross_spans = pass->last_spans + launched;
    pass->last_cross = pass->cross_spans + launched;
    pass->tokens = (int32_t *)(pass->last_cross + launched);
    pass->positions = pass->tokens + launched;
    pass->slots = pass->positions + launched;
    pass->call_lengths = pass->slots + launched;
    pass->table_rows = pass->call_lengths + launched;
    pass->learned_rows = pass->table_rows + launched;
    pass->last_table_rows = pass->learned_rows + launched;
    pass->wanted = pass->last_table_rows + launched;
    pass->count_up = pass->wanted + launched;
    for (int32_t i = 0; i < launched; i++)
        pass->count_up[i] = i;
    pass->capacity = e->row_capacity = rows;
    return true;
}

bool tl_forward_reserve(tl_engine *e, int32_t rows, int32_t length, tl_error *error) {
    enum { KEYS = 1 << 16 };
    const tl_model_spec *s = &e->model->spec;
    int64_t inner = (int64_t)s->heads * s->head_dim;
    int64_t widest = larger(larger(s->dim, s->embed_dim), larger(s->ffn_dim, inner));
    size_t keys = (size_t)larger(KEYS, (int64_t)length + rows);
    if (!reserve_rows(e, rows, error) ||
        !tl_region_reserve(&e->keys, keys * sizeof(int32_t), "the pass", error))
        return false;
    e->pass.keys = e->keys.data;
    e->pass.keys_capacity = e->keys.bytes / sizeof(int32_t);
    tl_backend_needs needs = {rows, (int32_t)widest, length, s->heads, s->head_dim};
    return tl_tables_reserve(e, length, error) && tl_head_reserve(e, error) &&
           (e->table ? e->table->reserve(e->backend, &needs, error)
                     : tl_compute_reserve(e->compute, rows, (int32_t)widest, length, error));
}

/* ---- filling a pass -------------------------------------------------------------------------- */

void tl_pass_begin(tl_engine *e, bool encoder) {
    tl_pass *pass = &e->pass;
    pass->encoder = encoder;
    pass->rows = pass->n_spans = pass->n_wanted = 0;
    pass->n_keys = 0;
    pass->one_layer = false;
}

bool tl_pass_has_room(const tl_engine *e, int32_t keys) {
    const tl_pass *pass = &e->pass;
    return pass->rows < pass->capacity && pass->n_keys + (size_t)keys <= pass->keys_capacity;
}

int32_t tl_pass_add(tl_engine *e, const int32_t *tokens, int32_t count, int32_t position,
                    const int32_t *path_slots, int32_t call_length) {
    tl_pass *pass = &e->pass;
    int32_t first = pass->rows, seen = position + count;
    memcpy(pass->tokens + first, tokens, (size_t)count * sizeof *tokens);
    memcpy(pass->keys + pass->n_keys, path_slots, (size_t)seen * sizeof *path_slots);
    memcpy(pass->slots + first, path_slots + position, (size_t)count * sizeof *path_slots);
    for (int32_t i = 0; i < count; i++) {
        pass->positions[first + i] = position + i;
        pass->call_lengths[first + i] = call_length;
    }
    pass->cross_spans[pass->n_spans] = (tl_attention_span){0};
    pass->spans[pass->n_spans++] =
        (tl_attention_span){pass->keys + pass->n_keys, seen, first, count, position};
    pass->n_keys += (size_t)seen;
    pass->rows += count;
    return first;
}

void tl_pass_cross(tl_engine *e, const int32_t *slots, int32_t count) {
    tl_pass *pass = &e->pass;
    tl_attention_span span = pass->spans[pass->n_spans - 1];
    span.slots = e->table ? pass->count_up + slots[0] : slots; /* where a device will find them */
    span.keys = count;
    pass->cross_spans[pass->n_spans - 1] = span;
}

/* ---- pieces of a layer ----------------------------------------------------------------------- */

/* Which rows a step works on, and what they see. */
typedef struct stage {
    const tl_stack_weights *stack;
    int32_t layer;
    int32_t rows;
    const int32_t *table_rows;
    const tl_attention_span *spans, *cross_spans;
    int32_t n_spans;
} stage;

static void norm(const tl_engine *e, const tl_norm_weights *weights, const float *x, int32_t rows,
                 float *y) {
    const tl_model_spec *s = &e->model->spec;
    if (s->norm == TL_NORM_RMS)
        tl_rms_norm(e->compute, x, s->dim, rows, s->dim, weights->weight, s->norm_eps, y, s->dim);
    else
        tl_layer_norm(e->compute, x, s->dim, rows, s->dim, weights->weight, weights->bias,
                      s->norm_eps, y, s->dim);
}

static tl_linear linear(const tl_linear_weights *weights, const float *x, int32_t rows, float *y) {
    return (tl_linear){.x = x,
                       .x_stride = weights->weight.in,
                       .rows = rows,
                       .weight = &weights->weight,
                       .bias = weights->bias,
                       .y = y,
                       .y_stride = weights->weight.out};
}

/* y += W x, in place. */
static void add_linear(const tl_engine *e, const tl_linear_weights *weights, const float *x,
                       int32_t rows, float *y) {
    tl_linear op = linear(weights, x, rows, y);
    op.residual = y;
    op.residual_stride = op.y_stride;
    tl_linear_run(e->compute, &op);
}

static void rotate(const tl_engine *e, float *x, int32_t rows, int32_t heads,
                   const int32_t *table_rows) {
    const tl_model_spec *s = &e->model->spec;
    if (s->position != TL_POSITION_ROTARY || s->rotary_dim == 0) return;
    tl_rotate(e->compute, x, (int64_t)heads * s->head_dim, rows, heads, s->head_dim,
              s->rotary_dim / 2, e->turn_cosines, e->turn_sines, table_rows);
}

/* Then keys and values are computed where they are stored. A device's recorded passes must not
 * depend on where that is. */
static bool slots_in_a_row(const tl_engine *e) {
    const tl_pass *pass = &e->pass;
    if (e->table) return false;
    for (int32_t i = 1; i < pass->rows; i++)
        if (pass->slots[i] != pass->slots[0] + i) return false;
    return true;
}

/* The store's keys (or values) as this layer sees them. */
static float *layer_of(const tl_kv *store, float *base, const tl_pass *pass, int32_t layer) {
    return pass->one_layer ? base : base + (int64_t)layer * store->slots * store->width;
}

/* Keys and values of all rows into the store; with `with_queries`, the queries in the same go. */
static void project(tl_engine *e, const stage *g, const float *x, bool with_queries) {
    const tl_attention_weights *w = &g->stack->layers[g->layer].self;
    const tl_model_spec *s = &e->model->spec;
    const tl_pass *pass = &e->pass;
    tl_kv *store = &e->store;
    float *keys = layer_of(store, store->k, pass, g->layer);
    float *values = layer_of(store, store->v, pass, g->layer);
    bool direct = slots_in_a_row(e);
    float *k = direct ? keys + pass->slots[0] * store->width : e->k;
    float *v = direct ? values + pass->slots[0] * store->width : e->v;
    tl_linear ops[] = {linear(&w->k, x, g->rows, k), linear(&w->v, x, g->rows, v),
                       linear(&w->q, x, g->rows, e->q)};
    tl_linear_run_many(e->compute, ops, with_queries ? 3 : 2);
    rotate(e, k, g->rows, s->kv_heads, g->table_rows);
    if (with_queries) rotate(e, e->q, g->rows, s->heads, g->table_rows);
    if (direct) return;
    tl_scatter_rows(e->compute, k, store->width, g->rows, (int32_t)store->width, pass->slots, keys,
                    store->width);
    tl_scatter_rows(e->compute, v, store->width, g->rows, (int32_t)store->width, pass->slots,
                    values, store->width);
}

static void attend(tl_engine *e, const stage *g) {
    const tl_model_spec *s = &e->model->spec;
    const tl_kv *store = &e->store;
    int64_t inner = (int64_t)s->heads * s->head_dim;
    bool relative = s->position == TL_POSITION_RELATIVE, encoder = e->pass.encoder;
    tl_attention op = {
        .q = e->q,
        .q_stride = inner,
        .k = layer_of(store, store->k, &e->pass, g->layer),
        .v = layer_of(store, store->v, &e->pass, g->layer),
        .kv_stride = store->width,
        .out = e->mixed,
        .out_stride = inner,
        .heads = s->heads,
        .kv_heads = s->kv_heads,
        .head_dim = s->head_dim,
        .scale =
            s->scale_by_layer ? s->attention_scale / (float)(g->layer + 1) : s->attention_scale,
        .causal = !encoder,
        .window = s->window_layers[g->layer / 64] >> (g->layer % 64) & 1 ? s->window : 0,
        .alibi_slopes = e->alibi_slopes,
        .relative_bias = !relative ? NULL
                         : encoder ? e->relative_encoder
                                   : e->relative_decoder,
        .relative_stride = 2 * (int64_t)e->relative_length - 1,
        .relative_center = e->relative_length - 1,
        .spans = g->spans,
        .n_spans = g->n_spans,
    };
    tl_attention_run(e->compute, &op);
}

/* Cross-attention to the encoder's rows, added to x. */
static void cross_attend(tl_engine *e, const stage *g) {
    const tl_model_spec *s = &e->model->spec;
    const tl_attention_weights *w = &g->stack->layers[g->layer].cross;
    const tl_kv *store = &e->cross;
    int64_t inner = (int64_t)s->heads * s->head_dim;
    norm(e, &w->norm, e->x, g->rows, e->normed);
    tl_linear queries = linear(&w->q, e->normed, g->rows, e->q);
    tl_linear_run(e->compute, &queries);
    tl_attention op = {
        .q = e->q,
        .q_stride = inner,
        .k = store->k + (int64_t)g->layer * store->slots * store->width,
        .v = store->v + (int64_t)g->layer * store->slots * store->width,
        .kv_stride = store->width,
        .out = e->mixed,
        .out_stride = inner,
        .heads = s->heads,
        .kv_heads = s->kv_heads,
        .head_dim = s->head_dim,
        .scale = s->attention_scale,
        .spans = g->cross_spans,
        .n_spans = g->n_spans,
    };
    tl_attention_run(e->compute, &op);
    add_linear(e, &w->o, e->mixed, g->rows, e->x);
}

static void feed_forward(tl_engine *e, const stage *g, const float *input) {
    const tl_layer_weights *w = &g->stack->layers[g->layer];
    const tl_model_spec *s = &e->model->spec;
    tl_linear op = linear(s->gated ? &w->gate : &w->up, input, g->rows, e->ffn);
    op.activation = s->activation;
    if (s->gated) {
        op.gate_weight = &w->up.weight;
        op.gate_bias = w->up.bias;
    }
    tl_linear_run(e->compute, &op);
    add_linear(e, &w->down, e->ffn, g->rows, e->x);
}

/* ---- the last layer -------------------------------------------------------------------------- */

/* In the last layer only the wanted rows ask on; the spans are cut down to them. */
static void narrow_spans(tl_pass *pass) {
    int32_t at = 0, made = 0;
    for (int32_t i = 0; i < pass->n_spans; i++) {
        const tl_attention_span *span = &pass->spans[i];
        int32_t end = span->first_row + span->queries;
        while (at < pass->n_wanted && pass->wanted[at] < end) {
            int32_t first = at, row = pass->wanted[at];
            do
                at++;
            while (at < pass->n_wanted && pass->wanted[at] < end &&
                   pass->wanted[at] == pass->wanted[at - 1] + 1);
            int32_t offset = row - span->first_row, queries = at - first;
            tl_attention_span cross = pass->cross_spans[i];
            cross.first_row = first;
            cross.queries = queries;
            cross.first_position = span->first_position + offset;
            pass->last_spans[made] = (tl_attention_span){
                span->slots, cross.first_position + queries, first, queries, cross.first_position};
            pass->last_cross[made++] = cross;
        }
    }
    for (int32_t i = 0; i < pass->n_wanted; i++)
        pass->last_table_rows[i] = pass->table_rows[pass->wanted[i]];
    pass->n_last_spans = made;
}

static void narrow_stage(const tl_pass *pass, stage *g) {
    g->rows = pass->last_launched;
    g->table_rows = pass->last_table_rows;
    g->spans = pass->last_spans;
    g->cross_spans = pass->last_cross;
    g->n_spans = pass->n_last_spans;
}

/* ---- layers ---------------------------------------------------------------------------------- */

static void run_layer(tl_engine *e, stage *g) {
    const tl_model_spec *s = &e->model->spec;
    const tl_layer_weights *w = &g->stack->layers[g->layer];
    const tl_pass *pass = &e->pass;
    bool narrow = pass->narrow && g->layer + 1 == g->stack->n_layers;
    float *input = e->x;
    if (!s->norm_after) {
        input = s->norm_replaces ? e->x : e->normed;
        norm(e, &w->self.norm, e->x, g->rows, input);
    }
    project(e, g, input, !narrow);
    if (narrow) {
        if (pass->n_wanted == 0) return;
        narrow_stage(pass, g);
        tl_keep_rows(e->compute, e->x, s->dim, s->dim, pass->wanted, g->rows);
        if (input != e->x) tl_keep_rows(e->compute, input, s->dim, s->dim, pass->wanted, g->rows);
        tl_linear queries = linear(&w->self.q, input, g->rows, e->q);
        tl_linear_run(e->compute, &queries);
        rotate(e, e->q, g->rows, s->heads, g->table_rows);
    }
    attend(e, g);
    if (s->parallel_residual) {
        norm(e, &w->ffn_norm, e->x, g->rows, e->normed);
        add_linear(e, &w->self.o, e->mixed, g->rows, e->x);
        feed_forward(e, g, e->normed);
        return;
    }
    add_linear(e, &w->self.o, e->mixed, g->rows, e->x);
    if (s->norm_after) {
        norm(e, &w->self.norm, e->x, g->rows, e->x);
        feed_forward(e, g, e->x);
        norm(e, &w->ffn_norm, e->x, g->rows, e->x);
        return;
    }
    if (w->cross.q.weight.data) cross_attend(e, g);
    input = s->norm_replaces ? e->x : e->normed;
    norm(e, &w->ffn_norm, e->x, g->rows, input);
    feed_forward(e, g, input);
}

/* ---- the pass -------------------------------------------------------------------------------- */

/* The rows of tables, and what the last layer is cut down to. */
static bool prepare(tl_engine *e, tl_error *error) {
    const tl_model_spec *s = &e->model->spec;
    tl_pass *pass = &e->pass;
    pass->launched = pass->rows;
    pass->last_launched = pass->n_wanted;
    pass->narrow = !pass->encoder && pass->n_wanted < pass->rows;
    pass->n_last_spans = 0;
    for (int32_t i = 0; i < pass->rows; i++) {
        pass->table_rows[i] = s->rope_int8 ? i : pass->positions[i];
        pass->learned_rows[i] = pass->positions[i] + s->position_offset;
    }
    if (pass->narrow) narrow_spans(pass);
    return !s->rope_int8 || tl_tables_for_calls(e, error);
}

static void embed(tl_engine *e, int32_t rows) {
    const tl_model *m = e->weights;
    const tl_model_spec *s = &m->spec;
    const tl_pass *pass = &e->pass;
    bool projected = m->project_in.weight.data != NULL;
    float *embedded = projected ? e->normed : e->x;
    tl_embed(e->compute, &m->embedding, pass->tokens, rows, s->embed_scale, embedded, s->embed_dim);
    if (projected) {
        tl_linear op = linear(&m->project_in, embedded, rows, e->x);
        tl_linear_run(e->compute, &op);
    }
    if (s->position == TL_POSITION_LEARNED) {
        tl_embed(e->compute, &m->position_embedding, pass->learned_rows, rows, 1, e->normed,
                 s->dim);
        tl_add_rows(e->compute, e->normed, s->dim, rows, s->dim, e->x, s->dim);
    }
    if (s->embed_norm) norm(e, &m->embed_norm, e->x, rows, e->x);
}

/* The encoder's last norm, then the keys and values of every decoder layer's cross-attention. */
static void finish_encoder(tl_engine *e, int32_t rows) {
    const tl_model *m = e->weights;
    tl_kv *store = &e->cross;
    norm(e, &m->encoder.final_norm, e->x, rows, e->normed);
    for (int32_t layer = 0; layer < m->decoder.n_layers; layer++) {
        const tl_attention_weights *w = &m->decoder.layers[layer].cross;
        int64_t base = (int64_t)layer * store->slots * store->width;
        tl_linear ops[] = {linear(&w->k, e->normed, rows, store->k + base),
                           linear(&w->v, e->normed, rows, store->v + base)};
        tl_linear_run_many(e->compute, ops, 2);
    }
}

static void finish_decoder(tl_engine *e, int32_t rows) {
    const tl_model *m = e->weights;
    const tl_model_spec *s = &m->spec;
    bool projected = m->project_out.weight.data != NULL;
    float *final = projected ? e->normed : e->hidden;
    if (s->final_norm)
        norm(e, &m->decoder.final_norm, e->x, rows, final);
    else
        tl_scale_rows(e->compute, e->x, s->dim, rows, s->dim, 1, final, s->dim);
    if (projected) {
        tl_linear op = linear(&m->project_out, final, rows, e->hidden);
        tl_linear_run(e->compute, &op);
    }
    if (s->head_scale != 1)
        tl_scale_rows(e->compute, e->hidden, s->embed_dim, rows, s->embed_dim, s->head_scale,
                      e->hidden, s->embed_dim);
}

static void run_layers(tl_engine *e) {
    const tl_model *m = e->weights;
    const tl_pass *pass = &e->pass;
    stage g = {.stack = pass->encoder ? &m->encoder : &m->decoder,
               .rows = pass->launched,
               .table_rows = pass->table_rows,
               .spans = pass->spans,
               .cross_spans = pass->cross_spans,
               .n_spans = pass->n_spans};
    embed(e, g.rows);
    for (; g.layer < g.stack->n_layers; g.layer++)
        run_layer(e, &g);
    if (pass->encoder)
        finish_encoder(e, g.rows);
    else if (pass->n_wanted)
        finish_decoder(e, g.rows);
}

void tl_pass_run(tl_engine *e) {
    if (e->pass.rows == 0 || e->failure.code) return;
    if (!prepare(e, &e->failure) || (e->table && tl_pass_begin_on_device(e))) return;
    run_layers(e);
    if (e->table) tl_pass_end_on_device(e);
}
