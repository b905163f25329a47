/* checkpoint: every checkpoint of the conformance set opens, and its tensors' numbers are sane. */
#include "checkpoint/checkpoint.h"
#include "support/support.h"

#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

static float value_at(const tl_tensor *tensor, size_t index) {
    switch (tensor->dtype) {
    case TL_F16:
        return tl_f16_to_f32(((const uint16_t *)tensor->data)[index]);
    case TL_BF16:
        return tl_bf16_to_f32(((const uint16_t *)tensor->data)[index]);
    default:
        return ((const float *)tensor->data)[index];
    }
}

/* Trained weights are finite and small: a wrong offset or dtype shows as garbage. */
static void check_tensor(const char *model, const tl_tensor *tensor) {
    const tl_dtype_traits *traits = tl_dtype_get(tensor->dtype);
    assert_int_equal((uintptr_t)tensor->data % traits->block_bytes, 0);
    size_t elements = 1;
    for (int i = 0; i < tensor->rank; i++)
        elements *= (size_t)tensor->shape[i];
    assert_int_equal(tensor->bytes, elements * traits->block_bytes);
    if (!traits->compute || strstr(tensor->name, "masked_bias")) return;
    for (size_t i = 0; i < elements; i++) {
        float value = value_at(tensor, i);
        if (!(fabsf(value) < 1e3f))
            fail_msg("%s: %s[%zu] is %g", model, tensor->name, i, (double)value);
    }
}

static void test_models_open(void **state) {
    (void)state;
    if (!test_shared()) skip();
    DIR *models = opendir(test_shared_path("golden/models"));
    assert_non_null(models);
    int opened = 0;
    for (const struct dirent *entry; (entry = readdir(models));) {
        if (entry->d_name[0] == '.') continue;
        tl_error error = {0};
        tl_checkpoint *checkpoint =
            tl_checkpoint_open(test_shared_path("golden/models/%s", entry->d_name), &error);
        assert_ok(checkpoint, error);
        assert_true(tl_checkpoint_count(checkpoint) > 10);
        for (size_t i = 0; i < tl_checkpoint_count(checkpoint); i++)
            check_tensor(entry->d_name, tl_checkpoint_at(checkpoint, i));
        tl_checkpoint_free(checkpoint);
        opened++;
    }
    closedir(models);
    printf("opened %d checkpoints\n", opened);
    assert_true(opened > 0);
}

/* The published container of this model: tied heads are one storage under two names. */
static void test_tied_names_share_storage(void **state) {
    (void)state;
    if (!test_shared()) skip();
    tl_error error = {0};
    tl_checkpoint *checkpoint =
        tl_checkpoint_open(test_shared_path("golden/models/cerebras-gelu"), &error);
    assert_ok(checkpoint, error);
    const tl_tensor *embedding = tl_checkpoint_find(checkpoint, "transformer.wte.weight");
    const tl_tensor *head = tl_checkpoint_find(checkpoint, "lm_head.weight");
    assert_non_null(embedding);
    assert_non_null(head);
    assert_ptr_equal(embedding->data, head->data);
    assert_true(embedding->mapped);
    tl_checkpoint_free(checkpoint);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_models_open),
        cmocka_unit_test(test_tied_names_share_storage),
    };
    return cmocka_run_group_tests_name("checkpoint", tests, NULL, NULL);
}
