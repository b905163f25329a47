/* sitting: one worker's sitting over a group, what was seen of it, and what is stored of that once
 * the worker is gone. */
#ifndef TL_STUDY_SITTING_H
#define TL_STUDY_SITTING_H

#include "study/guard.h"
#include "study/plan.h"
#include "study/system.h"
#include "study/telemetry.h"

typedef struct tl_sitting {
    int64_t fresh; /* examples asked by this worker */
    bool evaluating;
    double begun; /* evaluating */
    double seconds;
    tl_system_memory memory_before, memory_after;
    tl_span span;
    cJSON *measures; /* of the worker; NULL until it sent them */
    bool failed;     /* it said that it failed: */
    tl_code code;
    char message[1024];
    tl_guard_outcome outcome; /* how it ended */
} tl_sitting;

/* What became of the cells that are not complete; *reason (NULL when done) lives as long as the
 * sitting. */
tl_verdict tl_sitting_judge(const tl_sitting *sitting, const char **reason);

/* Stores what a worker measured: a JSON array of {name, value, unit, note}. */
bool tl_store_worker_measures(tl_store *store, int64_t cell, const cJSON *measures,
                              tl_error *error);

/* Stores the measures of a cell of the group: of its examples, of the worker, and those taken
 * around them. */
bool tl_sitting_store(const tl_sitting *sitting, const tl_plan_group *group, tl_store *store,
                      int64_t cell, const tl_sensors *sensors, tl_error *error);

#endif
