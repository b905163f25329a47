/* What the files of the sweep share: one group while it runs. */
#ifndef TL_STUDY_SWEEP_PRIVATE_H
#define TL_STUDY_SWEEP_PRIVATE_H

#include "study/guard.h"
#include "study/sweep.h"
#include "study/system.h"
#include "study/telemetry.h"
#include "study/wire.h"

typedef struct tl_sweep_state {
    tl_plan *plan;
    tl_store *store;
    const tl_sweep_options *options;
    tl_sweep_result *result;
    tl_telemetry *telemetry;
    int64_t done, total; /* examples of the whole sweep */
    int64_t fresh;       /* of those, asked in this sitting */
    bool cannot_cool;    /* said already */
} tl_sweep_state;

typedef struct tl_running_group {
    tl_sweep_state *sweep;
    const tl_plan_group *group;
    bool pending[TL_PROTOCOL_COUNT];    /* cells to run, by their place in the group */
    int64_t planned[TL_PROTOCOL_COUNT]; /* examples, as the worker counts them; -1: not heard yet */
    int64_t stored[TL_PROTOCOL_COUNT];
    int64_t done, total; /* examples of the pending cells */
    int64_t fresh;       /* asked by this worker */
    char stage[24];
    bool evaluating;
    double begun; /* evaluating */
    double seconds;
    tl_system_memory memory_before, memory_after;
    tl_span span;
    cJSON *measures; /* of the worker; NULL until it sent them */
    bool failed;     /* it said that it failed: */
    tl_code code;
    char message[1024];
} tl_running_group;

int64_t tl_sweep_memory_limit(const tl_sweep_options *options);

/* Stores what a worker measured: a JSON array of {name, value, unit, note}. */
bool tl_record_worker_measures(tl_running_group *run, int at, const cJSON *measures,
                               tl_error *error);

/* Stores verdicts and measures of a group whose worker is gone (`outcome`). */
bool tl_record_outcome(tl_running_group *run, const tl_guard_outcome *outcome, tl_error *error);

/* Gives every pending cell one verdict without any worker. */
bool tl_record_verdict(tl_running_group *run, tl_verdict verdict, const char *reason,
                       tl_error *error);

#endif
