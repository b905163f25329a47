/* Fetching one file of the hub into the cache's blobs, so that it finishes: resumed, checked,
 * tried again. */
#ifndef TL_HUB_FETCH_H
#define TL_HUB_FETCH_H

#include "hub/http.h"
#include "hub/remote.h"

#include <stdatomic.h>

typedef struct tl_fetch {
    const tl_hub_settings *settings;
    const tl_repo *repo;
    const tl_remote_file *file;
    const char *commit;
    const char *directory;  /* HUB/models--org--name; blobs/ is in it */
    const char *locks;      /* HUB/.locks/models--org--name */
    tl_retry retry;         /* counts from anew whenever bytes arrive */
    _Atomic uint64_t *done; /* bytes on disk so far */
} tl_fetch;

/* Makes blobs/HASH be there with the right content. What arrives goes to blobs/HASH.incomplete, a
 * name that does not change, so that it is taken up again after a kill at any byte; the content is
 * verified before it gets its final name. A lock keeps other processes (huggingface_hub's too) from
 * the same file meanwhile. */
bool tl_fetch_blob(tl_http *http, const tl_fetch *fetch, tl_error *error);

/* Bytes of a file already on disk: its size when it is complete. */
uint64_t tl_fetch_present(const char *directory, const char *commit, const tl_remote_file *file,
                          bool *complete);

/* Makes snapshots/COMMIT/path a relative link to the blob (the blob itself where links cannot be
 * made). */
bool tl_fetch_link(const char *directory, const char *commit, const tl_remote_file *file,
                   tl_error *error);

/* Points the revision, unless it is a commit itself, to the commit: refs/REVISION. */
bool tl_fetch_ref(const char *directory, const tl_repo *repo, const char *commit, tl_error *error);

/* Marks the cache so that backups may skip it, as huggingface_hub does
 * (https://bford.info/cachedir/). The cache's directory must be there. */
void tl_cache_tag(const char *cache);

/* Creates the folder of `path` (relative, safe) below `root`; refuses to go through links, which
 * could lead out of the cache. */
bool tl_make_folders(const char *root, const char *path, tl_error *error);

#endif
