/* The head on a device: whole rows of logits there, and only their readings brought back. */
#include "engine/internal.h"

#include <math.h>
#include <string.h>

enum {
    MOST_ROWS = 64,
    MOST_COLUMNS = 256, /* of letters asked together; beyond, whole rows are computed */
    MOST_ASKS = 1024,
    MOST_BYTES = 16 << 20, /* of logits at a time, where that is more than a row */
};

/* Rows of the hidden states with the asks on them. */
typedef struct block {
    tl_engine *engine;
    tl_ask *asks;
    const int32_t *order; /* [n_asks]: index into asks */
    int32_t n_asks;
    int32_t first_row, n_rows;
    int32_t ask_rows[MOST_ASKS]; /* within the block */
    int32_t ask_tokens[MOST_ASKS];
    float values[MOST_ASKS];
} block;

static int32_t rows_at_once(const tl_engine *e) {
    int64_t rows = MOST_BYTES / (int64_t)sizeof(float) / e->model->spec.vocab;
    return rows < 1 ? 1 : rows > MOST_ROWS ? MOST_ROWS : (int32_t)rows;
}

size_t tl_head_device_bytes(const tl_engine *e) {
    size_t rows = (size_t)rows_at_once(e), vocab = (size_t)e->model->spec.vocab;
    size_t letters = (size_t)MOST_ROWS * MOST_COLUMNS;
    return sizeof(float) * (rows * vocab > letters ? rows * vocab : letters);
}

static tl_linear head_product(const block *b) {
    const tl_engine *e = b->engine;
    const tl_linear_weights *head = &e->weights->head;
    return (tl_linear){.x = e->hidden + (int64_t)b->first_row * head->weight.in,
                       .x_stride = head->weight.in,
                       .rows = b->n_rows,
                       .weight = &head->weight,
                       .bias = head->bias,
                       .y = e->head.data,
                       .y_stride = head->weight.out};
}

static void whole_rows(block *b) {
    tl_engine *e = b->engine;
    int32_t vocab = e->weights->head.weight.out;
    double logsumexp[MOST_ROWS];
    int32_t argmax[MOST_ROWS];
    tl_staged staged[] = {{b->ask_rows, (size_t)b->n_asks, MOST_ASKS},
                          {b->ask_tokens, (size_t)b->n_asks, MOST_ASKS}};
    if (!e->table->stage(e->backend, staged, 2, &e->failure)) return;
    tl_linear op = head_product(b);
    tl_linear_run(e->compute, &op);
    tl_reading reading = {.logits = e->head.data,
                          .stride = vocab,
                          .rows = b->n_rows,
                          .n = vocab,
                          .ask_rows = b->ask_rows,
                          .ask_tokens = b->ask_tokens,
                          .n_asks = b->n_asks,
                          .logsumexp = logsumexp,
                          .argmax = argmax,
                          .values = b->values};
    if (!e->table->read(e->backend, &reading, &e->failure)) return;
    for (int32_t i = 0; i < b->n_asks; i++) {
        tl_ask *ask = &b->asks[b->order[i]];
        int32_t row = b->ask_rows[i];
        const float *logits = (const float *)e->head.data + (int64_t)row * vocab;
        if (ask->kind == TL_ASK_LOGITS) {
            if (!e->table->download(e->backend, ask->logits, logits, sizeof(float) * (size_t)vocab,
                                    &e->failure))
                return;
            continue;
        }
        if (ask->kind == TL_ASK_BEST) {
            ask->token = argmax[row];
            continue;
        }
        ask->value = b->values[i];
        if (ask->kind != TL_ASK_LOGPROB) continue;
        ask->greedy = ask->token == argmax[row];
        ask->value = (float)(b->values[i] - logsumexp[row]);
    }
}

/* The few columns that the asks of the block name; false when they are too many, or whole rows are
 * asked. */
static bool gather_columns(const block *b, int32_t *columns, int32_t *n_columns) {
    *n_columns = 0;
    for (int32_t i = 0; i < b->n_asks; i++) {
        int32_t token = b->ask_tokens[i], at = 0;
        if (b->asks[b->order[i]].kind != TL_ASK_LOGIT) return false;
        while (at < *n_columns && columns[at] != token)
            at++;
        if (at < *n_columns) continue;
        if (at == MOST_COLUMNS) return false;
        columns[(*n_columns)++] = token;
    }
    return true;
}

static void few_columns(block *b, const int32_t *columns, int32_t n_columns) {
    tl_engine *e = b->engine;
    for (int32_t i = 0; i < b->n_asks; i++) {
        int32_t at = 0;
        while (columns[at] != b->ask_tokens[i])
            at++;
        b->ask_tokens[i] = at;
    }
    tl_staged staged[] = {{columns, (size_t)n_columns, MOST_COLUMNS},
                          {b->ask_rows, (size_t)b->n_asks, MOST_ASKS},
                          {b->ask_tokens, (size_t)b->n_asks, MOST_ASKS}};
    if (!e->table->stage(e->backend, staged, 3, &e->failure)) return;
    tl_linear op = head_product(b);
    op.y_stride = n_columns;
    op.columns = columns;
    op.n_columns = n_columns;
    tl_linear_run(e->compute, &op);
    tl_reading reading = {.logits = e->head.data,
                          .stride = n_columns,
                          .rows = b->n_rows,
                          .n = n_columns,
                          .ask_rows = b->ask_rows,
                          .ask_tokens = b->ask_tokens,
                          .n_asks = b->n_asks,
                          .values = b->values};
    if (!e->table->read(e->backend, &reading, &e->failure)) return;
    for (int32_t i = 0; i < b->n_asks; i++)
        b->asks[b->order[i]].value = b->values[i];
}

void tl_head_run_on_device(tl_engine *e, tl_ask *asks, const int32_t *order, const int32_t *rows,
                           int32_t n_asks) {
    int32_t columns[MOST_COLUMNS], n_columns, most = rows_at_once(e);
    for (int32_t at = 0; at < n_asks && !e->failure.code;) {
        block b = {.engine = e, .asks = asks, .order = order + at, .first_row = rows[at]};
        while (at < n_asks && b.n_asks < MOST_ASKS && rows[at] < b.first_row + most) {
            b.n_rows = rows[at] - b.first_row + 1;
            b.ask_rows[b.n_asks] = rows[at] - b.first_row;
            b.ask_tokens[b.n_asks++] =
                asks[order[at]].kind == TL_ASK_LOGITS ? 0 : asks[order[at]].token;
            at++;
        }
        if (gather_columns(&b, columns, &n_columns))
            few_columns(&b, columns, n_columns);
        else
            whole_rows(&b);
    }
}
