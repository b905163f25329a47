#include "report/load.h"

#include "report/lmeval_read.h"
#include "report/published.h"
#include "report/run_read.h"
#include "study/names.h"

#include <stdlib.h>
#include <string.h>

static int by_side(const void *a, const void *b) {
    const tl_result_cell *left = *(tl_result_cell *const *)a, *right = *(tl_result_cell *const *)b;
    if (left->run != right->run) return left->run - right->run;
    if (left->device != right->device) return left->device - right->device;
    int names = strcmp(left->model.name, right->model.name);
    return names ? names : strcmp(left->model.id, right->model.id);
}

static bool beside(const tl_result_cell *a, const tl_result_cell *b) {
    return a->run == b->run && a->device == b->device && strcmp(a->model.name, b->model.name) == 0;
}

/* Notes, for each id of cells that stand side by side under one name, how much of it they need. */
static bool note_parts(tl_result_cell *const *cells, int count, tl_map *parts, tl_error *error) {
    const char **ids = malloc(((size_t)count + 1) * sizeof *ids);
    if (!ids) return tl_fail_memory(error, (size_t)count * sizeof *ids, "names");
    int different = 0;
    for (int i = 0; i < count; i++)
        if (i == 0 || strcmp(cells[i]->model.id, cells[i - 1]->model.id) != 0)
            ids[different++] = cells[i]->model.id;
    bool good = true;
    for (int i = 0; good && different > 1 && i < different; i++) {
        uint64_t most = 0, needed = (uint64_t)tl_model_parts(ids[i], ids, different);
        tl_map_get(parts, ids[i], strlen(ids[i]), &most);
        good = needed <= most || tl_map_set(parts, ids[i], strlen(ids[i]), needed);
    }
    free(ids);
    return good || tl_fail_memory(error, 0, "names");
}

/* Two directories may end in the same name, as may models of two owners. Where both were run on a
 * device, they take as much of their ids as tells them apart, and so wherever they appear. */
static bool tell_apart(tl_results *results, tl_error *error) {
    int count = results->cell_count;
    tl_result_cell **cells = malloc(((size_t)count + 1) * sizeof *cells);
    tl_map *parts = tl_map_new(16);
    bool good = (cells && parts) || tl_fail_memory(error, (size_t)count * sizeof *cells, "names");
    for (int i = 0; good && i < count; i++)
        cells[i] = &results->cells[i];
    if (good) qsort(cells, (size_t)count, sizeof *cells, by_side);
    for (int first = 0, next; good && first < count; first = next) {
        for (next = first + 1; next < count && beside(cells[first], cells[next]);)
            next++;
        good = note_parts(cells + first, next - first, parts, error);
    }
    for (int i = 0; good && i < count; i++) {
        tl_store_model *model = &results->cells[i].model;
        uint64_t needed;
        if (tl_map_get(parts, model->id, strlen(model->id), &needed))
            model->name = tl_model_tail(model->id, (int)needed);
    }
    tl_map_free(parts);
    free(cells);
    return good;
}

bool tl_results_add(tl_results *results, const char *operand, tl_error *error) {
    if (strcmp(operand, "study") == 0) return tl_published_read(results, error);
    /* a run may have been exported into its own directory: its store comes first */
    bool harness = !tl_run_is_store(operand) && tl_lmeval_is_output(operand);
    return (harness ? tl_lmeval_read : tl_run_read)(results, operand, error);
}

tl_results *tl_results_load(const char *const *operands, int count, bool salvage, tl_error *error) {
    tl_results *results = tl_results_new(error);
    if (results) results->salvage = salvage;
    bool good = results != NULL;
    for (int i = 0; good && i < count; i++)
        good = tl_results_add(results, operands[i], error);
    if (good && tell_apart(results, error)) return results;
    tl_results_free(results);
    return NULL;
}

tl_results *tl_results_load_run(const char *directory, tl_error *error) {
    tl_results *results = tl_results_load(&directory, 1, false, error);
    if (!results || results->runs[0].store) return results;
    tl_fail(error, TL_ERROR_USAGE, "%s: expected the directory of a run", directory);
    tl_results_free(results);
    return NULL;
}
