/* report: what a run shows of itself. Reads stores, never writes them. */
#ifndef TL_REPORT_H
#define TL_REPORT_H

#include "base/base.h"

/* Appends the study's tables of everything the operands name, in one format: "md", "csv", "json" or
 * "latex". An operand is a run's directory, "study" (the published figures), or an output directory
 * of lm-evaluation-harness. An empty or unfinished run gives tables that say what is missing. */
bool tl_report_tables(const char *const *operands, int count, const char *format, tl_buffer *out,
                      tl_error *error);

/* Writes the page of everything the operands name: one HTML file, with every example, that needs
 * nothing else. */
bool tl_report_html(const char *const *operands, int count, const char *path, tl_error *error);

/* Writes the charts of everything the operands name into `directory`, as charts.h says; *drawn is
 * false where gnuplot is not installed. */
bool tl_report_charts(const char *const *operands, int count, const char *directory, bool *drawn,
                      tl_error *error);

#endif
