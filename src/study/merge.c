#include "study/merge.h"

#include "study/measures.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct merger {
    tl_store *into, *from;
    tl_merged *merged;
    tl_error *error;
    bool failed;
    int64_t devices[1024]; /* of `from` by id: those of `into` */
    int64_t cell;          /* of `into`, being filled */
    bool prefer;           /* measures of `from` over those that are there */
    int64_t before;        /* examples of the cell that `into` had */
    unsigned char *held;   /* bitmap of their indices */
    int64_t most;
} merger;

static bool merge_device(void *context, int64_t id, const char *fingerprint, const char *name,
                         const char *facts) {
    merger *m = context;
    int64_t most = (int64_t)(sizeof m->devices / sizeof *m->devices);
    if (id < 0 || id >= most)
        m->failed = !tl_fail(m->error, TL_ERROR_LIMIT, "%s: more than %lld devices",
                             tl_store_directory(m->from), (long long)most);
    else
        m->failed = !tl_store_device(m->into, fingerprint, name, facts, &m->devices[id], m->error);
    return !m->failed;
}

/* ---- examples ---- */

static bool note_most(void *context, int64_t index) {
    merger *m = context;
    if (index > m->most) m->most = index;
    m->before++;
    return true;
}

static bool note_held(void *context, int64_t index) {
    merger *m = context;
    if (index >= 0) m->held[index / 8] |= (unsigned char)(1 << index % 8);
    return true;
}

static bool merge_example(void *context, const tl_example *example) {
    merger *m = context;
    int64_t i = example->index;
    if (i >= 0 && i <= m->most && m->held[i / 8] >> i % 8 & 1) return true;
    m->failed = !tl_store_add_example(m->into, m->cell, example, m->error);
    m->merged->examples += !m->failed;
    return !m->failed;
}

static bool merge_examples(merger *m, int64_t cell) {
    m->most = -1;
    m->before = 0;
    if (!tl_store_each_index(m->into, m->cell, note_most, m, m->error)) return false;
    m->held = calloc((size_t)(m->most / 8 + 1), 1);
    bool good = m->held || tl_fail_memory(m->error, (size_t)m->most / 8, "a merge");
    good = good && tl_store_each_index(m->into, m->cell, note_held, m, m->error) &&
           tl_store_each_example(m->from, cell, merge_example, m, m->error) && !m->failed;
    free(m->held);
    m->held = NULL;
    return good;
}

/* ---- cells ---- */

static bool merge_measure(void *context, const char *name, double value, const char *unit,
                          const char *note) {
    merger *m = context;
    if (!m->prefer && !isnan(tl_store_measure(m->into, m->cell, name))) return true;
    m->failed = !tl_store_set_measure(m->into, m->cell, name, value, unit, note, m->error);
    return !m->failed;
}

/* Done with every example; else the verdict of the one that has more to say. */
static bool merge_verdict(merger *m, const tl_store_cell *theirs, tl_verdict ours) {
    int64_t held = tl_store_count_examples(m->into, m->cell);
    if (theirs->examples > 0 && held >= theirs->examples &&
        (theirs->verdict == TL_VERDICT_DONE || ours == TL_VERDICT_DONE || m->before > 0))
        return tl_store_set_verdict(m->into, m->cell, TL_VERDICT_DONE, NULL, m->error);
    if (ours != TL_VERDICT_PLANNED && !m->prefer) return true;
    return tl_store_set_verdict(m->into, m->cell, theirs->verdict, theirs->reason, m->error);
}

static bool merge_cell(void *context, const tl_store_cell *theirs) {
    merger *m = context;
    int64_t most = (int64_t)(sizeof m->devices / sizeof *m->devices);
    tl_store_cell cell = *theirs;
    if (theirs->device < 0 || theirs->device >= most || m->devices[theirs->device] == 0) {
        m->failed = !tl_fail(m->error, TL_ERROR_FORMAT, "%s: a cell of no device",
                             tl_store_directory(m->from));
        return false;
    }
    cell.device = m->devices[theirs->device];
    cell.verdict = TL_VERDICT_PLANNED;
    cell.reason = NULL;
    m->failed = !tl_store_plan(m->into, &cell, m->error);
    if (m->failed) return false;
    m->cell = cell.id;
    int64_t ours = tl_store_count_examples(m->into, cell.id);
    m->prefer = tl_store_count_examples(m->from, theirs->id) > ours;
    m->failed = !merge_examples(m, theirs->id) ||
                !tl_store_each_measure(m->from, theirs->id, merge_measure, m, m->error) ||
                m->failed || !merge_verdict(m, theirs, cell.verdict);
    m->merged->cells += !m->failed;
    return !m->failed;
}

/* Measures of the examples, once nothing else is written. */
static bool measure_cell(void *context, const tl_store_cell *cell) {
    merger *m = context;
    if (tl_store_count_examples(m->into, cell->id) == 0) return true;
    m->failed = !tl_measure_examples(m->into, cell->id, m->error);
    return !m->failed;
}

/* ---- facts: all sittings of all runs, in the order of merging ---- */

static bool merge_fact(void *context, const char *key, const char *value) {
    merger *m = context;
    char *held = tl_store_fact(m->into, key);
    if (strcmp(key, "sittings") == 0 && held && strlen(held) > 2 && strlen(value) > 2) {
        tl_buffer both = {0};
        tl_buffer_append_format(&both, "%.*s,%s", (int)strlen(held) - 1, held, value + 1);
        m->failed = both.failed || !tl_store_set_fact(m->into, key, both.data, m->error);
        tl_buffer_free(&both);
    } else if (!held) {
        m->failed = !tl_store_set_fact(m->into, key, value, m->error);
    }
    free(held);
    return !m->failed;
}

bool tl_store_merge(tl_store *into, tl_store *from, tl_merged *merged, tl_error *error) {
    *merged = (tl_merged){0};
    merger *m = calloc(1, sizeof *m);
    if (!m) return tl_fail_memory(error, sizeof *m, "a merge");
    *m = (merger){.into = into, .from = from, .merged = merged, .error = error};
    bool good = tl_store_begin(into, error);
    if (good) {
        good = tl_store_each_device(from, merge_device, m, error) && !m->failed &&
               tl_store_each_cell(from, merge_cell, m, error) && !m->failed &&
               tl_store_each_fact(from, merge_fact, m, error) && !m->failed;
        good = tl_store_end(into, good, error);
    }
    good = good && tl_store_each_cell(into, measure_cell, m, error) && !m->failed;
    free(m);
    return good && tl_store_checkpoint(into, error);
}
