#include "report/tables.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

const tl_result_cell *tl_tables_cell(const tl_tables *tables, const tl_table_group *group,
                                     int model, int task) {
    int cell = group->cells[model * group->task_count + task];
    return cell < 0 ? NULL : &tables->results->cells[cell];
}

double tl_tables_average(const tl_tables *tables, const tl_table_group *group, int model,
                         tl_measure measure) {
    double sum = 0;
    int count = 0;
    for (int task = 0; task < group->task_count; task++) {
        const tl_result_cell *cell = tl_tables_cell(tables, group, model, task);
        if (!cell || !tl_cell_done(cell) || isnan(cell->values[measure])) continue;
        sum += cell->values[measure];
        count++;
    }
    return count ? sum / count : NAN;
}

bool tl_tables_has(const tl_tables *tables, const tl_table_group *group, tl_measure measure) {
    for (int i = 0; i < group->model_count; i++)
        if (!isnan(tl_tables_average(tables, group, i, measure))) return true;
    return false;
}

/* ---- layout ---- */

static bool same_group(const tl_table_group *group, const tl_result_cell *cell) {
    return group->run == cell->run && group->device == cell->device &&
           group->shots == cell->shots && strcmp(group->protocol, cell->protocol) == 0 &&
           strcmp(group->dtype, cell->dtype) == 0 && strcmp(group->precision, cell->precision) == 0;
}

static bool find_groups(tl_tables *tables, tl_error *error) {
    tl_results *results = tables->results;
    tables->groups = tl_arena_alloc(results->arena, (size_t)results->cell_count,
                                    sizeof(tl_table_group), "tables", error);
    if (!tables->groups) return false;
    for (int i = 0; i < results->cell_count; i++) {
        const tl_result_cell *cell = &results->cells[i];
        int at = 0;
        while (at < tables->group_count && !same_group(&tables->groups[at], cell))
            at++;
        if (at < tables->group_count) continue;
        tables->groups[tables->group_count++] = (tl_table_group){
            .run = cell->run,
            .device = cell->device,
            .protocol = cell->protocol,
            .dtype = cell->dtype,
            .precision = cell->precision,
            .shots = cell->shots,
        };
    }
    return true;
}

static bool set_title(tl_tables *tables, tl_table_group *group, tl_error *error) {
    tl_buffer title = {0};
    const tl_results *results = tables->results;
    tl_buffer_append_format(&title, "%s · %s · %s", results->devices[group->device].name,
                            group->protocol, group->dtype);
    if (strcmp(group->precision, "exact") != 0 && *group->precision)
        tl_buffer_append_format(&title, " %s", group->precision);
    if (group->shots) tl_buffer_append_format(&title, " · %d-shot", group->shots);
    const tl_result_run *run = &results->runs[group->run];
    if (run->kind == TL_RUN_PUBLISHED)
        tl_buffer_append_string(&title, " · published");
    else if (results->run_count > 1)
        tl_buffer_append_format(&title, " · %s", run->name);
    group->title = tl_results_string(tables->results, tl_buffer_string(&title), error);
    bool good = !title.failed && group->title;
    tl_buffer_free(&title);
    return good;
}

/* The study's six in its order, then by the run's order, then by name. */
static int task_rank(const char *name) {
    static const char *const study[] = {"arc_easy", "boolq",      "openbookqa",
                                        "piqa",     "social_iqa", "winogrande"};
    int count = sizeof study / sizeof *study;
    for (int i = 0; i < count; i++)
        if (strcmp(study[i], name) == 0) return i;
    return count;
}

static int by_task(const void *a, const void *b) {
    const tl_table_task *left = a, *right = b;
    int ranks = task_rank(left->name) - task_rank(right->name);
    if (ranks) return ranks;
    if (left->order != right->order) return left->order < right->order ? -1 : 1;
    return strcmp(left->name, right->name);
}

static int by_model(const void *a, const void *b, void *context) {
    const tl_results *results = context;
    const tl_store_model *left = &results->cells[*(const int *)a].model;
    const tl_store_model *right = &results->cells[*(const int *)b].model;
    int names = strcmp(left->name, right->name);
    return names ? names : strcmp(left->id, right->id);
}

static int find_task(const tl_table_group *group, const char *name) {
    for (int i = 0; i < group->task_count; i++)
        if (strcmp(group->tasks[i].name, name) == 0) return i;
    return -1;
}

static int find_model(const tl_results *results, const tl_table_group *group,
                      const tl_result_cell *cell) {
    for (int i = 0; i < group->model_count; i++) {
        const tl_store_model *model = &results->cells[group->models[i]].model;
        if (strcmp(model->id, cell->model.id) == 0 && strcmp(model->name, cell->model.name) == 0)
            return i;
    }
    return -1;
}

static bool lay_out(tl_tables *tables, tl_table_group *group, tl_error *error) {
    tl_results *results = tables->results;
    size_t most = (size_t)results->cell_count;
    group->tasks = tl_arena_alloc(results->arena, most, sizeof *group->tasks, "tables", error);
    group->models = tl_arena_alloc(results->arena, most, sizeof(int), "tables", error);
    if (!group->tasks || !group->models) return false;
    for (int i = 0; i < results->cell_count; i++) {
        const tl_result_cell *cell = &results->cells[i];
        if (!same_group(group, cell)) continue;
        if (find_task(group, cell->task) < 0)
            group->tasks[group->task_count++] =
                (tl_table_task){cell->task, cell->task_title, cell->order};
        if (find_model(results, group, cell) < 0) group->models[group->model_count++] = i;
    }
    qsort(group->tasks, (size_t)group->task_count, sizeof *group->tasks, by_task);
    qsort_r(group->models, (size_t)group->model_count, sizeof(int), by_model, results);
    size_t places = (size_t)group->task_count * (size_t)group->model_count;
    group->cells = tl_arena_alloc(results->arena, places, sizeof(int), "tables", error);
    if (!group->cells) return false;
    for (size_t i = 0; i < places; i++)
        group->cells[i] = -1;
    for (int i = 0; i < results->cell_count; i++) {
        const tl_result_cell *cell = &results->cells[i];
        if (!same_group(group, cell)) continue;
        int model = find_model(results, group, cell), task = find_task(group, cell->task);
        group->cells[model * group->task_count + task] = i;
    }
    return true;
}

static bool rank_tasks(tl_tables *tables, tl_table_group *group, tl_error *error) {
    tl_results *results = tables->results;
    group->rankings = tl_arena_alloc(results->arena, (size_t)group->task_count,
                                     sizeof *group->rankings, "rankings", error);
    int *cells = malloc((size_t)group->model_count * sizeof *cells);
    bool good = group->rankings && (cells || tl_fail_memory(error, 0, "rankings"));
    for (int task = 0; good && task < group->task_count; task++) {
        int count = 0;
        for (int model = 0; model < group->model_count; model++) {
            int cell = group->cells[model * group->task_count + task];
            if (cell >= 0) cells[count++] = cell;
        }
        tl_ranking *ranking = &group->rankings[task];
        good = tl_rank(results, cells, count, ranking, error);
        for (int i = 0; good && i < ranking->count; i++)
            tables->best[ranking->cells[i]] =
                ranking->group[i] == 1 && ranking->group[ranking->count - 1] > 1;
    }
    free(cells);
    return good;
}

bool tl_tables_make(tl_results *results, tl_tables *tables, tl_error *error) {
    *tables = (tl_tables){.results = results};
    tables->meanings = tl_arena_alloc(results->arena, (size_t)results->cell_count,
                                      sizeof *tables->meanings, "tables", error);
    tables->best =
        tl_arena_alloc(results->arena, (size_t)results->cell_count, sizeof(bool), "tables", error);
    if (!tables->meanings || !tables->best || !find_groups(tables, error)) return false;
    for (int i = 0; i < results->cell_count; i++)
        if (!tl_analyze_cell(results, &results->cells[i], &tables->meanings[i], error))
            return false;
    for (int i = 0; i < tables->group_count; i++) {
        tl_table_group *group = &tables->groups[i];
        if (!set_title(tables, group, error) || !lay_out(tables, group, error) ||
            !rank_tasks(tables, group, error))
            return false;
    }
    return true;
}
