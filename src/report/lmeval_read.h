/* Output directories of lm-evaluation-harness, read as a run among others. */
#ifndef TL_REPORT_LMEVAL_READ_H
#define TL_REPORT_LMEVAL_READ_H

#include "report/results.h"

/* Does the directory, or a folder one level down, hold a results_*.json? */
bool tl_lmeval_is_output(const char *directory);

/* Adds one cell per model and task of the newest results_*.json of each model: a run of kind
 * TL_RUN_HARNESS, protocol "loglikelihood", shots and dtype as the file says. Where samples_*.jsonl
 * are beside it the cell's outcomes are filled in (index = doc_id, predictions by the logged
 * log-likelihoods); otherwise accuracy alone. Malformed files are errors that name file and field.
 */
bool tl_lmeval_read(tl_results *results, const char *directory, tl_error *error);

#endif
