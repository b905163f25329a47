#include "tokenizer/protobuf.h"

#include <string.h>

static bool read_varint(tl_protobuf *message, uint64_t *value) {
    *value = 0;
    for (unsigned shift = 0; shift < 64 && message->at < message->end; shift += 7) {
        unsigned char byte = *message->at++;
        *value |= (uint64_t)(byte & 0x7f) << shift;
        if (!(byte & 0x80)) return true;
    }
    return false;
}

static bool read_fixed(tl_protobuf *message, size_t size, uint64_t *value) {
    if ((size_t)(message->end - message->at) < size) return false;
    *value = 0;
    for (size_t i = 0; i < size; i++)
        *value |= (uint64_t)message->at[i] << (8 * i);
    message->at += size;
    return true;
}

bool tl_protobuf_next(tl_protobuf *message, tl_protobuf_field *field, bool *done) {
    uint64_t tag, length;
    *done = message->at == message->end;
    if (*done || !read_varint(message, &tag) || tag >> 3 == 0 || tag >> 3 > UINT32_MAX)
        return false;
    *field = (tl_protobuf_field){.number = (uint32_t)(tag >> 3), .wire = tag & 7};
    switch (field->wire) {
    case 0:
        return read_varint(message, &field->integer);
    case 1:
        return read_fixed(message, 8, &field->integer);
    case 5:
        return read_fixed(message, 4, &field->integer);
    case 2:
        if (!read_varint(message, &length) || length > (size_t)(message->end - message->at))
            return false;
        field->bytes = (const char *)message->at;
        field->length = length;
        message->at += length;
        return true;
    }
    return false;
}

float tl_protobuf_float(const tl_protobuf_field *field) {
    uint32_t bits = (uint32_t)field->integer;
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}
