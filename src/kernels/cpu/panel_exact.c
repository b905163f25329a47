/* Exact products with packed q8 and q4 weights: these are scale × value, which f32 holds exactly;
 * each element sums its columns in order with FMA. */
#include "kernels/cpu/panel_few.h"

enum {
    SPAN = 8,        /* blocks widened at a time */
    GROUP_ROWS = 48, /* rows whose sums are held beside the widened blocks */
};

/* wide[column][16] = scale × value for `count` blocks. */
INLINE void widen_blocks(tl_dtype dtype, const panel *from, int32_t first, int32_t count,
                         float *wide) {
    const vf bias = v_set(dtype == TL_Q8 ? 128.0f : 8.0f);
    for (int32_t b = 0; b < count; b++) {
        const uint16_t *scales = from->scales + (size_t)(first + b) * TL_PANEL;
        const unsigned char *block = from->values + (size_t)(first + b) * tl_block_bytes(dtype);
        for (int part = 0; part < PARTS; part++) {
            vf scale = v_load_f16(scales + part * VL);
            for (int g = 0; g < 8; g++) {
                vi group = load_group(dtype, block, g, part);
                UNROLL for (int i = 0; i < 4; i++) {
                    vf value = v_from_int((group >> (8 * i)) & v_set_int(0xff)) - bias;
                    v_store(wide + (size_t)(b * TL_BLOCK + g * 4 + i) * TL_PANEL + part * VL,
                            value * scale);
                }
            }
        }
    }
}

/* sums[r][16] += x[r] · wide for R rows and `count` columns. */
INLINE void outer(const int R, const float *x, int64_t x_stride, const float *wide, int32_t count,
                  float *sums) {
    vf acc[12][PARTS];
    UNROLL for (int r = 0; r < R; r++) {
        UNROLL for (int part = 0; part < PARTS; part++) acc[r][part] =
            v_load(sums + r * TL_PANEL + part * VL);
    }
    for (int32_t k = 0; k < count; k++) {
        vf weight[PARTS];
        UNROLL for (int part = 0; part < PARTS; part++) weight[part] =
            v_load(wide + (size_t)k * TL_PANEL + part * VL);
        UNROLL for (int r = 0; r < R; r++) {
            vf value = v_set(x[r * x_stride + k]);
            UNROLL for (int part = 0; part < PARTS; part++) acc[r][part] =
                v_fma(value, weight[part], acc[r][part]);
        }
    }
    UNROLL for (int r = 0; r < R; r++) {
        UNROLL for (int part = 0; part < PARTS; part++)
            v_store(sums + r * TL_PANEL + part * VL, acc[r][part]);
    }
}

static void outer_rows(int32_t rows, const float *x, int64_t x_stride, const float *wide,
                       int32_t count, float *sums) {
    while (rows >= ROWS) {
        outer(ROWS, x, x_stride, wide, count, sums);
        x += ROWS * x_stride;
        sums += ROWS * TL_PANEL;
        rows -= ROWS;
    }
    while (rows >= 4) {
        outer(4, x, x_stride, wide, count, sums);
        x += 4 * x_stride;
        sums += 4 * TL_PANEL;
        rows -= 4;
    }
    for (; rows > 0; rows--) {
        outer(1, x, x_stride, wide, count, sums);
        x += x_stride;
        sums += TL_PANEL;
    }
}

/* A value of `bits` bits that begins at bit `at` of a lane, as 2¹⁵ + value: it becomes the lowest
 * bits before the point. */
INLINE vf value_bits(vi lanes, int at, int bits) {
    vi placed = at > 8 ? lanes >> (at - 8) : lanes << (8 - at);
    return (vf)((placed & v_set_int(((1 << bits) - 1) << 8)) | v_set_int(0x47000000));
}

/* Weights stay in registers: (2¹⁵ + value) × scale - (2¹⁵ + bias) × scale, the latter exact in f32,
 * is the same weight. Column by column, as outer. */
INLINE void stream(tl_dtype dtype, const int R, const int P, const tl_product *p, int32_t row,
                   const panel_runs *at, float *y) {
    const int bits = dtype == TL_Q8 ? 8 : 4, vectors = P * PARTS;
    const vf bias = v_set(-32768.0f - (dtype == TL_Q8 ? 128.0f : 8.0f));
    const unsigned char *first = at->first;
    const unsigned char *values = first + (size_t)at->blocks * TL_PANEL * sizeof(uint16_t);
    const float *x = p->x + row * p->x_stride;
    vf acc[FEW_SUMS];
    UNROLL for (int i = 0; i < R * vectors; i++) acc[i] = v_zero();
    for (int32_t b = 0; b < at->blocks; b++, first += 2 * TL_PANEL, x += TL_BLOCK) {
        vf scale[RUNS * PARTS], base[RUNS * PARTS];
        UNROLL for (int i = 0; i < vectors; i++) {
            scale[i] = v_load_f16((const uint16_t *)(first + (size_t)(i / PARTS) * at->apart) +
                                  i % PARTS * VL);
            base[i] = scale[i] * bias;
        }
        fetch_next(dtype, R, P, at, b);
        UNROLL for (int k = 0; k < TL_BLOCK; k++) {
            const int group = dtype == TL_Q8 ? k / 4 : k / 4 % 4;
            const int from = k % 4 * 8 + (dtype == TL_Q4 ? k / 16 * 4 : 0);
            UNROLL for (int i = 0; i < vectors; i++) {
                vi lanes = load_values(values + (size_t)(i / PARTS) * at->apart +
                                       (size_t)(group * TL_PANEL + i % PARTS * VL) * 4);
                vf weight = v_fma(value_bits(lanes, from, bits), scale[i], base[i]);
                UNROLL for (int r = 0; r < R; r++) acc[r * vectors + i] =
                    v_fma(v_set(x[r * p->x_stride + k]), weight, acc[r * vectors + i]);
            }
        }
        values += tl_block_bytes(dtype);
    }
    store_runs(R, P, p, at, acc, y);
}

static size_t exact_scratch(int32_t in) {
    return tl_align(tl_panel_bytes(TL_Q8, in)) +
           sizeof(float) * TL_PANEL * (SPAN * TL_BLOCK + GROUP_ROWS);
}

INLINE void run_exact(tl_dtype dtype, const tl_product *p) {
    unsigned char *gathered = p->scratch;
    float *wide = (float *)(gathered + tl_align(tl_panel_bytes(TL_Q8, p->weight->in)));
    float *sums = wide + TL_PANEL * SPAN * TL_BLOCK;
    int32_t blocks = p->weight->in / TL_BLOCK;
    int32_t out = V_FMA_ROUNDS_ONCE ? run_few(dtype, p) : 0;
    for (; out < p->outs; out += TL_PANEL) {
        panel from = find_panel(p, out, gathered);
        for (int32_t row = 0; row < p->rows; row += GROUP_ROWS) {
            int32_t rows = tl_min(GROUP_ROWS, p->rows - row);
            memset(sums, 0, sizeof(float) * TL_PANEL * (size_t)rows);
            for (int32_t b = 0; b < blocks; b += SPAN) {
                int32_t count = tl_min(SPAN, blocks - b);
                widen_blocks(dtype, &from, b, count, wide);
                outer_rows(rows, p->x + row * p->x_stride + b * TL_BLOCK, p->x_stride, wide,
                           count * TL_BLOCK, sums);
            }
            put_panel(p, row, rows, out, sums);
        }
    }
}

static void run_q8(const tl_product *p) {
    run_exact(TL_Q8, p);
}

static void run_q4(const tl_product *p) {
    run_exact(TL_Q4, p);
}

const tl_path TL_NAME(tl_path_q8) = {.name = "q8", .run = run_q8, .scratch_bytes = exact_scratch};
const tl_path TL_NAME(tl_path_q4) = {.name = "q4", .run = run_q4, .scratch_bytes = exact_scratch};
