/* What a bundle holds, and its manifest. */
#include "hub/bundle.h"

#include "hub/hub.h"
#include "hub/select.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { FORMAT = 1, MOST_REPOS = 10000, MOST_FILES = 20000, SMALL_FILE = 64 << 20 };

static const int64_t LARGEST_FILE = (int64_t)1 << 50;

void tl_bundle_free(tl_bundle *bundle) {
    for (int r = 0; r < bundle->count; r++) {
        for (int i = 0; i < bundle->repos[r].count; i++) {
            free(bundle->repos[r].files[i].path);
            free(bundle->repos[r].files[i].source);
        }
        free(bundle->repos[r].files);
    }
    free(bundle->repos);
    *bundle = (tl_bundle){0};
}

/* Is this the first file of the bundle with its content? */
static bool is_first(tl_map *seen, const tl_bundle_file *file) {
    if (tl_map_get(seen, file->sha256, 64, NULL)) return false;
    tl_map_set(seen, file->sha256, 64, 1);
    return true;
}

uint64_t tl_bundle_size(const tl_bundle *bundle) {
    tl_map *seen = tl_map_new(64);
    uint64_t size = 0;
    for (int r = 0; seen && r < bundle->count; r++)
        for (int i = 0; i < bundle->repos[r].count; i++)
            if (is_first(seen, &bundle->repos[r].files[i])) size += bundle->repos[r].files[i].size;
    tl_map_free(seen);
    return size;
}

/* The entry of a repository at a commit, made when it is not there; NULL when memory is out. */
static tl_bundle_repo *entry_of(tl_bundle *bundle, const tl_repo *repo, const char *commit,
                                tl_error *error) {
    for (int r = 0; r < bundle->count; r++) {
        tl_bundle_repo *at = &bundle->repos[r];
        if (at->repo.kind == repo->kind && strcmp(at->repo.id, repo->id) == 0 &&
            strcmp(at->repo.revision, repo->revision) == 0 && strcmp(at->commit, commit) == 0)
            return at;
    }
    tl_bundle_repo *repos = realloc(bundle->repos, ((size_t)bundle->count + 1) * sizeof *repos);
    if (!repos) {
        tl_fail_memory(error, sizeof *repos, "a bundle");
        return NULL;
    }
    bundle->repos = repos;
    tl_bundle_repo *at = &repos[bundle->count++];
    *at = (tl_bundle_repo){.repo = *repo};
    strcpy(at->commit, commit);
    return at;
}

/* A new file at the end of the repository; NULL when memory is out. */
static tl_bundle_file *append_file(tl_bundle_repo *at, const char *path, tl_error *error) {
    tl_bundle_file *files = realloc(at->files, ((size_t)at->count + 1) * sizeof *files);
    if (files) at->files = files;
    char *copy = files ? strdup(path) : NULL;
    if (!copy) {
        tl_fail_memory(error, sizeof *files, "a bundle");
        return NULL;
    }
    files[at->count] = (tl_bundle_file){.path = copy};
    return &files[at->count++];
}

/* ---- from the cache
 * ------------------------------------------------------------------------------------------- */

static bool is_hex(const char *text, size_t length) {
    return strlen(text) == length && strspn(text, "0123456789abcdef") == length;
}

/* Reads a small file for its hashes: SHA-256, and the name git would give it. */
static bool hash_small(tl_bundle_file *file, tl_error *error) {
    size_t length;
    char *text = tl_file_read(file->source, SMALL_FILE, &length, error);
    if (!text) return false;
    tl_digest *digest = tl_digest_new_blob(length);
    bool good = digest && tl_sha256(text, length, file->sha256);
    if (good) {
        tl_digest_update(digest, text, length);
        good = tl_digest_finish(digest, file->blob);
    }
    tl_digest_free(digest);
    free(text);
    return good || tl_fail_memory(error, length, "a digest");
}

/* SHA-256 of a file of any size, which also becomes its name. */
static bool hash_large(tl_bundle_file *file, tl_error *error) {
    tl_mapping mapping;
    if (!tl_file_map(file->source, &mapping, error)) return false;
    bool good = tl_sha256(mapping.data, mapping.size, file->sha256);
    tl_file_unmap(&mapping);
    if (!good) return tl_fail_memory(error, SMALL_FILE, "a digest");
    strcpy(file->blob, file->sha256);
    return true;
}

/* Fills size and hashes. A blob named by its SHA-256 is verified when it is packed; others are
 * small, and read now. */
static bool identify(tl_bundle_file *file, tl_error *error) {
    struct stat status;
    char target[PATH_MAX];
    if (stat(file->source, &status) != 0)
        return tl_fail_errno(error, "%s: cannot stat", file->source);
    file->size = (uint64_t)status.st_size;
    ssize_t length = readlink(file->source, target, sizeof target - 1);
    target[length > 0 ? length : 0] = 0;
    const char *name = tl_path_base(target);
    if (is_hex(name, 64)) {
        strcpy(file->blob, name);
        strcpy(file->sha256, name);
        return true;
    }
    return file->size <= SMALL_FILE ? hash_small(file, error) : hash_large(file, error);
}

static bool add_file(tl_bundle_repo *at, const char *snapshot, const char *path, tl_error *error) {
    for (int i = 0; i < at->count; i++)
        if (strcmp(at->files[i].path, path) == 0) return true;
    tl_bundle_file *file = append_file(at, path, error);
    if (!file) return false;
    file->source = tl_path_join(snapshot, path);
    if (!file->source) return tl_fail_memory(error, strlen(path), "a path");
    return identify(file, error);
}

bool tl_bundle_add_model(tl_bundle *bundle, const char *model, tl_error *error) {
    char cache[PATH_MAX], snapshot[PATH_MAX], commit[TL_COMMIT_SIZE];
    tl_repo repo;
    if (tl_dir_exists(model) || tl_file_exists(model))
        return tl_fail(error, TL_ERROR_USAGE,
                       "%s: on disk already, not in the cache: copy it beside the bundle", model);
    if (!tl_repo_parse(TL_REPO_MODEL, model, &repo, error) ||
        !tl_hub_model_directory(model, snapshot, sizeof snapshot, error) ||
        !tl_hf_cache(cache, sizeof cache, error) ||
        !tl_cache_snapshot(cache, &repo, snapshot, sizeof snapshot, commit, error))
        return false;
    tl_names names = {0};
    if (!tl_cache_list(snapshot, &names, error)) return false;
    int *picked = calloc((size_t)names.count + 1, sizeof *picked);
    tl_bundle_repo *at = picked ? entry_of(bundle, &repo, commit, error) : NULL;
    int count = at ? tl_model_pick(&names, repo.id, NULL, 0, picked, error) : 0;
    bool good = count > 0;
    for (int i = 0; good && i < count; i++)
        good = add_file(at, snapshot, names.items[picked[i]], error);
    free(picked);
    tl_names_free(&names);
    return good;
}

/* The revision whose snapshot the file lies in. */
static bool find_revision(tl_repo *repo, const char *revision, const char *path,
                          char snapshot[PATH_MAX], char commit[TL_COMMIT_SIZE], tl_error *error) {
    char cache[PATH_MAX];
    const char *const revisions[] = {revision ? revision : "main", "refs/convert/parquet"};
    if (!tl_hf_cache(cache, sizeof cache, error)) return false;
    for (size_t i = 0; i < sizeof revisions / sizeof *revisions; i++) {
        if (!tl_put_path(repo->revision, sizeof repo->revision, error, "%s", revisions[i]))
            return false;
        if (tl_cache_snapshot(cache, repo, snapshot, PATH_MAX, commit, NULL) &&
            strncmp(path, snapshot, strlen(snapshot)) == 0 && path[strlen(snapshot)] == '/')
            return true;
    }
    return tl_fail(error, TL_ERROR_IO, "%s: not in a snapshot of %s", path, repo->id);
}

bool tl_bundle_add_dataset(tl_bundle *bundle, const char *dataset, const char *config,
                           const char *revision, const char *const *splits, int n_splits,
                           tl_error *error) {
    char path[PATH_MAX], snapshot[PATH_MAX], commit[TL_COMMIT_SIZE];
    tl_repo repo;
    if (!tl_repo_parse(TL_REPO_DATASET, dataset, &repo, error)) return false;
    for (int i = 0; i < n_splits; i++) {
        if (!tl_hub_dataset_file(repo.id, config, revision, splits[i], path, sizeof path, error) ||
            !find_revision(&repo, revision, path, snapshot, commit, error))
            return false;
        tl_bundle_repo *at = entry_of(bundle, &repo, commit, error);
        if (!at || !add_file(at, snapshot, path + strlen(snapshot) + 1, error)) return false;
    }
    return true;
}

/* ---- the manifest
 * ------------------------------------------------------------------------------------------- */

static void append_field(tl_buffer *out, const char *name, const char *text) {
    tl_buffer_append_format(out, "\"%s\": ", name);
    tl_json_append_string(out, text, strlen(text));
    tl_buffer_append_string(out, ", ");
}

char *tl_bundle_manifest(const tl_bundle *bundle) {
    tl_buffer out = {0};
    tl_buffer_append_format(&out, "{\"format\": %d, \"repositories\": [", FORMAT);
    for (int r = 0; r < bundle->count; r++) {
        const tl_bundle_repo *at = &bundle->repos[r];
        tl_buffer_append_string(&out, r ? ",\n {" : "\n {");
        append_field(&out, "kind", tl_repo_kind_plural(at->repo.kind));
        append_field(&out, "id", at->repo.id);
        append_field(&out, "revision", at->repo.revision);
        append_field(&out, "commit", at->commit);
        tl_buffer_append_string(&out, "\"files\": [");
        for (int i = 0; i < at->count; i++) {
            tl_buffer_append_string(&out, i ? ",\n  {" : "\n  {");
            append_field(&out, "path", at->files[i].path);
            append_field(&out, "blob", at->files[i].blob);
            append_field(&out, "sha256", at->files[i].sha256);
            tl_buffer_append_format(&out, "\"size\": %llu}", (unsigned long long)at->files[i].size);
        }
        tl_buffer_append_string(&out, "]}");
    }
    tl_buffer_append_string(&out, "]}\n");
    return tl_buffer_take(&out);
}

/* A required string of at most `size - 1` bytes. */
static bool read_text(const cJSON *object, const char *field, char *text, size_t size,
                      const char *where, tl_error *error) {
    const char *value;
    if (!tl_json_string_or(object, field, NULL, &value, where, error)) return false;
    if (!value || strlen(value) >= size)
        return tl_fail(error, TL_ERROR_FORMAT,
                       "%s: field '%s': expected a string of at most %zu "
                       "bytes",
                       where, field, size - 1);
    strcpy(text, value);
    return true;
}

static bool parse_file(const cJSON *item, tl_bundle_repo *at, const char *where, tl_error *error) {
    char path[1001];
    if (!read_text(item, "path", path, sizeof path, where, error)) return false;
    if (!tl_is_safe_path(path))
        return tl_fail(error, TL_ERROR_FORMAT,
                       "%s: a file named '%s': refused, it could lead out of the cache", where,
                       path);
    for (int i = 0; i < at->count; i++)
        if (strcmp(at->files[i].path, path) == 0)
            return tl_fail(error, TL_ERROR_FORMAT, "%s: %s is there twice", where, path);
    tl_bundle_file *file = append_file(at, path, error);
    int64_t size;
    if (!file || !read_text(item, "blob", file->blob, sizeof file->blob, where, error) ||
        !read_text(item, "sha256", file->sha256, sizeof file->sha256, where, error) ||
        !tl_json_int(item, "size", 0, LARGEST_FILE, &size, where, error))
        return false;
    file->size = (uint64_t)size;
    bool named =
        is_hex(file->blob, 40) || (is_hex(file->blob, 64) && strcmp(file->blob, file->sha256) == 0);
    if (!named || !is_hex(file->sha256, 64))
        return tl_fail(error, TL_ERROR_FORMAT,
                       "%s: %s: expected 'sha256' in hex, and 'blob' the same or a git SHA-1",
                       where, path);
    return true;
}

static bool parse_repo(const cJSON *item, tl_bundle *bundle, const char *where, tl_error *error) {
    char kind[16], name[TL_REPO_ID_SIZE], revision[TL_REVISION_SIZE], commit[TL_COMMIT_SIZE];
    tl_repo repo;
    if (!read_text(item, "kind", kind, sizeof kind, where, error) ||
        !read_text(item, "id", name, sizeof name, where, error) ||
        !read_text(item, "revision", revision, sizeof revision, where, error) ||
        !read_text(item, "commit", commit, sizeof commit, where, error))
        return false;
    int number = 0;
    while (number < TL_REPO_KIND_COUNT &&
           strcmp(kind, tl_repo_kind_plural((tl_repo_kind)number)) != 0)
        number++;
    char full[TL_REPO_ID_SIZE + TL_REVISION_SIZE + 1];
    snprintf(full, sizeof full, "%s@%s", name, revision);
    if (number == TL_REPO_KIND_COUNT || !tl_is_commit(commit) || strchr(name, '@'))
        return tl_fail(error, TL_ERROR_FORMAT,
                       "%s: %s: expected 'kind' models or datasets, and a "
                       "full 'commit'",
                       where, name);
    if (!tl_repo_parse((tl_repo_kind)number, full, &repo, error))
        return tl_fail_within(error, "%s", where);
    int before = bundle->count;
    tl_bundle_repo *at = entry_of(bundle, &repo, commit, error);
    if (!at) return false;
    if (bundle->count == before)
        return tl_fail(error, TL_ERROR_FORMAT, "%s: %s is there twice", where, full);
    const cJSON *files = tl_json_get(item, "files"), *file;
    if (!cJSON_IsArray(files) || cJSON_GetArraySize(files) > MOST_FILES)
        return tl_fail(error, TL_ERROR_FORMAT, "%s: %s: expected a list of files", where, full);
    cJSON_ArrayForEach(file, files) {
        if (!parse_file(file, at, where, error)) return false;
    }
    return true;
}

bool tl_bundle_parse(const char *text, size_t length, const char *where, tl_bundle *bundle,
                     tl_error *error) {
    *bundle = (tl_bundle){0};
    cJSON *json = tl_json_parse(text, length, where, error);
    if (!json) return false;
    int64_t format;
    const cJSON *repos = tl_json_get(json, "repositories"), *repo;
    bool good = tl_json_int(json, "format", 1, INT32_MAX, &format, where, error);
    if (good && format != FORMAT)
        good =
            tl_fail(error, TL_ERROR_UNSUPPORTED, "%s: of format %lld: this version reads format %d",
                    where, (long long)format, FORMAT);
    if (good && (!cJSON_IsArray(repos) || cJSON_GetArraySize(repos) > MOST_REPOS))
        good = tl_fail(error, TL_ERROR_FORMAT, "%s: field 'repositories': expected a list", where);
    if (good) cJSON_ArrayForEach(repo, repos) {
            good = parse_repo(repo, bundle, where, error);
            if (!good) break;
        }
    cJSON_Delete(json);
    if (!good) tl_bundle_free(bundle);
    return good;
}
