/* The table of commands: one line each. */
#include "cli/cli.h"

/* clang-format off */
const cli_command *const cli_commands[] = {
    NULL,
};
/* clang-format on */
