/* tinyllm pull: models and the tasks' datasets from the hub into the Hugging Face cache. */
#include "cli/hub_arguments.h"
#include "cli/quantities.h"
#include "hub/pull.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static bool is_interrupted(void *context) {
    (void)context;
    return cli_interrupted();
}

/* The command's state while it gathers what to fetch. */
typedef struct job {
    const cli_command *command;
    tl_pull *pull;
    cli_list patterns;
    int failures; /* arguments that could not be planned */
    bool wrong_usage;
    pthread_mutex_t lock; /* of what follows */
    bool drawing;         /* bars are on the terminal: notices wait until they are drawn anew */
    tl_buffer notices;
} job;

static void notice(void *context, const char *text) {
    job *j = context;
    pthread_mutex_lock(&j->lock);
    if (j->drawing)
        tl_buffer_append_format(&j->notices, "  %s\n", text);
    else
        fprintf(stderr, "  %s\n", text);
    pthread_mutex_unlock(&j->lock);
}

static void show_notices(job *j) {
    pthread_mutex_lock(&j->lock);
    fputs(tl_buffer_string(&j->notices), stderr);
    tl_buffer_clear(&j->notices);
    pthread_mutex_unlock(&j->lock);
}

static void add_failed(void *context, const tl_error *error) {
    job *j = context;
    fprintf(stderr, "tinyllm pull: %s\n", error->message);
    j->failures++;
    j->wrong_usage |= error->code == TL_ERROR_USAGE;
}

static void add_model(void *context, const char *model) {
    job *j = context;
    tl_error error = {0};
    if (tl_dir_exists(model)) {
        fprintf(stderr, "%s: a directory, nothing to fetch\n", model);
        return;
    }
    if (tl_pull_add_model(j->pull, model, (const char *const *)j->patterns.items, j->patterns.count,
                          &error))
        return;
    if (!strchr(model, '/')) tl_fail_within(&error, "neither a task nor a model of the study");
    add_failed(j, &error);
}

static void add_dataset(void *context, const char *dataset, const char *config,
                        const char *revision, const char *const *splits, int n_splits) {
    job *j = context;
    tl_error error = {0};
    if (!tl_pull_add_dataset(j->pull, dataset, config, revision, splits, n_splits, &error))
        add_failed(j, &error);
}

/* ---- what is shown
 * ------------------------------------------------------------------------------------------- */

static void print_plan(const tl_pull *pull) {
    char size[32], here[32];
    for (int r = 0; r < tl_pull_repo_count(pull); r++) {
        const tl_pull_repo *repo = tl_pull_repo_at(pull, r);
        fprintf(stderr, "%s @ %.12s%s\n", repo->repo.id, repo->commit,
                repo->local ? ": in the cache" : "");
        for (int i = 0; i < tl_pull_file_count(pull); i++) {
            const tl_pull_file *file = tl_pull_file_at(pull, i);
            if (file->repo != r) continue;
            fprintf(stderr, "  %10s  %s", cli_format_size(file->size, size, sizeof size),
                    file->path);
            if (file->present == file->size)
                fprintf(stderr, "  (here)");
            else if (file->present > 0)
                fprintf(stderr, "  (%s here)", cli_format_size(file->present, here, sizeof here));
            fprintf(stderr, "\n");
        }
    }
    fprintf(stderr, "to fetch: %s\n", cli_format_size(tl_pull_missing(pull), size, sizeof size));
}

/* What the progress display remembers between its ticks. */
typedef struct display {
    job *job;
    bool terminal;
    int lines; /* drawn by the last tick */
    double started, last;
    uint64_t before; /* bytes on disk at the start */
    bool *reported;  /* [files] */
} display;

static const char *base_of(const tl_repo *repo) {
    return tl_path_base(repo->id);
}

static void draw_bar(double part) {
    enum { WIDTH = 24 };
    int full = (int)(part * WIDTH);
    for (int i = 0; i < WIDTH; i++)
        fputc(i < full ? '#' : '.', stderr);
}

/* One line for what is done of `size`. */
static void draw_line(const char *name, const char *path, uint64_t done, uint64_t size) {
    char part[32], whole[32];
    fprintf(stderr, "\033[K  %-20.20s %-28.28s [", name, path);
    draw_bar(size ? (double)done / (double)size : 1);
    fprintf(stderr, "] %9s of %s\n", cli_format_size(done, part, sizeof part),
            cli_format_size(size, whole, sizeof whole));
}

/* Bytes on disk and in all. */
static void sum_up(const tl_pull *pull, uint64_t *done, uint64_t *size) {
    *done = *size = 0;
    for (int i = 0; i < tl_pull_file_count(pull); i++) {
        const tl_pull_file *file = tl_pull_file_at(pull, i);
        *done += atomic_load(&file->done);
        *size += file->size;
    }
}

static void format_rate(char *text, size_t size, double seconds, uint64_t fetched, uint64_t left) {
    double rate = seconds > 0 ? (double)fetched / seconds : 0;
    int eta = rate > 0 ? (int)((double)left / rate) : 0;
    snprintf(text, size, "%.1f MB/s, %d:%02d left", rate / 1e6, eta / 60, eta % 60);
}

static void report_file(const tl_pull *pull, const tl_pull_file *file) {
    const tl_repo *repo = &tl_pull_repo_at(pull, file->repo)->repo;
    if (atomic_load(&file->state) == TL_PULL_FAILED) {
        if (file->error.code != TL_ERROR_INTERRUPTED)
            fprintf(stderr, "tinyllm pull: %s\n", file->error.message);
    } else if (file->present < file->size) {
        char size[32];
        fprintf(stderr, "  %s/%s: %s\n", repo->id, file->path,
                cli_format_size(file->size, size, sizeof size));
    }
}

/* On a terminal: a bar for each file under way and one for all. Elsewhere: a line now and then. */
static void tick(void *context, const tl_pull *pull) {
    display *d = context;
    double now = tl_clock_monotonic();
    if (d->terminal && d->lines) fprintf(stderr, "\033[%dA\033[J", d->lines);
    d->lines = 0;
    show_notices(d->job);
    for (int i = 0; i < tl_pull_file_count(pull); i++) {
        const tl_pull_file *file = tl_pull_file_at(pull, i);
        int state = atomic_load(&file->state);
        if ((state == TL_PULL_DONE || state == TL_PULL_FAILED) && !d->reported[i]) {
            d->reported[i] = true;
            report_file(pull, file);
        } else if (state == TL_PULL_RUNNING && d->terminal) {
            draw_line(base_of(&tl_pull_repo_at(pull, file->repo)->repo), file->path,
                      atomic_load(&file->done), file->size);
            d->lines++;
        }
    }
    uint64_t done, size;
    char rate[64];
    sum_up(pull, &done, &size);
    uint64_t fetched = done > d->before ? done - d->before : 0;
    format_rate(rate, sizeof rate, now - d->started, fetched, size - done);
    if (d->before == size) return;
    if (d->terminal) {
        draw_line("all", rate, done, size);
        d->lines++;
    } else if (now - d->last >= 5) {
        d->last = now;
        char part[32], whole[32];
        fprintf(stderr, "  %s of %s, %s\n", cli_format_size(done, part, sizeof part),
                cli_format_size(size, whole, sizeof whole), rate);
    }
    fflush(stderr);
}

static void append_repo_json(tl_buffer *out, const tl_pull *pull, int index) {
    const tl_pull_repo *repo = tl_pull_repo_at(pull, index);
    const char *separator = "";
    tl_buffer_append_format(out, "{\"id\": \"%s\", \"kind\": \"%s\", \"revision\": ", repo->repo.id,
                            tl_repo_kind_plural(repo->repo.kind));
    tl_json_append_string(out, repo->repo.revision, strlen(repo->repo.revision));
    tl_buffer_append_format(out, ", \"commit\": \"%s\", \"complete\": %s, \"path\": ", repo->commit,
                            repo->good ? "true" : "false");
    tl_json_append_string(out, repo->snapshot, strlen(repo->snapshot));
    tl_buffer_append_string(out, ", \"files\": [");
    for (int i = 0; i < tl_pull_file_count(pull); i++) {
        const tl_pull_file *file = tl_pull_file_at(pull, i);
        if (file->repo != index) continue;
        tl_buffer_append_format(out, "%s{\"path\": ", separator);
        tl_json_append_string(out, file->path, strlen(file->path));
        tl_buffer_append_format(out, ", \"size\": %llu, \"missing\": %llu}",
                                (unsigned long long)file->size,
                                (unsigned long long)(file->size - atomic_load(&file->done)));
        separator = ", ";
    }
    tl_buffer_append_string(out, "]}");
}

/* Where everything is: one path a line, or JSON. */
static void print_results(const tl_pull *pull, bool json) {
    tl_buffer out = {0};
    for (int i = 0; i < tl_pull_repo_count(pull); i++) {
        const tl_pull_repo *repo = tl_pull_repo_at(pull, i);
        if (json) {
            tl_buffer_append_string(&out, i ? ",\n " : "[");
            append_repo_json(&out, pull, i);
        } else if (repo->good) {
            tl_buffer_append_format(&out, "%s\n", repo->snapshot);
        }
    }
    if (json) tl_buffer_append_string(&out, out.length ? "]\n" : "[]\n");
    fputs(tl_buffer_string(&out), stdout);
    tl_buffer_free(&out);
}

/* ---- the command
 * ------------------------------------------------------------------------------------------- */

static bool fetch(job *j, bool dry_run, tl_error *error) {
    if (!tl_pull_check_space(j->pull, error)) return false;
    if (dry_run) return true;
    int count = tl_pull_file_count(j->pull);
    display d = {
        .job = j,
        .terminal = isatty(STDERR_FILENO),
        .started = tl_clock_monotonic(),
        .last = tl_clock_monotonic(),
        .reported = calloc((size_t)count + 1, sizeof *d.reported),
    };
    uint64_t size;
    sum_up(j->pull, &d.before, &size);
    if (!d.reported) return tl_fail_memory(error, (size_t)count, "the display");
    j->drawing = d.terminal; /* no other thread is there yet */
    bool good = tl_pull_run(j->pull, tick, &d, error);
    free(d.reported);
    return good;
}

static bool any_file_failed(const tl_pull *pull) {
    for (int i = 0; i < tl_pull_file_count(pull); i++)
        if (atomic_load(&tl_pull_file_at(pull, i)->state) == TL_PULL_FAILED) return true;
    return false;
}

static int finish(job *j, bool dry_run, bool json) {
    tl_error error = {0};
    if (cli_interrupted()) {
        tl_fail(&error, TL_ERROR_INTERRUPTED, "stopped before anything was fetched");
        return cli_fail(j->command, &error);
    }
    if (tl_pull_repo_count(j->pull) > 0) print_plan(j->pull);
    bool good = fetch(j, dry_run, &error);
    print_results(j->pull, json);
    if (cli_interrupted()) {
        tl_fail(&error, TL_ERROR_INTERRUPTED,
                "stopped; the same command takes up the download where it is");
        return cli_fail(j->command, &error);
    }
    /* Failures of files have been reported as they happened. */
    if (!good) return any_file_failed(j->pull) ? 1 : cli_fail(j->command, &error);
    return j->failures ? (j->wrong_usage ? 2 : 1) : 0;
}

static int run(const cli_command *command, int argc, char **argv) {
    int64_t jobs = 4, tries = 5;
    bool dry_run = false, json = false;
    const char *config = NULL;
    cli_list splits = {0};
    job j = {.command = command, .lock = PTHREAD_MUTEX_INITIALIZER};
    const cli_option options[] = {
        {"file", 0, CLI_LIST, &j.patterns, "PATTERN",
         "these files in place of the weights (repeatable)"},
        {"config", 0, CLI_STRING, &config, "NAME", "of datasets/ORG/NAME"},
        {"split", 0, CLI_LIST, &splits, "NAME", "of datasets/ORG/NAME (default validation)"},
        {"jobs", 'j', CLI_INT, &jobs, "N", "files at a time (default 4)", 1, 32},
        {"retries", 0, CLI_INT, &tries, "N", "further tries after a failure (default 5)", 0, 1000},
        {"dry-run", 'n', CLI_FLAG, &dry_run, NULL, "show what would be fetched"},
        {"json", 0, CLI_FLAG, &json, NULL, "print the result as JSON"},
        {0},
    };
    int operands, status;
    if (!cli_parse(command, options, argc, argv, &operands, &status)) return status;
    if (operands == 0) return cli_usage(command, "what to pull? a model, a task, @study or @tasks");
    cli_catch_interrupts();
    const tl_pull_options pull_options = {
        .jobs = (int)jobs,
        .tries = (int)tries,
        .retry_base = 0.5,
        .stopped = is_interrupted,
        .notice = notice,
        .notice_context = &j,
    };
    tl_error error = {0};
    j.pull = tl_pull_new(&pull_options, &error);
    const cli_hub_visitor visitor = {&j,          config,     &splits,        add_model,
                                     add_dataset, add_failed, cli_interrupted};
    for (int i = 0; j.pull && i < operands && !cli_interrupted(); i++)
        cli_hub_visit(argv[i], &visitor);
    status = j.pull ? finish(&j, dry_run, json) : cli_fail(command, &error);
    tl_pull_free(j.pull);
    cli_list_free(&j.patterns);
    cli_list_free(&splits);
    tl_buffer_free(&j.notices);
    return status;
}

const cli_command cmd_pull = {
    .name = "pull",
    .summary = "fetch models and datasets from the hub into the Hugging Face cache",
    .usage = "MODEL|TASK|@study|@tasks|datasets/ORG/NAME … [options]",
    .examples =
        "  tinyllm pull HuggingFaceTB/SmolLM-135M arc_easy   # a model and a task's rows\n"
        "  tinyllm pull @study @tasks                        # everything the study needs\n"
        "  tinyllm pull EleutherAI/pythia-160m@step1000      # a branch, tag or commit\n"
        "  tinyllm pull org/name-GGUF --file '*Q4_0.gguf'\n"
        "  tinyllm pull datasets/allenai/ai2_arc --config ARC-Challenge --split test\n"
        "\nThe same command takes up an interrupted download. HF_TOKEN, HF_HOME, HF_ENDPOINT,\n"
        "HF_HUB_OFFLINE, proxies and certificates: see docs/hub.md.\n",
    .run = run,
};
