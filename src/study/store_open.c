/* The store, opened, locked and checked. */
#include "study/store_database.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    CHECK_STEPS = 1 << 16
}; /* virtual machine steps between looks at the clock while checking */
static const double CHECK_SECONDS = 10; /* of looking for damage at opening, at most */

tl_store *tl_store_new(const char *directory, tl_error *error) {
    tl_store *store = calloc(1, sizeof *store);
    if (store) {
        store->lock = store->log = -1;
        store->directory = strdup(directory);
        store->path = tl_path_join(directory, "run.sqlite");
    }
    if (store && store->directory && store->path) return store;
    tl_fail_memory(error, sizeof *store, "the store");
    tl_store_close(store);
    return NULL;
}

void tl_store_close(tl_store *store) {
    if (!store) return;
    for (int i = 0; i < TL_SQL_COUNT; i++)
        sqlite3_finalize(store->statements[i]);
    sqlite3_close(store->database);
    if (store->log >= 0) close(store->log);
    if (store->lock >= 0) close(store->lock); /* the kernel releases it, now or at death */
    free(store->directory);
    free(store->path);
    free(store);
}

const char *tl_store_directory(const tl_store *store) {
    return store->directory;
}

/* The lock is the kernel's (flock): it cannot outlive its holder, so there is never a stale one. */
static bool take_lock(tl_store *store, tl_error *error) {
    char *path = tl_path_join(store->directory, "lock");
    if (!path) return tl_fail_memory(error, strlen(store->directory), "a path");
    store->lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    bool good = store->lock >= 0 || tl_fail_errno(error, "%s: cannot create", path);
    if (good && flock(store->lock, LOCK_EX | LOCK_NB) != 0) {
        char holder[32] = "";
        ssize_t got = pread(store->lock, holder, sizeof holder - 1, 0);
        holder[got > 0 ? got : 0] = 0;
        holder[strcspn(holder, "\n")] = 0;
        good = errno == EWOULDBLOCK
                   ? tl_fail(error, TL_ERROR_IO,
                             "%s: in use by another run (process %s); wait for it, or use another "
                             "directory",
                             store->directory, *holder ? holder : "unknown")
                   : tl_fail_errno(error, "%s: cannot lock", path);
    }
    char self[32];
    int length = snprintf(self, sizeof self, "%ld\n", (long)getpid());
    if (good &&
        (ftruncate(store->lock, 0) != 0 || pwrite(store->lock, self, (size_t)length, 0) < 0))
        good = tl_fail_errno(error, "%s: cannot write", path);
    free(path);
    return good;
}

static bool pragma(tl_store *store, const char *sql, tl_error *error) {
    return sqlite3_exec(store->database, sql, NULL, NULL, NULL) == SQLITE_OK ||
           tl_store_fail(store, "cannot open", error);
}

static bool pragma_integer(tl_store *store, const char *sql, int64_t *value, tl_error *error) {
    sqlite3_stmt *statement;
    if (sqlite3_prepare_v2(store->database, sql, -1, &statement, NULL) != SQLITE_OK)
        return tl_store_fail(store, "cannot open", error);
    bool found;
    bool good = tl_store_fetch_integer(store, statement, value, &found, error);
    sqlite3_finalize(statement);
    return good;
}

static int check_clock(void *context) {
    return tl_clock_monotonic() > *(double *)context;
}

/* Looks for damage, for a bounded time: what is not reached is found when it is read. */
static bool check_damage(tl_store *store, tl_error *error) {
    double deadline = tl_clock_monotonic() + CHECK_SECONDS;
    sqlite3_stmt *statement;
    if (sqlite3_prepare_v2(store->database, "PRAGMA integrity_check(1)", -1, &statement, NULL) !=
        SQLITE_OK)
        return tl_store_fail(store, "cannot open", error);
    sqlite3_progress_handler(store->database, CHECK_STEPS, check_clock, &deadline);
    bool good = true;
    int code = sqlite3_step(statement);
    if (code == SQLITE_ROW) {
        const char *found = tl_store_column_text(statement, 0);
        if (strcmp(found, "ok") != 0)
            good = tl_fail(error, TL_ERROR_FORMAT,
                           "%s: the store is damaged (%.200s); tinyllm report --salvage shows what "
                           "can still be read",
                           store->path, found);
    } else if (code != SQLITE_DONE && code != SQLITE_INTERRUPT) {
        good = tl_store_fail(store, "cannot open", error);
    }
    sqlite3_finalize(statement);
    sqlite3_progress_handler(store->database, 0, NULL, NULL);
    return good;
}

/* Whose file it is, of which version, and how many tables it has: of one moment, as a run that
 * begins may be writing them. */
static bool read_version(tl_store *store, int64_t *application, int64_t *version, int64_t *tables,
                         tl_error *error) {
    return pragma(store, "BEGIN", error) &&
           pragma_integer(store, "SELECT count(*) FROM sqlite_master", tables, error) &&
           pragma_integer(store, "PRAGMA application_id", application, error) &&
           pragma_integer(store, "PRAGMA user_version", version, error) &&
           pragma(store, "COMMIT", error);
}

static bool check_version(tl_store *store, bool write, tl_error *error) {
    int64_t application = 0, version = 0, tables = 0;
    if (!read_version(store, &application, &version, &tables, error)) return false;
    if (application == 0 && version == 0 && tables == 0) {
        if (!write)
            return tl_fail(error, TL_ERROR_FORMAT, "%s: nothing was stored in it yet", store->path);
        char versions[128];
        snprintf(versions, sizeof versions, "PRAGMA application_id=%d;PRAGMA user_version=%d;",
                 TL_STORE_APPLICATION, TL_STORE_VERSION);
        return pragma(store, "BEGIN IMMEDIATE", error) && pragma(store, tl_store_schema, error) &&
               pragma(store, versions, error) && pragma(store, "COMMIT", error);
    }
    if (application != TL_STORE_APPLICATION)
        return tl_fail(error, TL_ERROR_FORMAT, "%s: a database, but not a tinyllm store",
                       store->path);
    if (version > TL_STORE_VERSION || version < 1)
        return tl_fail(error, TL_ERROR_UNSUPPORTED,
                       "%s: a store of version %lld, and this tinyllm reads version %d: use the "
                       "tinyllm that wrote it, or a newer one",
                       store->path, (long long)version, TL_STORE_VERSION);
    return check_damage(store, error);
}

/* A reader of a directory it may not write cannot make SQLite's shared memory file: with no log
 * beside it the file is complete, and is read as one that nobody changes. */
static bool open_reader(tl_store *store, tl_error *error) {
    if (!tl_file_exists(store->path))
        return tl_fail(error, TL_ERROR_IO, "%s: no run was stored there (run.sqlite is missing)",
                       store->directory);
    int64_t probe;
    if (tl_store_open_file(&store->database, store->path, SQLITE_OPEN_READONLY) &&
        pragma_integer(store, "SELECT count(*) FROM sqlite_master", &probe, NULL))
        return true;
    int code = sqlite3_errcode(store->database) & 0xff;
    if (code != SQLITE_CANTOPEN && code != SQLITE_READONLY)
        return tl_store_fail(store, "cannot open", error);
    tl_buffer name = {0};
    tl_buffer_append_format(&name, "%s-wal", store->path);
    struct stat status;
    bool log = !name.failed && stat(name.data, &status) == 0 && status.st_size > 0;
    tl_buffer_clear(&name);
    tl_buffer_append_string(&name, "file:");
    for (const char *c = store->path; *c; c++) {
        if (strchr("%?#", *c))
            tl_buffer_append_format(&name, "%%%02x", *c);
        else
            tl_buffer_append_byte(&name, *c);
    }
    tl_buffer_append_string(&name, "?immutable=1");
    bool good = !name.failed && tl_store_open_file(&store->database, name.data,
                                                   SQLITE_OPEN_READONLY | SQLITE_OPEN_URI);
    tl_buffer_free(&name);
    if (!good) return tl_store_fail(store, "cannot open", error);
    if (log)
        return tl_fail(error, TL_ERROR_IO,
                       "%s: its write-ahead log (run.sqlite-wal) can only be read where the "
                       "directory may be written: copy the directory and read the copy",
                       store->path);
    return true;
}

static bool open_writer(tl_store *store, tl_error *error) {
    if (!tl_dir_create(store->directory, error) || !take_lock(store, error)) return false;
    if (!tl_store_open_file(&store->database, store->path,
                            SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE))
        return tl_store_fail(store, "cannot open", error);
    if (sqlite3_db_readonly(store->database, "main") == 1)
        return tl_fail(error, TL_ERROR_IO, "%s: the file may only be read", store->path);
    return pragma(store, "PRAGMA journal_mode=WAL;PRAGMA synchronous=NORMAL;", error);
}

tl_store *tl_store_open(const char *directory, bool write, tl_error *error) {
    tl_store *store = tl_store_new(directory, error);
    if (!store) return NULL;
    bool good = write ? open_writer(store, error) : open_reader(store, error);
    if (good) {
        sqlite3_extended_result_codes(store->database, 1);
        good = check_version(store, write, error);
    }
    if (good) return store;
    tl_store_close(store);
    return NULL;
}
