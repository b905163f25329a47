#include "report/report.h"

#include "report/tables.h"

#include <string.h>

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
