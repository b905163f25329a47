/* Exact products with row-major weights, in the dot form: lanes run along the columns, a block of
 * rows × outputs stays in registers, and the weights are used where the file was mapped.
 *
 * The order of every element, whatever block it falls in: within each 1024 columns, lane l sums the
 * columns ≡ l in order with FMA, the lanes are added by v_sum4's tree, and these sums are added in
 * order. */
#include "kernels/cpu/functions.h"

enum { OUTS = 4, MOST_ROWS = 6 };

INLINE vf load_weight(tl_dtype dtype, const void *row, int32_t k) {
    if (dtype == TL_BF16) return v_load_bf16((const uint16_t *)row + k);
    if (dtype == TL_F16) return v_load_f16((const uint16_t *)row + k);
    return v_load((const float *)row + k);
}

INLINE vf load_weight_n(tl_dtype dtype, const void *row, int32_t k, int n) {
    if (dtype == TL_BF16) return v_load_bf16_n((const uint16_t *)row + k, n);
    if (dtype == TL_F16) return v_load_f16_n((const uint16_t *)row + k, n);
    return v_load_n((const float *)row + k, n);
}

/* sums[r][o] = Σ over `count` columns of x[r] · w[o], for R rows and 4 outputs. */
INLINE void tile(tl_dtype dtype, const int R, const float *x, int64_t x_stride,
                 const void *const w[OUTS], int32_t count, float sums[][OUTS]) {
    vf acc[MOST_ROWS][OUTS];
    UNROLL for (int r = 0; r < R; r++) {
        UNROLL for (int o = 0; o < OUTS; o++) acc[r][o] = v_zero();
    }
    int32_t k = 0;
    for (; k + VL <= count; k += VL) {
        vf weight[OUTS];
        UNROLL for (int o = 0; o < OUTS; o++) weight[o] = load_weight(dtype, w[o], k);
        UNROLL for (int r = 0; r < R; r++) {
            vf value = v_load(x + r * x_stride + k);
            UNROLL for (int o = 0; o < OUTS; o++) acc[r][o] = v_fma(value, weight[o], acc[r][o]);
        }
    }
    if (k < count) {
        vf weight[OUTS];
        UNROLL for (int o = 0; o < OUTS; o++) weight[o] = load_weight_n(dtype, w[o], k, count - k);
        UNROLL for (int r = 0; r < R; r++) {
            vf value = v_load_n(x + r * x_stride + k, count - k);
            UNROLL for (int o = 0; o < OUTS; o++) acc[r][o] = v_fma(value, weight[o], acc[r][o]);
        }
    }
    UNROLL for (int r = 0; r < R; r++) v_sum4(acc[r][0], acc[r][1], acc[r][2], acc[r][3], sums[r]);
}

INLINE void tile_rows(tl_dtype dtype, int rows, const float *x, int64_t x_stride,
                      const void *const w[OUTS], int32_t count, float sums[][OUTS]) {
    switch (rows) {
    case 1:
        tile(dtype, 1, x, x_stride, w, count, sums);
        break;
    case 2:
        tile(dtype, 2, x, x_stride, w, count, sums);
        break;
    case 3:
        tile(dtype, 3, x, x_stride, w, count, sums);
        break;
    case 4:
        if (TILE_ROWS >= 4) tile(dtype, 4, x, x_stride, w, count, sums);
        break;
    case 5:
        if (TILE_ROWS >= 5) tile(dtype, 5, x, x_stride, w, count, sums);
        break;
    case 6:
        if (TILE_ROWS >= 6) tile(dtype, 6, x, x_stride, w, count, sums);
        break;
    default:
        break;
    }
}

static void tile_f32(int rows, const float *x, int64_t x_stride, const void *const w[OUTS],
                     int32_t count, float sums[][OUTS]) {
    tile_rows(TL_F32, rows, x, x_stride, w, count, sums);
}

static void tile_f16(int rows, const float *x, int64_t x_stride, const void *const w[OUTS],
                     int32_t count, float sums[][OUTS]) {
    tile_rows(TL_F16, rows, x, x_stride, w, count, sums);
}

static void tile_bf16(int rows, const float *x, int64_t x_stride, const void *const w[OUTS],
                      int32_t count, float sums[][OUTS]) {
    tile_rows(TL_BF16, rows, x, x_stride, w, count, sums);
}

typedef void tile_function(int rows, const float *x, int64_t x_stride, const void *const w[OUTS],
                           int32_t count, float sums[][OUTS]);

static tile_function *const tiles[] = {
    [TL_F32] = tile_f32, [TL_F16] = tile_f16, [TL_BF16] = tile_bf16};

static const void *weight_row(const tl_product *p, int32_t out) {
    return tl_matrix_row(p->weight, p->columns ? p->columns[out] : p->first_out + out);
}

/* Columns first … of four outputs, or the last again where there are fewer. */
static void weight_rows(const tl_product *p, int32_t out, int32_t first, const void *w[OUTS]) {
    size_t size = p->weight->dtype == TL_F32 ? 4 : 2;
    for (int i = 0; i < OUTS; i++) {
        const char *row = weight_row(p, tl_min(out + i, p->outs - 1));
        w[i] = row + (size_t)first * size;
    }
}

static void put(const tl_product *p, int32_t row, int rows, int32_t out, bool add,
                float sums[][OUTS]) {
    int outs = tl_min(OUTS, p->outs - out);
    for (int r = 0; r < rows; r++) {
        float *y = p->y + (row + r) * p->y_stride + out;
        for (int o = 0; o < outs; o++)
            y[o] = add ? y[o] + sums[r][o] : sums[r][o];
    }
}

/* Few rows: the weights stream by once, whole rows at a time. */
static void run_few(const tl_product *p) {
    tile_function *function = tiles[p->weight->dtype];
    int32_t in = p->weight->in;
    const void *w[OUTS];
    float sums[MOST_ROWS][OUTS];
    for (int32_t out = 0; out < p->outs; out += OUTS) {
        for (int32_t k = 0; k < in; k += TL_DOT_BLOCK) {
            weight_rows(p, out, k, w);
            function(p->rows, p->x + k, p->x_stride, w, tl_min(in - k, TL_DOT_BLOCK), sums);
            put(p, 0, p->rows, out, k > 0, sums);
        }
    }
}

/* Many rows: a block of weights, widened into scratch memory where it is not f32, serves them all
 * from the cache. */
static void run_many(const tl_product *p) {
    tl_dtype dtype = p->weight->dtype;
    int32_t in = p->weight->in;
    float *wide = p->scratch;
    const void *w[OUTS];
    float sums[MOST_ROWS][OUTS];
    for (int32_t k = 0; k < in; k += TL_DOT_BLOCK) {
        int32_t count = tl_min(in - k, TL_DOT_BLOCK);
        if (dtype != TL_F32) {
            for (int32_t out = 0; out < p->outs; out++)
                TL_NAME(tl_widen_run)
            ((const uint16_t *)weight_row(p, out) + k, dtype, (size_t)count,
             wide + (size_t)out * TL_DOT_BLOCK);
        }
        for (int32_t row = 0; row < p->rows; row += TILE_ROWS) {
            int rows = tl_min(TILE_ROWS, p->rows - row);
            const float *x = p->x + row * p->x_stride + k;
            for (int32_t out = 0; out < p->outs; out += OUTS) {
                if (dtype == TL_F32) {
                    weight_rows(p, out, k, w);
                } else {
                    for (int i = 0; i < OUTS; i++)
                        w[i] = wide + (size_t)tl_min(out + i, p->outs - 1) * TL_DOT_BLOCK;
                }
                tile_f32(rows, x, p->x_stride, w, count, sums);
                put(p, row, rows, out, k > 0, sums);
            }
        }
    }
}

static void run(const tl_product *p) {
    if (p->rows <= TILE_ROWS)
        run_few(p);
    else
        run_many(p);
}

static size_t scratch_bytes(int32_t in) {
    (void)in;
    return sizeof(float) * TL_CHUNK_OUTS * TL_DOT_BLOCK;
}

static size_t no_scratch(int32_t in) {
    (void)in;
    return 0;
}

const tl_path TL_NAME(tl_path_f32) = {.name = "f32", .run = run, .scratch_bytes = no_scratch};
const tl_path TL_NAME(tl_path_f16) = {.name = "f16", .run = run, .scratch_bytes = scratch_bytes};
const tl_path TL_NAME(tl_path_bf16) = {.name = "bf16", .run = run, .scratch_bytes = scratch_bytes};
