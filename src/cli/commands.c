/* The table of commands: one line each. */
#include "cli/cli.h"

extern const cli_command cmd_models;

/* clang-format off */
const cli_command *const cli_commands[] = {
    &cmd_models,
    NULL,
};
/* clang-format on */
