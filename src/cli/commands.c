/* The table of commands: one line each. */
#include "cli/cli.h"

extern const cli_command cmd_models;
extern const cli_command cmd_tokenize;
extern const cli_command cmd_tasks;
extern const cli_command cmd_bench;
extern const cli_command cmd_generate;
extern const cli_command cmd_inspect;
extern const cli_command cmd_logits;
extern const cli_command cmd_quantize;
extern const cli_command cmd_score;
extern const cli_command cmd_pull;
extern const cli_command cmd_pack;
extern const cli_command cmd_unpack;
extern const cli_command cmd_compare;
extern const cli_command cmd_report;
extern const cli_command cmd_export;
extern const cli_command cmd_serve;
extern const cli_command cmd_doctor;
extern const cli_command cmd_merge;
extern const cli_command cmd_run;
extern const cli_command cmd_worker;

/* clang-format off */
const cli_command *const cli_commands[] = {
    &cmd_run,
    &cmd_models,
    &cmd_tokenize,
    &cmd_tasks,
    &cmd_bench,
    &cmd_generate,
    &cmd_inspect,
    &cmd_logits,
    &cmd_quantize,
    &cmd_score,
    &cmd_pull,
    &cmd_pack,
    &cmd_unpack,
    &cmd_compare,
    &cmd_report,
    &cmd_export,
    &cmd_serve,
    &cmd_merge,
    &cmd_doctor,
    &cmd_worker,
    NULL,
};
/* clang-format on */
