/* compare: runs side by side. The first run is the base: every other is held against it, on each
 * device that the base has been run on. */
#ifndef TL_REPORT_COMPARE_H
#define TL_REPORT_COMPARE_H

#include "report/results.h"

/* One side: what one run measured on one device. */
typedef struct tl_side {
    int run, device;
    const char *title;
} tl_side;

/* A cell of one side beside the base's cell of the same model, task, protocol and shots (and, where
 * there is a choice, dtype). Differences are NAN where either is not known. */
typedef struct tl_compared {
    int base, other;            /* cells */
    double accuracy_difference; /* percentage points, other - base; on shared examples, if known */
    bool known;                 /* both accuracies are */
    bool agrees;                /* same counts of correct answers and examples */
    double speed_up;            /* base time / other time */
    double memory_ratio;        /* other / base */
    double size_ratio;          /* other / base */
    int64_t both;               /* examples that both answered; 0 where one side has no answers */
    int64_t differ;             /* of them, with different predictions */
    double p;                   /* McNemar; NAN where both is 0 */
} tl_compared;

/* One side against the base. */
typedef struct tl_comparison {
    tl_side base, other;
    tl_compared *rows; /* by model, then task */
    int count;
    int *only_base, *only_other; /* cells without a counterpart */
    int only_base_count, only_other_count;
} tl_comparison;

typedef struct tl_comparisons {
    tl_results *results;
    tl_comparison *items;
    int count;
} tl_comparisons;

/* Pairs everything; in the arena of `results`. One run alone: its other devices against the first.
 * Fails when there is but one side. */
bool tl_compare(tl_results *results, tl_comparisons *comparisons, tl_error *error);

/* Appends in "md", "csv" or "json"; with the first `examples` differing examples of each pair. */
bool tl_compare_write(const tl_comparisons *comparisons, const char *format, int64_t examples,
                      tl_buffer *out, tl_error *error);

/* Thresholds: `METRIC>NUMBER` or `METRIC>=NUMBER`, several separated by commas. Metrics, each of
 * one pair: accuracy-drop and accuracy-change (percentage points), slowdown, memory-growth and
 * size-growth (ratios), differing (percent of the examples); and of a whole side: missing (cells
 * done in the base alone). Appends one line to `lines` for each threshold that is passed and counts
 * them. A comparison that pairs nothing is an error: it can vouch for nothing. */
bool tl_compare_check(const tl_comparisons *comparisons, const char *thresholds, tl_buffer *lines,
                      int *passed, tl_error *error);

#endif
