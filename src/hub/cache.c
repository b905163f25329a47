/* Names of repositories, and finding them in the Hugging Face cache. */
#include "hub/cache.h"

#include "hub/hub.h"
#include "hub/select.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { DEEPEST = 8, MOST_FILES = 100000, REF_LIMIT = 200 };

static const struct {
    const char *plural, *word, *flag;
} kinds[TL_REPO_KIND_COUNT] = {
    [TL_REPO_MODEL] = {"models", "model", ""},
    [TL_REPO_DATASET] = {"datasets", "dataset", "datasets/"},
};

const char *tl_repo_kind_plural(tl_repo_kind kind) {
    return kinds[kind].plural;
}

/* ---- names
 * ------------------------------------------------------------------------------------------- */

static bool is_word(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

/* One part of an id: letters, digits, '_', '-', '.'; not at the ends, nor twice in a row, the last
 * two (the hub's own rule: "--" separates org and name in the cache). */
static bool is_id_part(const char *text, size_t length) {
    if (length == 0 || length > 96) return false;
    if (!is_word(text[0]) || !is_word(text[length - 1])) return false;
    for (size_t i = 0; i < length; i++) {
        if (is_word(text[i])) continue;
        if (text[i] != '-' && text[i] != '.') return false;
        if (text[i] == text[i + 1]) return false;
    }
    return true;
}

static bool is_revision(const char *text) {
    if (!tl_is_safe_path(text)) return false;
    return strpbrk(text, " ~^:?*[\\@") == NULL;
}

bool tl_is_safe_path(const char *path) {
    size_t length = strlen(path);
    if (length == 0 || length > 1000) return false;
    for (const char *at = path; *at;) {
        size_t part = strcspn(at, "/");
        if (part == 0 || part > NAME_MAX) return false;
        if (at[0] == '.' && (part == 1 || (part == 2 && at[1] == '.'))) return false;
        for (size_t i = 0; i < part; i++)
            if ((unsigned char)at[i] < 0x20 || at[i] == 0x7f || at[i] == '\\') return false;
        at += part;
        if (*at == '/' && *++at == 0) return false;
    }
    return true;
}

bool tl_is_commit(const char *text) {
    size_t length = strspn(text, "0123456789abcdef");
    return text[length] == 0 && (length == 40 || length == 64);
}

bool tl_repo_parse(tl_repo_kind kind, const char *text, tl_repo *repo, tl_error *error) {
    *repo = (tl_repo){.kind = kind};
    size_t length = strcspn(text, "@");
    size_t organisation = strcspn(text, "/");
    bool good = organisation < length
                    ? is_id_part(text, organisation) &&
                          is_id_part(text + organisation + 1, length - organisation - 1)
                    : is_id_part(text, length);
    if (!good || length >= sizeof repo->id)
        return tl_fail(error, TL_ERROR_USAGE, "'%s': not the name of a %s: expected org/name", text,
                       kinds[kind].word);
    memcpy(repo->id, text, length);
    const char *revision = text[length] ? text + length + 1 : "main";
    if (!is_revision(revision) || strlen(revision) >= sizeof repo->revision)
        return tl_fail(error, TL_ERROR_USAGE, "'%s': '%s' cannot be a revision", text, revision);
    strcpy(repo->revision, revision);
    return true;
}

/* ---- where the cache is
 * ------------------------------------------------------------------------------------------- */

bool tl_put_path(char *path, size_t size, tl_error *error, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(path, size, format, arguments);
    va_end(arguments);
    if (length >= 0 && (size_t)length < size) return true;
    return tl_fail(error, TL_ERROR_LIMIT, "a path of %d bytes: longer than %zu", length, size - 1);
}

/* The value of a variable that is set and not empty. */
static const char *setting(const char *name) {
    const char *value = getenv(name);
    return value && *value ? value : NULL;
}

/* `value` with a leading "~" replaced by $HOME, and `below` appended. */
static bool put_setting(char *path, size_t size, const char *value, const char *below,
                        tl_error *error) {
    const char *home = "";
    if (value[0] == '~' && (value[1] == '/' || value[1] == 0)) {
        home = setting("HOME") ? setting("HOME") : "";
        value++;
    }
    return tl_put_path(path, size, error, "%s%s%s", home, value, below);
}

bool tl_hf_home(char *path, size_t size, tl_error *error) {
    if (setting("HF_HOME")) return put_setting(path, size, setting("HF_HOME"), "", error);
    if (setting("XDG_CACHE_HOME"))
        return put_setting(path, size, setting("XDG_CACHE_HOME"), "/huggingface", error);
    if (setting("HOME")) return put_setting(path, size, "~/.cache/huggingface", "", error);
    return tl_fail(error, TL_ERROR_USAGE,
                   "no place for the Hugging Face cache: set HF_HOME or HOME to a directory");
}

bool tl_hf_cache(char *path, size_t size, tl_error *error) {
    static const char *const names[] = {"HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (setting(names[i])) return put_setting(path, size, setting(names[i]), "", error);
    char home[PATH_MAX];
    return tl_hf_home(home, sizeof home, error) && tl_put_path(path, size, error, "%s/hub", home);
}

bool tl_cache_repo_directory(const char *cache, const tl_repo *repo, char *path, size_t size,
                             tl_error *error) {
    char folder[TL_REPO_ID_SIZE + 8];
    size_t used = 0;
    for (const char *at = repo->id; *at; at++) {
        folder[used++] = *at == '/' ? '-' : *at;
        if (*at == '/') folder[used++] = '-';
    }
    folder[used] = 0;
    return tl_put_path(path, size, error, "%s/%s--%s", cache, kinds[repo->kind].plural, folder);
}

/* ---- snapshots
 * ------------------------------------------------------------------------------------------- */

static bool not_cached(const tl_repo *repo, const char *directory, tl_error *error) {
    bool other = strcmp(repo->revision, "main") != 0;
    return tl_fail(error, TL_ERROR_IO,
                   "%s: not in the Hugging Face cache (%s%s%s): tinyllm pull %s%s%s%s fetches it",
                   repo->id, directory, other ? ", revision " : "", other ? repo->revision : "",
                   kinds[repo->kind].flag, repo->id, other ? "@" : "", other ? repo->revision : "");
}

static bool read_ref(const char *directory, const tl_repo *repo, char commit[TL_COMMIT_SIZE]) {
    char path[PATH_MAX];
    if (!tl_put_path(path, sizeof path, NULL, "%s/refs/%s", directory, repo->revision))
        return false;
    char *text = tl_file_read(path, REF_LIMIT, NULL, NULL);
    if (!text) return false;
    text[strcspn(text, " \r\n")] = 0;
    bool good = tl_is_commit(text);
    if (good) strcpy(commit, text);
    free(text);
    return good;
}

bool tl_cache_snapshot(const char *cache, const tl_repo *repo, char *path, size_t size,
                       char commit[TL_COMMIT_SIZE], tl_error *error) {
    char directory[PATH_MAX], found[TL_COMMIT_SIZE];
    if (!tl_cache_repo_directory(cache, repo, directory, sizeof directory, error)) return false;
    if (tl_is_commit(repo->revision))
        strcpy(found, repo->revision);
    else if (!read_ref(directory, repo, found))
        return not_cached(repo, directory, error);
    if (!tl_put_path(path, size, error, "%s/snapshots/%s", directory, found)) return false;
    if (!tl_dir_exists(path)) return not_cached(repo, directory, error);
    if (commit) strcpy(commit, found);
    return true;
}

static bool incomplete(const tl_repo *repo, const char *snapshot, tl_error *error,
                       const char *format, ...) TL_PRINTF(4, 5);

static bool incomplete(const tl_repo *repo, const char *snapshot, tl_error *error,
                       const char *format, ...) {
    char what[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(what, sizeof what, format, arguments);
    va_end(arguments);
    return tl_fail(error, TL_ERROR_IO,
                   "%s: incomplete in the cache: %s in %s: tinyllm pull %s%s fetches the rest",
                   repo->id, what, snapshot, kinds[repo->kind].flag, repo->id);
}

bool tl_names_add(tl_names *names, const char *text) {
    char **items = realloc(names->items, ((size_t)names->count + 1) * sizeof *items);
    if (!items) return false;
    names->items = items;
    items[names->count] = strdup(text);
    if (!items[names->count]) return false;
    names->count++;
    return true;
}

void tl_names_free(tl_names *names) {
    for (int i = 0; i < names->count; i++)
        free(names->items[i]);
    free(names->items);
    *names = (tl_names){0};
}

static bool list_into(const char *root, const char *below, int depth, tl_names *names,
                      tl_error *error) {
    char path[PATH_MAX];
    if (!tl_put_path(path, sizeof path, error, "%s%s%s", root, *below ? "/" : "", below))
        return false;
    DIR *directory = opendir(path);
    if (!directory) return tl_fail_errno(error, "%s: cannot list", path);
    bool good = true;
    for (struct dirent *entry; good && (entry = readdir(directory));) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
        char name[PATH_MAX], full[PATH_MAX];
        struct stat status;
        good = tl_put_path(name, sizeof name, error, "%s%s%s", below, *below ? "/" : "",
                           entry->d_name) &&
               tl_put_path(full, sizeof full, error, "%s/%s", root, name);
        if (!good) break;
        bool is_directory = lstat(full, &status) == 0 && S_ISDIR(status.st_mode);
        if (is_directory && depth < DEEPEST)
            good = list_into(root, name, depth + 1, names, error);
        else if (!is_directory && (names->count >= MOST_FILES || !tl_names_add(names, name)))
            good = tl_fail(error, TL_ERROR_LIMIT, "%s: more than %d files", root, MOST_FILES);
    }
    closedir(directory);
    return good;
}

static int compare_names(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

bool tl_cache_list(const char *snapshot, tl_names *names, tl_error *error) {
    if (!list_into(snapshot, "", 0, names, error)) {
        tl_names_free(names);
        return false;
    }
    if (names->count)
        qsort(names->items, (size_t)names->count, sizeof *names->items, compare_names);
    return true;
}

/* Does the file exist, and below `root` once all links are followed? */
static bool resolves_inside(const char *path, const char *root) {
    char *real = realpath(path, NULL);
    size_t length = strlen(root);
    struct stat status;
    bool inside = real && strncmp(real, root, length) == 0 && real[length] == '/' &&
                  stat(real, &status) == 0 && S_ISREG(status.st_mode);
    free(real);
    return inside;
}

bool tl_cache_check_links(const char *snapshot, const tl_repo *repo, tl_error *error) {
    tl_names names = {0};
    char path[PATH_MAX];
    if (!tl_put_path(path, sizeof path, error, "%s/../../..", snapshot)) return false;
    char *root = realpath(path, NULL);
    if (!root) return tl_fail_errno(error, "%s: cannot resolve", path);
    bool good = tl_cache_list(snapshot, &names, error);
    for (int i = 0; good && i < names.count; i++) {
        good = tl_put_path(path, sizeof path, error, "%s/%s", snapshot, names.items[i]);
        if (good && !resolves_inside(path, root))
            good = incomplete(repo, snapshot, error, "%s leads to no file of the cache",
                              names.items[i]);
    }
    tl_names_free(&names);
    free(root);
    return good;
}

static bool holds_file(const char *directory, const char *name) {
    char path[PATH_MAX];
    return tl_put_path(path, sizeof path, NULL, "%s/%s", directory, name) && tl_file_exists(path);
}

/* Are all the shards there that an index file names? */
static bool check_shards(const char *snapshot, const char *index, const tl_repo *repo,
                         tl_error *error) {
    char path[PATH_MAX];
    if (!tl_put_path(path, sizeof path, error, "%s/%s", snapshot, index)) return false;
    cJSON *document = tl_json_read(path, (size_t)64 << 20, error);
    if (!document) return false;
    bool good = true;
    const cJSON *shard;
    cJSON_ArrayForEach(shard, tl_json_get(document, "weight_map")) {
        const char *name = cJSON_GetStringValue(shard);
        if (!name || !tl_is_safe_path(name))
            good = tl_fail(error, TL_ERROR_FORMAT, "%s: weight_map: expected names of files", path);
        else if (!holds_file(snapshot, name))
            good = incomplete(repo, snapshot, error, "%s is missing", name);
        if (!good) break;
    }
    cJSON_Delete(document);
    return good;
}

bool tl_cache_check_model(const char *snapshot, const tl_repo *repo, tl_error *error) {
    static const char *const single[] = {"model.safetensors", "pytorch_model.bin"};
    static const char *const sharded[] = {"model.safetensors.index.json",
                                          "pytorch_model.bin.index.json"};
    for (size_t i = 0; i < sizeof single / sizeof *single; i++) {
        if (holds_file(snapshot, single[i])) return true;
        if (holds_file(snapshot, sharded[i]))
            return check_shards(snapshot, sharded[i], repo, error);
    }
    tl_names names = {0};
    if (!tl_cache_list(snapshot, &names, error)) return false;
    bool weights = false;
    for (int i = 0; i < names.count; i++)
        weights |= tl_path_ends(names.items[i], ".gguf") ||
                   tl_path_ends(names.items[i], ".safetensors") ||
                   tl_path_ends(names.items[i], ".bin");
    tl_names_free(&names);
    return weights || incomplete(repo, snapshot, error, "no weights");
}

static bool find_model(const char *model, bool weights, char *path, size_t size, tl_error *error) {
    if (tl_dir_exists(model) || (tl_file_exists(model) && !weights))
        return tl_put_path(path, size, error, "%s", model);
    if (tl_file_exists(model))
        return tl_fail(error, TL_ERROR_IO,
                       "%s: one file: expected the directory of a Hugging Face checkpoint "
                       "(config.json, weights, tokenizer)%s",
                       model, tl_path_ends(model, ".gguf") ? "; GGUF files are llama.cpp's" : "");
    char cache[PATH_MAX];
    tl_repo repo;
    if (!tl_repo_parse(TL_REPO_MODEL, model, &repo, NULL))
        return tl_fail(error, TL_ERROR_IO,
                       "%s: no such directory or file, and not the name of a model on the hub "
                       "(org/name)",
                       model);
    return tl_hf_cache(cache, sizeof cache, error) &&
           tl_cache_snapshot(cache, &repo, path, size, NULL, error) &&
           tl_cache_check_links(path, &repo, error) &&
           (!weights || tl_cache_check_model(path, &repo, error));
}

bool tl_hub_model_directory(const char *model, char *path, size_t size, tl_error *error) {
    return find_model(model, true, path, size, error);
}

bool tl_hub_tokenizer_directory(const char *model, char *path, size_t size, tl_error *error) {
    return find_model(model, false, path, size, error);
}

/* ---- splits of datasets
 * ------------------------------------------------------------------------------------------- */

static bool pick_from_snapshot(const char *snapshot, const char *config, const char *split,
                               char *path, size_t size, tl_error *error) {
    tl_names names = {0};
    if (!tl_cache_list(snapshot, &names, error)) return false;
    int *picked = calloc((size_t)names.count + 1, sizeof *picked);
    int count = picked ? tl_dataset_pick(&names, config, split, picked) : 0;
    bool good =
        count == 1 && tl_put_path(path, size, error, "%s/%s", snapshot, names.items[picked[0]]);
    if (count > 1)
        tl_fail(error, TL_ERROR_UNSUPPORTED, "%s: split %s is in %d files: expected one", snapshot,
                split, count);
    if (count == 0)
        tl_fail(error, TL_ERROR_IO, "%s: no Parquet file of split %s%s%s", snapshot, split,
                config ? " of " : "", config ? config : "");
    free(picked);
    tl_names_free(&names);
    return good;
}

bool tl_hub_dataset_file(const char *dataset, const char *config, const char *revision,
                         const char *split, char *path, size_t size, tl_error *error) {
    char cache[PATH_MAX], snapshot[PATH_MAX];
    tl_repo repo;
    if (!tl_repo_parse(TL_REPO_DATASET, dataset, &repo, error)) return false;
    if (revision && (!is_revision(revision) || strlen(revision) >= sizeof repo.revision))
        return tl_fail(error, TL_ERROR_USAGE, "%s: '%s' cannot be a revision", dataset, revision);
    if (!tl_hf_cache(cache, sizeof cache, error)) return false;
    /* What the task pins, then the hub's own conversion (for datasets that are scripts). */
    const char *const revisions[] = {revision ? revision : "main", "refs/convert/parquet"};
    tl_error first = {0};
    for (size_t i = 0; i < sizeof revisions / sizeof *revisions; i++) {
        tl_error *problem = i == 0 ? &first : NULL;
        snprintf(repo.revision, sizeof repo.revision, "%s", revisions[i]);
        if (tl_cache_snapshot(cache, &repo, snapshot, sizeof snapshot, NULL, problem) &&
            pick_from_snapshot(snapshot, config, split, path, size, problem))
            return true;
    }
    if (error) *error = first;
    return false;
}
