#include "support/torch_file.h"

#include <stdlib.h>
#include <string.h>
#include <zlib.h>

static void put(tl_buffer *out, int width, uint64_t number) {
    for (int i = 0; i < width; i++)
        tl_buffer_append_byte(out, (char)(number >> 8 * i));
}

void pickle_raw(tl_buffer *pickle, const char *opcodes, size_t length) {
    tl_buffer_append(pickle, opcodes, length);
}

void pickle_string(tl_buffer *pickle, const char *text) {
    tl_buffer_append_byte(pickle, 'X');
    put(pickle, 4, strlen(text));
    tl_buffer_append_string(pickle, text);
}

void pickle_int(tl_buffer *pickle, int64_t number) {
    PICKLE(pickle, "\x8a\x08");
    put(pickle, 8, (uint64_t)number);
}

void pickle_global(tl_buffer *pickle, const char *module, const char *name) {
    tl_buffer_append_format(pickle, "c%s\n%s\n", module, name);
}

void pickle_ints(tl_buffer *pickle, int count, const int64_t *numbers) {
    PICKLE(pickle, "(");
    for (int i = 0; i < count; i++)
        pickle_int(pickle, numbers[i]);
    PICKLE(pickle, "t");
}

void pickle_put_tensor(tl_buffer *pickle, const pickle_tensor *t) {
    pickle_global(pickle, "torch._utils", "_rebuild_tensor_v2");
    PICKLE(pickle, "((");
    pickle_string(pickle, "storage");
    pickle_global(pickle, "torch", t->storage);
    pickle_string(pickle, t->key);
    pickle_string(pickle, "cpu");
    pickle_int(pickle, t->elements);
    if (t->legacy && t->view_elements) {
        PICKLE(pickle, "(");
        pickle_string(pickle, "view");
        pickle_int(pickle, t->view_offset);
        pickle_int(pickle, t->view_elements);
        PICKLE(pickle, "t");
    } else if (t->legacy) {
        PICKLE(pickle, "N");
    }
    PICKLE(pickle, "tQ");
    pickle_int(pickle, t->offset);
    pickle_ints(pickle, t->rank, t->shape);
    pickle_ints(pickle, t->rank, t->strides);
    PICKLE(pickle, "\x89");
    pickle_global(pickle, "collections", "OrderedDict");
    PICKLE(pickle, ")RtR");
}

static tl_buffer deflated(const void *data, size_t size) {
    tl_buffer out = {0};
    z_stream stream = {.next_in = (Bytef *)(uintptr_t)data, .avail_in = (uInt)size};
    deflateInit2(&stream, 9, Z_DEFLATED, -MAX_WBITS, 9, Z_DEFAULT_STRATEGY);
    tl_buffer_reserve(&out, deflateBound(&stream, size) + 1);
    stream.next_out = (Bytef *)out.data;
    stream.avail_out = (uInt)(out.capacity - 1);
    if (deflate(&stream, Z_FINISH) != Z_STREAM_END) abort();
    out.length = stream.total_out;
    deflateEnd(&stream);
    return out;
}

void zip_add(test_zip *zip, const char *name, const void *data, size_t size, zip_twist twist) {
    tl_buffer packed = {0};
    if (twist.deflate)
        packed = deflated(data, size);
    else
        tl_buffer_append(&packed, data, size);
    uint64_t declared = twist.declared_size ? (uint64_t)twist.declared_size : size;
    uint32_t crc = (uint32_t)crc32_z(0, data, size) ^ twist.crc_change;
    unsigned flags = twist.flags | (twist.descriptor ? 8u : 0);
    unsigned method = twist.method + (twist.deflate ? 8u : 0);
    const char *local_name = twist.local_name ? twist.local_name : name;
    size_t header = zip->file.length;

    PICKLE(&zip->file, "PK\3\4\0\0");
    put(&zip->file, 2, flags);
    put(&zip->file, 2, method);
    put(&zip->file, 4, 0);
    put(&zip->file, 4, twist.descriptor ? 0 : crc);
    put(&zip->file, 4, twist.descriptor ? 0 : packed.length);
    put(&zip->file, 4, twist.descriptor ? 0 : declared);
    put(&zip->file, 2, strlen(local_name));
    put(&zip->file, 2, twist.padding ? twist.padding + 4 : 0);
    tl_buffer_append_string(&zip->file, local_name);
    if (twist.padding) {
        PICKLE(&zip->file, "FB");
        put(&zip->file, 2, twist.padding);
        for (size_t i = 0; i < twist.padding; i++)
            tl_buffer_append_byte(&zip->file, 'Z');
    }
    tl_buffer_append(&zip->file, packed.data, packed.length);
    if (twist.descriptor) {
        PICKLE(&zip->file, "PK\7\10");
        put(&zip->file, 4, crc);
        put(&zip->file, 4, packed.length);
        put(&zip->file, 4, declared);
    }

    PICKLE(&zip->directory, "PK\1\2\0\0\0\0");
    put(&zip->directory, 2, flags);
    put(&zip->directory, 2, method);
    put(&zip->directory, 4, 0);
    put(&zip->directory, 4, crc);
    put(&zip->directory, 4, packed.length);
    put(&zip->directory, 4, declared);
    put(&zip->directory, 2, strlen(name));
    put(&zip->directory, 8, 0);
    put(&zip->directory, 4, 0);
    put(&zip->directory, 4, (uint64_t)((int64_t)header + twist.header_shift));
    tl_buffer_append_string(&zip->directory, name);
    zip->count++;
    tl_buffer_free(&packed);
}

tl_buffer zip_finish(test_zip *zip, bool zip64) {
    tl_buffer *file = &zip->file;
    size_t offset = file->length, size = zip->directory.length, count = (size_t)zip->count;
    tl_buffer_append(file, zip->directory.data, size);
    if (zip64) {
        size_t record = file->length;
        PICKLE(file, "PK\6\6");
        put(file, 8, 44);
        put(file, 4, 0);
        put(file, 8, 0);
        put(file, 8, count);
        put(file, 8, count);
        put(file, 8, size);
        put(file, 8, offset);
        PICKLE(file, "PK\6\7\0\0\0\0");
        put(file, 8, record);
        put(file, 4, 1);
    }
    PICKLE(file, "PK\5\6\0\0\0\0");
    put(file, 2, zip64 ? 0xffff : count);
    put(file, 2, zip64 ? 0xffff : count);
    put(file, 4, zip64 ? 0xffffffff : size);
    put(file, 4, zip64 ? 0xffffffff : offset);
    put(file, 2, 0);
    tl_buffer_free(&zip->directory);
    tl_buffer whole = *file;
    *zip = (test_zip){0};
    if (whole.failed) abort();
    return whole;
}

void legacy_preamble(tl_buffer *file) {
    PICKLE(file, "\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.");
    PICKLE(file, "\x80\x02M\xe9\x03.");
    PICKLE(file, "\x80\x02}");
    pickle_string(file, "little_endian");
    PICKLE(file, "\x88s.");
}

void legacy_storage(tl_buffer *file, int64_t elements, const void *data, size_t size) {
    put(file, 8, (uint64_t)elements);
    tl_buffer_append(file, data, size);
}
