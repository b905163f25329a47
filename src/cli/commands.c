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
/* In the order in which --help lists them. */
const cli_command *const cli_commands[] = {
    &cmd_run,
    &cmd_report,
    &cmd_compare,
    &cmd_serve,
    &cmd_export,
    &cmd_merge,
    &cmd_bench,
    &cmd_score,
    &cmd_logits,
    &cmd_generate,
    &cmd_tokenize,
    &cmd_inspect,
    &cmd_quantize,
    &cmd_pull,
    &cmd_pack,
    &cmd_unpack,
    &cmd_models,
    &cmd_tasks,
    &cmd_doctor,
    &cmd_worker,
    NULL,
};
/* clang-format on */
