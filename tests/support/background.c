#include "support/background.h"

#include "support/support.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

pid_t background_start(const char *const arguments[]) {
    const char *out = test_scratch_path("out.txt"), *err = test_scratch_path("err.txt");
    fflush(NULL);
    pid_t child = fork();
    if (child != 0) return child;
    int files[2] = {open(out, O_WRONLY | O_CREAT | O_TRUNC, 0666),
                    open(err, O_WRONLY | O_CREAT | O_TRUNC, 0666)};
    dup2(files[0], 1), dup2(files[1], 2);
    signal(SIGINT, SIG_DFL); /* whoever runs the tests may have them ignored */
    const char *vector[64] = {TEST_PROGRAM};
    for (int i = 0; arguments[i] && i < 62; i++)
        vector[i + 1] = arguments[i];
    execv(TEST_PROGRAM, (char *const *)vector);
    _exit(127);
}

pid_t background_worker(pid_t parent, double seconds) {
    char path[64];
    snprintf(path, sizeof path, "/proc/%ld/task/%ld/children", (long)parent, (long)parent);
    for (double until = tl_clock_monotonic() + seconds; tl_clock_monotonic() < until;) {
        long child = 0;
        FILE *file = fopen(path, "r");
        bool found = file && fscanf(file, "%ld", &child) == 1;
        if (file) fclose(file);
        if (found) return (pid_t)child;
        siginfo_t ended = {0}; /* seen without being waited for */
        if (!file || (waitid(P_PID, (id_t)parent, &ended, WEXITED | WNOHANG | WNOWAIT) == 0 &&
                      ended.si_pid == parent))
            return 0;
        usleep(500);
    }
    return 0;
}

int background_wait(pid_t process) {
    int status;
    while (waitpid(process, &status, 0) < 0)
        if (errno != EINTR) return -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

typedef struct gathering {
    tl_store *store;
    tl_buffer text;
    int64_t examples;
    tl_verdict verdict;
    char reason[512];
    int cells;
} gathering;

static bool digest_example(void *context, const tl_example *e) {
    gathering *g = context;
    tl_buffer_append_format(&g->text, "  %lld gold %d prediction %d %d %d%s tokens %lld %lld [",
                            (long long)e->index, e->gold, e->prediction, e->prediction_norm,
                            e->prediction_bytes, e->truncated ? " truncated" : "",
                            (long long)e->tokens_computed, (long long)e->tokens_asked);
    for (int i = 0; i < e->n_choices; i++) {
        tl_json_append_double(&g->text, e->scores[i]);
        tl_buffer_append_byte(&g->text, ' ');
    }
    tl_buffer_append_format(&g->text, "] %s %s\n", e->document, e->skipped ? e->skipped : "");
    return true;
}

static bool digest_measure(void *context, const char *name, double value, const char *unit,
                           const char *note) {
    (void)note;
    static const char *const kept[] = {"accuracy",        "accuracy_norm", "correct",
                                       "examples",        "skipped",       "truncated",
                                       "tokens_computed", "tokens_asked",  "model_size_mb"};
    gathering *g = context;
    for (size_t i = 0; i < sizeof kept / sizeof *kept; i++)
        if (strcmp(name, kept[i]) == 0)
            tl_buffer_append_format(&g->text, "  %s = %.17g %s\n", name, value, unit);
    return true;
}

static bool digest_cell(void *context, const tl_store_cell *cell) {
    gathering *g = context;
    tl_error error = {0};
    tl_buffer_append_format(
        &g->text, "%s %s %s %s %s %lld %s: %s\n", cell->model.name, cell->model.parameters_label,
        cell->task, tl_protocol_name(cell->protocol), cell->dtype, (long long)cell->examples,
        cell->identity, tl_verdict_name(cell->verdict));
    assert_ok(tl_store_each_measure(g->store, cell->id, digest_measure, g, &error), error);
    assert_ok(tl_store_each_example(g->store, cell->id, digest_example, g, &error), error);
    return true;
}

char *background_digest(const char *name) {
    tl_error error = {0};
    gathering g = {.store = tl_store_open(test_scratch_path("%s", name), false, &error)};
    assert_ok(g.store, error);
    assert_ok(tl_store_each_cell(g.store, digest_cell, &g, &error), error);
    tl_store_close(g.store);
    return tl_buffer_take(&g.text);
}

static bool count_examples(void *context, const tl_store_cell *cell) {
    gathering *g = context;
    g->examples += tl_store_count_examples(g->store, cell->id);
    return true;
}

int64_t background_examples(const char *name) {
    gathering g = {.store = tl_store_open(test_scratch_path("%s", name), false, NULL)};
    if (!g.store) return -1;
    tl_store_each_cell(g.store, count_examples, &g, NULL);
    tl_store_close(g.store);
    return g.examples;
}

static bool first_verdict(void *context, const tl_store_cell *cell) {
    gathering *g = context;
    g->verdict = cell->verdict;
    snprintf(g->reason, sizeof g->reason, "%s", cell->reason ? cell->reason : "");
    return false;
}

tl_verdict background_verdict(const char *name, char *reason, size_t size) {
    tl_error error = {0};
    gathering g = {.store = tl_store_open(test_scratch_path("%s", name), false, &error)};
    assert_ok(g.store, error);
    assert_ok(tl_store_each_cell(g.store, first_verdict, &g, &error), error);
    tl_store_close(g.store);
    snprintf(reason, size, "%s", g.reason);
    return g.verdict;
}
