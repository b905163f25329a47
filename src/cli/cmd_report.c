/* tinyllm report: tables, charts and the page of runs. */
#include "cli/cli.h"
#include "report/report.h"

#include <stdio.h>

static int print_tables(const cli_command *command, const char *const *operands, int count,
                        const char *format) {
    tl_error error = {0};
    tl_buffer out = {0};
    bool good = tl_report_tables(operands, count, format, &out, &error);
    if (good) fwrite(out.data, 1, out.length, stdout);
    tl_buffer_free(&out);
    return good ? 0 : cli_fail(command, &error);
}

static int run(const cli_command *command, int argc, char **argv) {
    const char *format = "md";
    const cli_option options[] = {
        {"format", 'f', CLI_STRING, &format, "FORMAT",
         "md (default), csv (one row a cell and measure), json (everything) or latex"},
        {0},
    };
    int operands, status;
    if (!cli_parse(command, options, argc, argv, &operands, &status)) return status;
    if (operands == 0) return cli_usage(command, "expected the directory of a run");
    return print_tables(command, (const char *const *)argv, operands, format);
}

const cli_command cmd_report = {
    .name = "report",
    .summary = "tables, charts and the page of a run",
    .usage = "DIR… [options]",
    .examples = "  tinyllm report runs/pi                    the study's four tables\n"
                "  tinyllm report runs/pi --format csv       tidy: one row a cell and measure\n"
                "  tinyllm report runs/pi study              beside the published figures\n",
    .run = run,
};
