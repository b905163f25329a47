/* safetensors: eight bytes of header length, a JSON header, the tensors' bytes.
 * Format: https://github.com/huggingface/safetensors (README, "Format"). */
#include "checkpoint/reader.h"

#include <stdlib.h>
#include <string.h>

enum { LENGTH_BYTES = 8 };

static const size_t largest_header = 100u * 1000 * 1000; /* as the reference implementation */

/* A tensor with its place in the file's data section. */
typedef struct entry {
    tl_tensor tensor;
    size_t begin, end;
} entry;

static bool find_dtype(const char *name, tl_dtype *dtype) {
    for (int i = 0; name && i < TL_DTYPE_COUNT; i++) {
        const char *known = tl_dtype_get((tl_dtype)i)->safetensors;
        if (known && strcmp(known, name) == 0) {
            *dtype = (tl_dtype)i;
            return true;
        }
    }
    return false;
}

static bool read_shape(const cJSON *shape, tl_tensor *tensor, const char *path, tl_error *error) {
    if (!cJSON_IsArray(shape))
        return tl_fail(error, TL_ERROR_FORMAT, "%s: tensor '%s': expected an array 'shape'", path,
                       tensor->name);
    const cJSON *dimension;
    cJSON_ArrayForEach(dimension, shape) {
        size_t length;
        if (!tl_json_size(dimension, &length))
            return tl_fail(error, TL_ERROR_FORMAT,
                           "%s: tensor '%s': expected whole numbers in 'shape'", path,
                           tensor->name);
        if (tensor->rank == TL_MOST_DIMENSIONS)
            return tl_fail(error, TL_ERROR_UNSUPPORTED,
                           "%s: tensor '%s': expected at most %d dimensions", path, tensor->name,
                           TL_MOST_DIMENSIONS);
        tensor->shape[tensor->rank++] = (int64_t)length;
    }
    return true;
}

static bool read_entry(const cJSON *item, size_t data_size, entry *e, const char *path,
                       tl_error *error) {
    e->tensor.name = item->string;
    if (!cJSON_IsObject(item))
        return tl_fail(error, TL_ERROR_FORMAT, "%s: tensor '%s': expected an object in the header",
                       path, item->string);
    const char *dtype = cJSON_GetStringValue(tl_json_get(item, "dtype"));
    if (!dtype)
        return tl_fail(error, TL_ERROR_FORMAT, "%s: tensor '%s': expected a string 'dtype'", path,
                       item->string);
    if (!find_dtype(dtype, &e->tensor.dtype))
        return tl_fail(error, TL_ERROR_UNSUPPORTED,
                       "%s: tensor '%s': unknown dtype '%s': expected F32, F16, BF16, F64, I64, "
                       "I32, I16, I8, U8 or BOOL",
                       path, item->string, dtype);
    if (!read_shape(tl_json_get(item, "shape"), &e->tensor, path, error)) return false;
    if (!tl_tensor_measure(&e->tensor, path, error)) return false;

    const cJSON *offsets = tl_json_get(item, "data_offsets");
    if (!cJSON_IsArray(offsets) || cJSON_GetArraySize(offsets) != 2 ||
        !tl_json_size(offsets->child, &e->begin) || !tl_json_size(offsets->child->next, &e->end))
        return tl_fail(error, TL_ERROR_FORMAT,
                       "%s: tensor '%s': expected 'data_offsets' of two whole numbers", path,
                       item->string);
    if (e->begin > e->end || e->end > data_size)
        return tl_fail(error, TL_ERROR_FORMAT,
                       "%s: tensor '%s': bytes %zu to %zu lie outside the file's %zu bytes of data "
                       "(is the file truncated?)",
                       path, item->string, e->begin, e->end, data_size);
    if (e->end - e->begin != e->tensor.bytes)
        return tl_fail(error, TL_ERROR_FORMAT,
                       "%s: tensor '%s': %zu bytes of data where its shape and dtype need %zu",
                       path, item->string, e->end - e->begin, e->tensor.bytes);
    return true;
}

static bool read_metadata(tl_checkpoint *checkpoint, const cJSON *metadata, const char *path,
                          tl_error *error) {
    if (!cJSON_IsObject(metadata))
        return tl_fail(error, TL_ERROR_FORMAT, "%s: expected an object '__metadata__'", path);
    const cJSON *item;
    cJSON_ArrayForEach(item, metadata) {
        if (!cJSON_IsString(item))
            return tl_fail(error, TL_ERROR_FORMAT, "%s: '__metadata__': expected strings, not '%s'",
                           path, item->string);
        if (!tl_checkpoint_add_metadata(checkpoint, item->string, item->valuestring, error))
            return false;
    }
    return true;
}

static int by_offset(const void *a, const void *b) {
    const entry *x = a, *y = b;
    if (x->begin != y->begin) return x->begin < y->begin ? -1 : 1;
    return x->end < y->end ? -1 : x->end > y->end;
}

/* The format demands that tensors cover the data without overlaps and holes. */
static bool check_cover(const entry *entries, size_t count, size_t data_size, const char *path,
                        tl_error *error) {
    size_t at = 0;
    for (size_t i = 0; i < count; i++) {
        if (entries[i].begin != at)
            return tl_fail(error, TL_ERROR_FORMAT,
                           "%s: tensor '%s' starts at byte %zu of the data: expected %zu (tensors "
                           "may not overlap or leave holes)",
                           path, entries[i].tensor.name, entries[i].begin, at);
        at = entries[i].end;
    }
    if (at != data_size)
        return tl_fail(error, TL_ERROR_FORMAT,
                       "%s: the tensors take %zu bytes of data, the file holds %zu", path, at,
                       data_size);
    return true;
}

static bool add_entries(tl_checkpoint *checkpoint, tl_source *source, const unsigned char *data,
                        entry *entries, size_t count, tl_error *error) {
    for (size_t i = 0; i < count; i++) {
        tl_tensor *tensor = &entries[i].tensor;
        const tl_dtype_traits *traits = tl_dtype_get(tensor->dtype);
        size_t alignment = traits->block == 1 ? traits->block_bytes : 2;
        bool copied;
        tensor->data = tl_checkpoint_aligned(checkpoint, source, data + entries[i].begin,
                                             tensor->bytes, alignment, &copied, error);
        if (!tensor->data)
            return tl_fail_within(error, "%s: tensor '%s'", source->path, tensor->name);
        tensor->mapped = source->mapped && !copied;
        if (!tl_checkpoint_add(checkpoint, source, tensor, error)) return false;
    }
    return true;
}

static bool read_header(tl_checkpoint *checkpoint, tl_source *source, const cJSON *header,
                        const unsigned char *data, tl_error *error) {
    size_t data_size = source->size - (size_t)(data - source->data);
    if (!cJSON_IsObject(header))
        return tl_fail(error, TL_ERROR_FORMAT, "%s: expected an object as header", source->path);
    size_t count = (size_t)cJSON_GetArraySize(header);
    entry *entries = calloc(count + 1, sizeof *entries);
    if (!entries) return tl_fail_memory(error, count * sizeof *entries, "a safetensors header");
    size_t used = 0;
    bool good = true;
    const cJSON *item = header->child;
    for (; good && item; item = item->next) {
        if (strcmp(item->string, "__metadata__") == 0)
            good = read_metadata(checkpoint, item, source->path, error);
        else
            good = read_entry(item, data_size, &entries[used++], source->path, error);
    }
    if (good) {
        qsort(entries, used, sizeof *entries, by_offset);
        good = check_cover(entries, used, data_size, source->path, error) &&
               add_entries(checkpoint, source, data, entries, used, error);
    }
    free(entries);
    return good;
}

bool tl_safetensors_read(tl_checkpoint *checkpoint, tl_source *source, tl_error *error) {
    if (source->size < LENGTH_BYTES)
        return tl_fail(error, TL_ERROR_FORMAT,
                       "%s: %zu bytes: expected a safetensors file, which starts with the length "
                       "of its header",
                       source->path, source->size);
    uint64_t length = 0;
    for (int i = LENGTH_BYTES - 1; i >= 0; i--)
        length = length << 8 | source->data[i];
    if (length > source->size - LENGTH_BYTES)
        return tl_fail(error, TL_ERROR_FORMAT,
                       "%s: a header of %llu bytes in a file of %zu: truncated, or not a "
                       "safetensors file",
                       source->path, (unsigned long long)length, source->size);
    if (length > largest_header)
        return tl_fail(error, TL_ERROR_LIMIT, "%s: a header of %llu bytes: expected at most %zu",
                       source->path, (unsigned long long)length, largest_header);
    const unsigned char *text = source->data + LENGTH_BYTES;
    if (length == 0 || text[0] != '{')
        return tl_fail(error, TL_ERROR_FORMAT, "%s: expected the header to start with '{'",
                       source->path);
    cJSON *header = tl_parse_bounded_json((const char *)text, (size_t)length, source->path, error);
    if (!header) return false;
    bool good = read_header(checkpoint, source, header, text + length, error);
    cJSON_Delete(header);
    return good;
}
