/* pytorch_model.bin: both containers, every kind of tensor, and hostile pickles. */
#include "checkpoint/reader.h"
#include "support/support.h"
#include "support/torch_file.h"

#include <stdlib.h>
#include <string.h>

static const float six[] = {0, 1, 2, 3, 4, 5};

static const pickle_tensor matrix = {.storage = "FloatStorage",
                                     .key = "0",
                                     .elements = 6,
                                     .rank = 2,
                                     .shape = {2, 3},
                                     .strides = {3, 1}};

/* A zip of the pickle and, as storage "0", the six floats. Takes the pickle. */
static tl_buffer zipped(tl_buffer *pickle, zip_twist twist) {
    test_zip zip = {0};
    zip_add(&zip, "m/data.pkl", pickle->data, pickle->length, twist);
    zip_add(&zip, "m/byteorder", "little", 6, twist);
    twist.padding = 64 - (zip.file.length + 30 + strlen("m/data/0") + 4) % 64;
    zip_add(&zip, "m/data/0", six, sizeof six, twist);
    tl_buffer_free(pickle);
    return zip_finish(&zip, false);
}

static tl_checkpoint *open_file(tl_buffer *file, tl_error *error) {
    const char *path = test_scratch_path("model/pytorch_model.bin");
    test_write_file(path, file->data, file->length);
    tl_buffer_free(file);
    *error = (tl_error){0};
    return tl_checkpoint_open(test_scratch_path("model"), error);
}

static void put_entry(tl_buffer *pickle, const char *name, const pickle_tensor *tensor) {
    pickle_string(pickle, name);
    pickle_put_tensor(pickle, tensor);
}

/* The tensors that the tests below look for, all on storage "0". */
static void put_state_dict(tl_buffer *pickle, bool legacy) {
    pickle_tensor t = matrix;
    t.legacy = legacy;
    pickle_global(pickle, "collections", "OrderedDict");
    PICKLE(pickle, ")R(");
    put_entry(pickle, "plain", &t);
    put_entry(pickle, "tied", &t);
    t.shape[0] = 3, t.shape[1] = 2, t.strides[0] = 1, t.strides[1] = 3;
    put_entry(pickle, "transposed", &t);
    t.rank = 1, t.offset = 4, t.strides[0] = 1, t.shape[0] = 2;
    put_entry(pickle, "tail", &t);
    t.rank = 0;
    put_entry(pickle, "scalar", &t);
    t.rank = 2, t.shape[0] = 0, t.shape[1] = 1ll << 40;
    put_entry(pickle, "empty", &t);
    pickle_string(pickle, "parameter");
    pickle_global(pickle, "torch._utils", "_rebuild_parameter");
    PICKLE(pickle, "(");
    pickle_put_tensor(pickle, &(pickle_tensor){.storage = "FloatStorage",
                                               .key = "0",
                                               .elements = 6,
                                               .rank = 1,
                                               .shape = {1},
                                               .strides = {77},
                                               .legacy = legacy});
    PICKLE(pickle, "\x88NtR");
    pickle_string(pickle, "version");
    PICKLE(pickle, "K\x07u}");
    pickle_string(pickle, "_metadata");
    PICKLE(pickle, "}sb"); /* attributes of the dict, as torch saves them */
}

static void check_state_dict(const tl_checkpoint *checkpoint, bool mapped) {
    assert_int_equal(tl_checkpoint_count(checkpoint), 7);
    const tl_tensor *plain = tl_checkpoint_find(checkpoint, "plain");
    assert_int_equal(plain->dtype, TL_F32);
    assert_int_equal(plain->shape[1], 3);
    assert_int_equal(plain->mapped, mapped);
    assert_memory_equal(plain->data, six, sizeof six);
    assert_ptr_equal(tl_checkpoint_find(checkpoint, "tied")->data, plain->data);
    const tl_tensor *transposed = tl_checkpoint_find(checkpoint, "transposed");
    assert_int_equal(transposed->shape[0], 3);
    assert_false(transposed->mapped);
    assert_memory_equal(transposed->data, ((float[]){0, 3, 1, 4, 2, 5}), sizeof six);
    assert_memory_equal(tl_checkpoint_find(checkpoint, "tail")->data, six + 4, 8);
    const tl_tensor *scalar = tl_checkpoint_find(checkpoint, "scalar");
    assert_int_equal(scalar->rank, 0);
    assert_true(*(const float *)scalar->data == 4);
    assert_int_equal(tl_checkpoint_find(checkpoint, "empty")->bytes, 0);
    assert_true(*(const float *)tl_checkpoint_find(checkpoint, "parameter")->data == 0);
}

static void test_reads_the_zip_container(void **state) {
    (void)state;
    static const zip_twist twists[] = {{0}, {.descriptor = true}, {.deflate = true}};
    for (size_t i = 0; i < 3; i++) {
        tl_buffer pickle = {0};
        PICKLE(&pickle, "\x80\x02");
        put_state_dict(&pickle, false);
        PICKLE(&pickle, ".");
        tl_buffer file = zipped(&pickle, twists[i]);
        tl_error error;
        tl_checkpoint *checkpoint = open_file(&file, &error);
        assert_ok(checkpoint, error);
        check_state_dict(checkpoint, !twists[i].deflate);
        tl_checkpoint_free(checkpoint);
    }
}

/* Other writers of zips do not align members: tensors come out aligned, wherever they lay. */
static void test_aligns_members(void **state) {
    (void)state;
    for (size_t shift = 0; shift < 4; shift++) {
        tl_buffer pickle = {0};
        PICKLE(&pickle, "\x80\x02");
        put_state_dict(&pickle, false);
        PICKLE(&pickle, ".");
        test_zip zip = {0};
        zip_add(&zip, "m/data.pkl", pickle.data, pickle.length, (zip_twist){0});
        size_t padding = 64 - (zip.file.length + 30 + strlen("m/data/0") + 4) % 64 + shift;
        zip_add(&zip, "m/data/0", six, sizeof six, (zip_twist){.padding = padding});
        tl_buffer file = zip_finish(&zip, false);
        tl_error error;
        tl_checkpoint *checkpoint = open_file(&file, &error);
        assert_ok(checkpoint, error);
        check_state_dict(checkpoint, shift == 0);
        for (size_t i = 0; i < tl_checkpoint_count(checkpoint); i++)
            assert_int_equal((uintptr_t)tl_checkpoint_at(checkpoint, i)->data % 4, 0);
        tl_checkpoint_free(checkpoint);
        tl_buffer_free(&pickle);
    }
}

/* The legacy container around what `fill` puts into the state dict's pickle. */
static tl_buffer legacy(void (*fill)(tl_buffer *pickle, bool legacy)) {
    tl_buffer file = {0};
    legacy_preamble(&file);
    PICKLE(&file, "\x80\x02");
    fill(&file, true);
    PICKLE(&file, ".\x80\x02](");
    pickle_string(&file, "0");
    PICKLE(&file, "e.");
    return file;
}

static void test_reads_the_legacy_container(void **state) {
    (void)state;
    tl_buffer file = legacy(put_state_dict);
    bool aligned = file.length % 4 == 0;
    legacy_storage(&file, 6, six, sizeof six);
    tl_error error;
    tl_checkpoint *checkpoint = open_file(&file, &error);
    assert_ok(checkpoint, error);
    check_state_dict(checkpoint, aligned);
    tl_checkpoint_free(checkpoint);
}

static void put_view(tl_buffer *pickle, bool is_legacy) {
    pickle_tensor t = matrix;
    t.legacy = is_legacy;
    t.view_offset = 2, t.view_elements = 3;
    t.rank = 1, t.offset = 1, t.shape[0] = 2, t.strides[0] = 1;
    PICKLE(pickle, "}");
    put_entry(pickle, "view", &t);
    PICKLE(pickle, "s");
}

/* Before 0.4, storages could be views of storages. */
static void test_reads_views_of_storages(void **state) {
    (void)state;
    tl_buffer file = legacy(put_view);
    legacy_storage(&file, 6, six, sizeof six);
    tl_error error;
    tl_checkpoint *checkpoint = open_file(&file, &error);
    assert_ok(checkpoint, error);
    assert_memory_equal(tl_checkpoint_find(checkpoint, "view")->data, six + 3, 8);
    tl_checkpoint_free(checkpoint);
}

static void test_refuses_broken_legacy_files(void **state) {
    (void)state;
    static const struct lie {
        int64_t elements;
        size_t bytes;
        const char *message;
    } lies[] = {
        {7, 24, "length"},    {-1, 24, "length"},   {6, 23, "truncated?"},
        {6, 0, "truncated?"}, {6, 25, "left over"},
    };
    float data[7] = {0};
    tl_error error;
    for (size_t i = 0; i < sizeof lies / sizeof lies[0]; i++) {
        tl_buffer file = legacy(put_state_dict);
        legacy_storage(&file, lies[i].elements, data, lies[i].bytes);
        assert_null(open_file(&file, &error));
        test_assert_contains(error.message, lies[i].message);
    }
    tl_buffer whole = legacy(put_state_dict);
    legacy_storage(&whole, 6, six, sizeof six);
    for (size_t length = 9; length < whole.length; length++) {
        error = (tl_error){0};
        assert_null(tl_checkpoint_open_memory(whole.data, length, "cut.bin", &error));
        test_assert_contains(error.message, "cut.bin");
    }
    /* Big-endian: the flag is the only NEWTRUE of the preamble. */
    *(char *)memchr(whole.data, '\x88', whole.length) = '\x89';
    assert_null(open_file(&whole, &error));
    test_assert_contains(error.message, "little");
}

static void test_finds_wrapped_state_dicts(void **state) {
    (void)state;
    tl_buffer pickle = {0};
    PICKLE(&pickle, "\x80\x02}(");
    pickle_string(&pickle, "epoch");
    PICKLE(&pickle, "K\x03");
    pickle_string(&pickle, "lr");
    PICKLE(&pickle, "G\0\0\0\0\0\0\0\0");
    pickle_string(&pickle, "state_dict");
    put_state_dict(&pickle, false);
    PICKLE(&pickle, "u.");
    tl_buffer file = zipped(&pickle, (zip_twist){0});
    tl_error error;
    tl_checkpoint *checkpoint = open_file(&file, &error);
    assert_ok(checkpoint, error);
    check_state_dict(checkpoint, true);
    tl_checkpoint_free(checkpoint);
}

static void test_reads_protocols_four_and_five(void **state) {
    (void)state;
    tl_buffer pickle = {0};
    PICKLE(&pickle, "\x80\x05\x95\0\0\0\0\0\0\0\0}\x94\x8c\x04name\x94");
    PICKLE(&pickle, "\x8c\x0ctorch._utils\x94\x8c\x12_rebuild_tensor_v2\x94\x93\x94((");
    PICKLE(&pickle, "\x8c\x07storage\x94\x8c\x05torch\x94\x8c\x0c"
                    "FloatStorage\x94\x93\x94");
    PICKLE(&pickle, "\x8c\x01"
                    "0\x94\x8c\x03"
                    "cpu\x94K\x06t\x94QK\0K\x06\x85\x94K\x01\x85\x94\x89N");
    PICKLE(&pickle, "t\x94R\x94s.");
    tl_buffer file = zipped(&pickle, (zip_twist){0});
    tl_error error;
    tl_checkpoint *checkpoint = open_file(&file, &error);
    assert_ok(checkpoint, error);
    assert_memory_equal(tl_checkpoint_find(checkpoint, "name")->data, six, sizeof six);
    tl_checkpoint_free(checkpoint);
}

/* Each a whole pickle, but for the STOP. */
static void test_refuses_hostile_pickles(void **state) {
    (void)state;
#define HOSTILE(opcodes, message)                                                                  \
    { opcodes, sizeof(opcodes) - 1, message }
    static const struct hostile {
        const char *opcodes;
        size_t length;
        const char *message;
    } all[] = {
        HOSTILE("cos\nsystem\n(X\x02\0\0\0idtR", "'os.system'"),
        HOSTILE("cbuiltins\neval\n", "'builtins.eval'"),
        HOSTILE("\x8c\x02os\x8c\x06system\x93", "'os.system'"),
        HOSTILE("ctorch.nn.modules.linear\nLinear\n)\x81", "torch.nn.modules.linear.Linear"),
        HOSTILE("ctorch._utils\n_rebuild_tensor_v2.__globals__\n", "__globals__"),
        HOSTILE("(ios\nsystem\n", "INST"),
        HOSTILE("}\x81", "NEWOBJ"),
        HOSTILE("\x82\x01", "EXT1"),
        HOSTILE("\xff", "0xff"),
        HOSTILE("Px\n", "PERSID"),
        HOSTILE("\x80\x06", "protocol 6"),
        HOSTILE("}r\xff\xff\xff\xff", "memo index 4294967295"),
        HOSTILE("}r\xff\xff\xff\x7f", "memo index"),
        HOSTILE("}q\x05h\x04", "memo entry 4"),
        HOSTILE("h\0", "memo entry 0"),
        HOSTILE("q\0", "stack is empty"),
        HOSTILE("(q\0", "stack is empty"),
        HOSTILE("0", "stack is empty"),
        HOSTILE("2", "stack is empty"),
        HOSTILE("1", "no mark"),
        HOSTILE("t", "no mark"),
        HOSTILE("u", "no mark"),
        HOSTILE("(K\1e", "expected a list"),
        HOSTILE("](K\1u", "without a value"),
        HOSTILE("](K\1K\2u", "expected a dict"),
        HOSTILE("}}a", "expected a list"),
        HOSTILE("NNs", "expected a dict"),
        HOSTILE("}N)R", "expected a global"),
        HOSTILE("ctorch\nFloatStorage\n)R", "may not be called"),
        HOSTILE("ccollections\nOrderedDict\n}\x85R", "pairs"),
        HOSTILE("ccollections\nOrderedDict\n](K\1e\x85R", "pairs"),
        HOSTILE("ctorch._utils\n_rebuild_parameter\n)R", "expected a tensor"),
        HOSTILE("ctorch\nSize\n)R", "expected a tuple"),
        HOSTILE("NQ", "persistent id"),
        HOSTILE(")Q", "persistent id"),
        HOSTILE("(X\x06\0\0\0moduletQ", "persistent id"),
        HOSTILE("Nb", "expected a dict"),
        HOSTILE("]Nb", "expected a dict"),
        HOSTILE("X\xff\xff\xff\x7f", "runs past the end"),
        HOSTILE("\x8d\xff\xff\xff\xff\xff\xff\xff\xff", "runs past the end"),
        HOSTILE("\x8b\xff\xff\xff\xff", "runs past the end"),
        HOSTILE("\x95\xff\xff\xff\xff\xff\xff\xff\xff", "frame"),
        HOSTILE("cos", "expected a line"),
        HOSTILE("}}", "left on the stack"),
        HOSTILE("", "stack is empty"),
        HOSTILE("(", "stack is empty"),
        HOSTILE("N", "state dict"),
        HOSTILE("]2a", "state dict"), /* a list that holds itself */
        HOSTILE("}X\1\0\0\0aK\1s", "state dict"),
    };
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        tl_buffer pickle = {0};
        pickle_raw(&pickle, all[i].opcodes, all[i].length);
        PICKLE(&pickle, ".");
        tl_buffer file = zipped(&pickle, (zip_twist){0});
        tl_error error;
        if (open_file(&file, &error)) fail_msg("accepted pickle %zu", i);
        test_assert_contains(error.message, "pytorch_model.bin");
        test_assert_contains(error.message, all[i].message);
    }
}

/* Nesting, and values by the million, cost memory in proportion and no stack. */
static void test_bounds_what_pickles_take(void **state) {
    (void)state;
    static const char *const openings[] = {"(", "]", "}", ")\x85", "N", "}2"};
    for (size_t i = 0; i < sizeof openings / sizeof openings[0]; i++) {
        tl_buffer pickle = {0};
        for (int n = 0; n < 3000000; n++)
            tl_buffer_append_string(&pickle, openings[i]);
        PICKLE(&pickle, ".");
        tl_buffer file = zipped(&pickle, (zip_twist){0});
        tl_error error = {0};
        assert_null(tl_checkpoint_open_memory(file.data, file.length, "big.bin", &error));
        test_assert_contains(error.message, "big.bin");
        tl_buffer_free(&file);
    }
    tl_buffer deep = {0};
    for (int n = 0; n < 1000000; n++)
        PICKLE(&deep, ")");
    for (int n = 1; n < 1000000; n++)
        PICKLE(&deep, "\x86");
    PICKLE(&deep, ".");
    tl_buffer file = zipped(&deep, (zip_twist){0});
    tl_error error = {0};
    assert_null(tl_checkpoint_open_memory(file.data, file.length, "deep.bin", &error));
    test_assert_contains(error.message, "state dict");
    tl_buffer_free(&file);
}

static void test_refuses_tensors_that_lie(void **state) {
    (void)state;
    const int64_t huge = INT64_MAX;
    const struct lie {
        pickle_tensor tensor;
        const char *message;
    } lies[] = {
        {{"FloatStorage", "0", 6, 1, 2, {2, 3}, {3, 1}}, "smaller than the tensor"},
        {{"FloatStorage", "0", 6, 0, 2, {2, 3}, {4, 1}}, "smaller than the tensor"},
        {{"FloatStorage", "0", 6, huge, 2, {2, 3}, {3, 1}}, "smaller than the tensor"},
        {{"FloatStorage", "0", 6, 0, 2, {2, 3}, {huge, 1}}, "smaller than the tensor"},
        {{"FloatStorage", "0", 6, 0, 2, {3, 3}, {huge, huge}}, "smaller than the tensor"},
        {{"FloatStorage", "0", 6, 0, 2, {huge, huge}, {0, 0}}, "overflows"},
        {{"FloatStorage", "0", 6, 0, 2, {1 << 20, 1 << 20}, {0, 0}}, "more memory"},
        {{"FloatStorage", "0", 6, -1, 2, {2, 3}, {3, 1}}, "expected a storage"},
        {{"FloatStorage", "0", 6, 0, 2, {-2, 3}, {3, 1}}, "whole numbers"},
        {{"FloatStorage", "0", 6, 0, 2, {2, 3}, {-3, 1}}, "whole numbers"},
        {{"FloatStorage", "0", 6, 0, 9, {1, 1, 1, 1, 1, 1, 1, 1, 1}, {0}}, "8 dimensions"},
        {{"FloatStorage", "0", 7, 0, 2, {2, 3}, {3, 1}}, "length"},
        {{"FloatStorage", "0", -6, 0, 2, {2, 3}, {3, 1}}, "length"},
        {{"FloatStorage", "0", huge, 0, 2, {2, 3}, {3, 1}}, "overflows"},
        {{"DoubleStorage", "0", 6, 0, 2, {2, 3}, {3, 1}}, "length"},
        {{"FloatStorage", "1", 6, 0, 2, {2, 3}, {3, 1}}, "storage '1'"},
        {{"FloatStorage", "../0", 6, 0, 2, {2, 3}, {3, 1}}, "storage '../0'"},
        {{"UntypedStorage", "0", 24, 0, 2, {2, 3}, {3, 1}}, "dtype"},
        {{"QInt8Storage", "0", 24, 0, 2, {2, 3}, {3, 1}}, "torch.QInt8Storage"},
    };
    for (size_t i = 0; i < sizeof lies / sizeof lies[0]; i++) {
        tl_buffer pickle = {0};
        PICKLE(&pickle, "\x80\x02}");
        put_entry(&pickle, "w", &lies[i].tensor);
        PICKLE(&pickle, "s.");
        tl_buffer file = zipped(&pickle, (zip_twist){0});
        tl_error error;
        if (open_file(&file, &error)) fail_msg("accepted tensor %zu", i);
        test_assert_contains(error.message, lies[i].message);
    }
}

/* A storage may not be read with two classes, nor a name be given twice. */
static void test_refuses_contradictions(void **state) {
    (void)state;
    for (int i = 0; i < 2; i++) {
        pickle_tensor other = matrix;
        if (i == 0) other.storage = "IntStorage";
        tl_buffer pickle = {0};
        PICKLE(&pickle, "\x80\x02}(");
        put_entry(&pickle, "w", &matrix);
        put_entry(&pickle, i ? "w" : "v", &other);
        PICKLE(&pickle, "u.");
        tl_buffer file = zipped(&pickle, (zip_twist){0});
        tl_error error;
        assert_null(open_file(&file, &error));
        test_assert_contains(error.message, i ? "occurs twice" : "two classes");
    }
}

static void test_refuses_bad_containers(void **state) {
    (void)state;
    tl_error error;
    tl_buffer pickle = {0};
    put_state_dict(&pickle, false);
    PICKLE(&pickle, ".");
    test_zip zip = {0};
    zip_add(&zip, "m/data.pkl", pickle.data, pickle.length, (zip_twist){0});
    zip_add(&zip, "m/byteorder", "big", 3, (zip_twist){0});
    tl_buffer file = zip_finish(&zip, false);
    assert_null(open_file(&file, &error));
    test_assert_contains(error.message, "little");

    zip_add(&zip, "m/data.pkl", pickle.data, pickle.length, (zip_twist){.crc_change = 9});
    file = zip_finish(&zip, false);
    assert_null(open_file(&file, &error));
    test_assert_contains(error.message, "CRC");

    zip_add(&zip, "m/data.pkl", pickle.data, pickle.length, (zip_twist){0});
    zip_add(&zip, "m/data/0", six, sizeof six, (zip_twist){.crc_change = 9});
    file = zip_finish(&zip, false);
    assert_null(open_file(&file, &error));
    test_assert_contains(error.message, "CRC");

    zip_add(&zip, "a/data.pkl", pickle.data, pickle.length, (zip_twist){0});
    zip_add(&zip, "b/data.pkl", pickle.data, pickle.length, (zip_twist){0});
    file = zip_finish(&zip, false);
    assert_null(open_file(&file, &error));
    test_assert_contains(error.message, "more than one");

    zip_add(&zip, "readme", "x", 1, (zip_twist){0});
    file = zip_finish(&zip, false);
    assert_null(open_file(&file, &error));
    test_assert_contains(error.message, "data.pkl");

    tl_buffer_append_string(&file, "neither one nor the other");
    assert_null(open_file(&file, &error));
    test_assert_contains(error.message, "neither");
    tl_buffer_free(&pickle);
}

/* A hundred megabytes of zeros in a hundred kilobytes. */
static void test_refuses_zip_bombs(void **state) {
    (void)state;
    enum { ZEROS = 100 << 20 };
    char *zeros = calloc(1, ZEROS);
    assert_non_null(zeros);
    pickle_tensor bomb = {"ByteStorage", "0", ZEROS, 0, 1, {ZEROS}, {1}};
    tl_buffer pickle = {0};
    PICKLE(&pickle, "\x80\x02}");
    put_entry(&pickle, "w", &bomb);
    PICKLE(&pickle, "s.");
    test_zip zip = {0};
    zip_add(&zip, "m/data.pkl", pickle.data, pickle.length, (zip_twist){0});
    zip_add(&zip, "m/data/0", zeros, ZEROS, (zip_twist){.deflate = true});
    free(zeros);
    tl_buffer_free(&pickle);
    tl_buffer file = zip_finish(&zip, false);
    tl_error error;
    assert_null(open_file(&file, &error));
    assert_int_equal(error.code, TL_ERROR_LIMIT);
    test_assert_contains(error.message, "bomb");
}

static void test_shards(void **state) {
    (void)state;
    for (int i = 0; i < 2; i++) {
        tl_buffer pickle = {0};
        PICKLE(&pickle, "\x80\x02}");
        put_entry(&pickle, i ? "b" : "a", &matrix);
        PICKLE(&pickle, "s.");
        tl_buffer file = zipped(&pickle, (zip_twist){0});
        test_write_file(test_scratch_path("sharded/part-%d.bin", i), file.data, file.length);
        tl_buffer_free(&file);
    }
    test_write_text(test_scratch_path("sharded/pytorch_model.bin.index.json"),
                    "{\"weight_map\":{\"a\":\"part-0.bin\",\"b\":\"part-1.bin\"}}");
    tl_error error = {0};
    tl_checkpoint *checkpoint = tl_checkpoint_open(test_scratch_path("sharded"), &error);
    assert_ok(checkpoint, error);
    assert_int_equal(tl_checkpoint_count(checkpoint), 2);
    assert_memory_equal(tl_checkpoint_find(checkpoint, "b")->data, six, sizeof six);
    tl_checkpoint_free(checkpoint);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reads_the_zip_container),
        cmocka_unit_test(test_aligns_members),
        cmocka_unit_test(test_reads_the_legacy_container),
        cmocka_unit_test(test_reads_views_of_storages),
        cmocka_unit_test(test_refuses_broken_legacy_files),
        cmocka_unit_test(test_finds_wrapped_state_dicts),
        cmocka_unit_test(test_reads_protocols_four_and_five),
        cmocka_unit_test(test_refuses_hostile_pickles),
        cmocka_unit_test(test_bounds_what_pickles_take),
        cmocka_unit_test(test_refuses_tensors_that_lie),
        cmocka_unit_test(test_refuses_contradictions),
        cmocka_unit_test(test_refuses_bad_containers),
        cmocka_unit_test(test_refuses_zip_bombs),
        cmocka_unit_test(test_shards),
    };
    return cmocka_run_group_tests_name("pickle", tests, NULL, NULL);
}
