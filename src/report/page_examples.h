#ifndef TL_REPORT_PAGE_EXAMPLES_H
#define TL_REPORT_PAGE_EXAMPLES_H

#include "report/results.h"

#include <stdio.h>

/* Writes every example of the runs that have a store: <script> elements "chunk-N" (JSON, deflated,
 * base64) of questions (each once for all models) and of answers, then the element "chunks", which
 * says where those of each cell are. */
bool tl_page_pack_examples(const tl_results *results, FILE *out, tl_error *error);

/* Writes bytes in base64, with its padding. */
void tl_page_write_base64(const void *data, size_t length, FILE *out);

#endif
