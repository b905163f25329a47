#include "hub/thrift.h"

enum { DEEPEST = 24 };

bool tl_read_varint(const unsigned char **at, const unsigned char *end, uint64_t *value) {
    *value = 0;
    for (int shift = 0; shift < 64 && *at < end; shift += 7) {
        unsigned char byte = *(*at)++;
        if (shift == 63 && byte > 1) return false;
        *value |= (uint64_t)(byte & 0x7f) << shift;
        if (!(byte & 0x80)) return true;
    }
    return false;
}

static uint64_t read_varint(tl_thrift *thrift) {
    uint64_t value;
    if (!thrift->failed && tl_read_varint(&thrift->at, thrift->end, &value)) return value;
    thrift->failed = true;
    return 0;
}

static int64_t read_zigzag(tl_thrift *thrift) {
    uint64_t value = read_varint(thrift);
    return (int64_t)(value >> 1) ^ -(int64_t)(value & 1);
}

static unsigned read_byte(tl_thrift *thrift) {
    if (!thrift->failed && thrift->at < thrift->end) return *thrift->at++;
    thrift->failed = true;
    return 0;
}

static const unsigned char *read_bytes(tl_thrift *thrift, uint64_t length) {
    if (!thrift->failed && length <= (uint64_t)(thrift->end - thrift->at)) {
        thrift->at += length;
        return thrift->at - length;
    }
    thrift->failed = true;
    return NULL;
}

bool tl_thrift_next(tl_thrift *thrift, tl_thrift_field *field) {
    unsigned head = read_byte(thrift);
    field->type = (tl_thrift_type)(head & 15);
    if (thrift->failed || field->type == TL_THRIFT_STOP) return false;
    int64_t id = head >> 4 ? field->id + (int64_t)(head >> 4) : read_zigzag(thrift);
    if (id < 0 || id > INT16_MAX || field->type > TL_THRIFT_STRUCT) thrift->failed = true;
    field->id = (int)id;
    return !thrift->failed;
}

int64_t tl_thrift_integer(tl_thrift *thrift, tl_thrift_field field) {
    if (field.type == TL_THRIFT_BYTE) return (int8_t)read_byte(thrift);
    if (field.type >= TL_THRIFT_I16 && field.type <= TL_THRIFT_I64) return read_zigzag(thrift);
    thrift->failed = true;
    return 0;
}

bool tl_thrift_boolean(tl_thrift *thrift, tl_thrift_field field) {
    if (field.type != TL_THRIFT_TRUE && field.type != TL_THRIFT_FALSE) thrift->failed = true;
    return field.type == TL_THRIFT_TRUE;
}

const char *tl_thrift_binary(tl_thrift *thrift, tl_thrift_field field, size_t *length) {
    *length = 0;
    if (field.type != TL_THRIFT_BINARY) thrift->failed = true;
    uint64_t size = read_varint(thrift);
    const unsigned char *bytes = read_bytes(thrift, size);
    if (bytes) *length = (size_t)size;
    return (const char *)bytes;
}

bool tl_thrift_enter(tl_thrift *thrift, tl_thrift_field field) {
    if (field.type != TL_THRIFT_STRUCT) thrift->failed = true;
    return !thrift->failed;
}

/* The head of a list: element type and count. Every element takes a byte at least, so the count
 * cannot exceed the bytes left. */
static uint64_t read_list(tl_thrift *thrift, tl_thrift_type *type) {
    unsigned head = read_byte(thrift);
    *type = (tl_thrift_type)(head & 15);
    uint64_t count = head >> 4 == 15 ? read_varint(thrift) : head >> 4;
    if (count > (uint64_t)(thrift->end - thrift->at)) thrift->failed = true;
    return thrift->failed ? 0 : count;
}

size_t tl_thrift_structs(tl_thrift *thrift, tl_thrift_field field) {
    tl_thrift_type type = TL_THRIFT_STOP;
    uint64_t count = field.type == TL_THRIFT_LIST ? read_list(thrift, &type) : 0;
    if (type != TL_THRIFT_STRUCT && (count > 0 || field.type != TL_THRIFT_LIST))
        thrift->failed = true;
    return thrift->failed ? 0 : (size_t)count;
}

static void skip_value(tl_thrift *thrift, tl_thrift_type type, bool in_list, int depth);

static void skip_list(tl_thrift *thrift, int depth) {
    tl_thrift_type type;
    uint64_t count = read_list(thrift, &type);
    for (uint64_t i = 0; i < count && !thrift->failed; i++)
        skip_value(thrift, type, true, depth + 1);
}

static void skip_map(tl_thrift *thrift, int depth) {
    uint64_t count = read_varint(thrift);
    if (count == 0) return;
    unsigned types = read_byte(thrift);
    if (count > (uint64_t)(thrift->end - thrift->at)) thrift->failed = true;
    for (uint64_t i = 0; i < count && !thrift->failed; i++) {
        skip_value(thrift, (tl_thrift_type)(types >> 4), true, depth + 1);
        skip_value(thrift, (tl_thrift_type)(types & 15), true, depth + 1);
    }
}

static void skip_struct(tl_thrift *thrift, int depth) {
    tl_thrift_field field = {0};
    while (tl_thrift_next(thrift, &field))
        skip_value(thrift, field.type, false, depth + 1);
}

static void skip_value(tl_thrift *thrift, tl_thrift_type type, bool in_list, int depth) {
    if (depth > DEEPEST) thrift->failed = true;
    if (thrift->failed) return;
    switch (type) {
    case TL_THRIFT_TRUE:
    case TL_THRIFT_FALSE:
        if (in_list) read_byte(thrift);
        break;
    case TL_THRIFT_BYTE:
        read_byte(thrift);
        break;
    case TL_THRIFT_I16:
    case TL_THRIFT_I32:
    case TL_THRIFT_I64:
        read_varint(thrift);
        break;
    case TL_THRIFT_DOUBLE:
        read_bytes(thrift, 8);
        break;
    case TL_THRIFT_BINARY:
        read_bytes(thrift, read_varint(thrift));
        break;
    case TL_THRIFT_LIST:
    case TL_THRIFT_SET:
        skip_list(thrift, depth);
        break;
    case TL_THRIFT_MAP:
        skip_map(thrift, depth);
        break;
    case TL_THRIFT_STRUCT:
        skip_struct(thrift, depth);
        break;
    default:
        thrift->failed = true;
    }
}

void tl_thrift_skip(tl_thrift *thrift, tl_thrift_field field) {
    skip_value(thrift, field.type, false, 0);
}
