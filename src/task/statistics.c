#include "task/statistics.h"

#include <math.h>
#include <stdlib.h>

double tl_standard_error(int64_t correct, int64_t n) {
    if (n < 2) return NAN;
    double mean = (double)correct / (double)n;
    /* Σ(x-m)² of zeros and ones is n·m·(1-m) */
    return sqrt(mean * (1 - mean) / (double)(n - 1));
}

void tl_wilson(int64_t correct, int64_t n, double *low, double *high) {
    static const double z = 1.959963984540054; /* the normal distribution's 97.5 % point */
    if (n < 1) {
        *low = 0;
        *high = 1;
        return;
    }
    double count = (double)n, p = (double)correct / count;
    double centre = p + z * z / (2 * count);
    double reach = z * sqrt(p * (1 - p) / count + z * z / (4 * count * count));
    double scale = 1 + z * z / count;
    *low = correct == 0 ? 0 : (centre - reach) / scale;
    *high = correct == n ? 1 : (centre + reach) / scale;
}

static double log_factorial(int64_t n) {
    return lgamma((double)n + 1);
}

static double binomial_log(int64_t k, int64_t n, double p) {
    double q = k == n ? 0 : (double)(n - k) * log1p(-p);
    return log_factorial(n) - log_factorial(k) - log_factorial(n - k) +
           (k == 0 ? 0 : (double)k * log(p)) + q;
}

double tl_binomial_p(int64_t correct, int64_t n, double chance) {
    if (n < 1 || !(chance >= 0 && chance <= 1)) return NAN;
    if (chance == 0 || chance == 1) return correct == (chance == 0 ? 0 : n) ? 1 : 0;
    /* An outcome as likely as the observed one counts, whatever the rounding. */
    double threshold = binomial_log(correct, n, chance) + 1e-7, sum = 0;
    for (int64_t k = 0; k <= n; k++) {
        double likelihood = binomial_log(k, n, chance);
        if (likelihood <= threshold) sum += exp(likelihood);
    }
    return sum < 1 ? sum : 1;
}

double tl_mcnemar_p(int64_t b, int64_t c) {
    int64_t n = b + c, fewer = b < c ? b : c;
    double sum = 0;
    for (int64_t k = 0; k <= fewer; k++)
        sum += exp(binomial_log(k, n, 0.5));
    return 2 * sum < 1 ? 2 * sum : 1;
}

typedef struct ranked {
    double p;
    int place;
} ranked;

static int compare_ranked(const void *a, const void *b) {
    const ranked *x = a, *y = b;
    if (x->p != y->p) return x->p < y->p ? -1 : 1;
    return x->place - y->place;
}

void tl_holm(double *p, int count) {
    ranked *order = malloc((size_t)(count > 0 ? count : 1) * sizeof *order);
    if (!order) { /* Bonferroni's bound needs no order and is never too small */
        for (int i = 0; i < count; i++)
            p[i] = fmin(1, p[i] * count);
        return;
    }
    int tests = 0;
    for (int i = 0; i < count; i++)
        if (!isnan(p[i])) order[tests++] = (ranked){p[i], i};
    qsort(order, (size_t)tests, sizeof *order, compare_ranked);
    double largest = 0;
    for (int i = 0; i < tests; i++) {
        largest = fmax(largest, fmin(1, order[i].p * (tests - i)));
        p[order[i].place] = largest;
    }
    free(order);
}

bool tl_collapsed(const int64_t *predicted, int labels) {
    int64_t n = 0, most = 0;
    for (int i = 0; i < labels; i++) {
        n += predicted[i];
        if (predicted[i] > most) most = predicted[i];
    }
    return n >= 20 && most * 20 >= n * 19;
}

static int compare_doubles(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* The value at `share` (0 … 1) of the sorted values, interpolated. */
static double percentile(const double *sorted, int64_t n, double share) {
    double at = share * (double)(n - 1);
    int64_t below = (int64_t)at;
    if (below + 1 >= n) return sorted[n - 1];
    return sorted[below] + (at - (double)below) * (sorted[below + 1] - sorted[below]);
}

void tl_summarize(double *values, int64_t n, tl_summary *summary) {
    *summary = (tl_summary){n, NAN, NAN, NAN, NAN, NAN, NAN, NAN};
    if (n < 1) return;
    qsort(values, (size_t)n, sizeof *values, compare_doubles);
    double sum = 0, squares = 0;
    for (int64_t i = 0; i < n; i++)
        sum += values[i];
    summary->mean = sum / (double)n;
    for (int64_t i = 0; i < n; i++)
        squares += (values[i] - summary->mean) * (values[i] - summary->mean);
    if (n > 1) summary->deviation = sqrt(squares / (double)(n - 1));
    summary->median = percentile(values, n, 0.5);
    summary->p90 = percentile(values, n, 0.9);
    summary->p99 = percentile(values, n, 0.99);
    summary->least = values[0];
    summary->most = values[n - 1];
}
