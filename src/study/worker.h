/* worker: one model on one task in a process of its own, told by its parent over a socket (wire.h).
 *
 * The job is a JSON object:
 *   model        directory of the checkpoint
 *   dtype        convert the weights to it; absent: as stored
 *   precision    "exact" or "fast"
 *   device       "cpu" (default), "cuda", "cuda:N"
 *   threads      0: all
 *   task         name or path of the task file
 *   protocols    ["study", "letter", "loglikelihood"]
 *   limit, shots, shots_first, bos, batched, data_file, data_dir     as tl_evaluation_options
 */
#ifndef TL_STUDY_WORKER_H
#define TL_STUDY_WORKER_H

#include "base/base.h"

/* Does the job that arrives on `socket` and reports on it. Returns the exit status: 0 also when the
 * job failed and the parent was told why. */
int tl_worker_main(int socket);

#endif
