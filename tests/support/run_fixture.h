/* Stores of runs made on the spot, for what reads them. */
#ifndef TESTS_RUN_FIXTURE_H
#define TESTS_RUN_FIXTURE_H

#include "study/store.h"

typedef struct run_fixture {
    int models, tasks, examples; /* of each cell; the tasks are the study's six and hellaswag */
    bool hostile;                /* names and texts that try to break out of where they are shown */
    bool troubled;               /* the last model fails on the second task and is unfinished on the
                                    third */
    bool loglikelihood;          /* cells of that protocol too */
} run_fixture;

/* Writes a store into `directory`; the same on every run. Model m answers the i-th example of task
 * t rightly when run_fixture_right says so. */
void run_fixture_write(const char *directory, const run_fixture *fixture);
bool run_fixture_right(int model, int task, int example);
const char *run_fixture_model(int model);

/* What one cell of two models' worth of tests needs: a store with a device, ready for cells. */
tl_store *run_fixture_open(const char *directory, int64_t *device);
/* Plans a cell of `options` choices. */
int64_t run_fixture_plan(tl_store *store, int64_t device, const char *model, const char *task,
                         const char *title, tl_protocol protocol, const char *dtype,
                         int64_t examples);
/* Adds one example of four or fewer choices, asked in `seconds`. */
void run_fixture_answer(tl_store *store, int64_t cell, tl_protocol protocol, int64_t index,
                        int options, int gold, int prediction, double seconds, const char *text);

#endif
