/* tinyllm pack: models and rows in one file, for devices without a network. */
#include "cli/bundle_display.h"
#include "cli/hub_arguments.h"

#include <stdio.h>

typedef struct job {
    tl_bundle bundle;
    int failures;
    bool wrong_usage;
} job;

static void add_failed(void *context, const tl_error *error) {
    job *j = context;
    fprintf(stderr, "tinyllm pack: %s\n", error->message);
    j->failures++;
    j->wrong_usage |= error->code == TL_ERROR_USAGE;
}

static void add_model(void *context, const char *model) {
    job *j = context;
    tl_error error = {0};
    if (!tl_bundle_add_model(&j->bundle, model, &error)) add_failed(j, &error);
}

static void add_dataset(void *context, const char *dataset, const char *config,
                        const char *revision, const char *const *splits, int n_splits) {
    job *j = context;
    tl_error error = {0};
    if (!tl_bundle_add_dataset(&j->bundle, dataset, config, revision, splits, n_splits, &error))
        add_failed(j, &error);
}

static int pack(const cli_command *command, job *j, const char *path, int level) {
    tl_error error = {0};
    if (j->failures) {
        fprintf(stderr, "tinyllm pack: nothing written: fetch what is missing first\n");
        return j->wrong_usage ? 2 : 1;
    }
    bundle_print(&j->bundle);
    bundle_progress p = bundle_progress_start("packed");
    bool good = tl_bundle_write(&j->bundle, path, level, bundle_progress_tick, &p, &error);
    bundle_progress_end(&p);
    if (!good) return cli_fail(command, &error);
    puts(path);
    return 0;
}

static int run_pack(const cli_command *command, int argc, char **argv) {
    const char *path = NULL, *config = NULL;
    int64_t level = 3;
    cli_list splits = {0};
    job j = {0};
    const cli_option options[] = {
        {"output", 'o', CLI_STRING, &path, "FILE", "the bundle to write, FILE.tar.zst"},
        {"level", 0, CLI_INT, &level, "N", "of zstd's compression (default 3)", 1, 19},
        {"config", 0, CLI_STRING, &config, "NAME", "of datasets/ORG/NAME"},
        {"split", 0, CLI_LIST, &splits, "NAME", "of datasets/ORG/NAME (default validation)"},
        {0},
    };
    int operands, status;
    if (!cli_parse(command, options, argc, argv, &operands, &status)) return status;
    if (operands == 0) return cli_usage(command, "what to pack? a model, a task, @study or @tasks");
    if (!path) return cli_usage(command, "which file to write? -o FILE.tar.zst");
    cli_catch_interrupts();
    const cli_hub_visitor visitor = {&j,          config,     &splits,        add_model,
                                     add_dataset, add_failed, cli_interrupted};
    for (int i = 0; i < operands; i++)
        cli_hub_visit(argv[i], &visitor);
    status = pack(command, &j, path, (int)level);
    tl_bundle_free(&j.bundle);
    cli_list_free(&splits);
    return status;
}

const cli_command cmd_pack = {
    .name = "pack",
    .summary = "models and rows of the cache in one file, for a device without a network",
    .usage = "MODEL|TASK|@study|@tasks … -o FILE.tar.zst",
    .examples = "  tinyllm pull @study && tinyllm pack @study -o study.tar.zst\n"
                "  tinyllm pack HuggingFaceTB/SmolLM-135M arc_easy -o smollm.tar.zst\n",
    .run = run_pack,
};
