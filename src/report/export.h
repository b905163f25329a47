/* Exports: a run in the formats of others. Each reads the store in `directory` and streams. */
#ifndef TL_REPORT_EXPORT_H
#define TL_REPORT_EXPORT_H

#include "base/base.h"

/* lm-evaluation-harness's layout: OUT/<model>/results_<time>.json and samples_<task>_<time>.jsonl,
 * for the cells of protocol loglikelihood; further measures under the key "tinyllm". Fails when
 * there is no such cell. */
bool tl_export_lmeval(const char *directory, const char *out, tl_error *error);

/* Weights & Biases: one offline run per cell, OUT/offline-run-…/run-ID.wandb, for `wandb sync`.
 * `project` names the project there. Writes the number of runs to *count (may be NULL). */
bool tl_export_wandb(const char *directory, const char *out, const char *project, int *count,
                     tl_error *error);

/* MLflow: one run per cell, over the REST API of the tracking server at `uri`; those that are there
 * already are left as they are. User and password, or token, come from
 * MLFLOW_TRACKING_USERNAME/_PASSWORD/_TOKEN. Writes the number of cells there to *count (may be
 * NULL). */
bool tl_export_mlflow(const char *directory, const char *uri, const char *experiment, int *count,
                      tl_error *error);

/* CSV: OUT/cells.csv (tidy: one row a cell and measure) and OUT/examples.csv (one row an example).
 */
bool tl_export_csv(const char *directory, const char *out, tl_error *error);

#endif
