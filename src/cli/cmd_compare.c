/* tinyllm compare: runs side by side. */
#include "cli/cli.h"
#include "report/compare.h"
#include "report/load.h"

#include <stdio.h>

typedef struct choices {
    const char *format;
    const char *fail_on;
    int64_t examples;
} choices;

static int compare(const cli_command *command, const tl_comparisons *comparisons,
                   const choices *chosen) {
    tl_error error = {0};
    tl_buffer out = {0}, lines = {0};
    int passed = 0;
    bool good =
        !chosen->fail_on || tl_compare_check(comparisons, chosen->fail_on, &lines, &passed, &error);
    if (error.code != TL_ERROR_USAGE) { /* a comparison is worth reading even if it fails */
        tl_error writing = {0};
        bool written =
            tl_compare_write(comparisons, chosen->format, chosen->examples, &out, &writing);
        if (written) fwrite(out.data, 1, out.length, stdout);
        if (good && !written) error = writing;
        good = good && written;
    }
    fputs(tl_buffer_string(&lines), stderr);
    tl_buffer_free(&out);
    tl_buffer_free(&lines);
    if (!good) return cli_fail(command, &error);
    if (passed) fprintf(stderr, "tinyllm compare: %d beyond --fail-on\n", passed);
    return passed ? 1 : 0;
}

static int run(const cli_command *command, int argc, char **argv) {
    choices chosen = {.format = "md"};
    const cli_option options[] = {
        {"format", 'f', CLI_STRING, &chosen.format, "FORMAT", "md (default), csv or json"},
        {"examples", 'e', CLI_INT, &chosen.examples, "N",
         "list the first N examples of each cell on which the sides differ", 0, INT32_MAX},
        {"fail-on", 0, CLI_STRING, &chosen.fail_on, "LIMITS",
         "exit 1 beyond any, as accuracy-drop>0.5,slowdown>1.2"},
        {0},
    };
    int operands, status;
    if (!cli_parse(command, options, argc, argv, &operands, &status)) return status;
    if (operands < 2)
        return cli_usage(command, "expected two runs or more (or study); the first is the base");
    tl_error error = {0};
    tl_results *results = tl_results_load((const char *const *)argv, operands, false, &error);
    if (!results) return cli_fail(command, &error);
    tl_comparisons comparisons;
    status = tl_compare(results, &comparisons, &error) ? compare(command, &comparisons, &chosen)
                                                       : cli_fail(command, &error);
    tl_results_free(results);
    return status;
}

const cli_command cmd_compare = {
    .name = "compare",
    .summary = "runs side by side, or with the published figures",
    .usage = "BASE OTHER… [options]",
    .examples =
        "  tinyllm compare study runs/pi                 held against the published figures\n"
        "  tinyllm compare runs/f32 runs/q8 -e 5         and examples answered differently\n"
        "  tinyllm compare lm-eval-out runs/pi           against lm-evaluation-harness's output\n"
        "  tinyllm compare runs/main runs/new --fail-on 'accuracy-drop>0.5,slowdown>1.2'\n"
        "LIMITS: METRIC>NUMBER or METRIC>=NUMBER, separated by commas. METRIC, for each cell:\n"
        "  accuracy-drop, accuracy-change   percentage points against the base\n"
        "  slowdown, memory-growth, size-growth   ratios to the base (1 = equal)\n"
        "  differing   percent of the examples that both answered, with another answer\n"
        "and missing: how many cells are done in the base alone.\n",
    .run = run,
};
