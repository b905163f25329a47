#include "cli/model_options.h"

#include "hub/hub.h"
#include "kernels/backend.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool load_model(const cli_model_options *options, cli_model *opened, tl_error *error) {
    tl_model_options load = {0};
    tl_precision precision = options->fast ? TL_FAST : TL_EXACT;
    if (!tl_backend_check(options->device, error)) return false;
    if (options->dtype && !tl_dtype_parse(options->dtype, &load.dtype, error)) return false;
    load.convert = options->dtype != NULL;
    tl_pool *pool = tl_pool_new((int)options->threads, error);
    tl_compute *compute = pool ? tl_compute_new(pool, precision, error) : NULL;
    if (compute) opened->model = tl_model_load(opened->directory, &load, compute, error);
    tl_compute_free(compute);
    tl_pool_free(pool);
    if (!opened->model) return false;
    tl_engine_options engine = {
        .threads = (int)options->threads, .precision = precision, .device = options->device};
    return (opened->engine = tl_engine_new(opened->model, &engine, error)) != NULL;
}

bool cli_model_load(const cli_model_options *options, bool with_tokenizer, cli_model *opened,
                    tl_error *error) {
    *opened = (cli_model){0};
    double begin = tl_clock_monotonic();
    if (!tl_hub_model_directory(options->model, opened->directory, sizeof opened->directory,
                                error) ||
        !load_model(options, opened, error) ||
        (with_tokenizer && !(opened->tokenizer = tl_tokenizer_open(opened->directory, error)))) {
        cli_model_close(opened);
        return false;
    }
    opened->load_seconds = tl_clock_monotonic() - begin;
    return true;
}

bool cli_model_open(const cli_command *command, const cli_model_options *options,
                    bool with_tokenizer, cli_model *opened, int *status) {
    tl_error error = {0};
    *opened = (cli_model){0};
    if (!options->model) {
        *status = cli_usage(command, "no model: expected -m MODEL");
        return false;
    }
    if (cli_model_load(options, with_tokenizer, opened, &error)) return true;
    *status = cli_fail(command, &error);
    return false;
}

void cli_model_close(cli_model *opened) {
    tl_engine_free(opened->engine);
    tl_model_unload(opened->model);
    tl_tokenizer_free(opened->tokenizer);
    *opened = (cli_model){0};
}

bool cli_parse_ids(const cli_command *command, const char *option, const char *text, tl_ids *ids) {
    tl_error error = {0};
    for (const char *at = text; *at;) {
        char *end;
        errno = 0;
        long value = strtol(at, &end, 10);
        int32_t id = (int32_t)value;
        if (end == at || errno || value < 0 || value > INT32_MAX ||
            (end[strspn(end, " ")] != ',' && end[strspn(end, " ")] != 0)) {
            cli_usage(command, "--%s %s: expected token ids like 5,6,7", option, text);
            return false;
        }
        if (!tl_ids_append(ids, &id, 1, &error)) {
            cli_fail(command, &error);
            return false;
        }
        at = end + strspn(end, " ");
        at += *at == ',';
    }
    if (ids->count) return true;
    cli_usage(command, "--%s: expected at least one token id", option);
    return false;
}

int64_t cli_read_line(char **line, size_t *capacity) {
    ssize_t length = getline(line, capacity, stdin);
    if (length < 0) return -1;
    if (length > 0 && (*line)[length - 1] == '\n') (*line)[--length] = 0;
    if (length > 0 && (*line)[length - 1] == '\r') (*line)[--length] = 0;
    return length;
}

const char *cli_model_operand(const cli_command *command, const char *option, int operands,
                              char **argv) {
    if (operands > (option ? 0 : 1)) {
        cli_usage(command, "unexpected argument '%s'", argv[operands - 1]);
        return NULL;
    }
    if (!option && !operands) cli_usage(command, "no model: expected a directory or a hub id");
    return option ? option : operands ? argv[0] : NULL;
}
