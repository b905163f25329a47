#include "report/tally.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static bool widen(tl_tally *t, int labels) {
    if (labels <= t->labels) return true;
    for (int pass = 0; pass < 2; pass++) {
        int64_t **counts = pass ? &t->golden : &t->predicted;
        int64_t *wider = realloc(*counts, (size_t)labels * sizeof *wider);
        if (!wider) return false;
        memset(wider + t->labels, 0, (size_t)(labels - t->labels) * sizeof *wider);
        *counts = wider;
    }
    t->labels = labels;
    return true;
}

void tl_tally_add(tl_tally *t, const tl_outcome *outcome, int choices, double seconds) {
    if (!widen(t, choices)) {
        t->failed = true;
        return;
    }
    if (outcome->prediction >= 0 && outcome->prediction < choices)
        t->predicted[outcome->prediction]++;
    if (outcome->gold >= 0 && outcome->gold < choices) t->golden[outcome->gold]++;
    if (outcome->gold >= 0 && outcome->gold == outcome->prediction) t->correct++;
    if (outcome->prediction_norm >= 0) t->has_norm = true;
    if (outcome->gold >= 0 && outcome->gold == outcome->prediction_norm) t->correct_norm++;
    if (choices > 0) t->chance_sum += 1.0 / choices;
    if (!isnan(outcome->milliseconds)) {
        t->timed++;
        t->seconds_sum += seconds;
    }
    tl_buffer_append(&t->outcomes, outcome, sizeof *outcome);
}

static int by_index(const void *a, const void *b) {
    int32_t left = ((const tl_outcome *)a)->index, right = ((const tl_outcome *)b)->index;
    return (left > right) - (left < right);
}

bool tl_tally_settle(const tl_tally *t, tl_results *results, tl_result_cell *cell,
                     tl_error *error) {
    cell->examples = (int64_t)(t->outcomes.length / sizeof(tl_outcome));
    cell->skipped = t->skipped;
    cell->truncated = t->truncated;
    cell->correct = t->correct;
    cell->correct_norm = t->correct_norm;
    cell->has_norm = t->has_norm;
    cell->labels = t->labels;
    if (t->failed || t->outcomes.failed) return tl_fail_memory(error, 0, "examples of a cell");
    size_t count = (size_t)cell->examples, labels = (size_t)t->labels;
    cell->outcomes = tl_arena_alloc(results->arena, count, sizeof(tl_outcome), "examples", error);
    cell->predicted = tl_arena_alloc(results->arena, labels, sizeof(int64_t), "labels", error);
    cell->golden = tl_arena_alloc(results->arena, labels, sizeof(int64_t), "labels", error);
    if (!cell->outcomes || !cell->predicted || !cell->golden) return false;
    if (labels) {
        memcpy(cell->predicted, t->predicted, labels * sizeof(int64_t));
        memcpy(cell->golden, t->golden, labels * sizeof(int64_t));
    }
    if (count == 0) return true;
    memcpy(cell->outcomes, t->outcomes.data, count * sizeof(tl_outcome));
    qsort(cell->outcomes, count, sizeof(tl_outcome), by_index);
    double n = (double)count;
    cell->chance = t->chance_sum / n;
    cell->values[TL_MEASURE_ACCURACY] = 100.0 * (double)t->correct / n;
    if (t->has_norm) cell->values[TL_MEASURE_ACCURACY_NORM] = 100.0 * (double)t->correct_norm / n;
    if (t->timed) cell->values[TL_MEASURE_TIME] = 1e3 * t->seconds_sum / (double)t->timed;
    return true;
}

void tl_tally_free(tl_tally *t) {
    tl_buffer_free(&t->outcomes);
    free(t->predicted);
    free(t->golden);
}

bool tl_cell_count_outcomes(tl_results *results, tl_result_cell *cell, const int16_t *choices,
                            tl_error *error) {
    tl_tally t = {.skipped = cell->skipped, .truncated = cell->truncated};
    for (int64_t i = 0; i < cell->examples; i++) {
        const tl_outcome *outcome = &cell->outcomes[i];
        tl_tally_add(&t, outcome, choices ? choices[i] : cell->labels, outcome->milliseconds / 1e3);
    }
    bool good = tl_tally_settle(&t, results, cell, error);
    tl_tally_free(&t);
    return good;
}
