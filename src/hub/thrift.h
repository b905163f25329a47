/* Thrift's compact protocol, read from untrusted bytes. Failure is sticky: read on, check `failed`
 * at the end. Format: https://github.com/apache/thrift (doc/specs/thrift-compact-protocol.md). */
#ifndef TL_HUB_THRIFT_H
#define TL_HUB_THRIFT_H

#include "base/base.h"

typedef enum tl_thrift_type {
    TL_THRIFT_STOP = 0,
    TL_THRIFT_TRUE = 1, /* in a field header the boolean itself; in a list "boolean" */
    TL_THRIFT_FALSE = 2,
    TL_THRIFT_BYTE = 3,
    TL_THRIFT_I16 = 4,
    TL_THRIFT_I32 = 5,
    TL_THRIFT_I64 = 6,
    TL_THRIFT_DOUBLE = 7,
    TL_THRIFT_BINARY = 8,
    TL_THRIFT_LIST = 9,
    TL_THRIFT_SET = 10,
    TL_THRIFT_MAP = 11,
    TL_THRIFT_STRUCT = 12,
} tl_thrift_type;

typedef struct tl_thrift {
    const unsigned char *at, *end;
    bool failed;
} tl_thrift;

/* The field at hand of a struct; start with {0}. */
typedef struct tl_thrift_field {
    int id;
    tl_thrift_type type;
} tl_thrift_field;

/* Moves to the next field of the struct being read; false at its end or after a failure. The
 * field's value must then be read or skipped. */
bool tl_thrift_next(tl_thrift *thrift, tl_thrift_field *field);

/* Values of the field at hand; a value of another type fails. */
int64_t tl_thrift_integer(tl_thrift *thrift, tl_thrift_field field); /* byte, i16, i32, i64 */
bool tl_thrift_boolean(tl_thrift *thrift, tl_thrift_field field);
const char *tl_thrift_binary(tl_thrift *thrift, tl_thrift_field field, size_t *length);

/* Is the field a struct? Fails when not. Its fields are then read with a tl_thrift_field of their
 * own. */
bool tl_thrift_enter(tl_thrift *thrift, tl_thrift_field field);

/* The number of elements of a list of structs; 0 after a failure. At most one per byte left. */
size_t tl_thrift_structs(tl_thrift *thrift, tl_thrift_field field);

/* Passes over the value of the field at hand. */
void tl_thrift_skip(tl_thrift *thrift, tl_thrift_field field);

/* An unsigned LEB128 number from [*at, end), as Parquet's encodings use it too. False when it does
 * not end there or does not fit 64 bits. */
bool tl_read_varint(const unsigned char **at, const unsigned char *end, uint64_t *value);

#endif
