/* Attention: work is cut by span, key-value head and block of queries. */
#include "kernels/compute.h"

#include <math.h>

enum {
    MOST_ROWS = 60, /* rows (query × head) that one piece of work holds scores of */
    FEWEST_ROWS = 12,
    SCORES_BYTES = 256 << 10, /* the memory of scores to aim at */
    MOST_LANES = 16,
    TILE_PARTS = 4, /* of cpu/attention.c */
};

static int32_t padded(int32_t keys) {
    int32_t tile = TILE_PARTS * MOST_LANES;
    return (keys / tile + 2) * tile;
}

int32_t tl_attend_rows(int32_t keys) {
    int32_t rows = SCORES_BYTES / (int32_t)sizeof(float) / padded(keys);
    return tl_max(FEWEST_ROWS, tl_min(MOST_ROWS, rows));
}

size_t tl_attend_bytes(int32_t keys, int32_t head_dim) {
    size_t tile = (size_t)head_dim * TILE_PARTS * MOST_LANES;
    return sizeof(float) *
           (tile + (size_t)MOST_ROWS * (size_t)padded(SCORES_BYTES / 4 / MOST_ROWS) +
            (size_t)tl_attend_rows(keys) * (size_t)padded(keys));
}

/* How one span is cut: heads of a group in parts, and queries in blocks. */
typedef struct cut {
    int32_t heads;   /* query heads in a piece */
    int32_t parts;   /* pieces of a group of heads that share keys */
    int32_t queries; /* in a piece */
    int32_t blocks;
} cut;

static cut cut_span(const tl_attention *op, const tl_attention_span *span) {
    int32_t group = op->heads / op->kv_heads;
    int32_t rows = tl_attend_rows(span->keys);
    cut c = {.heads = tl_min(group, rows)};
    c.parts = (group + c.heads - 1) / c.heads;
    c.queries = tl_max(1, rows / c.heads);
    c.blocks = (span->queries + c.queries - 1) / c.queries;
    return c;
}

static int64_t pieces(const tl_attention *op, const tl_attention_span *span) {
    cut c = cut_span(op, span);
    return (int64_t)op->kv_heads * c.parts * c.blocks;
}

typedef struct attention_task {
    tl_compute *compute;
    const tl_attention *op;
    const tl_attention_span *spans;
    int32_t n_spans;
} attention_task;

static void run_chunk(void *context, int chunk, int worker) {
    const attention_task *task = context;
    const tl_attention *op = task->op;
    const tl_attention_span *span = task->spans;
    int64_t piece = chunk;
    for (int64_t n; piece >= (n = pieces(op, span)); span++)
        piece -= n;
    cut c = cut_span(op, span);
    /* the longest pieces first: late queries see more keys */
    int32_t block = c.blocks - 1 - (int32_t)(piece / ((int64_t)op->kv_heads * c.parts));
    int32_t rest = (int32_t)(piece % ((int64_t)op->kv_heads * c.parts));
    int32_t group = op->heads / op->kv_heads, part = rest % c.parts;
    tl_attend attend = {.op = op,
                        .span = span,
                        .kv_head = rest / c.parts,
                        .first_head = rest / c.parts * group + part * c.heads,
                        .heads = tl_min(c.heads, group - part * c.heads),
                        .first_query = block * c.queries,
                        .queries = tl_min(c.queries, span->queries - block * c.queries),
                        .scratch = tl_local(task->compute, worker)};
    task->compute->kernels->attend(&attend);
}

static void spoil(const tl_attention *op) {
    for (int32_t s = 0; s < op->n_spans; s++)
        for (int32_t q = 0; q < op->spans[s].queries; q++)
            for (int32_t d = 0; d < op->heads * op->head_dim; d++)
                op->out[(op->spans[s].first_row + q) * op->out_stride + d] = NAN;
}

void tl_attention_run(tl_compute *compute, const tl_attention *op) {
    TL_ON_DEVICE(compute, attention, op);
    enum { MOST_CHUNKS = 1 << 30 };
    int32_t keys = 0;
    for (int32_t s = 0; s < op->n_spans; s++)
        keys = tl_max(keys, op->spans[s].keys);
    if (!tl_compute_grow(compute, tl_attend_bytes(keys, op->head_dim), 0, NULL)) {
        spoil(op);
        return;
    }
    attention_task task = {compute, op, op->spans, 0};
    while (task.spans < op->spans + op->n_spans) {
        int64_t chunks = 0;
        const tl_attention_span *end = op->spans + op->n_spans, *span = task.spans;
        while (span < end && chunks + pieces(op, span) < MOST_CHUNKS)
            chunks += pieces(op, span++);
        if (span == task.spans) return; /* 2³⁰ pieces of one span cannot be */
        tl_pool_run(compute->pool, (int)chunks, run_chunk, &task);
        task.spans = span;
    }
}
