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
    const char *format = NULL, *html = NULL;
    const cli_option options[] = {
        {"format", 'f', CLI_STRING, &format, "FORMAT",
         "md (default), csv (one row a cell and measure), json (everything) or latex"},
        {"html", 0, CLI_STRING, &html, "FILE", "write the page: one file that works offline"},
        {0},
    };
    int operands, status;
    if (!cli_parse(command, options, argc, argv, &operands, &status)) return status;
    if (operands == 0) return cli_usage(command, "expected the directory of a run");
    const char *const *runs = (const char *const *)argv;
    if (html) {
        tl_error error = {0};
        if (!tl_report_html(runs, operands, html, &error)) return cli_fail(command, &error);
        fprintf(stderr, "%s is written: open it in a browser\n", html);
    }
    if (html && !format) return 0;
    return print_tables(command, runs, operands, format ? format : "md");
}

const cli_command cmd_report = {
    .name = "report",
    .summary = "tables, charts and the page of a run",
    .usage = "DIR… [options]",
    .examples =
        "  tinyllm report runs/pi                    the study's four tables\n"
        "  tinyllm report runs/pi --format csv       tidy: one row a cell and measure\n"
        "  tinyllm report runs/pi --html pi.html     the page, with charts and every example\n"
        "  tinyllm report runs/pi study --html a.html   beside the published figures\n",
    .run = run,
};
