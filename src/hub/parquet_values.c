/* The encodings of Parquet values, each read one value at a time.
 * Format: https://parquet.apache.org/docs/file-format/data-pages/encodings/ */
#include "hub/parquet_parts.h"
#include "hub/thrift.h"

#include <stdlib.h>
#include <string.h>

/* ---- runs and bit packing
 * ------------------------------------------------------------------------------------------- */

/* `width` (≤ 64) bits from bit `offset` of [at, end), least significant first; false past the end.
 */
static bool read_bits(const unsigned char *at, const unsigned char *end, uint64_t offset,
                      unsigned width, uint64_t *value) {
    uint64_t size = (uint64_t)(end - at);
    *value = 0;
    if (width == 0) return true;
    if ((offset + width + 7) / 8 > size) return false;
    const unsigned char *from = at + offset / 8;
    unsigned skip = offset % 8, got = 0;
    for (; got < width + skip; got += 8) {
        uint64_t byte = *from++;
        if (got >= skip)
            *value |= byte << (got - skip);
        else
            *value |= byte >> (skip - got);
    }
    if (width < 64) *value &= ((uint64_t)1 << width) - 1;
    return true;
}

void tl_rle_start(tl_rle *rle, const unsigned char *at, const unsigned char *end, int width) {
    *rle = (tl_rle){.at = at, .end = end, .width = width};
}

static bool start_run(tl_rle *rle) {
    uint64_t head;
    if (!tl_read_varint(&rle->at, rle->end, &head) || head >> 1 == 0 || head >> 32) return false;
    rle->packed = head & 1;
    rle->left = rle->packed ? (head >> 1) * 8 : head >> 1;
    rle->bit = 0;
    if (rle->packed) return true;
    int bytes = (rle->width + 7) / 8;
    if (rle->end - rle->at < bytes) return false;
    rle->value = 0;
    for (int i = 0; i < bytes; i++)
        rle->value |= (uint32_t)*rle->at++ << (8 * i);
    return rle->width == 32 || rle->value >> rle->width == 0;
}

bool tl_rle_next(tl_rle *rle, uint32_t *value) {
    if (rle->left == 0 && !start_run(rle)) return false;
    rle->left--;
    *value = rle->value;
    if (!rle->packed) return true;
    uint64_t bits;
    if (!read_bits(rle->at, rle->end, rle->bit, (unsigned)rle->width, &bits)) return false;
    rle->bit += (unsigned)rle->width;
    rle->at += rle->bit / 8;
    rle->bit %= 8;
    *value = (uint32_t)bits;
    return true;
}

/* ---- deltas
 * ------------------------------------------------------------------------------------------- */

static bool read_zigzag(const unsigned char **at, const unsigned char *end, uint64_t *value) {
    if (!tl_read_varint(at, end, value)) return false;
    *value = *value >> 1 ^ (~(*value & 1) + 1);
    return true;
}

bool tl_delta_start(tl_delta *delta, const unsigned char *at, const unsigned char *end,
                    uint64_t most) {
    uint64_t block;
    *delta = (tl_delta){.at = at, .end = end};
    if (!tl_read_varint(&delta->at, end, &block) ||
        !tl_read_varint(&delta->at, end, &delta->miniblocks) ||
        !tl_read_varint(&delta->at, end, &delta->left) ||
        !read_zigzag(&delta->at, end, &delta->value))
        return false;
    if (block == 0 || block > 1 << 20 || delta->miniblocks == 0 || delta->miniblocks > block)
        return false;
    delta->per_miniblock = block / delta->miniblocks;
    delta->miniblock = delta->miniblocks; /* no block at hand yet */
    return block % delta->miniblocks == 0 && delta->left <= most;
}

static bool start_block(tl_delta *delta) {
    if (!read_zigzag(&delta->at, delta->end, &delta->least)) return false;
    if ((uint64_t)(delta->end - delta->at) < delta->miniblocks) return false;
    delta->widths = delta->at;
    delta->at += delta->miniblocks;
    delta->miniblock = 0;
    delta->index = 0;
    delta->bits = 0;
    return true;
}

/* Moves past a miniblock that has been read to its end. */
static bool end_miniblock(tl_delta *delta) {
    uint64_t bytes = (delta->per_miniblock * delta->widths[delta->miniblock] + 7) / 8;
    /* The last one of a page may be cut where its values end. */
    uint64_t here = (uint64_t)(delta->end - delta->at);
    if (bytes > here && delta->left > 0) return false;
    delta->at += bytes < here ? bytes : here;
    delta->miniblock++;
    delta->index = 0;
    delta->bits = 0;
    return true;
}

bool tl_delta_next(tl_delta *delta, int64_t *value) {
    if (delta->left == 0) return false;
    delta->left--;
    if (!delta->started) {
        delta->started = true;
        *value = (int64_t)delta->value;
        return true;
    }
    if (delta->miniblock == delta->miniblocks && !start_block(delta)) return false;
    unsigned width = delta->widths[delta->miniblock];
    uint64_t bits;
    if (width > 64 || !read_bits(delta->at, delta->end, delta->bits, width, &bits)) return false;
    delta->bits += width;
    delta->value += delta->least + bits;
    *value = (int64_t)delta->value;
    if (++delta->index < delta->per_miniblock && delta->left > 0) return true;
    return end_miniblock(delta);
}

/* The place after a run of deltas, which holds exactly as many as its head says. */
static const unsigned char *after_deltas(tl_delta delta) {
    int64_t value;
    while (delta.left > 0)
        if (!tl_delta_next(&delta, &value)) return NULL;
    return delta.at;
}

/* ---- PLAIN
 * ------------------------------------------------------------------------------------------- */

static uint32_t load32(const unsigned char *at) {
    return at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}

static uint64_t load64(const unsigned char *at) {
    return load32(at) | (uint64_t)load32(at + 4) << 32;
}

/* Bytes of a fixed-width type; 0 for the others. */
static size_t width_of(tl_parquet_type type) {
    switch (type) {
    case TL_PARQUET_INT32:
    case TL_PARQUET_FLOAT:
        return 4;
    case TL_PARQUET_INT64:
    case TL_PARQUET_DOUBLE:
        return 8;
    default:
        return 0;
    }
}

static void load_fixed(tl_parquet_type type, const unsigned char *at, tl_parquet_value *value) {
    uint32_t narrow = load32(at);
    uint64_t wide = width_of(type) == 8 ? load64(at) : 0;
    float single;
    switch (type) {
    case TL_PARQUET_INT32:
        value->integer = (int32_t)narrow;
        break;
    case TL_PARQUET_INT64:
        value->integer = (int64_t)wide;
        break;
    case TL_PARQUET_FLOAT:
        memcpy(&single, &narrow, sizeof single);
        value->real = (double)single;
        break;
    default:
        memcpy(&value->real, &wide, sizeof value->real);
        break;
    }
}

static bool next_plain_fixed(tl_parquet_values *values, tl_parquet_value *value) {
    size_t width = width_of(values->type);
    if ((size_t)(values->end - values->at) < width) return false;
    load_fixed(values->type, values->at, value);
    values->at += width;
    return true;
}

static bool next_plain_boolean(tl_parquet_values *values, tl_parquet_value *value) {
    if (values->at == values->end) return false;
    value->integer = *values->at >> values->bit & 1;
    values->bit = (values->bit + 1) % 8;
    values->at += values->bit == 0;
    return true;
}

static bool next_plain_bytes(tl_parquet_values *values, tl_parquet_value *value) {
    if (values->end - values->at < 4) return false;
    value->length = load32(values->at);
    values->at += 4;
    if ((size_t)(values->end - values->at) < value->length) return false;
    value->bytes = (const char *)values->at;
    values->at += value->length;
    return true;
}

static tl_parquet_decoder *plain_decoder(tl_parquet_type type) {
    return type == TL_PARQUET_BOOLEAN      ? next_plain_boolean
           : type == TL_PARQUET_BYTE_ARRAY ? next_plain_bytes
                                           : next_plain_fixed;
}

/* ---- dictionary
 * ------------------------------------------------------------------------------------------- */

bool tl_parquet_dictionary_start(tl_parquet_dictionary *dictionary, tl_parquet_type type,
                                 unsigned char *data, size_t size, uint32_t count,
                                 const char *where, tl_error *error) {
    *dictionary = (tl_parquet_dictionary){data, size, count, NULL, type};
    size_t width = width_of(type);
    bool good = width > 0 ? size / width >= count : type == TL_PARQUET_BYTE_ARRAY;
    if (good && type == TL_PARQUET_BYTE_ARRAY) {
        good = size / 4 >= count;
        if (good && count > 0) {
            dictionary->offsets = malloc(count * sizeof *dictionary->offsets);
            if (!dictionary->offsets) return tl_fail_memory(error, count, "a dictionary");
        }
        size_t at = 0;
        for (uint32_t i = 0; good && i < count; i++) {
            dictionary->offsets[i] = (uint32_t)at;
            good = size - at >= 4 && size - at - 4 >= load32(data + at);
            if (good) at += 4 + load32(data + at);
        }
    }
    if (good) return true;
    return tl_fail(error, TL_ERROR_FORMAT,
                   "%s: a dictionary of %u values does not fit its %zu bytes", where, count, size);
}

void tl_parquet_dictionary_free(tl_parquet_dictionary *dictionary) {
    free(dictionary->data);
    free(dictionary->offsets);
    *dictionary = (tl_parquet_dictionary){0};
}

static bool next_dictionary(tl_parquet_values *values, tl_parquet_value *value) {
    const tl_parquet_dictionary *dictionary = values->dictionary;
    uint32_t index;
    if (!tl_rle_next(&values->rle, &index) || index >= dictionary->count) return false;
    if (dictionary->type != TL_PARQUET_BYTE_ARRAY) {
        load_fixed(dictionary->type, dictionary->data + index * width_of(dictionary->type), value);
        return true;
    }
    const unsigned char *at = dictionary->data + dictionary->offsets[index];
    value->length = load32(at);
    value->bytes = (const char *)at + 4;
    return true;
}

static bool start_dictionary(tl_parquet_values *values, uint64_t most) {
    (void)most;
    if (!values->dictionary || !values->dictionary->data) return false;
    if (values->at == values->end) { /* a page of nulls alone */
        tl_rle_start(&values->rle, values->at, values->end, 0);
    } else {
        if (*values->at > 32) return false;
        tl_rle_start(&values->rle, values->at + 1, values->end, *values->at);
    }
    values->next = next_dictionary;
    return true;
}

/* ---- the others
 * ------------------------------------------------------------------------------------------- */

static bool next_rle_boolean(tl_parquet_values *values, tl_parquet_value *value) {
    uint32_t bit;
    if (!tl_rle_next(&values->rle, &bit)) return false;
    value->integer = bit;
    return true;
}

static bool next_delta(tl_parquet_values *values, tl_parquet_value *value) {
    if (!tl_delta_next(&values->lengths, &value->integer)) return false;
    /* 32-bit deltas wrap around within 32 bits. */
    if (values->type == TL_PARQUET_INT32) value->integer = (int32_t)(uint32_t)value->integer;
    return true;
}

static bool next_delta_length(tl_parquet_values *values, tl_parquet_value *value) {
    int64_t length;
    if (!tl_delta_next(&values->lengths, &length)) return false;
    if (length < 0 || length > values->end - values->at) return false;
    value->bytes = (const char *)values->at;
    value->length = (size_t)length;
    values->at += length;
    return true;
}

static bool next_delta_bytes(tl_parquet_values *values, tl_parquet_value *value) {
    int64_t prefix, length;
    if (!tl_delta_next(&values->prefixes, &prefix) || !tl_delta_next(&values->lengths, &length))
        return false;
    if (length < 0 || length > values->end - values->at) return false;
    if (prefix < 0 || (uint64_t)prefix > values->assembled.length) return false;
    values->assembled.length = (size_t)prefix;
    tl_buffer_append(&values->assembled, values->at, (size_t)length);
    values->at += length;
    value->bytes = tl_buffer_string(&values->assembled);
    value->length = values->assembled.length;
    return !values->assembled.failed && value->length <= TL_PARQUET_PAGE_LIMIT;
}

/* BYTE_STREAM_SPLIT: the first bytes of all values, then the second bytes, … */
static bool next_split(tl_parquet_values *values, tl_parquet_value *value) {
    unsigned char bytes[8];
    size_t width = width_of(values->type);
    if (values->index >= values->count) return false;
    for (size_t i = 0; i < width; i++)
        bytes[i] = values->at[i * values->count + values->index];
    values->index++;
    load_fixed(values->type, bytes, value);
    return true;
}

static bool start_plain(tl_parquet_values *values, uint64_t most) {
    (void)most;
    values->next = plain_decoder(values->type);
    return true;
}

static bool start_rle(tl_parquet_values *values, uint64_t most) {
    (void)most;
    if (values->type != TL_PARQUET_BOOLEAN || values->end - values->at < 4) return false;
    uint32_t length = load32(values->at);
    if (length > values->end - values->at - 4) return false;
    tl_rle_start(&values->rle, values->at + 4, values->at + 4 + length, 1);
    values->next = next_rle_boolean;
    return true;
}

static bool start_delta(tl_parquet_values *values, uint64_t most) {
    if (values->type != TL_PARQUET_INT32 && values->type != TL_PARQUET_INT64) return false;
    values->next = next_delta;
    return tl_delta_start(&values->lengths, values->at, values->end, most);
}

static bool start_delta_length(tl_parquet_values *values, uint64_t most) {
    if (values->type != TL_PARQUET_BYTE_ARRAY ||
        !tl_delta_start(&values->lengths, values->at, values->end, most))
        return false;
    values->at = after_deltas(values->lengths);
    values->next = next_delta_length;
    return values->at != NULL;
}

static bool start_delta_bytes(tl_parquet_values *values, uint64_t most) {
    if (values->type != TL_PARQUET_BYTE_ARRAY ||
        !tl_delta_start(&values->prefixes, values->at, values->end, most))
        return false;
    values->at = after_deltas(values->prefixes);
    if (!values->at || !start_delta_length(values, most)) return false;
    tl_buffer_clear(&values->assembled);
    values->next = next_delta_bytes;
    return true;
}

static bool start_split(tl_parquet_values *values, uint64_t most) {
    (void)most;
    size_t width = width_of(values->type);
    if (width == 0) return false;
    values->count = (uint64_t)(values->end - values->at) / width;
    values->next = next_split;
    return true;
}

/* By the format's numbers. */
static const struct {
    const char *name;
    bool (*start)(tl_parquet_values *values, uint64_t most);
} encodings[] = {
    {"PLAIN", start_plain},
    {"GROUP_VAR_INT", NULL},
    {"PLAIN_DICTIONARY", start_dictionary},
    {"RLE", start_rle},
    {"BIT_PACKED", NULL},
    {"DELTA_BINARY_PACKED", start_delta},
    {"DELTA_LENGTH_BYTE_ARRAY", start_delta_length},
    {"DELTA_BYTE_ARRAY", start_delta_bytes},
    {"RLE_DICTIONARY", start_dictionary},
    {"BYTE_STREAM_SPLIT", start_split},
};

bool tl_parquet_values_start(tl_parquet_values *values, int encoding, tl_parquet_type type,
                             const unsigned char *at, const unsigned char *end, uint64_t most,
                             const tl_parquet_dictionary *dictionary, const char *where,
                             tl_error *error) {
    tl_buffer kept = values->assembled;
    *values = (tl_parquet_values){
        .type = type, .at = at, .end = end, .dictionary = dictionary, .assembled = kept};
    size_t count = sizeof encodings / sizeof *encodings;
    const char *name = encoding >= 0 && (size_t)encoding < count ? encodings[encoding].name : "?";
    if (encoding < 0 || (size_t)encoding >= count || !encodings[encoding].start)
        return tl_fail(error, TL_ERROR_UNSUPPORTED, "%s: encoding %s (%d) is not supported", where,
                       name, encoding);
    if (encodings[encoding].start(values, most)) return true;
    return tl_fail(error, TL_ERROR_FORMAT, "%s: a page that is not %s, as it says", where, name);
}
