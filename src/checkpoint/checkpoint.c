/* The files of a model: which of them to read, and the tensors found in them. */
#include "checkpoint/checkpoint.h"

#include "checkpoint/reader.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* A node of a parsed document takes about 80 bytes, so this bounds the tree to about 160 MB. Real
 * headers have fewer than twenty nodes for each tensor. */
static const size_t most_json_nodes = 2u * 1000 * 1000;
static const size_t largest_index = 100u * 1000 * 1000;

typedef struct weights_file {
    char *path;
    tl_mapping mapping; /* empty for an index */
} weights_file;

typedef struct metadata_pair {
    struct metadata_pair *next;
    const char *key, *value;
} metadata_pair;

struct tl_checkpoint {
    char *path;
    tl_arena *arena; /* names and metadata */
    tl_tensor *tensors;
    size_t count;
    tl_map *by_name; /* name → index in tensors */
    weights_file *files;
    size_t file_count;
    void **copies; /* allocated tensor data */
    size_t copy_count;
    metadata_pair *metadata;
    const tl_map *shard_of; /* while an index is read: name → shard that counts */
    uint64_t shard;         /* the shard being read */
};

typedef bool reader_function(tl_checkpoint *checkpoint, tl_source *source, tl_error *error);

/* The layouts of a directory, in the order in which transformers looks for them. */
static const struct layout {
    const char *file;
    bool index;
    reader_function *read;
} layouts[] = {
    {"model.safetensors", false, tl_safetensors_read},
    {"model.safetensors.index.json", true, tl_safetensors_read},
    {"pytorch_model.bin", false, tl_torch_read},
    {"pytorch_model.bin.index.json", true, tl_torch_read},
};
enum { LAYOUTS = sizeof layouts / sizeof layouts[0] };

/* Makes room for one more element in an array of `size`-byte elements; doubles at powers of two. */
static bool reserve_one(void **array, size_t count, size_t size, const char *what,
                        tl_error *error) {
    if (count & (count - 1)) return true;
    size_t capacity = count ? count * 2 : 1, bytes;
    if (!tl_mul_size(capacity, size, &bytes)) return tl_fail_memory(error, SIZE_MAX, what);
    void *grown = realloc(*array, bytes);
    if (!grown) return tl_fail_memory(error, bytes, what);
    *array = grown;
    return true;
}

static tl_checkpoint *new_checkpoint(const char *path, tl_error *error) {
    tl_checkpoint *checkpoint = calloc(1, sizeof *checkpoint);
    if (checkpoint) {
        checkpoint->path = strdup(path);
        checkpoint->arena = tl_arena_new();
        checkpoint->by_name = tl_map_new(1024);
        if (checkpoint->path && checkpoint->arena && checkpoint->by_name) return checkpoint;
        tl_checkpoint_free(checkpoint);
    }
    tl_fail_memory(error, sizeof *checkpoint, "a checkpoint");
    return NULL;
}

void tl_checkpoint_free(tl_checkpoint *checkpoint) {
    if (!checkpoint) return;
    for (size_t i = 0; i < checkpoint->file_count; i++) {
        tl_file_unmap(&checkpoint->files[i].mapping);
        free(checkpoint->files[i].path);
    }
    for (size_t i = 0; i < checkpoint->copy_count; i++)
        free(checkpoint->copies[i]);
    free(checkpoint->copies);
    free(checkpoint->files);
    free(checkpoint->tensors);
    tl_map_free(checkpoint->by_name);
    tl_arena_free(checkpoint->arena);
    free(checkpoint->path);
    free(checkpoint);
}

/* What readers call. */

cJSON *tl_parse_bounded_json(const char *text, size_t length, const char *path, tl_error *error) {
    size_t nodes = 1;
    for (size_t i = 0; i < length; i++)
        nodes += text[i] == ',' || text[i] == '[' || text[i] == '{';
    if (nodes > most_json_nodes) {
        tl_fail(error, TL_ERROR_LIMIT, "%s: JSON of up to %zu values: expected at most %zu", path,
                nodes, most_json_nodes);
        return NULL;
    }
    return tl_json_parse(text, length, path, error);
}

bool tl_json_size(const cJSON *item, size_t *value) {
    if (!cJSON_IsNumber(item)) return false;
    double number = item->valuedouble;
    if (!(number >= 0 && number <= 0x1p53) || number != floor(number)) return false;
    *value = (size_t)number;
    return true;
}

bool tl_tensor_measure(tl_tensor *tensor, const char *path, tl_error *error) {
    size_t elements = 1;
    bool fits = true;
    for (int i = 0; i < tensor->rank; i++)
        fits = fits && tl_mul_size(elements, (size_t)tensor->shape[i], &elements);
    /* A zero length makes any product zero: only then may the others overflow. */
    for (int i = 0; i < tensor->rank; i++) {
        if (tensor->shape[i] == 0) {
            tensor->bytes = 0;
            return true;
        }
    }
    const tl_dtype_traits *traits = tl_dtype_get(tensor->dtype);
    if (!fits || !tl_mul_size(elements / traits->block, traits->block_bytes, &tensor->bytes))
        return tl_fail(error, TL_ERROR_FORMAT, "%s: tensor '%s': its shape overflows", path,
                       tensor->name);
    if (elements % traits->block)
        return tl_fail(error, TL_ERROR_FORMAT,
                       "%s: tensor '%s': %zu elements of %s: expected a multiple of %u", path,
                       tensor->name, elements, traits->name, traits->block);
    return true;
}

bool tl_checkpoint_add(tl_checkpoint *checkpoint, const tl_source *source, const tl_tensor *tensor,
                       tl_error *error) {
    size_t length = strlen(tensor->name);
    uint64_t shard;
    if (checkpoint->shard_of && tl_map_get(checkpoint->shard_of, tensor->name, length, &shard) &&
        shard != checkpoint->shard)
        return true;
    if (tl_map_get(checkpoint->by_name, tensor->name, length, NULL))
        return tl_fail(error, TL_ERROR_FORMAT, "%s: tensor '%s' occurs twice", source->path,
                       tensor->name);
    if (!reserve_one((void **)&checkpoint->tensors, checkpoint->count, sizeof *tensor,
                     "a checkpoint's tensors", error))
        return false;
    tl_tensor *added = &checkpoint->tensors[checkpoint->count];
    *added = *tensor;
    added->name = tl_arena_strndup(checkpoint->arena, tensor->name, length, error);
    if (!added->name) return false;
    if (!tl_map_set(checkpoint->by_name, added->name, length, checkpoint->count))
        return tl_fail_memory(error, length, "a checkpoint's names");
    checkpoint->count++;
    return true;
}

bool tl_checkpoint_add_metadata(tl_checkpoint *checkpoint, const char *key, const char *value,
                                tl_error *error) {
    metadata_pair *pair =
        tl_arena_alloc(checkpoint->arena, 1, sizeof *pair, "a checkpoint's metadata", error);
    if (!pair) return false;
    pair->key = tl_arena_strdup(checkpoint->arena, key, error);
    pair->value = tl_arena_strdup(checkpoint->arena, value, error);
    if (!pair->key || !pair->value) return false;
    pair->next = checkpoint->metadata;
    checkpoint->metadata = pair;
    return true;
}

void *tl_checkpoint_alloc(tl_checkpoint *checkpoint, tl_source *source, size_t bytes,
                          tl_error *error) {
    enum { ALIGNMENT = 64 };
    if (bytes > source->copy_limit) {
        tl_fail(error, TL_ERROR_LIMIT,
                "%s: copies of its tensors would take more memory than the file's size allows",
                source->path);
        return NULL;
    }
    size_t rounded = (bytes / ALIGNMENT + 1) * ALIGNMENT;
    if (!reserve_one((void **)&checkpoint->copies, checkpoint->copy_count, sizeof(void *),
                     "a checkpoint's copies", error))
        return NULL;
    void *memory = aligned_alloc(ALIGNMENT, rounded);
    if (!memory) {
        tl_fail_memory(error, bytes, "a tensor's copy");
        return NULL;
    }
    checkpoint->copies[checkpoint->copy_count++] = memory;
    source->copy_limit -= bytes;
    return memory;
}

/* The data of empty tensors: aligned as any. */
static const _Alignas(64) unsigned char nothing[1];

/* Applies `advice` to the pages that lie wholly inside [data, data + bytes). */
static void advise(const void *data, size_t bytes, int advice) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    uintptr_t first = ((uintptr_t)data + page - 1) / page * page;
    uintptr_t last = ((uintptr_t)data + bytes) / page * page;
    if (first < last) madvise((void *)first, last - first, advice);
}

const void *tl_checkpoint_aligned(tl_checkpoint *checkpoint, tl_source *source, const void *data,
                                  size_t bytes, size_t alignment, bool *copied, tl_error *error) {
    enum { PIECE = 1 << 22 };
    *copied = (uintptr_t)data % alignment != 0 && bytes > 0;
    if (bytes == 0) return nothing;
    if (!*copied) return data;
    unsigned char *copy = tl_checkpoint_alloc(checkpoint, source, bytes, error);
    if (!copy) return NULL;
    for (size_t at = 0; at < bytes; at += PIECE) {
        size_t piece = bytes - at < PIECE ? bytes - at : PIECE;
        memcpy(copy + at, (const unsigned char *)data + at, piece);
        if (source->mapped) advise((const unsigned char *)data + at, piece, MADV_DONTNEED);
    }
    return copy;
}

/* Opening. */

/* Appends a file to the list; takes ownership of `path` in any case. */
static weights_file *add_file(tl_checkpoint *checkpoint, char *path, tl_error *error) {
    if (!path) {
        tl_fail_memory(error, 1, "a path");
        return NULL;
    }
    if (!reserve_one((void **)&checkpoint->files, checkpoint->file_count, sizeof(weights_file),
                     "a list of files", error)) {
        free(path);
        return NULL;
    }
    weights_file *file = &checkpoint->files[checkpoint->file_count++];
    *file = (weights_file){path};
    return file;
}

static tl_source source_of(const char *path, const void *data, size_t size, bool mapped) {
    return (tl_source){path, data, size, mapped, size};
}

/* What is left of a large file when a repository is cloned without Git LFS. */
static bool is_lfs_pointer(const tl_mapping *mapping) {
    static const char begin[] = "version https://git-lfs.github.com/";
    return mapping->size > sizeof begin && memcmp(mapping->data, begin, sizeof begin - 1) == 0;
}

static bool read_file(tl_checkpoint *checkpoint, char *path, reader_function *read,
                      tl_error *error) {
    weights_file *file = add_file(checkpoint, path, error);
    if (!file || !tl_file_map(path, &file->mapping, error)) return false;
    if (is_lfs_pointer(&file->mapping))
        return tl_fail(error, TL_ERROR_FORMAT,
                       "%s: a Git LFS pointer: expected the file itself (git lfs pull)", path);
    tl_source source = source_of(path, file->mapping.data, file->mapping.size, true);
    return read(checkpoint, &source, error);
}

/* A shard lies beside its index: its name may not lead elsewhere. */
static bool is_plain_name(const char *name) {
    return *name && !strchr(name, '/') && strcmp(name, ".") != 0 && strcmp(name, "..") != 0;
}

/* An index: the map from tensor to shard, and the shards in the order of their first mention. */
typedef struct shard_index {
    cJSON *document;
    tl_map *shard_of; /* tensor → number of its shard */
    tl_map *number;   /* shard's name → its number */
    const char **names;
    size_t count;
} shard_index;

static void free_index(shard_index *index) {
    tl_map_free(index->shard_of);
    tl_map_free(index->number);
    free(index->names);
    cJSON_Delete(index->document);
}

static bool add_to_index(shard_index *index, const cJSON *item, const char *path, tl_error *error) {
    const char *name = cJSON_GetStringValue(item);
    if (!name || !is_plain_name(name))
        return tl_fail(error, TL_ERROR_FORMAT,
                       "%s: weight_map: tensor '%s': expected the name of a file in the same "
                       "directory",
                       path, item->string);
    uint64_t shard;
    if (!tl_map_get(index->number, name, strlen(name), &shard)) {
        shard = index->count;
        if (!reserve_one((void **)&index->names, index->count, sizeof *index->names,
                         "a list of shards", error))
            return false;
        index->names[index->count++] = name;
        if (!tl_map_set(index->number, name, strlen(name), shard))
            return tl_fail_memory(error, strlen(name), "a list of shards");
    }
    if (!tl_map_set(index->shard_of, item->string, strlen(item->string), shard))
        return tl_fail_memory(error, strlen(item->string), "an index");
    return true;
}

static bool load_index(shard_index *index, const char *path, tl_error *error) {
    size_t length;
    char *text = tl_file_read(path, largest_index, &length, error);
    if (!text) return false;
    index->document = tl_parse_bounded_json(text, length, path, error);
    free(text);
    if (!index->document) return false;
    const cJSON *map = tl_json_get(index->document, "weight_map");
    if (!cJSON_IsObject(map) || !map->child)
        return tl_fail(error, TL_ERROR_FORMAT, "%s: expected an object 'weight_map' with tensors",
                       path);
    index->shard_of = tl_map_new(0);
    index->number = tl_map_new(0);
    if (!index->shard_of || !index->number) return tl_fail_memory(error, 1, "an index");
    const cJSON *item;
    cJSON_ArrayForEach(item, map) {
        if (!add_to_index(index, item, path, error)) return false;
    }
    return true;
}

static bool check_complete(const tl_checkpoint *checkpoint, const shard_index *index,
                           const char *path, tl_error *error) {
    const cJSON *item;
    cJSON_ArrayForEach(item, tl_json_get(index->document, "weight_map")) {
        if (!tl_checkpoint_find(checkpoint, item->string))
            return tl_fail(error, TL_ERROR_FORMAT,
                           "%s: tensor '%s' is not in '%s', where weight_map says it is", path,
                           item->string, item->valuestring);
    }
    return true;
}

static bool read_shards(tl_checkpoint *checkpoint, const char *directory, char *path,
                        reader_function *read, tl_error *error) {
    shard_index index = {0};
    bool good = add_file(checkpoint, path, error) && load_index(&index, path, error);
    checkpoint->shard_of = index.shard_of;
    for (size_t i = 0; good && i < index.count; i++) {
        checkpoint->shard = i;
        good = read_file(checkpoint, tl_path_join(directory, index.names[i]), read, error);
    }
    checkpoint->shard_of = NULL;
    good = good && check_complete(checkpoint, &index, path, error);
    free_index(&index);
    return good;
}

static bool read_directory(tl_checkpoint *checkpoint, const char *directory, tl_error *error) {
    for (int i = 0; i < LAYOUTS; i++) {
        char *path = tl_path_join(directory, layouts[i].file);
        if (!path) return tl_fail_memory(error, strlen(directory), "a path");
        if (!tl_file_exists(path)) {
            free(path);
            continue;
        }
        if (layouts[i].index)
            return read_shards(checkpoint, directory, path, layouts[i].read, error);
        return read_file(checkpoint, path, layouts[i].read, error);
    }
    return tl_fail(error, TL_ERROR_IO, "%s: no weights: expected %s, %s, %s or %s", directory,
                   layouts[0].file, layouts[1].file, layouts[2].file, layouts[3].file);
}

/* A single file of unknown kind: PyTorch's containers start as a zip or as a pickle, and their
 * ninth byte is never the '{' that starts a safetensors header. */
static bool read_any(tl_checkpoint *checkpoint, tl_source *source, tl_error *error) {
    bool torch = source->size > 8 && source->data[8] != '{' &&
                 (memcmp(source->data, "PK", 2) == 0 || source->data[0] == 0x80);
    return (torch ? tl_torch_read : tl_safetensors_read)(checkpoint, source, error);
}

static tl_checkpoint *finish(tl_checkpoint *checkpoint, bool good) {
    if (good) return checkpoint;
    tl_checkpoint_free(checkpoint);
    return NULL;
}

tl_checkpoint *tl_checkpoint_open(const char *directory, tl_error *error) {
    tl_checkpoint *checkpoint = new_checkpoint(directory, error);
    if (!checkpoint) return NULL;
    bool good = tl_file_exists(directory)
                    ? read_file(checkpoint, strdup(directory), read_any, error)
                    : read_directory(checkpoint, directory, error);
    return finish(checkpoint, good);
}

tl_checkpoint *tl_checkpoint_open_memory(const void *data, size_t size, const char *name,
                                         tl_error *error) {
    tl_checkpoint *checkpoint = new_checkpoint(name, error);
    if (!checkpoint) return NULL;
    tl_source source = source_of(checkpoint->path, data, size, false);
    return finish(checkpoint, read_any(checkpoint, &source, error));
}

/* Asking. */

const tl_tensor *tl_checkpoint_find(const tl_checkpoint *checkpoint, const char *name) {
    uint64_t index;
    bool found = tl_map_get(checkpoint->by_name, name, strlen(name), &index);
    return found ? &checkpoint->tensors[index] : NULL;
}

size_t tl_checkpoint_count(const tl_checkpoint *checkpoint) {
    return checkpoint->count;
}

const tl_tensor *tl_checkpoint_at(const tl_checkpoint *checkpoint, size_t index) {
    return index < checkpoint->count ? &checkpoint->tensors[index] : NULL;
}

const char *tl_checkpoint_metadata(const tl_checkpoint *checkpoint, const char *key) {
    for (const metadata_pair *pair = checkpoint->metadata; pair; pair = pair->next)
        if (strcmp(pair->key, key) == 0) return pair->value;
    return NULL;
}

const char *tl_checkpoint_path(const tl_checkpoint *checkpoint) {
    return checkpoint->path;
}

const char *tl_checkpoint_file(const tl_checkpoint *checkpoint, size_t index) {
    return index < checkpoint->file_count ? checkpoint->files[index].path : NULL;
}

void tl_tensor_will_need(const tl_tensor *tensor) {
    if (tensor->mapped) advise(tensor->data, tensor->bytes, MADV_WILLNEED);
}

void tl_tensor_release(const tl_tensor *tensor) {
    if (tensor->mapped) advise(tensor->data, tensor->bytes, MADV_DONTNEED);
}
