/* unpickle: a pickle of PyTorch's → plain values, executing nothing. Private to this room.
 *
 * Opcodes and globals outside two fixed lists are errors that name them. Tensors and storages come
 * out as the arguments that would have built them, for the caller to check. Nothing recurses; the
 * memory of all values together is bounded.
 * Format: Lib/pickletools.py of CPython; what torch.save writes: torch/serialization.py. */
#ifndef TL_CHECKPOINT_UNPICKLE_H
#define TL_CHECKPOINT_UNPICKLE_H

#include "base/base.h"

typedef enum tl_pickle_kind {
    TL_PICKLE_NONE,
    TL_PICKLE_BOOL,
    TL_PICKLE_INT,     /* a whole number that fits 64 bits */
    TL_PICKLE_LONG,    /* a longer one: its little-endian bytes */
    TL_PICKLE_FLOAT,   /* its value is not kept: nothing here asks for it */
    TL_PICKLE_STRING,  /* bytes, UTF-8 if honest */
    TL_PICKLE_TUPLE,   /* items */
    TL_PICKLE_LIST,    /* items */
    TL_PICKLE_DICT,    /* items: key, value, key, value … in order of insertion */
    TL_PICKLE_GLOBAL,  /* one of the list */
    TL_PICKLE_STORAGE, /* items: what persistent_load would have got */
    TL_PICKLE_TENSOR,  /* items: the arguments of _rebuild_tensor_v2 (or v3) */
    TL_PICKLE_OPAQUE,  /* something harmless that nothing here asks for */
    TL_PICKLE_MARK,    /* only on the stack */
} tl_pickle_kind;

/* What a global on the list means. */
typedef enum tl_pickle_role {
    TL_ROLE_ORDERED_DICT,
    TL_ROLE_TENSOR,
    TL_ROLE_PARAMETER,
    TL_ROLE_STORAGE, /* a storage class of `dtype` */
    TL_ROLE_UNTYPED, /* the storage class of plain bytes */
    TL_ROLE_DTYPE,   /* a dtype object */
    TL_ROLE_SIZE,
    TL_ROLE_DEVICE,
} tl_pickle_role;

typedef struct tl_pickle_global {
    const char *module, *name;
    tl_pickle_role role;
    tl_dtype dtype; /* for storages and dtypes */
} tl_pickle_global;

typedef struct tl_pickle_object tl_pickle_object;

typedef struct tl_pickle_value {
    tl_pickle_kind kind;
    union {
        int64_t integer; /* BOOL, INT */
        tl_pickle_object *object;
        const tl_pickle_global *global;
    };
} tl_pickle_value;

struct tl_pickle_object {
    const char *bytes; /* STRING, LONG: within the pickle, not NUL-terminated */
    tl_pickle_value *items;
    size_t count; /* of bytes or items */
    size_t capacity;
};

typedef struct tl_pickle {
    tl_pickle_value value;     /* what it all comes to */
    tl_pickle_value *storages; /* every STORAGE met, in order */
    size_t storage_count;
    size_t end; /* offset of the byte after the pickle */
} tl_pickle;

/* Reads the pickle that starts at `begin`. `data` and `arena` must outlive the values. `where` is
 * how messages name it. */
bool tl_unpickle(const unsigned char *data, size_t size, size_t begin, const char *where,
                 tl_arena *arena, tl_pickle *pickle, tl_error *error);

/* Is it the string `text`? */
bool tl_pickle_is(tl_pickle_value value, const char *text);

/* The value of a string key in a DICT (the last where it occurs twice), or NULL. */
const tl_pickle_value *tl_pickle_get(tl_pickle_value dict, const char *key);

#endif
