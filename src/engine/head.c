/* The head: logits of the rows, and of the columns, that are asked. The vocabulary is taken in
 * pieces that stay in the cache, so for many rows nothing of its size is ever held. */
#include "engine/internal.h"

#include <math.h>
#include <string.h>

enum {
    BLOCK_ROWS = 256,                  /* the whole of W is read once for so many */
    BLOCK_COLUMNS = 4096,              /* fixed: sums over blocks must not depend on the company */
    PIECE_FLOATS = 64 * BLOCK_COLUMNS, /* few rows take so many logits at once */
    MOST_COLUMNS = 256,                /* of letters asked together */
};

/* What is known of a row's distribution so far. */
typedef struct row_state {
    float maximum;
    int32_t argmax;
    double logsumexp;
} row_state;

/* Rows of the hidden states with the asks on them. */
typedef struct block {
    tl_engine *engine;
    tl_ask *asks;
    const int32_t *order; /* [n_asks]: index into asks */
    const int32_t *rows;  /* [n_asks]: row of the hidden states */
    int32_t n_asks;
    int32_t first_row, n_rows;
    float *logits;
} block;

bool tl_head_reserve(tl_engine *e, tl_error *error) {
    size_t bytes = (size_t)BLOCK_ROWS * BLOCK_COLUMNS * sizeof(float);
    return tl_region_reserve(&e->head, e->table ? tl_head_device_bytes(e) : bytes, "the logits",
                             error);
}

/* Rows first … first+count-1 of W as a matrix of their own; `first` is a multiple of
 * BLOCK_COLUMNS, hence of the panels of packed matrices. */
static tl_matrix rows_of(const tl_matrix *matrix, int32_t first, int32_t count) {
    tl_matrix part = *matrix;
    const tl_dtype_traits *traits = tl_dtype_get(matrix->dtype);
    size_t skipped = traits->block > 1
                         ? tl_matrix_bytes(matrix->dtype, first, matrix->in)
                         : (size_t)first * (size_t)matrix->stride * traits->block_bytes;
    part.out = count;
    part.data = (const char *)matrix->data + skipped;
    part.bytes = matrix->bytes - skipped;
    return part;
}

static void add_logsumexp(row_state *state, float logsumexp) {
    double high = fmax(state->logsumexp, logsumexp), low = fmin(state->logsumexp, logsumexp);
    state->logsumexp = isinf(high) || isnan(high) ? high : high + log1p(exp(low - high));
}

/* Whether an ask of that kind is among the block's. */
static bool is_asked(const block *b, tl_ask_kind kind) {
    for (int32_t i = 0; i < b->n_asks; i++)
        if (b->asks[b->order[i]].kind == kind) return true;
    return false;
}

/* Columns that all rows of the block take at once. */
static int32_t columns_at_once(const block *b) {
    int32_t blocks = PIECE_FLOATS / BLOCK_COLUMNS / b->n_rows;
    return BLOCK_COLUMNS * (blocks > 1 ? blocks : 1);
}

/* What columns first … first+count-1 say of each row's distribution. */
static void read_distributions(const block *b, int32_t stride, int32_t first, int32_t count,
                               row_state *states) {
    float logsumexp[BLOCK_ROWS];
    int32_t argmax[BLOCK_ROWS], blocks = (count + BLOCK_COLUMNS - 1) / BLOCK_COLUMNS;
    bool sums = is_asked(b, TL_ASK_LOGPROB);
    if (!sums && !is_asked(b, TL_ASK_BEST)) return;
    tl_logsumexp_rows(b->engine->compute, b->logits, stride, b->n_rows, count, BLOCK_COLUMNS,
                      sums ? logsumexp : NULL, argmax);
    for (int32_t i = 0; i < b->n_rows * blocks; i++) {
        row_state *state = &states[i / blocks];
        float maximum = b->logits[(int64_t)(i / blocks) * stride + argmax[i]];
        if (sums) add_logsumexp(state, logsumexp[i]);
        if ((first == 0 && i % blocks == 0) || maximum > state->maximum) {
            state->maximum = maximum;
            state->argmax = first + argmax[i];
        }
    }
}

/* Takes in columns first … first+count-1 of all rows of the block. */
static void read_columns(const block *b, int32_t stride, int32_t first, int32_t count,
                         row_state *states) {
    read_distributions(b, stride, first, count, states);
    for (int32_t i = 0; i < b->n_asks; i++) {
        tl_ask *ask = &b->asks[b->order[i]];
        const float *row = b->logits + (int64_t)(b->rows[i] - b->first_row) * stride;
        if (ask->kind == TL_ASK_LOGITS)
            memcpy(ask->logits + first, row, (size_t)count * sizeof *row);
        else if (ask->kind != TL_ASK_BEST && ask->token >= first && ask->token < first + count)
            ask->value = row[ask->token - first];
    }
}

static void whole_rows(const block *b) {
    const tl_engine *e = b->engine;
    const tl_matrix *head = &e->model->head.weight;
    int32_t at_once = columns_at_once(b);
    row_state states[BLOCK_ROWS];
    for (int32_t r = 0; r < b->n_rows; r++)
        states[r] = (row_state){-INFINITY, 0, -INFINITY};
    for (int32_t first = 0; first < head->out; first += at_once) {
        int32_t count = head->out - first < at_once ? head->out - first : at_once;
        tl_matrix part = rows_of(head, first, count);
        tl_linear op = {.x = e->hidden + (int64_t)b->first_row * head->in,
                        .x_stride = head->in,
                        .rows = b->n_rows,
                        .weight = &part,
                        .bias = e->model->head.bias ? e->model->head.bias + first : NULL,
                        .y = b->logits,
                        .y_stride = at_once};
        tl_linear_run(e->compute, &op);
        read_columns(b, at_once, first, count, states);
    }
    for (int32_t i = 0; i < b->n_asks; i++) {
        tl_ask *ask = &b->asks[b->order[i]];
        const row_state *state = &states[b->rows[i] - b->first_row];
        if (ask->kind == TL_ASK_BEST) ask->token = state->argmax;
        if (ask->kind != TL_ASK_LOGPROB) continue;
        ask->greedy = ask->token == state->argmax;
        ask->value = (float)(ask->value - state->logsumexp);
    }
}

/* The few columns that the asks of the block name; false when they are too many. */
static bool gather_columns(const block *b, int32_t *columns, int32_t *n_columns) {
    *n_columns = 0;
    for (int32_t i = 0; i < b->n_asks; i++) {
        const tl_ask *ask = &b->asks[b->order[i]];
        if (ask->kind != TL_ASK_LOGIT) return false;
        int32_t at = 0;
        while (at < *n_columns && columns[at] != ask->token)
            at++;
        if (at < *n_columns) continue;
        if (at == MOST_COLUMNS) return false;
        columns[(*n_columns)++] = ask->token;
    }
    return true;
}

static void few_columns(const block *b, const int32_t *columns, int32_t n_columns) {
    const tl_engine *e = b->engine;
    const tl_matrix *head = &e->model->head.weight;
    tl_linear op = {.x = e->hidden + (int64_t)b->first_row * head->in,
                    .x_stride = head->in,
                    .rows = b->n_rows,
                    .weight = head,
                    .bias = e->model->head.bias,
                    .y = b->logits,
                    .y_stride = n_columns,
                    .columns = columns,
                    .n_columns = n_columns};
    tl_linear_run(e->compute, &op);
    for (int32_t i = 0; i < b->n_asks; i++) {
        tl_ask *ask = &b->asks[b->order[i]];
        int32_t at = 0;
        while (columns[at] != ask->token)
            at++;
        ask->value = b->logits[(int64_t)(b->rows[i] - b->first_row) * n_columns + at];
    }
}

void tl_head_run(tl_engine *e, tl_ask *asks, const int32_t *order, const int32_t *rows,
                 int32_t n_asks) {
    int32_t columns[MOST_COLUMNS], n_columns;
    if (e->table) {
        tl_head_run_on_device(e, asks, order, rows, n_asks);
        return;
    }
    for (int32_t at = 0; at < n_asks;) {
        block b = {.engine = e,
                   .asks = asks,
                   .order = order + at,
                   .rows = rows + at,
                   .first_row = rows[at],
                   .logits = e->head.data};
        while (at < n_asks && rows[at] < b.first_row + BLOCK_ROWS) {
            b.n_rows = rows[at] - b.first_row + 1;
            b.n_asks++;
            at++;
        }
        if (gather_columns(&b, columns, &n_columns))
            few_columns(&b, columns, n_columns);
        else
            whole_rows(&b);
    }
}
