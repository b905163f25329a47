/* Exact products with row-major weights, in the dot form: lanes run along the columns, a block of
 * rows × outputs stays in registers, and the weights are used where the file was mapped.
 *
 * The order of every element, whatever block it falls in: within each 1024 columns, lane l sums the
 * columns ≡ l in order with FMA, the lanes are added by v_sum4's tree, and these sums are added in
 * order. */
#include "kernels/cpu/functions.h"

enum {
    OUTS = 4,
    MOST_ROWS = 6,
    FEWEST_MANY = 16, /* from here on many.c is faster */
    /* How far one row of x asks for weights of 16 bits beforehand: they arrive faster than the
     * processor's own foresight starts again in each page. f32 keeps memory busy by itself. */
    AHEAD_BYTES = 1024,
};

INLINE vf load_weight(tl_dtype dtype, const void *row, int32_t k) {
    if (dtype == TL_BF16) return v_load_bf16((const uint16_t *)row + k);
    if (dtype == TL_F16) return v_load_f16((const uint16_t *)row + k);
    return v_load((const float *)row + k);
}

INLINE void load_weight_pair(tl_dtype dtype, const void *row, int32_t k, vf pair[2]) {
    if (dtype == TL_F16) {
        v_load_f16_pair((const uint16_t *)row + k, pair);
    } else if (dtype == TL_BF16) {
        v_load_bf16_pair((const uint16_t *)row + k, pair);
    } else {
        pair[0] = v_load((const float *)row + k);
        pair[1] = v_load((const float *)row + k + VL);
    }
}

INLINE vf load_weight_n(tl_dtype dtype, const void *row, int32_t k, int n) {
    if (dtype == TL_BF16) return v_load_bf16_n((const uint16_t *)row + k, n);
    if (dtype == TL_F16) return v_load_f16_n((const uint16_t *)row + k, n);
    return v_load_n((const float *)row + k, n);
}

/* acc[o] += x · w[o], for one row and whole runs of 32 columns; returns how many that were. */
INLINE int32_t add_runs(tl_dtype dtype, const float *x, const char *const w[OUTS], int32_t count,
                        vf acc[OUTS]) {
    enum { RUN = 32 };
    int32_t k = 0;
    for (; k + RUN <= count; k += RUN) {
        if (dtype != TL_F32) {
            UNROLL for (int o = 0; o < OUTS; o++)
                __builtin_prefetch(w[o] + (size_t)k * sizeof(uint16_t) + AHEAD_BYTES, 0, 3);
        }
        UNROLL for (int at = 0; at < RUN; at += 2 * VL) {
            vf low = v_load(x + k + at), high = v_load(x + k + at + VL);
            UNROLL for (int o = 0; o < OUTS; o++) {
                vf weight[2];
                load_weight_pair(dtype, w[o], k + at, weight);
                acc[o] = v_fma(high, weight[1], v_fma(low, weight[0], acc[o]));
            }
        }
    }
    return k;
}

/* y[r][o] (+)= Σ over `count` columns of x[r] · w[o], for R rows and 4 outputs whose weights lie
 * `w_stride` bytes apart and whose sums go `spread` elements apart; beyond output `last`, its
 * result again. */
INLINE void tile(tl_dtype dtype, const int R, const float *x, int64_t x_stride, const char *w,
                 size_t w_stride, int last, int32_t count, bool add, float *y, int64_t y_stride,
                 int32_t spread) {
    const char *rows[OUTS];
    vf acc[MOST_ROWS][OUTS];
    UNROLL for (int o = 0; o < OUTS; o++) rows[o] = w + (size_t)(o < last ? o : last) * w_stride;
    UNROLL for (int r = 0; r < R; r++) {
        UNROLL for (int o = 0; o < OUTS; o++) acc[r][o] = v_zero();
    }
    int32_t whole = count - count % VL, k = R == 1 ? add_runs(dtype, x, rows, count, acc[0]) : 0;
    for (; k < whole; k += VL) {
        vf weight[OUTS];
        UNROLL for (int o = 0; o < OUTS; o++) weight[o] = load_weight(dtype, rows[o], k);
        UNROLL for (int r = 0; r < R; r++) {
            vf value = v_load(x + r * x_stride + k);
            UNROLL for (int o = 0; o < OUTS; o++) acc[r][o] = v_fma(value, weight[o], acc[r][o]);
        }
    }
    if (k < count) {
        vf weight[OUTS];
        UNROLL for (int o = 0; o < OUTS; o++) weight[o] =
            load_weight_n(dtype, rows[o], k, count - k);
        UNROLL for (int r = 0; r < R; r++) {
            vf value = v_load_n(x + r * x_stride + k, count - k);
            UNROLL for (int o = 0; o < OUTS; o++) acc[r][o] = v_fma(value, weight[o], acc[r][o]);
        }
    }
    UNROLL for (int r = 0; r < R; r++) {
        v4 sums = v_sum4(acc[r][0], acc[r][1], acc[r][2], acc[r][3]);
        float *to = y + r * y_stride;
        if (spread != 1) {
            for (int o = 0; o < OUTS; o++)
                to[o * spread] = add ? to[o * spread] + sums[o] : sums[o];
            continue;
        }
        if (add) {
            v4 before;
            memcpy(&before, to, sizeof before);
            sums = before + sums;
        }
        memcpy(to, &sums, sizeof sums);
    }
}

/* A strip: R rows against `outs` outputs, in tiles. */
typedef struct strip {
    const float *x;
    int64_t x_stride;
    const char *w;
    size_t w_stride;
    int32_t outs, count;
    bool add;
    bool streams; /* few rows, the outputs a multiple of four; `count` is all columns */
    float *y;
    int64_t y_stride;
} strip;

/* Four streams of whole rows, a quarter of the outputs apart: neighbouring rows would share pages,
 * and the processor foresees one stream in a page. */
INLINE void run_streams(tl_dtype dtype, const int R, const strip *s) {
    size_t size = dtype == TL_F32 ? sizeof(float) : sizeof(uint16_t);
    int32_t quarter = s->outs / OUTS;
    for (int32_t out = 0; out < quarter; out++) {
        const char *w = s->w + (size_t)out * s->w_stride;
        for (int32_t k = 0; k < s->count; k += TL_DOT_BLOCK)
            tile(dtype, R, s->x + k, s->x_stride, w + (size_t)k * size,
                 (size_t)quarter * s->w_stride, OUTS - 1, tl_min(s->count - k, TL_DOT_BLOCK), k > 0,
                 s->y + out, s->y_stride, quarter);
    }
}

INLINE void run_strip(tl_dtype dtype, const int R, const strip *s) {
    if (s->streams) {
        run_streams(dtype, R, s);
        return;
    }
    const char *w = s->w;
    float *y = s->y;
    int32_t out = 0;
    for (; out + OUTS <= s->outs; out += OUTS) {
        tile(dtype, R, s->x, s->x_stride, w, s->w_stride, OUTS - 1, s->count, s->add, y,
             s->y_stride, 1);
        w += OUTS * s->w_stride;
        y += OUTS;
    }
    if (out < s->outs)
        tile(dtype, R, s->x, s->x_stride, w, s->w_stride, s->outs - out - 1, s->count, s->add, y,
             s->y_stride, 1);
}

INLINE void run_rows(tl_dtype dtype, int rows, const strip *s) {
    switch (rows) {
    case 1:
        run_strip(dtype, 1, s);
        break;
    case 2:
        run_strip(dtype, 2, s);
        break;
    case 3:
        run_strip(dtype, 3, s);
        break;
    case 4:
        if (TILE_ROWS >= 4) run_strip(dtype, 4, s);
        break;
    case 5:
        if (TILE_ROWS >= 5) run_strip(dtype, 5, s);
        break;
    case 6:
        if (TILE_ROWS >= 6) run_strip(dtype, 6, s);
        break;
    default:
        break;
    }
}

static void strip_f32(int rows, const strip *s) {
    run_rows(TL_F32, rows, s);
}

static void strip_f16(int rows, const strip *s) {
    run_rows(TL_F16, rows, s);
}

static void strip_bf16(int rows, const strip *s) {
    run_rows(TL_BF16, rows, s);
}

typedef void strip_function(int rows, const strip *s);
static strip_function *const strips[] = {
    [TL_F32] = strip_f32, [TL_F16] = strip_f16, [TL_BF16] = strip_bf16};

static size_t element_bytes(const tl_matrix *matrix) {
    return matrix->dtype == TL_F32 ? 4 : 2;
}

static strip whole_strip(const tl_product *p) {
    return (strip){.x = p->x,
                   .x_stride = p->x_stride,
                   .w = tl_matrix_row(p->weight, p->first_out),
                   .w_stride = (size_t)p->weight->stride * element_bytes(p->weight),
                   .outs = p->outs,
                   .count = p->weight->in,
                   .y = p->y,
                   .y_stride = p->y_stride};
}

/* Few rows: the weights stream by, once for each strip. */
static void run_few(const tl_product *p) {
    strip_function *function = strips[p->weight->dtype];
    size_t size = element_bytes(p->weight);
    strip s = whole_strip(p);
    const char *w = s.w;
    int32_t in = p->weight->in, parts = (p->rows + TILE_ROWS - 1) / TILE_ROWS;
    s.streams = !p->prepared && p->outs % OUTS == 0 && p->outs > OUTS;
    int32_t step = s.streams ? in : TL_DOT_BLOCK;
    for (int32_t k = 0; k < in; k += step) {
        s.w = w + (size_t)k * size;
        s.count = tl_min(in - k, step);
        s.add = k > 0;
        for (int32_t part = 0; part < parts; part++) {
            int32_t row = p->rows * part / parts, end = p->rows * (part + 1) / parts;
            s.x = p->x + row * p->x_stride + k;
            s.y = p->y + row * p->y_stride;
            function(end - row, &s);
        }
    }
}

/* Whole vectors of rows; what is left over in the dot form, unless it nearly fills another. */
static void run_many(const tl_product *p) {
    tl_product part = *p;
    int32_t rest = p->rows % VL;
    if (rest > VL * 5 / 8) rest = 0;
    part.rows = p->rows - rest;
    if (part.rows > 0) TL_NAME(tl_many_run)(&part);
    if (rest == 0) return;
    part.x += part.rows * p->x_stride;
    part.y += part.rows * p->y_stride;
    part.rows = rest;
    run_few(&part);
}

/* Chosen outputs, one by one. */
static void run_columns(const tl_product *p) {
    size_t size = element_bytes(p->weight);
    for (int32_t out = 0; out < p->outs; out++) {
        const char *w = tl_matrix_row(p->weight, p->columns[out]);
        for (int32_t row = 0; row < p->rows; row += TILE_ROWS) {
            float sums[MOST_ROWS * OUTS];
            int rows = tl_min(TILE_ROWS, p->rows - row);
            for (int32_t k = 0; k < p->weight->in; k += TL_DOT_BLOCK) {
                strip s = {.x = p->x + row * p->x_stride + k,
                           .x_stride = p->x_stride,
                           .w = w + (size_t)k * size,
                           .outs = 1,
                           .count = tl_min(p->weight->in - k, TL_DOT_BLOCK),
                           .add = k > 0,
                           .y = sums,
                           .y_stride = OUTS};
                strips[p->weight->dtype](rows, &s);
            }
            for (int r = 0; r < rows; r++)
                p->y[(row + r) * p->y_stride + out] = sums[r * OUTS];
        }
    }
}

static void run(const tl_product *p) {
    if (p->columns)
        run_columns(p);
    else if (p->prepared)
        run_many(p);
    else
        run_few(p);
}

#define MANY_ROWS                                                                                  \
    .run = run, .scratch_bytes = TL_NAME(tl_many_scratch_bytes),                                   \
    .group_bytes = TL_NAME(tl_many_group_bytes), .prepare = TL_NAME(tl_many_prepare),              \
    .prepare_rows = VL, .prepare_from = FEWEST_MANY

const tl_product_path TL_NAME(tl_product_path_f32) = {.name = "f32", MANY_ROWS};
const tl_product_path TL_NAME(tl_product_path_f16) = {.name = "f16", MANY_ROWS};
const tl_product_path TL_NAME(tl_product_path_bf16) = {.name = "bf16", MANY_ROWS};
