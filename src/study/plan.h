/* plan: what a command asks for, as groups of cells.
 *
 * A group is one model on one task with weights of one type: one process. Its cells differ in
 * protocol, and share their passes where the same rows are asked. */
#ifndef TL_STUDY_PLAN_H
#define TL_STUDY_PLAN_H

#include "hub/hub.h"
#include "model/model.h"
#include "study/identity.h"
#include "study/store.h"

enum { TL_LIMIT_STUDY = -1 };

typedef struct tl_plan_options {
    const char *const *models; /* as given: ids, directories, @lists */
    int model_count;
    const char *const *tasks; /* names, YAML files, @study, @demo */
    int task_count;
    bool protocols[TL_PROTOCOL_COUNT];
    const char *const *dtypes; /* none: as stored */
    int dtype_count;
    bool fast;
    const char *device; /* "cpu", "cuda", "cuda:N" */
    int64_t limit;      /* 0: all; TL_LIMIT_STUDY: as many as the published study asked */
    int32_t shots;
    bool shots_first;
    tl_bos bos;
    bool batched;
    const char *data_file, *data_dir;
    bool by_model;     /* all tasks of a model, then the next; otherwise model by model in turn */
    int shard, shards; /* 1 … shards: this one's share; 0 of 0: all */
} tl_plan_options;

typedef struct tl_plan_model {
    const char *given, *name;
    const char *shown; /* the name, or as much of `given` as tells it from others of that name */
    const char *label; /* "135M"; NULL where nothing is known */
    const char *directory;
    const char *problem; /* why it cannot be read; NULL when it can */
    tl_code problem_code;
    tl_model_spec spec; /* zero where there is a problem */
    int64_t parameters;
} tl_plan_model;

typedef struct tl_plan_group {
    const tl_plan_model *model;
    const tl_task *task;
    const char *dtype;       /* to convert to; NULL: as stored */
    const char *dtype_shown; /* the same, or "stored" */
    int64_t limit;
    tl_store_cell cells[TL_PROTOCOL_COUNT];
    int cell_count;
    int number; /* by which shards are dealt: the place among all the command asks for */
} tl_plan_group;

typedef struct tl_plan {
    tl_plan_model *models;
    int model_count;
    tl_task **tasks;
    int task_count;
    tl_plan_group *groups; /* in the order they are to run */
    int group_count;
    tl_arena *arena;
} tl_plan;

/* Finds every model and task, and the rows of each, and lays out the groups. Everything that is
 * unknown or malformed is written to `problems`, a line each, and the plan is NULL. A model whose
 * files are there but cannot be understood is no such problem: its cells will say so. */
tl_plan *tl_plan_new(const tl_plan_options *options, tl_buffer *problems, tl_error *error);
void tl_plan_free(tl_plan *plan);

/* Records the cells in the store, refusing those begun with another identity. */
bool tl_plan_record(tl_plan *plan, tl_store *store, int64_t device,
                    const tl_identify_listener *listener, tl_error *error);

/* "135M", "1.1B": a count of parameters as the study's tables write it. */
void tl_parameters_label(int64_t parameters, char *text, size_t size);

#endif
