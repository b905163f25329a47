/* The store, read. */
#include "study/store_database.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_CHOICES = 1 << 16 };

static const char *text_or_null(sqlite3_stmt *statement, int column) {
    return (const char *)sqlite3_column_text(statement, column);
}

/* A statement of the caller's own, so that a callback may ask the store too. */
static bool ask(tl_store *store, tl_statement which, const int64_t *argument,
                bool (*row)(void *context, sqlite3_stmt *statement), void *context,
                tl_error *error) {
    sqlite3_stmt *statement;
    if (sqlite3_prepare_v2(store->database, tl_store_sql[which], -1, &statement, NULL) != SQLITE_OK)
        return tl_store_fail(store, "cannot read", error);
    if (argument) tl_store_bind(statement, "i", *argument);
    bool good = tl_store_rows(store, statement, row, context, error);
    sqlite3_finalize(statement);
    return good;
}

char *tl_store_fact(tl_store *store, const char *key) {
    sqlite3_stmt *statement = tl_store_prepare(store, TL_SQL_GET_FACT, NULL);
    if (!statement) return NULL;
    tl_store_bind(statement, "s", key);
    char *value = NULL;
    if (sqlite3_step(statement) == SQLITE_ROW) value = strdup(tl_store_column_text(statement, 0));
    sqlite3_reset(statement);
    sqlite3_clear_bindings(statement);
    return value;
}

typedef struct fact_reader {
    bool (*function)(void *, const char *, const char *);
    void *context;
} fact_reader;

static bool read_fact(void *context, sqlite3_stmt *row) {
    fact_reader *reader = context;
    return reader->function(reader->context, tl_store_column_text(row, 0),
                            tl_store_column_text(row, 1));
}

bool tl_store_each_fact(tl_store *store,
                        bool (*function)(void *, const char *key, const char *value), void *context,
                        tl_error *error) {
    fact_reader reader = {function, context};
    return ask(store, TL_SQL_EACH_FACT, NULL, read_fact, &reader, error);
}

typedef struct device_reader {
    bool (*function)(void *, int64_t, const char *, const char *, const char *);
    void *context;
} device_reader;

static bool read_device(void *context, sqlite3_stmt *row) {
    device_reader *reader = context;
    return reader->function(reader->context, sqlite3_column_int64(row, 0),
                            tl_store_column_text(row, 1), tl_store_column_text(row, 2),
                            tl_store_column_text(row, 3));
}

bool tl_store_each_device(tl_store *store,
                          bool (*function)(void *, int64_t id, const char *fingerprint,
                                           const char *name, const char *facts),
                          void *context, tl_error *error) {
    device_reader reader = {function, context};
    return ask(store, TL_SQL_EACH_DEVICE, NULL, read_device, &reader, error);
}

static tl_verdict verdict_of(const char *name) {
    tl_verdict verdict = TL_VERDICT_INTERRUPTED;
    tl_verdict_parse(name, &verdict);
    return verdict;
}

static tl_protocol protocol_of(const char *name) {
    tl_protocol protocol = TL_PROTOCOL_STUDY;
    tl_protocol_parse(name, &protocol, NULL);
    return protocol;
}

void tl_store_read_cell(sqlite3_stmt *row, tl_store_cell *cell) {
    *cell = (tl_store_cell){
        .id = sqlite3_column_int64(row, 0),
        .device = sqlite3_column_int64(row, 1),
        .model = {.name = tl_store_column_text(row, 2),
                  .id = tl_store_column_text(row, 3),
                  .path = text_or_null(row, 4),
                  .family = text_or_null(row, 5),
                  .parameters_label = text_or_null(row, 6),
                  .parameters = sqlite3_column_int64(row, 7)},
        .task = tl_store_column_text(row, 8),
        .task_title = tl_store_column_text(row, 9),
        .protocol = protocol_of(tl_store_column_text(row, 10)),
        .dtype = tl_store_column_text(row, 11),
        .precision = tl_store_column_text(row, 12),
        .shots = sqlite3_column_int(row, 13),
        .order = sqlite3_column_int(row, 14),
        .identity = tl_store_column_text(row, 15),
        .verdict = verdict_of(tl_store_column_text(row, 16)),
        .reason = text_or_null(row, 17),
        .examples = sqlite3_column_int64(row, 18),
        .started = tl_store_column_double(row, 19),
        .finished = tl_store_column_double(row, 20),
    };
}

typedef struct cell_reader {
    bool (*function)(void *, const tl_store_cell *);
    void *context;
} cell_reader;

static bool read_cell(void *context, sqlite3_stmt *row) {
    cell_reader *reader = context;
    tl_store_cell cell;
    tl_store_read_cell(row, &cell);
    return reader->function(reader->context, &cell);
}

bool tl_store_each_cell(tl_store *store, bool (*function)(void *, const tl_store_cell *),
                        void *context, tl_error *error) {
    cell_reader reader = {function, context};
    return ask(store, TL_SQL_EACH_CELL, NULL, read_cell, &reader, error);
}

typedef struct measure_reader {
    bool (*function)(void *, const char *, double, const char *, const char *);
    void *context;
} measure_reader;

static bool read_measure(void *context, sqlite3_stmt *row) {
    measure_reader *reader = context;
    return reader->function(reader->context, tl_store_column_text(row, 0),
                            tl_store_column_double(row, 1), tl_store_column_text(row, 2),
                            text_or_null(row, 3));
}

bool tl_store_each_measure(tl_store *store, int64_t cell,
                           bool (*function)(void *, const char *name, double value,
                                            const char *unit, const char *note),
                           void *context, tl_error *error) {
    measure_reader reader = {function, context};
    return ask(store, TL_SQL_EACH_MEASURE, &cell, read_measure, &reader, error);
}

double tl_store_measure(tl_store *store, int64_t cell, const char *name) {
    sqlite3_stmt *statement = tl_store_prepare(store, TL_SQL_GET_MEASURE, NULL);
    if (!statement) return NAN;
    tl_store_bind(statement, "is", cell, name);
    double value =
        sqlite3_step(statement) == SQLITE_ROW ? tl_store_column_double(statement, 0) : NAN;
    sqlite3_reset(statement);
    sqlite3_clear_bindings(statement);
    return value;
}

int64_t tl_store_count_examples(tl_store *store, int64_t cell) {
    sqlite3_stmt *statement = tl_store_prepare(store, TL_SQL_COUNT_EXAMPLES, NULL);
    if (!statement) return 0;
    tl_store_bind(statement, "i", cell);
    int64_t count = sqlite3_step(statement) == SQLITE_ROW ? sqlite3_column_int64(statement, 0) : 0;
    sqlite3_reset(statement);
    sqlite3_clear_bindings(statement);
    return count;
}

typedef struct index_reader {
    bool (*function)(void *, int64_t);
    void *context;
} index_reader;

static bool read_index(void *context, sqlite3_stmt *row) {
    index_reader *reader = context;
    return reader->function(reader->context, sqlite3_column_int64(row, 0));
}

bool tl_store_each_index(tl_store *store, int64_t cell, bool (*function)(void *, int64_t index),
                         void *context, tl_error *error) {
    index_reader reader = {function, context};
    return ask(store, TL_SQL_EACH_INDEX, &cell, read_index, &reader, error);
}

/* ---- examples ---- */

typedef struct example_reader {
    bool (*function)(void *, const tl_example *);
    void *context;
    tl_arena *arena; /* of one example */
    tl_error *error;
    bool failed;
} example_reader;

/* The strings of asked.NAME, `count` of them (one that was the same for all is repeated); NULL
 * where the field is absent or of another length. */
static const char *const *read_strings(example_reader *reader, const cJSON *asked, const char *name,
                                       int32_t count) {
    const cJSON *array = tl_json_get(asked, name);
    int held = array ? cJSON_GetArraySize(array) : 0;
    if (held == 0 || (held != count && held != 1)) return NULL;
    const char **strings =
        tl_arena_alloc(reader->arena, (size_t)count, sizeof *strings, "an example", reader->error);
    if (!strings) return NULL;
    const cJSON *item = array->child;
    for (int32_t i = 0; i < count; i++) {
        strings[i] = cJSON_IsString(item) ? item->valuestring : "";
        if (held > 1) item = item->next;
    }
    return strings;
}

static bool read_scores(example_reader *reader, const cJSON *scores, const cJSON *greedy,
                        tl_example *example) {
    int count = cJSON_GetArraySize(scores);
    if (count < 0 || count > MOST_CHOICES) count = 0;
    example->n_choices = count;
    if (count == 0) return true;
    double *values =
        tl_arena_alloc(reader->arena, (size_t)count, sizeof *values, "an example", reader->error);
    bool *flags = tl_arena_alloc(reader->arena, (size_t)count, 1, "an example", reader->error);
    if (!values || !flags) return false;
    const cJSON *item = scores->child;
    for (int i = 0; i < count; i++, item = item->next)
        values[i] = cJSON_IsNumber(item) ? item->valuedouble : NAN;
    example->scores = values;
    if (!greedy || cJSON_GetArraySize(greedy) != count) return true;
    item = greedy->child;
    for (int i = 0; i < count; i++, item = item->next)
        flags[i] = cJSON_IsTrue(item);
    example->greedy = flags;
    return true;
}

static bool read_example(void *context, sqlite3_stmt *row) {
    example_reader *reader = context;
    tl_example example = {
        .protocol = protocol_of(tl_store_column_text(row, 16)),
        .index = sqlite3_column_int64(row, 0),
        .document = tl_store_column_text(row, 1),
        .prompt = tl_store_column_text(row, 2),
        .gold = sqlite3_column_int(row, 4),
        .prediction = sqlite3_column_int(row, 5),
        .prediction_norm = sqlite3_column_int(row, 6),
        .prediction_bytes = sqlite3_column_int(row, 7),
        .truncated = sqlite3_column_int(row, 10) != 0,
        .skipped = text_or_null(row, 11),
        .forward_seconds = tl_store_column_double(row, 12),
        .total_seconds = tl_store_column_double(row, 13),
        .tokens_computed = sqlite3_column_int64(row, 14),
        .tokens_asked = sqlite3_column_int64(row, 15),
    };
    tl_arena_reset(reader->arena);
    cJSON *asked = cJSON_Parse(tl_store_column_text(row, 3));
    cJSON *scores = cJSON_Parse(tl_store_column_text(row, 8));
    cJSON *greedy = cJSON_Parse(tl_store_column_text(row, 9));
    bool good = read_scores(reader, scores, greedy, &example);
    if (good) {
        example.choices = read_strings(reader, asked, "choices", example.n_choices);
        example.contexts = read_strings(reader, asked, "contexts", example.n_choices);
        example.continuations = read_strings(reader, asked, "continuations", example.n_choices);
    }
    reader->failed = !good;
    good = good && reader->function(reader->context, &example);
    cJSON_Delete(asked);
    cJSON_Delete(scores);
    cJSON_Delete(greedy);
    return good;
}

bool tl_store_each_example(tl_store *store, int64_t cell,
                           bool (*function)(void *, const tl_example *), void *context,
                           tl_error *error) {
    example_reader reader = {function, context, tl_arena_new(), error, false};
    if (!reader.arena) return tl_fail_memory(error, sizeof reader, "examples");
    bool good = ask(store, TL_SQL_EACH_EXAMPLE, &cell, read_example, &reader, error);
    tl_arena_free(reader.arena);
    return good && !reader.failed;
}
