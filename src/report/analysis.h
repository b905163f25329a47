/* What the numbers of a cell mean, and which differences between models are real. */
#ifndef TL_REPORT_ANALYSIS_H
#define TL_REPORT_ANALYSIS_H

#include "report/results.h"
#include "task/statistics.h"

/* Of one cell. Fractions, not percent; NAN where there are no examples. */
typedef struct tl_cell_meaning {
    double standard_error;
    double low, high;        /* Wilson 95 % interval */
    double p_chance;         /* two-sided exact binomial against chance */
    double majority;         /* accuracy of always giving the commonest gold label */
    bool collapsed;          /* one label is predicted nearly always */
    bool like_chance;        /* p_chance >= 0.05 */
    tl_summary milliseconds; /* of examples timed alone; n 0 when none */
} tl_cell_meaning;

/* Sorting times needs scratch memory, taken from the arena. */
bool tl_analyze_cell(tl_results *results, const tl_result_cell *cell, tl_cell_meaning *meaning,
                     tl_error *error);

/* Two models on the same examples of a task. */
typedef struct tl_model_pair {
    int a, b;               /* cells */
    int64_t both;           /* examples that both answered */
    int64_t only_a, only_b; /* right in the one alone */
    double p, p_holm;       /* McNemar, and after Holm's correction over the task's pairs */
} tl_model_pair;

/* The cells of one task under the same conditions, best first, in groups: a group ends at the first
 * model that differs significantly (p_holm < 0.05) from the group's best. */
typedef struct tl_ranking {
    int *cells; /* [count] */
    int *group; /* [count], from 1 */
    int count;
    tl_model_pair *pairs; /* [count × (count-1) / 2] */
    int pair_count;
} tl_ranking;

/* Ranks the given done cells that have outcomes; the others are left out. In the arena. */
bool tl_rank(tl_results *results, const int *cells, int count, tl_ranking *ranking,
             tl_error *error);

/* Counts what two cells answered on the examples they share; `differ` counts unequal predictions.
 */
void tl_pair_count(const tl_result_cell *a, const tl_result_cell *b, tl_model_pair *pair,
                   int64_t *differ);

#endif
