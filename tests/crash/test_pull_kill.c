/* kill -9 in the middle of a large download, again and again: it ends with the right content, and
 * without starting over. Ctrl-C leaves the same. */
#include "support/hub.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { SIZE = 200 << 20, KILLS = 25 }; /* every fifth is Ctrl-C */

static pid_t start_pull(void) {
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        if (!freopen("/dev/null", "w", stderr) || !freopen("/dev/null", "w", stdout)) _exit(126);
        execl(TEST_PROGRAM, TEST_PROGRAM, "pull", "org/large", (char *)NULL);
        _exit(127);
    }
    return child;
}

/* The offset of the last Range asked for in the log, or 0. */
static long long last_range(const char *log) {
    long long offset = 0;
    for (const char *at = log; (at = strstr(at, "\"range\": \"bytes=")); at++)
        offset = strtoll(at + 16, NULL, 10);
    return offset;
}

static long long size_of(const char *path) {
    struct stat status;
    return stat(path, &status) == 0 ? (long long)status.st_size : 0;
}

/* Lets a run get a few megabytes further, then ends it. */
static void run_and_kill(const char *partial, int number) {
    long long enough = size_of(partial) + (4 << 20) + number * 12345;
    pid_t child = start_pull();
    for (int i = 0; i < 3000 && size_of(partial) < enough; i++)
        usleep(10000);
    int status, signal_number = number % 5 == 4 ? SIGINT : SIGKILL;
    kill(child, signal_number);
    assert_int_equal(waitpid(child, &status, 0), child);
    if (signal_number == SIGINT) assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 130);
    assert_true(size_of(partial) >= enough);
}

static void hash_file(const char *path, char hex[TL_HEX_SIZE]) {
    tl_mapping mapping;
    tl_error error = {0};
    assert_ok(tl_file_map(path, &mapping, &error), error);
    assert_int_equal(mapping.size, SIZE);
    assert_true(tl_sha256(mapping.data, mapping.size, hex));
    tl_file_unmap(&mapping);
}

static void test_killed(void **state) {
    (void)state;
    char hex[TL_HEX_SIZE], got[TL_HEX_SIZE], partial[4096], path[4200];
    if (!test_hub_start()) skip();
    test_hub_text("models/org/large", "config.json", "{}");
    test_hub_file("models/org/large", "model.safetensors", SIZE, 1);
    hash_file(test_scratch_path("hub1/models/org/large/model.safetensors"), hex);
    snprintf(partial, sizeof partial, "%s",
             test_hub_cache("models--org--large/blobs/%s.incomplete", hex));
    test_hub_behave("{\"rate\": 40000000}");
    long long reached = 0;
    for (int i = 0; i < KILLS; i++) {
        run_and_kill(partial, i);
        char *log = test_hub_log();
        long long offset = last_range(log);
        free(log);
        /* Every run begins where the one before it ended. */
        assert_int_equal(offset, reached);
        reached = size_of(partial);
    }
    test_hub_behave("{}");
    test_result result = TEST_RUN(NULL, "pull", "org/large");
    if (result.status != 0) fail_msg("%s", result.err);
    char *log = test_hub_log();
    assert_int_equal(last_range(log), reached);
    free(log);
    result.out[strcspn(result.out, "\n")] = 0;
    snprintf(path, sizeof path, "%s/model.safetensors", result.out);
    hash_file(path, got);
    assert_string_equal(got, hex);
    assert_false(tl_file_exists(partial));
    test_result_free(&result);
    printf("killed %d times, the last time at byte %lld of %d\n", KILLS, reached, SIZE);
    test_hub_stop();
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_killed)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
