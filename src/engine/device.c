/* What an engine does differently on a device: the model's twin there, and the sending of indices.
 */
#include "engine/internal.h"
#include "model/family.h"

#include <string.h>

enum { ALIGNMENT = 256 };

/* A model whose weights lie on the device. */
typedef struct tl_twin {
    tl_model model;
    tl_arena *arena;
    tl_region weights;
    size_t used;
    tl_engine *engine;
    bool counting; /* only how many bytes are needed */
} tl_twin;

/* ---- weights --------------------------------------------------------------------------------- */

/* Takes room for `bytes` on the device: its address, NULL while counting. */
static char *take(tl_twin *t, size_t bytes) {
    size_t begin = (t->used + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    t->used = begin + bytes;
    return t->counting ? NULL : (char *)t->weights.data + begin;
}

static bool place_floats(tl_twin *t, const float *from, int32_t count, const float **to,
                         tl_error *error) {
    const tl_engine *e = t->engine;
    if (!from) return true;
    size_t bytes = sizeof *from * (size_t)count;
    char *at = take(t, bytes);
    if (t->counting) return true;
    *to = (const float *)at;
    return e->table->upload(e->backend, at, from, bytes, error);
}

/* Rows one after the other, whatever their stride in the file. */
static bool upload_rows(const tl_engine *e, char *to, const tl_matrix *from, size_t element,
                        tl_error *error) {
    size_t row = element * (size_t)from->in, step = element * (size_t)from->stride;
    if (row == step)
        return e->table->upload(e->backend, to, from->data, row * (size_t)from->out, error);
    for (size_t o = 0; o < (size_t)from->out; o++)
        if (!e->table->upload(e->backend, to + o * row, (const char *)from->data + o * step, row,
                              error))
            return false;
    return true;
}

static bool place_matrix(tl_twin *t, const tl_matrix *from, tl_matrix *to, tl_error *error) {
    const tl_engine *e = t->engine;
    if (!from->data) return true;
    if (!e->table->multiplies(e->backend, from->dtype))
        return tl_fail(error, TL_ERROR_UNSUPPORTED,
                       "weights of type %s: the %s backend multiplies f32, f16 and bf16 (choose "
                       "one with --dtype, or --device cpu)",
                       tl_dtype_get(from->dtype)->name, e->table->name);
    size_t element = tl_dtype_get(from->dtype)->block_bytes, row = element * (size_t)from->in;
    size_t spanned = element * (size_t)from->stride * (size_t)(from->out - 1) + row;
    const void *adopted = e->table->adopt(e->backend, from->data, spanned);
    if (adopted) {
        to->data = adopted;
        return true;
    }
    char *at = take(t, row * (size_t)from->out);
    if (t->counting) return true;
    to->data = at;
    to->stride = from->in;
    to->bytes = row * (size_t)from->out;
    return upload_rows(e, at, from, element, error);
}

static bool place_need(void *context, const tl_weight_need *need, tl_error *error) {
    tl_twin *t = context;
    tl_model *source = (tl_model *)t->engine->model;
    if (need->role == TL_ROLE_RELATIVE_BIAS) return true; /* a table is made of it */
    if (need->role == TL_ROLE_EMBEDDING)
        return place_matrix(t, &source->embedding, &t->model.embedding, error);
    if (need->role == TL_ROLE_POSITIONS)
        return place_matrix(t, &source->position_embedding, &t->model.position_embedding, error);
    if (need->in == 0) {
        const tl_norm_weights *from = tl_model_norm(source, need);
        tl_norm_weights *to = tl_model_norm(&t->model, need);
        return place_floats(t, from->weight, need->out, &to->weight, error) &&
               place_floats(t, from->bias, need->out, &to->bias, error);
    }
    const tl_linear_weights *from = tl_model_linear(source, need);
    tl_linear_weights *to = tl_model_linear(&t->model, need);
    return place_matrix(t, &from->weight, &to->weight, error) &&
           place_floats(t, from->bias, need->out, &to->bias, error);
}

static bool copy_layers(tl_twin *t, const tl_stack_weights *from, tl_stack_weights *to,
                        tl_error *error) {
    if (!from->n_layers) return true;
    to->layers = tl_arena_alloc(t->arena, (size_t)from->n_layers, sizeof *to->layers,
                                "the layers' table", error);
    if (to->layers) memcpy(to->layers, from->layers, (size_t)from->n_layers * sizeof *to->layers);
    return to->layers != NULL;
}

static bool fill(tl_twin *t, tl_error *error) {
    const tl_model *m = t->engine->model;
    t->counting = true;
    if (!tl_model_visit(&m->spec, place_need, t, error) ||
        !tl_region_reserve(&t->weights, t->used, "the weights", error))
        return false;
    t->counting = false;
    t->used = 0;
    if (!tl_model_visit(&m->spec, place_need, t, error)) return false;
    if (m->spec.tied_head) t->model.head.weight = t->model.embedding;
    /* The files' pages are not needed here any more. */
    tl_backend_facts facts = {0};
    t->engine->table->facts(t->engine->backend, &facts);
    for (size_t i = 0; m->checkpoint && !facts.adopted && i < tl_checkpoint_count(m->checkpoint);
         i++)
        tl_tensor_release(tl_checkpoint_at(m->checkpoint, i));
    return true;
}

bool tl_twin_new(tl_engine *e, tl_error *error) {
    e->weights = e->model;
    e->table = tl_compute_table(e->compute);
    if (!e->table) return true;
    e->backend = tl_compute_backend(e->compute);
    tl_region *there[] = {&e->rows,        &e->store.region,     &e->cross.region,  &e->head,
                          &e->rotary_twin, &e->call_rotary_twin, &e->relative_twin, &e->alibi_twin};
    for (size_t i = 0; i < sizeof there / sizeof *there; i++)
        there[i]->owner = e->compute;
    tl_arena *arena = tl_arena_new();
    tl_twin *t = arena ? tl_arena_alloc(arena, 1, sizeof *t, "the weights' table", error) : NULL;
    if (!t) {
        tl_arena_free(arena);
        return tl_fail_memory(error, sizeof *t, "the weights' table");
    }
    *t = (tl_twin){.model = *e->model, .arena = arena, .engine = e};
    t->weights.owner = e->compute;
    e->twin = t;
    e->weights = &t->model;
    return copy_layers(t, &e->model->decoder, &t->model.decoder, error) &&
           copy_layers(t, &e->model->encoder, &t->model.encoder, error) && fill(t, error);
}

void tl_twin_free(tl_engine *e) {
    if (!e->twin) return;
    tl_region_free(&e->twin->weights);
    tl_arena_free(e->twin->arena);
    e->twin = NULL;
}

/* ---- tables ---------------------------------------------------------------------------------- */

bool tl_twin_table(tl_engine *e, const tl_region *source, tl_region *twin, const void **at,
                   tl_error *error) {
    *at = source->data;
    if (!e->table) return true;
    if (!tl_region_reserve(twin, source->bytes, "the tables of positions", error)) return false;
    *at = twin->data;
    return e->table->upload(e->backend, twin->data, source->data, source->bytes, error);
}

/* ---- passes ---------------------------------------------------------------------------------- */

int32_t tl_pass_most_rows(const tl_engine *e) {
    int32_t capacity = e->pass.capacity;
    return e->table ? e->table->round_rows(e->backend, capacity) : capacity;
}

/* Fills up `array` from `count` to `launched` rows. */
static void pad(int32_t *array, int32_t count, int32_t launched, int32_t value) {
    for (int32_t i = count; i < launched; i++)
        array[i] = value;
}

/* Rows that make the number up to one the device likes: they compute something and store nothing.
 */
static void pad_pass(const tl_engine *e, tl_pass *pass) {
    pass->launched = e->table->round_rows(e->backend, pass->rows);
    pass->last_launched = pass->n_wanted ? e->table->round_rows(e->backend, pass->n_wanted) : 0;
    if (!pass->narrow) pass->last_launched = pass->launched;
    pad(pass->tokens, pass->rows, pass->launched, 0);
    pad(pass->slots, pass->rows, pass->launched, -1);
    pad(pass->table_rows, pass->rows, pass->launched, 0);
    pad(pass->learned_rows, pass->rows, pass->launched, 0);
    pad(pass->last_table_rows, pass->n_wanted, pass->last_launched, 0);
    pad(pass->wanted, pass->n_wanted, pass->last_launched, 0);
}

bool tl_pass_begin_on_device(tl_engine *e) {
    const tl_model_spec *s = &e->model->spec;
    tl_pass *pass = &e->pass;
    pad_pass(e, pass);
    bool crossed = s->encoder && !pass->encoder;
    int32_t capacity = tl_pass_most_rows(e);
    size_t rows = (size_t)pass->launched, last = (size_t)pass->last_launched;
    size_t most = (size_t)capacity;
    tl_backend_pass sent = {
        .shape = {pass->launched, pass->last_launched,
                  pass->encoder | pass->one_layer << 1 | pass->narrow << 2 |
                      (pass->n_wanted > 0) << 3,
                  e->row_capacity, e->store.slots, e->cross.slots, e->relative_length,
                  e->rotary_positions},
        .heads = s->heads,
        .kv_heads = s->kv_heads,
        .head_dim = s->head_dim,
        .indices = {{pass->tokens, rows, most},
                    {pass->slots, rows, most},
                    {pass->table_rows, rows, most},
                    {pass->learned_rows, rows, most},
                    {pass->last_table_rows, pass->narrow ? last : 0, most},
                    {pass->wanted, pass->narrow ? last : 0, most},
                    {pass->count_up, most, most}},
        .keys = {pass->keys, pass->n_keys, pass->keys_capacity},
        .spans = {{pass->spans, pass->n_spans, !pass->encoder},
                  {pass->cross_spans, crossed ? pass->n_spans : 0, false},
                  {pass->last_spans, pass->n_last_spans, true},
                  {pass->last_cross, crossed ? pass->n_last_spans : 0, false}},
    };
    bool played = false;
    return !e->table->begin(e->backend, &sent, &played, &e->failure) || played;
}

void tl_pass_end_on_device(tl_engine *e) {
    e->table->end(e->backend, &e->failure);
}

bool tl_engine_settle(tl_engine *e, tl_error *error) {
    if (e->failure.code == TL_OK) return true;
    if (error) *error = e->failure;
    e->failure.code = TL_OK;
    return false;
}

double tl_engine_clock_start(tl_engine *e) {
    if (!e->table) return tl_clock_monotonic();
    e->table->timer_start(e->backend);
    return 0;
}

double tl_engine_clock_stop(tl_engine *e, double started) {
    return e->table ? e->table->timer_stop(e->backend) : tl_clock_monotonic() - started;
}
