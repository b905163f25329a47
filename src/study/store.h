/* store: the truth of a run. One SQLite file (WAL) in the run's directory; every example is a row;
 * reports are functions of it. The schema is in store_schema.c, the meaning of each measure in
 * measures.h. */
#ifndef TL_STUDY_STORE_H
#define TL_STUDY_STORE_H

#include "base/base.h"
#include "task/task.h"

typedef struct tl_store tl_store;

/* Opens DIR/run.sqlite: `write` creates it and takes the run's lock (refused, with the holder's
 * pid, when another process runs there); reading needs no lock and works beside a writer. A store
 * of a newer version, or a damaged one, is refused with what to do. */
tl_store *tl_store_open(const char *directory, bool write, tl_error *error);
void tl_store_close(tl_store *store);
const char *tl_store_directory(const tl_store *store);

/* What tl_store_salvage could read, and which tables have damaged pages. */
typedef struct tl_store_salvaged {
    int64_t cells, examples, measures;
    bool complete;     /* every page that was asked for could be read */
    char damaged[256]; /* "example, text", "" when complete */
} tl_store_salvaged;

/* Reads what can still be read of a damaged store into a store in memory, which the reading
 * functions below take like any other; the damaged file is left as it is. Cells keep their ids; a
 * cell of which rows are missing gets the verdict interrupted with a reason that says so. */
tl_store *tl_store_salvage(const char *directory, tl_store_salvaged *found, tl_error *error);

/* Facts of the run: provenance ("command", "version", "started", …), any JSON value as text. */
bool tl_store_set_fact(tl_store *store, const char *key, const char *value, tl_error *error);
char *tl_store_fact(tl_store *store, const char *key); /* free(); NULL when absent */

typedef enum tl_verdict {
    TL_VERDICT_PLANNED,
    TL_VERDICT_RUNNING,
    TL_VERDICT_DONE,
    TL_VERDICT_PREDICTED_OOM,
    TL_VERDICT_OOM_KILLED,
    TL_VERDICT_TIMEOUT,
    TL_VERDICT_STALLED,
    TL_VERDICT_CRASHED,
    TL_VERDICT_UNSUPPORTED,
    TL_VERDICT_LOAD_ERROR,
    TL_VERDICT_INTERRUPTED,
    TL_VERDICT_COUNT
} tl_verdict;
const char *tl_verdict_name(tl_verdict verdict); /* "done", "predicted_oom", … */
bool tl_verdict_waits(tl_verdict verdict);       /* planned, running or interrupted */

/* A device: where a cell ran. `facts` is a JSON object (CPU, kernel, memory, governor …). The same
 * fingerprint is the same device. */
bool tl_store_device(tl_store *store, const char *fingerprint, const char *name, const char *facts,
                     int64_t *device, tl_error *error);

/* A model as the tables show it. */
typedef struct tl_store_model {
    const char *name; /* last part of the id: "SmolLM-135M" */
    const char *id;   /* hub id or path as given */
    const char *path; /* directory it was loaded from */
    const char *family;
    const char *parameters_label; /* "135M": from the registry, else from the count */
    int64_t parameters;
} tl_store_model;

/* One cell: model × task × protocol × dtype on a device. */
typedef struct tl_store_cell {
    int64_t id;
    int64_t device;
    tl_store_model model;
    const char *task;       /* "arc_easy" */
    const char *task_title; /* "ARC-e" */
    tl_protocol protocol;
    const char *dtype; /* "f32", … that the weights were converted to; "stored": as in the files */
    const char *precision; /* "exact", "fast" */
    int32_t shots;
    int32_t order;        /* the task's place among the columns */
    const char *identity; /* JSON object of hashes and options: resuming with another is refused */
    tl_verdict verdict;
    const char *reason;       /* for anything but done: one line */
    int64_t examples;         /* planned */
    double started, finished; /* wall seconds; NAN */
} tl_store_cell;

/* Adds the cell, or finds it again (same device, model, task, protocol, dtype, precision, shots);
 * an existing one of another identity is refused, naming the first key that differs. Writes
 * cell->id. */
bool tl_store_plan(tl_store *store, tl_store_cell *cell, tl_error *error);
/* Notes the time too: `started` with the first RUNNING, `finished` with anything after it. */
bool tl_store_set_verdict(tl_store *store, int64_t cell, tl_verdict verdict, const char *reason,
                          tl_error *error);

/* What became known once the model was loaded and the rows were read. */
bool tl_store_set_model(tl_store *store, int64_t cell, const char *family, int64_t parameters,
                        const char *parameters_label, tl_error *error);
bool tl_store_set_planned(tl_store *store, int64_t cell, int64_t examples, tl_error *error);

/* Example rows, each a transaction of its own: they survive the death of any process at any point.
 * Against a power cut they are synced to the disk as they come, or as often as costs a twentieth of
 * the time where examples are quicker than the disk. Adding an example again replaces it. */
bool tl_store_add_example(tl_store *store, int64_t cell, const tl_example *example,
                          tl_error *error);

/* Several writes as one transaction; they nest no deeper than one. `keep` false takes all of them
 * back; `error` is then left as it is. Returns whether they were kept. */
bool tl_store_begin(tl_store *store, tl_error *error);
bool tl_store_end(tl_store *store, bool keep, tl_error *error);

/* Syncs what was written to the disk. */
bool tl_store_flush(tl_store *store, tl_error *error);
/* As flush, and moves the write-ahead log into the main file; done at the end of each cell. */
bool tl_store_checkpoint(tl_store *store, tl_error *error);

/* Measures of a cell: tidy rows (name, value, unit, note). A value that could not be measured is
 * NAN with a note saying why. */
bool tl_store_set_measure(tl_store *store, int64_t cell, const char *name, double value,
                          const char *unit, const char *note, tl_error *error);

/* ---- reading
 * ------------------------------------------------------------------------------------------ */

/* Calls `function` for each; strings are borrowed during the call; returning false stops without
 * error. */
bool tl_store_each_device(tl_store *store,
                          bool (*function)(void *, int64_t id, const char *fingerprint,
                                           const char *name, const char *facts),
                          void *context, tl_error *error);
bool tl_store_each_cell(tl_store *store, bool (*function)(void *, const tl_store_cell *),
                        void *context, tl_error *error);
bool tl_store_each_measure(tl_store *store, int64_t cell,
                           bool (*function)(void *, const char *name, double value,
                                            const char *unit, const char *note),
                           void *context, tl_error *error);
/* Examples of a cell in the order of their index. */
bool tl_store_each_example(tl_store *store, int64_t cell,
                           bool (*function)(void *, const tl_example *), void *context,
                           tl_error *error);
double tl_store_measure(tl_store *store, int64_t cell, const char *name); /* NAN when absent */

/* Indices of the examples of a cell that are stored, ascending, without reading their texts. */
bool tl_store_each_index(tl_store *store, int64_t cell, bool (*function)(void *, int64_t index),
                         void *context, tl_error *error);
int64_t tl_store_count_examples(tl_store *store, int64_t cell);
bool tl_store_each_fact(tl_store *store,
                        bool (*function)(void *, const char *key, const char *value), void *context,
                        tl_error *error);

#endif
