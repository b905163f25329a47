/* safetensors: single files, shards, and every way in which a header can lie. */
#include "checkpoint/reader.h"
#include "support/support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A file: the header's length, `header` (padded with blanks to 8 bytes when `pad`), the data. */
static tl_buffer build(const char *header, bool pad, const void *data, size_t size) {
    tl_buffer file = {0};
    uint64_t length = strlen(header), padded = pad ? (length + 7) / 8 * 8 : length;
    for (int i = 0; i < 8; i++)
        tl_buffer_append_byte(&file, (char)(padded >> 8 * i));
    tl_buffer_append_string(&file, header);
    for (; length < padded; length++)
        tl_buffer_append_byte(&file, ' ');
    tl_buffer_append(&file, data, size);
    assert_false(file.failed);
    return file;
}

static tl_checkpoint *open_built(const char *path, tl_buffer file, tl_error *error) {
    test_write_file(path, file.data, file.length);
    tl_buffer_free(&file);
    *error = (tl_error){0};
    return tl_checkpoint_open(path, error);
}

static void test_reads_names_shapes_values(void **state) {
    (void)state;
    static const float values[] = {1.5f, -2, 3, 4, 5, 6};
    unsigned char data[34] = {0};
    memcpy(data, values, sizeof values);
    memcpy(data + 24, (uint16_t[]){0x3f80, 0xc000}, 4);
    memcpy(data + 28, (int32_t[]){-7}, 4);
    data[32] = 1;
    data[33] = 0x80;
    const char *header =
        "{\"__metadata__\":{\"format\":\"pt\",\"note\":\"x\"},"
        "\"i\":{\"dtype\":\"I32\",\"shape\":[],\"data_offsets\":[28,32]},"
        "\"a.weight\":{\"dtype\":\"F32\",\"shape\":[2,3],\"data_offsets\":[0,24]},"
        "\"none\":{\"dtype\":\"F64\",\"shape\":[4,0,9007199254740992,1099511627776],"
        "\"data_offsets\":[24,24]},"
        "\"b\":{\"data_offsets\":[24,28],\"dtype\":\"BF16\",\"shape\":[1,1,1,1,1,1,1,2]},"
        "\"t\":{\"dtype\":\"BOOL\",\"shape\":[1],\"data_offsets\":[32,33]},"
        "\"u\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[33,34]}}";
    tl_error error;
    tl_checkpoint *checkpoint =
        open_built(test_scratch_path("good.safetensors"), build(header, true, data, 34), &error);
    assert_ok(checkpoint, error);
    assert_int_equal(tl_checkpoint_count(checkpoint), 6);
    assert_string_equal(tl_checkpoint_metadata(checkpoint, "format"), "pt");
    assert_null(tl_checkpoint_metadata(checkpoint, "i"));
    assert_null(tl_checkpoint_find(checkpoint, "__metadata__"));
    const tl_tensor *a = tl_checkpoint_find(checkpoint, "a.weight");
    assert_non_null(a);
    assert_ptr_equal(a, tl_checkpoint_at(checkpoint, 0));
    assert_int_equal(a->dtype, TL_F32);
    assert_int_equal(a->rank, 2);
    assert_int_equal(a->shape[1], 3);
    assert_true(a->mapped);
    assert_memory_equal(a->data, values, sizeof values);
    tl_tensor_will_need(a);
    tl_tensor_release(a);
    assert_memory_equal(a->data, values, sizeof values);
    const tl_tensor *b = tl_checkpoint_find(checkpoint, "b");
    assert_int_equal(b->rank, 8);
    assert_int_equal(((const uint16_t *)b->data)[1], 0xc000);
    const tl_tensor *i = tl_checkpoint_find(checkpoint, "i");
    assert_int_equal(i->rank, 0);
    assert_int_equal(*(const int32_t *)i->data, -7);
    const tl_tensor *none = tl_checkpoint_find(checkpoint, "none");
    assert_int_equal(none->bytes, 0);
    assert_non_null(none->data);
    assert_int_equal(tl_checkpoint_find(checkpoint, "t")->dtype, TL_BOOL);
    assert_int_equal(*(const uint8_t *)tl_checkpoint_find(checkpoint, "u")->data, 0x80);
    assert_null(tl_checkpoint_at(checkpoint, 6));
    assert_string_equal(tl_path_base(tl_checkpoint_file(checkpoint, 0)), "good.safetensors");
    assert_null(tl_checkpoint_file(checkpoint, 1));
    tl_checkpoint_free(checkpoint);
}

/* Files of 2022 do not pad their header: their tensors come out aligned all the same. */
static void test_aligns_what_lies_askew(void **state) {
    (void)state;
    enum { N = 20000 };
    static float values[N];
    for (int i = 0; i < N; i++)
        values[i] = (float)i;
    const char *header = "{\"a\":{\"dtype\":\"F32\",\"shape\":[20000],\"data_offsets\":[0,80000]}}";
    assert_int_not_equal(strlen(header) % 4, 0);
    tl_error error;
    tl_checkpoint *checkpoint =
        open_built(test_scratch_path("askew"), build(header, false, values, sizeof values), &error);
    assert_ok(checkpoint, error);
    const tl_tensor *a = tl_checkpoint_find(checkpoint, "a");
    assert_int_equal((uintptr_t)a->data % 4, 0);
    assert_false(a->mapped);
    tl_tensor_release(a); /* keeps memory that no file could give again */
    assert_memory_equal(a->data, values, sizeof values);
    tl_checkpoint_free(checkpoint);
}

static void test_refuses_headers_that_lie(void **state) {
    (void)state;
    static const struct lie {
        const char *header, *message;
    } lies[] = {
        {"", "start with '{'"},
        {"[]", "start with '{'"},
        {"{\"a\":", "not JSON"},
        {"{\"a\":1}", "tensor 'a': expected an object"},
        {"{\"a\":{\"shape\":[2],\"data_offsets\":[0,8]}}", "'dtype'"},
        {"{\"a\":{\"dtype\":\"F31\",\"shape\":[2],\"data_offsets\":[0,8]}}", "'F31'"},
        {"{\"a\":{\"dtype\":\"F32\",\"data_offsets\":[0,8]}}", "'shape'"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[-2],\"data_offsets\":[0,8]}}", "'shape'"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1.5],\"data_offsets\":[0,8]}}", "'shape'"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1e300],\"data_offsets\":[0,8]}}", "'shape'"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[4294967296,4294967296],\"data_offsets\":[0,8]}}",
         "overflows"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[4611686018427387904],\"data_offsets\":[0,8]}}",
         "'shape'"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1,1,1,1,1,1,1,1,2],\"data_offsets\":[0,8]}}",
         "at most 8"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0]}}", "'data_offsets'"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8,8]}}", "'data_offsets'"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,-8]}}", "'data_offsets'"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[8,0]}}", "outside"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[3],\"data_offsets\":[0,12]}}", "truncated?"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,8]}}", "need 4"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", "the file holds 8"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}}", "expected 0"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},"
         "\"b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}}",
         "overlap"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},"
         "\"a\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[8,8]}}",
         "occurs twice"},
        {"{\"__metadata__\":[],\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}",
         "__metadata__"},
        {"{\"__metadata__\":{\"x\":1},\"a\":{\"dtype\":\"F32\",\"shape\":[2],"
         "\"data_offsets\":[0,8]}}",
         "'x'"},
    };
    for (size_t i = 0; i < sizeof lies / sizeof lies[0]; i++) {
        tl_error error;
        tl_checkpoint *checkpoint =
            open_built(test_scratch_path("lie.safetensors"),
                       build(lies[i].header, false, "\0\0\0\0\0\0\0\0", 8), &error);
        if (checkpoint) fail_msg("accepted: %s", lies[i].header);
        test_assert_contains(error.message, "lie.safetensors");
        test_assert_contains(error.message, lies[i].message);
    }
}

static void test_refuses_broken_files(void **state) {
    (void)state;
    const char *path = test_scratch_path("broken.safetensors");
    static const unsigned char huge[] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, '{', '}'};
    for (size_t length = 0; length <= sizeof huge; length++) {
        tl_error error = {0};
        test_write_file(path, huge, length);
        assert_null(tl_checkpoint_open(path, &error));
        test_assert_contains(error.message, "broken.safetensors");
    }
    static const char pointer[] = "version https://git-lfs.github.com/spec/v1\noid sha256:00\n";
    tl_error lfs = {0};
    test_write_text(path, pointer);
    assert_null(tl_checkpoint_open(path, &lfs));
    test_assert_contains(lfs.message, "Git LFS");
    tl_buffer deep = {0};
    for (int i = 0; i < 100000; i++)
        tl_buffer_append_string(&deep, "{\"a\":");
    tl_error error;
    assert_null(open_built(path, build(deep.data, true, NULL, 0), &error));
    test_assert_contains(error.message, "not JSON");
    tl_buffer_clear(&deep);
    tl_buffer_append_string(&deep, "{\"a\":[0");
    for (int i = 0; i < 3000000; i++)
        tl_buffer_append_string(&deep, ",0");
    tl_buffer_append_string(&deep, "]}");
    assert_null(open_built(path, build(deep.data, true, NULL, 0), &error));
    assert_int_equal(error.code, TL_ERROR_LIMIT);
    tl_buffer_free(&deep);
}

static const char one[] = "{\"%s\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}";

static void write_shard(const char *file, const char *tensor, float value) {
    char header[128];
    snprintf(header, sizeof header, one, tensor);
    tl_buffer shard = build(header, true, &value, 4);
    test_write_file(test_scratch_path("shards/%s", file), shard.data, shard.length);
    tl_buffer_free(&shard);
}

static tl_checkpoint *open_shards(const char *weight_map, tl_error *error) {
    char index[512];
    snprintf(index, sizeof index, "{\"metadata\":{\"total_size\":8},\"weight_map\":%s}",
             weight_map);
    test_write_text(test_scratch_path("shards/model.safetensors.index.json"), index);
    *error = (tl_error){0};
    return tl_checkpoint_open(test_scratch_path("shards"), error);
}

static void test_shards(void **state) {
    (void)state;
    tl_error error;
    write_shard("model-1.safetensors", "a", 1);
    write_shard("model-2.safetensors", "b", 2);
    write_shard("model-3.safetensors", "a", 3);
    tl_checkpoint *checkpoint =
        open_shards("{\"a\":\"model-1.safetensors\",\"b\":\"model-2.safetensors\"}", &error);
    assert_ok(checkpoint, error);
    assert_int_equal(tl_checkpoint_count(checkpoint), 2);
    assert_true(*(const float *)tl_checkpoint_find(checkpoint, "b")->data == 2);
    assert_string_equal(tl_path_base(tl_checkpoint_file(checkpoint, 2)), "model-2.safetensors");
    assert_null(tl_checkpoint_file(checkpoint, 3));
    tl_checkpoint_free(checkpoint);

    static const char *const bad[][2] = {
        {"{\"a\":\"model-1.safetensors\",\"b\":\"model-1.safetensors\"}", "'b' is not in"},
        {"{\"a\":\"model-9.safetensors\"}", "model-9.safetensors"},
        {"{\"a\":\"../shards/model-1.safetensors\"}", "same directory"},
        {"{\"a\":\"/etc/passwd\"}", "same directory"},
        {"{\"a\":\"..\"}", "same directory"},
        {"{\"a\":\"\"}", "same directory"},
        {"{\"a\":7}", "same directory"},
        {"{}", "weight_map"},
        {"[]", "weight_map"},
        {"{\"b\":\"model-2.safetensors\",\"c\":\"model-1.safetensors\","
         "\"d\":\"model-3.safetensors\"}",
         "occurs twice"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        if (open_shards(bad[i][0], &error)) fail_msg("accepted: %s", bad[i][0]);
        test_assert_contains(error.message, bad[i][1]);
    }
    /* The shard that the index names counts where two hold a tensor. */
    checkpoint =
        open_shards("{\"a\":\"model-3.safetensors\",\"b\":\"model-2.safetensors\"}", &error);
    assert_ok(checkpoint, error);
    assert_true(*(const float *)tl_checkpoint_find(checkpoint, "a")->data == 3);
    tl_checkpoint_free(checkpoint);
}

static void test_names_what_it_looked_for(void **state) {
    (void)state;
    tl_error error = {0};
    assert_ok(tl_dir_create(test_scratch_path("empty"), &error), error);
    assert_null(tl_checkpoint_open(test_scratch_path("empty"), &error));
    test_assert_contains(error.message, "model.safetensors");
    assert_null(tl_checkpoint_open(test_scratch_path("absent"), &error));
    test_assert_contains(error.message, "absent");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reads_names_shapes_values),
        cmocka_unit_test(test_aligns_what_lies_askew),
        cmocka_unit_test(test_refuses_headers_that_lie),
        cmocka_unit_test(test_refuses_broken_files),
        cmocka_unit_test(test_shards),
        cmocka_unit_test(test_names_what_it_looked_for),
    };
    return cmocka_run_group_tests_name("safetensors", tests, NULL, NULL);
}
