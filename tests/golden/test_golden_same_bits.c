/* The same bits for every checkpoint of the conformance set, at every dtype. */
#include "support/load.h"
#include "support/same_bits.h"
#include "support/support.h"

#include <stdio.h>
#include <string.h>

static tl_model *load(const char *name, const tl_model_options *options) {
    return test_load_model(test_shared_path("golden/models/%s", name), options);
}

static void test_model(void **state) {
    static const tl_dtype dtypes[] = {TL_BF16, TL_Q8, TL_Q4};
    size_t n_dtypes = strcmp(test_device(), "cpu") == 0 ? 3 : 1; /* GPUs take no packed matrices */
    const char *name = *state;
    tl_model *model = load(name, NULL);
    test_same_bits(model, name);
    tl_model_unload(model);
    for (size_t i = 0; i < n_dtypes; i++) {
        model = load(name, &(tl_model_options){.convert = true, .dtype = dtypes[i]});
        test_same_bits(model, tl_dtype_get(dtypes[i])->name);
        tl_model_unload(model);
    }
}

/* All models, or the one that is named. */
int main(int argc, char **argv) {
    if (argc > 1) {
        struct CMUnitTest one = {argv[1], test_model, NULL, NULL, argv[1]};
        return test_shared() ? _cmocka_run_group_tests("same bits", &one, 1, NULL, NULL) : 77;
    }
    return test_each_golden_model("same bits", test_model, test_brief());
}
