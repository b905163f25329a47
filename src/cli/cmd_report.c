/* tinyllm report: tables, charts and the page of runs. */
#include "cli/cli.h"
#include "report/report.h"

#include <stdio.h>

typedef struct choices {
    const char *format, *html, *charts;
    bool salvage;
} choices;

static bool print_tables(const tl_report *report, const char *format, tl_error *error) {
    tl_buffer out = {0};
    bool good = tl_report_text(report, format, &out, error);
    if (good) fwrite(out.data, 1, out.length, stdout);
    tl_buffer_free(&out);
    return good;
}

static bool write_page(const tl_report *report, const char *path, tl_error *error) {
    if (!tl_report_page(report, path, error)) return false;
    fprintf(stderr, "%s is written: open it in a browser\n", path);
    return true;
}

static bool write_charts(const tl_report *report, const char *directory, tl_error *error) {
    bool drawn;
    if (!tl_report_charts(report, directory, &drawn, error)) return false;
    if (drawn)
        fprintf(stderr, "the charts are in %s\n", directory);
    else
        fprintf(stderr,
                "gnuplot is not installed (apt-get install gnuplot-nox): %s has the data and the "
                "scripts, and gnuplot *.gp there draws them\n",
                directory);
    return true;
}

static bool write_all(const tl_report *report, const choices *chosen, tl_error *error) {
    fputs(tl_report_salvaged(report), stderr);
    if (chosen->html && !write_page(report, chosen->html, error)) return false;
    if (chosen->charts && !write_charts(report, chosen->charts, error)) return false;
    if ((chosen->html || chosen->charts) && !chosen->format) return true;
    return print_tables(report, chosen->format ? chosen->format : "md", error);
}

static int run(const cli_command *command, int argc, char **argv) {
    choices chosen = {0};
    const cli_option options[] = {
        {"format", 'f', CLI_STRING, &chosen.format, "FORMAT",
         "md (default), csv (one row a cell and measure), json (everything) or latex"},
        {"html", 0, CLI_STRING, &chosen.html, "FILE",
         "write the page: one file that works offline"},
        {"charts", 0, CLI_STRING, &chosen.charts, "OUT",
         "write the charts as SVG and PNG (gnuplot)"},
        {"salvage", 0, CLI_FLAG, &chosen.salvage, NULL,
         "read what can still be read of a damaged store"},
        {0},
    };
    int count, status;
    if (!cli_parse(command, options, argc, argv, &count, &status)) return status;
    if (count == 0) return cli_usage(command, "expected the directory of a run");
    tl_error error = {0};
    tl_report *report = tl_report_open((const char *const *)argv, count, chosen.salvage, &error);
    bool good = report && write_all(report, &chosen, &error);
    tl_report_free(report);
    return good ? 0 : cli_fail(command, &error);
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
