/* The figures that the study published (data/published.csv), as a run among others. */
#ifndef TL_REPORT_PUBLISHED_H
#define TL_REPORT_PUBLISHED_H

#include "report/results.h"

/* Adds the published cells of both devices. The counts of correct answers follow from the
 * percentage and the number of examples; single answers were not published. */
bool tl_published_read(tl_results *results, tl_error *error);

/* The same from a text of the same columns, which is cut up in place; `name` is how messages call
 * it. */
bool tl_published_read_text(tl_results *results, char *text, const char *name, tl_error *error);

/* The same from a file: for tests. */
bool tl_published_read_file(tl_results *results, const char *path, tl_error *error);

#endif
