/* Bundles: models and datasets of the cache in one file, to be carried to a device without a
 * network. A bundle is a tar archive, compressed with zstd:
 *
 *   manifest.json     {"format": 1, "repositories": [{"kind", "id", "revision", "commit", "files":
 *                     [{"path", "blob", "sha256", "size"}]}]}
 *   blobs/SHA256      every different content once, in the manifest's order
 *
 * There are no names of the cache in it and no links: the receiver makes them from the manifest,
 * whose every word it checks. */
#ifndef TL_HUB_BUNDLE_H
#define TL_HUB_BUNDLE_H

#include "hub/cache.h"
#include "hub/http.h"

/* A file of a repository within a bundle. */
typedef struct tl_bundle_file {
    char *path;             /* in the repository */
    char blob[TL_HEX_SIZE]; /* its name among the cache's blobs */
    char sha256[TL_HEX_SIZE];
    uint64_t size;
    char *source; /* packing: where it lies; NULL when unpacking */
} tl_bundle_file;

typedef struct tl_bundle_repo {
    tl_repo repo;
    char commit[TL_COMMIT_SIZE];
    tl_bundle_file *files;
    int count;
} tl_bundle_repo;

typedef struct tl_bundle {
    tl_bundle_repo *repos;
    int count;
} tl_bundle;

void tl_bundle_free(tl_bundle *bundle);

/* Bytes of its different contents. */
uint64_t tl_bundle_size(const tl_bundle *bundle);

/* Adds what a run needs of a model in the cache; `model` is org/name[@revision]. */
bool tl_bundle_add_model(tl_bundle *bundle, const char *model, tl_error *error);

/* Adds splits of a dataset in the cache, found as tl_hub_dataset_file does. */
bool tl_bundle_add_dataset(tl_bundle *bundle, const char *dataset, const char *config,
                           const char *revision, const char *const *splits, int n_splits,
                           tl_error *error);

/* What packing and unpacking tell of their progress, a few times a second; false stops them. */
typedef bool tl_bundle_tick(void *context, uint64_t done, uint64_t total);

/* Writes the bundle at zstd's `level`, each content verified as it is read. The file has its name
 * only when it is complete. */
bool tl_bundle_write(const tl_bundle *bundle, const char *path, int level, tl_bundle_tick *tick,
                     void *context, tl_error *error);

/* Reads a bundle (zstd or plain tar), verifies every content, and, unless `check_only`, installs
 * them into the cache: blobs first, then the snapshots' links, branches last, so that a bundle that
 * turns out bad or is interrupted leaves no repository that looks complete. What it held goes to
 * *bundle, to be freed even after a failure. */
bool tl_bundle_read(const char *path, bool check_only, tl_bundle *bundle, tl_bundle_tick *tick,
                    void *context, tl_error *error);

/* ---- the parts of reading, for tests
 * ------------------------------------------------------------------------------------------- */

/* Reads and checks a manifest. */
bool tl_bundle_parse(const char *text, size_t length, const char *where, tl_bundle *bundle,
                     tl_error *error);

/* The manifest's text; to be freed with free(). NULL when memory is out. */
char *tl_bundle_manifest(const tl_bundle *bundle);

#endif
