#include "report/compare.h"

#include "report/analysis.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* ---- pairing ---- */

static bool on_side(const tl_side *side, const tl_result_cell *cell) {
    return side->run == cell->run && side->device == cell->device;
}

static bool find_sides(tl_results *results, tl_side **sides, int *count, tl_error *error) {
    *sides =
        tl_arena_alloc(results->arena, (size_t)results->cell_count, sizeof **sides, "sides", error);
    *count = 0;
    if (!*sides) return false;
    for (int i = 0; i < results->cell_count; i++) {
        const tl_result_cell *cell = &results->cells[i];
        int at = 0;
        while (at < *count && !on_side(&(*sides)[at], cell))
            at++;
        if (at == *count) (*sides)[(*count)++] = (tl_side){cell->run, cell->device, NULL};
    }
    for (int i = 0; i < *count; i++) {
        tl_side *side = &(*sides)[i];
        tl_buffer title = {0};
        tl_buffer_append_format(&title, "%s (%s)", results->runs[side->run].name,
                                results->devices[side->device].name);
        side->title = tl_results_string(results, tl_buffer_string(&title), error);
        tl_buffer_free(&title);
        if (!side->title) return false;
    }
    return true;
}

/* How well two cells go together; 0: not at all. */
static int affinity(const tl_result_cell *a, const tl_result_cell *b) {
    if (strcasecmp(a->model.name, b->model.name) != 0 || strcmp(a->task, b->task) != 0 ||
        strcmp(a->protocol, b->protocol) != 0 || a->shots != b->shots)
        return 0;
    return 1 + 4 * (strcmp(a->dtype, b->dtype) == 0) +
           2 * (strcmp(a->precision, b->precision) == 0) +
           8 * (strcmp(a->model.id, b->model.id) == 0);
}

static int counterpart(const tl_results *results, const tl_side *side,
                       const tl_result_cell *wanted) {
    int best = -1, most = 0;
    for (int i = 0; i < results->cell_count; i++) {
        if (!on_side(side, &results->cells[i])) continue;
        int found = affinity(&results->cells[i], wanted);
        if (found <= most) continue;
        best = i;
        most = found;
    }
    return best;
}

static double ratio(double a, double b) {
    return b > 0 ? a / b : NAN;
}

static tl_compared compare_cells(const tl_results *results, int base, int other) {
    const tl_result_cell *a = &results->cells[base], *b = &results->cells[other];
    tl_compared row = {base, other, NAN, .p = NAN};
    bool done = tl_cell_done(a) && tl_cell_done(b);
    const double *from = a->values, *to = b->values;
    row.known = done && !isnan(from[TL_MEASURE_ACCURACY]) && !isnan(to[TL_MEASURE_ACCURACY]);
    if (row.known) {
        row.accuracy_difference = to[TL_MEASURE_ACCURACY] - from[TL_MEASURE_ACCURACY];
        row.agrees = a->examples && b->examples
                         ? a->examples == b->examples && a->correct == b->correct
                         : fabs(row.accuracy_difference) < 1e-9;
    }
    row.speed_up = done ? ratio(from[TL_MEASURE_TIME], to[TL_MEASURE_TIME]) : NAN;
    row.memory_ratio = done ? ratio(to[TL_MEASURE_MEMORY], from[TL_MEASURE_MEMORY]) : NAN;
    row.size_ratio = done ? ratio(to[TL_MEASURE_SIZE], from[TL_MEASURE_SIZE]) : NAN;
    if (done && a->outcomes && b->outcomes) {
        tl_model_pair pair = {0};
        tl_pair_count(a, b, &pair, &row.differ);
        row.both = pair.both;
        if (pair.both == 0) return row;
        row.p = tl_mcnemar_p(pair.only_a, pair.only_b);
        row.accuracy_difference = 100.0 * (double)(pair.only_b - pair.only_a) / (double)pair.both;
    }
    return row;
}

static int by_place(const void *a, const void *b, void *context) {
    const tl_results *results = context;
    const tl_result_cell *left = &results->cells[((const tl_compared *)a)->other];
    const tl_result_cell *right = &results->cells[((const tl_compared *)b)->other];
    int names = strcmp(left->model.name, right->model.name);
    if (names) return names;
    if (left->order != right->order) return left->order < right->order ? -1 : 1;
    int tasks = strcmp(left->task, right->task);
    return tasks ? tasks : strcmp(left->protocol, right->protocol);
}

static bool compare_sides(tl_results *results, tl_comparison *item, tl_error *error) {
    size_t most = (size_t)results->cell_count;
    item->rows = tl_arena_alloc(results->arena, most, sizeof *item->rows, "pairs", error);
    item->only_base = tl_arena_alloc(results->arena, most, sizeof(int), "pairs", error);
    item->only_other = tl_arena_alloc(results->arena, most, sizeof(int), "pairs", error);
    bool *paired = tl_arena_alloc(results->arena, most, sizeof(bool), "pairs", error);
    if (!item->rows || !item->only_base || !item->only_other || !paired) return false;
    for (int i = 0; i < results->cell_count; i++) {
        if (!on_side(&item->other, &results->cells[i])) continue;
        int base = counterpart(results, &item->base, &results->cells[i]);
        if (base < 0) {
            item->only_other[item->only_other_count++] = i;
            continue;
        }
        paired[base] = true;
        item->rows[item->count++] = compare_cells(results, base, i);
    }
    for (int i = 0; i < results->cell_count; i++)
        if (on_side(&item->base, &results->cells[i]) && !paired[i])
            item->only_base[item->only_base_count++] = i;
    qsort_r(item->rows, (size_t)item->count, sizeof *item->rows, by_place, results);
    return true;
}

bool tl_compare(tl_results *results, tl_comparisons *comparisons, tl_error *error) {
    *comparisons = (tl_comparisons){.results = results};
    tl_side *sides;
    int count;
    if (!find_sides(results, &sides, &count, error)) return false;
    for (int run = 0; run < results->run_count; run++) {
        int at = 0;
        while (at < count && sides[at].run != run)
            at++;
        if (at == count) /* it can vouch for nothing */
            return tl_fail(error, TL_ERROR_FORMAT, "%s: has no cells to compare",
                           results->runs[run].name);
    }
    int devices = 0; /* of the first run */
    while (devices < count && sides[devices].run == sides[0].run)
        devices++;
    bool one_run = devices == count;
    if (count < 2)
        return tl_fail(error, TL_ERROR_USAGE, "nothing to compare: %s; name a second run, or study",
                       count ? "only one run has cells" : "no run has cells");
    int bases = one_run ? 1 : devices;
    size_t most = (size_t)count * (size_t)bases;
    comparisons->items =
        tl_arena_alloc(results->arena, most, sizeof *comparisons->items, "comparisons", error);
    if (!comparisons->items) return false;
    for (int i = bases; i < count; i++) {
        for (int k = 0; k < bases; k++) {
            tl_comparison *item = &comparisons->items[comparisons->count++];
            item->base = sides[k];
            item->other = sides[i];
            if (!compare_sides(results, item, error)) return false;
        }
    }
    return true;
}

/* ---- thresholds ---- */

typedef struct threshold {
    int metric;
    bool or_equal;
    double limit;
} threshold;

enum { THRESHOLDS = 16 };

static double accuracy_drop(const tl_compared *row) {
    return -row->accuracy_difference;
}

static double accuracy_change(const tl_compared *row) {
    return fabs(row->accuracy_difference);
}

static double slowdown(const tl_compared *row) {
    return 1 / row->speed_up;
}

static double memory_growth(const tl_compared *row) {
    return row->memory_ratio;
}

static double size_growth(const tl_compared *row) {
    return row->size_ratio;
}

static double differing(const tl_compared *row) {
    return row->both ? 100.0 * (double)row->differ / (double)row->both : NAN;
}

static const struct {
    const char *name;
    double (*value)(const tl_compared *row); /* NULL: of the whole side */
} metrics[] = {
    {"accuracy-drop", accuracy_drop},
    {"accuracy-change", accuracy_change},
    {"slowdown", slowdown},
    {"memory-growth", memory_growth},
    {"size-growth", size_growth},
    {"differing", differing},
    {"missing", NULL},
};

static bool parse_threshold(const char *text, size_t length, threshold *parsed, tl_error *error) {
    size_t name = strcspn(text, ">,");
    for (size_t i = 0; i < sizeof metrics / sizeof *metrics; i++) {
        if (strlen(metrics[i].name) != name || memcmp(metrics[i].name, text, name) != 0) continue;
        const char *at = text + name;
        if (*at != '>') break;
        parsed->metric = (int)i;
        parsed->or_equal = at[1] == '=';
        at += 1 + parsed->or_equal;
        char *end;
        parsed->limit = strtod(at, &end);
        if (end != at && end == text + length && !isnan(parsed->limit)) return true;
        break;
    }
    tl_buffer names = {0};
    for (size_t i = 0; i < sizeof metrics / sizeof *metrics; i++)
        tl_buffer_append_format(&names, "%s%s", i ? ", " : "", metrics[i].name);
    tl_fail(error, TL_ERROR_USAGE, "threshold '%.*s': expected METRIC>NUMBER with METRIC one of %s",
            (int)length, text, tl_buffer_string(&names));
    tl_buffer_free(&names);
    return false;
}

static bool parse_thresholds(const char *text, threshold parsed[THRESHOLDS], int *count,
                             tl_error *error) {
    *count = 0;
    while (true) {
        size_t length = strcspn(text, ",");
        if (*count == THRESHOLDS)
            return tl_fail(error, TL_ERROR_USAGE, "more than %d thresholds", THRESHOLDS);
        if (!parse_threshold(text, length, &parsed[(*count)++], error)) return false;
        if (!text[length]) return true;
        text += length + 1;
    }
}

static bool exceeds(double value, const threshold *t) {
    return value > t->limit || (t->or_equal && value == t->limit);
}

static int64_t count_missing(const tl_results *results, const tl_comparison *item) {
    int64_t missing = 0;
    for (int i = 0; i < item->only_base_count; i++)
        missing += tl_cell_done(&results->cells[item->only_base[i]]);
    for (int i = 0; i < item->count; i++)
        missing += tl_cell_done(&results->cells[item->rows[i].base]) &&
                   !tl_cell_done(&results->cells[item->rows[i].other]);
    return missing;
}

static void check_side(const tl_results *results, const tl_comparison *item, const threshold *t,
                       tl_buffer *lines, int *passed) {
    const char *name = metrics[t->metric].name;
    const char *operator= t->or_equal ? ">=" : ">";
    if (!metrics[t->metric].value) {
        int64_t missing = count_missing(results, item);
        if (!exceeds((double)missing, t)) return;
        tl_buffer_append_format(lines, "%s: %s %lld %s %g\n", item->other.title, name,
                                (long long)missing, operator, t->limit);
        (*passed)++;
        return;
    }
    for (int i = 0; i < item->count; i++) {
        double value = metrics[t->metric].value(&item->rows[i]);
        if (!exceeds(value, t)) continue;
        const tl_result_cell *cell = &results->cells[item->rows[i].other];
        tl_buffer_append_format(lines, "%s: %s on %s: %s %.4g %s %g\n", item->other.title,
                                cell->model.name, cell->task, name, value, operator, t->limit);
        (*passed)++;
    }
}

bool tl_compare_check(const tl_comparisons *comparisons, const char *thresholds, tl_buffer *lines,
                      int *passed, tl_error *error) {
    threshold parsed[THRESHOLDS];
    int count;
    *passed = 0;
    if (!parse_thresholds(thresholds, parsed, &count, error)) return false;
    int known = 0;
    for (int i = 0; i < comparisons->count; i++) {
        const tl_comparison *item = &comparisons->items[i];
        for (int k = 0; k < item->count; k++)
            known += item->rows[k].known;
        for (int k = 0; k < count; k++)
            check_side(comparisons->results, item, &parsed[k], lines, passed);
    }
    if (known == 0)
        return tl_fail(error, TL_ERROR_FORMAT,
                       "no cell is done on both sides: the thresholds say nothing");
    return !lines->failed || tl_fail_memory(error, lines->length, "thresholds");
}
