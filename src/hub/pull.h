/* Pulling repositories of the hub into the cache: what to fetch, how much it is, and fetching it,
 * several files at a time. */
#ifndef TL_HUB_PULL_H
#define TL_HUB_PULL_H

#include "hub/remote.h"

#include <stdatomic.h>

typedef struct tl_pull tl_pull;

typedef struct tl_pull_options {
    int jobs;                     /* files at a time */
    int tries;                    /* further tries after a failure */
    double retry_base;            /* seconds before the first of them */
    tl_stopped_function *stopped; /* the user's stop; may be NULL */
    void *stopped_context;
    tl_notice_function *notice; /* of waits; may be NULL; called by any thread */
    void *notice_context;
} tl_pull_options;

typedef enum tl_pull_state {
    TL_PULL_WAITING,
    TL_PULL_RUNNING,
    TL_PULL_DONE,
    TL_PULL_FAILED,
} tl_pull_state;

/* A file to be there in the end. */
typedef struct tl_pull_file {
    int repo; /* index of its repository */
    const char *path;
    uint64_t size;
    uint64_t present; /* bytes that were on disk when planned */
    _Atomic uint64_t done;
    _Atomic int state; /* tl_pull_state */
    tl_error error;    /* when failed */
} tl_pull_file;

/* A repository with at least one file in the plan. */
typedef struct tl_pull_repo {
    tl_repo repo;
    char commit[TL_COMMIT_SIZE];
    char snapshot[PATH_MAX]; /* where its files will be */
    bool local;              /* all of it was there: the hub was not asked */
    bool good;               /* after the run: everything is there */
} tl_pull_repo;

tl_pull *tl_pull_new(const tl_pull_options *options, tl_error *error);
void tl_pull_free(tl_pull *pull);

/* Plans a model: the files a run needs (config, tokenizer, safetensors or else .bin or else a
 * single .gguf). `patterns` (shell patterns, may be NULL) choose the weights or further files
 * instead. Asks the hub, unless it is offline: then the cache must have it. */
bool tl_pull_add_model(tl_pull *pull, const char *model, const char *const *patterns,
                       int n_patterns, tl_error *error);

/* Plans splits of a dataset, as Parquet: from `revision` (NULL: main), else from the hub's own
 * conversion. */
bool tl_pull_add_dataset(tl_pull *pull, const char *dataset, const char *config,
                         const char *revision, const char *const *splits, int n_splits,
                         tl_error *error);

int tl_pull_repo_count(const tl_pull *pull);
const tl_pull_repo *tl_pull_repo_at(const tl_pull *pull, int index);
int tl_pull_file_count(const tl_pull *pull);
const tl_pull_file *tl_pull_file_at(const tl_pull *pull, int index);

/* Bytes still to fetch. */
uint64_t tl_pull_missing(const tl_pull *pull);

/* Fails when the cache's disk has not room for what is missing. */
bool tl_pull_check_space(const tl_pull *pull, tl_error *error);

/* Called a few times a second from tl_pull_run's own thread. */
typedef void tl_pull_tick(void *context, const tl_pull *pull);

/* Fetches everything, links it into the snapshots and, where a repository is complete, points its
 * branch to the commit. True when all of it is there; else the first failure is in `error` and each
 * file has its own. What has arrived stays, to be taken up again. */
bool tl_pull_run(tl_pull *pull, tl_pull_tick *tick, void *context, tl_error *error);

#endif
