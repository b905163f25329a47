/* W&B runs: the framing at the edges of blocks, and a whole run read back. */
#include "report/export.h"
#include "report/wandb_log.h"
#include "support/run_fixture.h"
#include "support/support.h"

#include "wandb.pb-c.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

/* ---- a reader, written from the format's description, that trusts nothing ---- */

typedef struct record {
    unsigned char *bytes;
    size_t length;
} record;

typedef struct log_reader {
    unsigned char *file;
    size_t size, at;
    int chunks; /* read so far */
} log_reader;

static log_reader open_log(const char *path) {
    tl_error error = {0};
    log_reader reader = {0};
    reader.file = (unsigned char *)tl_file_read(path, 1 << 26, &reader.size, &error);
    assert_ok(reader.file, error);
    assert_true(reader.size >= 7);
    assert_memory_equal(reader.file, ":W&B\xe1\xbe\0", 7);
    reader.at = 7;
    return reader;
}

/* The next record; false at the end. Fails the test on anything out of order. */
static bool next_record(log_reader *reader, record *out) {
    *out = (record){0};
    for (int chunk = 0;; chunk++) {
        size_t room = 32768 - reader->at % 32768;
        if (room < 7) {
            for (size_t i = 0; i < room && reader->at + i < reader->size; i++)
                assert_int_equal(reader->file[reader->at + i], 0);
            reader->at += room;
        }
        if (reader->at >= reader->size && chunk == 0) return false;
        assert_true(reader->at + 7 <= reader->size);
        const unsigned char *head = reader->file + reader->at;
        size_t length = head[4] | (size_t)head[5] << 8;
        assert_true(reader->at % 32768 + 7 + length <= 32768);
        assert_true(reader->at + 7 + length <= reader->size);
        uint32_t crc =
            head[0] | (uint32_t)head[1] << 8 | (uint32_t)head[2] << 16 | (uint32_t)head[3] << 24;
        assert_int_equal(crc, crc32(0, head + 6, (uInt)length + 1));
        int kind = head[6];
        assert_true(chunk == 0 ? kind == 1 || kind == 2 : kind == 3 || kind == 4);
        out->bytes = realloc(out->bytes, out->length + length + 1);
        memcpy(out->bytes + out->length, head + 7, length);
        out->length += length;
        reader->at += 7 + length;
        reader->chunks++;
        if (kind == 1 || kind == 4) return true;
    }
}

/* Writes records of the given lengths and reads them back; returns the chunks it took. */
static int round_trip(const size_t *lengths, int count, size_t *file_size) {
    const char *path = test_scratch_path("log.wandb");
    FILE *out = fopen(path, "wb");
    tl_error error = {0};
    tl_wandb_log log;
    assert_ok(tl_wandb_log_begin(&log, out, &error), error);
    for (int i = 0; i < count; i++) {
        char *bytes = malloc(lengths[i] + 1);
        for (size_t k = 0; k < lengths[i]; k++)
            bytes[k] = (char)(k * 7 + (size_t)i);
        assert_ok(tl_wandb_log_append(&log, bytes, lengths[i], &error), error);
        free(bytes);
    }
    fclose(out);
    log_reader reader = open_log(path);
    *file_size = reader.size;
    record read;
    for (int i = 0; i < count; i++) {
        assert_true(next_record(&reader, &read));
        assert_int_equal(read.length, lengths[i]);
        for (size_t k = 0; k < read.length; k++)
            assert_int_equal(read.bytes[k], (unsigned char)(k * 7 + (size_t)i));
        free(read.bytes);
    }
    assert_false(next_record(&reader, &read));
    free(reader.file);
    return reader.chunks;
}

static void test_records_at_the_edges_of_blocks(void **state) {
    (void)state;
    enum { BLOCK = 32768, HEADS = 14 };
    static const struct {
        size_t lengths[3];
        int count, chunks;
        size_t size;
    } cases[] = {
        {{0}, 1, 1, HEADS},                                    /* empty */
        {{BLOCK - HEADS}, 1, 1, BLOCK},                        /* fills the block */
        {{BLOCK - HEADS + 1}, 1, 2, BLOCK + 7 + 1},            /* one byte more */
        {{BLOCK - HEADS - 6, 5}, 2, 2, BLOCK + 7 + 5},         /* six zeros, then the next block */
        {{BLOCK - HEADS - 7, 5}, 2, 3, BLOCK + 7 + 5},         /* room for a head alone */
        {{BLOCK - HEADS - 8, 5}, 2, 3, BLOCK + 7 + 4},         /* and for one byte */
        {{BLOCK - HEADS, 0}, 2, 2, BLOCK + 7},                 /* empty, at the start of a block */
        {{100000}, 1, 4, 7 + 100000 + 4 * 7},                  /* first, two middles, last */
        {{3 * BLOCK - 7 - 3 * 7, 1}, 2, 4, 3 * BLOCK + 7 + 1}, /* ends with a block */
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        size_t size;
        assert_int_equal(round_trip(cases[i].lengths, cases[i].count, &size), cases[i].chunks);
        assert_int_equal(size, cases[i].size);
    }
}

/* ---- a whole run ---- */

/* The only entry of a directory whose name ends so. */
static const char *entry(const char *directory, const char *ending) {
    static char found[512];
    DIR *d = opendir(directory);
    assert_non_null(d);
    int count = 0;
    for (struct dirent *e; (e = readdir(d));) {
        size_t length = strlen(e->d_name);
        if (length < strlen(ending) || strcmp(e->d_name + length - strlen(ending), ending) != 0 ||
            e->d_name[0] == '.')
            continue;
        snprintf(found, sizeof found, "%s/%s", directory, e->d_name);
        count++;
    }
    closedir(d);
    assert_int_equal(count, 1);
    return found;
}

static const char *item(Wb__Item *const *items, size_t count, const char *key) {
    for (size_t i = 0; i < count; i++)
        if (strcmp(items[i]->key, key) == 0) return items[i]->value_json;
    fail_msg("no item '%s'", key);
    return NULL;
}

static void check_run(const Wb__RunRecord *run) {
    assert_string_equal(run->display_name, "tiny-a-20M in arc_easy");
    assert_string_equal(run->project, "tinyllm");
    assert_int_equal(run->n_tags, 3);
    assert_string_equal(run->tags[0], "Board 2C");
    assert_string_equal(run->tags[1], "tiny-a-20M");
    assert_string_equal(run->tags[2], "arc_easy");
    assert_true(run->start_time->seconds > 1700000000);
    Wb__Item *const *config = run->config->update;
    size_t count = run->config->n_update;
    assert_string_equal(item(config, count, "model"), "\"org/tiny-a-20M\"");
    assert_string_equal(item(config, count, "dtype"), "\"f32\"");
    test_assert_contains(item(config, count, "device_facts"), "Test core");
}

static void check_summary(const Wb__SummaryRecord *summary) {
    Wb__Item *const *items = summary->update;
    size_t count = summary->n_update;
    int correct = 0;
    for (int i = 0; i < 40; i++)
        correct += run_fixture_right(0, 0, i);
    assert_float_equal(atof(item(items, count, "Accuracy (%)")), correct / 0.4, 1e-9);
    assert_float_equal(atof(item(items, count, "Model size (MB)")), 76, 1e-9);
    assert_string_equal(item(items, count, "Max swap (MB)"), "NaN");
    assert_string_equal(item(items, count, "verdict"), "\"done\"");
    test_assert_contains(item(items, count, "examples"), "table-file");
}

static void check_table(const char *directory, const char *value) {
    tl_error error = {0};
    cJSON *mention = tl_json_parse(value, strlen(value), "mention", &error);
    assert_ok(mention, error);
    const char *path = cJSON_GetStringValue(tl_json_get(mention, "path"));
    char full[1024], hex[TL_HEX_SIZE];
    snprintf(full, sizeof full, "%s/files/%s", directory, path);
    size_t length;
    char *text = tl_file_read(full, 1 << 24, &length, &error);
    assert_ok(text, error);
    assert_true(tl_sha256(text, length, hex));
    assert_string_equal(cJSON_GetStringValue(tl_json_get(mention, "sha256")), hex);
    test_assert_contains(path, "media/table/examples_0_");
    assert_memory_equal(path + strlen("media/table/examples_0_"), hex, 20);
    assert_int_equal(tl_json_get(mention, "size")->valueint, length);
    assert_int_equal(tl_json_get(mention, "nrows")->valueint, 40);
    cJSON *table = tl_json_parse(text, length, "table", &error);
    assert_ok(table, error);
    const cJSON *columns = tl_json_get(table, "columns"), *data = tl_json_get(table, "data");
    assert_int_equal(cJSON_GetArraySize(data), 40);
    assert_int_equal(cJSON_GetArraySize(columns), tl_json_get(mention, "ncols")->valueint);
    const cJSON *row;
    cJSON_ArrayForEach(row, data) {
        assert_int_equal(cJSON_GetArraySize(row), cJSON_GetArraySize(columns));
    }
    assert_string_equal(cJSON_GetStringValue(cJSON_GetArrayItem(columns, 1)), "question");
    row = cJSON_GetArrayItem(data, 7);
    const char *gold = cJSON_GetStringValue(cJSON_GetArrayItem(row, 3));
    const char *prediction = cJSON_GetStringValue(cJSON_GetArrayItem(row, 4));
    assert_int_equal(strcmp(gold, prediction) == 0, run_fixture_right(0, 0, 7));
    assert_int_equal(cJSON_IsTrue(cJSON_GetArrayItem(row, 5)), run_fixture_right(0, 0, 7));
    cJSON_Delete(table);
    cJSON_Delete(mention);
    free(text);
}

static void test_a_run_reads_back(void **state) {
    (void)state;
    tl_error error = {0};
    const char *directory = test_scratch_path("run"), *out = test_scratch_path("wandb");
    run_fixture_write(directory, &(run_fixture){1, 1, 40});
    int count;
    assert_ok(tl_export_wandb(directory, out, "tinyllm", &count, &error), error);
    assert_int_equal(count, 1);
    char run[512];
    snprintf(run, sizeof run, "%s", entry(out, ""));
    test_assert_contains(run, "/offline-run-");
    log_reader reader = open_log(entry(run, ".wandb"));
    static const Wb__Record__RecordTypeCase kinds[] = {
        WB__RECORD__RECORD_TYPE_HEADER,  WB__RECORD__RECORD_TYPE_RUN,
        WB__RECORD__RECORD_TYPE_FILES,   WB__RECORD__RECORD_TYPE_HISTORY,
        WB__RECORD__RECORD_TYPE_SUMMARY, WB__RECORD__RECORD_TYPE_STATS,
        WB__RECORD__RECORD_TYPE_EXIT,    WB__RECORD__RECORD_TYPE_FINAL};
    record read;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        assert_true(next_record(&reader, &read));
        Wb__Record *message = wb__record__unpack(NULL, read.length, read.bytes);
        assert_non_null(message);
        assert_int_equal(message->num, i + 1);
        assert_int_equal(message->record_type_case, kinds[i]);
        if (message->record_type_case == WB__RECORD__RECORD_TYPE_RUN) check_run(message->run);
        if (message->record_type_case == WB__RECORD__RECORD_TYPE_SUMMARY)
            check_summary(message->summary);
        if (message->record_type_case == WB__RECORD__RECORD_TYPE_HISTORY)
            check_table(run, item(message->history->item, message->history->n_item, "examples"));
        if (message->record_type_case == WB__RECORD__RECORD_TYPE_EXIT)
            assert_int_equal(message->exit->exit_code, 0);
        wb__record__free_unpacked(message, NULL);
        free(read.bytes);
    }
    assert_false(next_record(&reader, &read));
    free(reader.file);
    assert_ok(tl_export_wandb(directory, out, "tinyllm", &count, &error), error);
    entry(out, ""); /* again: the same run, not a second one */
}

static void test_failed_cells_exit_1_and_unfinished_ones_stay(void **state) {
    (void)state;
    tl_error error = {0};
    const char *directory = test_scratch_path("troubled"), *out = test_scratch_path("wandb2");
    run_fixture_write(directory, &(run_fixture){1, 3, 20, .troubled = true});
    int count;
    assert_ok(tl_export_wandb(directory, out, "tinyllm", &count, &error), error);
    assert_int_equal(count, 2);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_records_at_the_edges_of_blocks),
        cmocka_unit_test(test_a_run_reads_back),
        cmocka_unit_test(test_failed_cells_exit_1_and_unfinished_ones_stay),
    };
    return cmocka_run_group_tests_name("wandb", tests, NULL, NULL);
}
