/* The store, written.
 *
 * What survives what. Every example is one transaction of SQLite's write-ahead log, so the death of
 * any process at any instruction leaves all committed rows and nothing torn. A power cut may take
 * what the disk had not been told to keep: SQLite's synchronous=NORMAL alone would leave that to
 * the next checkpoint, so the log is synced here, after each example where examples take longer
 * than twenty syncs and otherwise as often as costs a twentieth of the time. */
#include "study/store_database.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { SYNC_SHARE = 20 }; /* a sync at most every so many times its own cost */

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
    return store->transaction || tl_store_run(store, TL_SQL_BEGIN, "cannot write", error, "");
}

/* Ends what `begin` began: commits, or rolls back and returns false when `good` is false. */
static bool end(tl_store *store, bool good, tl_error *error) {
    if (store->transaction) return good;
    if (good) good = tl_store_run(store, TL_SQL_COMMIT, "cannot write", error, "");
    if (!good) {
        if (!sqlite3_get_autocommit(store->database))
            tl_store_run(store, TL_SQL_ROLLBACK, "cannot undo", NULL, "");
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

/* ---- facts, devices, cells ---- */

/* The id in the row that `which` finds by a text. */
static bool find_id(tl_store *store, tl_statement which, const char *text, int64_t *id,
                    tl_error *error) {
    sqlite3_stmt *find = tl_store_prepare(store, which, error);
    if (!find) return false;
    tl_store_bind(find, "s", text);
    bool found;
    return tl_store_fetch_integer(store, find, id, &found, error) && found;
}

bool tl_store_set_fact(tl_store *store, const char *key, const char *value, tl_error *error) {
    return tl_store_run(store, TL_SQL_SET_FACT, "cannot write", error, "ss", key, value);
}

bool tl_store_device(tl_store *store, const char *fingerprint, const char *name, const char *facts,
                     int64_t *device, tl_error *error) {
    return tl_store_run(store, TL_SQL_ADD_DEVICE, "cannot write", error, "sss", fingerprint, name,
                        facts) &&
           find_id(store, TL_SQL_FIND_DEVICE, fingerprint, device, error);
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
    return tl_store_run(store, TL_SQL_ADD_MODEL, "cannot write", error, "ssssis", model->id,
                        model->name, model->path, model->family, model->parameters,
                        model->parameters_label) &&
           find_id(store, TL_SQL_FIND_MODEL, model->id, id, error);
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
        tl_verdict_parse(tl_store_column_text(find, 2), &cell->verdict);
        /* A cell that never gave an example has nothing to contradict. */
        if (tl_store_count_examples(store, cell->id) > 0)
            good = same_identity(store, cell, tl_store_column_text(find, 1), error);
    }
    sqlite3_reset(find);
    sqlite3_clear_bindings(find);
    if (!good || !*found) return good;
    return tl_store_run(store, TL_SQL_REPLAN_CELL, "cannot write", error, "issii", cell->id,
                        cell->identity, cell->task_title, (int64_t)cell->order, cell->examples);
}

bool tl_store_plan(tl_store *store, tl_store_cell *cell, tl_error *error) {
    int64_t model = 0;
    bool found = false;
    if (!begin(store, error)) return false;
    bool good =
        plan_model(store, &cell->model, &model, error) && replan(store, cell, model, &found, error);
    if (good && !found) {
        good = tl_store_run(store, TL_SQL_ADD_CELL, "cannot write", error, "iississsisssidd",
                            cell->device, model, cell->task, cell->task_title, (int64_t)cell->order,
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
               tl_store_run(store, TL_SQL_SET_VERDICT, "cannot write", error, "issdd", cell,
                            tl_verdict_name(verdict), reason, started, finished),
               error);
}

bool tl_store_set_model(tl_store *store, int64_t cell, const char *family, int64_t parameters,
                        const char *parameters_label, tl_error *error) {
    return tl_store_run(store, TL_SQL_SET_MODEL, "cannot write", error, "isis", cell, family,
                        parameters, parameters_label);
}

bool tl_store_set_planned(tl_store *store, int64_t cell, int64_t examples, tl_error *error) {
    return tl_store_run(store, TL_SQL_SET_PLANNED, "cannot write", error, "ii", cell, examples);
}

bool tl_store_set_measure(tl_store *store, int64_t cell, const char *name, double value,
                          const char *unit, const char *note, tl_error *error) {
    return tl_store_run(store, TL_SQL_SET_MEASURE, "cannot write", error, "isdss", cell, name,
                        value, unit ? unit : "", note);
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
            return tl_store_run(store, TL_SQL_ADD_TEXT, "cannot write", error, "is", *number, text);
    }
}

static void append_strings(tl_buffer *out, const char *name, const char *const *strings,
                           int32_t count) {
    if (!strings) return;
    bool alike = count > 1; /* one context for all choices: kept once */
    for (int32_t i = 1; i < count && alike; i++)
        alike = strcmp(strings[i], strings[0]) == 0;
    tl_json_open(out, name, '[');
    for (int32_t i = 0; i < (alike ? 1 : count); i++)
        tl_json_put_string(out, NULL, strings[i]);
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
           tl_store_run(store, TL_SQL_ADD_EXAMPLE, "cannot write an example", error,
                        "iiiiiiiiissisddii", cell, example->index, document, prompt, question,
                        (int64_t)example->gold, (int64_t)example->prediction,
                        (int64_t)example->prediction_norm, (int64_t)example->prediction_bytes,
                        scores->data, greedy->data, (int64_t)example->truncated, example->skipped,
                        example->forward_seconds, example->total_seconds, example->tokens_computed,
                        example->tokens_asked);
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
