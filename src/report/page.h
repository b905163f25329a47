/* The page: the report as one HTML file that needs nothing else, or live over HTTP. */
#ifndef TL_REPORT_PAGE_H
#define TL_REPORT_PAGE_H

#include "report/tables.h"

#include <stdio.h>

/* Writes the whole page with its data and every example: works from disk, requests nothing. Memory
 * stays bounded by the largest example and a few megabytes. */
bool tl_page_write(const tl_tables *tables, FILE *out, tl_error *error);

/* Appends the page of a live run: the same, with its data to be fetched from beside it. */
bool tl_page_live(tl_buffer *out, tl_error *error);

/* ---- examples as the page reads them
 * -------------------------------------------------------------- */

/* Appends JSON {"items": […], "next": INDEX or null}: examples of a cell from row `from` on, until
 * about `bytes` are written. An item is [row, prompt, choices, gold, prediction, by length, scores,
 * milliseconds, truncated, reason skipped]. */
bool tl_page_examples(tl_store *store, int64_t cell, int64_t from, size_t bytes, tl_buffer *out,
                      tl_error *error);

/* The parts of an item that are the same for all models, and those that are not. */
void tl_page_append_question(tl_buffer *out, const tl_example *example);
void tl_page_append_answer(tl_buffer *out, const tl_example *example);
uint64_t tl_page_question_hash(const tl_example *example);

#endif
