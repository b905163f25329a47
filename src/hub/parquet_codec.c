/* Decompression of Parquet pages. */
#include "hub/parquet_parts.h"
#include "hub/thrift.h"

#include <string.h>
#include <zlib.h>
#include <zstd.h>

/* Copies a back reference byte by byte where it overlaps what it writes. */
static void copy_back(unsigned char *out, size_t offset, size_t length) {
    const unsigned char *from = out - offset;
    if (offset >= length) {
        memcpy(out, from, length);
        return;
    }
    for (size_t i = 0; i < length; i++)
        out[i] = from[i];
}

bool tl_snappy_decode(const unsigned char *in, size_t in_length, unsigned char *out,
                      size_t out_length) {
    const unsigned char *end = in + in_length;
    size_t done = 0;
    uint64_t total;
    if (!tl_read_varint(&in, end, &total) || total != out_length) return false;
    while (in < end) {
        unsigned tag = *in++, kind = tag & 3;
        /* Bytes after the tag: of a long literal's length, or of a reference's offset. */
        size_t extra = kind == 3 ? 4 : kind == 0 ? (tag >> 2 >= 60 ? (tag >> 2) - 59 : 0) : kind;
        if ((size_t)(end - in) < extra) return false;
        uint64_t number = 0;
        for (size_t i = 0; i < extra; i++)
            number |= (uint64_t)in[i] << (8 * i);
        in += extra;
        if (kind == 0) {
            uint64_t length = (extra ? number : tag >> 2) + 1;
            if (length > (size_t)(end - in) || length > out_length - done) return false;
            memcpy(out + done, in, length);
            in += length;
            done += length;
            continue;
        }
        size_t length = kind == 1 ? (tag >> 2 & 7) + 4 : (tag >> 2) + 1;
        uint64_t offset = kind == 1 ? number | (uint64_t)(tag >> 5) << 8 : number;
        if (offset == 0 || offset > done || length > out_length - done) return false;
        copy_back(out + done, (size_t)offset, length);
        done += length;
    }
    return done == out_length;
}

static bool stored(const unsigned char *in, size_t in_length, unsigned char *out,
                   size_t out_length) {
    if (in_length != out_length) return false;
    if (in_length) memcpy(out, in, in_length);
    return true;
}

/* One or more gzip members (or zlib streams), one after the other. */
static bool gunzip(const unsigned char *in, size_t in_length, unsigned char *out,
                   size_t out_length) {
    z_stream stream = {
        .next_in = (unsigned char *)in,
        .avail_in = (uInt)in_length,
        .next_out = out,
        .avail_out = (uInt)out_length,
    };
    if (inflateInit2(&stream, 15 + 32) != Z_OK) return false;
    int status;
    do {
        status = inflate(&stream, Z_FINISH);
    } while (status == Z_STREAM_END && stream.avail_in > 0 && inflateReset(&stream) == Z_OK);
    inflateEnd(&stream);
    return status == Z_STREAM_END && stream.avail_in == 0 && stream.avail_out == 0;
}

static bool unzstd(const unsigned char *in, size_t in_length, unsigned char *out,
                   size_t out_length) {
    return ZSTD_decompress(out, out_length, in, in_length) == out_length;
}

static const struct {
    const char *name;
    bool (*decompress)(const unsigned char *in, size_t in_length, unsigned char *out,
                       size_t out_length);
} codecs[] = {
    {"UNCOMPRESSED", stored}, {"SNAPPY", tl_snappy_decode},
    {"GZIP", gunzip},         {"LZO", NULL},
    {"BROTLI", NULL},         {"LZ4", NULL},
    {"ZSTD", unzstd},         {"LZ4_RAW", NULL},
};

bool tl_parquet_decompress(int codec, const unsigned char *in, size_t in_length, unsigned char *out,
                           size_t out_length, const char *where, tl_error *error) {
    size_t count = sizeof codecs / sizeof *codecs;
    const char *name = codec >= 0 && (size_t)codec < count ? codecs[codec].name : "unknown";
    if (codec < 0 || (size_t)codec >= count || !codecs[codec].decompress)
        return tl_fail(error, TL_ERROR_UNSUPPORTED,
                       "%s: codec %s (%d): expected none, snappy, gzip or zstd", where, name,
                       codec);
    if (in_length > TL_PARQUET_PAGE_LIMIT || out_length > TL_PARQUET_PAGE_LIMIT)
        return tl_fail(error, TL_ERROR_LIMIT, "%s: a page of %zu bytes: expected at most %d", where,
                       out_length, TL_PARQUET_PAGE_LIMIT);
    if (codecs[codec].decompress(in, in_length, out, out_length)) return true;
    return tl_fail(error, TL_ERROR_FORMAT, "%s: a page does not decompress (%s) to its %zu bytes",
                   where, name, out_length);
}
