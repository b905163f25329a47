/* The guard, with workers that really die: this program itself, started as one, does what its label
 * says. */
#include "study/guard.h"
#include "study/system.h"
#include "support/support.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MEGABYTE = 1 << 20, WORKER_SOCKET = 3 };

/* ---- what workers do ---- */

static void grow_forever(void) {
    for (;;) {
        char *block = malloc(4 * MEGABYTE);
        if (!block) _exit(7);
        for (size_t i = 0; i < 4 * MEGABYTE; i += 512)
            block[i] = (char)i;
        usleep(2000);
    }
}

static int act(const char *label) {
    char byte;
    if (strcmp(label, "grow") == 0) grow_forever();
    if (strcmp(label, "segv") == 0) raise(SIGSEGV);
    if (strcmp(label, "abort") == 0) abort();
    if (strcmp(label, "exit") == 0) return 3;
    if (strcmp(label, "fine") == 0) return 0;
    if (strcmp(label, "linger") == 0) { /* hangs up, but stays */
        close(WORKER_SOCKET);
        for (;;)
            pause();
    }
    if (strcmp(label, "hold") == 0) { /* 64 MB for a while */
        volatile char *block = malloc(64 * MEGABYTE);
        for (size_t i = 0; block && i < 64 * MEGABYTE; i += 1024)
            block[i] = 1;
        usleep(400000);
        free((void *)block);
        return 0;
    }
    return (int)read(WORKER_SOCKET, &byte, 1); /* until the parent is gone */
}

/* ---- the guard's side ---- */

static tl_guard_outcome guard_worker(const char *label, tl_guard_limits limits) {
    tl_error error = {0};
    limits.program = "/proc/self/exe";
    limits.label = label;
    tl_guard *guard = tl_guard_start(&limits, &error);
    assert_ok(guard, error);
    if (limits.memory > 0) printf("memory limited by %s\n", tl_guard_method(guard));
    for (bool closed = false; !closed;) {
        struct pollfd polled = {tl_guard_socket(guard), POLLIN, 0};
        char bytes[64];
        if (poll(&polled, 1, 20) > 0)
            closed = recv(polled.fd, bytes, sizeof bytes, MSG_DONTWAIT) == 0 || errno == ECONNRESET;
        tl_guard_watch(guard);
    }
    tl_guard_outcome outcome;
    tl_guard_finish(guard, &outcome);
    tl_guard_free(guard);
    return outcome;
}

static void test_a_good_end_has_no_verdict(void **state) {
    (void)state;
    assert_false(guard_worker("fine", (tl_guard_limits){0}).fell);
}

static void test_signals_and_statuses_are_crashes(void **state) {
    (void)state;
    static const struct {
        const char *label, *reason;
    } cases[] = {{"segv", "SIGSEGV"}, {"abort", "SIGABRT"}, {"exit", "exit status 3"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        tl_guard_outcome outcome = guard_worker(cases[i].label, (tl_guard_limits){0});
#if TEST_SANITIZED
        if (i < 2) { /* the sanitizer turns signals into exits */
            assert_true(outcome.fell);
            continue;
        }
#endif
        assert_int_equal(outcome.verdict, TL_VERDICT_CRASHED);
        test_assert_contains(outcome.reason, cases[i].reason);
    }
}

static void test_time_and_silence_have_limits(void **state) {
    (void)state;
    double begun = tl_clock_monotonic();
    tl_guard_outcome outcome = guard_worker("wait", (tl_guard_limits){.seconds = 0.3});
    assert_int_equal(outcome.verdict, TL_VERDICT_TIMEOUT);
    test_assert_contains(outcome.reason, "time limit of 0.3 s");
    outcome = guard_worker("wait", (tl_guard_limits){.stall = 0.3});
    assert_int_equal(outcome.verdict, TL_VERDICT_STALLED);
    test_assert_contains(outcome.reason, "no progress for 0.3 s");
    assert_true(tl_clock_monotonic() - begun < 5);
}

/* `root` NULL: with a cgroup where this process may make one; else without. */
static void check_limit(const char *root) {
    tl_guard_limits limits = {.memory = 100 * MEGABYTE, .threads = 1, .root = root};
    tl_guard_outcome outcome = guard_worker("grow", limits);
    assert_true(outcome.fell);
    /* Without a cgroup the worker's own allocation may fail first: this one then exits with 7. */
    if (!root || !strstr(outcome.reason, "exit status 7")) {
        assert_int_equal(outcome.verdict, TL_VERDICT_OOM_KILLED);
        test_assert_contains(outcome.reason, "memory limit of 100 MB");
    }
    assert_true(outcome.peak_resident < 250 * (int64_t)MEGABYTE);
}

static void test_memory_has_a_limit(void **state) {
    (void)state;
    check_limit(NULL);
    test_write_text(test_scratch_path("roomy/proc/meminfo"),
                    "MemTotal: 8000000 kB\nMemAvailable: 7000000 kB\n");
    check_limit(test_scratch_path("roomy"));
}

static void test_memory_within_the_limit_is_let_be(void **state) {
    (void)state;
    tl_guard_outcome outcome = guard_worker("hold", (tl_guard_limits){.memory = 1024 * MEGABYTE});
    assert_false(outcome.fell);
    assert_true(outcome.peak_resident > 64 * (int64_t)MEGABYTE);
    assert_true(outcome.peak_proportional > 60 * (int64_t)MEGABYTE);
    assert_true(outcome.peak_proportional <= outcome.peak_resident + MEGABYTE);
}

/* MemAvailable of the system comes from under the root: 2 % left is too little. */
static void test_the_systems_memory_is_watched(void **state) {
    (void)state;
    test_write_text(
        test_scratch_path("proc/meminfo"),
        "MemTotal:       8000000 kB\nMemFree:          10000 kB\n"
        "MemAvailable:    160000 kB\nCached: 5 kB\nSwapTotal: 4000 kB\nSwapFree: 976 kB\n");
    tl_guard_outcome outcome = guard_worker("wait", (tl_guard_limits){.root = test_scratch()});
    assert_int_equal(outcome.verdict, TL_VERDICT_OOM_KILLED);
    test_assert_contains(outcome.reason, "passed 97 %");
    assert_int_equal(outcome.swap_most, 3024 * 1024);
}

static void test_what_the_system_does_not_tell_is_not_0(void **state) {
    (void)state;
    test_write_text(test_scratch_path("proc/meminfo"),
                    "MemTotal: lots\nMemAvailable:\nSwapTotal: 4000 kB\nSwapFree: none\n");
    tl_guard_outcome outcome = guard_worker("hold", (tl_guard_limits){.root = test_scratch()});
    assert_false(outcome.fell);
    assert_int_equal(outcome.swap_most, -1);
    tl_system_memory memory;
    tl_sys_memory(test_scratch(), &memory);
    assert_int_equal(memory.total, -1);
    assert_int_equal(memory.swap_free, -1);
}

static void test_a_worker_that_lingers_is_ended(void **state) {
    (void)state;
    tl_guard_outcome outcome = guard_worker("linger", (tl_guard_limits){0});
    assert_true(outcome.fell);
}

static void test_workers_die_with_their_parent(void **state) {
    (void)state;
    int report[2];
    assert_int_equal(pipe(report), 0);
    pid_t parent = fork();
    if (parent == 0) {
        tl_guard_limits limits = {.program = "/proc/self/exe", .label = "linger"};
        tl_guard *guard = tl_guard_start(&limits, NULL);
        pid_t worker = guard ? tl_guard_process(guard) : 0;
        if (write(report[1], &worker, sizeof worker) != sizeof worker) _exit(1);
        for (;;)
            pause();
    }
    pid_t worker = 0;
    assert_int_equal(read(report[0], &worker, sizeof worker), sizeof worker);
    assert_true(worker > 0);
    usleep(100000);
    assert_int_equal(kill(worker, 0), 0);
    kill(parent, SIGKILL);
    waitpid(parent, NULL, 0);
    for (int i = 0; i < 200 && kill(worker, 0) == 0; i++) {
        char path[64], status[256];
        snprintf(path, sizeof path, "/proc/%ld/stat", (long)worker);
        FILE *file = fopen(path, "r"); /* a zombie that nobody has waited for is dead too */
        bool dead = !file || !fgets(status, sizeof status, file) || strstr(status, ") Z ");
        if (file) fclose(file);
        if (dead) break;
        usleep(10000);
        assert_true(i < 199);
    }
    close(report[0]), close(report[1]);
}

int main(int argc, char **argv) {
    if (argc > 3 && strcmp(argv[1], "worker") == 0) return act(argv[3]);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_good_end_has_no_verdict),
        cmocka_unit_test(test_signals_and_statuses_are_crashes),
        cmocka_unit_test(test_time_and_silence_have_limits),
        cmocka_unit_test(test_memory_has_a_limit),
        cmocka_unit_test(test_memory_within_the_limit_is_let_be),
        cmocka_unit_test(test_the_systems_memory_is_watched),
        cmocka_unit_test(test_what_the_system_does_not_tell_is_not_0),
        cmocka_unit_test(test_a_worker_that_lingers_is_ended),
        cmocka_unit_test(test_workers_die_with_their_parent),
    };
    return cmocka_run_group_tests_name("guard", tests, NULL, NULL);
}
