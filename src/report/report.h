/* report: what runs show of themselves. Reads stores, never writes them. */
#ifndef TL_REPORT_H
#define TL_REPORT_H

#include "base/base.h"

typedef struct tl_report tl_report;

/* Reads and lays out everything the operands name: a run's directory, "study" (the published
 * figures), or an output directory of lm-evaluation-harness. An empty or unfinished run is no
 * error: what is made from it says what is missing. `salvage` reads what can still be read of
 * damaged stores. */
tl_report *tl_report_open(const char *const *operands, int count, bool salvage, tl_error *error);
void tl_report_free(tl_report *report);

/* What salvaging found, a line for each run; "" when it was not asked for. */
const char *tl_report_salvaged(const tl_report *report);

/* Appends the study's tables in one format: "md", "csv", "json" or "latex". */
bool tl_report_text(const tl_report *report, const char *format, tl_buffer *out, tl_error *error);

/* Writes the page: one HTML file, with every example, that needs nothing else. */
bool tl_report_page(const tl_report *report, const char *path, tl_error *error);

/* Writes the charts into `directory`, as charts.h says; *drawn is false where gnuplot is not
 * installed. */
bool tl_report_charts(const tl_report *report, const char *directory, bool *drawn, tl_error *error);

/* Opens, appends the text, and frees. */
bool tl_report_tables(const char *const *operands, int count, const char *format, tl_buffer *out,
                      tl_error *error);

#endif
