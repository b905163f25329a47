/* The program's own account of memory: what is held, what of it is resident, what a run will
 * need. */
#include "engine/internal.h"
#include "model/family.h"

#include <fcntl.h>
#include <unistd.h>

/* Bytes of the pages that begin in [data, data + bytes) and are in this process's resident set,
 * from /proc/self/pagemap (bit 63: present). All of them where that cannot be read. */
static size_t resident(int pagemap, const void *data, size_t bytes) {
    enum { BATCH = 4096 };
    static const uint64_t present = (uint64_t)1 << 63;
    uint64_t entries[BATCH];
    size_t page = (size_t)sysconf(_SC_PAGESIZE), found = 0;
    if (!data || !bytes) return 0;
    if (pagemap < 0) return bytes;
    size_t first = ((uintptr_t)data + page - 1) / page;
    size_t end = ((uintptr_t)data + bytes + page - 1) / page;
    while (first < end) {
        size_t count = end - first < BATCH ? end - first : BATCH;
        ssize_t got =
            pread(pagemap, entries, count * sizeof *entries, (off_t)(first * sizeof *entries));
        if (got <= 0) return bytes;
        count = (size_t)got / sizeof *entries;
        for (size_t i = 0; i < count; i++)
            found += (entries[i] & present) != 0;
        first += count;
    }
    return found * page;
}

static size_t region_resident(int pagemap, const tl_region *region) {
    if (region->owner) return 0;
    return resident(pagemap, region->data, region->bytes);
}

static size_t compute_resident(int pagemap, const tl_compute *compute) {
    const void *blocks[2];
    size_t bytes[2];
    tl_compute_blocks(compute, blocks, bytes);
    return resident(pagemap, blocks[0], bytes[0]) + resident(pagemap, blocks[1], bytes[1]);
}

static bool is_owned(const tl_model *model, const void *data) {
    for (const tl_block *block = model->blocks; block; block = block->next)
        if ((const char *)data >= (const char *)block->data &&
            (const char *)data < (const char *)block->data + block->bytes)
            return true;
    return false;
}

static size_t mapped_matrix(int pagemap, const tl_model *model, const tl_matrix *matrix) {
    if (!matrix->data || is_owned(model, matrix->data)) return 0;
    return resident(pagemap, matrix->data, matrix->bytes);
}

static size_t mapped_stack(int pagemap, const tl_model *model, const tl_stack_weights *stack) {
    size_t bytes = 0;
    for (int32_t i = 0; i < stack->n_layers; i++) {
        const tl_layer_weights *w = &stack->layers[i];
        const tl_linear_weights *all[] = {&w->self.q,  &w->self.k,  &w->self.v,  &w->self.o,
                                          &w->cross.q, &w->cross.k, &w->cross.v, &w->cross.o,
                                          &w->gate,    &w->up,      &w->down};
        for (size_t j = 0; j < sizeof all / sizeof *all; j++)
            bytes += mapped_matrix(pagemap, model, &all[j]->weight);
    }
    return bytes;
}

void tl_engine_memory(const tl_engine *e, tl_memory *memory) {
    const tl_model *m = e->model;
    int pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
    *memory = (tl_memory){0};
    memory->weights_mapped = mapped_matrix(pagemap, m, &m->embedding) +
                             mapped_matrix(pagemap, m, &m->position_embedding) +
                             mapped_matrix(pagemap, m, &m->project_in.weight) +
                             mapped_matrix(pagemap, m, &m->project_out.weight) +
                             mapped_stack(pagemap, m, &m->decoder) +
                             mapped_stack(pagemap, m, &m->encoder);
    if (m->head.weight.data != m->embedding.data)
        memory->weights_mapped += mapped_matrix(pagemap, m, &m->head.weight);
    memory->weights_owned = tl_arena_bytes(m->arena);
    for (const tl_block *block = m->blocks; block; block = block->next)
        memory->weights_owned += resident(pagemap, block->data, block->bytes);
    memory->kv =
        region_resident(pagemap, &e->store.region) + region_resident(pagemap, &e->cross.region);
    memory->activations = region_resident(pagemap, &e->rows) +
                          region_resident(pagemap, &e->indices) +
                          region_resident(pagemap, &e->keys);
    memory->scratch = region_resident(pagemap, &e->rotary) +
                      region_resident(pagemap, &e->relative) + region_resident(pagemap, &e->head) +
                      compute_resident(pagemap, e->compute) + tl_arena_bytes(e->arena);
    if (pagemap >= 0) close(pagemap);
    if (!e->table) return;
    tl_backend_facts facts = {0};
    e->table->facts(e->backend, &facts);
    memory->device = facts.allocated;
    memory->device_peak = facts.peak;
    memory->device_driver = facts.driver_used;
    memory->device_adopted = facts.adopted;
}

/* ---- before loading -------------------------------------------------------------------------- */

typedef struct forecast {
    tl_dtype stored, dtype;
    tl_memory *memory;
} forecast;

static bool add_need(void *context, const tl_weight_need *need, tl_error *error) {
    (void)error;
    const forecast *f = context;
    size_t vector = need->bias || need->in == 0 ? (size_t)need->out * sizeof(float) : 0;
    f->memory->weights_owned += vector;
    if (need->in == 0) return true;
    tl_dtype dtype = tl_weight_dtype(need->role, need->in, f->dtype, f->stored);
    size_t bytes = tl_matrix_bytes(dtype, need->out, need->in);
    if (dtype == f->stored)
        f->memory->weights_mapped += bytes;
    else
        f->memory->weights_owned += bytes;
    return true;
}

void tl_engine_predict_memory(const tl_model_spec *s, tl_dtype dtype, int32_t rows, int32_t length,
                              tl_memory *memory) {
    enum { KERNELS = 7 << 20 }; /* the kernels' scratch memory and the head's block */
    *memory = (tl_memory){0};
    forecast f = {s->stored, dtype, memory};
    tl_model_visit(s, add_need, &f, NULL);
    size_t kv = (size_t)s->kv_heads * (size_t)s->head_dim;
    size_t layers = (size_t)(s->encoder ? s->decoder_layers : s->layers);
    size_t longest = (size_t)(length > 0 ? length : 1), pass = (size_t)(rows > 0 ? rows : 512);
    if (s->encoder && longest > pass) pass = longest;
    bool whole = longest <= pass;
    memory->kv = (whole ? pass : layers * (longest + pass)) * kv * 2 * sizeof(float);
    if (s->encoder) memory->kv += layers * pass * kv * 2 * sizeof(float);
    memory->activations = pass * tl_pass_row_bytes(s);
    size_t table = s->position == TL_POSITION_ROTARY     ? (size_t)s->rotary_dim
                   : s->position == TL_POSITION_RELATIVE ? 4 * (size_t)s->heads
                                                         : 0;
    memory->scratch = KERNELS + longest * table * sizeof(float);
}
