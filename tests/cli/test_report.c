/* report, compare, export and serve as a user runs them. */
#include "support/run_fixture.h"
#include "support/support.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static const char *make_run(const char *name, run_fixture fixture) {
    const char *directory = test_scratch_path("%s", name);
    if (!tl_dir_exists(directory)) run_fixture_write(directory, &fixture);
    return directory;
}

/* Runs, checks the status, and returns what was printed; free() it. */
static char *expect(int status, bool errors, const char *const arguments[]) {
    test_result result = test_run(NULL, arguments);
    if (result.status != status)
        fail_msg("status %d, expected %d: %s", result.status, status, result.err);
    char *kept = strdup(errors ? result.err : result.out);
    test_result_free(&result);
    return kept;
}
#define EXPECT_OUT(status, ...) expect(status, false, (const char *const[]){__VA_ARGS__, NULL})
#define EXPECT_ERR(status, ...) expect(status, true, (const char *const[]){__VA_ARGS__, NULL})

static void check(char *text, const char *part) {
    test_assert_contains(text, part);
    free(text);
}

static void test_formats(void **state) {
    (void)state;
    const char *run = make_run("formats", (run_fixture){2, 2, 25, .troubled = true});
    check(EXPECT_OUT(0, "report", run), "## Inference time (ms)");
    check(EXPECT_OUT(0, "report", run, "--format", "csv"), "run,device,model,model_id");
    check(EXPECT_OUT(0, "report", run, "--format=latex"), "\\begin{tabular}");
    char *json = EXPECT_OUT(0, "report", run, "-f", "json");
    tl_error error = {0};
    cJSON *parsed = tl_json_parse(json, strlen(json), "json", &error);
    assert_ok(parsed, error);
    assert_int_equal(cJSON_GetArraySize(tl_json_get(parsed, "cells")), 4);
    cJSON_Delete(parsed);
    free(json);
}

static void test_wrong_usage(void **state) {
    (void)state;
    const char *run = make_run("formats", (run_fixture){2, 2, 25, .troubled = true});
    check(EXPECT_ERR(2, "report"), "expected the directory of a run");
    check(EXPECT_ERR(2, "report", run, "--format", "xml"), "unknown format 'xml'");
    check(EXPECT_ERR(1, "report", test_scratch_path("nowhere")), "nowhere");
    check(EXPECT_ERR(2, "compare", run), "two runs or more");
    check(EXPECT_ERR(2, "compare", run, "study", "--fail-on", "speed>1"), "accuracy-drop");
    check(EXPECT_ERR(2, "export", run), "--to says which format");
    check(EXPECT_ERR(2, "export", run, "--to", "excel"), "expected wandb, ");
    check(EXPECT_ERR(2, "export", run, "--to", "mlflow"), "--uri");
    check(EXPECT_ERR(2, "serve"), "expected the directory of one run");
    check(EXPECT_ERR(1, "serve", test_scratch_path("nowhere")), "no such directory");
    check(EXPECT_ERR(2, "serve", run, "--address", "example.org", "--port", "0"),
          "expected an IP address");
    check(EXPECT_OUT(0, "compare", "--help"), "accuracy-drop");
}

static void test_the_page_is_one_file(void **state) {
    (void)state;
    const char *run = make_run("formats", (run_fixture){2, 2, 25, .troubled = true});
    const char *page = test_scratch_path("page.html");
    check(EXPECT_OUT(0, "report", run, "--html", page), "");
    tl_error error = {0};
    char *html = tl_file_read(page, 1 << 24, NULL, &error);
    assert_ok(html, error);
    test_assert_contains(html, "connect-src 'none'");
    test_assert_contains(html, "id=\"chunk-0\"");
    assert_null(strstr(html, " src=\""));
    assert_null(strstr(html, "{{"));
    free(html);
    check(EXPECT_ERR(1, "report", run, "--html", test_scratch_path("no/where.html")),
          "no/where.html");
}

static void test_charts(void **state) {
    (void)state;
    const char *run = make_run("hostile", (run_fixture){3, 2, 25, .hostile = true});
    const char *out = test_scratch_path("charts");
    if (system("gnuplot --version >/dev/null 2>&1") != 0) skip();
    check(EXPECT_ERR(0, "report", run, "--charts", out), "the charts are in");
    static const char *const charts[] = {"accuracy",         "inference-time",  "peak-memory",
                                         "accuracy-latency", "accuracy-memory", "accuracy-energy"};
    static const char *const endings[] = {"dat", "gp", "svg", "png"};
    for (size_t i = 0; i < sizeof charts / sizeof *charts; i++)
        for (size_t k = 0; k < sizeof endings / sizeof *endings; k++) {
            tl_error error = {0};
            tl_mapping file;
            assert_ok(tl_file_map(test_scratch_path("charts/%s.%s", charts[i], endings[k]), &file,
                                  &error),
                      error);
            assert_true(file.size > 100);
            if (k == 3) assert_memory_equal(file.data, "\x89PNG", 4);
            tl_file_unmap(&file);
        }
    tl_error error = {0};
    char *data = tl_file_read(test_scratch_path("charts/accuracy.dat"), 1 << 20, NULL, &error);
    assert_ok(data, error);
    test_assert_contains(data, "model\tBoard 2C · study · f32\n");
    free(data);
}

static void test_charts_of_a_single_cell(void **state) {
    (void)state;
    if (system("gnuplot --version >/dev/null 2>&1") != 0) skip();
    const char *run = make_run("single", (run_fixture){1, 1, 5});
    char *err = EXPECT_ERR(0, "report", run, "--charts", test_scratch_path("single-charts"));
    if (strstr(err, "Warning")) fail_msg("gnuplot complains:\n%s", err);
    free(err);
}

static void test_without_gnuplot_the_rest_is_written(void **state) {
    (void)state;
    const char *run = make_run("formats", (run_fixture){2, 2, 25, .troubled = true});
    char *path = strdup(getenv("PATH"));
    setenv("PATH", test_scratch(), 1);
    char *said = EXPECT_ERR(0, "report", run, "--charts", test_scratch_path("undrawn"));
    setenv("PATH", path, 1);
    free(path);
    check(said, "apt-get install gnuplot");
    assert_true(tl_file_exists(test_scratch_path("undrawn/accuracy.gp")));
    assert_true(tl_file_exists(test_scratch_path("undrawn/accuracy-memory.dat")));
    assert_false(tl_file_exists(test_scratch_path("undrawn/accuracy.svg")));
}

static void test_compare_and_thresholds(void **state) {
    (void)state;
    const char *a = make_run("a", (run_fixture){2, 2, 25});
    const char *b = make_run("b", (run_fixture){2, 2, 25});
    check(EXPECT_OUT(0, "compare", a, b), "4 cells compared; accuracy agrees exactly in 4");
    check(EXPECT_OUT(0, "compare", a, b, "--fail-on", "accuracy-change>0,slowdown>1.2"), "yes");
    check(EXPECT_ERR(1, "compare", a, b, "--fail-on", "slowdown>0.5"),
          "slowdown 1 > 0.5\ntinyllm compare: 4 beyond --fail-on\n");
    check(EXPECT_OUT(1, "compare", a, b, "--fail-on", "slowdown>0.5"), "| tiny-a-20M |");
    check(EXPECT_OUT(0, "compare", "study", a), "Only in study (Jetson Orin Nano 8GB)");
    check(EXPECT_ERR(1, "compare", "study", a, "--fail-on", "slowdown>2"),
          "no cell is done on both sides");
    check(EXPECT_OUT(0, "compare", a, b, "--format", "json"), "\"speed_up\":1,");
    check(EXPECT_OUT(0, "compare", a, b, "--format", "csv"), ",speed_up,");
}

static void test_export(void **state) {
    (void)state;
    const char *run = make_run("formats", (run_fixture){2, 2, 25, .troubled = true});
    check(EXPECT_ERR(0, "export", run, "--to", "wandb", "-o", test_scratch_path("wandb")),
          "4 runs in");
    check(EXPECT_ERR(0, "export", run, "--to", "csv", "-o", test_scratch_path("csv")),
          "examples.csv");
    tl_error error = {0};
    char *text = tl_file_read(test_scratch_path("csv/examples.csv"), 1 << 24, NULL, &error);
    assert_ok(text, error);
    int lines = 0;
    for (char *at = text; *at; at++)
        lines += *at == '\n';
    assert_int_equal(lines, 1 + 3 * 25);
    free(text);
}

static void test_exports_keep_out_of_each_others_way(void **state) {
    (void)state;
    const char *run = make_run("held", (run_fixture){1, 1, 3});
    tl_error error = {0};
    int lock = tl_dir_lock(test_scratch(), &error);
    if (lock < 0) fail_msg("%s", error.message);
    check(EXPECT_ERR(1, "export", run, "--to", "csv", "-o", test_scratch()),
          "another process is writing there");
    close(lock);
    check(EXPECT_ERR(0, "export", run, "--to", "csv", "-o", test_scratch()), "cells.csv");
    check(EXPECT_ERR(1, "export", test_scratch_path("none"), "--to", "csv", "-o",
                     test_scratch_path("left")),
          "no run was stored there");
    assert_false(tl_dir_exists(test_scratch_path("left")));
}

/* Serves a run and waits for its address. */
static pid_t serve(const char *run, char url[256], int *out) {
    int pipe_ends[2];
    if (pipe(pipe_ends)) abort();
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        dup2(pipe_ends[1], 1);
        close(pipe_ends[0]), close(pipe_ends[1]);
        execl(TEST_PROGRAM, TEST_PROGRAM, "serve", run, "--port", "0", (char *)NULL);
        _exit(127);
    }
    close(pipe_ends[1]);
    ssize_t got = read(pipe_ends[0], url, 255);
    assert_true(got > 0);
    url[got - 1] = 0;
    *out = pipe_ends[0];
    return child;
}

static void test_a_damaged_store_is_salvaged(void **state) {
    (void)state;
    const char *run = make_run("damaged", (run_fixture){2, 2, 200});
    check(EXPECT_ERR(0, "report", run, "--salvage"),
          "4 cells, 800 examples, 12 measures could be read; nothing is damaged");
    tl_error error = {0};
    const char *path = test_scratch_path("damaged/run.sqlite");
    size_t length;
    char *store = tl_file_read(path, 1 << 26, &length, &error);
    assert_ok(store, error);
    memset(store + length / 4096 * 3 / 4 * 4096, 0xa5, 4096);
    test_write_file(path, store, length);
    free(store);
    char *text = EXPECT_OUT(0, "report", run, "--salvage");
    check(text, "| tiny-a-20M |");
    check(EXPECT_ERR(0, "report", run, "--salvage"), "; damaged: ");
}

static void test_serve_stops_when_told(void **state) {
    (void)state;
    const char *run = make_run("formats", (run_fixture){2, 2, 25, .troubled = true});
    char url[256];
    int out, status;
    pid_t child = serve(run, url, &out);
    test_assert_contains(url, "http://127.0.0.1:");
    kill(child, SIGTERM);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    close(out);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_formats),
        cmocka_unit_test(test_wrong_usage),
        cmocka_unit_test(test_the_page_is_one_file),
        cmocka_unit_test(test_charts),
        cmocka_unit_test(test_charts_of_a_single_cell),
        cmocka_unit_test(test_without_gnuplot_the_rest_is_written),
        cmocka_unit_test(test_compare_and_thresholds),
        cmocka_unit_test(test_export),
        cmocka_unit_test(test_exports_keep_out_of_each_others_way),
        cmocka_unit_test(test_a_damaged_store_is_salvaged),
        cmocka_unit_test(test_serve_stops_when_told),
    };
    return cmocka_run_group_tests_name("report commands", tests, NULL, NULL);
}
