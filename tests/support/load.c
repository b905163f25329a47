#include "support/load.h"

#include "support/fixture.h"
#include "support/support.h"

tl_model *test_load_model(const char *directory, const tl_model_options *options) {
    tl_error error = {0};
    tl_pool *pool = tl_pool_new(1, &error);
    tl_compute *compute = tl_compute_new(pool, TL_EXACT, &error);
    assert_ok(compute != NULL, error);
    tl_model *model = tl_model_load(directory, options, compute, &error);
    assert_ok(model != NULL, error);
    tl_compute_free(compute);
    tl_pool_free(pool);
    return model;
}

tl_model *test_small_model(const char *family, tl_dtype dtype) {
    fixture_model made = fixture_small;
    made.family = family;
    made.positions = 96;
    const char *directory = test_scratch_path("%s", family);
    fixture_checkpoint(directory, &made);
    return test_load_model(directory, &(tl_model_options){.convert = true, .dtype = dtype});
}

tl_engine *test_open_engine(const tl_model *model, const tl_engine_options *options) {
    tl_error error = {0};
    tl_engine *engine = tl_engine_new(model, options, &error);
    assert_ok(engine != NULL, error);
    return engine;
}
