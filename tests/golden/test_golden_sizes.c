/* The parameters that the published models' configs imply, against the published model sizes. */
#include "model/model.h"
#include "support/support.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The published size of a model in MB at f32, or 0. */
static double published_size(const char *model) {
    FILE *file = fopen(test_shared_path("study/published.csv"), "r");
    char line[512], name[128], size[64];
    double found = 0;
    assert_non_null(file);
    while (fgets(line, sizeof line, file))
        if (sscanf(line, "%*[^,],%127[^,],%*[^,],%63[^,],", name, size) == 2 &&
            strcmp(name, model) == 0 && strtod(size, NULL) > 0)
            found = strtod(size, NULL);
    fclose(file);
    return found;
}

static void test_published_sizes(void **state) {
    (void)state;
    static const char *const names[] = {
        "Cerebras-GPT-111M", "Cerebras-GPT-256M", "Cerebras-GPT-590M", "LaMini-GPT-124M",
        "LaMini-GPT-774M",   "LiteLlama-460M-1T", "Qwen1.5-0.5B",      "Qwen2.5-0.5B",
        "SmolLM-135M",       "SmolLM-360M",       "TinyLlama_v1.1",    "bloom-560m",
        "bloomz-560m",       "opt-125m",          "opt-350m",          "pythia-160m",
        "pythia-410m"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        double published = published_size(names[i]);
        assert_true(published > 0);
        tl_error error = {0};
        tl_model_spec spec;
        char path[1024];
        snprintf(path, sizeof path, TEST_SOURCE_DIR "/bench/shapes/%s.json", names[i]);
        size_t length;
        char *text = tl_file_read(path, 1 << 20, &length, &error);
        assert_ok(text != NULL, error);
        const char *directory = test_scratch_path("%s", names[i]);
        test_write_file(test_scratch_path("%s/config.json", names[i]), text, length);
        free(text);
        assert_ok(tl_model_read_spec(directory, &spec, &error), error);
        double size = (double)tl_model_count_parameters(&spec) * 4 / (1024 * 1024);
        if (fabs(size - published) > 5e-6 * published)
            fail_msg("%s: %.3f MB, published %g", names[i], size, published);
    }
}

int main(void) {
    if (!test_shared()) return 77;
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_published_sizes)};
    return cmocka_run_group_tests_name("published sizes", tests, NULL, NULL);
}
