/* The Hugging Face cache on disk, as huggingface_hub lays it out:
 *
 *   HUB/models--org--name/refs/main              the commit a branch or tag points to
 *   HUB/models--org--name/snapshots/COMMIT/path  relative links into
 *   HUB/models--org--name/blobs/ETAG             the files, by SHA-256 (LFS) or git blob SHA-1
 *   HUB/.locks/models--org--name/ETAG.lock       held with flock while a blob is written */
#ifndef TL_HUB_CACHE_H
#define TL_HUB_CACHE_H

#include "base/base.h"

#include <limits.h>

typedef enum tl_repo_kind { TL_REPO_MODEL, TL_REPO_DATASET, TL_REPO_KIND_COUNT } tl_repo_kind;

enum { TL_REPO_ID_SIZE = 200, TL_REVISION_SIZE = 200, TL_COMMIT_SIZE = 65 };

/* A repository of the hub at a revision. */
typedef struct tl_repo {
    tl_repo_kind kind;
    char id[TL_REPO_ID_SIZE];        /* "org/name", or "name" alone for the oldest ones */
    char revision[TL_REVISION_SIZE]; /* branch, tag or commit; "main" when not given */
} tl_repo;

/* Reads "org/name[@revision]"; refuses whatever the hub would not allow as a name, ".." included,
 * so that the parts are safe in paths and addresses. */
bool tl_repo_parse(tl_repo_kind kind, const char *text, tl_repo *repo, tl_error *error);

/* "models" or "datasets", as in the cache's folder names and the hub's addresses. */
const char *tl_repo_kind_plural(tl_repo_kind kind);

/* Formats a path into `path`; fails when it does not fit. */
bool tl_put_path(char *path, size_t size, tl_error *error, const char *format, ...) TL_PRINTF(4, 5);

/* Is `text` a full commit id: 40 (SHA-1) or 64 (SHA-256) lower-case hex digits? */
bool tl_is_commit(const char *text);

/* Is `path` safe below a directory: relative, no empty, "." or ".." part, no control characters or
 * backslashes, at most 1000 bytes? */
bool tl_is_safe_path(const char *path);

/* The Hugging Face home ($HF_HOME, $XDG_CACHE_HOME/huggingface, ~/.cache/huggingface) and the
 * cache of repositories ($HF_HUB_CACHE, $HUGGINGFACE_HUB_CACHE, home/hub). */
bool tl_hf_home(char *path, size_t size, tl_error *error);
bool tl_hf_cache(char *path, size_t size, tl_error *error);

/* HUB/models--org--name of a repository, whether it is there or not. */
bool tl_cache_repo_directory(const char *cache, const tl_repo *repo, char *path, size_t size,
                             tl_error *error);

/* The snapshot directory that the repository's revision points to in the cache, and its commit
 * (may be NULL). Fails when it is not there, saying where it looked and how to fetch it. */
bool tl_cache_snapshot(const char *cache, const tl_repo *repo, char *path, size_t size,
                       char commit[TL_COMMIT_SIZE], tl_error *error);

/* Fails, naming the file, when a link of the snapshot leads nowhere or leaves the cache. */
bool tl_cache_check_links(const char *snapshot, const tl_repo *repo, tl_error *error);

/* Fails when a snapshot of a model has no weights or only some of its shards. */
bool tl_cache_check_model(const char *snapshot, const tl_repo *repo, tl_error *error);

/* Relative paths of a snapshot's files, sorted; free with tl_names_free. */
typedef struct tl_names {
    char **items;
    int count;
} tl_names;

bool tl_names_add(tl_names *names, const char *text);
void tl_names_free(tl_names *names);
bool tl_cache_list(const char *snapshot, tl_names *names, tl_error *error);

#endif
