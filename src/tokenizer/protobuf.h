/* A cursor over Protocol Buffers' wire format, for the few fields that are read here. */
#ifndef TL_TOKENIZER_PROTOBUF_H
#define TL_TOKENIZER_PROTOBUF_H

#include "base/base.h"

typedef struct tl_protobuf {
    const unsigned char *at, *end;
} tl_protobuf;

/* One field. Of the values the one that the wire type has is set. */
typedef struct tl_protobuf_field {
    uint32_t number;
    uint32_t wire;     /* 0 varint, 1 eight bytes, 2 bytes, 5 four bytes */
    uint64_t integer;  /* wire 0, 1, 5 */
    const char *bytes; /* wire 2 */
    size_t length;     /* wire 2 */
} tl_protobuf_field;

/* Reads the next field; false with *done at the end, false alone when it is malformed. */
bool tl_protobuf_next(tl_protobuf *message, tl_protobuf_field *field, bool *done);

/* A four-byte field as a float. */
float tl_protobuf_float(const tl_protobuf_field *field);

#endif
