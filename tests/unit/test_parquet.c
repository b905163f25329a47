/* Parquet files written by pyarrow (tests/extra/make_parquet.py) read back equal to their JSONL;
 * damaged ones are refused. */
#include "hub/parquet.h"
#include "hub/parquet_parts.h"
#include "support/support.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FIXTURES TEST_SOURCE_DIR "/tests/fixtures/parquet"

/* The rows of a Parquet file against lines of JSON. */
static void compare_file(const char *directory, const char *stem) {
    char path[4096];
    tl_error error = {0};
    snprintf(path, sizeof path, "%s/%s.jsonl", directory, stem);
    char *lines = tl_file_read(path, (size_t)1 << 30, NULL, &error);
    assert_ok(lines, error);
    snprintf(path, sizeof path, "%s/%s.parquet", directory, stem);
    tl_parquet *parquet = tl_parquet_open(path, &error);
    assert_ok(parquet, error);
    int64_t rows = 0;
    cJSON *row;
    for (char *line = lines; *line; rows++) {
        size_t length = strcspn(line, "\n");
        cJSON *expected = tl_json_parse(line, length, stem, &error);
        assert_ok(expected, error);
        assert_ok(tl_parquet_next(parquet, &row, &error) && row, error);
        char *got = cJSON_PrintUnformatted(row);
        assert_non_null(got);
        cJSON *read = tl_json_parse(got, strlen(got), stem, &error);
        assert_ok(read, error);
        bool exact = strcmp(stem, "numbers") != 0 ||
                     (strlen(got) == length && memcmp(got, line, length) == 0);
        if (!exact || !cJSON_Compare(read, expected, true))
            fail_msg("%s row %lld:\n got %s\nwant %.*s", stem, (long long)rows, got, (int)length,
                     line);
        cJSON_free(got);
        cJSON_Delete(read);
        cJSON_Delete(row);
        cJSON_Delete(expected);
        line += length + (line[length] == '\n');
    }
    assert_ok(tl_parquet_next(parquet, &row, &error), error);
    assert_null(row);
    assert_int_equal(tl_parquet_count(parquet), rows);
    tl_parquet_free(parquet);
    free(lines);
}

static void test_fixtures(void **state) {
    (void)state;
    /* A larger set made on the spot may be given. */
    const char *chosen = getenv("TINYLLM_PARQUET_FILES");
    const char *directory = chosen ? chosen : FIXTURES;
    DIR *listing = opendir(directory);
    assert_non_null(listing);
    int compared = 0;
    for (struct dirent *entry; (entry = readdir(listing));) {
        char stem[256];
        size_t length = strlen(entry->d_name);
        if (length < 9 || strcmp(entry->d_name + length - 8, ".parquet") != 0) continue;
        snprintf(stem, sizeof stem, "%.*s", (int)length - 8, entry->d_name);
        compare_file(directory, stem);
        compared++;
    }
    closedir(listing);
    assert_true(compared >= 20);
}

/* Reads a file to its end; the number of rows, or -1 after an error, which must have a message. */
static int read_all(const char *path) {
    tl_error error = {0};
    tl_parquet *parquet = tl_parquet_open(path, &error);
    int rows = 0;
    cJSON *row = NULL;
    bool good = parquet != NULL;
    while (good && (good = tl_parquet_next(parquet, &row, &error)) && row) {
        cJSON_Delete(row);
        rows++;
    }
    tl_parquet_free(parquet);
    if (!good) assert_true(error.message[0] != 0 && error.code != TL_OK);
    return good ? rows : -1;
}

/* Every truncation is refused; every flipped byte is refused or read without harm. */
static void test_damage(void **state) {
    (void)state;
    static const char *const names[] = {"snappy-v1",           "zstd-v2", "gzip-v1", "pages",
                                        "delta_byte_array-v2", "rle-v1"};
    tl_error error = {0};
    for (size_t n = 0; n < sizeof names / sizeof *names; n++) {
        char source[4096];
        size_t length;
        snprintf(source, sizeof source, "%s/%s.parquet", FIXTURES, names[n]);
        char *bytes = tl_file_read(source, 1 << 24, &length, &error);
        assert_ok(bytes, error);
        const char *path = test_scratch_path("damaged.parquet");
        for (size_t cut = 0; cut < length; cut += length / 40 + 1) {
            FILE *file = fopen(path, "w");
            fwrite(bytes, 1, cut, file);
            fclose(file);
            assert_int_equal(read_all(path), -1);
        }
        for (size_t at = 0; at < length; at += length / 300 + 1) {
            bytes[at] ^= 0x55;
            FILE *file = fopen(path, "w");
            fwrite(bytes, 1, length, file);
            fclose(file);
            read_all(path);
            bytes[at] ^= 0x55;
        }
        free(bytes);
    }
}

/* A page with a checksum (the snappy fixtures have them) notices a flipped byte. */
static void test_checksum(void **state) {
    (void)state;
    tl_error error = {0};
    size_t length;
    char *bytes = tl_file_read(FIXTURES "/snappy-v1.parquet", 1 << 24, &length, &error);
    assert_ok(bytes, error);
    char *text = memmem(bytes, length, "row-0", 5);
    assert_non_null(text);
    *text ^= 1;
    const char *path = test_scratch_path("flipped.parquet");
    test_write_file(path, bytes, length);
    tl_parquet *parquet = tl_parquet_open(path, &error);
    assert_ok(parquet, error);
    cJSON *row;
    assert_false(tl_parquet_next(parquet, &row, &error));
    test_assert_contains(error.message, "checksum");
    tl_parquet_free(parquet);
    free(bytes);
}

static void test_snappy(void **state) {
    (void)state;
    unsigned char out[16];
    /* "abcabcabcx": a literal of 3, a reference of 6 back by 3, a literal of 1. */
    static const unsigned char good[] = {10, 2 << 2, 'a', 'b', 'c', (2 << 2) | 1, 3, 0, 'x'};
    assert_true(tl_snappy_decode(good, sizeof good, out, 10));
    assert_memory_equal(out, "abcabcabcx", 10);
    assert_false(tl_snappy_decode(good, sizeof good, out, 9));
    assert_false(tl_snappy_decode(good, sizeof good - 1, out, 10));
    static const unsigned char before_start[] = {4, 0, 'a', (0 << 2) | 1, 2};
    assert_false(tl_snappy_decode(before_start, sizeof before_start, out, 5));
    static const unsigned char zero_offset[] = {5, 0, 'a', (0 << 2) | 1, 0};
    assert_false(tl_snappy_decode(zero_offset, sizeof zero_offset, out, 5));
    static const unsigned char too_long[] = {2, 63 << 2, 0xff, 0xff, 0xff, 0xff, 'a'};
    assert_false(tl_snappy_decode(too_long, sizeof too_long, out, 2));
}

static void test_refused(void **state) {
    (void)state;
    tl_error error = {0};
    assert_null(tl_parquet_open(test_scratch_path("absent.parquet"), &error));
    test_write_text(test_scratch_path("html.parquet"), "<!doctype html><html></html>");
    assert_null(tl_parquet_open(test_scratch_path("html.parquet"), &error));
    test_assert_contains(error.message, "PAR1");
    test_write_text(test_scratch_path("empty.parquet"), "");
    assert_null(tl_parquet_open(test_scratch_path("empty.parquet"), &error));
    unsigned char out[4];
    assert_false(tl_parquet_decompress(4, out, 4, out, 4, "f", &error));
    test_assert_contains(error.message, "BROTLI");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fixtures), cmocka_unit_test(test_damage),
        cmocka_unit_test(test_checksum), cmocka_unit_test(test_snappy),
        cmocka_unit_test(test_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
