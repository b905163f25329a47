/* guard: a worker process, its limits, and how it ended.
 *
 * The worker is this program executed anew: nothing of the parent's memory or threads is in it. It
 * dies with its parent (PR_SET_PDEATHSIG), is the kernel's first choice when memory runs out, and
 * holds nothing that its death could damage: the parent alone writes the store. */
#ifndef TL_STUDY_GUARD_H
#define TL_STUDY_GUARD_H

#include "study/store.h"

#include <sys/types.h>

typedef struct tl_guard_limits {
    int64_t memory;      /* bytes the worker may hold; 0: only what the system has */
    double seconds;      /* from its start; 0: any time */
    double stall;        /* seconds without a word from it; 0: any time */
    int threads;         /* their stacks are allowed for beside `memory` */
    const char *program; /* executed as PROGRAM worker FD LABEL */
    const char *label;   /* what process listings show: "SmolLM-135M arc_easy" */
    const char *root;    /* before /proc/meminfo and cgroups */
} tl_guard_limits;

typedef struct tl_guard tl_guard;

/* Starts a worker; NULL when no process can be had. */
tl_guard *tl_guard_start(const tl_guard_limits *limits, tl_error *error);

/* Kills the worker if it lives, and forgets it. */
void tl_guard_free(tl_guard *guard);

int tl_guard_socket(const tl_guard *guard);
pid_t tl_guard_process(const tl_guard *guard);

/* How the memory limit is enforced: "cgroup", or "rlimit and watching (why no cgroup)". */
const char *tl_guard_method(const tl_guard *guard);

/* The worker said something. */
void tl_guard_heard(tl_guard *guard);

/* Looks at memory and clocks, and kills the worker that is over a limit. To be called ten times a
 * second or so. */
void tl_guard_watch(tl_guard *guard);

/* Kills it for a reason of the caller's. */
void tl_guard_kill(tl_guard *guard, tl_verdict verdict, const char *reason);

typedef struct tl_guard_outcome {
    bool fell; /* it did not end by itself: `verdict` and `reason` say how */
    tl_verdict verdict;
    char reason[256];
    int64_t peak_resident, peak_proportional; /* bytes, as far as seen from outside; -1 unknown */
    int64_t swap_most;                        /* of the system, bytes; -1: not told */
    int64_t swapped_in;                       /* by the system, pages */
    int64_t page_cache;                       /* of the system at the end, bytes */
} tl_guard_outcome;

/* Waits until it is gone (killing it when it does not go within seconds of closing its end). */
void tl_guard_finish(tl_guard *guard, tl_guard_outcome *outcome);

#endif
