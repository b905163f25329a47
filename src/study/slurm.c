#include "study/slurm.h"

#include <string.h>

void tl_shell_quote(tl_buffer *out, const char *word) {
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                                "@%+=:,./_-";
    if (*word && word[strspn(word, plain)] == 0) {
        tl_buffer_append_string(out, word);
        return;
    }
    tl_buffer_append_byte(out, '\'');
    for (; *word; word++) {
        if (*word == '\'')
            tl_buffer_append_string(out, "'\\''");
        else
            tl_buffer_append_byte(out, *word);
    }
    tl_buffer_append_byte(out, '\'');
}

/* sbatch reads "#SBATCH" lines up to the first command; %A is the job's number, %a the task's. */
void tl_slurm_script(const tl_slurm_job *job, tl_buffer *out) {
    tl_buffer_append_format(out,
                            "#!/bin/bash\n"
                            "#SBATCH --job-name=tinyllm\n"
                            "#SBATCH --array=1-%d\n"
                            "#SBATCH --ntasks=1\n",
                            job->tasks);
    if (job->threads > 0)
        tl_buffer_append_format(out, "#SBATCH --cpus-per-task=%d\n", job->threads);
    tl_buffer_append_string(
        out, "#SBATCH --output=tinyllm-%A_%a.log\n"
             "#SBATCH --requeue\n"
             "#SBATCH --open-mode=append\n"
             "# A minute before the time limit: the run stops after the example in flight.\n"
             "#SBATCH --signal=B:TERM@60\n"
             "#\n"
             "# For times that mean something give each task a node of its own: --exclusive.\n"
             "# Once all tasks are done:\n"
             "#   ");
    tl_shell_quote(out, job->program);
    tl_buffer_append_string(out, " merge ");
    tl_shell_quote(out, job->output);
    tl_buffer_append_string(out, "/shard-* -o ");
    tl_shell_quote(out, job->output);
    tl_buffer_append_string(out, "/whole\n"
                                 "# A task that was stopped continues when the script is submitted "
                                 "again.\n"
                                 "cd \"$SLURM_SUBMIT_DIR\" || exit 1\n"
                                 "exec ");
    tl_shell_quote(out, job->program);
    tl_buffer_append_string(out, " run");
    for (int i = 0; i < job->argument_count; i++) {
        tl_buffer_append_byte(out, ' ');
        tl_shell_quote(out, job->arguments[i]);
    }
    tl_buffer_append_format(out, " --shard \"$SLURM_ARRAY_TASK_ID/%d\" -o ", job->tasks);
    tl_shell_quote(out, job->output);
    tl_buffer_append_string(out, "/shard-\"$SLURM_ARRAY_TASK_ID\"\n");
}
