#include "study/plan.h"

#include "study/device.h"
#include "study/names.h"

#include <ctype.h>
#include <dirent.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The published study's tables ask the first so many rows of these, and all of the others. The
 * harness's protocol always asks all. */
static const struct {
    const char *task;
    int64_t limit;
} study_limits[] = {{"boolq", 1000}, {"piqa", 1000}, {"social_iqa", 1000}};

static const char *const study_tasks[] = {"arc_easy", "boolq",      "openbookqa",
                                          "piqa",     "social_iqa", "winogrande"};

typedef struct planner {
    const tl_plan_options *options;
    tl_plan *plan;
    tl_buffer *problems;
    tl_error *error;
    tl_registry *registry;
    char **models, **tasks; /* names after expansion */
    int model_count, task_count;
} planner;

static void note_problem(planner *p, const tl_error *error) {
    tl_buffer_append_format(p->problems, "%s\n", error->message);
}

/* ---- lists ---- */

static bool append_name(char ***items, int *count, const char *name, tl_error *error) {
    for (int i = 0; i < *count; i++)
        if (strcmp((*items)[i], name) == 0) return true; /* named twice: asked once */
    char **grown = realloc(*items, ((size_t)*count + 1) * sizeof *grown);
    if (!grown) return tl_fail_memory(error, sizeof *grown, "a list of names");
    *items = grown;
    grown[*count] = strdup(name);
    if (!grown[*count]) return tl_fail_memory(error, strlen(name), "a list of names");
    ++*count;
    return true;
}

static bool expand_models(planner *p) {
    for (int i = 0; i < p->options->model_count; i++) {
        char **found = NULL;
        int count = 0;
        tl_error error = {0};
        bool good = tl_hub_expand(p->options->models[i], &found, &count, &error);
        if (!good) note_problem(p, &error);
        for (int k = 0; k < count; k++) {
            good = append_name(&p->models, &p->model_count, found[k], p->error);
            free(found[k]);
            if (!good) p->model_count = 0;
        }
        free(found);
    }
    return true;
}

static int is_demo_task(const struct dirent *entry) {
    size_t length = strlen(entry->d_name);
    return strncmp(entry->d_name, "demo_", 5) == 0 && length > 10 &&
           strcmp(entry->d_name + length - 5, ".yaml") == 0;
}

/* The task files demo_*.yaml among the program's own. */
static bool expand_demo(planner *p) {
    char data[PATH_MAX], path[PATH_MAX + 16];
    if (!tl_data_dir(data, sizeof data, p->error)) return false;
    struct dirent **entries = NULL;
    int before = p->task_count;
    static const char *const places[] = {"tasks", "demo/tasks"};
    bool good = true;
    for (int i = 0; i < 2; i++) {
        snprintf(path, sizeof path, "%s/%s", data, places[i]);
        int found = scandir(path, &entries, is_demo_task, alphasort);
        for (int k = 0; k < found; k++) {
            char *full = tl_path_join(path, entries[k]->d_name);
            good = good && full && append_name(&p->tasks, &p->task_count, full, p->error);
            free(full);
            free(entries[k]);
        }
        if (found >= 0) free(entries);
    }
    if (good && p->task_count == before)
        tl_buffer_append_format(p->problems, "@demo: no demo_*.yaml in %s/tasks\n", data);
    return good;
}

static bool expand_tasks(planner *p) {
    for (int i = 0; i < p->options->task_count; i++) {
        const char *name = p->options->tasks[i];
        if (strcmp(name, "@demo") == 0) {
            if (!expand_demo(p)) return false;
        } else if (strcmp(name, "@study") == 0) {
            for (size_t k = 0; k < sizeof study_tasks / sizeof *study_tasks; k++)
                if (!append_name(&p->tasks, &p->task_count, study_tasks[k], p->error)) return false;
        } else if (name[0] == '@') {
            tl_buffer_append_format(p->problems,
                                    "%s: no such list of tasks: expected @study or @demo\n", name);
        } else if (!append_name(&p->tasks, &p->task_count, name, p->error)) {
            return false;
        }
    }
    return true;
}

/* ---- models ---- */

void tl_parameters_label(int64_t parameters, char *text, size_t size) {
    double count = (double)parameters;
    if (parameters < 1000000)
        snprintf(text, size, "%.0fK", count / 1e3);
    else if (parameters < 999500000)
        snprintf(text, size, count < 9.95e6 ? "%.1fM" : "%.0fM", count / 1e6);
    else
        snprintf(text, size, "%.1fB", count / 1e9);
}

static const char *keep(planner *p, const char *text) {
    return tl_arena_strdup(p->plan->arena, text, p->error);
}

/* The last part of an id or path, without a revision. */
static const char *short_name(planner *p, const char *given, const char *directory) {
    char resolved[PATH_MAX];
    if (tl_dir_exists(given) && realpath(directory, resolved))
        return keep(p, tl_path_base(resolved));
    char name[PATH_MAX];
    snprintf(name, sizeof name, "%s", tl_model_tail(given, 1));
    name[strcspn(name, "@")] = 0;
    return keep(p, name);
}

static bool read_model(planner *p, const char *given, tl_plan_model *model, bool *found) {
    char directory[PATH_MAX];
    tl_error error = {0};
    *found = tl_hub_model_directory(given, directory, sizeof directory, &error);
    if (!*found) {
        note_problem(p, &error);
        return true;
    }
    /* One directory has one id, however it was reached. */
    char resolved[PATH_MAX];
    bool local = tl_dir_exists(given) && realpath(given, resolved);
    model->given = keep(p, local ? resolved : given);
    model->directory = keep(p, directory);
    model->name = short_name(p, given, directory);
    if (!model->given || !model->directory || !model->name) return false;
    if (tl_model_read_spec(directory, &model->spec, &error)) {
        model->parameters = tl_model_count_parameters(&model->spec);
    } else {
        model->spec = (tl_model_spec){0};
        model->problem = keep(p, error.message);
        model->problem_code = error.code;
    }
    const tl_known_model *known = p->registry ? tl_registry_find(p->registry, model->name) : NULL;
    char label[32] = "";
    if (known)
        snprintf(label, sizeof label, "%s", known->parameters_label);
    else if (model->parameters > 0)
        tl_parameters_label(model->parameters, label, sizeof label);
    if (*label) model->label = keep(p, label);
    return true;
}

/* The model after those of the plan is one of them, given in another way. */
static bool is_repeated(const tl_plan *plan, const tl_plan_model *model) {
    for (int i = 0; i < plan->model_count; i++)
        if (strcmp(plan->models[i].given, model->given) == 0) return true;
    return false;
}

static bool tell_apart(tl_plan *plan, tl_error *error) {
    const char **others = malloc(((size_t)plan->model_count + 1) * sizeof *others);
    if (!others) return tl_fail_memory(error, sizeof *others, "names");
    for (int i = 0; i < plan->model_count; i++) {
        tl_plan_model *model = &plan->models[i];
        int count = 0;
        for (int k = 0; k < plan->model_count; k++)
            if (strcmp(plan->models[k].name, model->name) == 0)
                others[count++] = plan->models[k].given;
        int parts = tl_model_parts(model->given, others, count);
        model->shown = parts > 0 ? tl_model_tail(model->given, parts) : model->name;
    }
    free(others);
    return true;
}

static bool read_models(planner *p) {
    p->registry = tl_registry_open(NULL); /* without it, labels come from the counts */
    p->plan->models = tl_arena_alloc(p->plan->arena, (size_t)p->model_count + 1,
                                     sizeof *p->plan->models, "models", p->error);
    if (!p->plan->models) return false;
    for (int i = 0; i < p->model_count; i++) {
        tl_plan_model *model = &p->plan->models[p->plan->model_count];
        bool found = false;
        if (!read_model(p, p->models[i], model, &found)) return false;
        p->plan->model_count += found && !is_repeated(p->plan, model);
    }
    return tell_apart(p->plan, p->error);
}

/* ---- tasks and their rows ---- */

/* The same file, given in another way; another file of the same name is a problem: their cells
 * could not be told apart. */
static bool is_asked_already(planner *p, const tl_task *task) {
    for (int i = 0; i < p->plan->task_count; i++) {
        const tl_task *other = p->plan->tasks[i];
        if (strcmp(tl_task_name(other), tl_task_name(task)) != 0) continue;
        char paths[2][PATH_MAX];
        bool same = realpath(tl_task_path(other), paths[0]) &&
                    realpath(tl_task_path(task), paths[1]) && strcmp(paths[0], paths[1]) == 0;
        if (!same)
            tl_buffer_append_format(p->problems, "%s: has the name %s, as %s has\n",
                                    tl_task_path(task), tl_task_name(task), tl_task_path(other));
        return true;
    }
    return false;
}

static bool read_tasks(planner *p) {
    p->plan->tasks = tl_arena_alloc(p->plan->arena, (size_t)p->task_count + 1,
                                    sizeof *p->plan->tasks, "tasks", p->error);
    if (!p->plan->tasks) return false;
    for (int i = 0; i < p->task_count; i++) {
        tl_error error = {0};
        tl_task *task = tl_task_open(p->tasks[i], &error);
        if (!task) {
            note_problem(p, &error);
            continue;
        }
        if (is_asked_already(p, task)) {
            tl_task_free(task);
            continue;
        }
        p->plan->tasks[p->plan->task_count++] = task;
        for (int q = 0; q < TL_PROTOCOL_COUNT; q++)
            if (p->options->protocols[q] && !tl_task_has_protocol(task, (tl_protocol)q))
                tl_buffer_append_format(p->problems, "%s: has no protocol %s\n", tl_task_path(task),
                                        tl_protocol_name((tl_protocol)q));
    }
    return true;
}

static int64_t limit_of(const tl_plan_options *options, const tl_task *task, tl_protocol protocol) {
    if (options->limit != TL_LIMIT_STUDY) return options->limit;
    if (protocol == TL_PROTOCOL_LOGLIKELIHOOD) return 0;
    for (size_t i = 0; i < sizeof study_limits / sizeof *study_limits; i++)
        if (strcmp(study_limits[i].task, tl_task_name(task)) == 0) return study_limits[i].limit;
    return 0;
}

/* The rows of one protocol of one task: their count within the limit and their fingerprints. */
typedef struct row_facts {
    int64_t count;
    char rows[TL_HEX_SIZE], shots[TL_HEX_SIZE];
} row_facts;

static bool open_split(const tl_plan_options *options, const tl_task *task, tl_protocol protocol,
                       const char *split, bool shots, int64_t limit, int64_t *count,
                       char fingerprint[TL_HEX_SIZE], tl_error *error) {
    char path[PATH_MAX];
    if (options->data_file && !shots)
        snprintf(path, sizeof path, "%s", options->data_file);
    else if (!tl_task_find_rows(task, protocol, split, options->data_dir, path, sizeof path, error))
        return false;
    tl_rows *rows = tl_rows_open(path, limit, error);
    if (!rows) return false;
    *count = tl_rows_count(rows);
    snprintf(fingerprint, TL_HEX_SIZE, "%s", tl_rows_fingerprint(rows));
    tl_rows_free(rows);
    return *count > 0 || tl_fail(error, TL_ERROR_FORMAT, "%s: no rows", path);
}

static bool read_rows(const tl_plan_options *options, const tl_task *task, tl_protocol protocol,
                      row_facts *facts, tl_error *error) {
    *facts = (row_facts){0};
    int64_t limit = limit_of(options, task, protocol), ignored;
    if (!open_split(options, task, protocol, tl_task_split(task, protocol), false, limit,
                    &facts->count, facts->rows, error))
        return false;
    const char *split = tl_task_fewshot_split(task, protocol);
    bool shots = protocol == TL_PROTOCOL_LOGLIKELIHOOD && options->shots > 0;
    return !shots || !split ||
           open_split(options, task, protocol, split, true, 0, &ignored, facts->shots, error);
}

/* ---- groups ---- */

static int32_t order_of(const planner *p, const tl_task *task) {
    for (size_t i = 0; i < sizeof study_tasks / sizeof *study_tasks; i++)
        if (strcmp(study_tasks[i], tl_task_name(task)) == 0) return (int32_t)i;
    for (int i = 0; i < p->plan->task_count; i++)
        if (p->plan->tasks[i] == task) return 100 + i;
    return INT32_MAX;
}

/* What the store tells cells of the same dtype apart by: a GPU's are cells of their own. */
static const char *precision_of(const tl_plan_options *options) {
    bool cpu = !options->device || strcmp(options->device, "cpu") == 0;
    if (cpu) return options->fast ? "fast" : "exact";
    return options->fast ? "cuda fast" : "cuda";
}

static bool write_identity(planner *p, const tl_plan_group *group, tl_protocol protocol,
                           const row_facts *facts, const char **text) {
    const tl_plan_options *o = p->options;
    static const char *const bos[] = {
        [TL_BOS_AUTO] = "auto", [TL_BOS_ON] = "on", [TL_BOS_OFF] = "off"};
    tl_buffer out = {0};
    /* weights, tokenizer and build are added when the cell is recorded. */
    tl_buffer_append_format(&out,
                            "{\"protocol\":\"%s\",\"dtype\":\"%s\",\"precision\":\"%s\","
                            "\"limit\":%lld,\"rows\":\"%s\",\"task\":\"%s\"",
                            tl_protocol_name(protocol), group->dtype_shown, precision_of(o),
                            (long long)group->limit, facts->rows, tl_task_fingerprint(group->task));
    if (protocol == TL_PROTOCOL_LOGLIKELIHOOD)
        tl_buffer_append_format(&out, ",\"bos\":\"%s\",\"shots\":%d", bos[o->bos], o->shots);
    if (*facts->shots)
        tl_buffer_append_format(&out, ",\"shot_rows\":\"%s\",\"shots_first\":%s", facts->shots,
                                o->shots_first ? "true" : "false");
    tl_buffer_append_format(&out, ",\"batched\":%s", o->batched ? "true" : "false");
    *text = out.failed ? NULL : keep(p, out.data);
    tl_buffer_free(&out);
    return *text != NULL;
}

static bool add_cell(planner *p, tl_plan_group *group, tl_protocol protocol,
                     const row_facts *facts) {
    const tl_plan_model *model = group->model;
    tl_store_cell *cell = &group->cells[group->cell_count++];
    *cell = (tl_store_cell){
        .model = {.name = model->name,
                  .id = model->given,
                  .path = model->directory,
                  .family = model->spec.family,
                  .parameters_label = model->label,
                  .parameters = model->parameters},
        .task = tl_task_name(group->task),
        .task_title = tl_task_title(group->task),
        .protocol = protocol,
        .dtype = group->dtype_shown,
        .precision = precision_of(p->options),
        .shots = protocol == TL_PROTOCOL_LOGLIKELIHOOD ? p->options->shots : 0,
        .order = order_of(p, group->task),
        .verdict = TL_VERDICT_PLANNED,
        .examples = facts->count,
        .started = NAN,
        .finished = NAN,
    };
    return write_identity(p, group, protocol, facts, &cell->identity);
}

/* The groups of one model, task and type: protocols that ask equally many rows go together. */
static bool add_groups(planner *p, const tl_plan_model *model, const tl_task *task,
                       const char *dtype, const row_facts facts[TL_PROTOCOL_COUNT], int number) {
    bool placed[TL_PROTOCOL_COUNT] = {false};
    for (int first = 0; first < TL_PROTOCOL_COUNT; first++) {
        if (!p->options->protocols[first] || placed[first]) continue;
        tl_plan_group *group = &p->plan->groups[p->plan->group_count++];
        *group = (tl_plan_group){
            .model = model,
            .task = task,
            .dtype = dtype,
            .dtype_shown = dtype ? dtype : "stored",
            .limit = limit_of(p->options, task, (tl_protocol)first),
            .number = number,
        };
        for (int q = first; q < TL_PROTOCOL_COUNT; q++) {
            if (!p->options->protocols[q] || placed[q] ||
                limit_of(p->options, task, (tl_protocol)q) != group->limit)
                continue;
            placed[q] = true;
            if (!add_cell(p, group, (tl_protocol)q, &facts[q])) return false;
        }
    }
    return true;
}

/* Shards are dealt like cards, by the place of model × task × type in the command: the same for
 * every shard of the same command, whatever the order of running. */
static bool in_shard(const tl_plan_options *options, int number) {
    return options->shards == 0 || number % options->shards == options->shard - 1;
}

static bool lay_out(planner *p) {
    tl_plan *plan = p->plan;
    const tl_plan_options *o = p->options;
    int dtypes = o->dtype_count > 0 ? o->dtype_count : 1;
    size_t most = (size_t)plan->model_count * (size_t)plan->task_count * (size_t)dtypes;
    row_facts(*facts)[TL_PROTOCOL_COUNT] =
        tl_arena_alloc(plan->arena, (size_t)plan->task_count, sizeof *facts, "rows", p->error);
    plan->groups = tl_arena_alloc(plan->arena, most * TL_PROTOCOL_COUNT, sizeof *plan->groups,
                                  "groups", p->error);
    if (!facts || !plan->groups) return false;
    for (int t = 0; t < plan->task_count; t++) {
        for (int q = 0; q < TL_PROTOCOL_COUNT; q++) {
            tl_error error = {0};
            if (o->protocols[q] && tl_task_has_protocol(plan->tasks[t], (tl_protocol)q) &&
                !read_rows(o, plan->tasks[t], (tl_protocol)q, &facts[t][q], &error))
                note_problem(p, &error);
        }
    }
    if (p->problems->length > 0) return true;
    int outer = o->by_model ? plan->model_count : plan->task_count;
    int inner = o->by_model ? plan->task_count : plan->model_count;
    for (int i = 0; i < outer; i++) {
        for (int k = 0; k < inner; k++) {
            int m = o->by_model ? i : k, t = o->by_model ? k : i;
            for (int d = 0; d < dtypes; d++) {
                int number = (m * plan->task_count + t) * dtypes + d;
                if (in_shard(o, number) &&
                    !add_groups(p, &plan->models[m], plan->tasks[t],
                                o->dtype_count > 0 ? o->dtypes[d] : NULL, facts[t], number))
                    return false;
            }
        }
    }
    return true;
}

tl_plan *tl_plan_new(const tl_plan_options *options, tl_buffer *problems, tl_error *error) {
    tl_plan *plan = calloc(1, sizeof *plan);
    if (plan) plan->arena = tl_arena_new();
    if (!plan || !plan->arena) {
        free(plan);
        tl_fail_memory(error, sizeof *plan, "the plan");
        return NULL;
    }
    planner p = {.options = options, .plan = plan, .problems = problems, .error = error};
    bool good =
        expand_models(&p) && expand_tasks(&p) && read_models(&p) && read_tasks(&p) && lay_out(&p);
    for (int i = 0; i < p.model_count; i++)
        free(p.models[i]);
    for (int i = 0; i < p.task_count; i++)
        free(p.tasks[i]);
    free(p.models);
    free(p.tasks);
    tl_registry_free(p.registry);
    if (good && problems->length > 0) good = tl_fail(error, TL_ERROR_USAGE, "nothing was run");
    if (good) return plan;
    tl_plan_free(plan);
    return NULL;
}

void tl_plan_free(tl_plan *plan) {
    if (!plan) return;
    for (int i = 0; i < plan->task_count; i++)
        tl_task_free(plan->tasks[i]);
    tl_arena_free(plan->arena);
    free(plan);
}

/* ---- recording ---- */

bool tl_plan_record(tl_plan *plan, tl_store *store, int64_t device,
                    const tl_identify_listener *listener, tl_error *error) {
    tl_model_identity *models = tl_arena_alloc(plan->arena, (size_t)plan->model_count + 1,
                                               sizeof *models, "identities", error);
    char build[TL_HEX_SIZE];
    if (!models || !tl_device_build_id(build, sizeof build, error)) return false;
    for (int i = 0; i < plan->group_count; i++) {
        tl_plan_group *group = &plan->groups[i];
        tl_model_identity *model = &models[group->model - plan->models];
        if (!*model->weights &&
            !tl_identify_model(store, group->model->directory, listener, model, error))
            return false;
        for (int c = 0; c < group->cell_count; c++) {
            tl_store_cell *cell = &group->cells[c];
            tl_buffer identity = {0};
            tl_buffer_append_format(&identity,
                                    "%s,\"weights\":\"%s\",\"tokenizer\":\"%s\",\"build\":\"%s\"}",
                                    cell->identity, model->weights, model->tokenizer, build);
            cell->identity = tl_arena_strdup(plan->arena, tl_buffer_string(&identity), error);
            tl_buffer_free(&identity);
            cell->device = device;
            if (!cell->identity || !tl_store_plan(store, cell, error)) return false;
        }
    }
    return true;
}
