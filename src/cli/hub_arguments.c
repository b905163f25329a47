#include "cli/hub_arguments.h"

#include "hub/cache.h"
#include "hub/hub.h"
#include "task/task.h"

#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static volatile sig_atomic_t interrupted;

static void on_signal(int number) {
    (void)number;
    interrupted = 1;
}

void cli_catch_interrupts(void) {
    const struct sigaction action = {.sa_handler = on_signal};
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}

bool cli_interrupted(void) {
    return interrupted != 0;
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

static void add_task(const cli_hub_visitor *to, const char *name) {
    tl_error error = {0};
    tl_task *task = tl_task_open(name, &error);
    if (!task) {
        to->failed(to->context, &error);
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
        to->dataset(to->context, list[i].source->dataset, list[i].source->config,
                    list[i].source->revision, list[i].splits, list[i].count);
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

static void add_all_tasks(const cli_hub_visitor *to) {
    char data[PATH_MAX], path[PATH_MAX];
    tl_error error = {0};
    struct dirent **entries;
    if (!tl_data_dir(data, sizeof data, &error) ||
        !tl_put_path(path, sizeof path, &error, "%s/tasks", data)) {
        to->failed(to->context, &error);
        return;
    }
    int count = scandir(path, &entries, is_yaml, alphasort);
    for (int i = 0; i < count; i++) {
        *strrchr(entries[i]->d_name, '.') = 0;
        if (!to->stopped()) add_task(to, entries[i]->d_name);
        free(entries[i]);
    }
    if (count >= 0) free(entries);
}

static void add_models(const cli_hub_visitor *to, const char *argument) {
    char **models = NULL;
    int count = 0;
    tl_error error = {0};
    if (!tl_hub_expand(argument, &models, &count, &error)) to->failed(to->context, &error);
    for (int i = 0; i < count; i++) {
        if (!to->stopped()) to->model(to->context, models[i]);
        free(models[i]);
    }
    free(models);
}

static void add_dataset(const cli_hub_visitor *to, const char *name) {
    static const char *const usual[] = {"validation"};
    tl_error error = {0};
    tl_repo repo;
    bool chosen = to->splits && to->splits->count > 0;
    if (!tl_repo_parse(TL_REPO_DATASET, name, &repo, &error))
        to->failed(to->context, &error);
    else
        to->dataset(to->context, repo.id, to->config,
                    strcmp(repo.revision, "main") == 0 ? NULL : repo.revision,
                    chosen ? (const char *const *)to->splits->items : usual,
                    chosen ? to->splits->count : 1);
}

void cli_hub_visit(const char *argument, const cli_hub_visitor *visitor) {
    if (strncmp(argument, "datasets/", 9) == 0) {
        add_dataset(visitor, argument + 9);
    } else if (names_task(argument)) {
        add_task(visitor, argument);
    } else if (strcmp(argument, "@tasks") == 0) {
        add_all_tasks(visitor);
    } else {
        add_models(visitor, argument);
        if (strcmp(argument, "@study") == 0) add_all_tasks(visitor);
    }
}
