/* Models and engines as tests want them: what does not open fails the test. */
#ifndef TESTS_LOAD_H
#define TESTS_LOAD_H

#include "engine/engine.h"

/* `options` may be NULL. The caller unloads it. */
tl_model *test_load_model(const char *directory, const tl_model_options *options);

/* fixture_small of a family, for 96 positions, with weights converted to `dtype`. */
tl_model *test_small_model(const char *family, tl_dtype dtype);

tl_engine *test_open_engine(const tl_model *model, const tl_engine_options *options);

#endif
