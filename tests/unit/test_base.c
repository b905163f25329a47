/* base: containers, numbers, files, threads. */
#include "support/support.h"

#include <math.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void test_errors_are_one_line(void **state) {
    (void)state;
    tl_error error = {0};
    assert_false(tl_fail(&error, TL_ERROR_FORMAT, "a\nb\x1b[31m"));
    assert_string_equal(error.message, "a?b?[31m");
    tl_fail_within(&error, "file %d", 3);
    assert_string_equal(error.message, "file 3: a?b?[31m");
    assert_int_equal(error.code, TL_ERROR_FORMAT);
}

static void test_arena_reuses_memory_after_reset(void **state) {
    (void)state;
    tl_arena *arena = tl_arena_new();
    tl_error error = {0};
    size_t first = 0;
    for (int round = 0; round < 3; round++) {
        for (int i = 1; i < 2000; i++) {
            char *bytes = tl_arena_alloc(arena, (size_t)i, 7, "test", &error);
            assert_non_null(bytes);
            assert_int_equal((uintptr_t)bytes % 64, 0);
            assert_int_equal(bytes[i * 7 - 1], 0);
            memset(bytes, 0xff, (size_t)i * 7);
        }
        if (round == 0) first = tl_arena_bytes(arena);
        tl_arena_reset(arena);
    }
    assert_int_equal(tl_arena_bytes(arena), first);
    assert_null(tl_arena_alloc(arena, SIZE_MAX / 2, 3, "too much", &error));
    assert_int_equal(error.code, TL_ERROR_MEMORY);
    tl_arena_free(arena);
}

static void test_map_finds_what_was_set(void **state) {
    (void)state;
    enum { N = 20000 };
    static char keys[N][12];
    tl_map *map = tl_map_new(0);
    for (int i = 0; i < N; i++) {
        snprintf(keys[i], sizeof keys[i], "key%d", i);
        assert_true(tl_map_set(map, keys[i], strlen(keys[i]), (uint64_t)i));
    }
    assert_true(tl_map_set(map, "key7", 4, 700));
    assert_int_equal(tl_map_count(map), N);
    for (int i = 0; i < N; i++) {
        uint64_t value;
        assert_true(tl_map_get(map, keys[i], strlen(keys[i]), &value));
        assert_int_equal(value, i == 7 ? 700 : i);
    }
    assert_false(tl_map_get(map, "key", 3, NULL));
    assert_true(tl_map_set(map, NULL, 0, 5));
    assert_true(tl_map_get(map, "", 0, NULL));
    tl_map_free(map);
}

static void test_halves_round_trip(void **state) {
    (void)state;
    for (uint32_t bits = 0; bits < 0x10000; bits++) {
        float half = tl_f16_to_f32((uint16_t)bits), brain = tl_bf16_to_f32((uint16_t)bits);
        if (!isnan(half)) assert_int_equal(tl_f32_to_f16(half), bits);
        if (!isnan(brain)) assert_int_equal(tl_f32_to_bf16(brain), bits);
    }
    assert_int_equal(tl_f32_to_f16(65519.996f), 0x7bff);
    assert_int_equal(tl_f32_to_f16(65520.0f), 0x7c00);
    assert_int_equal(tl_f32_to_f16(0x1p-25f), 0);
    assert_int_equal(tl_f32_to_f16(0x1.8p-25f), 1);
    assert_int_equal(tl_f32_to_bf16(1.00390625f), 0x3f80);
    assert_true(isnan(tl_bf16_to_f32(tl_f32_to_bf16(NAN))));
}

static void test_json_names_the_field(void **state) {
    (void)state;
    tl_error error = {0};
    assert_null(tl_json_parse("{\n\"a\": 1,\n\"b\": x}", 18, "f.json", &error));
    test_assert_contains(error.message, "f.json:3");
    assert_null(tl_json_parse("{} {}", 5, "f.json", &error));
    assert_null(tl_json_parse("\xef\xbb\xbf\xef\xbb\xbf{}", 8, "f.json", &error));
    assert_null(tl_json_parse("[\n\"\\u00g0\"]", 11, "f.json", &error));
    test_assert_contains(error.message, "f.json:2: not JSON: near '\\u00g0");
    cJSON *json =
        tl_json_parse("{\"n\": 2.5, \"k\": 7, \"s\": \"x\", \"z\": null}", 39, "f.json", &error);
    assert_non_null(json);
    int64_t value;
    assert_false(tl_json_int(json, "n", 0, 9, &value, "f.json", &error));
    test_assert_contains(error.message, "'n'");
    assert_false(tl_json_int(json, "k", 0, 6, &value, "f.json", &error));
    assert_false(tl_json_int(json, "z", 0, 6, &value, "f.json", &error));
    assert_true(tl_json_int_or(json, "z", 4, 0, 6, &value, "f.json", &error));
    assert_int_equal(value, 4);
    cJSON_Delete(json);
}

static void test_json_numbers_read_back(void **state) {
    (void)state;
    tl_buffer out = {0};
    tl_json_append_double(&out, 0.1);
    tl_buffer_append_byte(&out, ' ');
    tl_json_append_double(&out, -58.933937072753906);
    tl_buffer_append_byte(&out, ' ');
    tl_json_append_float(&out, 0.1f);
    tl_buffer_append_byte(&out, ' ');
    tl_json_append_string(&out, "a\"\n\x01\xff\xc3\xa9", 7);
    assert_string_equal(tl_buffer_string(&out),
                        "0.1 -58.933937072753906 0.1 \"a\\\"\\n\\u0001\xef\xbf\xbd\xc3\xa9\"");
    tl_buffer_free(&out);
}

static void test_json_puts_commas(void **state) {
    (void)state;
    tl_buffer out = {0};
    tl_json_open(&out, NULL, '{');
    tl_json_put_string(&out, "a", "x,");
    tl_json_open(&out, "b", '[');
    tl_json_put_int(&out, NULL, -1);
    tl_json_put_double(&out, NULL, NAN);
    tl_json_open(&out, NULL, '{');
    tl_buffer_append_string(&out, "}]");
    tl_json_put_name(&out, "c");
    tl_json_open(&out, NULL, '[');
    tl_json_put_string(&out, NULL, "{");
    tl_json_put_bool(&out, NULL, true);
    tl_buffer_append_string(&out, "]}");
    assert_string_equal(tl_buffer_string(&out),
                        "{\"a\":\"x,\",\"b\":[-1,null,{}],\"c\":[\"{\",true]}");
    tl_buffer_free(&out);
}

typedef struct tally {
    _Atomic int counts[1000];
} tally;

static void count_chunk(void *context, int chunk, int worker) {
    (void)worker;
    atomic_fetch_add(&((tally *)context)->counts[chunk], 1);
}

static void test_pool_runs_each_chunk_once(void **state) {
    (void)state;
    tl_error error = {0};
    for (int threads = 1; threads <= 5; threads += 2) {
        tl_pool *pool = tl_pool_new(threads, &error);
        assert_ok(pool, error);
        for (int round = 0; round < 2000; round++) {
            tally t = {0};
            int chunks = round % 37;
            tl_pool_run(pool, chunks, count_chunk, &t);
            for (int i = 0; i < chunks; i++)
                assert_int_equal(t.counts[i], 1);
            if (round % 500 == 0) tl_clock_sleep(0.01); /* let the workers fall asleep */
        }
        tl_pool_free(pool);
    }
    assert_null(tl_pool_new(-1, &error));
}

static void test_files(void **state) {
    (void)state;
    tl_error error = {0};
    const char *path = test_scratch_path("a/b/c.txt");
    test_write_text(path, "hello");
    tl_mapping mapping;
    assert_ok(tl_file_map(path, &mapping, &error), error);
    assert_int_equal(mapping.size, 5);
    assert_memory_equal(mapping.data, "hello", 5);
    tl_file_unmap(&mapping);
    assert_null(tl_file_read(path, 4, NULL, &error));
    assert_int_equal(error.code, TL_ERROR_LIMIT);
    assert_false(tl_file_map(test_scratch(), &mapping, &error));
    assert_false(tl_file_map("/nonexistent", &mapping, &error));
    test_assert_contains(error.message, "/nonexistent");
}

static void test_digest(void **state) {
    (void)state;
    char hex[TL_HEX_SIZE];
    assert_true(tl_sha256("abc", 3, hex));
    assert_string_equal(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    assert_null(tl_digest_new("no such thing"));
    tl_digest *blob = tl_digest_new_blob(3); /* as `printf abc | git hash-object --stdin` says */
    tl_digest_update(blob, "abc", 3);
    assert_true(tl_digest_finish(blob, hex));
    assert_string_equal(hex, "f2ba8f84ab5c1bce84a7b441cb1959cfc7093b7f");
    tl_digest_free(blob);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_errors_are_one_line),
        cmocka_unit_test(test_arena_reuses_memory_after_reset),
        cmocka_unit_test(test_map_finds_what_was_set),
        cmocka_unit_test(test_halves_round_trip),
        cmocka_unit_test(test_json_names_the_field),
        cmocka_unit_test(test_json_numbers_read_back),
        cmocka_unit_test(test_json_puts_commas),
        cmocka_unit_test(test_pool_runs_each_chunk_once),
        cmocka_unit_test(test_files),
        cmocka_unit_test(test_digest),
    };
    return cmocka_run_group_tests_name("base", tests, NULL, NULL);
}
