/* Products with packed q8 and q4 weights: lanes run along the 16 outputs of a panel.
 *
 * exact: weights are scale × value, which f32 holds exactly; each element sums its columns in order
 * with FMA.
 * fast: x is quantised to int8 by row and block of 32 columns; a block's products are summed in
 * integers, then scaled and added to the element's f32 sum, block after block. */
#include "kernels/cpu/functions.h"

enum {
    PARTS = TL_PANEL / VL, /* vectors in a panel's 16 outputs */
    SPAN = 8,              /* blocks widened at a time */
    ROWS = VL == 8    ? 6
           : VL == 16 ? 12
                      : 4, /* rows × PARTS vectors stay in registers */
};

typedef struct panel {
    const uint16_t *scales;
    const unsigned char *values;
} panel;

/* The panel of outputs first … first + 15 of the product; gathered into scratch memory where its
 * columns are given one by one. */
static panel find_panel(const tl_product *p, int32_t first, unsigned char *gathered) {
    const tl_matrix *m = p->weight;
    int32_t blocks = m->in / TL_BLOCK;
    size_t scales = (size_t)blocks * TL_PANEL * sizeof(uint16_t);
    if (!p->columns) {
        const unsigned char *data = tl_panel(m, (p->first_out + first) / TL_PANEL);
        return (panel){(const uint16_t *)data, data + scales};
    }
    size_t values = tl_block_bytes(m->dtype);
    int32_t groups = (int32_t)(values / TL_PANEL / 4);
    for (int32_t lane = 0; lane < TL_PANEL; lane++) {
        int32_t column = p->columns[tl_min(first + lane, p->outs - 1)];
        const unsigned char *data = tl_panel(m, column / TL_PANEL);
        int32_t from = column % TL_PANEL;
        for (int32_t b = 0; b < blocks; b++) {
            memcpy(gathered + (size_t)(b * TL_PANEL + lane) * 2,
                   data + (size_t)(b * TL_PANEL + from) * 2, 2);
            for (int32_t g = 0; g < groups; g++)
                memcpy(gathered + scales + b * values + (size_t)(g * TL_PANEL + lane) * 4,
                       data + scales + b * values + (size_t)(g * TL_PANEL + from) * 4, 4);
        }
    }
    return (panel){(const uint16_t *)gathered, gathered + scales};
}

INLINE vi load_values(const unsigned char *p) {
    vi result;
    memcpy(&result, p, sizeof result);
    return result;
}

/* The vector of group g (4 columns of 32) and part of 16 outputs, as unsigned bytes. */
INLINE vi load_group(tl_dtype dtype, const unsigned char *block, int g, int part) {
    if (dtype == TL_Q8) return load_values(block + (g * TL_PANEL + part * VL) * 4);
    vi both = load_values(block + (g % 4 * TL_PANEL + part * VL) * 4);
    return (g < 4 ? both : both >> 4) & v_set_int(0x0f0f0f0f);
}

/* ---- exact ---- */

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

enum { GROUP_ROWS = 48 }; /* rows whose sums are held beside the widened blocks */

static size_t exact_scratch(int32_t in) {
    return tl_align(tl_panel_bytes(TL_Q8, in)) +
           sizeof(float) * TL_PANEL * (SPAN * TL_BLOCK + GROUP_ROWS);
}

static void put_panel(const tl_product *p, int32_t row, int32_t rows, int32_t out,
                      const float *sums) {
    size_t outs = (size_t)tl_min(TL_PANEL, p->outs - out);
    for (int32_t r = 0; r < rows; r++)
        memcpy(p->y + (row + r) * p->y_stride + out, sums + r * TL_PANEL, outs * sizeof(float));
}

INLINE void run_exact(tl_dtype dtype, const tl_product *p) {
    unsigned char *gathered = p->scratch;
    float *wide = (float *)(gathered + tl_align(tl_panel_bytes(TL_Q8, p->weight->in)));
    float *sums = wide + TL_PANEL * SPAN * TL_BLOCK;
    int32_t blocks = p->weight->in / TL_BLOCK;
    for (int32_t out = 0; out < p->outs; out += TL_PANEL) {
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

/* ---- fast ---- */

/* A prepared row: [blocks] f32 scales, [blocks] sums of values, [blocks][32] int8 values. */
static size_t quantised_bytes(int32_t in) {
    return tl_align((size_t)(in / TL_BLOCK) * (sizeof(float) + sizeof(int32_t) + TL_BLOCK));
}

static void quantise(const float *x, int64_t x_stride, int32_t rows, int32_t in, void *group) {
    (void)x_stride;
    (void)rows;
    int32_t blocks = in / TL_BLOCK;
    float *scales = group;
    int32_t *sums = (int32_t *)(scales + blocks);
    int8_t *values = (int8_t *)(sums + blocks);
    for (int32_t b = 0; b < blocks; b++, x += TL_BLOCK, values += TL_BLOCK) {
        vf most = v_zero(), poison = v_zero();
        for (int k = 0; k < TL_BLOCK; k += VL) {
            vf value = v_load(x + k);
            most = v_max(v_abs(value), most);
            poison = v_fma(value, v_zero(), poison); /* NaN where the values are not finite */
        }
        float largest = v_largest(most);
        vf inverse = v_set(largest > 0.0f ? 127.0f / largest : 0.0f);
        vi sum = v_set_int(0);
        for (int k = 0; k < TL_BLOCK; k += VL) {
            vi value = v_to_int(v_load(x + k) * inverse);
            sum += value;
            v_store_i8(values + k, value);
        }
        int32_t total = 0;
        for (int i = 0; i < VL; i++)
            total = (int32_t)((uint32_t)total + (uint32_t)sum[i]);
        scales[b] = largest / 127.0f + v_sum(poison);
        sums[b] = total;
    }
}

/* sums[r][16] = the product for R prepared rows, all blocks. */
INLINE void integer(tl_dtype dtype, const int R, const panel *from, int32_t blocks,
                    const unsigned char *rows, size_t row_bytes, float *sums) {
    const int32_t bias = dtype == TL_Q8 ? 128 : 8;
    vf acc[12][PARTS];
    UNROLL for (int r = 0; r < R; r++) {
        UNROLL for (int part = 0; part < PARTS; part++) acc[r][part] = v_zero();
    }
    for (int32_t b = 0; b < blocks; b++) {
        const unsigned char *block = from->values + (size_t)b * tl_block_bytes(dtype);
        UNROLL for (int part = 0; part < PARTS; part++) {
            vf weight_scale = v_load_f16(from->scales + (size_t)b * TL_PANEL + part * VL);
            vi weight[8];
            UNROLL for (int g = 0; g < 8; g++) {
                weight[g] = load_group(dtype, block, g, part);
                if (V_DOT_SIGNED) /* no byte borrows from the next: the top bit is set first */
                    weight[g] = dtype == TL_Q8 ? weight[g] ^ v_set_int((int32_t)0x80808080)
                                               : ((weight[g] | v_set_int((int32_t)0x80808080)) -
                                                  v_set_int(0x08080808)) ^
                                                     v_set_int((int32_t)0x80808080);
            }
            UNROLL for (int r = 0; r < R; r++) {
                const float *scales = (const float *)(rows + r * row_bytes);
                const int32_t *totals = (const int32_t *)(scales + blocks);
                const int32_t *values = totals + blocks + b * (TL_BLOCK / 4);
                vi dot = V_DOT_SIGNED ? v_set_int(0) : v_set_int(-bias * totals[b]);
                UNROLL for (int g = 0; g < 8; g++) dot =
                    v_dot4(dot, weight[g], v_set_int(values[g]));
                acc[r][part] =
                    v_fma(v_from_int(dot) * weight_scale, v_set(scales[b]), acc[r][part]);
            }
        }
    }
    UNROLL for (int r = 0; r < R; r++) {
        UNROLL for (int part = 0; part < PARTS; part++)
            v_store(sums + r * TL_PANEL + part * VL, acc[r][part]);
    }
}

static size_t fast_scratch(int32_t in) {
    return tl_panel_bytes(TL_Q8, in);
}

INLINE void run_fast(tl_dtype dtype, const tl_product *p) {
    int32_t blocks = p->weight->in / TL_BLOCK;
    size_t row_bytes = quantised_bytes(p->weight->in);
    float sums[12 * TL_PANEL];
    for (int32_t out = 0; out < p->outs; out += TL_PANEL) {
        panel from = find_panel(p, out, p->scratch);
        const unsigned char *x = (const unsigned char *)p->prepared + p->first_row * row_bytes;
        int32_t row = 0;
        for (; row + ROWS <= p->rows; row += ROWS, x += ROWS * row_bytes) {
            integer(dtype, ROWS, &from, blocks, x, row_bytes, sums);
            put_panel(p, row, ROWS, out, sums);
        }
        for (; row + 3 <= p->rows; row += 3, x += 3 * row_bytes) {
            integer(dtype, 3, &from, blocks, x, row_bytes, sums);
            put_panel(p, row, 3, out, sums);
        }
        for (; row < p->rows; row++, x += row_bytes) {
            integer(dtype, 1, &from, blocks, x, row_bytes, sums);
            put_panel(p, row, 1, out, sums);
        }
    }
}

static void run_q8_fast(const tl_product *p) {
    run_fast(TL_Q8, p);
}

static void run_q4_fast(const tl_product *p) {
    run_fast(TL_Q4, p);
}

const tl_path TL_NAME(tl_path_q8_fast) = {.name = "q8 int8",
                                          .run = run_q8_fast,
                                          .scratch_bytes = fast_scratch,
                                          .group_bytes = quantised_bytes,
                                          .prepare = quantise,
                                          .prepare_rows = 1};
const tl_path TL_NAME(tl_path_q4_fast) = {.name = "q4 int8",
                                          .run = run_q4_fast,
                                          .scratch_bytes = fast_scratch,
                                          .group_bytes = quantised_bytes,
                                          .prepare = quantise,
                                          .prepare_rows = 1};
