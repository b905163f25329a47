/* tinyllm merge: stores of several machines, or of several shards, as one run. */
#include "cli/cli.h"
#include "study/merge.h"

#include <stdio.h>

static bool merge_all(char **directories, int count, const char *output, tl_error *error) {
    tl_store *into = tl_store_open(output, true, error);
    if (!into) return false;
    bool good = true;
    for (int i = 0; i < count && good; i++) {
        tl_merged merged;
        tl_store *from = tl_store_open(directories[i], false, error);
        good = from && tl_store_merge(into, from, &merged, error);
        tl_store_close(from);
        if (good)
            fprintf(stderr, "%s: %lld cells, %lld examples new\n", directories[i],
                    (long long)merged.cells, (long long)merged.examples);
        else
            tl_fail_within(error, "merging %s", directories[i]);
    }
    tl_store_close(into);
    return good;
}

static int run(const cli_command *command, int argc, char **argv) {
    const char *output = NULL;
    const cli_option table[] = {
        {"output", 'o', CLI_STRING, &output, "DIR", "the joined run; may exist and is added to"},
        {0},
    };
    int operands, status;
    if (!cli_parse(command, table, argc, argv, &operands, &status)) return status;
    if (!output) return cli_usage(command, "no output: give -o DIR");
    if (operands == 0) return cli_usage(command, "no runs to join");
    tl_error error = {0};
    return merge_all(argv, operands, output, &error) ? 0 : cli_fail(command, &error);
}

const cli_command cmd_merge = {
    .name = "merge",
    .summary = "join runs of several machines or shards",
    .usage = "DIR… -o DIR",
    .examples = "  tinyllm merge jetson pi laptop -o all && tinyllm report all\n"
                "  tinyllm merge shard-* -o whole\n",
    .run = run,
};
