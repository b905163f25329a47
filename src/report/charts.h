/* The charts as pictures for papers, through gnuplot. */
#ifndef TL_REPORT_CHARTS_H
#define TL_REPORT_CHARTS_H

#include "report/tables.h"

/* Writes into `directory` for each chart NAME.dat and NAME.gp, and lets gnuplot draw NAME.svg and
 * NAME.png from them: accuracy, inference-time and peak-memory by model, and accuracy against
 * latency, memory and energy with the Pareto front, for what was measured. *drawn is false where
 * gnuplot is not installed: the data and scripts are there all the same. */
bool tl_charts_write(const tl_tables *tables, const char *directory, bool *drawn, tl_error *error);

#endif
