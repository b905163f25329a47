/* results: what every report is made from, and what its readers (run_read.h, published.h,
 * lmeval_read.h) build it with. load.h opens them all. */
#ifndef TL_REPORT_RESULTS_H
#define TL_REPORT_RESULTS_H

#include "base/base.h"
#include "study/store.h"

/* The measures that tables and charts show; how each is named and written is in measures.c. */
typedef enum tl_measure {
    TL_MEASURE_ACCURACY,      /* percent; for loglikelihood the harness's acc */
    TL_MEASURE_TIME,          /* milliseconds an example, forward pass alone */
    TL_MEASURE_MEMORY,        /* GB of 1024³ bytes: peak on the GPU, else of the process */
    TL_MEASURE_SIZE,          /* MB of 1024² bytes */
    TL_MEASURE_ACCURACY_NORM, /* percent; loglikelihood by length in characters */
    TL_MEASURE_ENERGY,        /* joules an example */
    TL_MEASURE_COUNT
} tl_measure;

typedef struct tl_measure_traits {
    const char *key;   /* in JSON and CSV: "accuracy" */
    const char *title; /* "Accuracy" */
    const char *unit;  /* "%" */
    int decimals;
    bool more_is_better;
} tl_measure_traits;

const tl_measure_traits *tl_measure_get(tl_measure measure);

enum { TL_STUDY_TABLES = 4 }; /* the first measures are the study's four tables */

/* What became of one example; kept for every example, so small. */
typedef struct tl_outcome {
    int32_t index;           /* row of the split */
    int16_t gold;            /* -1: wrong whatever is predicted */
    int16_t prediction;      /* -1: none */
    int16_t prediction_norm; /* -1: not defined */
    float milliseconds;      /* NAN when shared */
} tl_outcome;

/* A measure as the store has it. */
typedef struct tl_raw_measure {
    const char *name, *unit, *note;
    double value;
} tl_raw_measure;

typedef struct tl_result_cell {
    int run, device;  /* index into tl_results */
    int64_t store_id; /* the cell in its store; 0 where there is none */
    tl_store_model model;
    const char *task, *task_title;
    const char *protocol, *dtype, *precision;
    int32_t shots, order;
    const char *identity;
    tl_verdict verdict;
    const char *reason; /* "" when done */
    int64_t planned;
    double started, finished;

    /* From the examples. `examples` counts those scored; skipped ones are apart. */
    int64_t examples, correct, correct_norm, skipped, truncated;
    bool has_norm;
    double chance;               /* mean of 1/choices, a fraction */
    int labels;                  /* largest number of choices */
    int64_t *predicted, *golden; /* [labels] */
    tl_outcome *outcomes;        /* [examples], by index; NULL where unknown */

    double values[TL_MEASURE_COUNT]; /* NAN where not measured */
    const char *memory_kind;         /* which peak TL_MEASURE_MEMORY is: a raw measure's name */
    bool swapping;                   /* pages came back from swap while examples were timed */
    bool shared_time; /* examples were computed together: TL_MEASURE_TIME is wall time / examples */
    tl_raw_measure *measures;
    int measure_count;
} tl_result_cell;

typedef enum tl_run_kind { TL_RUN_STORE, TL_RUN_PUBLISHED, TL_RUN_HARNESS } tl_run_kind;

typedef struct tl_result_run {
    tl_run_kind kind;
    const char *name; /* the operand as given */
    const char *directory;
    const char *facts; /* JSON object: command, version, started … */
    tl_store *store;   /* open for as long as the results live; NULL for the other kinds */
} tl_result_run;

typedef struct tl_result_device {
    const char *fingerprint, *name, *facts;
} tl_result_device;

typedef struct tl_results {
    tl_arena *arena; /* every string and array */
    tl_result_run *runs;
    int run_count;
    tl_result_device *devices;
    int device_count;
    tl_result_cell *cells;
    int cell_count;
    int run_capacity, device_capacity, cell_capacity;
    bool salvage;       /* read what can be read of damaged stores */
    tl_buffer salvaged; /* then: a line for each run, saying how much that was */
} tl_results;

/* Empty results; NULL when memory is out. */
tl_results *tl_results_new(tl_error *error);
void tl_results_free(tl_results *results);

/* Is the cell done, waiting (planned, running, interrupted), or neither: failed for a reason? */
bool tl_cell_done(const tl_result_cell *cell);
bool tl_cell_waiting(const tl_result_cell *cell);

/* The cell's name among a tracker's runs: the same on every export, another when it was run again.
 */
enum { TL_CELL_ID = 8 }; /* digits and lower-case letters */
void tl_cell_id(const tl_results *results, const tl_result_cell *cell, char id[TL_CELL_ID + 1]);

/* ---- for the readers ---- */

int tl_results_new_run(tl_results *results, const tl_result_run *run, tl_error *error); /* -1 */
int tl_results_new_device(tl_results *results, const tl_result_device *device, tl_error *error);
/* A zeroed cell with NAN measures, valid until the next is added; NULL on failure. */
tl_result_cell *tl_results_new_cell(tl_results *results, tl_error *error);

/* A copy of the string in the arena, with U+FFFD for what is not UTF-8; "" for NULL. */
const char *tl_results_string(tl_results *results, const char *text, tl_error *error);
/* The same for `count` borrowed strings, each replaced by its copy. */
bool tl_results_keep(tl_results *results, const char **strings[], int count, tl_error *error);

#endif
