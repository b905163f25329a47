/* tinyllm unpack: verifies and installs a bundle. */
#include "cli/bundle_display.h"
#include "cli/hub_arguments.h"

#include <stdio.h>

static int run_unpack(const cli_command *command, int argc, char **argv) {
    bool check = false;
    const cli_option options[] = {
        {"check", 0, CLI_FLAG, &check, NULL, "verify only, install nothing"},
        {0},
    };
    int operands, status;
    if (!cli_parse(command, options, argc, argv, &operands, &status)) return status;
    if (operands != 1) return cli_usage(command, "expected one FILE.tar.zst");
    cli_catch_interrupts();
    tl_error error = {0};
    tl_bundle bundle = {0};
    bundle_progress p = bundle_progress_start("verified");
    bool good = tl_bundle_read(argv[0], check, &bundle, bundle_progress_tick, &p, &error);
    bundle_progress_end(&p);
    if (good) {
        bundle_print(&bundle);
        for (int r = 0; r < bundle.count; r++)
            printf("%s%s\n", bundle.repos[r].repo.kind == TL_REPO_DATASET ? "datasets/" : "",
                   bundle.repos[r].repo.id);
    }
    tl_bundle_free(&bundle);
    return good ? 0 : cli_fail(command, &error);
}

const cli_command cmd_unpack = {
    .name = "unpack",
    .summary = "verify a bundle of pack and install it into the Hugging Face cache",
    .usage = "FILE.tar.zst [--check]",
    .examples = "  tinyllm unpack study.tar.zst\n"
                "  HF_HOME=/mnt/disk/hf tinyllm unpack study.tar.zst\n",
    .run = run_unpack,
};
