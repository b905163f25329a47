/* load: from what a command was given to results. Runs, published figures and outputs of
 * lm-evaluation-harness come in by the same door, as runs among others. */
#ifndef TL_REPORT_LOAD_H
#define TL_REPORT_LOAD_H

#include "report/results.h"

/* Adds what `operand` names: "study" (the published figures), a run's directory (the store in it),
 * or an output directory of lm-evaluation-harness. */
bool tl_results_add(tl_results *results, const char *operand, tl_error *error);

/* All operands in one call; models of the same name on one device are then named by as much of
 * their ids as tells them apart. */
tl_results *tl_results_load(const char *const *operands, int count, bool salvage, tl_error *error);

/* Results of one run that has a store: for exports. */
tl_results *tl_results_load_run(const char *directory, tl_error *error);

#endif
