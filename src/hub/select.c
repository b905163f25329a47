#include "hub/select.h"

#include "tokenizer/tokenizer.h"

#include <fnmatch.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

/* ---- splits of datasets
 * ------------------------------------------------------------------------------------------- */

/* The directory part of a split's Parquet file ("" at the top), when `path` is one. */
static bool split_directory(const char *path, const char *split, char *directory, size_t size) {
    size_t length = strlen(split);
    const char *base = tl_path_base(path);
    if (!tl_path_ends(base, ".parquet")) return false;
    size_t stem = strlen(base) - strlen(".parquet");
    const char *end = base;
    if (strncmp(base, split, length) == 0 &&
        (base[length] == '-' || base + length == base + stem)) {
        int total, shard, used = 0;
        if (base[length] == '-' &&
            (sscanf(base + length, "-%d-of-%d%n", &shard, &total, &used) != 2 || shard >= total))
            return false;
    } else if (strspn(base, "0123456789") == stem && stem > 0) {
        /* DIR/split/0000.parquet */
        if ((size_t)(base - path) < length + 1) return false;
        end = base - length - 1;
        if (strncmp(end, split, length) != 0 || (end > path && end[-1] != '/')) return false;
    } else {
        return false;
    }
    size_t used = end > path ? (size_t)(end - path) - 1 : 0;
    if (used >= size) return false;
    memcpy(directory, path, used);
    directory[used] = 0;
    return true;
}

int tl_dataset_pick(const tl_names *names, const char *config, const char *split, int *picked) {
    static const char *const usual[] = {"data", "default", "plain_text", ""};
    char directory[PATH_MAX], chosen[PATH_MAX] = "";
    if (config && strcmp(config, "default") == 0) config = NULL;
    int best = INT_MAX, tied = 0; /* rank of the chosen directory; how many share it */
    for (int i = 0; i < names->count; i++) {
        if (!split_directory(names->items[i], split, directory, sizeof directory)) continue;
        int rank = INT_MAX - 1;
        if (config) {
            if (strcmp(directory, config) != 0) continue;
            rank = 0;
        }
        for (int u = 0; !config && u < (int)(sizeof usual / sizeof *usual); u++)
            if (strcmp(directory, usual[u]) == 0) rank = u;
        if (rank < best) {
            best = rank;
            tied = 0;
            strcpy(chosen, directory);
        } else if (rank == best && strcmp(directory, chosen) != 0) {
            tied = 1;
        }
    }
    if (best == INT_MAX || tied) return 0;
    int count = 0;
    for (int i = 0; i < names->count; i++)
        if (split_directory(names->items[i], split, directory, sizeof directory) &&
            strcmp(directory, chosen) == 0)
            picked[count++] = i;
    return count;
}

/* ---- models
 * ------------------------------------------------------------------------------------------- */

/* What comes along beside the weights and the tokenizer. */
static const char *const small_files[] = {
    "config.json",
    "generation_config.json",
    "chat_template.jinja",
    NULL,
};

/* Ways to store weights, best first: the file that tells, and the further ones it stands for. */
static const struct {
    const char *mark, *more;
} weight_files[] = {
    {"model.safetensors", NULL},
    {"model.safetensors.index.json", "model-*-of-*.safetensors"},
    {"pytorch_model.bin", NULL},
    {"pytorch_model.bin.index.json", "pytorch_model-*-of-*.bin"},
};

static int count_matches(const tl_names *names, const char *pattern) {
    int count = 0;
    for (int i = 0; i < names->count; i++)
        count += fnmatch(pattern, names->items[i], FNM_PATHNAME) == 0;
    return count;
}

/* Fills `patterns` with those of the weights that the repository has; 0 after an error. */
static int choose_weights(const tl_names *names, const char *id, const char *patterns[2],
                          tl_error *error) {
    for (size_t i = 0; i < sizeof weight_files / sizeof *weight_files; i++) {
        if (count_matches(names, weight_files[i].mark) == 0) continue;
        patterns[0] = weight_files[i].mark;
        patterns[1] = weight_files[i].more;
        return weight_files[i].more ? 2 : 1;
    }
    patterns[0] = "*.gguf";
    int ggufs = count_matches(names, patterns[0]);
    if (ggufs == 1) return 1;
    if (ggufs > 1)
        tl_fail(error, TL_ERROR_USAGE, "%s: has %d .gguf files: choose one with --file", id, ggufs);
    else
        tl_fail(error, TL_ERROR_UNSUPPORTED,
                "%s: no weights (expected model.safetensors, pytorch_model.bin or a .gguf)", id);
    return 0;
}

static bool is_one_of(const char *path, const char *const names[]) {
    for (int i = 0; names[i]; i++)
        if (strcmp(path, names[i]) == 0) return true;
    return false;
}

/* Is the file one of those that a run reads, or does it match a pattern? */
static bool is_wanted(const char *path, const char *const *patterns, int n_patterns) {
    if (is_one_of(path, small_files) || is_one_of(path, tl_tokenizer_files)) return true;
    for (int i = 0; i < n_patterns; i++)
        if (fnmatch(patterns[i], path, FNM_PATHNAME) == 0) return true;
    return false;
}

int tl_model_pick(const tl_names *names, const char *id, const char *const *patterns,
                  int n_patterns, int *picked, tl_error *error) {
    const char *chosen[2];
    for (int i = 0; i < n_patterns; i++)
        if (count_matches(names, patterns[i]) == 0)
            return tl_fail(error, TL_ERROR_USAGE, "%s: no file matches '%s'", id, patterns[i]);
    if (n_patterns == 0) {
        n_patterns = choose_weights(names, id, chosen, error);
        patterns = chosen;
        if (n_patterns == 0) return 0;
    }
    int count = 0;
    for (int i = 0; i < names->count; i++)
        if (is_wanted(names->items[i], patterns, n_patterns)) picked[count++] = i;
    return count;
}
