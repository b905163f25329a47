/* What torch.save writes: a zip of a pickle and its storages, or (before 1.6) a row of pickles with
 * the storages behind them. Sources: torch/serialization.py, torch/_utils.py. */
#include "checkpoint/reader.h"
#include "checkpoint/unpickle.h"
#include "checkpoint/zip.h"

#include <string.h>

/* A member up to this size is checked against its CRC; larger stored ones are mapped unread. */
static const size_t largest_verified = 1u << 20;
static const size_t largest_pickle = 64u << 20;

/* What inflating and copying may take: a floor, and a multiple of the file's size. Weights deflate
 * to more than half. */
static const size_t copy_floor = 16u << 20;
enum { COPY_FACTOR = 2, INFLATE_FACTOR = 8 };

/* The bytes behind one storage key. */
typedef struct storage {
    const tl_pickle_value *key;
    tl_dtype dtype;
    bool untyped;
    size_t elements, bytes;
    const unsigned char *data; /* where it lies in the file */
    const tl_zip_member *member;
    const unsigned char *ready; /* aligned and inflated; NULL until a tensor needs it */
    bool mapped;
} storage;

typedef struct reader {
    tl_checkpoint *checkpoint;
    tl_source *source;
    tl_arena *arena; /* what the pickles come to */
    tl_zip *zip;     /* NULL for the legacy container */
    size_t inflate_limit;
    tl_pickle pickle; /* the state dict's */
    storage *storages;
    size_t storage_count;
    tl_map *by_key; /* key → index in storages */
} reader;

static bool fail_format(const reader *r, const char *what, tl_error *error) {
    return tl_fail(error, TL_ERROR_FORMAT, "%s: %s", r->source->path, what);
}

/* Storages. */

/* One length from a pickle that is to be a size in memory. */
static bool get_size(tl_pickle_value value, size_t *size) {
    *size = (size_t)value.integer;
    return value.kind == TL_PICKLE_INT && value.integer >= 0;
}

/* A view of another storage, as the legacy container may store it: (key, offset, elements). */
static bool has_view(tl_pickle_value id) {
    return id.object->count > 5 && id.object->items[5].kind == TL_PICKLE_TUPLE;
}

/* Enters the storage that a persistent id names: ("storage", class, key, location, elements, …). */
static bool add_storage(reader *r, tl_pickle_value id, tl_error *error) {
    const tl_pickle_value *items = id.object->items;
    size_t elements, bytes;
    if (id.object->count < 5 || items[1].kind != TL_PICKLE_GLOBAL ||
        (items[1].global->role != TL_ROLE_STORAGE && items[1].global->role != TL_ROLE_UNTYPED) ||
        items[2].kind != TL_PICKLE_STRING || !get_size(items[4], &elements))
        return fail_format(r, "a storage: expected its class, key, location and length", error);
    tl_dtype dtype = items[1].global->dtype;
    if (!tl_mul_size(elements, tl_dtype_get(dtype)->block_bytes, &bytes))
        return fail_format(r, "a storage: its length overflows", error);
    const tl_pickle_object *key = items[2].object;
    uint64_t index;
    if (tl_map_get(r->by_key, key->bytes, key->count, &index)) {
        const storage *known = &r->storages[index];
        if (known->dtype == dtype && known->elements == elements) return true;
        return tl_fail(error, TL_ERROR_FORMAT,
                       "%s: storage '%.*s' is given with two classes or lengths", r->source->path,
                       (int)(key->count < 64 ? key->count : 64), key->bytes);
    }
    r->storages[r->storage_count] = (storage){
        .key = &items[2],
        .dtype = dtype,
        .untyped = items[1].global->role == TL_ROLE_UNTYPED,
        .elements = elements,
        .bytes = bytes,
    };
    if (!tl_map_set(r->by_key, key->bytes, key->count, r->storage_count))
        return tl_fail_memory(error, key->count, "a checkpoint's storages");
    r->storage_count++;
    return true;
}

static bool add_storages(reader *r, tl_error *error) {
    size_t count = r->pickle.storage_count;
    r->storages =
        tl_arena_alloc(r->arena, count + 1, sizeof *r->storages, "a checkpoint's storages", error);
    r->by_key = tl_map_new(count);
    if (!r->storages) return false;
    if (!r->by_key) return tl_fail_memory(error, count, "a checkpoint's storages");
    for (size_t i = 0; i < count; i++)
        if (!add_storage(r, r->pickle.storages[i], error)) return false;
    return true;
}

static bool fail_storage(const reader *r, const storage *s, const char *what, tl_error *error) {
    const tl_pickle_object *key = s->key->object;
    return tl_fail(error, TL_ERROR_FORMAT, "%s: storage '%.*s': %s", r->source->path,
                   (int)(key->count < 64 ? key->count : 64), key->bytes, what);
}

static bool inflate_member(reader *r, const tl_zip_member *member, unsigned char **bytes,
                           tl_error *error) {
    if (member->size > r->inflate_limit)
        return tl_fail(error, TL_ERROR_LIMIT,
                       "%s: its members would inflate to more than %d times its size (a zip bomb?)",
                       r->source->path, INFLATE_FACTOR);
    r->inflate_limit -= member->size;
    r->source->copy_limit += member->size * COPY_FACTOR;
    *bytes = tl_checkpoint_alloc(r->checkpoint, r->source, member->size, error);
    return *bytes && tl_zip_inflate(r->zip, member, *bytes, error);
}

/* Makes the storage's bytes readable: inflated, or in place, or an aligned copy. */
static bool prepare_storage(reader *r, storage *s, size_t alignment, tl_error *error) {
    if (s->ready) return true;
    if (s->member && s->member->deflated) {
        unsigned char *bytes;
        if (!inflate_member(r, s->member, &bytes, error)) return false;
        s->ready = bytes;
        return true;
    }
    if (s->member && s->bytes <= largest_verified && !tl_zip_verify(r->zip, s->member, error))
        return false;
    bool copied;
    s->ready = tl_checkpoint_aligned(r->checkpoint, r->source, s->data, s->bytes, alignment,
                                     &copied, error);
    s->mapped = r->source->mapped && !copied;
    return s->ready;
}

/* Tensors. */

/* A tensor as the pickle describes it. */
typedef struct layout {
    storage *storage;
    size_t first; /* element of the storage */
    size_t strides[TL_MOST_DIMENSIONS];
    tl_tensor tensor;
} layout;

static bool fail_tensor(const reader *r, const layout *l, const char *what, tl_error *error) {
    return tl_fail(error, TL_ERROR_FORMAT, "%s: tensor '%s': %s", r->source->path, l->tensor.name,
                   what);
}

/* Narrows the storage to the view that a legacy persistent id may describe. */
static bool apply_view(const reader *r, layout *l, tl_pickle_value id, size_t *elements,
                       tl_error *error) {
    if (!has_view(id)) return true;
    const tl_pickle_object *view = id.object->items[5].object;
    size_t offset, count;
    if (view->count != 3 || !get_size(view->items[1], &offset) ||
        !get_size(view->items[2], &count) || !tl_within(offset, count, *elements))
        return fail_tensor(r, l, "a view that lies outside its storage", error);
    if (!tl_add_size(l->first, offset, &l->first))
        return fail_tensor(r, l, "its offset overflows", error);
    *elements = offset + count;
    return true;
}

static bool read_dimensions(const reader *r, layout *l, tl_pickle_value shape,
                            tl_pickle_value strides, tl_error *error) {
    if (shape.kind != TL_PICKLE_TUPLE || strides.kind != TL_PICKLE_TUPLE ||
        shape.object->count != strides.object->count)
        return fail_tensor(r, l, "expected a shape and as many strides", error);
    if (shape.object->count > TL_MOST_DIMENSIONS)
        return fail_tensor(r, l, "expected at most 8 dimensions", error);
    l->tensor.rank = (int)shape.object->count;
    for (int i = 0; i < l->tensor.rank; i++) {
        size_t length;
        if (!get_size(shape.object->items[i], &length) ||
            !get_size(strides.object->items[i], &l->strides[i]))
            return fail_tensor(r, l, "expected whole numbers as shape and strides", error);
        l->tensor.shape[i] = (int64_t)length;
    }
    return tl_tensor_measure(&l->tensor, r->source->path, error);
}

/* Does its last element lie within the storage's first `elements`? */
static bool check_extent(const reader *r, const layout *l, size_t elements, tl_error *error) {
    if (l->tensor.bytes == 0) return true;
    size_t last = l->first;
    bool fits = true;
    for (int i = 0; i < l->tensor.rank; i++) {
        size_t reach;
        fits = fits && tl_mul_size((size_t)l->tensor.shape[i] - 1, l->strides[i], &reach) &&
               tl_add_size(last, reach, &last);
    }
    if (fits && last < elements) return true;
    return fail_tensor(r, l, "its storage is smaller than the tensor", error);
}

/* The dtype: that of the storage's class, or for untyped bytes the seventh argument. */
static bool read_dtype(const reader *r, layout *l, const tl_pickle_object *arguments,
                       size_t *elements, tl_error *error) {
    l->tensor.dtype = l->storage->dtype;
    if (!l->storage->untyped) return true;
    if (arguments->count < 7 || arguments->items[6].kind != TL_PICKLE_GLOBAL ||
        arguments->items[6].global->role != TL_ROLE_DTYPE)
        return fail_tensor(r, l, "expected a dtype with its untyped storage", error);
    l->tensor.dtype = arguments->items[6].global->dtype;
    *elements /= tl_dtype_get(l->tensor.dtype)->block_bytes;
    return true;
}

/* The arguments of _rebuild_tensor_v2: storage, offset, shape, strides, … */
static bool read_layout(reader *r, const tl_pickle_object *arguments, layout *l, tl_error *error) {
    const tl_pickle_value *items = arguments->items;
    if (arguments->count < 4 || items[0].kind != TL_PICKLE_STORAGE ||
        !get_size(items[1], &l->first))
        return fail_tensor(r, l, "expected a storage, an offset, a shape and strides", error);
    const tl_pickle_object *key = items[0].object->items[2].object;
    uint64_t index;
    if (!tl_map_get(r->by_key, key->bytes, key->count, &index))
        return fail_tensor(r, l, "its storage is not there", error);
    l->storage = &r->storages[index];
    size_t elements = l->storage->elements;
    return read_dtype(r, l, arguments, &elements, error) &&
           apply_view(r, l, items[0], &elements, error) &&
           read_dimensions(r, l, items[2], items[3], error) && check_extent(r, l, elements, error);
}

static bool is_contiguous(const layout *l) {
    size_t expected = 1;
    for (int i = l->tensor.rank - 1; i >= 0; i--) {
        size_t length = (size_t)l->tensor.shape[i];
        if (length != 1 && l->strides[i] != expected) return false;
        expected *= length;
    }
    return true;
}

/* Copies the elements in row-major order. */
static void gather(const layout *l, const unsigned char *from, unsigned char *to) {
    size_t width = tl_dtype_get(l->tensor.dtype)->block_bytes;
    int rank = l->tensor.rank;
    size_t index[TL_MOST_DIMENSIONS] = {0}, at = 0, row = (size_t)l->tensor.shape[rank - 1];
    const unsigned char *end = to + l->tensor.bytes;
    while (to < end) {
        const unsigned char *element = from + at * width;
        for (size_t i = 0; i < row; i++, to += width, element += l->strides[rank - 1] * width)
            memcpy(to, element, width);
        for (int d = rank - 2; d >= 0; d--) {
            at += l->strides[d];
            if (++index[d] < (size_t)l->tensor.shape[d]) break;
            at -= index[d] * l->strides[d];
            index[d] = 0;
        }
    }
}

static bool place_tensor(reader *r, layout *l, tl_error *error) {
    size_t width = tl_dtype_get(l->tensor.dtype)->block_bytes;
    storage *s = l->storage;
    bool copied;
    if (l->tensor.bytes == 0) {
        l->tensor.data =
            tl_checkpoint_aligned(r->checkpoint, r->source, NULL, 0, width, &copied, error);
        return true;
    }
    if (!prepare_storage(r, s, width, error))
        return tl_fail_within(error, "tensor '%s'", l->tensor.name);
    const unsigned char *first = s->ready + l->first * width;
    l->tensor.data = first;
    l->tensor.mapped = s->mapped;
    if (is_contiguous(l) && (uintptr_t)first % width == 0) return true;
    unsigned char *copy = tl_checkpoint_alloc(r->checkpoint, r->source, l->tensor.bytes, error);
    if (!copy) return false;
    gather(l, first, copy);
    l->tensor.data = copy;
    l->tensor.mapped = false;
    return true;
}

static bool add_tensor(reader *r, const tl_pickle_object *name, const tl_pickle_object *arguments,
                       tl_error *error) {
    if (memchr(name->bytes, 0, name->count))
        return fail_format(r, "a tensor's name holds a NUL byte", error);
    char *text = tl_arena_strndup(r->arena, name->bytes, name->count, error);
    if (!text) return false;
    layout l = {.tensor.name = text};
    return read_layout(r, arguments, &l, error) && place_tensor(r, &l, error) &&
           tl_checkpoint_add(r->checkpoint, r->source, &l.tensor, error);
}

static bool holds_tensors(tl_pickle_value dict) {
    for (size_t i = 0; i + 1 < dict.object->count; i += 2)
        if (dict.object->items[i + 1].kind == TL_PICKLE_TENSOR) return true;
    return false;
}

/* The dict of tensors: the object itself, or what training scripts wrap it in. */
static const tl_pickle_object *find_state_dict(tl_pickle_value value) {
    static const char *const wrappers[] = {"state_dict", "model_state_dict", "model", "module"};
    if (value.kind != TL_PICKLE_DICT) return NULL;
    if (holds_tensors(value)) return value.object;
    for (size_t i = 0; i < sizeof wrappers / sizeof wrappers[0]; i++) {
        const tl_pickle_value *inner = tl_pickle_get(value, wrappers[i]);
        if (inner && inner->kind == TL_PICKLE_DICT && holds_tensors(*inner)) return inner->object;
    }
    return NULL;
}

static bool add_tensors(reader *r, tl_error *error) {
    const tl_pickle_object *dict = find_state_dict(r->pickle.value);
    if (!dict) return fail_format(r, "expected a state dict: a dict of tensors", error);
    for (size_t i = 0; i + 1 < dict->count; i += 2) {
        tl_pickle_value key = dict->items[i], value = dict->items[i + 1];
        if (key.kind != TL_PICKLE_STRING || value.kind != TL_PICKLE_TENSOR) continue;
        if (!add_tensor(r, key.object, value.object, error)) return false;
    }
    return true;
}

/* The zip container: NAME/data.pkl, NAME/byteorder, NAME/data/KEY. */

/* The one member DIRECTORY/data.pkl. */
static const tl_zip_member *find_pickle(const reader *r, tl_error *error) {
    static const char suffix[] = "/data.pkl";
    enum { LENGTH = sizeof suffix - 1 };
    const tl_zip_member *found = NULL, *member;
    for (size_t i = 0; (member = tl_zip_at(r->zip, i)); i++) {
        if (member->name_length <= LENGTH ||
            memcmp(member->name + member->name_length - LENGTH, suffix, LENGTH) != 0 ||
            memchr(member->name, '/', member->name_length - LENGTH))
            continue;
        if (found) {
            fail_format(r, "more than one member DIRECTORY/data.pkl", error);
            return NULL;
        }
        found = member;
    }
    if (!found)
        fail_format(r, "expected a member DIRECTORY/data.pkl, as torch.save writes it", error);
    return found;
}

/* The member NAME/REST, where `pickle` is NAME/data.pkl; NULL when it is not there. */
static const tl_zip_member *find_beside(const reader *r, const tl_zip_member *pickle,
                                        const char *rest, const char *key, size_t key_length) {
    tl_buffer name = {0};
    tl_buffer_append(&name, pickle->name, pickle->name_length - strlen("data.pkl"));
    tl_buffer_append_string(&name, rest);
    tl_buffer_append(&name, key, key_length);
    const tl_zip_member *found = name.failed ? NULL : tl_zip_find(r->zip, name.data, name.length);
    tl_buffer_free(&name);
    return found;
}

/* The bytes of a small member, checked against its CRC. */
static bool read_member(reader *r, const tl_zip_member *member, const unsigned char **bytes,
                        tl_error *error) {
    *bytes = member->data;
    if (!member->deflated) return tl_zip_verify(r->zip, member, error);
    unsigned char *inflated;
    if (!inflate_member(r, member, &inflated, error)) return false;
    *bytes = inflated;
    return true;
}

static bool check_byte_order(reader *r, const tl_zip_member *pickle, tl_error *error) {
    const tl_zip_member *member = find_beside(r, pickle, "byteorder", "", 0);
    const unsigned char *bytes;
    if (!member) return true; /* before torch 2.1 */
    if (!read_member(r, member, &bytes, error)) return false;
    if (member->size == 6 && memcmp(bytes, "little", 6) == 0) return true;
    return tl_fail(error, TL_ERROR_UNSUPPORTED, "%s: byteorder: expected little-endian tensors",
                   r->source->path);
}

static bool find_members(reader *r, const tl_zip_member *pickle, tl_error *error) {
    for (size_t i = 0; i < r->storage_count; i++) {
        storage *s = &r->storages[i];
        const tl_pickle_object *key = s->key->object;
        s->member = find_beside(r, pickle, "data/", key->bytes, key->count);
        if (!s->member) return fail_storage(r, s, "expected a member of that name", error);
        if (s->member->size != s->bytes)
            return fail_storage(r, s, "its member has not the length that the pickle says", error);
        s->data = s->member->data;
    }
    return true;
}

static bool read_zip(reader *r, tl_error *error) {
    r->zip = tl_zip_open(r->source->data, r->source->size, r->source->path, error);
    if (!r->zip) return false;
    const tl_zip_member *pickle = find_pickle(r, error);
    if (!pickle || !check_byte_order(r, pickle, error)) return false;
    if (pickle->size > largest_pickle)
        return tl_fail(error, TL_ERROR_LIMIT, "%s: data.pkl of %zu bytes: expected at most %zu",
                       r->source->path, pickle->size, largest_pickle);
    const unsigned char *bytes;
    return read_member(r, pickle, &bytes, error) &&
           tl_unpickle(bytes, pickle->size, 0, r->source->path, r->arena, &r->pickle, error) &&
           add_storages(r, error) && find_members(r, pickle, error) && add_tensors(r, error);
}

/* The legacy container: magic number, protocol, system, object, keys; then for each key the number
 * of elements in eight bytes and the elements. */

static bool next_pickle(reader *r, size_t *at, tl_pickle *pickle, tl_error *error) {
    /* Pickles precede the storages, so none of them can be longer than the limit. */
    size_t left = r->source->size - *at;
    size_t size = *at + (left < largest_pickle ? left : largest_pickle);
    if (!tl_unpickle(r->source->data, size, *at, r->source->path, r->arena, pickle, error))
        return false;
    *at = pickle->end;
    return true;
}

static bool check_preamble(reader *r, size_t *at, tl_error *error) {
    static const char magic[] = "\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19";
    tl_pickle pickle;
    if (!next_pickle(r, at, &pickle, error)) return false;
    if (pickle.value.kind != TL_PICKLE_LONG || pickle.value.object->count != sizeof magic - 1 ||
        memcmp(pickle.value.object->bytes, magic, sizeof magic - 1) != 0)
        return fail_format(r, "expected the magic number of torch.save", error);
    if (!next_pickle(r, at, &pickle, error)) return false;
    if (pickle.value.kind != TL_PICKLE_INT || pickle.value.integer != 1001)
        return tl_fail(error, TL_ERROR_UNSUPPORTED, "%s: expected protocol 1001 of torch.save",
                       r->source->path);
    if (!next_pickle(r, at, &pickle, error)) return false;
    const tl_pickle_value *little = tl_pickle_get(pickle.value, "little_endian");
    if (!little || little->kind != TL_PICKLE_BOOL || !little->integer)
        return tl_fail(error, TL_ERROR_UNSUPPORTED,
                       "%s: little_endian: expected little-endian tensors", r->source->path);
    return true;
}

/* Finds where each storage lies, in the order of the key list. */
static bool find_legacy_data(reader *r, const tl_pickle_object *keys, size_t at, tl_error *error) {
    for (size_t i = 0; i < keys->count; i++) {
        const tl_pickle_value key = keys->items[i];
        uint64_t index;
        if (key.kind != TL_PICKLE_STRING ||
            !tl_map_get(r->by_key, key.object->bytes, key.object->count, &index))
            return fail_format(r, "a storage that no tensor's pickle names", error);
        storage *s = &r->storages[index];
        if (s->data) return fail_storage(r, s, "listed twice", error);
        uint64_t elements = 0;
        if (!tl_within(at, 8, r->source->size))
            return fail_storage(r, s, "expected its length (is the file truncated?)", error);
        for (int b = 7; b >= 0; b--)
            elements = elements << 8 | r->source->data[at + (size_t)b];
        at += 8;
        if (elements != s->elements)
            return fail_storage(r, s, "its length is not the one that the pickle says", error);
        if (!tl_within(at, s->bytes, r->source->size))
            return fail_storage(r, s, "runs past the end (is the file truncated?)", error);
        s->data = r->source->data + at;
        at += s->bytes;
    }
    for (size_t i = 0; i < r->storage_count; i++)
        if (!r->storages[i].data)
            return fail_storage(r, &r->storages[i], "expected it in the list of keys", error);
    if (at != r->source->size)
        return fail_format(r, "bytes are left over after the last storage", error);
    return true;
}

static bool read_legacy(reader *r, tl_error *error) {
    size_t at = 0;
    tl_pickle keys;
    if (!check_preamble(r, &at, error) || !next_pickle(r, &at, &r->pickle, error) ||
        !next_pickle(r, &at, &keys, error))
        return false;
    if (keys.value.kind != TL_PICKLE_LIST)
        return fail_format(r, "expected a list of storage keys", error);
    return add_storages(r, error) && find_legacy_data(r, keys.value.object, at, error) &&
           add_tensors(r, error);
}

bool tl_torch_read(tl_checkpoint *checkpoint, tl_source *source, tl_error *error) {
    reader r = {.checkpoint = checkpoint, .source = source, .arena = tl_arena_new()};
    if (!r.arena) return tl_fail_memory(error, 1, "a checkpoint's pickle");
    size_t size = source->size < SIZE_MAX / 16 ? source->size : SIZE_MAX / 16;
    source->copy_limit = size * COPY_FACTOR + copy_floor;
    r.inflate_limit = size * INFLATE_FACTOR + copy_floor;
    bool zip = source->size >= 4 && memcmp(source->data, "PK", 2) == 0;
    bool pickle = source->size >= 2 && source->data[0] == 0x80;
    bool good;
    if (zip)
        good = read_zip(&r, error);
    else if (pickle)
        good = read_legacy(&r, error);
    else
        good = fail_format(&r, "neither a zip nor a pickle: expected a file of torch.save", error);
    tl_zip_free(r.zip);
    tl_map_free(r.by_key);
    tl_arena_free(r.arena);
    return good;
}
