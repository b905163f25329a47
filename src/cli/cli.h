/* The command line: a table of commands, one file each (src/cli/cmd_NAME.c); options are tables
 * too. Results go to stdout, everything else to stderr. Exit status: 0 success, 1 failed job, 2
 * wrong usage. */
#ifndef TL_CLI_H
#define TL_CLI_H

#include "base/base.h"

typedef enum cli_kind {
    CLI_FLAG,   /* bool *: set to true */
    CLI_STRING, /* const char **: the argument */
    CLI_INT,    /* int64_t *: an integer within lowest … highest */
    CLI_DOUBLE, /* double * */
    CLI_LIST,   /* cli_list *: may be repeated; each argument may hold several, split at commas */
} cli_kind;

/* Values gathered by a CLI_LIST option, in order; freed by cli_list_free. */
typedef struct cli_list {
    char **items;
    int count;
} cli_list;

typedef struct cli_option {
    const char *name; /* long name without dashes: "threads" */
    char letter;      /* short name, or 0 */
    cli_kind kind;
    void *target;            /* see cli_kind; holds the default beforehand */
    const char *argument;    /* how help names the argument: "N"; NULL for flags */
    const char *help;        /* one line: what it does, its default */
    int64_t lowest, highest; /* CLI_INT */
} cli_option;

typedef struct cli_command {
    const char *name;
    const char *summary;  /* one line for `tinyllm help` */
    const char *usage;    /* after "tinyllm NAME ": "-m MODEL [options]" */
    const char *examples; /* lines printed under "Examples:" by --help */
    int (*run)(const struct cli_command *command, int argc, char **argv);
} cli_command;

/* One line per command; defined in its cmd_NAME.c and listed in commands.c. */
extern const cli_command *const cli_commands[];

/* Parses options (`table` ends with {0}) anywhere among the arguments; what is left (operands) is
 * moved to the front of argv and counted in `*operands`. Handles --help (prints and returns false
 * with *status 0),
 * --name=value, `--` and grouped short flags. On wrong usage prints one line that names the option
 * and the remedy, sets *status 2 and returns false. */
bool cli_parse(const cli_command *command, const cli_option *table, int argc, char **argv,
               int *operands, int *status);

/* Prints "tinyllm NAME: message" on stderr and returns 1 (2 for TL_ERROR_USAGE, 130 for
 * interrupted). */
int cli_fail(const cli_command *command, const tl_error *error);

/* The same for wrong usage, with a pointer to --help; returns 2. */
int cli_usage(const cli_command *command, const char *format, ...) TL_PRINTF(2, 3);

void cli_list_free(cli_list *list);

/* The name that is most like a word of `length` that nobody knows; NULL while none is like it. */
typedef struct cli_guess {
    const char *word;
    size_t length;
    const char *name;
    size_t distance;
} cli_guess;

void cli_guess_try(cli_guess *guess, const char *name);

#endif
