/* unpickle: a stack machine over a table of allowed opcodes. */
#include "checkpoint/unpickle.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Bytes that all values of one pickle may take, memo and stack included. A checkpoint of a thousand
 * tensors needs less than one megabyte. */
static const size_t most_memory = 256u << 20;

enum {
    HIGHEST_PROTOCOL = 5,
    LONGEST_GLOBAL = 128,
    MOST_MEMO = 1 << 22, /* entries */
};

static const tl_pickle_global globals[] = {
    {"collections", "OrderedDict", TL_ROLE_ORDERED_DICT, 0},
    {"torch._utils", "_rebuild_tensor", TL_ROLE_TENSOR, 0},
    {"torch._utils", "_rebuild_tensor_v2", TL_ROLE_TENSOR, 0},
    {"torch._utils", "_rebuild_tensor_v3", TL_ROLE_TENSOR, 0},
    {"torch._utils", "_rebuild_parameter", TL_ROLE_PARAMETER, 0},
    {"torch", "Size", TL_ROLE_SIZE, 0},
    {"torch", "device", TL_ROLE_DEVICE, 0},
    {"torch", "FloatStorage", TL_ROLE_STORAGE, TL_F32},
    {"torch", "HalfStorage", TL_ROLE_STORAGE, TL_F16},
    {"torch", "BFloat16Storage", TL_ROLE_STORAGE, TL_BF16},
    {"torch", "DoubleStorage", TL_ROLE_STORAGE, TL_F64},
    {"torch", "LongStorage", TL_ROLE_STORAGE, TL_I64},
    {"torch", "IntStorage", TL_ROLE_STORAGE, TL_I32},
    {"torch", "ShortStorage", TL_ROLE_STORAGE, TL_I16},
    {"torch", "CharStorage", TL_ROLE_STORAGE, TL_I8},
    {"torch", "ByteStorage", TL_ROLE_STORAGE, TL_U8},
    {"torch", "BoolStorage", TL_ROLE_STORAGE, TL_BOOL},
    {"torch", "UntypedStorage", TL_ROLE_UNTYPED, TL_U8},
    {"torch.storage", "UntypedStorage", TL_ROLE_UNTYPED, TL_U8},
    {"torch", "float32", TL_ROLE_DTYPE, TL_F32},
    {"torch", "float16", TL_ROLE_DTYPE, TL_F16},
    {"torch", "bfloat16", TL_ROLE_DTYPE, TL_BF16},
    {"torch", "float64", TL_ROLE_DTYPE, TL_F64},
    {"torch", "int64", TL_ROLE_DTYPE, TL_I64},
    {"torch", "int32", TL_ROLE_DTYPE, TL_I32},
    {"torch", "int16", TL_ROLE_DTYPE, TL_I16},
    {"torch", "int8", TL_ROLE_DTYPE, TL_I8},
    {"torch", "uint8", TL_ROLE_DTYPE, TL_U8},
    {"torch", "bool", TL_ROLE_DTYPE, TL_BOOL},
};

typedef struct machine {
    const unsigned char *data;
    size_t size;
    size_t at;     /* the next byte */
    size_t opcode; /* where the current opcode lies, for messages */
    const char *where;
    tl_arena *arena;
    size_t memory; /* bytes charged so far */
    unsigned char *slab;
    size_t slab_left;
    tl_pickle_value *stack, *memo, *storages;
    size_t depth, stack_capacity;
    size_t memo_count, memo_capacity; /* entries past memo_count are unset */
    size_t storage_count, storage_capacity;
    bool stopped;
} machine;

/* The comma lets the compiler see that failing returns false. */
#define FAIL(m, error, ...)          (fail_at(m, TL_ERROR_FORMAT, error, __VA_ARGS__), false)
#define FAIL_AS(m, code, error, ...) (fail_at(m, code, error, __VA_ARGS__), false)

static void fail_at(const machine *m, tl_code code, tl_error *error, const char *format, ...)
    TL_PRINTF(4, 5);
static void fail_at(const machine *m, tl_code code, tl_error *error, const char *format, ...) {
    char what[400];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(what, sizeof what, format, arguments);
    va_end(arguments);
    tl_fail(error, code, "%s: pickle, byte %zu: %s", m->where, m->opcode, what);
}

/* Memory. */

static bool charge(machine *m, size_t bytes, tl_error *error) {
    if (bytes <= most_memory - m->memory) {
        m->memory += bytes;
        return true;
    }
    return FAIL_AS(m, TL_ERROR_LIMIT, error, "its values take more than %zu bytes", most_memory);
}

/* Zeroed, from slabs: the arena rounds every piece up to 64 bytes. */
static void *allocate(machine *m, size_t bytes, tl_error *error) {
    enum { SLAB = 1 << 14 };
    if (!charge(m, bytes, error)) return NULL;
    if (bytes > SLAB / 4) return tl_arena_alloc(m->arena, bytes, 1, "a pickle's values", error);
    bytes = (bytes + 7) / 8 * 8;
    if (bytes > m->slab_left) {
        m->slab = tl_arena_alloc(m->arena, SLAB, 1, "a pickle's values", error);
        if (!m->slab) return NULL;
        m->slab_left = SLAB;
    }
    void *memory = m->slab;
    m->slab += bytes;
    m->slab_left -= bytes;
    return memory;
}

/* Makes room for `needed` values in one of the machine's own arrays. */
static bool reserve(machine *m, tl_pickle_value **values, size_t *capacity, size_t needed,
                    tl_error *error) {
    if (needed <= *capacity) return true;
    size_t grown = *capacity ? *capacity * 2 : 64;
    if (grown < needed) grown = needed;
    if (!charge(m, (grown - *capacity) * sizeof **values, error)) return false;
    tl_pickle_value *moved = realloc(*values, grown * sizeof *moved);
    if (!moved) return tl_fail_memory(error, grown * sizeof *moved, "a pickle's values");
    *values = moved;
    *capacity = grown;
    return true;
}

static bool push(machine *m, tl_pickle_value value, tl_error *error) {
    if (!reserve(m, &m->stack, &m->stack_capacity, m->depth + 1, error)) return false;
    m->stack[m->depth++] = value;
    return true;
}

static bool pop(machine *m, tl_pickle_value *value, tl_error *error) {
    if (m->depth == 0 || m->stack[m->depth - 1].kind == TL_PICKLE_MARK)
        return FAIL(m, error, "the stack is empty");
    *value = m->stack[--m->depth];
    return true;
}

/* Takes everything above the topmost mark, and the mark: `*items` stays valid until the next push.
 */
static bool pop_to_mark(machine *m, tl_pickle_value **items, size_t *count, tl_error *error) {
    size_t at = m->depth;
    while (at > 0 && m->stack[at - 1].kind != TL_PICKLE_MARK)
        at--;
    if (at == 0) return FAIL(m, error, "no mark on the stack");
    *items = m->stack + at;
    *count = m->depth - at;
    m->depth = at - 1;
    return true;
}

static bool push_kind(machine *m, tl_pickle_kind kind, tl_error *error) {
    return push(m, (tl_pickle_value){.kind = kind}, error);
}

static bool push_int(machine *m, tl_pickle_kind kind, int64_t integer, tl_error *error) {
    return push(m, (tl_pickle_value){.kind = kind, .integer = integer}, error);
}

static bool push_object(machine *m, tl_pickle_kind kind, tl_pickle_object object, tl_error *error) {
    tl_pickle_object *made = allocate(m, sizeof *made, error);
    if (!made) return false;
    *made = object;
    return push(m, (tl_pickle_value){.kind = kind, .object = made}, error);
}

/* A container of copies of `count` values. */
static bool push_items(machine *m, tl_pickle_kind kind, const tl_pickle_value *items, size_t count,
                       tl_error *error) {
    tl_pickle_object object = {.count = count, .capacity = count};
    if (count > 0) {
        object.items = allocate(m, count * sizeof *items, error);
        if (!object.items) return false;
        memcpy(object.items, items, count * sizeof *items);
    }
    return push_object(m, kind, object, error);
}

static bool append_items(machine *m, tl_pickle_object *object, const tl_pickle_value *items,
                         size_t count, tl_error *error) {
    if (object->count + count > object->capacity) {
        size_t capacity = object->capacity * 2;
        if (capacity < object->count + count) capacity = object->count + count;
        tl_pickle_value *moved = allocate(m, capacity * sizeof *moved, error);
        if (!moved) return false;
        if (object->count) memcpy(moved, object->items, object->count * sizeof *moved);
        object->items = moved;
        object->capacity = capacity;
    }
    if (count) memcpy(object->items + object->count, items, count * sizeof *items);
    object->count += count;
    return true;
}

/* Reading. */

static bool take(machine *m, uint64_t length, const unsigned char **bytes, tl_error *error) {
    if (length > m->size - m->at)
        return FAIL(m, error, "runs past the end (%llu bytes wanted, %zu left)",
                    (unsigned long long)length, m->size - m->at);
    *bytes = m->data + m->at;
    m->at += (size_t)length;
    return true;
}

/* A little-endian number of `width` bytes. */
static bool take_number(machine *m, int width, uint64_t *number, tl_error *error) {
    const unsigned char *bytes;
    if (!take(m, (uint64_t)width, &bytes, error)) return false;
    *number = 0;
    for (int i = width - 1; i >= 0; i--)
        *number = *number << 8 | bytes[i];
    return true;
}

/* Up to the next newline, which is passed. */
static bool take_line(machine *m, const char **line, size_t *length, tl_error *error) {
    size_t left = m->size - m->at;
    const unsigned char *begin = m->data + m->at;
    const unsigned char *end = left ? memchr(begin, '\n', left) : NULL;
    if (!end) return FAIL(m, error, "expected a line");
    *line = (const char *)begin;
    *length = (size_t)(end - begin);
    m->at += *length + 1;
    return true;
}

/* The opcodes. `argument` comes from the table. */

typedef bool opcode_function(machine *m, int argument, tl_error *error);

static bool op_protocol(machine *m, int argument, tl_error *error) {
    (void)argument;
    uint64_t protocol;
    if (!take_number(m, 1, &protocol, error)) return false;
    if (protocol <= HIGHEST_PROTOCOL) return true;
    return FAIL_AS(m, TL_ERROR_UNSUPPORTED, error, "protocol %d: expected at most %d",
                   (int)protocol, HIGHEST_PROTOCOL);
}

static bool op_frame(machine *m, int argument, tl_error *error) {
    (void)argument;
    uint64_t length;
    if (!take_number(m, 8, &length, error)) return false;
    if (length <= m->size - m->at) return true;
    return FAIL(m, error, "a frame that runs past the end");
}

static bool op_stop(machine *m, int argument, tl_error *error) {
    (void)argument, (void)error;
    m->stopped = true;
    return true;
}

static bool op_pop(machine *m, int argument, tl_error *error) {
    (void)argument;
    if (m->depth == 0) return FAIL(m, error, "the stack is empty");
    m->depth--;
    return true;
}

static bool op_pop_mark(machine *m, int argument, tl_error *error) {
    (void)argument;
    tl_pickle_value *items;
    size_t count;
    return pop_to_mark(m, &items, &count, error);
}

static bool op_duplicate(machine *m, int argument, tl_error *error) {
    (void)argument;
    tl_pickle_value value;
    return pop(m, &value, error) && push(m, value, error) && push(m, value, error);
}

/* A value that needs nothing more: NONE, MARK. */
static bool op_plain(machine *m, int argument, tl_error *error) {
    return push_kind(m, (tl_pickle_kind)argument, error);
}

static bool op_bool(machine *m, int argument, tl_error *error) {
    return push_int(m, TL_PICKLE_BOOL, argument, error);
}

/* argument: bytes; only four of them are signed. */
static bool op_int(machine *m, int argument, tl_error *error) {
    uint64_t number;
    if (!take_number(m, argument, &number, error)) return false;
    int64_t integer = argument == 4 ? (int64_t)(int32_t)(uint32_t)number : (int64_t)number;
    return push_int(m, TL_PICKLE_INT, integer, error);
}

/* argument: bytes of the length. Two's complement, little-endian. */
static bool op_long(machine *m, int argument, tl_error *error) {
    uint64_t length;
    const unsigned char *bytes;
    if (!take_number(m, argument, &length, error) || !take(m, length, &bytes, error)) return false;
    if (length > 8)
        return push_object(m, TL_PICKLE_LONG,
                           (tl_pickle_object){.bytes = (const char *)bytes, .count = length},
                           error);
    uint64_t number = length && bytes[length - 1] & 0x80 ? UINT64_MAX : 0;
    for (size_t i = (size_t)length; i-- > 0;)
        number = number << 8 | bytes[i];
    return push_int(m, TL_PICKLE_INT, (int64_t)number, error);
}

static bool op_float(machine *m, int argument, tl_error *error) {
    const unsigned char *bytes;
    return take(m, (uint64_t)argument, &bytes, error) && push_kind(m, TL_PICKLE_FLOAT, error);
}

/* argument: bytes of the length. */
static bool op_string(machine *m, int argument, tl_error *error) {
    uint64_t length;
    const unsigned char *bytes;
    if (!take_number(m, argument, &length, error) || !take(m, length, &bytes, error)) return false;
    return push_object(m, TL_PICKLE_STRING,
                       (tl_pickle_object){.bytes = (const char *)bytes, .count = (size_t)length},
                       error);
}

static bool op_empty(machine *m, int argument, tl_error *error) {
    return push_items(m, (tl_pickle_kind)argument, NULL, 0, error);
}

/* argument: items to take from the stack. */
static bool op_short_tuple(machine *m, int argument, tl_error *error) {
    tl_pickle_value items[3];
    for (int i = argument; i-- > 0;)
        if (!pop(m, &items[i], error)) return false;
    return push_items(m, TL_PICKLE_TUPLE, items, (size_t)argument, error);
}

/* argument: what to make of everything above the mark. */
static bool op_gather(machine *m, int argument, tl_error *error) {
    tl_pickle_value *items;
    size_t count;
    if (!pop_to_mark(m, &items, &count, error)) return false;
    if (argument == TL_PICKLE_DICT && count % 2) return FAIL(m, error, "a key without a value");
    return push_items(m, (tl_pickle_kind)argument, items, count, error);
}

/* The container that lies on top of the stack. */
static tl_pickle_object *top_container(machine *m, tl_pickle_kind kind, tl_error *error) {
    if (m->depth > 0 && m->stack[m->depth - 1].kind == kind) return m->stack[m->depth - 1].object;
    fail_at(m, TL_ERROR_FORMAT, error, "expected a %s on the stack",
            kind == TL_PICKLE_LIST ? "list" : "dict");
    return NULL;
}

/* argument: the kind of container. */
static bool op_add_one(machine *m, int argument, tl_error *error) {
    tl_pickle_value items[2];
    size_t count = argument == TL_PICKLE_DICT ? 2 : 1;
    for (size_t i = count; i-- > 0;)
        if (!pop(m, &items[i], error)) return false;
    tl_pickle_object *container = top_container(m, (tl_pickle_kind)argument, error);
    return container && append_items(m, container, items, count, error);
}

static bool op_add_many(machine *m, int argument, tl_error *error) {
    tl_pickle_value *items;
    size_t count;
    if (!pop_to_mark(m, &items, &count, error)) return false;
    if (argument == TL_PICKLE_DICT && count % 2) return FAIL(m, error, "a key without a value");
    tl_pickle_object *container = top_container(m, (tl_pickle_kind)argument, error);
    return container && append_items(m, container, items, count, error);
}

static bool push_global(machine *m, const char *module, size_t module_length, const char *name,
                        size_t name_length, tl_error *error) {
    for (size_t i = 0; i < sizeof globals / sizeof globals[0]; i++) {
        const tl_pickle_global *global = &globals[i];
        if (strlen(global->module) == module_length && strlen(global->name) == name_length &&
            memcmp(global->module, module, module_length) == 0 &&
            memcmp(global->name, name, name_length) == 0)
            return push(m, (tl_pickle_value){.kind = TL_PICKLE_GLOBAL, .global = global}, error);
    }
    return FAIL_AS(m, TL_ERROR_UNSUPPORTED, error,
                   "the global '%.*s.%.*s' is not on the list of those a checkpoint needs",
                   (int)(module_length < LONGEST_GLOBAL ? module_length : LONGEST_GLOBAL), module,
                   (int)(name_length < LONGEST_GLOBAL ? name_length : LONGEST_GLOBAL), name);
}

static bool op_global(machine *m, int argument, tl_error *error) {
    (void)argument;
    const char *module, *name;
    size_t module_length, name_length;
    return take_line(m, &module, &module_length, error) &&
           take_line(m, &name, &name_length, error) &&
           push_global(m, module, module_length, name, name_length, error);
}

static bool op_stack_global(machine *m, int argument, tl_error *error) {
    (void)argument;
    tl_pickle_value module, name;
    if (!pop(m, &name, error) || !pop(m, &module, error)) return false;
    if (module.kind != TL_PICKLE_STRING || name.kind != TL_PICKLE_STRING)
        return FAIL(m, error, "expected the two strings of a global's name");
    return push_global(m, module.object->bytes, module.object->count, name.object->bytes,
                       name.object->count, error);
}

/* OrderedDict() or OrderedDict([[key, value], …]), as Python 2 wrote it. */
static bool reduce_dict(machine *m, const tl_pickle_object *arguments, tl_error *error) {
    if (!push_items(m, TL_PICKLE_DICT, NULL, 0, error)) return false;
    if (arguments->count == 0) return true;
    tl_pickle_object *dict = m->stack[m->depth - 1].object;
    if (arguments->count != 1 || arguments->items[0].kind != TL_PICKLE_LIST)
        return FAIL(m, error, "OrderedDict: expected a list of pairs");
    const tl_pickle_object *pairs = arguments->items[0].object;
    for (size_t i = 0; i < pairs->count; i++) {
        tl_pickle_value pair = pairs->items[i];
        if ((pair.kind != TL_PICKLE_LIST && pair.kind != TL_PICKLE_TUPLE) ||
            pair.object->count != 2)
            return FAIL(m, error, "OrderedDict: expected a list of pairs");
        if (!append_items(m, dict, pair.object->items, 2, error)) return false;
    }
    return true;
}

static bool op_reduce(machine *m, int argument, tl_error *error) {
    (void)argument;
    tl_pickle_value arguments, callable;
    if (!pop(m, &arguments, error) || !pop(m, &callable, error)) return false;
    if (callable.kind != TL_PICKLE_GLOBAL || arguments.kind != TL_PICKLE_TUPLE)
        return FAIL(m, error, "expected a global and its arguments on the stack");
    tl_pickle_object *given = arguments.object;
    switch (callable.global->role) {
    case TL_ROLE_ORDERED_DICT:
        return reduce_dict(m, given, error);
    case TL_ROLE_TENSOR:
        return push(m, (tl_pickle_value){.kind = TL_PICKLE_TENSOR, .object = given}, error);
    case TL_ROLE_PARAMETER: /* (data, requires_grad, hooks): its data */
        if (given->count > 0 && given->items[0].kind == TL_PICKLE_TENSOR)
            return push(m, given->items[0], error);
        return FAIL(m, error, "_rebuild_parameter: expected a tensor");
    case TL_ROLE_SIZE: /* ((2, 3),) */
        if (given->count == 1 && given->items[0].kind == TL_PICKLE_TUPLE)
            return push(m, given->items[0], error);
        return FAIL(m, error, "torch.Size: expected a tuple");
    case TL_ROLE_DEVICE:
        return push_kind(m, TL_PICKLE_OPAQUE, error);
    case TL_ROLE_STORAGE:
    case TL_ROLE_UNTYPED:
    case TL_ROLE_DTYPE:
        break;
    }
    return FAIL(m, error, "'%s.%s' may not be called", callable.global->module,
                callable.global->name);
}

/* Attributes of an OrderedDict (torch's _metadata): nothing that is needed here. */
static bool op_build(machine *m, int argument, tl_error *error) {
    (void)argument;
    tl_pickle_value state;
    return pop(m, &state, error) && top_container(m, TL_PICKLE_DICT, error);
}

static bool memorize(machine *m, uint64_t index, tl_error *error) {
    if (m->depth == 0 || m->stack[m->depth - 1].kind == TL_PICKLE_MARK)
        return FAIL(m, error, "the stack is empty");
    if (index >= MOST_MEMO)
        return FAIL_AS(m, TL_ERROR_LIMIT, error, "memo index %llu: expected less than %d",
                       (unsigned long long)index, MOST_MEMO);
    if (!reserve(m, &m->memo, &m->memo_capacity, (size_t)index + 1, error)) return false;
    for (; m->memo_count <= index; m->memo_count++)
        m->memo[m->memo_count].kind = TL_PICKLE_MARK; /* marks what was never set */
    m->memo[index] = m->stack[m->depth - 1];
    return true;
}

/* argument: bytes of the index. */
static bool op_put(machine *m, int argument, tl_error *error) {
    uint64_t index;
    return take_number(m, argument, &index, error) && memorize(m, index, error);
}

static bool op_memoize(machine *m, int argument, tl_error *error) {
    (void)argument;
    return memorize(m, m->memo_count, error);
}

static bool op_get(machine *m, int argument, tl_error *error) {
    uint64_t index;
    if (!take_number(m, argument, &index, error)) return false;
    if (index >= m->memo_count || m->memo[index].kind == TL_PICKLE_MARK)
        return FAIL(m, error, "memo entry %llu was never set", (unsigned long long)index);
    return push(m, m->memo[index], error);
}

static bool op_persistent(machine *m, int argument, tl_error *error) {
    (void)argument;
    tl_pickle_value id;
    if (!pop(m, &id, error)) return false;
    if (id.kind != TL_PICKLE_TUPLE || id.object->count == 0 ||
        !tl_pickle_is(id.object->items[0], "storage"))
        return FAIL_AS(m, TL_ERROR_UNSUPPORTED, error,
                       "a persistent id that is no storage: expected a state dict, not a whole "
                       "module");
    id.kind = TL_PICKLE_STORAGE;
    if (!reserve(m, &m->storages, &m->storage_capacity, m->storage_count + 1, error)) return false;
    m->storages[m->storage_count++] = id;
    return push(m, id, error);
}

/* Those without a function are refused by name. */
static const struct opcode {
    const char *name;
    opcode_function *run;
    int argument;
} opcodes[256] = {
    [0x80] = {"PROTO", op_protocol, 0},
    [0x95] = {"FRAME", op_frame, 0},
    ['.'] = {"STOP", op_stop, 0},
    ['0'] = {"POP", op_pop, 0},
    ['1'] = {"POP_MARK", op_pop_mark, 0},
    ['2'] = {"DUP", op_duplicate, 0},
    ['('] = {"MARK", op_plain, TL_PICKLE_MARK},
    ['N'] = {"NONE", op_plain, TL_PICKLE_NONE},
    [0x88] = {"NEWTRUE", op_bool, 1},
    [0x89] = {"NEWFALSE", op_bool, 0},
    ['K'] = {"BININT1", op_int, 1},
    ['M'] = {"BININT2", op_int, 2},
    ['J'] = {"BININT", op_int, 4},
    [0x8a] = {"LONG1", op_long, 1},
    [0x8b] = {"LONG4", op_long, 4},
    ['G'] = {"BINFLOAT", op_float, 8},
    ['U'] = {"SHORT_BINSTRING", op_string, 1},
    ['T'] = {"BINSTRING", op_string, 4},
    [0x8c] = {"SHORT_BINUNICODE", op_string, 1},
    ['X'] = {"BINUNICODE", op_string, 4},
    [0x8d] = {"BINUNICODE8", op_string, 8},
    ['C'] = {"SHORT_BINBYTES", op_string, 1},
    ['B'] = {"BINBYTES", op_string, 4},
    [0x8e] = {"BINBYTES8", op_string, 8},
    [')'] = {"EMPTY_TUPLE", op_empty, TL_PICKLE_TUPLE},
    [']'] = {"EMPTY_LIST", op_empty, TL_PICKLE_LIST},
    ['}'] = {"EMPTY_DICT", op_empty, TL_PICKLE_DICT},
    [0x85] = {"TUPLE1", op_short_tuple, 1},
    [0x86] = {"TUPLE2", op_short_tuple, 2},
    [0x87] = {"TUPLE3", op_short_tuple, 3},
    ['t'] = {"TUPLE", op_gather, TL_PICKLE_TUPLE},
    ['l'] = {"LIST", op_gather, TL_PICKLE_LIST},
    ['d'] = {"DICT", op_gather, TL_PICKLE_DICT},
    ['a'] = {"APPEND", op_add_one, TL_PICKLE_LIST},
    ['e'] = {"APPENDS", op_add_many, TL_PICKLE_LIST},
    ['s'] = {"SETITEM", op_add_one, TL_PICKLE_DICT},
    ['u'] = {"SETITEMS", op_add_many, TL_PICKLE_DICT},
    ['c'] = {"GLOBAL", op_global, 0},
    [0x93] = {"STACK_GLOBAL", op_stack_global, 0},
    ['R'] = {"REDUCE", op_reduce, 0},
    ['b'] = {"BUILD", op_build, 0},
    ['q'] = {"BINPUT", op_put, 1},
    ['r'] = {"LONG_BINPUT", op_put, 4},
    [0x94] = {"MEMOIZE", op_memoize, 0},
    ['h'] = {"BINGET", op_get, 1},
    ['j'] = {"LONG_BINGET", op_get, 4},
    ['Q'] = {"BINPERSID", op_persistent, 0},
    ['P'] = {"PERSID", NULL, 0},
    ['i'] = {"INST", NULL, 0},
    ['o'] = {"OBJ", NULL, 0},
    [0x81] = {"NEWOBJ", NULL, 0},
    [0x92] = {"NEWOBJ_EX", NULL, 0},
    [0x82] = {"EXT1", NULL, 0},
    [0x83] = {"EXT2", NULL, 0},
    [0x84] = {"EXT4", NULL, 0},
    [0x8f] = {"EMPTY_SET", NULL, 0},
    [0x90] = {"ADDITEMS", NULL, 0},
    [0x91] = {"FROZENSET", NULL, 0},
    [0x96] = {"BYTEARRAY8", NULL, 0},
    [0x97] = {"NEXT_BUFFER", NULL, 0},
    [0x98] = {"READONLY_BUFFER", NULL, 0},
    ['F'] = {"FLOAT", NULL, 0},
    ['I'] = {"INT", NULL, 0},
    ['L'] = {"LONG", NULL, 0},
    ['S'] = {"STRING", NULL, 0},
    ['V'] = {"UNICODE", NULL, 0},
    ['p'] = {"PUT", NULL, 0},
    ['g'] = {"GET", NULL, 0},
};

static bool step(machine *m, tl_error *error) {
    m->opcode = m->at;
    const unsigned char *byte;
    if (!take(m, 1, &byte, error)) return false;
    const struct opcode *opcode = &opcodes[*byte];
    if (opcode->run) return opcode->run(m, opcode->argument, error);
    return FAIL_AS(m, TL_ERROR_UNSUPPORTED, error,
                   "the opcode 0x%02x (%s) is not on the list of those a checkpoint needs", *byte,
                   opcode->name ? opcode->name : "no opcode at all");
}

static bool finish(machine *m, tl_pickle *pickle, tl_error *error) {
    *pickle = (tl_pickle){.storage_count = m->storage_count, .end = m->at};
    if (!pop(m, &pickle->value, error)) return false;
    if (m->depth > 0) return FAIL(m, error, "%zu values left on the stack", m->depth);
    if (m->storage_count == 0) return true;
    size_t bytes = m->storage_count * sizeof *m->storages;
    pickle->storages = allocate(m, bytes, error);
    if (pickle->storages) memcpy(pickle->storages, m->storages, bytes);
    return pickle->storages;
}

bool tl_unpickle(const unsigned char *data, size_t size, size_t begin, const char *where,
                 tl_arena *arena, tl_pickle *pickle, tl_error *error) {
    machine m = {.data = data, .size = size, .at = begin, .where = where, .arena = arena};
    bool good = true;
    while (good && !m.stopped)
        good = step(&m, error);
    good = good && finish(&m, pickle, error);
    free(m.stack);
    free(m.memo);
    free(m.storages);
    return good;
}

bool tl_pickle_is(tl_pickle_value value, const char *text) {
    return value.kind == TL_PICKLE_STRING && value.object->count == strlen(text) &&
           memcmp(value.object->bytes, text, value.object->count) == 0;
}

const tl_pickle_value *tl_pickle_get(tl_pickle_value dict, const char *key) {
    if (dict.kind != TL_PICKLE_DICT) return NULL;
    for (size_t i = dict.object->count; i >= 2; i -= 2)
        if (tl_pickle_is(dict.object->items[i - 2], key)) return &dict.object->items[i - 1];
    return NULL;
}
