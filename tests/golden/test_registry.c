/* The registry's parameter counts against the published model sizes. */
#include "hub/hub.h"
#include "support/support.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* device,model,task,model_size_mb,… ; sizes are printed with six significant digits. */
static void test_published_sizes(void **state) {
    (void)state;
    if (!test_shared()) skip();
    tl_error error = {0};
    tl_registry *registry = tl_registry_open(&error);
    assert_ok(registry, error);
    FILE *file = fopen(test_shared_path("study/published.csv"), "r");
    assert_non_null(file);
    char line[512], model[128], size[64];
    int compared = 0;
    while (fgets(line, sizeof line, file)) {
        if (sscanf(line, "%*[^,],%127[^,],%*[^,],%63[^,],", model, size) != 2) continue;
        double published = strtod(size, NULL);
        if (!(published > 0)) continue;
        const tl_known_model *known = tl_registry_find(registry, model);
        if (!known) fail_msg("%s is not in the registry", model);
        double exact = (double)known->parameters * 4 / (1024 * 1024);
        if (fabs(exact - published) > 5e-6 * published)
            fail_msg("%s: %.3f MB, published %s", model, exact, size);
        compared++;
    }
    fclose(file);
    tl_registry_free(registry);
    assert_true(compared > 150);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_published_sizes)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
