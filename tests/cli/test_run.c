/* tinyllm run as a user meets it: tables, refusals, verdicts of cells that really die that way,
 * interruption and resumption. */
#include "support/background.h"
#include "support/fixture.h"
#include "support/support.h"

#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

static int make_fixtures(void **state) {
    (void)state;
    if (chdir(test_scratch()) != 0) return 1;
    fixture_checkpoint(test_scratch_path("llama"), &fixture_small);
    fixture_model gpt2 = {"gpt2", 16, 2, 2, 32, 512, 7};
    fixture_checkpoint(test_scratch_path("gpt2"), &gpt2);
    /* Slow enough that something can happen to it meanwhile. */
    fixture_model slow = {"llama", test_brief() ? 48 : 256, 8, 8, 1024, 65536, 3};
    fixture_checkpoint(test_scratch_path("slow"), &slow);
    /* Many layers: keys and values of 8 KB a token. */
    fixture_model deep = {"llama", 32, 64, 4, 32, 65536, 5};
    fixture_checkpoint(test_scratch_path("deep"), &deep);
    fixture_rows(test_scratch_path("data/piqa/validation.jsonl"), "piqa", 40);
    fixture_rows(test_scratch_path("data/arc_easy/validation.jsonl"), "arc_easy", 30);
    fixture_rows(test_scratch_path("many.jsonl"), "piqa", 5000);
    return 0;
}

static void test_tables_come_out(void **state) {
    (void)state;
    test_result result = TEST_RUN(NULL, "run", "-m", "llama", "-m", "gpt2", "-t", "arc_easy,piqa",
                                  "--data-dir", "data", "-o", "tables");
    assert_int_equal(result.status, 0);
    static const char *const parts[] = {"Accuracy (%)", "Inference time (ms)",
                                        "Peak memory",  "Model size (MB)",
                                        "ARC-e",        "PIQA",
                                        "llama",        "gpt2"};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        test_assert_contains(result.out, parts[i]);
    assert_null(strstr(result.out, "nan"));
    test_assert_contains(result.err, "[4/4] gpt2 on piqa");
    assert_null(strchr(result.err, '\r')); /* plain lines: not a terminal */
    assert_int_equal(background_examples("tables"), 140);
    /* The same again has nothing to do and shows the same. */
    test_result again = TEST_RUN(NULL, "run", "-m", "llama", "-m", "gpt2", "-t", "arc_easy,piqa",
                                 "--data-dir", "data", "-o", "tables");
    assert_int_equal(again.status, 0);
    assert_string_equal(again.out, result.out);
    assert_string_equal(again.err, "");
    test_result_free(&result);
    test_result_free(&again);
}

static void test_limits_count_rows(void **state) {
    (void)state;
    test_result result = TEST_RUN(NULL, "run", "-m", "llama", "-t", "piqa", "--data", "many.jsonl",
                                  "-o", "limited", "--limit", "7", "--protocol", "letter");
    assert_int_equal(result.status, 0);
    assert_int_equal(background_examples("limited"), 7);
    test_result_free(&result);
    /* Without a limit PIQA has as many as the published study asked. */
    result = TEST_RUN(NULL, "run", "-m", "llama", "-t", "piqa", "--data", "many.jsonl", "-o",
                      "studied", "--batched");
    assert_int_equal(result.status, 0);
    assert_int_equal(background_examples("studied"), 1000);
    test_result_free(&result);
}

static void test_all_that_is_unknown_is_listed_at_once(void **state) {
    (void)state;
    test_result result =
        TEST_RUN(NULL, "run", "-m", "llama,nowhere/nothing,./missing", "-t",
                 "piqa,arc_hardest,none.yaml", "--data-dir", "data", "-o", "unknown");
    assert_int_equal(result.status, 1);
    assert_string_equal(result.out, "");
    static const char *const names[] = {"nowhere/nothing", "./missing", "arc_hardest", "none.yaml"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        test_assert_contains(result.err, names[i]);
    assert_int_equal(background_examples("unknown"), -1); /* nothing was begun */
    test_result_free(&result);
}

static void test_what_is_asked_twice_is_asked_once(void **state) {
    (void)state;
    fixture_checkpoint(test_scratch_path("elsewhere/llama"), &fixture_small);
    test_result result = TEST_RUN(NULL, "run", "-m", "llama,./llama,elsewhere/llama", "-t", "piqa",
                                  "--data-dir", "data", "-o", "twice");
    assert_int_equal(result.status, 0);
    test_assert_contains(result.err, "[2/2] elsewhere/llama on piqa");
    test_assert_contains(result.out, "| elsewhere/llama ");
    assert_int_equal(background_examples("twice"), 80);
    test_result_free(&result);
}

static void test_tasks_of_one_name_are_refused(void **state) {
    (void)state;
    static const char *const files[] = {"one.yaml", "two.yaml"};
    for (int i = 0; i < 2; i++)
        test_write_text(files[i], i ? "name: mine\nsplit: test\nquestion: \"{goal}\"\n"
                                      "choices: [\"{sol1}\", \"{sol2}\"]\ngold: \"{label}\"\n"
                                    : "name: mine\nsplit: test\nquestion: \"Q: {goal}\"\n"
                                      "choices: [\"{sol1}\", \"{sol2}\"]\ngold: \"{label}\"\n");
    test_result result = TEST_RUN(NULL, "run", "-m", "llama", "-t", "one.yaml,./one.yaml,two.yaml",
                                  "--data-dir", "data", "-o", "refused");
    assert_int_equal(result.status, 1);
    test_assert_contains(result.err, "two.yaml: has the name mine, as one.yaml has");
    test_result_free(&result);
}

static void test_bad_rows_are_named_before_anything_runs(void **state) {
    (void)state;
    test_write_text("bad.jsonl",
                    "{\"goal\":\"a\",\"sol1\":\"b\",\"sol2\":\"c\",\"label\":0}\n{oops\n");
    test_write_text("empty.jsonl", "");
    static const char *const files[][2] = {{"bad.jsonl", "bad.jsonl:2"},
                                           {"empty.jsonl", "no rows"}};
    for (int i = 0; i < 2; i++) {
        test_result result =
            TEST_RUN(NULL, "run", "-m", "llama", "-t", "piqa", "--data", files[i][0], "-o", "rows");
        assert_int_equal(result.status, 1);
        test_assert_contains(result.err, files[i][1]);
        test_result_free(&result);
    }
}

static void test_wrong_usage_is_told(void **state) {
    (void)state;
    static const char *const cases[][12] = {
        {"run", "-t", "piqa"},
        {"run", "-m", "llama"},
        {"run", "-m", "llama", "-t", "piqa", "--protocol", "oracle"},
        {"run", "-m", "llama", "-t", "piqa", "--dtype", "f8"},
        {"run", "-m", "llama", "-t", "piqa", "--shard", "3/2"},
        {"run", "-m", "llama", "-t", "piqa", "--memory-limit", "lots"},
        {"run", "-m", "llama", "-t", "piqa", "--time-limit", "-3"},
        {"run", "-m", "llama", "-t", "piqa", "--order", "random"},
        {"run", "-m", "llama", "-t", "piqa", "--shots", "2"},
        {"run", "-m", "llama", "-t", "piqa", "extra"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        test_result result = test_run(NULL, cases[i]);
        assert_int_equal(result.status, 2);
        test_assert_contains(result.err, "tinyllm run: ");
        test_result_free(&result);
    }
}

/* ---- verdicts ---- */

static void assert_verdict(const char *name, tl_verdict verdict, const char *part) {
    char reason[512];
    tl_verdict found = background_verdict(name, reason, sizeof reason);
    if (found != verdict)
        fail_msg("expected %s, found %s: %s", tl_verdict_name(verdict), tl_verdict_name(found),
                 reason);
    test_assert_contains(reason, part);
}

static char *read_text(const char *path) {
    tl_error error = {0};
    char *text = tl_file_read(path, 1 << 20, NULL, &error);
    assert_ok(text, error);
    return text;
}

/* Starts a run of the slow model, does something to its worker once it is answering, and gives the
 * run's exit status. */
static int run_disturbed(const char *name, int signal_number, const char *option,
                         const char *value) {
    pid_t run = background_start((const char *const[]){
        "run", "-m", "slow", "-m", "llama", "-t", "piqa", "--data", "many.jsonl", "--limit", "300",
        "-o", name, "--threads", "1", option, value, NULL});
    for (int i = 0; i < 3000 && background_examples(name) < 3; i++)
        usleep(10000);
    if (signal_number) {
        pid_t worker = background_worker(run, 30);
        assert_true(worker > 0);
        kill(worker, signal_number);
    }
    return background_wait(run);
}

static void assert_swept_on(const char *name) {
    char *out = read_text("out.txt");
    test_assert_contains(out, "nan");
    test_assert_contains(out, "| llama");
    free(out);
    /* The slow model's examples so far, and all of the other's. */
    assert_true(background_examples(name) >= 303);
}

static void test_a_crash_is_a_verdict(void **state) {
    (void)state;
    assert_int_equal(run_disturbed("crashed", SIGSEGV, NULL, NULL), 0);
#if !TEST_SANITIZED
    assert_verdict("crashed", TL_VERDICT_CRASHED, "SIGSEGV");
#endif
    assert_swept_on("crashed");
}

static void test_silence_is_a_verdict(void **state) {
    (void)state;
    if (test_brief()) skip(); /* limits of a second or two need a worker at its usual pace */
    assert_int_equal(run_disturbed("stalled", SIGSTOP, "--stall-limit", "1s"), 0);
    assert_verdict("stalled", TL_VERDICT_STALLED, "no progress for 1 s");
    assert_swept_on("stalled");
}

static void test_time_is_a_verdict(void **state) {
    (void)state;
    if (test_brief()) skip(); /* limits of a second or two need a worker at its usual pace */
    fixture_rows("endless.jsonl", "piqa", 5000);
    test_result result =
        TEST_RUN(NULL, "run", "-m", "slow", "-t", "piqa", "--data", "endless.jsonl", "--limit", "0",
                 "-o", "late", "--time-limit", "1s", "--protocol", "loglikelihood");
    assert_int_equal(result.status, 0);
    assert_verdict("late", TL_VERDICT_TIMEOUT, "time limit of 1 s");
    test_assert_contains(result.out, "nan");
    assert_true(background_examples("late") > 0);
    test_result_free(&result);
}

static void test_too_little_memory_is_seen_before_loading(void **state) {
    (void)state;
    test_result result = TEST_RUN(NULL, "run", "-m", "slow", "-t", "piqa", "--data-dir", "data",
                                  "-o", "predicted", "--memory-limit", "20M");
    assert_int_equal(result.status, 0);
    assert_verdict("predicted", TL_VERDICT_PREDICTED_OOM, "the memory limit is 20 MB");
    test_assert_contains(result.out, "nan");
    test_result_free(&result);
    /* What the system has counts too. */
    test_write_text("small/proc/meminfo", "MemTotal: 900000 kB\nMemAvailable: 30000 kB\n");
    result = TEST_RUN(NULL, "run", "-m", "slow", "-t", "piqa", "--data-dir", "data", "-o",
                      "available", "--sysroot", "small");
    assert_int_equal(result.status, 0);
    assert_verdict("available", TL_VERDICT_PREDICTED_OOM, "available is only 29 MB");
    test_result_free(&result);
}

/* A question far longer than the study's prompts needs keys and values that nobody foresaw. */
static void test_a_share_of_unknown_memory_is_refused(void **state) {
    (void)state;
    tl_error error = {0};
    assert_ok(tl_dir_create("nothing", &error), error);
    test_result result = TEST_RUN(NULL, "run", "-m", "llama", "-t", "piqa", "--data-dir", "data",
                                  "-o", "share", "--memory-limit", "80%", "--sysroot", "nothing");
    assert_int_equal(result.status, 2);
    test_assert_contains(result.err, "80 % needs MemTotal");
    test_result_free(&result);
}

static void test_memory_that_runs_out_is_a_verdict(void **state) {
    (void)state;
    enum { LONG = 7000 };
    tl_buffer row = {0};
    tl_buffer_append_string(&row, "{\"goal\":\"");
    for (int i = 0; i < LONG; i++)
        tl_buffer_append_byte(&row, "abcdefg "[i % 8]);
    tl_buffer_append_string(&row, "\",\"sol1\":\"b\",\"sol2\":\"c\",\"label\":0}\n");
    test_write_text("long.jsonl", row.data);
    tl_buffer_free(&row);
    test_result result =
        TEST_RUN(NULL, "run", "-m", "deep", "-t", "piqa", "--data", "long.jsonl", "-o", "oom",
                 "--protocol", "loglikelihood", "--memory-limit", "26M");
    assert_int_equal(result.status, 0);
    assert_verdict("oom", TL_VERDICT_OOM_KILLED, "memory");
    test_assert_contains(result.out, "nan");
    test_result_free(&result);
}

static void test_unreadable_models_are_verdicts_among_others(void **state) {
    (void)state;
    fixture_checkpoint("short", &fixture_small);
    assert_int_equal(truncate("short/model.safetensors", 5000), 0);
    fixture_checkpoint("foreign", &fixture_small);
    test_write_text("foreign/config.json", "{\"model_type\":\"oracle\"}");
    test_result result =
        TEST_RUN(NULL, "run", "-m", "short", "-t", "piqa", "--data-dir", "data", "-o", "short-run");
    assert_int_equal(result.status, 1); /* nothing at all could be read */
    assert_verdict("short-run", TL_VERDICT_LOAD_ERROR, "model.safetensors");
    test_assert_contains(result.err, "model.safetensors");
    test_result_free(&result);
    result = TEST_RUN(NULL, "run", "-m", "foreign,llama", "-t", "piqa", "--data-dir", "data", "-o",
                      "foreign-run");
    assert_int_equal(result.status, 0);
    assert_verdict("foreign-run", TL_VERDICT_UNSUPPORTED, "oracle");
    assert_int_equal(background_examples("foreign-run"), 40);
    test_result_free(&result);
}

/* ---- stopping and going on ---- */

static void test_interrupted_runs_continue(void **state) {
    (void)state;
    const int rows = test_brief() ? 12 : 50;
    const char *const command[] = {"run",        "-m",      "slow",
                                   "-t",         "piqa",    "--data",
                                   "many.jsonl", "--limit", test_brief() ? "12" : "50",
                                   "-o",         "stopped", NULL};
    pid_t run = background_start(command);
    for (int i = 0; i < 3000 && background_examples("stopped") < 3; i++)
        usleep(10000);
    kill(run, SIGINT);
    assert_int_equal(background_wait(run), 130);
    char *err = read_text("err.txt");
    test_assert_contains(err, "the same command continues at the next example");
    free(err);
    char reason[64];
    assert_int_equal(background_verdict("stopped", reason, sizeof reason), TL_VERDICT_INTERRUPTED);
    int64_t stored = background_examples("stopped");
    assert_true(stored >= 3 && stored < rows);
    assert_int_equal(background_wait(background_start(command)), 0);
    assert_int_equal(background_examples("stopped"), rows);
    assert_int_equal(background_verdict("stopped", reason, sizeof reason), TL_VERDICT_DONE);
}

/* timeout(1) and service managers tell the worker too: still the run decides. */
static void test_a_signal_to_all_is_no_crash(void **state) {
    (void)state;
    const char *const command[] = {"run",    "-m",         "slow", "-t",  "piqa",
                                   "--data", "many.jsonl", "-o",   "all", NULL};
    pid_t run = background_start(command);
    for (int i = 0; i < 3000 && background_examples("all") < 1; i++)
        usleep(10000);
    pid_t worker = background_worker(run, 5);
    assert_true(worker > 0);
    kill(worker, SIGTERM);
    usleep(50000);
    kill(run, SIGTERM);
    assert_int_equal(background_wait(run), 130);
    char reason[64];
    assert_int_equal(background_verdict("all", reason, sizeof reason), TL_VERDICT_INTERRUPTED);
}

static void test_nohup_has_its_way(void **state) {
    (void)state;
    const int rows = test_brief() ? 400 : 2000;
    const char *const command[] = {"run",        "-m",      "llama",
                                   "-t",         "piqa",    "--data",
                                   "many.jsonl", "--limit", test_brief() ? "400" : "2000",
                                   "-o",         "nohup",   NULL};
    signal(SIGHUP, SIG_IGN); /* as nohup leaves it */
    pid_t run = background_start(command);
    signal(SIGHUP, SIG_DFL);
    for (int i = 0; i < 3000 && background_examples("nohup") < 1; i++)
        usleep(10000);
    kill(run, SIGHUP);
    assert_int_equal(background_wait(run), 0);
    assert_int_equal(background_examples("nohup"), rows);
}

static void test_another_identity_is_refused(void **state) {
    (void)state;
    test_result result =
        TEST_RUN(NULL, "run", "-m", "llama", "-t", "piqa", "--data-dir", "data", "-o", "identity");
    assert_int_equal(result.status, 0);
    test_result_free(&result);
    result = TEST_RUN(NULL, "run", "-m", "llama", "-t", "piqa", "--data-dir", "data", "-o",
                      "identity", "--limit", "5");
    assert_int_equal(result.status, 2);
    test_assert_contains(result.err, "another limit: it was 1000, and now it is 5");
    test_result_free(&result);
    /* Other weights under the same name. */
    fixture_model other = fixture_small;
    other.seed = 99;
    fixture_checkpoint("moved", &other);
    assert_int_equal(rename("llama/model.safetensors", "llama/kept"), 0);
    assert_int_equal(rename("moved/model.safetensors", "llama/model.safetensors"), 0);
    result =
        TEST_RUN(NULL, "run", "-m", "llama", "-t", "piqa", "--data-dir", "data", "-o", "identity");
    assert_int_equal(rename("llama/kept", "llama/model.safetensors"), 0);
    assert_int_equal(result.status, 2);
    test_assert_contains(result.err, "another weights");
    test_result_free(&result);
}

static void test_a_run_in_use_is_refused(void **state) {
    (void)state;
    pid_t run = background_start((const char *const[]){"run", "-m", "slow", "-t", "piqa", "--data",
                                                       "many.jsonl", "-o", "busy", NULL});
    for (int i = 0; i < 3000 && background_examples("busy") < 1; i++)
        usleep(10000);
    test_result result =
        TEST_RUN(NULL, "run", "-m", "slow", "-t", "piqa", "--data", "many.jsonl", "-o", "busy");
    kill(run, SIGKILL);
    background_wait(run);
    assert_int_equal(result.status, 1);
    char expected[64];
    snprintf(expected, sizeof expected, "in use by another run (process %ld)", (long)run);
    test_assert_contains(result.err, expected);
    test_result_free(&result);
}

static void test_shards_make_the_whole(void **state) {
    (void)state;
    int64_t examples = 0;
    for (int shard = 1; shard <= 3; shard++) {
        char share[16], name[16];
        snprintf(share, sizeof share, "%d/3", shard);
        snprintf(name, sizeof name, "shard%d", shard);
        test_result result = TEST_RUN(NULL, "run", "-m", "llama,gpt2", "-t", "arc_easy,piqa",
                                      "--data-dir", "data", "-o", name, "--shard", share);
        assert_int_equal(result.status, 0);
        examples += background_examples(name);
        test_result_free(&result);
    }
    assert_int_equal(examples, 140);
}

/* Peak memory is the worker's own, as the system counted it for the largest of our descendants. */
static void test_peak_memory_agrees_with_the_systems(void **state) {
    (void)state;
#if TEST_SANITIZED
    skip();
#endif
    test_result result = TEST_RUN(NULL, "run", "-m", "slow", "-t", "piqa", "--data-dir", "data",
                                  "-o", "peak", "--limit", "5", "--dtype", "f32");
    assert_int_equal(result.status, 0);
    tl_error error = {0};
    tl_store *store = tl_store_open("peak", false, &error);
    assert_ok(store, error);
    double peak = tl_store_measure(store, 1, "peak_rss_mb");
    double account = tl_store_measure(store, 1, "account_total_mb");
    tl_store_close(store);
    double system = (double)result.peak_kb / 1024;
    printf("peak %.2f MB, as the system has it %.2f MB, by the program's account %.2f MB\n", peak,
           system, account);
    assert_true(peak > 0.95 * system && peak < 1.05 * system);
    assert_true(account > 0.95 * peak && account < 1.05 * peak);
    test_result_free(&result);
}

/* ---- sensors, on a board that is not this one ---- */

static void put_line(const char *path, const char *text) {
    char line[128];
    snprintf(line, sizeof line, "%s\n", text);
    test_write_text(path, line);
}

static void make_board(const char *temperature) {
    const char *rail = "board/sys/bus/i2c/drivers/ina3221/1-0040/hwmon/hwmon1";
    static const char *const lines[][2] = {
        {"in1_label", "VDD_IN"}, {"in1_input", "5000"}, {"curr1_input", "1600"}};
    for (int i = 0; i < 3; i++) {
        char path[200];
        snprintf(path, sizeof path, "%s/%s", rail, lines[i][0]);
        put_line(path, lines[i][1]);
    }
    put_line("board/sys/class/thermal/thermal_zone0/type", "cpu-thermal");
    put_line("board/sys/class/thermal/thermal_zone0/temp", temperature);
    put_line("board/proc/device-tree/model", "NVIDIA Jetson Orin Nano Developer Kit");
}

static double measure_of(const char *name, const char *measure) {
    tl_error error = {0};
    tl_store *store = tl_store_open(name, false, &error);
    assert_ok(store, error);
    double value = tl_store_measure(store, 1, measure);
    tl_store_close(store);
    return value;
}

/* 5 V × 1.6 A: eight joules a second, whatever the seconds. */
static void test_energy_is_power_times_time(void **state) {
    (void)state;
    make_board("47000");
    const int rows = test_brief() ? 10 : 40;
    test_result result =
        TEST_RUN(NULL, "run", "-m", "slow", "-t", "piqa", "--data-dir", "data", "-o", "energy",
                 "--limit", test_brief() ? "10" : "40", "--sysroot", "board");
    assert_int_equal(result.status, 0);
    double examples = measure_of("energy", "examples"), correct = measure_of("energy", "correct");
    double each = measure_of("energy", "energy_per_example_j");
    double seconds = rows / measure_of("energy", "examples_per_s");
    printf("%.3f J for an example, over %.2f s\n", each, seconds);
    assert_true(fabs(measure_of("energy", "power_mean_w") - 8) < 1e-9);
    assert_true(each * examples > 8 * seconds * 0.8 && each * examples < 8 * seconds * 1.05);
    assert_true(fabs(measure_of("energy", "energy_j") - each * rows) < 1e-9);
    assert_true(correct > 0);
    assert_true(fabs(measure_of("energy", "energy_per_correct_j") - each * examples / correct) <
                1e-9);
    assert_true(measure_of("energy", "temperature_max_c") == 47);
    test_result_free(&result);
}

static void test_missing_sensors_are_not_zero(void **state) {
    (void)state;
    test_write_text("bare/proc/meminfo", "MemTotal: 8000000 kB\nMemAvailable: 7000000 kB\n");
    test_result result = TEST_RUN(NULL, "run", "-m", "llama", "-t", "piqa", "--data-dir", "data",
                                  "-o", "bare-run", "--sysroot", "bare");
    assert_int_equal(result.status, 0);
    static const char *const names[] = {"energy_j",          "energy_per_example_j", "power_mean_w",
                                        "temperature_max_c", "clock_mean_mhz",       "throttled"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        assert_true(isnan(measure_of("bare-run", names[i])));
    test_result_free(&result);
}

static void test_cooling_down_waits(void **state) {
    (void)state;
    make_board("60000");
    pid_t run = background_start(
        (const char *const[]){"run", "-m", "llama", "-t", "piqa", "--data-dir", "data", "-o",
                              "cool", "--sysroot", "board", "--cooldown", "50", NULL});
    usleep(700000);
    assert_int_equal(background_examples("cool"), 0); /* planned, not begun */
    make_board("49000");
    assert_int_equal(background_wait(run), 0);
    assert_int_equal(background_examples("cool"), 40);
}

/* ---- the disk ---- */

static void test_a_full_disk_stops_a_run_that_continues_later(void **state) {
    (void)state;
    assert_int_equal(mkdir("disk", 0755), 0);
    if (mount("tmpfs", "disk", "tmpfs", 0, "size=600k") != 0) {
        printf("no right to mount a small disk: skipped\n");
        skip();
    }
    static const char *const command[] = {"run",    "-m",         "llama", "-t",       "piqa",
                                          "--data", "many.jsonl", "-o",    "disk/run", NULL};
    test_result result = test_run(NULL, command);
    assert_int_equal(result.status, 1);
    test_assert_contains(result.err, "no space left on the disk");
    test_result_free(&result);
    int64_t stored = background_examples("disk/run");
    assert_true(stored > 0 && stored < 1000);
    assert_int_equal(mount("tmpfs", "disk", "tmpfs", MS_REMOUNT, "size=60m"), 0);
    result = test_run(NULL, command);
    assert_int_equal(result.status, 0);
    assert_int_equal(background_examples("disk/run"), 1000);
    test_result_free(&result);
}

static int unmount_disk(void **state) {
    (void)state;
    umount2("disk", MNT_DETACH);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tables_come_out),
        cmocka_unit_test(test_limits_count_rows),
        cmocka_unit_test(test_all_that_is_unknown_is_listed_at_once),
        cmocka_unit_test(test_what_is_asked_twice_is_asked_once),
        cmocka_unit_test(test_tasks_of_one_name_are_refused),
        cmocka_unit_test(test_bad_rows_are_named_before_anything_runs),
        cmocka_unit_test(test_wrong_usage_is_told),
        cmocka_unit_test(test_a_crash_is_a_verdict),
        cmocka_unit_test(test_silence_is_a_verdict),
        cmocka_unit_test(test_time_is_a_verdict),
        cmocka_unit_test(test_too_little_memory_is_seen_before_loading),
        cmocka_unit_test(test_a_share_of_unknown_memory_is_refused),
        cmocka_unit_test(test_memory_that_runs_out_is_a_verdict),
        cmocka_unit_test(test_unreadable_models_are_verdicts_among_others),
        cmocka_unit_test(test_interrupted_runs_continue),
        cmocka_unit_test(test_a_signal_to_all_is_no_crash),
        cmocka_unit_test(test_nohup_has_its_way),
        cmocka_unit_test(test_another_identity_is_refused),
        cmocka_unit_test(test_a_run_in_use_is_refused),
        cmocka_unit_test(test_shards_make_the_whole),
        cmocka_unit_test(test_peak_memory_agrees_with_the_systems),
        cmocka_unit_test(test_energy_is_power_times_time),
        cmocka_unit_test(test_missing_sensors_are_not_zero),
        cmocka_unit_test(test_cooling_down_waits),
        cmocka_unit_test_teardown(test_a_full_disk_stops_a_run_that_continues_later, unmount_disk),
    };
    return cmocka_run_group_tests_name("run", tests, make_fixtures, NULL);
}
