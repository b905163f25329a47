/* Fast products with bf16 and f16 weights on AMX tiles. Sixteen rows of the matrix as it lies in
 * memory are a tile of 16 outputs × 32 columns; x is brought beforehand into the form that the
 * other factor must have. f16 weights, chosen columns and ends of the matrix go through scratch
 * memory.
 *
 * The order of every element is the instruction's, 32 columns at a time, whatever the number of
 * rows: the tiles are always whole, padded with zeros; only with one row are those of x and of the
 * sums a column wide. */
#include "kernels/cpu/ahead.h"
#include "kernels/cpu/tile_config.h"

#if defined(__AMX_BF16__)

enum {
    SIDE = 16,          /* rows of a tile */
    STEP = 32,          /* columns of a tile of bf16 */
    OUTS = 2 * SIDE,    /* outputs in a block of tiles */
    TILE = SIDE * STEP, /* elements of a tile */
};

/* All eight tiles whole. */
static const tile_config whole_tiles = {
    .palette = 1,
    .row_bytes = {64, 64, 64, 64, 64, 64, 64, 64},
    .rows = {SIDE, SIDE, SIDE, SIDE, SIDE, SIDE, SIDE, SIDE},
};

/* For one row: 0 the sums, 2 and 3 x, of one column; 4 and 5 the weights. */
static const tile_config row_tiles = {
    .palette = 1,
    .row_bytes = {4, 0, 4, 4, 64, 64},
    .rows = {SIDE, 0, SIDE, SIDE, SIDE, SIDE},
};

static int32_t steps(int32_t in) {
    return (in + STEP - 1) / STEP;
}

/* A prepared group of 16 rows: per step a tile [16 pairs of columns][16 rows][2] of bf16. */
static size_t group_bytes(int32_t in) {
    return (size_t)steps(in) * TILE * sizeof(uint16_t);
}

INLINE vb narrow_n(const float *x, int n) {
    if (n >= STEP) return v_narrow_vb(v_load(x), v_load(x + VL));
    if (n <= VL) return v_narrow_vb(v_load_n(x, n), v_zero());
    return v_narrow_vb(v_load(x), v_load_n(x + VL, n - VL));
}

static void prepare(const float *x, int64_t x_stride, int32_t rows, int32_t in, void *group) {
    uint16_t *to = group;
    for (int32_t k = 0; k < in; k += STEP, to += TILE) {
        vf pairs[SIDE];
        for (int r = 0; r < SIDE; r++)
            pairs[r] = r < rows ? (vf)narrow_n(x + r * x_stride + k, in - k) : v_zero();
        v_transpose(pairs);
        for (int i = 0; i < SIDE; i++)
            memcpy(to + i * STEP, &pairs[i], sizeof pairs[i]);
    }
}

/* One step of a row as bf16. */
INLINE vb load_step(tl_dtype dtype, const uint16_t *from, int n) {
    uint16_t lanes[STEP] = {0};
    if (n < STEP) {
        memcpy(lanes, from, sizeof *lanes * (size_t)n);
        from = lanes;
    }
    if (dtype == TL_BF16) return v_load_vb(from);
    return v_narrow_vb(v_load_f16(from), v_load_f16(from + VL));
}

/* Weights of 32 outputs as bf16 [32][steps × 32] in scratch memory, read as four streams far apart.
 */
INLINE void stage_as(tl_dtype dtype, const tl_product *p, int32_t first, uint16_t *to) {
    enum { STREAMS = 4, APART = OUTS / STREAMS };
    int32_t in = p->weight->in, width = steps(in) * STEP;
    for (int32_t i = 0; i < APART; i++) {
        const uint16_t *rows[STREAMS];
        for (int s = 0; s < STREAMS; s++) {
            int32_t out = tl_min(first + s * APART + i, p->outs - 1);
            rows[s] = tl_matrix_row(p->weight, p->columns ? p->columns[out] : p->first_out + out);
        }
        for (int32_t k = 0; k < in; k += STEP) {
            UNROLL for (int s = 0; s < STREAMS; s++) {
                vb step = load_step(dtype, rows[s] + k, tl_min(STEP, in - k));
                memcpy(to + (size_t)(s * APART + i) * (size_t)width + k, &step, sizeof step);
            }
        }
    }
}

static void stage(const tl_product *p, int32_t first, uint16_t *to) {
    if (p->weight->dtype == TL_BF16)
        stage_as(TL_BF16, p, first, to);
    else
        stage_as(TL_F16, p, first, to);
}

/* Sums of 32 outputs × 16 or 32 rows into sums[row tile][out tile][16 outs][16 rows]. */
INLINE void multiply(const bool two, const uint16_t *w, size_t w_stride, const uint16_t *x,
                     size_t group, int32_t count, ahead *next, float *sums) {
    _tile_zero(0);
    _tile_zero(1);
    if (two) {
        _tile_zero(2);
        _tile_zero(3);
    }
    size_t stride = w_stride * sizeof *w;
    for (int32_t i = 0; i < count; i++, w += STEP, x += TILE) {
        _tile_loadd(6, x, 64);
        _tile_loadd(4, w, stride);
        _tile_dpbf16ps(0, 4, 6);
        _tile_loadd(5, w + SIDE * w_stride, stride);
        _tile_dpbf16ps(1, 5, 6);
        if (two) {
            _tile_loadd(7, x + group, 64);
            _tile_dpbf16ps(2, 4, 7);
            _tile_dpbf16ps(3, 5, 7);
        }
        fetch(next);
    }
    _tile_stored(0, sums, 64);
    _tile_stored(1, sums + SIDE * SIDE, 64);
    if (two) {
        _tile_stored(2, sums + 2 * SIDE * SIDE, 64);
        _tile_stored(3, sums + 3 * SIDE * SIDE, 64);
    }
}

/* [16 outs][16 rows] → y [rows, 16] */
static void put(const float *sums, int32_t rows, float *y, int64_t y_stride) {
    vf lines[SIDE];
    for (int i = 0; i < SIDE; i++)
        lines[i] = v_load(sums + i * SIDE);
    v_transpose(lines);
    for (int32_t r = 0; r < rows; r++)
        v_store(y + r * y_stride, lines[r]);
}

/* ---- one row ---- */

/* The row as bf16. */
static void narrow_row(const float *x, int32_t in, uint16_t *to) {
    for (int32_t k = 0; k < in; k += STEP) {
        vb step = narrow_n(x + k, in - k);
        memcpy(to + k, &step, sizeof step);
    }
}

/* One step of 16 rows of f16 weights as bf16. */
INLINE void stage_step(const uint16_t *w, size_t row_step, uint16_t *to) {
    UNROLL for (int r = 0; r < SIDE; r++) {
        vb step = load_step(TL_F16, w + (size_t)r * row_step, STEP);
        memcpy(to + r * STEP, &step, sizeof step);
    }
}

/* y[r × apart] = x · row r × apart, for 16 rows of `count` steps. f16 weights are brought into
 * `staged`, which has room for two steps, one ahead of the products. */
INLINE void multiply_row(tl_dtype dtype, const uint16_t *w, int64_t w_stride, int32_t apart,
                         const uint16_t *x, int32_t count, uint16_t *staged, float *y) {
    bool narrow = dtype == TL_F16;
    size_t row_step = (size_t)apart * (size_t)w_stride;
    size_t stride = narrow ? STEP * sizeof *w : row_step * sizeof *w;
    _tile_zero(0);
    if (narrow) stage_step(w, row_step, staged);
    for (int32_t i = 0; i < count; i += 2, w += 2 * STEP, x += 2 * STEP) {
        if (narrow && i + 1 < count) stage_step(w + STEP, row_step, staged + TILE);
        _tile_loadd(4, narrow ? staged : w, stride);
        _tile_loadd(2, x, 4);
        _tile_dpbf16ps(0, 4, 2);
        if (i + 1 == count) break;
        if (narrow && i + 2 < count) stage_step(w + 2 * STEP, row_step, staged);
        _tile_loadd(5, narrow ? staged + TILE : w + STEP, stride);
        _tile_loadd(3, x + STEP, 4);
        _tile_dpbf16ps(0, 5, 3);
    }
    _tile_stored(0, y, (size_t)apart * sizeof *y);
}

/* One row by the first `outs` outputs, a multiple of 16. The outputs of a tile lie as far apart as
 * they can: rows that share a page are streams that the processor does not foresee. */
static void run_row(const tl_product *p, int32_t outs) {
    int32_t in = p->weight->in, count = steps(in), apart = outs / SIDE;
    uint16_t *x = p->scratch, *staged = x + (size_t)count * STEP;
    narrow_row(p->x, in, x);
    _tile_loadconfig(&row_tiles);
    for (int32_t out = 0; out < apart; out++) {
        const uint16_t *w = tl_matrix_row(p->weight, p->first_out + out);
        if (p->weight->dtype == TL_BF16)
            multiply_row(TL_BF16, w, p->weight->stride, apart, x, count, staged, p->y + out);
        else
            multiply_row(TL_F16, w, p->weight->stride, apart, x, count, staged, p->y + out);
    }
    _tile_release();
}

/* ---- any product ---- */

static size_t staged_size(int32_t in) {
    return (size_t)OUTS * STEP * (size_t)steps(in);
}

/* Outputs from first on against tiles of x. */
static void run_tiles(const tl_product *p, const uint16_t *x, int32_t first) {
    int32_t in = p->weight->in, count = steps(in);
    size_t group = (size_t)count * TILE;
    _Alignas(64) float sums[4 * SIDE * SIDE];
    bool staged = p->columns || p->weight->dtype == TL_F16 || in % STEP != 0;
    ahead next = spread_ahead(p, (size_t)((p->outs - first + OUTS - 1) / OUTS) *
                                     (size_t)((p->rows + OUTS - 1) / OUTS) * (size_t)count);
    _tile_loadconfig(&whole_tiles);
    for (int32_t out = first; out < p->outs; out += OUTS) {
        const uint16_t *w = p->scratch;
        size_t w_stride = (size_t)count * STEP;
        if (staged || out + OUTS > p->outs) {
            stage(p, out, p->scratch);
        } else {
            w = tl_matrix_row(p->weight, p->first_out + out);
            w_stride = (size_t)p->weight->stride;
        }
        for (int32_t row = 0; row < p->rows; row += OUTS) {
            bool two = p->rows - row > SIDE;
            const uint16_t *from = x + (size_t)(row / SIDE) * group;
            if (two)
                multiply(true, w, w_stride, from, group, count, &next, sums);
            else
                multiply(false, w, w_stride, from, group, count, &next, sums);
            for (int i = 0; i < (two ? 4 : 2); i++) {
                int32_t y_row = row + i / 2 * SIDE, column = out + i % 2 * SIDE;
                if (column < p->outs)
                    put(sums + i * SIDE * SIDE, tl_min(SIDE, p->rows - y_row),
                        p->y + y_row * p->y_stride + column, p->y_stride);
            }
        }
    }
    _tile_release();
}

static void run(const tl_product *p) {
    int32_t in = p->weight->in;
    if (p->prepared) {
        size_t group = (size_t)steps(in) * TILE;
        run_tiles(p, (const uint16_t *)p->prepared + (size_t)(p->first_row / SIDE) * group, 0);
        return;
    }
    int32_t whole = p->columns || in % STEP != 0 ? 0 : p->outs / SIDE * SIDE;
    if (whole) run_row(p, whole);
    if (whole == p->outs) return;
    uint16_t *x = (uint16_t *)p->scratch + staged_size(in);
    prepare(p->x, p->x_stride, p->rows, in, x);
    run_tiles(p, x, whole);
}

static size_t scratch_bytes(int32_t in) {
    return sizeof(uint16_t) * staged_size(in) + group_bytes(in);
}

const tl_product_path TL_NAME(tl_product_path_amx) = {.name = "bf16 AMX",
                                                      .run = run,
                                                      .scratch_bytes = scratch_bytes,
                                                      .group_bytes = group_bytes,
                                                      .prepare = prepare,
                                                      .prepare_rows = SIDE,
                                                      .prepare_from = 2};

#endif
