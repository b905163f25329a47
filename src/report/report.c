#include "report/report.h"

#include "report/charts.h"
#include "report/load.h"
#include "report/page.h"
#include "report/tables.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef bool format_function(const tl_tables *tables, tl_buffer *out, tl_error *error);

static format_function *find_format(const char *name, tl_error *error) {
    static const struct {
        const char *name;
        format_function *function;
    } formats[] = {{"md", tl_tables_markdown},
                   {"csv", tl_tables_csv},
                   {"json", tl_tables_json},
                   {"latex", tl_tables_latex}};
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++)
        if (strcmp(formats[i].name, name) == 0) return formats[i].function;
    tl_fail(error, TL_ERROR_USAGE, "unknown format '%s': expected md, csv, json or latex", name);
    return NULL;
}

struct tl_report {
    tl_results *results;
    tl_tables tables;
};

tl_report *tl_report_open(const char *const *operands, int count, bool salvage, tl_error *error) {
    tl_report *report = calloc(1, sizeof *report);
    if (!report) {
        tl_fail_memory(error, sizeof *report, "a report");
        return NULL;
    }
    report->results = tl_results_load(operands, count, salvage, error);
    if (report->results && tl_tables_make(report->results, &report->tables, error)) return report;
    tl_report_free(report);
    return NULL;
}

void tl_report_free(tl_report *report) {
    if (!report) return;
    tl_results_free(report->results);
    free(report);
}

const char *tl_report_salvaged(const tl_report *report) {
    return tl_buffer_string(&report->results->salvaged);
}

bool tl_report_text(const tl_report *report, const char *format, tl_buffer *out, tl_error *error) {
    format_function *function = find_format(format, error);
    return function && function(&report->tables, out, error);
}

/* Written beside its place and renamed, so that a reader never sees half a page. */
bool tl_report_page(const tl_report *report, const char *path, tl_error *error) {
    tl_buffer part = {0};
    tl_buffer_append_format(&part, "%s.%ld.part", path, (long)getpid());
    if (part.failed) return tl_fail_memory(error, strlen(path), "a path");
    FILE *out = fopen(part.data, "wbe");
    bool good = out || tl_fail_errno(error, "%s: cannot create", path);
    if (out) {
        good = tl_page_write(&report->tables, out, error);
        if (fclose(out) != 0 && good) good = tl_fail_errno(error, "%s: cannot write", path);
        if (good && rename(part.data, path) != 0)
            good = tl_fail_errno(error, "%s: cannot write", path);
        if (!good) unlink(part.data);
    }
    tl_buffer_free(&part);
    return good;
}

bool tl_report_charts(const tl_report *report, const char *directory, bool *drawn,
                      tl_error *error) {
    return tl_charts_write(&report->tables, directory, drawn, error);
}

bool tl_report_tables(const char *const *operands, int count, const char *format, tl_buffer *out,
                      tl_error *error) {
    if (!find_format(format, error)) return false;
    tl_report *report = tl_report_open(operands, count, false, error);
    bool good = report && tl_report_text(report, format, out, error);
    tl_report_free(report);
    return good;
}
