#include "report/analysis.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const double significance = 0.05;

static bool summarize_times(tl_results *results, const tl_result_cell *cell, tl_summary *summary,
                            tl_error *error) {
    double *times = tl_arena_alloc(results->arena, (size_t)cell->examples, sizeof *times,
                                   "times of a cell", error);
    if (!times) return false;
    int64_t count = 0;
    for (int64_t i = 0; cell->outcomes && i < cell->examples; i++)
        if (!isnan(cell->outcomes[i].milliseconds))
            times[count++] = (double)cell->outcomes[i].milliseconds;
    if (count) tl_summarize(times, count, summary);
    return true;
}

bool tl_analyze_cell(tl_results *results, const tl_result_cell *cell, tl_cell_meaning *meaning,
                     tl_error *error) {
    *meaning = (tl_cell_meaning){
        .standard_error = NAN, .low = NAN, .high = NAN, .p_chance = NAN, .majority = NAN};
    if (cell->examples == 0) return true;
    meaning->standard_error = tl_standard_error(cell->correct, cell->examples);
    tl_wilson(cell->correct, cell->examples, &meaning->low, &meaning->high);
    if (cell->chance > 0 && cell->chance < 1) {
        meaning->p_chance = tl_binomial_p(cell->correct, cell->examples, cell->chance);
        meaning->like_chance = meaning->p_chance >= significance;
    }
    if (cell->golden) {
        int64_t most = 0;
        for (int i = 0; i < cell->labels; i++)
            if (cell->golden[i] > most) most = cell->golden[i];
        meaning->majority = (double)most / (double)cell->examples;
    }
    if (cell->predicted) meaning->collapsed = tl_collapsed(cell->predicted, cell->labels);
    return summarize_times(results, cell, &meaning->milliseconds, error);
}

void tl_pair_count(const tl_result_cell *a, const tl_result_cell *b, tl_model_pair *pair,
                   int64_t *differ) {
    pair->both = pair->only_a = pair->only_b = *differ = 0;
    for (int64_t i = 0, k = 0; i < a->examples && k < b->examples;) {
        const tl_outcome *left = &a->outcomes[i], *right = &b->outcomes[k];
        if (left->index != right->index) {
            if (left->index < right->index)
                i++;
            else
                k++;
            continue;
        }
        bool left_right = left->gold >= 0 && left->prediction == left->gold;
        bool right_right = right->gold >= 0 && right->prediction == right->gold;
        pair->both++;
        pair->only_a += left_right && !right_right;
        pair->only_b += right_right && !left_right;
        *differ += left->prediction != right->prediction;
        i++, k++;
    }
}

static double accuracy(const tl_results *results, int cell) {
    return results->cells[cell].values[TL_MEASURE_ACCURACY];
}

/* Best first; equal ones in the order of their names. Insertion sort: a task has few models. */
static void sort_best_first(const tl_results *results, int *cells, int count) {
    for (int i = 1; i < count; i++) {
        int moving = cells[i], at = i;
        for (; at > 0; at--) {
            double left = accuracy(results, cells[at - 1]), right = accuracy(results, moving);
            int names =
                strcmp(results->cells[cells[at - 1]].model.name, results->cells[moving].model.name);
            if (left > right || (left == right && names <= 0)) break;
            cells[at] = cells[at - 1];
        }
        cells[at] = moving;
    }
}

static bool test_pairs(tl_results *results, tl_ranking *ranking, tl_error *error) {
    int n = ranking->count;
    size_t most = n > 1 ? (size_t)n * (size_t)(n - 1) / 2 : 0;
    ranking->pairs = tl_arena_alloc(results->arena, most, sizeof(tl_model_pair), "pairs", error);
    double *p = tl_arena_alloc(results->arena, most, sizeof *p, "p-values", error);
    if (!ranking->pairs || !p) return false;
    for (int i = 0; i < n; i++) {
        for (int k = i + 1; k < n; k++) {
            tl_model_pair *pair = &ranking->pairs[ranking->pair_count];
            pair->a = ranking->cells[i];
            pair->b = ranking->cells[k];
            int64_t differ;
            tl_pair_count(&results->cells[pair->a], &results->cells[pair->b], pair, &differ);
            pair->p = tl_mcnemar_p(pair->only_a, pair->only_b);
            p[ranking->pair_count++] = pair->p;
        }
    }
    tl_holm(p, ranking->pair_count);
    for (int i = 0; i < ranking->pair_count; i++)
        ranking->pairs[i].p_holm = p[i];
    return true;
}

/* The pair of the i-th and k-th ranked, i < k: pairs are stored row by row. */
static const tl_model_pair *pair_of(const tl_ranking *ranking, int i, int k) {
    int n = ranking->count;
    return &ranking->pairs[i * (2 * n - i - 1) / 2 + k - i - 1];
}

/* A group ends at the first model that differs significantly from the group's best. */
static void form_groups(tl_ranking *ranking) {
    for (int i = 0, best = 0, groups = 1; i < ranking->count; i++) {
        if (i > best && pair_of(ranking, best, i)->p_holm < significance) {
            best = i;
            groups++;
        }
        ranking->group[i] = groups;
    }
}

bool tl_rank(tl_results *results, const int *cells, int count, tl_ranking *ranking,
             tl_error *error) {
    *ranking = (tl_ranking){0};
    ranking->cells = tl_arena_alloc(results->arena, (size_t)count, sizeof(int), "a ranking", error);
    ranking->group = tl_arena_alloc(results->arena, (size_t)count, sizeof(int), "a ranking", error);
    if (!ranking->cells || !ranking->group) return false;
    for (int i = 0; i < count; i++) {
        const tl_result_cell *cell = &results->cells[cells[i]];
        if (tl_cell_done(cell) && cell->outcomes && cell->examples)
            ranking->cells[ranking->count++] = cells[i];
    }
    sort_best_first(results, ranking->cells, ranking->count);
    if (!test_pairs(results, ranking, error)) return false;
    form_groups(ranking);
    return true;
}
