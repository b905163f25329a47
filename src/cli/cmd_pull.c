/* tinyllm pull: models and the tasks' datasets from the hub into the Hugging Face cache. */
#include "cli/cli.h"
#include "hub/hub.h"
#include "hub/pull.h"
#include "task/task.h"

#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static volatile sig_atomic_t interrupted;

static void on_signal(int number) {
    (void)number;
    interrupted = 1;
}

static bool is_interrupted(void *context) {
    (void)context;
    return interrupted != 0;
}

/* The command's state while it gathers what to fetch. */
typedef struct job {
    const cli_command *command;
    tl_pull *pull;
    cli_list patterns, splits;
    const char *config;
    int failures; /* arguments that could not be planned */
    bool wrong_usage;
} job;

static void report(job *j, const tl_error *error) {
    fprintf(stderr, "tinyllm pull: %s\n", error->message);
    j->failures++;
    j->wrong_usage |= error->code == TL_ERROR_USAGE;
}

/* ---- what to fetch
 * ------------------------------------------------------------------------------------------- */

static void add_model(job *j, const char *model) {
    tl_error error = {0};
    if (tl_dir_exists(model)) {
        fprintf(stderr, "%s: a directory, nothing to fetch\n", model);
        return;
    }
    if (!tl_pull_add_model(j->pull, model, (const char *const *)j->patterns.items,
                           j->patterns.count, &error))
        report(j, &error);
}

/* "org/name[@revision]" with --config and --split. */
static void add_dataset(job *j, const char *name) {
    static const char *const usual[] = {"validation"};
    tl_error error = {0};
    tl_repo repo;
    bool chosen = j->splits.count > 0;
    if (!tl_repo_parse(TL_REPO_DATASET, name, &repo, &error) ||
        !tl_pull_add_dataset(j->pull, repo.id, j->config,
                             strcmp(repo.revision, "main") == 0 ? NULL : repo.revision,
                             chosen ? (const char *const *)j->splits.items : usual,
                             chosen ? j->splits.count : 1, &error))
        report(j, &error);
}

/* A dataset that a task's protocols read, with all the splits they read of it. */
typedef struct wanted {
    const tl_task_source *source;
    const char *splits[2 * TL_PROTOCOL_COUNT];
    int count;
} wanted;

static bool same_text(const char *a, const char *b) {
    return a == b || (a && b && strcmp(a, b) == 0);
}

static bool same_source(const tl_task_source *a, const tl_task_source *b) {
    return same_text(a->dataset, b->dataset) && same_text(a->config, b->config) &&
           same_text(a->revision, b->revision);
}

static void want_split(wanted *list, int *count, const tl_task_source *source, const char *split) {
    int i = 0;
    while (i < *count && !same_source(list[i].source, source))
        i++;
    if (i == *count) list[(*count)++] = (wanted){.source = source};
    for (int s = 0; s < list[i].count; s++)
        if (strcmp(list[i].splits[s], split) == 0) return;
    list[i].splits[list[i].count++] = split;
}

static void add_task(job *j, const char *name) {
    tl_error error = {0};
    tl_task *task = tl_task_open(name, &error);
    if (!task) {
        report(j, &error);
        return;
    }
    wanted list[TL_PROTOCOL_COUNT];
    int count = 0;
    for (int p = 0; p < TL_PROTOCOL_COUNT; p++) {
        if (!tl_task_has_protocol(task, (tl_protocol)p)) continue;
        const tl_task_source *source = tl_task_dataset(task, (tl_protocol)p);
        const char *shots = tl_task_fewshot_split(task, (tl_protocol)p);
        if (!source || !source->dataset) continue;
        want_split(list, &count, source, tl_task_split(task, (tl_protocol)p));
        if (shots) want_split(list, &count, source, shots);
    }
    if (count == 0)
        fprintf(stderr, "%s: its rows come with it, nothing to fetch\n", tl_task_name(task));
    for (int i = 0; i < count; i++)
        if (!tl_pull_add_dataset(j->pull, list[i].source->dataset, list[i].source->config,
                                 list[i].source->revision, list[i].splits, list[i].count, &error)) {
            tl_fail_within(&error, "task %s", tl_task_name(task));
            report(j, &error);
        }
    tl_task_free(task);
}

/* Is it the name or the file of a task? */
static bool names_task(const char *argument) {
    char data[PATH_MAX], path[PATH_MAX];
    size_t length = strlen(argument);
    if (length > 5 && strcmp(argument + length - 5, ".yaml") == 0) return true;
    return !strchr(argument, '/') && tl_data_dir(data, sizeof data, NULL) &&
           tl_put_path(path, sizeof path, NULL, "%s/tasks/%s.yaml", data, argument) &&
           tl_file_exists(path);
}

static int is_yaml(const struct dirent *entry) {
    const char *dot = strrchr(entry->d_name, '.');
    return dot && strcmp(dot, ".yaml") == 0;
}

static void add_all_tasks(job *j) {
    char data[PATH_MAX], path[PATH_MAX];
    tl_error error = {0};
    struct dirent **entries;
    if (!tl_data_dir(data, sizeof data, &error) ||
        !tl_put_path(path, sizeof path, &error, "%s/tasks", data)) {
        report(j, &error);
        return;
    }
    int count = scandir(path, &entries, is_yaml, alphasort);
    for (int i = 0; i < count; i++) {
        *strrchr(entries[i]->d_name, '.') = 0;
        if (!interrupted) add_task(j, entries[i]->d_name);
        free(entries[i]);
    }
    if (count >= 0) free(entries);
}

static void add_argument(job *j, const char *argument) {
    if (strcmp(argument, "@tasks") == 0) {
        add_all_tasks(j);
    } else if (strncmp(argument, "datasets/", 9) == 0) {
        add_dataset(j, argument + 9);
    } else if (names_task(argument)) {
        add_task(j, argument);
    } else {
        char **models = NULL;
        int count = 0;
        tl_error error = {0};
        if (!tl_hub_expand(argument, &models, &count, &error)) report(j, &error);
        for (int i = 0; i < count; i++) {
            if (!interrupted) add_model(j, models[i]);
            free(models[i]);
        }
        free(models);
    }
}

/* ---- what is shown
 * ------------------------------------------------------------------------------------------- */

static void print_plan(const tl_pull *pull) {
    for (int r = 0; r < tl_pull_repo_count(pull); r++) {
        const tl_pull_repo *repo = tl_pull_repo_at(pull, r);
        fprintf(stderr, "%s @ %.12s", repo->repo.id, repo->commit);
        if (repo->local) fprintf(stderr, ": in the cache");
        fprintf(stderr, "\n");
        for (int i = 0; i < tl_pull_file_count(pull); i++) {
            const tl_pull_file *file = tl_pull_file_at(pull, i);
            if (file->repo != r) continue;
            fprintf(stderr, "  %12.3f MB  %s", (double)file->size / 1e6, file->path);
            if (file->present == file->size)
                fprintf(stderr, "  (here)");
            else if (file->present > 0)
                fprintf(stderr, "  (%.3f MB here)", (double)file->present / 1e6);
            fprintf(stderr, "\n");
        }
    }
    fprintf(stderr, "to fetch: %.3f MB\n", (double)tl_pull_missing(pull) / 1e6);
}

/* What the progress display remembers between its ticks. */
typedef struct display {
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
    fprintf(stderr, "\033[K  %-20.20s %-28.28s [", name, path);
    draw_bar(size ? (double)done / (double)size : 1);
    fprintf(stderr, "] %9.1f / %.1f MB\n", (double)done / 1e6, (double)size / 1e6);
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
        fprintf(stderr, "  %s/%s: %.3f MB\n", repo->id, file->path, (double)file->size / 1e6);
    }
}

/* On a terminal: a bar for each file under way and one for all. Elsewhere: a line now and then. */
static void tick(void *context, const tl_pull *pull) {
    display *d = context;
    double now = tl_clock_monotonic();
    if (d->terminal && d->lines) fprintf(stderr, "\033[%dA\033[J", d->lines);
    d->lines = 0;
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
    if (d->terminal && size > 0) {
        draw_line("all", rate, done, size);
        d->lines++;
    } else if (now - d->last >= 5) {
        d->last = now;
        fprintf(stderr, "  %.1f of %.1f MB, %s\n", (double)done / 1e6, (double)size / 1e6, rate);
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
        .terminal = isatty(STDERR_FILENO),
        .started = tl_clock_monotonic(),
        .last = tl_clock_monotonic(),
        .reported = calloc((size_t)count + 1, sizeof *d.reported),
    };
    uint64_t size;
    sum_up(j->pull, &d.before, &size);
    if (!d.reported) return tl_fail_memory(error, (size_t)count, "the display");
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
    if (interrupted) {
        tl_fail(&error, TL_ERROR_INTERRUPTED, "stopped before anything was fetched");
        return cli_fail(j->command, &error);
    }
    if (tl_pull_repo_count(j->pull) > 0) print_plan(j->pull);
    bool good = fetch(j, dry_run, &error);
    print_results(j->pull, json);
    if (interrupted) {
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
    job j = {.command = command};
    const cli_option options[] = {
        {"file", 0, CLI_LIST, &j.patterns, "PATTERN",
         "these files in place of the weights (repeatable)"},
        {"config", 0, CLI_STRING, &j.config, "NAME", "of datasets/ORG/NAME"},
        {"split", 0, CLI_LIST, &j.splits, "NAME", "of datasets/ORG/NAME (default validation)"},
        {"jobs", 'j', CLI_INT, &jobs, "N", "files at a time (default 4)", 1, 32},
        {"retries", 0, CLI_INT, &tries, "N", "further tries after a failure (default 5)", 0, 1000},
        {"dry-run", 'n', CLI_FLAG, &dry_run, NULL, "show what would be fetched"},
        {"json", 0, CLI_FLAG, &json, NULL, "print the result as JSON"},
        {0},
    };
    int operands, status;
    if (!cli_parse(command, options, argc, argv, &operands, &status)) return status;
    if (operands == 0) return cli_usage(command, "what to pull? a model, a task, @study or @tasks");
    const struct sigaction action = {.sa_handler = on_signal};
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    const tl_pull_options pull_options = {
        .jobs = (int)jobs,
        .tries = (int)tries,
        .retry_base = 0.5,
        .stopped = is_interrupted,
    };
    tl_error error = {0};
    j.pull = tl_pull_new(&pull_options, &error);
    for (int i = 0; j.pull && i < operands && !interrupted; i++)
        add_argument(&j, argv[i]);
    status = j.pull ? finish(&j, dry_run, json) : cli_fail(command, &error);
    tl_pull_free(j.pull);
    cli_list_free(&j.patterns);
    cli_list_free(&j.splits);
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
