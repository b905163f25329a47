/* Counting the examples of a cell: right answers, answers by label, chance, time. */
#ifndef TL_REPORT_TALLY_H
#define TL_REPORT_TALLY_H

#include "report/results.h"

/* Sums over examples as they stream by; begins as {0}. */
typedef struct tl_tally {
    tl_buffer outcomes; /* tl_outcome each */
    int64_t *predicted, *golden;
    int labels;
    int64_t skipped, truncated; /* counted by the caller */
    int64_t correct, correct_norm;
    double chance_sum, seconds_sum;
    int64_t timed;
    bool has_norm, failed;
} tl_tally;

/* Counts an example of `choices` choices; `seconds` where outcome->milliseconds is a number. */
void tl_tally_add(tl_tally *t, const tl_outcome *outcome, int choices, double seconds);

/* Writes what was counted into the cell: counts, outcomes by index, chance, accuracies and time. */
bool tl_tally_settle(const tl_tally *t, tl_results *results, tl_result_cell *cell, tl_error *error);
void tl_tally_free(tl_tally *t);

/* Both for a cell whose outcomes were filled in by hand. `choices` [examples] may be NULL, then
 * every example has cell->labels. */
bool tl_cell_count_outcomes(tl_results *results, tl_result_cell *cell, const int16_t *choices,
                            tl_error *error);

#endif
