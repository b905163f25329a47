/* The fixtures are what they say: a checkpoint that opens, a tokenizer file of valid JSON. */
#include "checkpoint/checkpoint.h"
#include "support/fixture.h"
#include "support/support.h"

#include <string.h>

static void test_checkpoints_open(void **state) {
    (void)state;
    static const struct {
        fixture_model model;
        const char *tensor;
        int64_t columns;
    } cases[] = {
        {{"llama", 32, 2, 4, 64, 512, 1}, "model.layers.1.mlp.down_proj.weight", 64},
        {{"gpt2", 16, 3, 2, 64, 128, 2}, "h.2.attn.c_attn.weight", 48},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *directory = test_scratch_path("model%zu", i);
        fixture_checkpoint(directory, &cases[i].model);
        tl_error error = {0};
        tl_checkpoint *checkpoint = tl_checkpoint_open(directory, &error);
        assert_ok(checkpoint, error);
        const tl_tensor *tensor = tl_checkpoint_find(checkpoint, cases[i].tensor);
        assert_non_null(tensor);
        assert_int_equal(tensor->shape[1], cases[i].columns);
        tl_checkpoint_free(checkpoint);
        cJSON *config = tl_json_read(test_scratch_path("model%zu/config.json", i), 4096, &error);
        assert_ok(config, error);
        cJSON_Delete(config);
        cJSON *tokenizer =
            tl_json_read(test_scratch_path("model%zu/tokenizer.json", i), 1 << 16, &error);
        assert_ok(tokenizer, error);
        const cJSON *vocabulary = tl_json_get(tl_json_get(tokenizer, "model"), "vocab");
        assert_int_equal(cJSON_GetArraySize(vocabulary), FIXTURE_VOCABULARY);
        assert_int_equal(tl_json_get(vocabulary, "\u0120A")->valueint, 256);
        cJSON_Delete(tokenizer);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_checkpoints_open),
    };
    return cmocka_run_group_tests_name("fixture", tests, NULL, NULL);
}
