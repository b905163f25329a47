/* The tables as text: Markdown, which also reads well in a terminal, and LaTeX. */
#include "report/tables.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

enum { CELL_SIZE = 256, NAMED_AT_MOST = 40 };

typedef enum style { MARKDOWN, LATEX } style;

static const char like_chance_mark[] = "°";
static const char collapsed_mark[] = "†";
static const char best_mark[] = "*";
static const char swapping_mark[] = "‡";

/* Columns that the text takes in a terminal. */
static int width_of(const char *text) {
    int width = 0;
    const utf8proc_uint8_t *at = (const utf8proc_uint8_t *)text;
    while (*at) {
        utf8proc_int32_t point;
        utf8proc_ssize_t used = utf8proc_iterate(at, -1, &point);
        if (used <= 0) {
            at++, width++;
            continue;
        }
        width += utf8proc_charwidth(point);
        at += used;
    }
    return width;
}

/* What a terminal or a reader of the text would obey: C1 controls, and those that turn the
 * direction of what follows. Returns the bytes of it at `text`, or 0. */
static size_t hidden_control(const char *text) {
    utf8proc_int32_t point;
    utf8proc_ssize_t used = utf8proc_iterate((const utf8proc_uint8_t *)text, -1, &point);
    bool hidden =
        used > 1 && ((point >= 0x80 && point < 0xa0) || (point >= 0x202a && point <= 0x202e) ||
                     (point >= 0x2066 && point <= 0x2069));
    return hidden ? (size_t)used : 0;
}

/* How LaTeX writes a character that is its own, or that its old fonts have another glyph for. */
static const char *latex_name(char c) {
    static const struct {
        char c;
        const char *name;
    } names[] = {
        {'\\', "\\textbackslash{}"}, {'~', "\\textasciitilde{}"}, {'^', "\\textasciicircum{}"},
        {'<', "\\textless{}"},       {'>', "\\textgreater{}"},    {'|', "\\textbar{}"},
    };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (names[i].c == c) return names[i].name;
    return NULL;
}

/* Names come from files: what the format would take as its own is escaped. */
static void append_escaped(tl_buffer *out, const char *text, style s) {
    for (; *text; text++) {
        unsigned char c = (unsigned char)*text;
        const char *named = s == LATEX ? latex_name(*text) : NULL;
        size_t hidden = c >= 0x80 ? hidden_control(text) : 0;
        if (c < 0x20 || c == 0x7f || hidden)
            tl_buffer_append_byte(out, ' ');
        else if (s == MARKDOWN && strchr("|\\`", c))
            tl_buffer_append_format(out, "\\%c", c);
        else if (s == MARKDOWN && c == '<')
            tl_buffer_append_string(out, "&lt;");
        else if (s == LATEX && strchr("&%$#_{}", c))
            tl_buffer_append_format(out, "\\%c", c);
        else if (named)
            tl_buffer_append_string(out, named);
        else
            tl_buffer_append_byte(out, *text);
        if (hidden) text += hidden - 1;
    }
}

static void write_cell(const tl_tables *tables, const tl_result_cell *cell, tl_measure measure,
                       style s, char text[CELL_SIZE]) {
    if (!cell) {
        *text = 0;
        return;
    }
    if (tl_cell_waiting(cell)) {
        snprintf(text, CELL_SIZE, "%s", s == LATEX ? "\\dots" : "…");
        return;
    }
    double value = cell->values[measure];
    if (!tl_cell_done(cell) || isnan(value)) {
        snprintf(text, CELL_SIZE, "%s", tl_cell_done(cell) ? "n/a" : "nan");
        return;
    }
    size_t index = (size_t)(cell - tables->results->cells);
    const tl_cell_meaning *meaning = &tables->meanings[index];
    const char *chance = "", *collapsed = "", *best = "", *swapping = "";
    if (measure == TL_MEASURE_ACCURACY && meaning->like_chance)
        chance = s == LATEX ? "$^{\\circ}$" : like_chance_mark;
    if (measure == TL_MEASURE_ACCURACY && meaning->collapsed)
        collapsed = s == LATEX ? "$^{\\dagger}$" : collapsed_mark;
    if (measure == TL_MEASURE_ACCURACY && tables->best[index])
        best = s == LATEX ? "$^{*}$" : best_mark;
    if (measure == TL_MEASURE_TIME && cell->swapping)
        swapping = s == LATEX ? "$^{\\ddagger}$" : swapping_mark;
    snprintf(text, CELL_SIZE, "%.*f%s%s%s%s", tl_measure_get(measure)->decimals, value, best,
             chance, collapsed, swapping);
}

static void write_average(const tl_tables *tables, const tl_table_group *group, int model,
                          tl_measure measure, char text[CELL_SIZE]) {
    double value = tl_tables_average(tables, group, model, measure);
    if (isnan(value))
        snprintf(text, CELL_SIZE, "nan");
    else
        snprintf(text, CELL_SIZE, "%.*f", tl_measure_get(measure)->decimals, value);
}

/* The text of one place: row -1 is the header; columns are Model, Parameters, tasks, Avg. */
static void place(const tl_tables *tables, const tl_table_group *group, tl_measure measure, int row,
                  int column, style s, tl_buffer *out) {
    char text[CELL_SIZE];
    const tl_store_model *model =
        row < 0 ? NULL : &tables->results->cells[group->models[row]].model;
    tl_buffer_clear(out);
    if (column == 0) {
        append_escaped(out, model ? model->name : "Model", s);
    } else if (column == 1) {
        append_escaped(out, model ? model->parameters_label : "Parameters", s);
    } else if (column == group->task_count + 2) {
        if (model) write_average(tables, group, row, measure, text);
        tl_buffer_append_string(out, model ? text : "Avg.");
    } else if (!model) {
        append_escaped(out, group->tasks[column - 2].title, s);
    } else {
        write_cell(tables, tl_tables_cell(tables, group, row, column - 2), measure, s, text);
        tl_buffer_append_string(out, text);
    }
}

static void append_padded(tl_buffer *out, const char *text, int width, bool left) {
    int space = width - width_of(text);
    for (int i = 0; !left && i < space; i++)
        tl_buffer_append_byte(out, ' ');
    tl_buffer_append_string(out, text);
    for (int i = 0; left && i < space; i++)
        tl_buffer_append_byte(out, ' ');
}

static int column_width(const tl_tables *tables, const tl_table_group *group, tl_measure measure,
                        int column, tl_buffer *scratch) {
    int width = 4;
    for (int row = -1; row < group->model_count; row++) {
        place(tables, group, measure, row, column, MARKDOWN, scratch);
        int needed = width_of(tl_buffer_string(scratch));
        if (needed > width) width = needed;
    }
    return width;
}

static void append_rule(tl_buffer *out, int width, bool left) {
    tl_buffer_append_string(out, left ? "| :" : "| ");
    for (int i = 1; i < width; i++)
        tl_buffer_append_byte(out, '-');
    tl_buffer_append_string(out, left ? " " : ": ");
}

static bool markdown_table(const tl_tables *tables, const tl_table_group *group, tl_measure measure,
                           tl_buffer *out, tl_error *error) {
    tl_buffer text = {0};
    int columns = group->task_count + 3;
    int *widths = calloc((size_t)columns, sizeof *widths);
    if (!widths) return tl_fail_memory(error, (size_t)columns * sizeof *widths, "a table");
    for (int column = 0; column < columns; column++)
        widths[column] = column_width(tables, group, measure, column, &text);
    for (int row = -1; row < group->model_count; row++) {
        for (int column = 0; column < columns; column++) {
            place(tables, group, measure, row, column, MARKDOWN, &text);
            tl_buffer_append_string(out, "| ");
            append_padded(out, tl_buffer_string(&text), widths[column], column == 0);
            tl_buffer_append_byte(out, ' ');
        }
        tl_buffer_append_string(out, "|\n");
        if (row >= 0) continue;
        for (int column = 0; column < columns; column++)
            append_rule(out, widths[column], column == 0);
        tl_buffer_append_string(out, "|\n");
    }
    free(widths);
    out->failed |= text.failed;
    tl_buffer_free(&text);
    return true;
}

/* What a measure is in this group, where it is not always the same thing. */
static const char *kind_note(const tl_tables *tables, const tl_table_group *group,
                             tl_measure measure) {
    bool gpu = false, process = false, alone = false, together = false;
    for (int i = 0; i < group->model_count * group->task_count; i++) {
        if (group->cells[i] < 0) continue;
        const tl_result_cell *cell = &tables->results->cells[group->cells[i]];
        if (isnan(cell->values[measure])) continue;
        gpu |= strcmp(cell->memory_kind, "peak_gpu_gb") == 0;
        process |= strcmp(cell->memory_kind, "peak_rss_mb") == 0;
        together |= cell->shared_time;
        alone |= !cell->shared_time;
    }
    if (measure == TL_MEASURE_MEMORY)
        return gpu && process ? ", of the GPU or the process" : gpu ? ", GPU" : ", process";
    if (measure == TL_MEASURE_TIME && together)
        return alone ? ", alone or together" : ", computed together";
    return "";
}

static void append_title(const tl_tables *tables, const tl_table_group *group, tl_measure measure,
                         tl_buffer *out) {
    const tl_measure_traits *traits = tl_measure_get(measure);
    tl_buffer_append_format(out, "%s (%s%s)", traits->title, traits->unit,
                            kind_note(tables, group, measure));
}

/* ---- what is below the tables ---- */

static void list_failures(const tl_tables *tables, const tl_table_group *group, style s,
                          tl_buffer *out) {
    for (int model = 0; model < group->model_count; model++) {
        for (int task = 0; task < group->task_count; task++) {
            const tl_result_cell *cell = tl_tables_cell(tables, group, model, task);
            if (!cell || tl_cell_done(cell) || tl_cell_waiting(cell)) continue;
            tl_buffer_append_string(out, s == LATEX ? "% nan: " : "- nan: ");
            append_escaped(out, cell->model.name, s);
            tl_buffer_append_string(out, " on ");
            append_escaped(out, cell->task_title, s);
            tl_buffer_append_format(out, ": %s", tl_verdict_name(cell->verdict));
            if (*cell->reason) tl_buffer_append_string(out, ", ");
            append_escaped(out, cell->reason, s);
            tl_buffer_append_byte(out, '\n');
        }
    }
}

static void list_waiting(const tl_tables *tables, const tl_table_group *group, style s,
                         tl_buffer *out) {
    int waiting = 0;
    for (int i = 0; i < group->model_count * group->task_count; i++) {
        if (group->cells[i] < 0) continue;
        const tl_result_cell *cell = &tables->results->cells[group->cells[i]];
        if (!tl_cell_waiting(cell) || ++waiting > NAMED_AT_MOST) continue;
        tl_buffer_append_string(out, s == LATEX ? "% not finished: " : "- …: ");
        append_escaped(out, cell->model.name, s);
        tl_buffer_append_string(out, " on ");
        append_escaped(out, cell->task_title, s);
        tl_buffer_append_format(
            out, ": %s, %lld of %lld examples\n", tl_verdict_name(cell->verdict),
            (long long)(cell->examples + cell->skipped), (long long)cell->planned);
    }
    if (waiting > NAMED_AT_MOST)
        tl_buffer_append_format(out, "%s and %d cells more are not finished\n",
                                s == LATEX ? "%" : "- …:", waiting - NAMED_AT_MOST);
    if (waiting)
        tl_buffer_append_format(out, "%s The same run command finishes what is missing.\n",
                                s == LATEX ? "%" : "-");
}

static void list_skipped(const tl_tables *tables, const tl_table_group *group, style s,
                         tl_buffer *out) {
    for (int i = 0; i < group->model_count * group->task_count; i++) {
        if (group->cells[i] < 0) continue;
        const tl_result_cell *cell = &tables->results->cells[group->cells[i]];
        if (!cell->skipped) continue;
        tl_buffer_append_string(out, s == LATEX ? "% " : "- ");
        append_escaped(out, cell->model.name, s);
        tl_buffer_append_string(out, " on ");
        append_escaped(out, cell->task_title, s);
        tl_buffer_append_format(out, ": %lld of %lld examples were skipped\n",
                                (long long)cell->skipped, (long long)cell->planned);
    }
}

/* What the marks of one measure's table mean. */
static void append_legend(const tl_tables *tables, const tl_table_group *group, tl_measure measure,
                          style s, tl_buffer *out) {
    bool best = false, chance = false, collapsed = false, swapping = false;
    for (int i = 0; i < group->model_count * group->task_count; i++) {
        int cell = group->cells[i];
        if (cell < 0 || !tl_cell_done(&tables->results->cells[cell])) continue;
        best |= tables->best[cell];
        chance |= tables->meanings[cell].like_chance;
        collapsed |= tables->meanings[cell].collapsed;
        swapping |= tables->results->cells[cell].swapping;
    }
    bool accuracy = measure == TL_MEASURE_ACCURACY, time = measure == TL_MEASURE_TIME;
    const struct {
        bool shown;
        const char *mark, *meaning;
    } entries[] = {
        {accuracy && best, best_mark,
         "not significantly below the best of its task (McNemar, Holm)"},
        {accuracy && chance, like_chance_mark, "not distinguishable from chance (p ≥ 0.05)"},
        {accuracy && collapsed, collapsed_mark, "one label for at least 95 % of the examples"},
        {time && swapping, swapping_mark,
         "timed while pages came back from swap: not to be trusted"},
    };
    int shown = 0;
    for (size_t i = 0; i < sizeof entries / sizeof *entries; i++) {
        if (!entries[i].shown) continue;
        const char *lead = shown++ ? "; " : s == LATEX ? "% Marks: " : "\nMarks: ";
        tl_buffer_append_format(out, "%s%s %s", lead, entries[i].mark, entries[i].meaning);
    }
    if (shown) tl_buffer_append_byte(out, '\n');
}

static bool nothing_there(const tl_tables *tables, style s, tl_buffer *out) {
    if (tables->group_count) return false;
    tl_buffer_append_format(out, "%sNothing to show: no cell is planned in",
                            s == LATEX ? "% " : "");
    for (int i = 0; i < tables->results->run_count; i++) {
        tl_buffer_append_byte(out, ' ');
        append_escaped(out, tables->results->runs[i].name, s);
    }
    tl_buffer_append_string(out, " yet.\n");
    return true;
}

/* The study's four always; the others where something was measured. */
static bool shown(const tl_tables *tables, const tl_table_group *group, tl_measure measure) {
    return (int)measure < TL_STUDY_TABLES || tl_tables_has(tables, group, measure);
}

bool tl_tables_markdown(const tl_tables *tables, tl_buffer *out, tl_error *error) {
    nothing_there(tables, MARKDOWN, out);
    for (int i = 0; i < tables->group_count; i++) {
        const tl_table_group *group = &tables->groups[i];
        if (i) tl_buffer_append_byte(out, '\n');
        tl_buffer_append_string(out, "# ");
        append_escaped(out, group->title, MARKDOWN);
        tl_buffer_append_byte(out, '\n');
        for (int m = 0; m < TL_MEASURE_COUNT; m++) {
            if (!shown(tables, group, (tl_measure)m)) continue;
            tl_buffer_append_string(out, "\n## ");
            append_title(tables, group, (tl_measure)m, out);
            tl_buffer_append_string(out, "\n\n");
            if (!markdown_table(tables, group, (tl_measure)m, out, error)) return false;
            append_legend(tables, group, (tl_measure)m, MARKDOWN, out);
        }
        size_t before = out->length;
        tl_buffer_append_byte(out, '\n');
        list_failures(tables, group, MARKDOWN, out);
        list_waiting(tables, group, MARKDOWN, out);
        list_skipped(tables, group, MARKDOWN, out);
        if (!out->failed && out->length == before + 1) out->data[--out->length] = 0;
    }
    return !out->failed || tl_fail_memory(error, out->length, "the tables");
}

static void latex_table(const tl_tables *tables, const tl_table_group *group, tl_measure measure,
                        tl_buffer *out) {
    tl_buffer text = {0};
    tl_buffer_append_string(out, "\\begin{table}\n\\caption{");
    tl_buffer title = {0};
    append_title(tables, group, measure, &title);
    tl_buffer_append_string(&title, ", ");
    tl_buffer_append_string(&title, group->title);
    append_escaped(out, tl_buffer_string(&title), LATEX);
    tl_buffer_free(&title);
    tl_buffer_append_string(out, "}\n\\begin{tabular}{lr");
    for (int i = 0; i <= group->task_count; i++)
        tl_buffer_append_byte(out, 'r');
    tl_buffer_append_string(out, "}\n\\toprule\n");
    for (int row = -1; row < group->model_count; row++) {
        for (int column = 0; column < group->task_count + 3; column++) {
            place(tables, group, measure, row, column, LATEX, &text);
            tl_buffer_append_format(out, "%s%s", column ? " & " : "", tl_buffer_string(&text));
        }
        tl_buffer_append_string(out, row < 0 ? " \\\\\n\\midrule\n" : " \\\\\n");
    }
    tl_buffer_append_string(out, "\\bottomrule\n\\end{tabular}\n\\end{table}\n");
    out->failed |= text.failed;
    tl_buffer_free(&text);
}

bool tl_tables_latex(const tl_tables *tables, tl_buffer *out, tl_error *error) {
    if (!nothing_there(tables, LATEX, out))
        tl_buffer_append_string(out, "% \\usepackage{booktabs}\n");
    for (int i = 0; i < tables->group_count; i++) {
        const tl_table_group *group = &tables->groups[i];
        for (int m = 0; m < TL_MEASURE_COUNT; m++)
            if (shown(tables, group, (tl_measure)m)) latex_table(tables, group, (tl_measure)m, out);
        for (int m = 0; m < TL_MEASURE_COUNT; m++)
            append_legend(tables, group, (tl_measure)m, LATEX, out);
        list_failures(tables, group, LATEX, out);
        list_waiting(tables, group, LATEX, out);
        list_skipped(tables, group, LATEX, out);
    }
    return !out->failed || tl_fail_memory(error, out->length, "the tables");
}
