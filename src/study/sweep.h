/* sweep: runs a plan, group by group, each in a worker of its own, and writes the store.
 *
 * Who may die when. The parent is the store's only writer; a worker's example is stored before the
 * worker is told to go on. Killing the worker at any point loses the example it was at. Killing the
 * parent loses the same, for the worker dies with it. Killing both is no different. The next run of
 * the same command asks exactly the examples that have no row. */
#ifndef TL_STUDY_SWEEP_H
#define TL_STUDY_SWEEP_H

#include "study/plan.h"

#include <signal.h>

/* What a sweep tells of itself while it runs. Any of the functions may be NULL. */
typedef struct tl_sweep_listener {
    void *context;
    void (*group_begins)(void *context, const tl_plan_group *group, int place, int count);
    /* Examples of the whole sweep and of this group; `fresh` were asked in this sitting. */
    void (*progress)(void *context, const tl_plan_group *group, const char *stage, int64_t done,
                     int64_t total, int64_t sweep_done, int64_t sweep_total, int64_t fresh);
    void (*cell_ends)(void *context, const tl_plan_group *group, const tl_store_cell *cell,
                      tl_verdict verdict, const char *reason);
    void (*cooling)(void *context, double temperature, double target);
    void (*note)(void *context, const char *text);
} tl_sweep_listener;

typedef struct tl_sweep_options {
    int threads;
    double memory_share;  /* of the system's memory, when memory_limit is 0; 0: no limit */
    int64_t memory_limit; /* bytes a worker may hold; 0: see above */
    double time_limit;    /* seconds a group may take; 0: any */
    double stall_limit;   /* seconds without progress; 0: any */
    double cooldown;      /* °C to wait for before each group; NAN: none */
    const char *root;     /* before /proc and /sys, for tests */
    const char *program;  /* this program, to be executed as the worker */
    /* Set by a signal handler: 1 stops after the example in flight, 2 at once. */
    const volatile sig_atomic_t *stop;
    tl_sweep_listener listener;
    /* As in the plan: */
    int32_t shots;
    bool shots_first, fast, batched;
    const char *device;
    tl_bos bos;
    const char *data_file, *data_dir;
} tl_sweep_options;

typedef struct tl_sweep_result {
    int done, failed; /* cells; `failed` counts every verdict but done */
    int unreadable;   /* of those: load_error or unsupported */
    bool interrupted;
} tl_sweep_result;

/* Runs what is not done yet. Cells that fail do not make it fail; a store that cannot be written
 * does. */
bool tl_sweep(tl_plan *plan, tl_store *store, const tl_sweep_options *options,
              tl_sweep_result *result, tl_error *error);

#endif
