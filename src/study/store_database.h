/* The database under a store: its handle, statements, rows and errors. */
#ifndef TL_STUDY_STORE_DATABASE_H
#define TL_STUDY_STORE_DATABASE_H

#include "study/store.h"

#include <sqlite3.h>

/* Statements, by number; their text is in store_schema.c. */
typedef enum tl_statement {
    TL_SQL_SET_FACT,
    TL_SQL_GET_FACT,
    TL_SQL_EACH_FACT,
    TL_SQL_ADD_DEVICE,
    TL_SQL_FIND_DEVICE,
    TL_SQL_EACH_DEVICE,
    TL_SQL_ADD_MODEL,
    TL_SQL_FIND_MODEL,
    TL_SQL_SET_MODEL,
    TL_SQL_ADD_CELL,
    TL_SQL_FIND_CELL,
    TL_SQL_REPLAN_CELL,
    TL_SQL_EACH_CELL,
    TL_SQL_SET_VERDICT,
    TL_SQL_SET_PLANNED,
    TL_SQL_GET_TEXT,
    TL_SQL_ADD_TEXT,
    TL_SQL_ADD_EXAMPLE,
    TL_SQL_EACH_EXAMPLE,
    TL_SQL_EACH_INDEX,
    TL_SQL_COUNT_EXAMPLES,
    TL_SQL_SET_MEASURE,
    TL_SQL_GET_MEASURE,
    TL_SQL_EACH_MEASURE,
    TL_SQL_BEGIN,
    TL_SQL_COMMIT,
    TL_SQL_ROLLBACK,
    TL_SQL_COUNT
} tl_statement;

enum {
    TL_STORE_APPLICATION = 0x746c6c6d, /* "tllm", in the file's header: what `file` shows */
    TL_STORE_VERSION = 1,
};

extern const char *const tl_store_schema;
extern const char *const tl_store_sql[TL_SQL_COUNT];

/* The verdict of that name (tl_verdict_name); *verdict stays where there is none. */
void tl_verdict_parse(const char *name, tl_verdict *verdict);

struct tl_store {
    sqlite3 *database;
    sqlite3_stmt *statements[TL_SQL_COUNT];
    char *directory;
    char *path;
    int lock;         /* file descriptor of DIR/lock, -1 for a reader */
    int log;          /* of the write-ahead log, for syncing; -1 until the first time */
    bool unsynced;    /* something was committed since the last sync */
    bool transaction; /* between begin and commit */
    double synced_at, sync_cost;
};

/* Opens the file at `name` in place of what *database was. Whoever else has it open is waited for,
 * from the first statement on: a page may be reading while a run begins. On failure *database says
 * why. */
bool tl_store_open_file(sqlite3 **database, const char *name, int flags);

/* Reports the database's own error: disk full, damaged, read-only … with what to do. */
bool tl_store_fail(tl_store *store, const char *what, tl_error *error);

/* A statement, prepared once; NULL and `error` when it cannot be. */
sqlite3_stmt *tl_store_prepare(tl_store *store, tl_statement which, tl_error *error);

/* Binds by `types`: i int64_t, d double (NAN as NULL), s string or NULL. */
void tl_store_bind(sqlite3_stmt *statement, const char *types, ...);

/* Runs a statement that gives no rows, bound by `types` as above; `what` could not be done when it
 * fails: "cannot write". */
bool tl_store_run(tl_store *store, tl_statement which, const char *what, tl_error *error,
                  const char *types, ...);

/* Runs a bound statement that gives one integer; *found: there was a row. */
bool tl_store_fetch_integer(tl_store *store, sqlite3_stmt *statement, int64_t *value, bool *found,
                            tl_error *error);

/* Calls `row` for each row of a bound statement until it returns false, then resets it. */
bool tl_store_rows(tl_store *store, sqlite3_stmt *statement,
                   bool (*row)(void *context, sqlite3_stmt *statement), void *context,
                   tl_error *error);

/* A handle with nothing open yet; NULL when memory is out. */
tl_store *tl_store_new(const char *directory, tl_error *error);

const char *tl_store_column_text(sqlite3_stmt *statement, int column); /* "" for NULL */
double tl_store_column_double(sqlite3_stmt *statement, int column);    /* NAN for NULL */

/* Fills a cell from a row of TL_SQL_EACH_CELL. */
void tl_store_read_cell(sqlite3_stmt *statement, tl_store_cell *cell);

#endif
