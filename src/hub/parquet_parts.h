/* The parts of the Parquet reader: footer, compression, encodings. Not for other rooms. */
#ifndef TL_HUB_PARQUET_PARTS_H
#define TL_HUB_PARQUET_PARTS_H

#include "base/base.h"

/* Limits that keep a small hostile file from asking for much. */
enum {
    TL_PARQUET_PAGE_LIMIT = 1 << 28,  /* bytes of a page when decompressed */
    TL_PARQUET_COUNT_LIMIT = 1 << 24, /* rows of a file, values of a page */
    TL_PARQUET_ITEM_LIMIT = 1 << 20,  /* list elements of one row */
    TL_PARQUET_DEPTH = 24,            /* nested groups */
    TL_PARQUET_MOST_NODES = 4096,     /* elements of the schema */
};

/* ---- footer
 * ------------------------------------------------------------------------------------------- */

/* Physical types, numbered as in the format. */
typedef enum tl_parquet_type {
    TL_PARQUET_BOOLEAN,
    TL_PARQUET_INT32,
    TL_PARQUET_INT64,
    TL_PARQUET_INT96,
    TL_PARQUET_FLOAT,
    TL_PARQUET_DOUBLE,
    TL_PARQUET_BYTE_ARRAY,
    TL_PARQUET_FIXED,
    TL_PARQUET_TYPE_COUNT
} tl_parquet_type;

typedef enum tl_parquet_repetition {
    TL_PARQUET_REQUIRED,
    TL_PARQUET_OPTIONAL,
    TL_PARQUET_REPEATED
} tl_parquet_repetition;

/* An element of the schema, in the file's order (depth first). */
typedef struct tl_parquet_node {
    const char *name;
    tl_parquet_repetition repetition;
    int children;              /* 0: a leaf, one column */
    int next;                  /* index of the element after this one's subtree */
    int first_leaf, leaf_end;  /* columns under it */
    int definition;            /* definition level at which it is present */
    int repeat;                /* repetition level at which it repeats */
    bool is_list, is_unsigned; /* annotated so */
    tl_parquet_type type;      /* of a leaf */
} tl_parquet_node;

/* One column's pages within a row group. */
typedef struct tl_parquet_chunk {
    int codec;
    uint64_t start, size; /* bytes in the file */
    int64_t values;       /* levels, nulls included */
} tl_parquet_chunk;

typedef struct tl_parquet_group {
    int64_t rows;
    tl_parquet_chunk *chunks; /* [columns] */
} tl_parquet_group;

typedef struct tl_parquet_footer {
    tl_parquet_node *nodes; /* [0] is the root */
    int n_nodes, columns;
    int *leaves; /* [columns]: index of each column's node */
    tl_parquet_group *groups;
    int n_groups;
    int64_t rows;
} tl_parquet_footer;

/* Reads and checks the footer of a mapped file; everything is allocated in `arena`. `where` names
 * the file in messages. */
bool tl_parquet_read_footer(const tl_mapping *file, const char *where, tl_arena *arena,
                            tl_parquet_footer *footer, tl_error *error);

/* ---- compression
 * ------------------------------------------------------------------------------------------- */

/* Decompresses `in` into exactly out_length bytes by the format's codec number. */
bool tl_parquet_decompress(int codec, const unsigned char *in, size_t in_length, unsigned char *out,
                           size_t out_length, const char *where, tl_error *error);

/* Snappy's raw block format into exactly out_length bytes; false when malformed.
 * https://github.com/google/snappy/blob/main/format_description.txt */
bool tl_snappy_decode(const unsigned char *in, size_t in_length, unsigned char *out,
                      size_t out_length);

/* ---- encodings
 * ------------------------------------------------------------------------------------------- */

/* Runs of equal or bit-packed unsigned numbers of a fixed width (levels, dictionary indices). */
typedef struct tl_rle {
    const unsigned char *at, *end;
    int width; /* bits, 0 … 32 */
    uint64_t left;
    uint32_t value;
    bool packed;
    unsigned bit; /* of *at, in a packed run */
} tl_rle;

void tl_rle_start(tl_rle *rle, const unsigned char *at, const unsigned char *end, int width);
bool tl_rle_next(tl_rle *rle, uint32_t *value);

/* DELTA_BINARY_PACKED integers. */
typedef struct tl_delta {
    const unsigned char *at, *end;
    const unsigned char *widths; /* [miniblocks] of the block at hand */
    uint64_t per_miniblock, miniblocks;
    uint64_t miniblock, index; /* place within the block */
    uint64_t left;             /* values not yet given */
    uint64_t value, least;
    uint64_t bits; /* bit offset from `at`, in the miniblock at hand */
    bool started;
} tl_delta;

/* `most` bounds the number of values that the head may claim. */
bool tl_delta_start(tl_delta *delta, const unsigned char *at, const unsigned char *end,
                    uint64_t most);
bool tl_delta_next(tl_delta *delta, int64_t *value);

/* One value of a column. Bytes live until the next value is read. */
typedef struct tl_parquet_value {
    int64_t integer; /* BOOLEAN, INT32, INT64 */
    double real;     /* FLOAT, DOUBLE */
    const char *bytes;
    size_t length; /* BYTE_ARRAY */
} tl_parquet_value;

typedef struct tl_parquet_dictionary {
    unsigned char *data; /* the decompressed page */
    size_t size;
    uint32_t count;
    uint32_t *offsets; /* BYTE_ARRAY: where each value's length stands */
    tl_parquet_type type;
} tl_parquet_dictionary;

/* Takes a dictionary page's bytes, PLAIN-encoded; `data` becomes the dictionary's, freed by
 * tl_parquet_dictionary_free. */
bool tl_parquet_dictionary_start(tl_parquet_dictionary *dictionary, tl_parquet_type type,
                                 unsigned char *data, size_t size, uint32_t count,
                                 const char *where, tl_error *error);
void tl_parquet_dictionary_free(tl_parquet_dictionary *dictionary);

/* The values of a data page, one after the other. */
typedef struct tl_parquet_values tl_parquet_values;
typedef bool tl_parquet_decoder(tl_parquet_values *values, tl_parquet_value *value);

struct tl_parquet_values {
    tl_parquet_decoder *next;
    tl_parquet_type type;
    const unsigned char *at, *end;
    const tl_parquet_dictionary *dictionary;
    tl_rle rle;
    tl_delta lengths, prefixes;
    tl_buffer assembled; /* DELTA_BYTE_ARRAY: the value at hand */
    uint64_t index, count;
    unsigned bit;
};

/* Starts on the values of a page (after its levels) in the format's encoding number; `most` bounds
 * their count. Errors name the encoding. `values->assembled` is kept between pages and freed by the
 * owner. */
bool tl_parquet_values_start(tl_parquet_values *values, int encoding, tl_parquet_type type,
                             const unsigned char *at, const unsigned char *end, uint64_t most,
                             const tl_parquet_dictionary *dictionary, const char *where,
                             tl_error *error);

#endif
