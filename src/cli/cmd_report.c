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

static int write_page(const cli_command *command, const char *const *operands, int count,
                      const char *path) {
    tl_error error = {0};
    if (!tl_report_html(operands, count, path, &error)) return cli_fail(command, &error);
    fprintf(stderr, "%s is written: open it in a browser\n", path);
    return 0;
}

static int write_charts(const cli_command *command, const char *const *operands, int count,
                        const char *directory) {
    tl_error error = {0};
    bool drawn;
    if (!tl_report_charts(operands, count, directory, &drawn, &error))
        return cli_fail(command, &error);
    if (drawn)
        fprintf(stderr, "the charts are in %s\n", directory);
    else
        fprintf(stderr,
                "gnuplot is not installed (apt-get install gnuplot-nox): %s has the data and the "
                "scripts, and gnuplot *.gp there draws them\n",
                directory);
    return 0;
}

static int run(const cli_command *command, int argc, char **argv) {
    const char *format = NULL, *html = NULL, *charts = NULL;
    const cli_option options[] = {
        {"format", 'f', CLI_STRING, &format, "FORMAT",
         "md (default), csv (one row a cell and measure), json (everything) or latex"},
        {"html", 0, CLI_STRING, &html, "FILE", "write the page: one file that works offline"},
        {"charts", 0, CLI_STRING, &charts, "OUT", "write the charts as SVG and PNG (gnuplot)"},
        {0},
    };
    int count, status;
    if (!cli_parse(command, options, argc, argv, &count, &status)) return status;
    if (count == 0) return cli_usage(command, "expected the directory of a run");
    const char *const *operands = (const char *const *)argv;
    if (html) status = write_page(command, operands, count, html);
    if (charts && status == 0) status = write_charts(command, operands, count, charts);
    if (status != 0 || ((html || charts) && !format)) return status;
    return print_tables(command, operands, count, format ? format : "md");
}

const cli_command cmd_report = {
    .name = "report",
    .summary = "tables, charts and the page of a run",
    .usage = "DIR… [options]",
    .examples =
        "  tinyllm report runs/pi                    the study's four tables\n"
        "  tinyllm report runs/pi --format csv       tidy: one row a cell and measure\n"
        "  tinyllm report runs/pi --html pi.html     the page, with charts and every example\n"
        "  tinyllm report runs/pi --charts charts/   SVG and PNG, with their gnuplot scripts\n"
        "  tinyllm report runs/pi study --html a.html   beside the published figures\n",
    .run = run,
};
