#include "report/charts.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* Distinguishable without colour vision (Okabe and Ito). */
#define COLORS "#0072b2 #e69f00 #009e73 #cc79a7 #56b4e9 #d55e00 #8a7a00 #6f7780"

/* What every script begins and ends with: `draw` is the plot command of the script. */
static const char head[] = "# Draws %s.svg and %s.png from %s.dat: gnuplot %s.gp\n"
                           "set datafile separator \"\\t\"\n"
                           "set datafile missing \"?\"\n"
                           "set termoption noenhanced\n"
                           "set key autotitle columnhead top left reverse Left outside horizontal\n"
                           "set grid ytics lc rgb \"#dddddd\"\n"
                           "set border 3\n"
                           "set tics nomirror\nset rmargin 8\n"
                           "color(i) = word(\"" COLORS "\", (i - 1) %% 8 + 1)\n"
                           "shape(i) = word(\"7 9 5 13 11 8 6 4\", i %% 8 + 1) + 0\n";

static void append_tail(tl_buffer *script, const char *name, int width, int height) {
    tl_buffer_append_format(script,
                            "set terminal svg size %d,%d dynamic font \"sans-serif,13\" "
                            "background \"#ffffff\" noenhanced\n"
                            "set output \"%s.svg\"\n@draw\n"
                            "set terminal pngcairo size %d,%d font \"sans-serif,24\" linewidth 2 "
                            "noenhanced\n"
                            "set output \"%s.png\"\n@draw\nset output\n",
                            width, height, name, 2 * width, 2 * height, name);
}

/* A field of a .dat file: names come from files, so nothing in them may end the field. */
static void append_field(tl_buffer *data, const char *text) {
    for (; *text; text++)
        tl_buffer_append_byte(data, (unsigned char)*text < 0x20 || *text == '"' ? ' ' : *text);
}

static void append_value(tl_buffer *data, double value) {
    tl_buffer_append_byte(data, '\t');
    if (isnan(value))
        tl_buffer_append_byte(data, '?');
    else
        tl_buffer_append_format(data, "%.6g", value);
}

static bool write_file(const char *directory, const char *name, const char *ending,
                       const tl_buffer *text, tl_error *error) {
    if (text->failed) return tl_fail_memory(error, text->length, "a chart");
    tl_buffer path = {0};
    tl_buffer_append_format(&path, "%s/%s.%s", directory, name, ending);
    bool good = path.failed ? tl_fail_memory(error, 0, "a path")
                            : tl_file_write(path.data, text->data, text->length, error);
    tl_buffer_free(&path);
    return good;
}

/* ---- running gnuplot ---- */

enum { NOT_INSTALLED = 127 };

/* Runs gnuplot on NAME.gp inside the directory; its complaints go to our stderr. */
static bool draw(const char *directory, const char *name, bool *drawn, tl_error *error) {
    tl_buffer script = {0};
    tl_buffer_append_format(&script, "%s.gp", name);
    if (script.failed) return tl_fail_memory(error, 0, "a path");
    pid_t child = fork();
    if (child == 0) {
        if (chdir(directory) == 0) execlp("gnuplot", "gnuplot", script.data, (char *)NULL);
        _exit(errno == ENOENT ? NOT_INSTALLED : 126);
    }
    tl_buffer_free(&script);
    if (child < 0) return tl_fail_errno(error, "cannot start gnuplot");
    int status;
    while (waitpid(child, &status, 0) < 0)
        if (errno != EINTR) return tl_fail_errno(error, "cannot wait for gnuplot");
    if (WIFEXITED(status) && WEXITSTATUS(status) == NOT_INSTALLED) {
        *drawn = false;
        return true;
    }
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return true;
    return tl_fail(error, TL_ERROR_IO, "gnuplot failed on %s/%s.gp", directory, name);
}

static bool finish(const char *directory, const char *name, tl_buffer *data, tl_buffer *script,
                   bool *drawn, tl_error *error) {
    bool good = write_file(directory, name, "dat", data, error) &&
                write_file(directory, name, "gp", script, error) &&
                (!*drawn || draw(directory, name, drawn, error));
    tl_buffer_free(data);
    tl_buffer_free(script);
    return good;
}

/* ---- bars by model ---- */

static int by_name(const void *a, const void *b) {
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The names of all models, once each, sorted. */
static const char **model_names(const tl_tables *tables, int *count, tl_error *error) {
    const tl_results *results = tables->results;
    const char **names = tl_arena_alloc(results->arena, (size_t)results->cell_count, sizeof *names,
                                        "names of models", error);
    *count = 0;
    for (int i = 0; names && i < results->cell_count; i++) {
        int at = 0;
        while (at < *count && strcmp(names[at], results->cells[i].model.name) != 0)
            at++;
        if (at == *count) names[(*count)++] = results->cells[i].model.name;
    }
    if (names) qsort(names, (size_t)*count, sizeof *names, by_name);
    return names;
}

static double group_average(const tl_tables *tables, const tl_table_group *group, const char *name,
                            tl_measure measure) {
    for (int i = 0; i < group->model_count; i++)
        if (strcmp(tables->results->cells[group->models[i]].model.name, name) == 0)
            return tl_tables_average(tables, group, i, measure);
    return NAN;
}

static bool write_bars(const tl_tables *tables, tl_measure measure, const char *name,
                       const char *directory, bool *drawn, tl_error *error) {
    int count;
    const char **names = model_names(tables, &count, error);
    if (!names) return false;
    tl_buffer data = {0}, script = {0};
    tl_buffer_append_string(&data, "model");
    for (int i = 0; i < tables->group_count; i++) {
        tl_buffer_append_byte(&data, '\t');
        append_field(&data, tables->groups[i].title);
    }
    tl_buffer_append_byte(&data, '\n');
    double most = 0;
    for (int model = 0; model < count; model++) {
        append_field(&data, names[model]);
        for (int i = 0; i < tables->group_count; i++) {
            double value = group_average(tables, &tables->groups[i], names[model], measure);
            append_value(&data, value);
            if (value > most) most = value;
        }
        tl_buffer_append_byte(&data, '\n');
    }
    const tl_measure_traits *traits = tl_measure_get(measure);
    tl_buffer_append_format(&script, head, name, name, name, name);
    tl_buffer_append_format(&script,
                            "set ylabel \"%s (%s), average over tasks\"\n"
                            "set yrange [0:%s]\nset xtics rotate by -35\n"
                            "set style data histogram\nset style histogram clustered gap 1\n"
                            "set style fill solid 0.9 noborder\nset boxwidth 0.9\n"
                            "draw = 'plot for [i = 2:%d] \"%s.dat\" using i:xtic(1) "
                            "linecolor rgb color(i - 1)'\n",
                            traits->title, traits->unit, most > 0 ? "*" : "1",
                            tables->group_count + 1, name);
    int bars = count * tables->group_count;
    append_tail(&script, name, bars < 20 ? 760 : bars < 60 ? 1040 : 1400, 520);
    return finish(directory, name, &data, &script, drawn, error);
}

/* ---- accuracy against cost ---- */

typedef struct point {
    double cost, accuracy;
    const char *name, *family;
} point;

static int by_cost(const void *a, const void *b) {
    const point *left = a, *right = b;
    if (left->cost != right->cost) return left->cost < right->cost ? -1 : 1;
    return (left->accuracy < right->accuracy) - (left->accuracy > right->accuracy);
}

static point *find_points(const tl_tables *tables, tl_measure cost, int *count, tl_error *error) {
    int most = 0;
    for (int i = 0; i < tables->group_count; i++)
        most += tables->groups[i].model_count;
    point *points = tl_arena_alloc(tables->results->arena, (size_t)most, sizeof *points,
                                   "points of a chart", error);
    *count = 0;
    for (int i = 0; points && i < tables->group_count; i++) {
        const tl_table_group *group = &tables->groups[i];
        for (int model = 0; model < group->model_count; model++) {
            const tl_store_model *m = &tables->results->cells[group->models[model]].model;
            point p = {tl_tables_average(tables, group, model, cost),
                       tl_tables_average(tables, group, model, TL_MEASURE_ACCURACY), m->name,
                       *m->family ? m->family : "other"};
            if (p.cost > 0 && !isnan(p.accuracy)) points[(*count)++] = p;
        }
    }
    if (points) qsort(points, (size_t)*count, sizeof *points, by_cost);
    return points;
}

static void append_point(tl_buffer *data, const point *p) {
    tl_buffer_append_format(data, "%.6g\t%.6g\t", p->cost, p->accuracy);
    append_field(data, p->name);
    tl_buffer_append_byte(data, '\n');
}

/* One block for each family, then one with the front; two empty lines between blocks. */
static int append_blocks(tl_buffer *data, const point *points, int count) {
    int families = 0;
    for (int i = 0; i < count; i++) {
        bool known = false;
        for (int k = 0; k < i && !known; k++)
            known = strcmp(points[k].family, points[i].family) == 0;
        if (known) continue;
        families++;
        append_field(data, points[i].family);
        tl_buffer_append_string(data, "\taccuracy\tmodel\n");
        for (int k = i; k < count; k++)
            if (strcmp(points[k].family, points[i].family) == 0) append_point(data, &points[k]);
        tl_buffer_append_string(data, "\n\n");
    }
    tl_buffer_append_string(data, "Pareto front\taccuracy\tmodel\n");
    double best = -1;
    for (int i = 0; i < count; i++) {
        if (points[i].accuracy <= best) continue;
        best = points[i].accuracy;
        append_point(data, &points[i]);
    }
    return families;
}

/* Ranges where gnuplot would find none: a single model, or several that are alike. */
static void append_ranges(tl_buffer *script, const point *points, int count) {
    double least = points[0].accuracy, most = least, cost = points[count - 1].cost;
    for (int i = 1; i < count; i++) {
        least = fmin(least, points[i].accuracy);
        most = fmax(most, points[i].accuracy);
    }
    if (points[0].cost == cost) tl_buffer_append_format(script, "set xrange [0:%g]\n", 2 * cost);
    if (least == most) tl_buffer_append_string(script, "set yrange [0:100]\n");
}

static bool write_scatter(const tl_tables *tables, tl_measure cost, const char *name,
                          const char *directory, bool *drawn, tl_error *error) {
    int count;
    point *points = find_points(tables, cost, &count, error);
    if (!points) return false;
    if (count == 0) return true;
    tl_buffer data = {0}, script = {0};
    int families = append_blocks(&data, points, count);
    const tl_measure_traits *traits = tl_measure_get(cost);
    tl_buffer_append_format(&script, head, name, name, name, name);
    if (points[count - 1].cost > 8 * points[0].cost)
        tl_buffer_append_string(&script, "set logscale x\n");
    append_ranges(&script, points, count);
    tl_buffer_append_format(
        &script,
        "set xlabel \"%s (%s), average over tasks\"\n"
        "set ylabel \"Accuracy (%%), average over tasks\"\n"
        "set offsets graph 0.08, graph 0.08, graph 0.08, graph 0.05\n"
        "draw = 'plot for [i = 0:%d] \"%s.dat\" index i using 1:2 with points pointtype shape(i) "
        "pointsize 1.7 linecolor rgb color(i + 1) "
        "title columnheader(1), \"%s.dat\" index %d using 1:2 with lines dashtype 2 linecolor rgb "
        "\"#666666\" title columnheader(1), \"%s.dat\" index %d using 1:2:3 with labels "
        "offset 0,0.8 notitle'\n",
        traits->title, traits->unit, families - 1, name, name, families, name, families);
    append_tail(&script, name, 860, 560);
    return finish(directory, name, &data, &script, drawn, error);
}

bool tl_charts_write(const tl_tables *tables, const char *directory, bool *drawn, tl_error *error) {
    static const struct {
        tl_measure measure;
        const char *name;
        bool (*write)(const tl_tables *, tl_measure, const char *, const char *, bool *,
                      tl_error *);
    } charts[] = {
        {TL_MEASURE_ACCURACY, "accuracy", write_bars},
        {TL_MEASURE_TIME, "inference-time", write_bars},
        {TL_MEASURE_MEMORY, "peak-memory", write_bars},
        {TL_MEASURE_TIME, "accuracy-latency", write_scatter},
        {TL_MEASURE_MEMORY, "accuracy-memory", write_scatter},
        {TL_MEASURE_ENERGY, "accuracy-energy", write_scatter},
    };
    *drawn = true;
    if (!tl_dir_create(directory, error)) return false;
    for (size_t i = 0; i < sizeof charts / sizeof *charts; i++) {
        bool measured = false;
        for (int k = 0; k < tables->group_count; k++)
            measured |= tl_tables_has(tables, &tables->groups[k], charts[i].measure);
        if (measured &&
            !charts[i].write(tables, charts[i].measure, charts[i].name, directory, drawn, error))
            return false;
    }
    return true;
}
