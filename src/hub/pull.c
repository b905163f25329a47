#include "hub/pull.h"

#include "hub/fetch.h"
#include "hub/hub.h"
#include "hub/select.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>

enum { MOST_JOBS = 32 };

/* A planned repository, with what only this file needs. */
typedef struct planned {
    tl_pull_repo public;
    char directory[PATH_MAX]; /* HUB/models--org--name */
    char locks[PATH_MAX];
    tl_remote_tree tree;
} planned;

struct tl_pull {
    tl_pull_options options;
    tl_hub_settings settings;
    tl_http *http; /* for planning */
    planned **repos;
    int n_repos;
    tl_pull_file **files;
    const tl_remote_file **remote; /* [n_files] */
    int n_files;
    atomic_int next, running;
};

static tl_http *new_client(const tl_pull *pull, tl_error *error) {
    const tl_http_options options = {
        .endpoint = pull->settings.endpoint,
        .token = *pull->settings.token ? pull->settings.token : NULL,
        .timeout = pull->settings.timeout,
        .stopped = pull->options.stopped,
        .stopped_context = pull->options.stopped_context,
        .notice = pull->options.notice,
        .notice_context = pull->options.notice_context,
    };
    return tl_http_new(&options, error);
}

tl_pull *tl_pull_new(const tl_pull_options *options, tl_error *error) {
    tl_pull *pull = calloc(1, sizeof *pull);
    if (!pull) {
        tl_fail_memory(error, sizeof *pull, "a plan");
        return NULL;
    }
    pull->options = *options;
    if (tl_hub_settings_read(&pull->settings, error)) pull->http = new_client(pull, error);
    if (pull->http) return pull;
    tl_pull_free(pull);
    return NULL;
}

void tl_pull_free(tl_pull *pull) {
    if (!pull) return;
    tl_http_free(pull->http);
    for (int i = 0; i < pull->n_repos; i++) {
        tl_remote_tree_free(&pull->repos[i]->tree);
        free(pull->repos[i]);
    }
    for (int i = 0; i < pull->n_files; i++)
        free(pull->files[i]);
    free(pull->repos);
    free(pull->files);
    free(pull->remote);
    free(pull);
}

int tl_pull_repo_count(const tl_pull *pull) {
    return pull->n_repos;
}

const tl_pull_repo *tl_pull_repo_at(const tl_pull *pull, int index) {
    return &pull->repos[index]->public;
}

int tl_pull_file_count(const tl_pull *pull) {
    return pull->n_files;
}

const tl_pull_file *tl_pull_file_at(const tl_pull *pull, int index) {
    return pull->files[index];
}

/* ---- planning
 * ------------------------------------------------------------------------------------------- */

static tl_retry tries(const tl_pull *pull) {
    return (tl_retry){.left = pull->options.tries, .base = pull->options.retry_base};
}

/* A new repository at the end of the plan; NULL when memory is out. */
static planned *add_repo(tl_pull *pull, const tl_repo *repo, tl_error *error) {
    planned **repos = realloc(pull->repos, ((size_t)pull->n_repos + 1) * sizeof *repos);
    if (repos) pull->repos = repos;
    planned *added = repos ? calloc(1, sizeof *added) : NULL;
    if (!added) {
        tl_fail_memory(error, sizeof *added, "a plan");
        return NULL;
    }
    added->public.repo = *repo;
    repos[pull->n_repos++] = added;
    return added;
}

static void drop_repo(tl_pull *pull) {
    planned *last = pull->repos[--pull->n_repos];
    tl_remote_tree_free(&last->tree);
    free(last);
}

/* Asks the hub what the repository holds, and where that goes. */
static bool look_up(tl_pull *pull, planned *at, tl_error *error) {
    const tl_repo *repo = &at->public.repo;
    char locks[PATH_MAX];
    return tl_remote_list(pull->http, &pull->settings, repo, tries(pull), &at->tree, error) &&
           tl_put_path(at->public.commit, sizeof at->public.commit, error, "%s", at->tree.commit) &&
           tl_cache_repo_directory(pull->settings.cache, repo, at->directory, sizeof at->directory,
                                   error) &&
           tl_put_path(at->public.snapshot, sizeof at->public.snapshot, error, "%s/snapshots/%s",
                       at->directory, at->public.commit) &&
           tl_put_path(locks, sizeof locks, error, "%s/.locks", pull->settings.cache) &&
           tl_cache_repo_directory(locks, repo, at->locks, sizeof at->locks, error);
}

static bool add_file(tl_pull *pull, const planned *at, const tl_remote_file *remote,
                     tl_error *error) {
    size_t count = (size_t)pull->n_files + 1;
    tl_pull_file **files = realloc(pull->files, count * sizeof *files);
    if (files) pull->files = files;
    const tl_remote_file **remotes = realloc(pull->remote, count * sizeof *remotes);
    if (remotes) pull->remote = remotes;
    tl_pull_file *file = files && remotes ? calloc(1, sizeof *file) : NULL;
    if (!file) return tl_fail_memory(error, sizeof *file, "a plan");
    bool complete;
    file->repo = pull->n_repos - 1;
    file->path = remote->path;
    file->size = remote->size;
    file->present = tl_fetch_present(at->directory, at->public.commit, remote, &complete);
    atomic_init(&file->done, file->present);
    files[pull->n_files] = file;
    remotes[pull->n_files++] = remote;
    return true;
}

/* The paths of a tree, borrowed, and room for a choice among them. */
typedef struct choice {
    tl_names names;
    int *picked;
} choice;

static bool start_choice(choice *c, const tl_remote_tree *tree, tl_error *error) {
    size_t count = (size_t)tree->count + 1;
    *c = (choice){.names = {calloc(count, sizeof(char *)), tree->count},
                  .picked = calloc(count, sizeof *c->picked)};
    for (int i = 0; c->names.items && i < tree->count; i++)
        c->names.items[i] = tree->files[i].path;
    return (c->names.items && c->picked) || tl_fail_memory(error, count, "a list of files");
}

static void end_choice(choice *c) {
    free(c->names.items);
    free(c->picked);
}

static bool plan_model(tl_pull *pull, planned *at, const char *const *patterns, int n_patterns,
                       tl_error *error) {
    choice c = {0};
    bool good = look_up(pull, at, error) && start_choice(&c, &at->tree, error);
    int count =
        good ? tl_model_pick(&c.names, at->public.repo.id, patterns, n_patterns, c.picked, error)
             : 0;
    good = count > 0;
    for (int i = 0; good && i < count; i++)
        good = add_file(pull, at, &at->tree.files[c.picked[i]], error);
    end_choice(&c);
    return good;
}

/* Notes a repository that is in the cache already, in place of asking the hub. */
static bool add_local(tl_pull *pull, const tl_repo *repo, tl_error *error) {
    planned *at = add_repo(pull, repo, error);
    if (!at) return false;
    at->public.local = at->public.good = true;
    if (tl_cache_snapshot(pull->settings.cache, repo, at->public.snapshot,
                          sizeof at->public.snapshot, at->public.commit, error))
        return true;
    drop_repo(pull);
    return false;
}

bool tl_pull_add_model(tl_pull *pull, const char *model, const char *const *patterns,
                       int n_patterns, tl_error *error) {
    tl_repo repo;
    char path[PATH_MAX];
    if (!tl_repo_parse(TL_REPO_MODEL, model, &repo, error)) return false;
    if (pull->settings.offline) {
        if (tl_hub_model_directory(model, path, sizeof path, error))
            return add_local(pull, &repo, error);
        return tl_fail_within(error, "offline (HF_HUB_OFFLINE is set)");
    }
    int files = pull->n_files;
    planned *at = add_repo(pull, &repo, error);
    if (!at) return false;
    if (plan_model(pull, at, patterns, n_patterns, error)) return true;
    while (pull->n_files > files)
        free(pull->files[--pull->n_files]);
    drop_repo(pull);
    return false;
}

/* ---- datasets
 * ------------------------------------------------------------------------------------------- */

/* Adds the Parquet files of the splits; *missing names the first split that has none. */
static bool plan_splits(tl_pull *pull, const planned *at, const char *config,
                        const char *const *splits, int n_splits, const char **missing,
                        tl_error *error) {
    choice c;
    bool good = start_choice(&c, &at->tree, error);
    *missing = NULL;
    for (int s = 0; good && !*missing && s < n_splits; s++) {
        int count = tl_dataset_pick(&c.names, config, splits[s], c.picked);
        if (count == 0) *missing = splits[s];
        for (int i = 0; good && i < count; i++)
            good = add_file(pull, at, &at->tree.files[c.picked[i]], error);
    }
    end_choice(&c);
    return good;
}

static const char conversion[] = "refs/convert/parquet";

/* Notes a dataset all of whose splits are in the cache. */
static bool add_local_splits(tl_pull *pull, tl_repo repo, const char *config,
                             const char *const *splits, int n_splits, tl_error *error) {
    char path[PATH_MAX];
    for (int i = 0; i < n_splits; i++)
        if (!tl_hub_dataset_file(repo.id, config, repo.revision, splits[i], path, sizeof path,
                                 error))
            return false;
    if (add_local(pull, &repo, NULL)) return true;
    strcpy(repo.revision, conversion);
    return add_local(pull, &repo, error);
}

bool tl_pull_add_dataset(tl_pull *pull, const char *dataset, const char *config,
                         const char *revision, const char *const *splits, int n_splits,
                         tl_error *error) {
    tl_repo repo;
    if (!tl_repo_parse(TL_REPO_DATASET, dataset, &repo, error)) return false;
    if (revision && !tl_put_path(repo.revision, sizeof repo.revision, error, "%s", revision))
        return false;
    /* A commit never changes: what is here of it need not be asked for. */
    if ((pull->settings.offline || tl_is_commit(repo.revision)) &&
        add_local_splits(pull, repo, config, splits, n_splits, error))
        return true;
    if (pull->settings.offline) return tl_fail_within(error, "offline (HF_HUB_OFFLINE is set)");
    const char *const revisions[] = {revision ? revision : "main", conversion};
    const char *missing = NULL;
    for (size_t i = 0; i < sizeof revisions / sizeof *revisions; i++) {
        int files = pull->n_files;
        if (i > 0 && strcmp(revisions[0], revisions[i]) == 0) break;
        strcpy(repo.revision, revisions[i]);
        planned *at = add_repo(pull, &repo, error);
        if (!at) return false;
        bool good = look_up(pull, at, error) &&
                    plan_splits(pull, at, config, splits, n_splits, &missing, error);
        if (good && !missing) return true;
        while (pull->n_files > files)
            free(pull->files[--pull->n_files]);
        drop_repo(pull);
        if (good) continue;
        return missing ? tl_fail_within(error, "no Parquet file of split %s, and no conversion",
                                        missing)
                       : false;
    }
    return tl_fail(error, TL_ERROR_UNSUPPORTED,
                   "%s: no Parquet file of split %s%s%s, neither at %s nor in the hub's own "
                   "conversion",
                   repo.id, missing, config ? " of " : "", config ? config : "", revisions[0]);
}

/* ---- room
 * ------------------------------------------------------------------------------------------- */

uint64_t tl_pull_missing(const tl_pull *pull) {
    uint64_t missing = 0;
    for (int i = 0; i < pull->n_files; i++)
        missing += pull->files[i]->size - pull->files[i]->present;
    return missing;
}

bool tl_pull_check_space(const tl_pull *pull, tl_error *error) {
    enum { MARGIN = 16 << 20 }; /* what else is written meanwhile */
    struct statvfs status;
    uint64_t missing = tl_pull_missing(pull);
    if (missing == 0) return true;
    if (!tl_dir_create(pull->settings.cache, error)) return false;
    if (statvfs(pull->settings.cache, &status) != 0)
        return tl_fail_errno(error, "%s: cannot ask for its free space", pull->settings.cache);
    uint64_t room = (uint64_t)status.f_bavail * status.f_frsize;
    if (missing + MARGIN <= room) return true;
    return tl_fail(
        error, TL_ERROR_IO,
        "%s: %.1f MB to fetch but only %.1f MB free: make room, or set HF_HOME to another "
        "disk",
        pull->settings.cache, (double)missing / 1e6, (double)room / 1e6);
}

/* ---- fetching
 * ------------------------------------------------------------------------------------------- */

static bool fetch_file(tl_pull *pull, tl_http *http, int index) {
    tl_pull_file *file = pull->files[index];
    const planned *at = pull->repos[file->repo];
    const tl_fetch fetch = {
        .settings = &pull->settings,
        .repo = &at->public.repo,
        .file = pull->remote[index],
        .commit = at->public.commit,
        .directory = at->directory,
        .locks = at->locks,
        .retry = tries(pull),
        .done = &file->done,
    };
    bool complete;
    tl_fetch_present(at->directory, at->public.commit, fetch.file, &complete);
    return (complete || tl_fetch_blob(http, &fetch, &file->error)) &&
           tl_fetch_link(at->directory, at->public.commit, fetch.file, &file->error);
}

static void *worker(void *argument) {
    tl_pull *pull = argument;
    tl_error error = {0};
    tl_http *http = new_client(pull, &error);
    for (;;) {
        int index = atomic_fetch_add(&pull->next, 1);
        if (index >= pull->n_files) break;
        tl_pull_file *file = pull->files[index];
        atomic_store(&file->state, TL_PULL_RUNNING);
        if (!http) file->error = error;
        bool good = http && fetch_file(pull, http, index);
        atomic_store(&file->state, good ? TL_PULL_DONE : TL_PULL_FAILED);
    }
    tl_http_free(http);
    atomic_fetch_sub(&pull->running, 1);
    return NULL;
}

static bool run_workers(tl_pull *pull, tl_pull_tick *tick, void *context, tl_error *error) {
    pthread_t threads[MOST_JOBS];
    int jobs = pull->options.jobs < MOST_JOBS ? pull->options.jobs : MOST_JOBS;
    if (jobs > pull->n_files) jobs = pull->n_files;
    atomic_store(&pull->next, 0);
    int started = 0;
    for (; started < jobs; started++) {
        atomic_fetch_add(&pull->running, 1);
        if (pthread_create(&threads[started], NULL, worker, pull) == 0) continue;
        atomic_fetch_sub(&pull->running, 1);
        break;
    }
    if (jobs > 0 && started == 0) return tl_fail(error, TL_ERROR_MEMORY, "cannot start a thread");
    while (atomic_load(&pull->running) > 0) {
        if (tick) tick(context, pull);
        for (int i = 0; i < 10 && atomic_load(&pull->running) > 0; i++)
            tl_clock_sleep(0.02);
    }
    for (int i = 0; i < started; i++)
        pthread_join(threads[i], NULL);
    if (tick) tick(context, pull);
    return true;
}

static bool finish_repo(tl_pull *pull, int index, tl_error *error) {
    planned *at = pull->repos[index];
    if (at->public.local) return true;
    for (int i = 0; i < pull->n_files; i++) {
        const tl_pull_file *file = pull->files[i];
        if (file->repo != index || atomic_load(&file->state) == TL_PULL_DONE) continue;
        if (error) *error = file->error;
        return false;
    }
    bool is_model = at->public.repo.kind == TL_REPO_MODEL;
    if (is_model && !tl_cache_check_model(at->public.snapshot, &at->public.repo, error))
        return false;
    at->public.good = tl_fetch_ref(at->directory, &at->public.repo, at->public.commit, error);
    return at->public.good;
}

bool tl_pull_run(tl_pull *pull, tl_pull_tick *tick, void *context, tl_error *error) {
    if (pull->n_files > 0) {
        if (!tl_dir_create(pull->settings.cache, error)) return false;
        tl_cache_tag(pull->settings.cache);
    }
    if (!run_workers(pull, tick, context, error)) return false;
    bool good = true;
    for (int i = 0; i < pull->n_repos; i++)
        good &= finish_repo(pull, i, good ? error : NULL);
    return good;
}
