/* A minimal run written by W&B's own code, written again by ours: the same bytes. */
#include "report/wandb_log.h"
#include "support/support.h"

#include "wandb.pb-c.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void append(tl_wandb_log *log, Wb__Record *record, Wb__Record__RecordTypeCase kind) {
    tl_error error = {0};
    record->record_type_case = kind;
    uint8_t bytes[512];
    assert_true(wb__record__get_packed_size(record) <= sizeof bytes);
    size_t size = wb__record__pack(record, bytes);
    assert_ok(tl_wandb_log_append(log, bytes, size, &error), error);
    record->num++;
}

static Wb__Item make_item(const char *key, const char *json) {
    Wb__Item item = WB__ITEM__INIT;
    item.key = (char *)key;
    item.value_json = (char *)json;
    return item;
}

static void write_same(tl_wandb_log *log) {
    Wb__Record record = WB__RECORD__INIT;
    record.num = 1;
    Wb__VersionInfo version = WB__VERSION_INFO__INIT;
    version.producer = "tinyllm";
    Wb__HeaderRecord header = WB__HEADER_RECORD__INIT;
    header.version_info = &version;
    record.header = &header;
    append(log, &record, WB__RECORD__RECORD_TYPE_HEADER);

    Wb__Item model = make_item("model", "\"facebook/opt-125m\"");
    Wb__Item *config_items[] = {&model};
    Wb__ConfigRecord config = WB__CONFIG_RECORD__INIT;
    config.update = config_items;
    config.n_update = 1;
    char *tags[] = {"Orin", "piqa"};
    Wb__Timestamp start = WB__TIMESTAMP__INIT;
    start.seconds = 1700000000;
    Wb__RunRecord run = WB__RUN_RECORD__INIT;
    run.run_id = "abcd1234";
    run.project = "tinyllm";
    run.config = &config;
    run.display_name = "opt-125m in piqa";
    run.tags = tags;
    run.n_tags = 2;
    run.start_time = &start;
    record.run = &run;
    append(log, &record, WB__RECORD__RECORD_TYPE_RUN);

    Wb__Item values[] = {make_item("Accuracy", "49.4"), make_item("_step", "0"),
                         make_item("_runtime", "1.5"), make_item("_timestamp", "1700000001.5")};
    Wb__Item *pointers[] = {&values[0], &values[1], &values[2], &values[3]};
    Wb__HistoryStep step = WB__HISTORY_STEP__INIT;
    Wb__HistoryRecord history = WB__HISTORY_RECORD__INIT;
    history.item = pointers;
    history.n_item = 4;
    history.step = &step;
    record.history = &history;
    append(log, &record, WB__RECORD__RECORD_TYPE_HISTORY);

    Wb__SummaryRecord summary = WB__SUMMARY_RECORD__INIT;
    summary.update = pointers;
    summary.n_update = 1;
    record.summary = &summary;
    append(log, &record, WB__RECORD__RECORD_TYPE_SUMMARY);

    Wb__RunExitRecord end = WB__RUN_EXIT_RECORD__INIT;
    end.runtime = 2;
    record.exit = &end;
    append(log, &record, WB__RECORD__RECORD_TYPE_EXIT);

    Wb__FinalRecord final = WB__FINAL_RECORD__INIT;
    record.final = &final;
    append(log, &record, WB__RECORD__RECORD_TYPE_FINAL);
}

static void test_same_bytes(void **state) {
    (void)state;
    if (!test_shared()) skip();
    tl_error error = {0};
    size_t expected_size, size;
    char *expected = tl_file_read(test_shared_path("golden/wandb/min_vector.wandb"), 1 << 16,
                                  &expected_size, &error);
    assert_ok(expected, error);
    const char *path = test_scratch_path("ours.wandb");
    FILE *out = fopen(path, "wb");
    tl_wandb_log log;
    assert_ok(tl_wandb_log_begin(&log, out, &error), error);
    write_same(&log);
    fclose(out);
    char *ours = tl_file_read(path, 1 << 16, &size, &error);
    assert_ok(ours, error);
    assert_int_equal(size, expected_size);
    assert_memory_equal(ours, expected, size);
    free(expected);
    free(ours);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_same_bytes)};
    return cmocka_run_group_tests_name("wandb golden", tests, NULL, NULL);
}
