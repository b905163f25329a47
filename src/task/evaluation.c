/* Evaluation: one model on one task. Batched, questions of similar length go through the engine
 * together; unbatched, each is a pass of its own and is timed. The answers are the same. */
#include "task/asking.h"
#include "task/fewshot.h"
#include "task/method.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    MOST_FILES = 2 * TL_PROTOCOL_COUNT,
    MOST_PATH = 4096,
    BATCH_PASSES = 8,    /* of a batch: few rows are left over, and few examples in flight */
    PASS_REST = 64,      /* rows that questions leave unused at the end of a pass */
    BATCH_PREFIXES = 16, /* of few-shot examples: a batch takes so many times their length */
};

typedef struct track { /* one protocol's way through the evaluation */
    bool on;
    const tl_rows *rows;
    int64_t count, total;
    unsigned char *done; /* [count] */
    tl_fewshot *fewshot;
    char fingerprint[TL_HEX_SIZE];
} track;

struct tl_evaluation {
    const tl_task *task;
    tl_evaluation_options options;
    tl_engine *engine;
    tl_asker asker;
    track tracks[TL_PROTOCOL_COUNT];
    tl_rows *files[MOST_FILES]; /* each file once, however many protocols read it */
    int n_files;
    int64_t batch_tokens;
    tl_arena *arena; /* of the batch in hand */
};

/* ---- preparing ---- */

static const tl_rows *open_rows(tl_evaluation *e, const char *path, int64_t limit,
                                tl_error *error) {
    for (int i = 0; i < e->n_files; i++)
        if (strcmp(tl_rows_path(e->files[i]), path) == 0 &&
            (limit || tl_rows_count(e->files[i]) == tl_rows_total(e->files[i])))
            return e->files[i];
    tl_rows *rows = tl_rows_open(path, limit, error);
    if (rows) e->files[e->n_files++] = rows;
    return rows;
}

static bool prepare_shots(tl_evaluation *e, track *t, tl_error *error) {
    const char *split = tl_task_fewshot_split(e->task, TL_PROTOCOL_LOGLIKELIHOOD);
    const char *name = tl_task_name(e->task);
    char path[MOST_PATH], both[2 * TL_HEX_SIZE];
    if (!split)
        return tl_fail(error, TL_ERROR_USAGE,
                       "%s: the task file names no split for few-shot examples (shots)", name);
    if (!tl_task_find_rows(e->task, TL_PROTOCOL_LOGLIKELIHOOD, split, e->options.data_dir, path,
                           sizeof path, error))
        return false;
    const tl_rows *pool = open_rows(e, path, 0, error);
    if (!pool) return false;
    t->fewshot = tl_fewshot_new(e->task, pool, e->options.shots, e->options.shots_first,
                                e->options.shots_seed, t->count, error);
    int length = snprintf(both, sizeof both, "%s\n%s", t->fingerprint, tl_rows_fingerprint(pool));
    return t->fewshot && tl_sha256(both, (size_t)length, t->fingerprint);
}

static bool prepare_track(tl_evaluation *e, tl_protocol protocol, tl_error *error) {
    track *t = &e->tracks[protocol];
    char path[MOST_PATH];
    t->on = e->options.protocols[protocol];
    if (!t->on) return true;
    if (!tl_task_has_protocol(e->task, protocol))
        return tl_fail(error, TL_ERROR_USAGE, "%s: the task has no protocol %s",
                       tl_task_name(e->task), tl_protocol_name(protocol));
    if (e->options.data_file)
        snprintf(path, sizeof path, "%s", e->options.data_file);
    else if (!tl_task_find_rows(e->task, protocol, tl_task_split(e->task, protocol),
                                e->options.data_dir, path, sizeof path, error))
        return false;
    t->rows = open_rows(e, path, e->options.limit, error);
    if (!t->rows) return false;
    t->count = tl_rows_count(t->rows);
    t->total = tl_rows_total(t->rows);
    if (e->options.limit && t->count > e->options.limit) t->count = e->options.limit;
    t->done = calloc((size_t)t->count, 1);
    if (!t->done) return tl_fail_memory(error, (size_t)t->count, "an evaluation");
    snprintf(t->fingerprint, sizeof t->fingerprint, "%s", tl_rows_fingerprint(t->rows));
    if (protocol != TL_PROTOCOL_LOGLIKELIHOOD)
        return tl_asker_find_letters(&e->asker, protocol, error);
    return e->options.shots == 0 || prepare_shots(e, t, error);
}

tl_evaluation *tl_evaluation_new(const tl_task *task, const tl_evaluation_options *options,
                                 tl_engine *engine, const tl_tokenizer *tokenizer,
                                 tl_error *error) {
    tl_evaluation *e = calloc(1, sizeof *e);
    if (e) e->arena = tl_arena_new();
    if (!e || !e->arena) {
        tl_fail_memory(error, sizeof *e, "an evaluation");
        tl_evaluation_free(e);
        return NULL;
    }
    e->task = task;
    e->options = *options;
    e->engine = engine;
    e->asker = (tl_asker){.task = task,
                          .spec = &tl_engine_model(engine)->spec,
                          .tokenizer = tokenizer,
                          .bos = options->bos};
    int32_t rows = tl_engine_pass_rows(engine);
    e->batch_tokens = (int64_t)BATCH_PASSES * (rows > 2 * PASS_REST ? rows - PASS_REST : rows);
    for (int i = 0; i < TL_PROTOCOL_COUNT; i++)
        if (!prepare_track(e, (tl_protocol)i, error)) {
            tl_evaluation_free(e);
            return NULL;
        }
    return e;
}

void tl_evaluation_free(tl_evaluation *e) {
    if (!e) return;
    for (int i = 0; i < TL_PROTOCOL_COUNT; i++) {
        tl_fewshot_free(e->tracks[i].fewshot);
        free(e->tracks[i].done);
    }
    for (int i = 0; i < e->n_files; i++)
        tl_rows_free(e->files[i]);
    tl_arena_free(e->arena);
    free(e);
}

int64_t tl_evaluation_count(const tl_evaluation *e, tl_protocol protocol) {
    return e->tracks[protocol].count;
}

int64_t tl_evaluation_total(const tl_evaluation *e, tl_protocol protocol) {
    return e->tracks[protocol].total;
}

void tl_evaluation_done(tl_evaluation *e, tl_protocol protocol, int64_t index) {
    if (index >= 0 && index < e->tracks[protocol].count) e->tracks[protocol].done[index] = 1;
}

const char *tl_evaluation_rows_fingerprint(const tl_evaluation *e, tl_protocol protocol) {
    return e->tracks[protocol].fingerprint;
}

bool tl_evaluation_has_norm(const tl_evaluation *e, tl_protocol protocol) {
    return protocol == TL_PROTOCOL_LOGLIKELIHOOD && e->task->methods[protocol].norm;
}

/* ---- one question ---- */

static bool build(tl_evaluation *e, tl_inquiry *inquiry, const cJSON *row, tl_error *why) {
    const track *t = &e->tracks[inquiry->protocol];
    const char *shots = "";
    size_t length;
    const char *text = tl_rows_text(t->rows, inquiry->index, &length);
    if (t->fewshot && inquiry->protocol == TL_PROTOCOL_LOGLIKELIHOOD &&
        !tl_fewshot_text(t->fewshot, inquiry->index, row, e->arena, &shots, why))
        return false;
    return tl_question_build(e->task, inquiry->protocol, row, text, length, shots, e->arena,
                             &inquiry->question, why);
}

/* Builds and encodes the question of one row; what the row itself makes impossible is a skipped
 * question whose reason names the row. */
static bool inquire(tl_evaluation *e, tl_protocol protocol, int64_t index, tl_inquiry *inquiry,
                    tl_error *error) {
    const track *t = &e->tracks[protocol];
    *inquiry = (tl_inquiry){.protocol = protocol, .index = index};
    inquiry->started = tl_clock_monotonic();
    cJSON *row = tl_rows_parse(t->rows, index, error);
    if (!row) return false;
    tl_error why = {0};
    bool built = build(e, inquiry, row, &why);
    cJSON_Delete(row);
    if (built) {
        if (!tl_inquiry_encode(&e->asker, inquiry, e->arena, error)) return false;
        if (!inquiry->skipped) return true;
        tl_fail(&why, TL_ERROR_FORMAT, "%s", inquiry->skipped);
    } else if (why.code == TL_ERROR_MEMORY) {
        if (error) *error = why;
        return false;
    }
    tl_fail_within(&why, "%s:%lld", tl_rows_path(t->rows), (long long)tl_rows_line(t->rows, index));
    inquiry->skipped = tl_arena_strdup(e->arena, why.message, error);
    return inquiry->skipped != NULL;
}

static bool report(tl_evaluation *e, const tl_inquiry *inquiry, const tl_work *work, bool timed,
                   tl_example_function *function, void *context, tl_error *error) {
    tl_example example;
    if (!tl_inquiry_answer(&e->asker, inquiry, e->arena, &example, error)) return false;
    example.tokens_computed = work->tokens_computed;
    if (timed && !inquiry->skipped) {
        example.forward_seconds = work->seconds;
        example.total_seconds = tl_clock_monotonic() - inquiry->started;
    }
    e->tracks[inquiry->protocol].done[inquiry->index] = 1;
    return function(context, &example) ||
           tl_fail(error, TL_ERROR_INTERRUPTED, "%s: interrupted", tl_task_name(e->task));
}

/* ---- unbatched: one question at a time, as the published study measured ---- */

static bool ask_alone(tl_evaluation *e, tl_protocol protocol, int64_t index,
                      tl_example_function *function, void *context, tl_error *error) {
    tl_inquiry inquiry;
    tl_work work = {0};
    tl_arena_reset(e->arena);
    bool ok = inquire(e, protocol, index, &inquiry, error);
    if (ok && inquiry.n_paths)
        ok = tl_engine_score_paths(e->engine, inquiry.paths, inquiry.n_paths, &work, error);
    if (ok && function) ok = report(e, &inquiry, &work, true, function, context, error);
    tl_inquiry_free(&inquiry);
    return ok;
}

static bool run_alone(tl_evaluation *e, tl_example_function *function, void *context,
                      tl_error *error) {
    bool warm = false;
    for (int p = 0; p < TL_PROTOCOL_COUNT; p++) {
        const track *t = &e->tracks[p];
        for (int64_t i = 0; t->on && i < t->count; i++) {
            if (t->done[i]) continue;
            /* the first pass touches memory and threads for the first time: not to be timed */
            if (!warm && !ask_alone(e, (tl_protocol)p, i, NULL, NULL, error)) return false;
            warm = true;
            if (!ask_alone(e, (tl_protocol)p, i, function, context, error)) return false;
        }
    }
    return true;
}

/* ---- batched ---- */

typedef struct batch {
    tl_inquiry *inquiries;
    tl_path *paths; /* of one pass */
    size_t count, capacity, n_paths, path_capacity;
    int64_t tokens; /* those that stand at the begin of two questions in succession once */
    int64_t prefix; /* the longest such begin */
} batch;

/* Tokens that the first sequences of two questions begin with. */
static int64_t common_prefix(const tl_inquiry *a, const tl_inquiry *b) {
    if (!a->n_paths || !b->n_paths || a->paths[0].encoder || b->paths[0].encoder) return 0;
    const tl_path *p = &a->paths[0], *q = &b->paths[0];
    int32_t length = 0;
    while (length < p->n_tokens && length < q->n_tokens && p->tokens[length] == q->tokens[length])
        length++;
    return length;
}

static bool batch_add(tl_evaluation *e, batch *b, tl_protocol protocol, int64_t index,
                      tl_error *error) {
    if (b->count == b->capacity) {
        size_t capacity = b->capacity ? b->capacity * 2 : 64;
        tl_inquiry *grown = realloc(b->inquiries, capacity * sizeof *grown);
        if (!grown) return tl_fail_memory(error, capacity * sizeof *grown, "a batch");
        b->inquiries = grown;
        b->capacity = capacity;
    }
    tl_inquiry *inquiry = &b->inquiries[b->count++];
    if (!inquire(e, protocol, index, inquiry, error)) return false;
    int64_t prefix = b->count > 1 ? common_prefix(inquiry, inquiry - 1) : 0;
    b->tokens += inquiry->tokens - prefix;
    b->n_paths += (size_t)inquiry->n_paths;
    if (prefix > b->prefix) b->prefix = prefix;
    return true;
}

/* A batch is full with its tokens; where the same few-shot examples stand before every question it
 * takes several times their length, so that computing them anew in each batch costs little. */
static bool batch_full(const tl_evaluation *e, const batch *b) {
    return b->tokens >= e->batch_tokens && b->tokens >= BATCH_PREFIXES * b->prefix;
}

/* Tokens computed for a question of a batch: its part of the whole by what it asked, rounded so
 * that the parts add up. */
static int64_t part_of(int64_t whole, int64_t before, int64_t asked, int64_t all) {
    if (all <= 0) return 0;
    return (int64_t)((double)whole * (double)(before + asked) / (double)all) -
           (int64_t)((double)whole * (double)before / (double)all);
}

static bool batch_run(tl_evaluation *e, batch *b, tl_example_function *function, void *context,
                      tl_error *error) {
    if (b->n_paths > b->path_capacity) {
        tl_path *grown = realloc(b->paths, b->n_paths * sizeof *grown);
        if (!grown) return tl_fail_memory(error, b->n_paths * sizeof *grown, "a batch");
        b->paths = grown;
        b->path_capacity = b->n_paths;
    }
    size_t n = 0;
    int64_t asked = 0, before = 0;
    for (size_t i = 0; i < b->count; i++) {
        for (int32_t j = 0; j < b->inquiries[i].n_paths; j++)
            b->paths[n++] = b->inquiries[i].paths[j];
        asked += b->inquiries[i].tokens_asked;
    }
    tl_work work = {0};
    if (n && !tl_engine_score_paths(e->engine, b->paths, (int32_t)n, &work, error)) return false;
    for (size_t i = 0; i < b->count; i++) {
        tl_work own = {0};
        int64_t mine = b->inquiries[i].tokens_asked;
        own.tokens_computed = part_of(work.tokens_computed, before, mine, asked);
        before += mine;
        if (!report(e, &b->inquiries[i], &own, false, function, context, error)) return false;
    }
    return true;
}

static void batch_clear(tl_evaluation *e, batch *b) {
    for (size_t i = 0; i < b->count; i++)
        tl_inquiry_free(&b->inquiries[i]);
    b->count = b->n_paths = 0;
    b->tokens = b->prefix = 0;
    tl_arena_reset(e->arena);
}

/* A row to ask, and how long it is: rows of similar length go together. */
typedef struct item {
    int64_t index;
    size_t length;
} item;

static int compare_items(const void *a, const void *b) {
    const item *x = a, *y = b;
    if (x->length != y->length) return x->length < y->length ? -1 : 1;
    return x->index < y->index ? -1 : x->index > y->index;
}

static bool wanted(const tl_evaluation *e, const tl_rows *rows, int protocol, int64_t index) {
    const track *t = &e->tracks[protocol];
    return t->on && t->rows == rows && index < t->count && !t->done[index];
}

/* The rows of a file that some protocol still wants, shortest first. */
static item *list_items(const tl_evaluation *e, const tl_rows *rows, size_t *count,
                        tl_error *error) {
    size_t n = (size_t)tl_rows_count(rows);
    item *items = calloc(n + 1, sizeof *items);
    *count = 0;
    if (!items) {
        tl_fail_memory(error, n * sizeof *items, "an evaluation");
        return NULL;
    }
    for (int64_t i = 0; i < (int64_t)n; i++) {
        bool want = false;
        for (int p = 0; p < TL_PROTOCOL_COUNT; p++)
            want |= wanted(e, rows, p, i);
        if (!want) continue;
        items[*count].index = i;
        tl_rows_text(rows, i, &items[*count].length);
        (*count)++;
    }
    qsort(items, *count, sizeof *items, compare_items);
    return items;
}

/* All protocols that read this file, from the same passes. */
static bool run_file(tl_evaluation *e, const tl_rows *rows, batch *b, tl_example_function *function,
                     void *context, tl_error *error) {
    size_t count;
    item *items = list_items(e, rows, &count, error);
    bool ok = items != NULL;
    for (size_t i = 0; ok && i < count; i++) {
        for (int p = 0; ok && p < TL_PROTOCOL_COUNT; p++)
            if (wanted(e, rows, p, items[i].index))
                ok = batch_add(e, b, (tl_protocol)p, items[i].index, error);
        if (ok && (batch_full(e, b) || i + 1 == count)) {
            ok = batch_run(e, b, function, context, error);
            batch_clear(e, b);
        }
    }
    free(items);
    return ok;
}

static bool run_batched(tl_evaluation *e, tl_example_function *function, void *context,
                        tl_error *error) {
    batch b = {0};
    bool ok = true;
    for (int i = 0; ok && i < e->n_files; i++)
        ok = run_file(e, e->files[i], &b, function, context, error);
    batch_clear(e, &b);
    free(b.inquiries);
    free(b.paths);
    return ok;
}

bool tl_evaluation_run(tl_evaluation *e, tl_example_function *function, void *context,
                       tl_error *error) {
    return e->options.batched ? run_batched(e, function, context, error)
                              : run_alone(e, function, context, error);
}
