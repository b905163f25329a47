/* Results laid out as the study's tables: a group of tables for everything run under the same
 * conditions, models down, tasks across. */
#ifndef TL_REPORT_TABLES_H
#define TL_REPORT_TABLES_H

#include "report/analysis.h"
#include "report/results.h"

typedef struct tl_table_task {
    const char *name, *title;
    int32_t order;
} tl_table_task;

/* Same run, device, protocol, dtype, precision and shots. */
typedef struct tl_table_group {
    int run, device;
    const char *protocol, *dtype, *precision;
    int32_t shots;
    const char *title;    /* all of it in one line */
    tl_table_task *tasks; /* [task_count], the study's six first */
    int *models;          /* [model_count]: a cell of each model, by model name */
    int task_count, model_count;
    int *cells;           /* [model_count × task_count], -1 where there is none */
    tl_ranking *rankings; /* [task_count] */
} tl_table_group;

typedef struct tl_tables {
    tl_results *results;
    tl_cell_meaning *meanings; /* [results->cell_count] */
    bool *best; /* [results->cell_count] in the first of several groups of its task's ranking */
    tl_table_group *groups;
    int group_count;
} tl_tables;

/* Lays out and analyzes; everything lives in the arena of `results`. */
bool tl_tables_make(tl_results *results, tl_tables *tables, tl_error *error);

/* The cell at a place of a group's tables; NULL where there is none. */
const tl_result_cell *tl_tables_cell(const tl_tables *tables, const tl_table_group *group,
                                     int model, int task);

/* The plain mean of a measure over the cells that succeeded; NAN when none did. */
double tl_tables_average(const tl_tables *tables, const tl_table_group *group, int model,
                         tl_measure measure);

/* Has any cell of the group a value of it? */
bool tl_tables_has(const tl_tables *tables, const tl_table_group *group, tl_measure measure);

/* ---- the formats; each appends to `out`
 * --------------------------------------------------------------- */

bool tl_tables_markdown(const tl_tables *tables, tl_buffer *out, tl_error *error);
bool tl_tables_latex(const tl_tables *tables, tl_buffer *out, tl_error *error);
bool tl_tables_csv(const tl_tables *tables, tl_buffer *out, tl_error *error);
bool tl_tables_json(const tl_tables *tables, tl_buffer *out, tl_error *error);

/* A field of a CSV line, quoted where it must be; a formula of a spreadsheet is defused. */
void tl_csv_append(tl_buffer *out, const char *text);

#endif
