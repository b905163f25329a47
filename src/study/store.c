/* The store, opened, locked and written.
 *
 * What survives what. Every example is one transaction of SQLite's write-ahead log, so the death of
 * any process at any instruction leaves all committed rows and nothing torn. A power cut may take
 * what the disk had not been told to keep: SQLite's synchronous=NORMAL alone would leave that to
 * the next checkpoint, so the log is synced here, after each example where examples take longer
 * than twenty syncs and otherwise as often as costs a twentieth of the time. */
#include "study/store_private.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    SYNC_SHARE = 20,       /* a sync at most every so many times its own cost */
    CHECK_STEPS = 1 << 16, /* virtual machine steps between looks at the clock while checking */
    BUSY_MILLISECONDS = 10000,
};
static const double CHECK_SECONDS = 10; /* of looking for damage at opening, at most */

static const char *const verdict_names[TL_VERDICT_COUNT] = {
    [TL_VERDICT_PLANNED] = "planned",
    [TL_VERDICT_RUNNING] = "running",
    [TL_VERDICT_DONE] = "done",
    [TL_VERDICT_PREDICTED_OOM] = "predicted_oom",
    [TL_VERDICT_OOM_KILLED] = "oom_killed",
    [TL_VERDICT_TIMEOUT] = "timeout",
    [TL_VERDICT_STALLED] = "stalled",
    [TL_VERDICT_CRASHED] = "crashed",
    [TL_VERDICT_UNSUPPORTED] = "unsupported",
    [TL_VERDICT_LOAD_ERROR] = "load_error",
    [TL_VERDICT_INTERRUPTED] = "interrupted",
};

const char *tl_verdict_name(tl_verdict verdict) {
    return (unsigned)verdict < TL_VERDICT_COUNT ? verdict_names[verdict] : "unknown";
}

/* ---- statements ---- */

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

/* Runs a statement that gives no rows. */
static bool run(tl_store *store, tl_statement which, const char *what, tl_error *error,
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

/* Runs a bound statement that gives one integer; false without touching `error` when no row. */
static bool fetch_integer(tl_store *store, sqlite3_stmt *statement, int64_t *value, bool *found,
                          tl_error *error) {
    int code = sqlite3_step(statement);
    *found = code == SQLITE_ROW;
    if (*found) *value = sqlite3_column_int64(statement, 0);
    bool good = *found || code == SQLITE_DONE || tl_store_fail(store, "cannot read", error);
    sqlite3_reset(statement);
    sqlite3_clear_bindings(statement);
    return good;
}

/* ---- transactions and syncing ---- */

/* Tells the disk to keep what was committed. The log is a file of its own, so that opening it here
 * cannot disturb the locks that SQLite holds on the main file. */
static bool sync_log(tl_store *store, tl_error *error) {
    if (store->log < 0) {
        tl_buffer path = {0};
        tl_buffer_append_format(&path, "%s-wal", store->path);
        store->log = open(tl_buffer_string(&path), O_RDONLY | O_CLOEXEC);
        tl_buffer_free(&path);
        if (store->log < 0) return true; /* in memory, or all checkpointed */
    }
    double before = tl_clock_monotonic();
    if (fdatasync(store->log) != 0 && errno != EROFS && errno != EINVAL)
        return tl_fail_errno(error, "%s: cannot sync", store->path);
    store->synced_at = tl_clock_monotonic();
    store->sync_cost = store->synced_at - before;
    store->unsynced = false;
    return true;
}

static bool begin(tl_store *store, tl_error *error) {
    return store->transaction || run(store, TL_SQL_BEGIN, "cannot write", error, "");
}

/* Ends what `begin` began: commits, or rolls back and returns false when `good` is false. */
static bool end(tl_store *store, bool good, tl_error *error) {
    if (store->transaction) return good;
    if (good) good = run(store, TL_SQL_COMMIT, "cannot write", error, "");
    if (!good) {
        if (!sqlite3_get_autocommit(store->database))
            run(store, TL_SQL_ROLLBACK, "cannot undo", NULL, "");
        return false;
    }
    store->unsynced = true;
    double since = tl_clock_monotonic() - store->synced_at;
    return since < SYNC_SHARE * store->sync_cost || sync_log(store, error);
}

bool tl_store_begin(tl_store *store, tl_error *error) {
    if (!begin(store, error)) return false;
    store->transaction = true;
    return true;
}

bool tl_store_end(tl_store *store, bool keep, tl_error *error) {
    store->transaction = false;
    return end(store, keep, error);
}

bool tl_store_flush(tl_store *store, tl_error *error) {
    return !store->unsynced || sync_log(store, error);
}

bool tl_store_checkpoint(tl_store *store, tl_error *error) {
    if (!tl_store_flush(store, error)) return false;
    int code =
        sqlite3_wal_checkpoint_v2(store->database, NULL, SQLITE_CHECKPOINT_PASSIVE, NULL, NULL);
    /* A reader in the way only postpones it. */
    return code == SQLITE_OK || code == SQLITE_BUSY || code == SQLITE_LOCKED ||
           tl_store_fail(store, "cannot move the log into the main file", error);
}

/* ---- opening ---- */

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
    bool good = fetch_integer(store, statement, value, &found, error);
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

static bool check_version(tl_store *store, bool write, tl_error *error) {
    int64_t application = 0, version = 0, tables = 0;
    if (!pragma_integer(store, "PRAGMA application_id", &application, error) ||
        !pragma_integer(store, "PRAGMA user_version", &version, error) ||
        !pragma_integer(store, "SELECT count(*) FROM sqlite_master", &tables, error))
        return false;
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
    if (sqlite3_open_v2(store->path, &store->database, SQLITE_OPEN_READONLY, NULL) == SQLITE_OK &&
        pragma_integer(store, "SELECT count(*) FROM sqlite_master", &probe, NULL))
        return true;
    int code = sqlite3_errcode(store->database) & 0xff;
    if (code != SQLITE_CANTOPEN && code != SQLITE_READONLY)
        return tl_store_fail(store, "cannot open", error);
    sqlite3_close(store->database);
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
    code = name.failed ? SQLITE_NOMEM
                       : sqlite3_open_v2(name.data, &store->database,
                                         SQLITE_OPEN_READONLY | SQLITE_OPEN_URI, NULL);
    tl_buffer_free(&name);
    if (code != SQLITE_OK) return tl_store_fail(store, "cannot open", error);
    if (log)
        return tl_fail(error, TL_ERROR_IO,
                       "%s: its write-ahead log (run.sqlite-wal) can only be read where the "
                       "directory may be written: copy the directory and read the copy",
                       store->path);
    return true;
}

static bool open_writer(tl_store *store, tl_error *error) {
    if (!tl_dir_create(store->directory, error) || !take_lock(store, error)) return false;
    if (sqlite3_open_v2(store->path, &store->database, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE,
                        NULL) != SQLITE_OK)
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
        sqlite3_busy_timeout(store->database, BUSY_MILLISECONDS);
        good = check_version(store, write, error);
    }
    if (good) return store;
    tl_store_close(store);
    return NULL;
}

/* ---- facts, devices, cells ---- */

bool tl_store_set_fact(tl_store *store, const char *key, const char *value, tl_error *error) {
    return run(store, TL_SQL_SET_FACT, "cannot write", error, "ss", key, value);
}

bool tl_store_device(tl_store *store, const char *fingerprint, const char *name, const char *facts,
                     int64_t *device, tl_error *error) {
    if (!run(store, TL_SQL_ADD_DEVICE, "cannot write", error, "sss", fingerprint, name, facts))
        return false;
    sqlite3_stmt *find = tl_store_prepare(store, TL_SQL_FIND_DEVICE, error);
    if (!find) return false;
    tl_store_bind(find, "s", fingerprint);
    bool found;
    return fetch_integer(store, find, device, &found, error) && found;
}

/* The first key of `a` whose value in `b` is another, or absent. */
static const cJSON *first_difference(const cJSON *a, const cJSON *b) {
    const cJSON *item;
    cJSON_ArrayForEach(item, a) {
        const cJSON *other = tl_json_get(b, item->string);
        if (!other || !cJSON_Compare(item, other, true)) return item;
    }
    return NULL;
}

static void describe(const cJSON *object, const char *key, char *text, size_t size) {
    const cJSON *item = tl_json_get(object, key);
    char *printed = item ? cJSON_PrintUnformatted(item) : NULL;
    snprintf(text, size, "%s", printed ? printed : "absent");
    cJSON_free(printed);
}

/* Refuses a stored identity that differs, naming the first key that does. */
static bool same_identity(const tl_store *store, const tl_store_cell *cell, const char *stored,
                          tl_error *error) {
    cJSON *was = cJSON_Parse(stored), *is = cJSON_Parse(cell->identity);
    const cJSON *different = first_difference(is, was);
    if (!different) different = first_difference(was, is);
    if (different) {
        char before[96], after[96];
        describe(was, different->string, before, sizeof before);
        describe(is, different->string, after, sizeof after);
        tl_fail(error, TL_ERROR_USAGE,
                "%s: %s × %s (%s, %s) was begun with another %s: it was %s, and now it is %s; "
                "finish it as it was begun, or use another directory",
                store->path, cell->model.name, cell->task, tl_protocol_name(cell->protocol),
                cell->dtype, different->string, before, after);
    }
    cJSON_Delete(was);
    cJSON_Delete(is);
    return !different;
}

static bool plan_model(tl_store *store, const tl_store_model *model, int64_t *id, tl_error *error) {
    if (!run(store, TL_SQL_ADD_MODEL, "cannot write", error, "ssssis", model->id, model->name,
             model->path, model->family, model->parameters, model->parameters_label))
        return false;
    sqlite3_stmt *find = tl_store_prepare(store, TL_SQL_FIND_MODEL, error);
    if (!find) return false;
    tl_store_bind(find, "s", model->id);
    bool found;
    return fetch_integer(store, find, id, &found, error) && found;
}

/* Finds the cell among those stored; with *found, checks its identity and renews what may change.
 */
static bool replan(tl_store *store, tl_store_cell *cell, int64_t model, bool *found,
                   tl_error *error) {
    sqlite3_stmt *find = tl_store_prepare(store, TL_SQL_FIND_CELL, error);
    if (!find) return false;
    tl_store_bind(find, "iissssi", cell->device, model, cell->task,
                  tl_protocol_name(cell->protocol), cell->dtype, cell->precision,
                  (int64_t)cell->shots);
    int code = sqlite3_step(find);
    *found = code == SQLITE_ROW;
    bool good = *found || code == SQLITE_DONE || tl_store_fail(store, "cannot read", error);
    if (*found) {
        cell->id = sqlite3_column_int64(find, 0);
        const char *verdict = tl_store_column_text(find, 2);
        for (int i = 0; i < TL_VERDICT_COUNT; i++)
            if (strcmp(verdict, verdict_names[i]) == 0) cell->verdict = (tl_verdict)i;
        /* A cell that never gave an example has nothing to contradict. */
        if (tl_store_count_examples(store, cell->id) > 0)
            good = same_identity(store, cell, tl_store_column_text(find, 1), error);
    }
    sqlite3_reset(find);
    sqlite3_clear_bindings(find);
    if (!good || !*found) return good;
    return run(store, TL_SQL_REPLAN_CELL, "cannot write", error, "issii", cell->id, cell->identity,
               cell->task_title, (int64_t)cell->order, cell->examples);
}

bool tl_store_plan(tl_store *store, tl_store_cell *cell, tl_error *error) {
    int64_t model = 0;
    bool found = false;
    if (!begin(store, error)) return false;
    bool good =
        plan_model(store, &cell->model, &model, error) && replan(store, cell, model, &found, error);
    if (good && !found) {
        good = run(store, TL_SQL_ADD_CELL, "cannot write", error, "iississsisssidd", cell->device,
                   model, cell->task, cell->task_title, (int64_t)cell->order,
                   tl_protocol_name(cell->protocol), cell->dtype, cell->precision,
                   (int64_t)cell->shots, cell->identity, tl_verdict_name(cell->verdict),
                   cell->reason, cell->examples, cell->started, cell->finished);
        if (good) cell->id = sqlite3_last_insert_rowid(store->database);
    }
    return end(store, good, error);
}

bool tl_store_set_verdict(tl_store *store, int64_t cell, tl_verdict verdict, const char *reason,
                          tl_error *error) {
    double now = tl_clock_wall();
    double started = verdict == TL_VERDICT_PLANNED ? NAN : now;
    double finished = verdict == TL_VERDICT_RUNNING ? NAN : started;
    if (!begin(store, error)) return false;
    return end(store,
               run(store, TL_SQL_SET_VERDICT, "cannot write", error, "issdd", cell,
                   tl_verdict_name(verdict), reason, started, finished),
               error);
}

bool tl_store_set_model(tl_store *store, int64_t cell, const char *family, int64_t parameters,
                        const char *parameters_label, tl_error *error) {
    return run(store, TL_SQL_SET_MODEL, "cannot write", error, "isis", cell, family, parameters,
               parameters_label);
}

bool tl_store_set_planned(tl_store *store, int64_t cell, int64_t examples, tl_error *error) {
    return run(store, TL_SQL_SET_PLANNED, "cannot write", error, "ii", cell, examples);
}

bool tl_store_set_measure(tl_store *store, int64_t cell, const char *name, double value,
                          const char *unit, const char *note, tl_error *error) {
    return run(store, TL_SQL_SET_MEASURE, "cannot write", error, "isdss", cell, name, value,
               unit ? unit : "", note);
}

/* ---- examples ---- */

/* The number under which a text is kept, storing it the first time. */
static bool intern(tl_store *store, const char *text, int64_t *number, tl_error *error) {
    sqlite3_stmt *get = tl_store_prepare(store, TL_SQL_GET_TEXT, error);
    if (!get) return false;
    uint64_t hash = tl_hash(text, strlen(text));
    for (;; hash++) {
        memcpy(number, &hash, sizeof hash);
        tl_store_bind(get, "i", *number);
        int code = sqlite3_step(get);
        bool same = code == SQLITE_ROW && strcmp(tl_store_column_text(get, 0), text) == 0;
        bool bad = code != SQLITE_ROW && code != SQLITE_DONE;
        if (bad) tl_store_fail(store, "cannot read", error);
        sqlite3_reset(get);
        if (bad) return false;
        if (same) return true;
        if (code == SQLITE_DONE)
            return run(store, TL_SQL_ADD_TEXT, "cannot write", error, "is", *number, text);
    }
}

static void append_strings(tl_buffer *out, const char *name, const char *const *strings,
                           int32_t count) {
    if (!strings) return;
    bool alike = count > 1; /* one context for all choices: kept once */
    for (int32_t i = 1; i < count && alike; i++)
        alike = strcmp(strings[i], strings[0]) == 0;
    tl_buffer_append_format(out, "%s\"%s\":[", out->length > 1 ? "," : "", name);
    for (int32_t i = 0; i < (alike ? 1 : count); i++) {
        if (i) tl_buffer_append_byte(out, ',');
        tl_json_append_string(out, strings[i], strlen(strings[i]));
    }
    tl_buffer_append_byte(out, ']');
}

static void append_scores(tl_buffer *out, const tl_example *example) {
    tl_buffer_append_byte(out, '[');
    for (int32_t i = 0; i < example->n_choices && example->scores; i++) {
        if (i) tl_buffer_append_byte(out, ',');
        if (isinf(example->scores[i])) /* reads back as infinite */
            tl_buffer_append_string(out, example->scores[i] < 0 ? "-1e999" : "1e999");
        else
            tl_json_append_double(out, example->scores[i]);
    }
    tl_buffer_append_byte(out, ']');
}

static void append_greedy(tl_buffer *out, const tl_example *example) {
    tl_buffer_append_byte(out, '[');
    for (int32_t i = 0; i < example->n_choices; i++)
        tl_buffer_append_format(out, "%s%s", i ? "," : "", example->greedy[i] ? "true" : "false");
    tl_buffer_append_byte(out, ']');
}

static bool insert_example(tl_store *store, int64_t cell, const tl_example *example,
                           tl_buffer texts[3], tl_error *error) {
    tl_buffer *asked = &texts[0], *scores = &texts[1], *greedy = &texts[2];
    tl_buffer_append_byte(asked, '{');
    append_strings(asked, "choices", example->choices, example->n_choices);
    append_strings(asked, "contexts", example->contexts, example->n_choices);
    append_strings(asked, "continuations", example->continuations, example->n_choices);
    tl_buffer_append_byte(asked, '}');
    append_scores(scores, example);
    if (example->greedy) append_greedy(greedy, example);
    if (asked->failed || scores->failed || greedy->failed)
        return tl_fail_memory(error, asked->length, "an example");
    int64_t document, prompt, question;
    return intern(store, example->document ? example->document : "", &document, error) &&
           intern(store, example->prompt ? example->prompt : "", &prompt, error) &&
           intern(store, asked->data, &question, error) &&
           run(store, TL_SQL_ADD_EXAMPLE, "cannot write an example", error, "iiiiiiiiissisddii",
               cell, example->index, document, prompt, question, (int64_t)example->gold,
               (int64_t)example->prediction, (int64_t)example->prediction_norm,
               (int64_t)example->prediction_bytes, scores->data, greedy->data,
               (int64_t)example->truncated, example->skipped, example->forward_seconds,
               example->total_seconds, example->tokens_computed, example->tokens_asked);
}

bool tl_store_add_example(tl_store *store, int64_t cell, const tl_example *example,
                          tl_error *error) {
    if (!begin(store, error)) return false;
    tl_buffer texts[3] = {0};
    bool good = insert_example(store, cell, example, texts, error);
    for (int i = 0; i < 3; i++)
        tl_buffer_free(&texts[i]);
    return end(store, good, error);
}
