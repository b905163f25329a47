/* What can be read of a damaged store.
 *
 * A table's rows hang in a tree; a damaged page hides those below it and ends any walk that meets
 * it. So each table is walked from both ends, and rows whose keys are known beforehand (examples of
 * a cell, texts of an example) are looked up one by one: only what truly lies on the damaged page
 * is lost. */
#include "study/store_database.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_COLUMNS = 32, MOST_LOOKUPS = 10000000 };

typedef struct salvage {
    sqlite3 *from;
    tl_store *to;
    tl_store_salvaged *found;
} salvage;

static void note_damage(salvage *s, const char *table) {
    s->found->complete = false;
    if (strstr(s->found->damaged, table)) return;
    size_t used = strlen(s->found->damaged);
    snprintf(s->found->damaged + used, sizeof s->found->damaged - used, "%s%s", used ? ", " : "",
             table);
}

/* Inserts every row that `select` still gives; false when it ends at damage. */
static bool copy_rows(salvage *s, sqlite3_stmt *select, const char *table, int64_t *copied) {
    int columns = sqlite3_column_count(select);
    if (columns > MOST_COLUMNS) return false;
    char sql[160];
    int used = snprintf(sql, sizeof sql, "INSERT OR IGNORE INTO %s VALUES(", table);
    for (int i = 0; i < columns; i++)
        used += snprintf(sql + used, sizeof sql - (size_t)used, "%s?", i ? "," : "");
    snprintf(sql + used, sizeof sql - (size_t)used, ")");
    sqlite3_stmt *insert;
    if (sqlite3_prepare_v2(s->to->database, sql, -1, &insert, NULL) != SQLITE_OK) return false;
    int code;
    while ((code = sqlite3_step(select)) == SQLITE_ROW) {
        for (int i = 0; i < columns; i++)
            sqlite3_bind_value(insert, i + 1, sqlite3_column_value(select, i));
        if (sqlite3_step(insert) == SQLITE_DONE) *copied += sqlite3_changes(s->to->database);
        sqlite3_reset(insert);
    }
    sqlite3_finalize(insert);
    return code == SQLITE_DONE;
}

/* Walks the rows of `table` that `where` picks in one direction; false when it ends at damage. */
static bool walk(salvage *s, const char *table, const char *where, const char *order,
                 int64_t *copied) {
    char sql[256];
    snprintf(sql, sizeof sql, "SELECT * FROM %s %s ORDER BY %s", table, where, order);
    sqlite3_stmt *select;
    if (sqlite3_prepare_v2(s->from, sql, -1, &select, NULL) != SQLITE_OK) return false;
    bool whole = copy_rows(s, select, table, copied);
    sqlite3_finalize(select);
    return whole;
}

static bool walk_both_ways(salvage *s, const char *table, const char *where, const char *key,
                           int64_t *copied) {
    if (walk(s, table, where, key, copied)) return true;
    note_damage(s, table);
    char backwards[64];
    snprintf(backwards, sizeof backwards, "%s DESC", key);
    walk(s, table, where, backwards, copied);
    return false;
}

/* The rows of a cell, those between two damaged places too. */
static void salvage_examples(salvage *s, int64_t cell, int64_t planned) {
    char where[64];
    snprintf(where, sizeof where, "WHERE cell = %lld", (long long)cell);
    if (walk_both_ways(s, "example", where, "row", &s->found->examples)) return;
    sqlite3_stmt *select;
    if (sqlite3_prepare_v2(s->from, "SELECT * FROM example WHERE cell = ?1 AND row = ?2", -1,
                           &select, NULL) != SQLITE_OK)
        return;
    for (int64_t row = 0; row < planned && row < MOST_LOOKUPS; row++) {
        tl_store_bind(select, "ii", cell, row);
        copy_rows(s, select, "example", &s->found->examples);
        sqlite3_reset(select);
    }
    sqlite3_finalize(select);
}

/* The texts that salvaged examples name, one by one. */
static void salvage_texts(salvage *s) {
    int64_t copied = 0;
    if (walk_both_ways(s, "text", "", "hash", &copied)) return;
    sqlite3_stmt *wanted, *select;
    if (sqlite3_prepare_v2(s->to->database,
                           "SELECT document FROM example UNION SELECT prompt FROM example UNION"
                           " SELECT asked FROM example EXCEPT SELECT hash FROM text",
                           -1, &wanted, NULL) != SQLITE_OK)
        return;
    if (sqlite3_prepare_v2(s->from, "SELECT * FROM text WHERE hash = ?1", -1, &select, NULL) ==
        SQLITE_OK) {
        while (sqlite3_step(wanted) == SQLITE_ROW) {
            tl_store_bind(select, "i", sqlite3_column_int64(wanted, 0));
            copy_rows(s, select, "text", &copied);
            sqlite3_reset(select);
        }
    }
    sqlite3_finalize(select);
    sqlite3_finalize(wanted);
}

typedef struct cell_list {
    int64_t (*items)[2]; /* id, examples planned */
    size_t count;
} cell_list;

static bool list_cell(void *context, const tl_store_cell *cell) {
    cell_list *list = context;
    void *grown = realloc(list->items, (list->count + 1) * sizeof *list->items);
    if (!grown) return false;
    list->items = grown;
    list->items[list->count][0] = cell->id;
    list->items[list->count++][1] = cell->examples;
    return true;
}

/* A cell that lost rows is not done any more, and says so. */
static bool salvage_cells(salvage *s, tl_error *error) {
    cell_list cells = {0};
    bool good = tl_store_each_cell(s->to, list_cell, &cells, error);
    for (size_t i = 0; i < cells.count && good; i++) {
        int64_t cell = cells.items[i][0], planned = cells.items[i][1];
        salvage_examples(s, cell, planned);
        int64_t held = tl_store_count_examples(s->to, cell);
        if (s->found->complete || held >= planned) continue;
        char sql[256];
        snprintf(sql, sizeof sql,
                 "UPDATE cell SET verdict = 'interrupted', reason = '%lld of %lld examples could "
                 "be salvaged' WHERE id = %lld AND verdict = 'done'",
                 (long long)held, (long long)planned, (long long)cell);
        good = sqlite3_exec(s->to->database, sql, NULL, NULL, NULL) == SQLITE_OK ||
               tl_store_fail(s->to, "cannot salvage", error);
    }
    free(cells.items);
    return good;
}

static bool salvage_tables(salvage *s, tl_error *error) {
    int64_t others = 0;
    walk_both_ways(s, "fact", "", "key", &others);
    walk_both_ways(s, "device", "", "id", &others);
    walk_both_ways(s, "model", "", "id", &others);
    walk_both_ways(s, "cell", "", "id", &s->found->cells);
    walk_both_ways(s, "measure", "", "cell, name", &s->found->measures);
    if (!salvage_cells(s, error)) return false;
    salvage_texts(s);
    return true;
}

static bool open_memory(tl_store *store, tl_error *error) {
    return (sqlite3_open(":memory:", &store->database) == SQLITE_OK &&
            sqlite3_exec(store->database, tl_store_schema, NULL, NULL, NULL) == SQLITE_OK) ||
           tl_store_fail(store, "cannot salvage", error);
}

/* A schema that "may be written" is one that SQLite reads in spite of broken entries and of pages
 * missing at the end of the file. */
static bool open_damaged(const char *path, sqlite3 **database, tl_error *error) {
    if (tl_store_open_file(database, path, SQLITE_OPEN_READONLY) &&
        sqlite3_exec(*database, "PRAGMA writable_schema=ON", NULL, NULL, NULL) == SQLITE_OK)
        return true;
    return tl_fail(error, TL_ERROR_FORMAT, "%s: nothing can be salvaged (%s)", path,
                   sqlite3_errmsg(*database));
}

tl_store *tl_store_salvage(const char *directory, tl_store_salvaged *found, tl_error *error) {
    *found = (tl_store_salvaged){.complete = true};
    tl_store *store = tl_store_new(directory, error);
    if (!store) return NULL;
    salvage s = {.to = store, .found = found};
    bool good = false;
    if (!tl_file_exists(store->path))
        tl_fail(error, TL_ERROR_IO, "%s: no run was stored there (run.sqlite is missing)",
                directory);
    else if (open_memory(store, error))
        good = open_damaged(store->path, &s.from, error) && salvage_tables(&s, error);
    if (good && found->cells == 0)
        good = tl_fail(error, TL_ERROR_FORMAT, "%s: nothing can be salvaged%s", store->path,
                       found->complete ? ": it has no cells" : ": its first pages are damaged");
    sqlite3_close(s.from);
    if (good) return store;
    tl_store_close(store);
    return NULL;
}
