/* What a number means: intervals, tests, corrections. Pure functions. */
#ifndef TL_TASK_STATISTICS_H
#define TL_TASK_STATISTICS_H

#include <stdbool.h>
#include <stdint.h>

/* Standard error of a mean of 0/1 values as lm-evaluation-harness has it: sqrt(Σ(x-m)²/(n-1)/n);
 * NAN for n < 2. */
double tl_standard_error(int64_t correct, int64_t n);

/* Wilson score interval of a proportion at 95 %. (E. B. Wilson, 1927.) */
void tl_wilson(int64_t correct, int64_t n, double *low, double *high);

/* Two-sided exact binomial p-value of `correct` of `n` against probability `chance` (method of
 * small p-values: the sum over outcomes no likelier than the observed). */
double tl_binomial_p(int64_t correct, int64_t n, double chance);

/* Exact McNemar test: b and c are the examples that only the one, or only the other, got right. */
double tl_mcnemar_p(int64_t b, int64_t c);

/* Holm's step-down correction, in place (S. Holm, 1979). */
void tl_holm(double *p, int count);

/* Collapsed: one label is predicted for at least 95 % of n ≥ 20 examples. */
bool tl_collapsed(const int64_t *predicted, int labels);

/* Mean, standard deviation (n-1) and percentiles (linear interpolation, as numpy) of values; sorts
 * them. */
typedef struct tl_summary {
    int64_t n;
    double mean, deviation, median, p90, p99, least, most;
} tl_summary;
void tl_summarize(double *values, int64_t n, tl_summary *summary);

#endif
