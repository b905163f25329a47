/* Fast products with bf16 and f16 weights on instructions that multiply bf16 and add in f32, in the
 * dot form of dot.c: x is rounded to bf16 beforehand, f16 weights on the way.
 *
 * The order of every element: within each 2048 columns, lane l sums the pairs ≡ l in order, the
 * lanes are added by v_sum4's tree, and these sums are added in order. */
#include "kernels/cpu/ahead.h"

#if defined(V_HAS_BF16)

enum {
    OUTS = 4,
    MOST_ROWS = 6,
    STEP = 2 * VL,
    BLOCK = 2048,
    AHEAD = 512, /* weights asked for beforehand by one row, as in dot.c */
};

/* A prepared row: bf16, padded with zeros to whole steps. */
static size_t row_bytes(int32_t in) {
    return tl_align(sizeof(uint16_t) * (size_t)((in + STEP - 1) / STEP * STEP));
}

static void prepare(const float *x, int64_t x_stride, int32_t rows, int32_t in, void *group) {
    (void)x_stride;
    (void)rows;
    uint16_t *to = group;
    for (int32_t k = 0; k < in; k += STEP) {
        vb narrow;
        if (k + STEP <= in) {
            narrow = v_narrow_vb(v_load(x + k), v_load(x + k + VL));
        } else {
            int left = in - k;
            narrow = v_narrow_vb(v_load_n(x + k, tl_min(VL, left)),
                                 v_load_n(x + tl_min(k + VL, in), tl_max(0, left - VL)));
        }
        memcpy(to + k, &narrow, sizeof narrow);
    }
}

INLINE vb load_weight(tl_dtype dtype, const uint16_t *p) {
    if (dtype == TL_F16) return v_narrow_vb(v_load_f16(p), v_load_f16(p + VL));
    return v_load_vb(p);
}

INLINE vb load_weight_n(tl_dtype dtype, const uint16_t *p, int n) {
    if (dtype == TL_F16) {
        uint16_t lanes[STEP] = {0};
        memcpy(lanes, p, (size_t)n * sizeof *p);
        return load_weight(dtype, lanes);
    }
    return v_load_vb_n(p, n);
}

/* y[r][o × spread] (+)= Σ over `count` columns of x[r] · w[o]. */
INLINE void tile(tl_dtype dtype, const int R, const uint16_t *x, size_t x_stride,
                 const uint16_t *const w[OUTS], int32_t count, bool add, float *y, int64_t y_stride,
                 int32_t spread) {
    vf acc[MOST_ROWS][OUTS];
    UNROLL for (int r = 0; r < R; r++) {
        UNROLL for (int o = 0; o < OUTS; o++) acc[r][o] = v_zero();
    }
    int32_t k = 0;
    for (; k + STEP <= count; k += STEP) {
        vb weight[OUTS];
        if (R == 1) {
            UNROLL for (int o = 0; o < OUTS; o++) __builtin_prefetch(w[o] + k + AHEAD, 0, 3);
        }
        UNROLL for (int o = 0; o < OUTS; o++) weight[o] = load_weight(dtype, w[o] + k);
        UNROLL for (int r = 0; r < R; r++) {
            vb value = v_load_vb(x + (size_t)r * x_stride + k);
            UNROLL for (int o = 0; o < OUTS; o++) acc[r][o] =
                v_dot_bf16(acc[r][o], weight[o], value);
        }
    }
    if (k < count) {
        vb weight[OUTS];
        UNROLL for (int o = 0; o < OUTS; o++) weight[o] = load_weight_n(dtype, w[o] + k, count - k);
        UNROLL for (int r = 0; r < R; r++) {
            vb value = v_load_vb(x + (size_t)r * x_stride + k);
            UNROLL for (int o = 0; o < OUTS; o++) acc[r][o] =
                v_dot_bf16(acc[r][o], weight[o], value);
        }
    }
    UNROLL for (int r = 0; r < R; r++) {
        v4 sums = v_sum4(acc[r][0], acc[r][1], acc[r][2], acc[r][3]);
        float *to = y + r * y_stride;
        UNROLL for (int o = 0; o < OUTS; o++) to[o * spread] =
            add ? to[o * spread] + sums[o] : sums[o];
    }
}

INLINE void tile_rows(tl_dtype dtype, int rows, const uint16_t *x, size_t x_stride,
                      const uint16_t *const w[OUTS], int32_t count, bool add, float *y,
                      int64_t y_stride, int32_t spread) {
    switch (rows) {
    case 1:
        tile(dtype, 1, x, x_stride, w, count, add, y, y_stride, spread);
        break;
    case 2:
        tile(dtype, 2, x, x_stride, w, count, add, y, y_stride, spread);
        break;
    case 3:
        tile(dtype, 3, x, x_stride, w, count, add, y, y_stride, spread);
        break;
    case 4:
        tile(dtype, 4, x, x_stride, w, count, add, y, y_stride, spread);
        break;
    case 5:
        if (TILE_ROWS >= 5) tile(dtype, 5, x, x_stride, w, count, add, y, y_stride, spread);
        break;
    case 6:
        if (TILE_ROWS >= 6) tile(dtype, 6, x, x_stride, w, count, add, y, y_stride, spread);
        break;
    default:
        break;
    }
}

typedef void tile_function(int rows, const uint16_t *x, size_t x_stride,
                           const uint16_t *const w[OUTS], int32_t count, bool add, float *y,
                           int64_t y_stride, int32_t spread);

static void tile_bf16(int rows, const uint16_t *x, size_t x_stride, const uint16_t *const w[OUTS],
                      int32_t count, bool add, float *y, int64_t y_stride, int32_t spread) {
    tile_rows(TL_BF16, rows, x, x_stride, w, count, add, y, y_stride, spread);
}

static void tile_f16(int rows, const uint16_t *x, size_t x_stride, const uint16_t *const w[OUTS],
                     int32_t count, bool add, float *y, int64_t y_stride, int32_t spread) {
    tile_rows(TL_F16, rows, x, x_stride, w, count, add, y, y_stride, spread);
}

/* A tile's weights: outputs `apart`, whose rows may lie anywhere. */
static void tile_weights(const tl_product *p, int32_t out, int32_t apart, int32_t k,
                         const uint16_t *w[OUTS]) {
    for (int i = 0; i < OUTS; i++) {
        int32_t at = tl_min(out + i * apart, p->outs - 1);
        const uint16_t *row =
            tl_matrix_row(p->weight, p->columns ? p->columns[at] : p->first_out + at);
        w[i] = row + k;
    }
}

/* f16 rows become bf16 in scratch memory, where many rows of x use them. */
static void narrow_weights(const tl_product *p, int32_t k, int32_t count, uint16_t *to) {
    for (int32_t out = 0; out < p->outs; out++, to += BLOCK) {
        const uint16_t *row =
            tl_matrix_row(p->weight, p->columns ? p->columns[out] : p->first_out + out);
        int32_t i = 0;
        for (; i < count; i += STEP) {
            vb narrow = i + STEP <= count ? load_weight(TL_F16, row + k + i)
                                          : load_weight_n(TL_F16, row + k + i, count - i);
            memcpy(to + i, &narrow, sizeof narrow);
        }
    }
}

/* Few rows: four streams of whole rows, a quarter of the outputs apart, as in dot.c. */
static void run_streams(const tl_product *p) {
    tile_function *function = p->weight->dtype == TL_F16 ? tile_f16 : tile_bf16;
    int32_t in = p->weight->in, apart = p->outs / OUTS;
    size_t x_stride = row_bytes(in) / sizeof(uint16_t);
    const uint16_t *x = (const uint16_t *)p->prepared + (size_t)p->first_row * x_stride;
    for (int32_t out = 0; out < apart; out++) {
        for (int32_t k = 0; k < in; k += BLOCK) {
            const uint16_t *w[OUTS];
            tile_weights(p, out, apart, k, w);
            function(p->rows, x + k, x_stride, w, tl_min(in - k, BLOCK), k > 0, p->y + out,
                     p->y_stride, apart);
        }
    }
}

static void run(const tl_product *p) {
    if (p->rows <= TILE_ROWS && p->outs % OUTS == 0) {
        run_streams(p);
        return;
    }
    int32_t in = p->weight->in, rows_end = p->rows;
    size_t x_stride = row_bytes(in) / sizeof(uint16_t);
    const uint16_t *x = (const uint16_t *)p->prepared + (size_t)p->first_row * x_stride;
    bool narrow = p->weight->dtype == TL_F16 && p->rows > TILE_ROWS;
    tile_function *function = p->weight->dtype == TL_F16 && !narrow ? tile_f16 : tile_bf16;
    uint16_t *staged = p->scratch;
    const uint16_t *w[OUTS];
    ahead next =
        spread_ahead(p, (size_t)(in + BLOCK - 1) / BLOCK * (size_t)tl_max(1, rows_end / TILE_ROWS) *
                            (size_t)tl_max(1, p->outs / OUTS));
    for (int32_t k = 0; k < in; k += BLOCK) {
        int32_t count = tl_min(in - k, BLOCK);
        if (narrow) narrow_weights(p, k, count, staged);
        for (int32_t row = 0; row < rows_end; row += TILE_ROWS) {
            int rows = tl_min(TILE_ROWS, rows_end - row);
            for (int32_t out = 0; out < p->outs; out += OUTS) {
                if (row > 0) fetch(&next);
                if (narrow) {
                    for (int i = 0; i < OUTS; i++)
                        w[i] = staged + (size_t)tl_min(out + i, p->outs - 1) * BLOCK;
                } else {
                    tile_weights(p, out, 1, k, w);
                }
                function(rows, x + (size_t)row * x_stride + k, x_stride, w, count, k > 0,
                         p->y + row * p->y_stride + out, p->y_stride, 1);
            }
        }
    }
}

static size_t scratch_bytes(int32_t in) {
    (void)in;
    return sizeof(uint16_t) * TL_CHUNK_OUTS * BLOCK;
}

const tl_product_path TL_NAME(tl_product_path_bf16_fast) = {.name = "bf16 dot",
                                                            .run = run,
                                                            .scratch_bytes = scratch_bytes,
                                                            .group_bytes = row_bytes,
                                                            .prepare = prepare,
                                                            .prepare_rows = 1};

#endif
