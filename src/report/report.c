#include "report/report.h"

#include "report/charts.h"
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

bool tl_report_tables(const char *const *operands, int count, const char *format, tl_buffer *out,
                      tl_error *error) {
    format_function *function = find_format(format, error);
    if (!function) return false;
    tl_results *results = tl_results_load(operands, count, error);
    if (!results) return false;
    tl_tables tables;
    bool good = tl_tables_make(results, &tables, error) && function(&tables, out, error);
    tl_results_free(results);
    return good;
}

/* Written beside its place and renamed, so that a reader never sees half a page. */
static bool write_page(const tl_tables *tables, const char *path, tl_error *error) {
    tl_buffer part = {0};
    tl_buffer_append_format(&part, "%s.%ld.part", path, (long)getpid());
    if (part.failed) return tl_fail_memory(error, strlen(path), "a path");
    FILE *out = fopen(part.data, "wbe");
    bool good = out || tl_fail_errno(error, "%s: cannot create", path);
    if (out) {
        good = tl_page_write(tables, out, error);
        if (fclose(out) != 0 && good) good = tl_fail_errno(error, "%s: cannot write", path);
        if (good && rename(part.data, path) != 0)
            good = tl_fail_errno(error, "%s: cannot write", path);
        if (!good) unlink(part.data);
    }
    tl_buffer_free(&part);
    return good;
}

bool tl_report_html(const char *const *operands, int count, const char *path, tl_error *error) {
    tl_results *results = tl_results_load(operands, count, error);
    if (!results) return false;
    tl_tables tables;
    bool good = tl_tables_make(results, &tables, error) && write_page(&tables, path, error);
    tl_results_free(results);
    return good;
}

bool tl_report_charts(const char *const *operands, int count, const char *directory, bool *drawn,
                      tl_error *error) {
    tl_results *results = tl_results_load(operands, count, error);
    if (!results) return false;
    tl_tables tables;
    bool good = tl_tables_make(results, &tables, error) &&
                tl_charts_write(&tables, directory, drawn, error);
    tl_results_free(results);
    return good;
}
