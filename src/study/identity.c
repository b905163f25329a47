#include "study/identity.h"

#include "checkpoint/checkpoint.h"
#include "tokenizer/tokenizer.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

typedef struct identifier {
    tl_store *store;
    const tl_identify_listener *listener;
} identifier;

/* The cache of the hub names large files by their SHA-256. */
static bool hash_in_name(const char *resolved, char hex[TL_HEX_SIZE]) {
    const char *name = tl_path_base(resolved);
    size_t length = strlen(name);
    if (length != 64 || length != strspn(name, "0123456789abcdef")) return false;
    size_t directory = (size_t)(name - resolved);
    if (directory < 6 || strncmp(name - 6, "blobs/", 6) != 0) return false;
    memcpy(hex, name, length + 1);
    return true;
}

static bool hash_file(const identifier *by, const char *path, char hex[TL_HEX_SIZE],
                      tl_error *error) {
    char resolved[PATH_MAX];
    struct stat status;
    if (!realpath(path, resolved) || stat(resolved, &status) != 0)
        return tl_fail_errno(error, "%s: cannot read", path);
    if (hash_in_name(resolved, hex)) return true;
    char key[PATH_MAX + 128];
    snprintf(key, sizeof key, "sha256:%s:%lld:%lld.%09ld:%llu", resolved, (long long)status.st_size,
             (long long)status.st_mtim.tv_sec, status.st_mtim.tv_nsec,
             (unsigned long long)status.st_ino);
    char *known = tl_store_fact(by->store, key);
    bool good = known && strlen(known) == 64;
    if (good) memcpy(hex, known, TL_HEX_SIZE);
    free(known);
    if (good) return true;
    if (by->listener->progress)
        by->listener->progress(by->listener->context, path, (double)status.st_size);
    return tl_sha256_file(resolved, by->listener->stop, hex, error) &&
           tl_store_set_fact(by->store, key, hex, error);
}

static bool add_file(const identifier *by, const char *path, tl_buffer *manifest, tl_error *error) {
    char hex[TL_HEX_SIZE];
    if (!hash_file(by, path, hex, error)) return false;
    tl_buffer_append_format(manifest, "%s %s\n", hex, tl_path_base(path));
    return true;
}

static bool add_named(const identifier *by, const char *directory, const char *const names[],
                      tl_buffer *manifest, tl_error *error) {
    for (int i = 0; names[i]; i++) {
        char *path = tl_path_join(directory, names[i]);
        bool good = path && (!tl_file_exists(path) || add_file(by, path, manifest, error));
        free(path);
        if (!good) return false;
    }
    return true;
}

/* The hash of the manifest, or "absent" of an empty one. */
static bool finish(tl_buffer *manifest, char hex[TL_HEX_SIZE], tl_error *error) {
    bool good = !manifest->failed;
    if (!good)
        tl_fail_memory(error, manifest->length, "a manifest");
    else if (manifest->length == 0)
        strcpy(hex, "absent");
    else
        good = tl_sha256(manifest->data, manifest->length, hex);
    tl_buffer_free(manifest);
    return good;
}

bool tl_identify_model(tl_store *store, const char *directory, const tl_identify_listener *listener,
                       tl_model_identity *identity, tl_error *error) {
    static const char *const config[] = {"config.json", NULL};
    identifier by = {store, listener};
    tl_buffer manifest = {0};
    bool good = add_named(&by, directory, config, &manifest, error);
    /* A checkpoint that cannot be opened has its own verdict later. */
    tl_checkpoint *checkpoint = tl_checkpoint_open(directory, NULL);
    const char *file;
    for (size_t i = 0; good && checkpoint && (file = tl_checkpoint_file(checkpoint, i)); i++)
        good = add_file(&by, file, &manifest, error);
    tl_checkpoint_free(checkpoint);
    if (!finish(&manifest, identity->weights, good ? error : NULL) || !good) return false;
    good = add_named(&by, directory, tl_tokenizer_files, &manifest, error);
    return finish(&manifest, identity->tokenizer, good ? error : NULL) && good;
}
