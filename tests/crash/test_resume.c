/* Runs killed at random points, hundreds of times, end as one that was never disturbed; and what
 * was stored before a kill is never asked again. */
#include "support/background.h"
#include "support/fixture.h"
#include "support/support.h"

#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum { KILLS = 200, MOST_STARTS = 60 };

static const char *const arguments[] = {
    "run", "-m",         "llama,gpt2",          "-t",        "piqa", "--data", "rows.jsonl", "-o",
    "run", "--protocol", "study,loglikelihood", "--threads", "1",    NULL};

static void make_fixtures(void) {
    fixture_checkpoint(test_scratch_path("llama"), &fixture_small);
    fixture_model gpt2 = {"gpt2", 16, 2, 2, 32, 512, 7};
    fixture_checkpoint(test_scratch_path("gpt2"), &gpt2);
    fixture_rows(test_scratch_path("rows.jsonl"), "piqa", test_brief() ? 150 : 500);
}

/* ---- what is stored, with its times: an example asked twice would have another ---- */

static char *stored_times(void) {
    tl_buffer text = {0};
    sqlite3 *database;
    sqlite3_stmt *statement = NULL;
    if (sqlite3_open_v2(test_scratch_path("run/run.sqlite"), &database, SQLITE_OPEN_READONLY,
                        NULL) == SQLITE_OK &&
        sqlite3_prepare_v2(database,
                           "SELECT cell, row, forward_seconds, total_seconds FROM example"
                           " ORDER BY cell, row",
                           -1, &statement, NULL) == SQLITE_OK) {
        sqlite3_busy_timeout(database, 5000);
        while (sqlite3_step(statement) == SQLITE_ROW)
            tl_buffer_append_format(
                &text, "%lld %lld %.17g %.17g\n", (long long)sqlite3_column_int64(statement, 0),
                (long long)sqlite3_column_int64(statement, 1), sqlite3_column_double(statement, 2),
                sqlite3_column_double(statement, 3));
    }
    sqlite3_finalize(statement);
    sqlite3_close(database);
    tl_buffer_append_byte(&text, '\n');
    return tl_buffer_take(&text);
}

static int by_text(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Splits in place; the lines are sorted. */
static size_t lines_of(char *text, char ***lines) {
    size_t count = 0;
    *lines = malloc((strlen(text) / 2 + 2) * sizeof **lines);
    for (char *line; (line = strsep(&text, "\n"));)
        if (*line) (*lines)[count++] = line;
    qsort(*lines, count, sizeof **lines, by_text);
    return count;
}

/* Every line of `before` is in `after`. Both are freed. */
static size_t assert_kept(char *before, char *after) {
    char **old_lines, **new_lines;
    size_t n_old = lines_of(before, &old_lines), n_new = lines_of(after, &new_lines);
    for (size_t i = 0; i < n_old; i++)
        if (!bsearch(&old_lines[i], new_lines, n_new, sizeof *new_lines, by_text))
            fail_msg("lost or asked again: %s", old_lines[i]);
    free(old_lines);
    free(new_lines);
    free(before);
    free(after);
    return n_new;
}

/* Orphans come to this process (a subreaper): all of them end at once. */
static void assert_no_worker_lives_on(void) {
    for (int i = 0; i < 20000; i++) {
        pid_t gone = waitpid(-1, NULL, WNOHANG);
        if (gone < 0) return;
        if (gone == 0) usleep(1000);
    }
    fail_msg("a worker outlived its parent");
}

typedef enum victim { PARENT, WORKER, BOTH, INTERRUPT, VICTIMS } victim;

/* Lets the run go on for a random while, then kills. True when it had ended by itself. */
static bool disturb(pid_t run, unsigned *seed, int *kills) {
    victim who = (victim)(rand_r(seed) % VICTIMS);
    pid_t worker = background_worker(run, 5);
    usleep((useconds_t)(rand_r(seed) % 50000));
    if (who == WORKER) worker = background_worker(run, 0.01); /* whichever is there by now */
    if (who != WORKER) kill(run, who == INTERRUPT ? SIGINT : SIGKILL);
    if (who != PARENT && who != INTERRUPT && worker > 0) kill(worker, SIGKILL);
    if (who == WORKER) usleep((useconds_t)(rand_r(seed) % 20000)), kill(run, SIGKILL);
    int status = background_wait(run);
    if (status == 0) return true;
    ++*kills;
    assert_true(status == 128 + SIGKILL || status == 130);
    assert_no_worker_lives_on();
    return false;
}

static void assert_same_lines(const char *expected, const char *found) {
    for (int line = 1; *expected || *found; line++) {
        size_t a = strcspn(expected, "\n"), b = strcspn(found, "\n");
        if (a != b || memcmp(expected, found, a) != 0)
            fail_msg("line %d differs from the undisturbed run's:\n%.*s\n%.*s", line, (int)a,
                     expected, (int)b, found);
        expected += a + (expected[a] != 0);
        found += b + (found[b] != 0);
    }
}

/* One run, killed until it is done. */
static void run_through(unsigned *seed, const char *expected, int *kills) {
    test_result warm = TEST_RUN(NULL, "--version"); /* the program is in the file cache */
    test_result_free(&warm);
    size_t stored = 0;
    for (int start = 0; start < MOST_STARTS; start++) {
        char *before = stored_times();
        bool ended = disturb(background_start(arguments), seed, kills);
        size_t now = assert_kept(before, stored_times());
        assert_true(now >= stored);
        stored = now;
        if (ended) break;
    }
    char *before = stored_times();
    assert_int_equal(background_wait(background_start(arguments)), 0);
    assert_kept(before, stored_times());
    char *digest = background_digest("run");
    assert_same_lines(expected, digest);
    free(digest);
}

static void test_killed_runs_end_like_undisturbed_ones(void **state) {
    (void)state;
    make_fixtures();
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    assert_int_equal(chdir(test_scratch()), 0);
    assert_int_equal(background_wait(background_start(arguments)), 0);
    char *expected = background_digest("run");
    const char *chosen = getenv("TINYLLM_KILLS"), *chosen_seed = getenv("TINYLLM_SEED");
    int wanted = chosen ? atoi(chosen) : KILLS, kills = 0, runs = 0;
    unsigned seed = chosen_seed ? (unsigned)atoi(chosen_seed) : (unsigned)getpid();
    printf("seed %u\n", seed);
    for (; kills < wanted; runs++) {
        assert_int_equal(rename("run", test_scratch_path("run-%d", runs)), 0);
        run_through(&seed, expected, &kills);
    }
    printf("%d kills in %d runs\n", kills, runs);
    free(expected);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_killed_runs_end_like_undisturbed_ones),
    };
    return cmocka_run_group_tests_name("resume", tests, NULL, NULL);
}
