/* What every command that runs a model shares: the options, and opening model, tokenizer and
 * engine. */
#ifndef TL_CLI_MODEL_OPTIONS_H
#define TL_CLI_MODEL_OPTIONS_H

#include "cli/cli.h"
#include "engine/engine.h"

typedef struct cli_model_options {
    const char *model; /* a directory or a hub id */
    int64_t threads;   /* 0: all */
    const char *dtype; /* NULL: as stored */
    bool fast;
    const char *device; /* NULL: cpu */
} cli_model_options;

/* Lines of an option table, for a cli_model_options `o`. */
#define CLI_MODEL_OPTIONS(o)                                                                       \
    {"model",    'm',     CLI_STRING,                                                              \
     &(o).model, "MODEL", "checkpoint directory, or a hub id in the Hugging Face cache"},          \
        CLI_RUN_OPTIONS(o)

/* The same without --model, for commands that take several. */
#define CLI_RUN_OPTIONS(o)                                                                         \
    {"threads", 0, CLI_INT, &(o).threads, "N", "threads (default: all processors)", 0, 1024},      \
        {"dtype",    0,      CLI_STRING,                                                           \
         &(o).dtype, "TYPE", "convert weights to f32, f16, bf16, q8 or q4 (default: as stored)"},  \
        {"device",    0,        CLI_STRING,                                                        \
         &(o).device, "DEVICE", "cpu (default), cuda, cuda:N or auto: a GPU where there is one"},  \
    {                                                                                              \
        "fast", 0, CLI_FLAG, &(o).fast, NULL, "bf16 and int8 products instead of exact f32"        \
    }

typedef struct cli_model {
    char directory[4096];
    tl_model *model;
    tl_tokenizer *tokenizer; /* NULL when not asked for */
    tl_engine *engine;
    double load_seconds; /* model and tokenizer, until ready to compute */
} cli_model;

/* Opens what the options name. On failure prints why, sets *status and returns false. */
bool cli_model_open(const cli_command *command, const cli_model_options *options,
                    bool with_tokenizer, cli_model *opened, int *status);
void cli_model_close(cli_model *opened);

/* The same without printing, for the library's other users. */
bool cli_model_load(const cli_model_options *options, bool with_tokenizer, cli_model *opened,
                    tl_error *error);

/* The model that --model (`option`, may be NULL) or else the only operand names; NULL, with wrong
 * usage told, where there is none or more is given. */
const char *cli_model_operand(const cli_command *command, const char *option, int operands,
                              char **argv);

/* "5,6,7" (spaces allowed) → ids; false with wrong usage told. */
bool cli_parse_ids(const cli_command *command, const char *option, const char *text, tl_ids *ids);

/* Standard input line by line. `line` and `capacity` as for getline(3); returns the length without
 * the newline, or -1 at the end. */
int64_t cli_read_line(char **line, size_t *capacity);

#endif
