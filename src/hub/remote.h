/* The hub's HTTP interface: what a repository holds at a revision, and where its files are. */
#ifndef TL_HUB_REMOTE_H
#define TL_HUB_REMOTE_H

#include "hub/cache.h"
#include "hub/http.h"

/* What the environment says about the hub. */
typedef struct tl_hub_settings {
    char endpoint[512];     /* HF_ENDPOINT, without a slash at its end */
    char token[512];        /* HF_TOKEN, HUGGING_FACE_HUB_TOKEN, or the token file; "" for none */
    char token_source[256]; /* where the token is from, for messages */
    bool offline;           /* HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE */
    double timeout;         /* HF_HUB_DOWNLOAD_TIMEOUT, seconds */
    char cache[PATH_MAX];
} tl_hub_settings;

bool tl_hub_settings_read(tl_hub_settings *settings, tl_error *error);

/* A file of a repository, as the hub lists it. Its content has the given SHA-256 where it is kept
 * by LFS, else the given git blob SHA-1; either is its name among the cache's blobs. */
typedef struct tl_remote_file {
    char *path; /* safe below a directory: tl_is_safe_path */
    uint64_t size;
    char hash[TL_HEX_SIZE];
    bool lfs;
} tl_remote_file;

typedef struct tl_remote_tree {
    char commit[TL_COMMIT_SIZE];
    tl_remote_file *files;
    int count;
} tl_remote_tree;

/* Lists a repository's files at its revision, page after page. `retry` is how to try again; each
 * request starts afresh with it. Free with tl_remote_tree_free. */
bool tl_remote_list(tl_http *http, const tl_hub_settings *settings, const tl_repo *repo,
                    tl_retry retry, tl_remote_tree *tree, tl_error *error);
void tl_remote_tree_free(tl_remote_tree *tree);

/* The address of a file's content at a commit; free with free(). NULL when memory is out. */
char *tl_remote_url(const tl_hub_settings *settings, const tl_repo *repo, const char *commit,
                    const char *path);

/* Fills `error` with what an answer that is not 2xx means for the user, and the remedy: gated,
 * missing, private, a wrong revision, too many requests. Returns false. */
bool tl_remote_explain(const tl_hub_settings *settings, const tl_repo *repo,
                       const tl_http_reply *reply, tl_error *error);

#endif
