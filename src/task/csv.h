/* csv: comma-separated values as RFC 4180 has them, turned into JSON objects of texts. */
#ifndef TL_TASK_CSV_H
#define TL_TASK_CSV_H

#include "base/base.h"

typedef struct tl_csv tl_csv;

/* Reads the header line of `text` (borrowed). Fails naming the line: an empty or repeated column
 * name, a quote that is not closed. `where` names the file. */
tl_csv *tl_csv_open(const char *text, size_t length, const char *where, tl_error *error);
void tl_csv_free(tl_csv *csv);

/* Appends the next record as a JSON object to `json` and its first line's number to `*line`.
 * Returns 1, 0 at the end, -1 with an error that names the line (a record of too many or too few
 * fields, a stray quote). Blank lines are skipped. */
int tl_csv_next(tl_csv *csv, tl_buffer *json, int64_t *line, tl_error *error);

#endif
