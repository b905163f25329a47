#include "study/store_database.h"

#include <math.h>
#include <stdarg.h>
#include <string.h>

bool tl_store_fail(tl_store *store, const char *what, tl_error *error) {
    int code = sqlite3_errcode(store->database);
    const char *text = sqlite3_errmsg(store->database);
    switch (code & 0xff) {
    case SQLITE_FULL:
        return tl_fail(error, TL_ERROR_IO,
                       "%s: %s: no space left on the disk; what is stored is safe: free some space "
                       "and run the same command again",
                       store->path, what);
    case SQLITE_IOERR:
        return tl_fail(error, TL_ERROR_IO,
                       "%s: %s: the disk refused (%s, error %d: %s); what is stored is safe",
                       store->path, what, text, sqlite3_extended_errcode(store->database),
                       strerror(sqlite3_system_errno(store->database)));
    case SQLITE_READONLY:
        return tl_fail(error, TL_ERROR_IO, "%s: %s: the file may only be read", store->path, what);
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        return tl_fail(error, TL_ERROR_FORMAT,
                       "%s: %s: the store is damaged (%s); tinyllm report --salvage shows what can "
                       "still be read",
                       store->path, what, text);
    case SQLITE_NOMEM:
        return tl_fail(error, TL_ERROR_MEMORY, "%s: %s: out of memory", store->path, what);
    default:
        return tl_fail(error, TL_ERROR_IO, "%s: %s: %s", store->path, what, text);
    }
}

bool tl_store_open_file(sqlite3 **database, const char *name, int flags) {
    enum { BUSY_MILLISECONDS = 10000 };
    sqlite3_close(*database);
    *database = NULL;
    return sqlite3_open_v2(name, database, flags, NULL) == SQLITE_OK &&
           sqlite3_busy_timeout(*database, BUSY_MILLISECONDS) == SQLITE_OK;
}

sqlite3_stmt *tl_store_prepare(tl_store *store, tl_statement which, tl_error *error) {
    sqlite3_stmt **slot = &store->statements[which];
    if (!*slot && sqlite3_prepare_v3(store->database, tl_store_sql[which], -1,
                                     SQLITE_PREPARE_PERSISTENT, slot, NULL) != SQLITE_OK) {
        tl_store_fail(store, "cannot ask the store", error);
        return NULL;
    }
    return *slot;
}

static void bind_arguments(sqlite3_stmt *statement, const char *types, va_list arguments) {
    for (int i = 1; *types; types++, i++) {
        if (*types == 'i') {
            sqlite3_bind_int64(statement, i, va_arg(arguments, int64_t));
        } else if (*types == 'd') {
            double value = va_arg(arguments, double);
            if (isnan(value))
                sqlite3_bind_null(statement, i);
            else
                sqlite3_bind_double(statement, i, value);
        } else {
            sqlite3_bind_text(statement, i, va_arg(arguments, const char *), -1, SQLITE_STATIC);
        }
    }
}

void tl_store_bind(sqlite3_stmt *statement, const char *types, ...) {
    va_list arguments;
    va_start(arguments, types);
    bind_arguments(statement, types, arguments);
    va_end(arguments);
}

bool tl_store_run(tl_store *store, tl_statement which, const char *what, tl_error *error,
                  const char *types, ...) {
    sqlite3_stmt *statement = tl_store_prepare(store, which, error);
    if (!statement) return false;
    va_list arguments;
    va_start(arguments, types);
    bind_arguments(statement, types, arguments);
    va_end(arguments);
    int code = sqlite3_step(statement);
    bool good = code == SQLITE_DONE || code == SQLITE_ROW || tl_store_fail(store, what, error);
    sqlite3_reset(statement);
    sqlite3_clear_bindings(statement);
    return good;
}

bool tl_store_fetch_integer(tl_store *store, sqlite3_stmt *statement, int64_t *value, bool *found,
                            tl_error *error) {
    int code = sqlite3_step(statement);
    *found = code == SQLITE_ROW;
    if (*found) *value = sqlite3_column_int64(statement, 0);
    bool good = *found || code == SQLITE_DONE || tl_store_fail(store, "cannot read", error);
    sqlite3_reset(statement);
    sqlite3_clear_bindings(statement);
    return good;
}

bool tl_store_rows(tl_store *store, sqlite3_stmt *statement,
                   bool (*row)(void *context, sqlite3_stmt *statement), void *context,
                   tl_error *error) {
    int code;
    while ((code = sqlite3_step(statement)) == SQLITE_ROW)
        if (!row(context, statement)) break;
    bool good =
        code == SQLITE_ROW || code == SQLITE_DONE || tl_store_fail(store, "cannot read", error);
    sqlite3_reset(statement);
    sqlite3_clear_bindings(statement);
    return good;
}

const char *tl_store_column_text(sqlite3_stmt *statement, int column) {
    const char *text = (const char *)sqlite3_column_text(statement, column);
    return text ? text : "";
}

double tl_store_column_double(sqlite3_stmt *statement, int column) {
    if (sqlite3_column_type(statement, column) == SQLITE_NULL) return NAN;
    return sqlite3_column_double(statement, column);
}
