/* The store's schema, every statement run on it, and the names of verdicts in it.
 *
 * Texts (rows, prompts, choices) are the same for every model, so they are kept once, by their
 * hash, in `text`; a hash that two texts share is stepped on by one. Scores are JSON arrays, so
 * that the file can be read with nothing but sqlite3. */
#include "study/store_database.h"

#include <string.h>

const char *const tl_store_schema =
    "CREATE TABLE fact(key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;"
    "CREATE TABLE device(id INTEGER PRIMARY KEY, fingerprint TEXT NOT NULL UNIQUE,"
    " name TEXT NOT NULL, facts TEXT NOT NULL);"
    "CREATE TABLE model(id INTEGER PRIMARY KEY, given TEXT NOT NULL UNIQUE, name TEXT NOT NULL,"
    " path TEXT, family TEXT, parameters INTEGER, parameters_label TEXT);"
    "CREATE TABLE cell(id INTEGER PRIMARY KEY,"
    " device INTEGER NOT NULL REFERENCES device, model INTEGER NOT NULL REFERENCES model,"
    " task TEXT NOT NULL, task_title TEXT NOT NULL, task_order INTEGER NOT NULL,"
    " protocol TEXT NOT NULL, dtype TEXT NOT NULL, precision TEXT NOT NULL,"
    " shots INTEGER NOT NULL, identity TEXT NOT NULL, verdict TEXT NOT NULL, reason TEXT,"
    " examples INTEGER NOT NULL, started REAL, finished REAL,"
    " UNIQUE(device, model, task, protocol, dtype, precision, shots));"
    "CREATE TABLE text(hash INTEGER PRIMARY KEY, content TEXT NOT NULL);"
    "CREATE TABLE example(cell INTEGER NOT NULL REFERENCES cell, row INTEGER NOT NULL,"
    " document INTEGER, prompt INTEGER, asked INTEGER,"
    " gold INTEGER NOT NULL, prediction INTEGER NOT NULL, prediction_norm INTEGER NOT NULL,"
    " prediction_bytes INTEGER NOT NULL, scores TEXT NOT NULL, greedy TEXT,"
    " truncated INTEGER NOT NULL, skipped TEXT, forward_seconds REAL, total_seconds REAL,"
    " tokens_computed INTEGER NOT NULL, tokens_asked INTEGER NOT NULL,"
    " PRIMARY KEY(cell, row)) WITHOUT ROWID;"
    "CREATE TABLE measure(cell INTEGER NOT NULL REFERENCES cell, name TEXT NOT NULL, value REAL,"
    " unit TEXT NOT NULL, note TEXT, PRIMARY KEY(cell, name)) WITHOUT ROWID;";

const char *const tl_store_sql[TL_SQL_COUNT] = {
    [TL_SQL_SET_FACT] = "INSERT INTO fact VALUES(?1, ?2)"
                        " ON CONFLICT(key) DO UPDATE SET value = ?2",
    [TL_SQL_GET_FACT] = "SELECT value FROM fact WHERE key = ?1",
    [TL_SQL_EACH_FACT] = "SELECT key, value FROM fact ORDER BY key",
    [TL_SQL_ADD_DEVICE] = "INSERT INTO device(fingerprint, name, facts) VALUES(?1, ?2, ?3)"
                          " ON CONFLICT(fingerprint) DO UPDATE SET name = ?2, facts = ?3",
    [TL_SQL_FIND_DEVICE] = "SELECT id FROM device WHERE fingerprint = ?1",
    [TL_SQL_EACH_DEVICE] = "SELECT id, fingerprint, name, facts FROM device ORDER BY id",
    [TL_SQL_ADD_MODEL] =
        "INSERT INTO model(given, name, path, family, parameters, parameters_label)"
        " VALUES(?1, ?2, ?3, ?4, ?5, ?6)"
        " ON CONFLICT(given) DO UPDATE SET name = ?2, path = coalesce(?3, path),"
        " family = coalesce(?4, family),"
        " parameters = CASE WHEN ?5 > 0 THEN ?5 ELSE parameters END,"
        " parameters_label = coalesce(?6, parameters_label)",
    [TL_SQL_FIND_MODEL] = "SELECT id FROM model WHERE given = ?1",
    [TL_SQL_SET_MODEL] = "UPDATE model SET family = ?2, parameters = ?3, parameters_label = ?4"
                         " WHERE id = (SELECT model FROM cell WHERE id = ?1)",
    [TL_SQL_ADD_CELL] = "INSERT INTO cell(device, model, task, task_title, task_order, protocol,"
                        " dtype, precision, shots, identity, verdict, reason, examples, started,"
                        " finished)"
                        " VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)",
    [TL_SQL_FIND_CELL] =
        "SELECT id, identity, verdict FROM cell WHERE device = ?1 AND model = ?2 AND"
        " task = ?3 AND protocol = ?4 AND dtype = ?5 AND precision = ?6 AND"
        " shots = ?7",
    [TL_SQL_REPLAN_CELL] = "UPDATE cell SET identity = ?2, task_title = ?3, task_order = ?4,"
                           " examples = CASE WHEN ?5 > 0 THEN ?5 ELSE examples END WHERE id = ?1",
    [TL_SQL_EACH_CELL] =
        "SELECT cell.id, device, model.name, given, path, family, parameters_label,"
        " parameters, task, task_title, protocol, dtype, precision, shots, task_order,"
        " identity, verdict, reason, examples, started, finished"
        " FROM cell JOIN model ON model.id = cell.model ORDER BY cell.id",
    [TL_SQL_SET_VERDICT] =
        "UPDATE cell SET verdict = ?2, reason = ?3, started = coalesce(started, ?4),"
        " finished = ?5 WHERE id = ?1",
    [TL_SQL_SET_PLANNED] = "UPDATE cell SET examples = ?2 WHERE id = ?1",
    [TL_SQL_GET_TEXT] = "SELECT content FROM text WHERE hash = ?1",
    [TL_SQL_ADD_TEXT] = "INSERT INTO text VALUES(?1, ?2)",
    [TL_SQL_ADD_EXAMPLE] =
        "INSERT OR REPLACE INTO example VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12,"
        " ?13, ?14, ?15, ?16, ?17)",
    [TL_SQL_EACH_EXAMPLE] =
        "SELECT row, (SELECT content FROM text WHERE hash = document),"
        " (SELECT content FROM text WHERE hash = prompt),"
        " (SELECT content FROM text WHERE hash = asked), gold, prediction, prediction_norm,"
        " prediction_bytes, scores, greedy, truncated, skipped, forward_seconds, total_seconds,"
        " tokens_computed, tokens_asked, (SELECT protocol FROM cell WHERE id = ?1)"
        " FROM example WHERE cell = ?1 ORDER BY row",
    [TL_SQL_EACH_INDEX] = "SELECT row FROM example WHERE cell = ?1 ORDER BY row",
    [TL_SQL_COUNT_EXAMPLES] = "SELECT count(*) FROM example WHERE cell = ?1",
    [TL_SQL_SET_MEASURE] = "INSERT OR REPLACE INTO measure VALUES(?1, ?2, ?3, ?4, ?5)",
    [TL_SQL_GET_MEASURE] = "SELECT value FROM measure WHERE cell = ?1 AND name = ?2",
    [TL_SQL_EACH_MEASURE] =
        "SELECT name, value, unit, note FROM measure WHERE cell = ?1 ORDER BY name",
    [TL_SQL_BEGIN] = "BEGIN IMMEDIATE",
    [TL_SQL_COMMIT] = "COMMIT",
    [TL_SQL_ROLLBACK] = "ROLLBACK",
};

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

bool tl_verdict_waits(tl_verdict verdict) {
    return verdict == TL_VERDICT_PLANNED || verdict == TL_VERDICT_RUNNING ||
           verdict == TL_VERDICT_INTERRUPTED;
}

void tl_verdict_parse(const char *name, tl_verdict *verdict) {
    for (int i = 0; i < TL_VERDICT_COUNT; i++)
        if (strcmp(name, verdict_names[i]) == 0) *verdict = (tl_verdict)i;
}
