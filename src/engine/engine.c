/* An engine: a model with the threads, kernels and memory it runs in. */
#include "engine/internal.h"

#include <stdlib.h>

/* Rows of a pass where nothing else is asked for: enough for the products to run at full speed, few
 * enough for the activations to stay small; 1024 gained nothing (docs/performance.md). */
enum { PASS_ROWS = 512, MOST_PASS_ROWS = 1 << 16 };

tl_engine *tl_engine_new(const tl_model *model, const tl_engine_options *options, tl_error *error) {
    static const tl_engine_options defaults = {0};
    if (!options) options = &defaults;
    if (options->pass_rows < 0 || options->pass_rows > MOST_PASS_ROWS) {
        tl_fail(error, TL_ERROR_USAGE, "passes of %d rows: expected 1 to %d", options->pass_rows,
                MOST_PASS_ROWS);
        return NULL;
    }
    tl_engine *e = calloc(1, sizeof *e);
    if (!e) {
        tl_fail_memory(error, sizeof *e, "an engine");
        return NULL;
    }
    e->model = model;
    e->pass_rows = options->pass_rows ? options->pass_rows : PASS_ROWS;
    if ((e->arena = tl_arena_new()) == NULL)
        tl_fail_memory(error, 0, "an engine");
    else if ((e->pool = tl_pool_new(options->threads, error)) &&
             (e->compute = tl_compute_open(e->pool, options->precision, options->device, error)) &&
             tl_twin_new(e, error) && tl_tables_new(e, error))
        return e;
    tl_engine_free(e);
    return NULL;
}

void tl_engine_free(tl_engine *e) {
    if (!e) return;
    tl_region *regions[] = {&e->rows,
                            &e->indices,
                            &e->keys,
                            &e->store.region,
                            &e->cross.region,
                            &e->rotary,
                            &e->call_rotary,
                            &e->relative,
                            &e->alibi,
                            &e->rotary_twin,
                            &e->call_rotary_twin,
                            &e->relative_twin,
                            &e->alibi_twin,
                            &e->head};
    for (size_t i = 0; i < sizeof regions / sizeof *regions; i++)
        tl_region_free(regions[i]);
    tl_twin_free(e);
    tl_compute_free(e->compute);
    tl_pool_free(e->pool);
    tl_arena_free(e->arena);
    free(e);
}

const tl_model *tl_engine_model(const tl_engine *engine) {
    return engine->model;
}

tl_compute *tl_engine_compute(const tl_engine *engine) {
    return engine->compute;
}

int tl_engine_threads(const tl_engine *engine) {
    return tl_pool_threads(engine->pool);
}

int32_t tl_engine_pass_rows(const tl_engine *engine) {
    return engine->pass_rows;
}
