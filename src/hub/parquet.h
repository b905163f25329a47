/* Parquet files as rows of JSON, in the shape of the hub's JSONL.
 *
 * Reads what datasets on the hub are made of: strings, integers, booleans and floating point, in
 * optional fields, structs and lists (any depth), PLAIN, dictionary, RLE and DELTA encodings, data
 * pages of both versions, uncompressed, snappy, gzip and zstd. Anything else is an error that names
 * it. Format: https://parquet.apache.org/docs/file-format/. */
#ifndef TL_HUB_PARQUET_H
#define TL_HUB_PARQUET_H

#include "base/base.h"

typedef struct tl_parquet tl_parquet;

/* Opens a file: reads and checks its footer. NULL with the reason in `error`. */
tl_parquet *tl_parquet_open(const char *path, tl_error *error);
void tl_parquet_free(tl_parquet *parquet);

/* Rows in the file, as its footer says. */
int64_t tl_parquet_count(const tl_parquet *parquet);

/* The next row as an object, fields in the order of the schema, null where a value is; to be freed
 * with cJSON_Delete. Numbers may be raw text, with all their digits. At the end *row is NULL and
 * the result true. After a failure the handle may only be freed. */
bool tl_parquet_next(tl_parquet *parquet, cJSON **row, tl_error *error);

#endif
