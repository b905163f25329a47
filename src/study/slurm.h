/* slurm: a sweep as an array of batch jobs, each with its share of the cells in a store of its own.
 */
#ifndef TL_STUDY_SLURM_H
#define TL_STUDY_SLURM_H

#include "base/base.h"

typedef struct tl_slurm_job {
    const char *program;          /* absolute path */
    const char *const *arguments; /* of tinyllm run, without output, shard and slurm options */
    int argument_count;
    const char *output; /* the shards' stores are OUTPUT/shard-1 … */
    int tasks;          /* of the array */
    int threads;        /* of each; 0: whatever the job is given */
} tl_slurm_job;

/* Appends an sbatch script. A job that is stopped or requeued continues at the next example. */
void tl_slurm_script(const tl_slurm_job *job, tl_buffer *out);

/* Appends a word so that a shell reads it as it is. */
void tl_shell_quote(tl_buffer *out, const char *word);

#endif
