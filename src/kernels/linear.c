/* Products: x prepared once, then chunks of outputs × rows that threads claim. A chunk's sums go to
 * the thread's own scratch memory and from there, finished, to y. */
#include "kernels/compute.h"

#include <math.h>
#include <string.h>

enum {
    ROWS_BYTES = 768 << 10,  /* of x that a chunk reads over and over: to stay in the L2 cache */
    AHEAD_BYTES = 512 << 10, /* of weights fetched ahead, at most */
    RUN_BYTES = 256 << 10,   /* of weights that are long enough for a chunk of few rows */
    NEAR_BYTES = 1 << 20,    /* of packed weights that one row reads in long runs, at most */
    FEW_ROWS = 16,           /* below, chunks are short as they are */
    RUN_ROWS = 4,            /* up to this, weights are cut into long runs */
};

typedef struct linear_task {
    tl_compute *compute;
    const tl_linear *ops;
    int count;
    int32_t rows_step;
    const int32_t *outs_steps; /* [count] */
    const int *first_chunk;    /* [count + 1] */
} linear_task;

enum { MOST_OPS = 8 };

static const tl_product_path *path_of(const tl_compute *compute, const tl_matrix *weight) {
    return compute->kernels->paths[weight->dtype][compute->precision];
}

static int32_t outs_of(const tl_linear *op) {
    return op->columns ? op->n_columns : op->weight->out;
}

static int32_t divide_up(int32_t a, int32_t b) {
    return (a + b - 1) / b;
}

/* Two tiles of sums (the product and the gate's). */
static size_t tiles_bytes(void) {
    return tl_align(2 * sizeof(float) * TL_CHUNK_ROWS * TL_CHUNK_OUTS);
}

size_t tl_linear_local_bytes(const tl_compute *compute, int32_t in) {
    size_t most = 0;
    for (int dtype = TL_F32; dtype <= TL_Q4; dtype++) {
        size_t bytes = compute->kernels->paths[dtype][compute->precision]->scratch_bytes(in);
        if (bytes > most) most = bytes;
    }
    return tiles_bytes() + tl_align(most);
}

static bool is_prepared(const tl_product_path *path, int32_t rows) {
    return path->prepare && rows >= path->prepare_from;
}

static size_t prepared_bytes(const tl_product_path *path, int32_t rows, int32_t in) {
    if (!is_prepared(path, rows)) return 0;
    return path->group_bytes(in) * (size_t)divide_up(rows, path->prepare_rows);
}

size_t tl_linear_shared_bytes(const tl_compute *compute, int32_t rows, int32_t in) {
    size_t most = 0;
    for (int dtype = TL_F32; dtype <= TL_Q4; dtype++) {
        size_t bytes = prepared_bytes(compute->kernels->paths[dtype][compute->precision], rows, in);
        if (bytes > most) most = bytes;
    }
    return most;
}

/* What a chunk is of an operation. */
typedef struct chunk_part {
    const tl_linear *op;
    int32_t first_row, rows;
    int32_t first_out, outs;
    int32_t stride; /* of its tile of sums */
} chunk_part;

static chunk_part find_part(const linear_task *task, int chunk) {
    int index = 0;
    while (chunk >= task->first_chunk[index + 1])
        index++;
    const tl_linear *op = &task->ops[index];
    chunk -= task->first_chunk[index];
    int32_t row_chunks = divide_up(op->rows, task->rows_step);
    int32_t first_row = chunk % row_chunks * task->rows_step;
    int32_t outs_step = task->outs_steps[index];
    int32_t first_out = chunk / row_chunks * outs_step;
    return (chunk_part){op,
                        first_row,
                        tl_min(task->rows_step, op->rows - first_row),
                        first_out,
                        tl_min(outs_step, outs_of(op) - first_out),
                        tl_max(outs_step, TL_CHUNK_OUTS)};
}

/* The memory that holds a piece's weights, where that is one piece. */
static void weights_of(const chunk_part *part, const tl_matrix *weight, tl_product *product) {
    if (part->op->columns) return;
    size_t bytes;
    if (weight->dtype == TL_Q8 || weight->dtype == TL_Q4) {
        product->ahead = (const char *)tl_panel(weight, part->first_out / TL_PANEL);
        bytes = tl_panel_bytes(weight->dtype, weight->in) * (size_t)divide_up(part->outs, TL_PANEL);
    } else {
        product->ahead = tl_matrix_row(weight, part->first_out);
        bytes = (size_t)weight->stride * (size_t)part->outs * (weight->dtype == TL_F32 ? 4 : 2);
    }
    product->ahead_bytes = bytes < AHEAD_BYTES ? bytes : AHEAD_BYTES;
}

static void run_product(const linear_task *task, const chunk_part *part, const tl_matrix *weight,
                        float *y, void *scratch, tl_product ahead) {
    const tl_product_path *path = path_of(task->compute, weight);
    const tl_linear *op = part->op;
    tl_product product = {.weight = weight,
                          .x = op->x + part->first_row * op->x_stride,
                          .x_stride = op->x_stride,
                          .prepared = is_prepared(path, op->rows) ? task->compute->shared : NULL,
                          .first_row = part->first_row,
                          .rows = part->rows,
                          .first_out = part->first_out,
                          .outs = part->outs,
                          .columns = op->columns ? op->columns + part->first_out : NULL,
                          .y = y,
                          .y_stride = part->stride,
                          .scratch = scratch,
                          .ahead = ahead.ahead,
                          .ahead_bytes = ahead.ahead_bytes};
    path->run(&product);
}

static void run_chunk(void *context, int chunk, int worker) {
    const linear_task *task = context;
    chunk_part now = find_part(task, chunk);
    tl_product ahead = {.ahead = ""}, gate_ahead = ahead; /* nothing */
    /* What this thread takes next, unless another has run out of its own before. */
    int next = chunk + task->compute->threads;
    if (next < task->first_chunk[task->count]) {
        chunk_part then = find_part(task, next);
        if (then.first_out != now.first_out || then.op != now.op)
            weights_of(&then, then.op->weight, &ahead);
    }
    if (now.op->gate_weight) {
        gate_ahead = ahead;
        weights_of(&now, now.op->gate_weight, &ahead);
    }
    float *t = tl_local(task->compute, worker);
    float *g = t + TL_CHUNK_ROWS * TL_CHUNK_OUTS;
    void *scratch = (unsigned char *)t + tiles_bytes();
    run_product(task, &now, now.op->weight, t, scratch, ahead);
    if (now.op->gate_weight) run_product(task, &now, now.op->gate_weight, g, scratch, gate_ahead);
    task->compute->kernels->finish(now.op, t, now.op->gate_weight ? g : NULL, now.stride,
                                   now.first_row, now.rows, now.first_out, now.outs);
}

/* ---- preparing x ---- */

typedef struct prepare_task {
    const tl_product_path *path;
    const tl_linear *op;
    unsigned char *to;
} prepare_task;

static void prepare_groups(const tl_compute *compute, const void *context, int32_t first,
                           int32_t end) {
    (void)compute;
    const prepare_task *task = context;
    const tl_linear *op = task->op;
    int32_t in = op->weight->in, unit = task->path->prepare_rows;
    for (int32_t group = first; group < end; group++) {
        int32_t row = group * unit;
        task->path->prepare(op->x + row * op->x_stride, op->x_stride, tl_min(unit, op->rows - row),
                            in, task->to + (size_t)group * task->path->group_bytes(in));
    }
}

static void prepare(tl_compute *compute, const tl_linear *op) {
    const tl_product_path *path = path_of(compute, op->weight);
    if (!is_prepared(path, op->rows)) return;
    prepare_task task = {path, op, compute->shared};
    tl_rows_run(compute, divide_up(op->rows, path->prepare_rows),
                op->weight->in * path->prepare_rows, prepare_groups, &task);
}

/* ---- the cut into chunks ---- */

/* Rows that keep x in the cache, about equal, in steps that are whole tiles of every path. */
static int32_t choose_rows(int32_t rows, int32_t in) {
    enum { STEP = 48 };
    int32_t most = (int32_t)(ROWS_BYTES / sizeof(float) / (size_t)tl_max(1, tl_min(in, 1024)));
    most = tl_max(STEP, tl_min(TL_CHUNK_ROWS, most) / STEP * STEP);
    int32_t parts = divide_up(rows, most);
    return tl_min(most, divide_up(divide_up(rows, parts), STEP) * STEP);
}

/* Several chunks a thread, so that one set aside by the system costs little, nor waiting for the
 * last; not so small that claiming them costs. */
static int32_t choose_outs(const tl_compute *compute, const tl_linear *op, int64_t outs,
                           int32_t row_chunks) {
    bool long_chunks = op->rows >= FEW_ROWS && tl_dtype_get(op->weight->dtype)->block == 1;
    int64_t wanted = (int64_t)compute->threads * (long_chunks ? 12 : 6);
    int32_t step = TL_CHUNK_OUTS, least = long_chunks ? 2 * TL_PANEL : TL_PANEL;
    while (step > least && outs / step * row_chunks < wanted)
        step /= 2;
    return compute->threads == 1 ? TL_CHUNK_OUTS : step;
}

/* Few rows wait for memory, which likes long runs of weights: two for each thread or more, or a
 * whole operation where that is less. One row of a large packed matrix, which no cache holds, reads
 * panels that are neighbours faster. */
static int32_t choose_run(const tl_compute *compute, const tl_linear *op, int64_t outs) {
    int32_t threads = compute->threads, panels = divide_up(outs_of(op), TL_PANEL);
    size_t panel = tl_matrix_bytes(op->weight->dtype, TL_PANEL, op->weight->in);
    size_t bytes = panel * (size_t)(outs / TL_PANEL);
    bool packed = tl_dtype_get(op->weight->dtype)->block > 1;
    if (packed && op->rows == 1 && bytes > NEAR_BYTES) return TL_CHUNK_OUTS;
    int64_t wanted = tl_max(2 * threads, tl_min(6 * threads, (int32_t)(bytes / RUN_BYTES)));
    int32_t pieces = (int32_t)((outs_of(op) * wanted + outs - 1) / outs);
    if (2 * pieces > threads && pieces > 1) pieces = divide_up(pieces, threads) * threads;
    int32_t most = TL_CHUNK_ROWS * TL_CHUNK_OUTS / TL_PANEL / op->rows; /* panels in a tile */
    return tl_min(most, divide_up(panels, pieces)) * TL_PANEL;
}

/* Memory is short and there is nobody to tell: the result is visibly none. */
static void spoil(const tl_linear *op) {
    for (int32_t r = 0; r < op->rows; r++)
        for (int32_t o = 0; o < outs_of(op); o++)
            op->y[r * op->y_stride + o] = NAN;
}

static void run_group(tl_compute *compute, const tl_linear *ops, int count) {
    const tl_linear *op = &ops[0];
    const tl_product_path *path = path_of(compute, op->weight);
    if (!tl_compute_grow(compute, tl_linear_local_bytes(compute, op->weight->in),
                         prepared_bytes(path, op->rows, op->weight->in), NULL)) {
        for (int i = 0; i < count; i++)
            spoil(&ops[i]);
        return;
    }
    prepare(compute, op);
    int64_t outs = 0;
    for (int i = 0; i < count; i++)
        outs += outs_of(&ops[i]);
    int first_chunk[MOST_OPS + 1] = {0};
    int32_t outs_steps[MOST_OPS];
    linear_task task = {.compute = compute,
                        .ops = ops,
                        .count = count,
                        .outs_steps = outs_steps,
                        .first_chunk = first_chunk};
    task.rows_step = choose_rows(op->rows, op->weight->in);
    int32_t row_chunks = divide_up(op->rows, task.rows_step);
    bool in_runs = op->rows <= RUN_ROWS;
    for (int i = 0; i < count; i++) {
        outs_steps[i] = in_runs ? choose_run(compute, &ops[i], outs)
                                : choose_outs(compute, op, outs, row_chunks);
        first_chunk[i + 1] =
            first_chunk[i] + row_chunks * divide_up(outs_of(&ops[i]), outs_steps[i]);
    }
    tl_pool_run(compute->pool, first_chunk[count], run_chunk, &task);
}

static bool together(const tl_compute *compute, const tl_linear *a, const tl_linear *b) {
    return a->x == b->x && a->x_stride == b->x_stride && a->rows == b->rows &&
           a->weight->in == b->weight->in &&
           path_of(compute, a->weight) == path_of(compute, b->weight) &&
           (!b->gate_weight || b->gate_weight->dtype == b->weight->dtype);
}

void tl_linear_run_many(tl_compute *compute, const tl_linear *ops, int count) {
    TL_ON_DEVICE(compute, linear, ops, count);
    for (int first = 0; first < count;) {
        int end = first + 1;
        while (end < count && end - first < MOST_OPS && together(compute, &ops[first], &ops[end]))
            end++;
        if (ops[first].rows > 0) run_group(compute, ops + first, end - first);
        first = end;
    }
}

void tl_linear_run(tl_compute *compute, const tl_linear *op) {
    tl_linear_run_many(compute, op, 1);
}
