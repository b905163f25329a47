/* tinyllm merge and tinyllm doctor. */
#include "support/background.h"
#include "support/fixture.h"
#include "support/support.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int make_fixtures(void **state) {
    (void)state;
    if (chdir(test_scratch()) != 0) return 1;
    fixture_checkpoint("llama", &fixture_small);
    fixture_model gpt2 = {"gpt2", 16, 2, 2, 32, 512, 7};
    fixture_checkpoint("gpt2", &gpt2);
    fixture_rows("data/piqa/validation.jsonl", "piqa", 60);
    fixture_rows("data/arc_easy/validation.jsonl", "arc_easy", 30);
    return 0;
}

static void run_ok(const char *const arguments[]) {
    test_result result = test_run(NULL, arguments);
    if (result.status != 0) fail_msg("status %d: %s", result.status, result.err);
    test_result_free(&result);
}
#define RUN_OK(...) run_ok((const char *const[]){__VA_ARGS__, NULL})

/* The cells of a digest, sorted: merged stores hold them in another order. */
static int by_text(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void assert_same_cells(char *a, char *b) {
    char *texts[2] = {a, b}, *lines[2][2000];
    size_t counts[2] = {0, 0};
    for (int side = 0; side < 2; side++) {
        char *rest = texts[side];
        for (char *line; (line = strsep(&rest, "\n"));)
            if (*line && counts[side] < 2000) lines[side][counts[side]++] = line;
        qsort(lines[side], counts[side], sizeof *lines[side], by_text);
    }
    assert_int_equal(counts[0], counts[1]);
    for (size_t i = 0; i < counts[0]; i++)
        assert_string_equal(lines[0][i], lines[1][i]);
    free(a);
    free(b);
}

static void test_shards_merge_into_the_whole(void **state) {
    (void)state;
    RUN_OK("run", "-m", "llama,gpt2", "-t", "arc_easy,piqa", "--data-dir", "data", "-o", "whole");
    RUN_OK("run", "-m", "llama,gpt2", "-t", "arc_easy,piqa", "--data-dir", "data", "-o", "s1",
           "--shard", "1/3");
    RUN_OK("run", "-m", "llama,gpt2", "-t", "arc_easy,piqa", "--data-dir", "data", "-o", "s2",
           "--shard", "2/3");
    RUN_OK("run", "-m", "llama,gpt2", "-t", "arc_easy,piqa", "--data-dir", "data", "-o", "s3",
           "--shard", "3/3");
    RUN_OK("merge", "s1", "s2", "s3", "-o", "merged");
    assert_same_cells(background_digest("merged"), background_digest("whole"));
    RUN_OK("merge", "s2", "whole", "-o", "merged"); /* again: nothing is doubled */
    assert_same_cells(background_digest("merged"), background_digest("whole"));
}

static void test_halves_of_a_cell_are_united(void **state) {
    (void)state;
    RUN_OK("run", "-m", "llama", "-t", "piqa", "--data-dir", "data", "-o", "full");
    /* Two copies, each robbed of other examples, as if each had been stopped. */
    static const char *const robberies[2] = {"DELETE FROM example WHERE row < 30",
                                             "DELETE FROM example WHERE row > 35"};
    for (int i = 0; i < 2; i++) {
        char command[256];
        snprintf(command, sizeof command,
                 "cp -r full half%d && python3 -c \"import sqlite3; d = "
                 "sqlite3.connect('half%d/run.sqlite'); d.execute('%s'); d.execute(\\\"UPDATE cell "
                 "SET verdict = 'interrupted'\\\"); d.commit()\"",
                 i, i, robberies[i]);
        if (system(command) != 0) skip(); /* no python3 */
    }
    assert_int_equal(background_examples("half0"), 30);
    RUN_OK("merge", "half0", "half1", "-o", "united");
    assert_same_cells(background_digest("united"), background_digest("full"));
}

static void test_devices_stay_apart(void **state) {
    (void)state;
    test_write_text("board/etc/machine-id", "0123456789abcdef\n");
    test_write_text("board/proc/device-tree/model", "A Board");
    RUN_OK("run", "-m", "llama", "-t", "piqa", "--data-dir", "data", "-o", "here");
    RUN_OK("run", "-m", "llama", "-t", "piqa", "--data-dir", "data", "-o", "there", "--sysroot",
           "board");
    RUN_OK("merge", "here", "there", "-o", "both");
    assert_int_equal(background_examples("both"), 120);
    test_result report = TEST_RUN(NULL, "report", "both");
    assert_int_equal(report.status, 0);
    test_assert_contains(report.out, "A Board");
    test_result_free(&report);
}

static void test_other_identities_are_refused_whole(void **state) {
    (void)state;
    RUN_OK("run", "-m", "llama,gpt2", "-t", "piqa", "--data-dir", "data", "-o", "sixty");
    RUN_OK("run", "-m", "gpt2,llama", "-t", "piqa", "--data-dir", "data", "-o", "ten", "--limit",
           "10");
    RUN_OK("merge", "sixty", "-o", "mixed");
    test_result result = TEST_RUN(NULL, "merge", "ten", "-o", "mixed");
    assert_int_equal(result.status, 2);
    test_assert_contains(result.err, "another limit");
    test_result_free(&result);
    assert_same_cells(background_digest("mixed"), background_digest("sixty"));
}

static void test_wrong_usage_and_absent_runs(void **state) {
    (void)state;
    static const struct {
        const char *arguments[6];
        int status;
    } cases[] = {{{"merge", "here"}, 2},
                 {{"merge", "-o", "x"}, 2},
                 {{"merge", "absent", "-o", "x"}, 1},
                 {{"doctor", "extra"}, 2}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        test_result result = test_run(NULL, cases[i].arguments);
        assert_int_equal(result.status, cases[i].status);
        test_result_free(&result);
    }
}

static void test_the_doctor_knows_the_board(void **state) {
    (void)state;
    test_write_text("pi/proc/device-tree/model", "Raspberry Pi 5 Model B Rev 1.0");
    test_write_text("pi/proc/meminfo", "MemTotal: 8245000 kB\nMemAvailable: 900000 kB\n"
                                       "SwapTotal: 2000000 kB\nSwapFree: 1000000 kB\n");
    test_write_text("pi/sys/devices/system/cpu/cpufreq/policy0/scaling_governor", "ondemand\n");
    test_result result = TEST_RUN(NULL, "doctor", "--json", "--sysroot", "pi");
    assert_int_equal(result.status, 0);
    tl_error error = {0};
    cJSON *json = tl_json_parse(result.out, strlen(result.out), "doctor", &error);
    assert_ok(json, error);
    assert_string_equal(tl_json_get(json, "device")->valuestring, "Raspberry Pi 5 Model B Rev 1.0");
    assert_int_equal(tl_json_get(tl_json_get(json, "facts"), "memory_mb")->valueint, 8051);
    assert_string_equal(tl_json_get(tl_json_get(json, "state"), "governor")->valuestring,
                        "ondemand");
    assert_true(cJSON_GetArraySize(tl_json_get(json, "advice")) >= 4);
    cJSON_Delete(json);
    test_result plain = TEST_RUN(NULL, "doctor", "--sysroot", "pi");
    test_assert_contains(plain.out, "the governor is ondemand");
    test_assert_contains(plain.out, "976 MB are in swap");
    test_assert_contains(plain.out, "only 878 of 8051 MB are free");
    test_result_free(&plain);
    test_result_free(&result);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shards_merge_into_the_whole),
        cmocka_unit_test(test_halves_of_a_cell_are_united),
        cmocka_unit_test(test_devices_stay_apart),
        cmocka_unit_test(test_other_identities_are_refused_whole),
        cmocka_unit_test(test_wrong_usage_and_absent_runs),
        cmocka_unit_test(test_the_doctor_knows_the_board),
    };
    return cmocka_run_group_tests_name("merge", tests, make_fixtures, NULL);
}
