/* tinyllm: which tiny language model should run on this device? */
#include "cli/cli.h"

#include <stdio.h>
#include <string.h>

static int help(FILE *out) {
    fprintf(out,
            "tinyllm %s: run and evaluate tiny language models on this device\n\n"
            "Usage: tinyllm COMMAND [options]\n\nCommands:\n",
            TINYLLM_VERSION);
    for (const cli_command *const *command = cli_commands; *command; command++)
        if ((*command)->summary)
            fprintf(out, "  %-10s %s\n", (*command)->name, (*command)->summary);
    fprintf(out, "\nEvery command has --help with its options and examples.\n");
    return out == stdout ? 0 : 2;
}

static int unknown(const char *name) {
    cli_guess guess = {.word = name, .length = strlen(name)};
    for (const cli_command *const *command = cli_commands; *command; command++)
        if ((*command)->summary) cli_guess_try(&guess, (*command)->name);
    fprintf(stderr, "tinyllm: unknown command '%s'; ", name);
    if (guess.name) fprintf(stderr, "did you mean %s? ", guess.name);
    fprintf(stderr, "tinyllm --help lists them\n");
    return 2;
}

int main(int argc, char **argv) {
    if (argc < 2) return help(stderr);
    const char *name = argv[1];
    if (strcmp(name, "help") == 0 && argc > 2) {
        name = argv[2];
        argv[2] = "--help";
    } else if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0 ||
               strcmp(name, "help") == 0) {
        return help(stdout);
    }
    if (strcmp(name, "--version") == 0 || strcmp(name, "version") == 0) {
        printf("tinyllm %s\n", TINYLLM_VERSION);
        return 0;
    }
    for (const cli_command *const *command = cli_commands; *command; command++) {
        if (strcmp((*command)->name, name) != 0) continue;
        int status = (*command)->run(*command, argc - 2, argv + 2);
        if ((fflush(stdout) != 0 || ferror(stdout)) && status == 0) {
            fprintf(stderr, "tinyllm %s: cannot write the output\n", name);
            status = 1;
        }
        return status;
    }
    return unknown(name);
}
