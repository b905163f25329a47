/* Fast products with packed q8 and q4 weights: x is quantised to int8 by row and block of 32
 * columns. A block's products are summed in integers, then scaled and added to the element's f32
 * sum, block after block: integers are exact, so every way to add them gives the same bits. */
#include "kernels/cpu/panel.h"

#if !defined(V_NEON) /* panel_neon.c */
#include "kernels/cpu/panel_few.h"
#include "kernels/cpu/quantised.h"

enum {
    /* rows whose sums stay in registers */
    MANY_ROWS = VL == 16  ? (SIDE == 12 ? 12 : 8)
                : VL == 8 ? 6
                          : 4,
    UNPACKED = TL_BLOCK * TL_PANEL, /* bytes of a block that was unpacked */
    WORTH = 2 * MANY_ROWS,          /* rows that pay for unpacking */
#if defined(V_BY_WORDS)
    SPAN = 16, /* blocks of a panel that stay in the L1 cache for all rows */
    SPAN_BYTES = SPAN * 2 * UNPACKED,
#else
    SPAN = 32,
    SPAN_BYTES = SPAN * UNPACKED,
#endif
};

#if defined(__AMX_INT8__)
#include "kernels/cpu/panel_tiles.h"
#endif
#if defined(V_BY_WORDS)
#include "kernels/cpu/panel_words.h"
#endif

/* TL_U8 stands for a block that was unpacked. */
INLINE size_t block_bytes(tl_dtype dtype) {
    return dtype == TL_U8 ? UNPACKED : tl_block_bytes(dtype);
}

/* A group of weights as v_dot4 wants them. */
INLINE vi load_factor(tl_dtype dtype, const unsigned char *block, int g, int part) {
    if (dtype == TL_U8) return load_values(block + (g * TL_PANEL + part * VL) * 4);
    return load_group(dtype, block, g, part);
}

/* A panel's values as bytes [blocks][8 groups][16 outs][4]: signed, or as v_dot4 wants them. */
INLINE void unpack(tl_dtype dtype, bool to_signed, const panel *from, int32_t blocks,
                   unsigned char *to) {
    for (int32_t b = 0; b < blocks; b++) {
        const unsigned char *block = from->values + (size_t)b * tl_block_bytes(dtype);
        UNROLL for (int i = 0; i < 8 * PARTS; i++, to += sizeof(vi)) {
            vi group = to_signed ? load_signed(dtype, block, i / PARTS, i % PARTS)
                                 : load_factor(dtype, block, i / PARTS, i % PARTS);
            memcpy(to, &group, sizeof group);
        }
    }
}

/* y[r][16] for R rows of a prepared group, the blocks of a span; added to y where `more`. All sums
 * of a block grow side by side: each waits for its own last product. */
INLINE void integer(tl_dtype dtype, const int R, const panel *from, int32_t blocks, quantised x,
                    ahead *next, bool more, float *y, int64_t y_stride) {
    vf acc[SIDE][PARTS];
    UNROLL for (int r = 0; r < R; r++) {
        UNROLL for (int i = 0; i < PARTS; i++) acc[r][i] =
            more ? v_load(y + r * y_stride + i * VL) : v_zero();
    }
    for (int32_t b = 0; b < blocks; b++, x = move_on(x, 1)) {
        const unsigned char *block = from->values + (size_t)b * block_bytes(dtype);
        vf scale[PARTS];
        vi dot[SIDE][PARTS];
        UNROLL for (int i = 0; i < PARTS; i++) {
            scale[i] = v_load_f16(from->scales + (size_t)b * TL_PANEL + i * VL);
            UNROLL for (int r = 0; r < R; r++) dot[r][i] = v_set_int(x.corrections[r]);
        }
        UNROLL for (int g = 0; g < 8; g++) {
            vi weight[PARTS];
            UNROLL for (int i = 0; i < PARTS; i++) weight[i] = load_factor(dtype, block, g, i);
            UNROLL for (int r = 0; r < R; r++) {
                UNROLL for (int i = 0; i < PARTS; i++) dot[r][i] =
                    v_dot4_all(dot[r][i], weight[i], &x.values[r][g]);
            }
        }
        UNROLL for (int i = 0; i < PARTS; i++) {
            vf base = v_scale_base(scale[i]);
            UNROLL for (int r = 0; r < R; r++) acc[r][i] =
                v_fma(v_scale(dot[r][i], scale[i], base), v_set(x.scales[r]), acc[r][i]);
        }
        fetch(next);
    }
    UNROLL for (int r = 0; r < R; r++) {
        UNROLL for (int i = 0; i < PARTS; i++) v_store(y + r * y_stride + i * VL, acc[r][i]);
    }
}

/* A block of a row of the product, and of those after it in its group. */
INLINE quantised x_at(const tl_product *p, int32_t row, int32_t block) {
    int32_t first = row - row % SIDE;
    unsigned char *prepared = (unsigned char *)p->prepared;
    prepared += (size_t)((p->first_row + first) / SIDE) * group_bytes(p->weight->in);
    return move_on(row_of(prepared, side_of(p->rows - first), row % SIDE), block);
}

/* Blocks first … first + count - 1 of a panel, for one output of p->y on. */
typedef struct span {
    panel from;
    int32_t first, count, out;
} span;

/* R rows from `row` on; returns the row after them. */
INLINE int32_t integer_at(tl_dtype dtype, const int R, const tl_product *p, const span *s,
                          int32_t row, ahead *next) {
    integer(dtype, R, &s->from, s->count, x_at(p, row, s->first), next, s->first > 0,
            p->y + row * p->y_stride + s->out, p->y_stride);
    return row + R;
}

/* Up to SIDE rows of one group. */
INLINE void integer_rows(tl_dtype dtype, const tl_product *p, const span *s, int32_t row,
                         ahead *next) {
    int32_t end = row + tl_min(SIDE, p->rows - row);
    while (row + MANY_ROWS <= end)
        row = integer_at(dtype, MANY_ROWS, p, s, row, next);
    while (MANY_ROWS > 8 && row + 8 <= end)
        row = integer_at(dtype, 8, p, s, row, next);
    while (row + 4 <= end)
        row = integer_at(dtype, 4, p, s, row, next);
    while (row + 2 <= end)
        row = integer_at(dtype, 2, p, s, row, next);
    if (row < end) integer_at(dtype, 1, p, s, row, next);
}

/* The upper values of q4 are multiplied where they lie, as 16 times as much. */
INLINE void stream(tl_dtype dtype, const int R, const int P, const tl_product *p, int32_t row,
                   const panel_runs *at, float *y) {
    const vi lower = v_set_int(0x0f0f0f0f), upper = v_set_int((int32_t)0xf0f0f0f0);
    const int groups = groups_of(dtype), vectors = P * PARTS;
    const size_t bytes = tl_block_bytes(dtype);
    const unsigned char *first = at->first;
    const unsigned char *values = first + (size_t)at->blocks * TL_PANEL * sizeof(uint16_t);
    quantised x = x_at(p, row, 0);
    vf acc[FEW_SUMS];
    UNROLL for (int i = 0; i < R * vectors; i++) acc[i] = v_zero();
    for (int32_t b = 0; b < at->blocks; b++, first += 2 * TL_PANEL, values += bytes) {
        vi dot[FEW_SUMS], high[FEW_SUMS];
        UNROLL for (int i = 0; i < R * vectors; i++) {
            dot[i] = v_set_int(x.corrections[i / vectors]);
            high[i] = v_set_int(0);
        }
        fetch_next(dtype, R, P, at, b);
        UNROLL for (int g = 0; g < groups; g++) {
            UNROLL for (int i = 0; i < vectors; i++) {
                vi weight = load_values(values + (size_t)(i / PARTS) * at->apart +
                                        (size_t)(g * TL_PANEL + i % PARTS * VL) * 4);
                UNROLL for (int r = 0; r < R; r++) {
                    const int32_t *of = x.values[r];
                    const int s = r * vectors + i;
                    if (dtype == TL_Q4)
                        high[s] = v_dot4(high[s], weight & upper, v_set_int(of[g % 4 + 4]));
                    dot[s] =
                        v_dot4(dot[s], dtype == TL_Q4 ? weight & lower : weight, v_set_int(of[g]));
                }
            }
        }
        UNROLL for (int i = 0; i < vectors; i++) {
            const uint16_t *scales = (const uint16_t *)(first + (size_t)(i / PARTS) * at->apart);
            vf scale = v_load_f16(scales + i % PARTS * VL), base = v_scale_base(scale);
            UNROLL for (int r = 0; r < R; r++) {
                const int s = r * vectors + i;
                if (dtype == TL_Q4) dot[s] += high[s] >> 4;
                acc[s] = v_fma(v_scale(dot[s], scale, base), v_set(x.scales[r]), acc[s]);
            }
        }
        x = move_on(x, 1);
    }
    store_runs(R, P, p, at, acc, y);
}

/* The rows that are worth it on tiles; returns how many. */
INLINE int32_t run_tiles(tl_dtype dtype, const tl_product *p, const span *s,
                         unsigned char *unpacked, ahead *next) {
    int32_t rows = 0;
#if defined(__AMX_INT8__)
    rows = rows_on_tiles(p->rows);
    if (rows == 0) return 0;
    unpack(dtype, true, &s->from, s->count, unpacked);
    tile_rows(&(tile_task){.scales = s->from.scales,
                           .values = unpacked,
                           .x = x_at(p, 0, s->first),
                           .blocks = s->count,
                           .apart = p->weight->in / TL_BLOCK - s->count + 1,
                           .rows = rows,
                           .more = s->first > 0,
                           .y = p->y + s->out,
                           .y_stride = p->y_stride},
              next);
#else
    (void)dtype, (void)p, (void)s, (void)unpacked, (void)next;
#endif
    return rows;
}

#if defined(V_BY_WORDS)
INLINE void run_words(tl_dtype dtype, const tl_product *p, const span *s, unsigned char *unpacked,
                      ahead *next) {
    int64_t stride = p->y_stride;
    unpack_halves(dtype, &s->from, s->count, unpacked);
    for (int32_t row = 0; row < p->rows;) {
        int32_t left = tl_min(SIDE - row % SIDE, p->rows - row);
        quantised x = x_at(p, row, s->first);
        float *y = p->y + row * stride + s->out;
        if (left >= WORD_ROWS)
            word_rows(dtype, WORD_ROWS, s->from.scales, unpacked, s->count, x, next, s->first > 0,
                      y, stride);
        else
            word_rows(dtype, 1, s->from.scales, unpacked, s->count, x, next, s->first > 0, y,
                      stride);
        row += left >= WORD_ROWS ? WORD_ROWS : 1;
    }
}
#endif

INLINE void run_span(tl_dtype dtype, const tl_product *p, span *s, unsigned char *unpacked,
                     ahead *next) {
#if defined(V_BY_WORDS)
    if (p->rows >= WORTH) {
        run_words(dtype, p, s, unpacked, next);
        return;
    }
#endif
    int32_t row = run_tiles(dtype, p, s, unpacked, next);
    if (p->rows - row >= WORTH && dtype == TL_Q4) {
        unpack(dtype, false, &s->from, s->count, unpacked);
        s->from.values = unpacked;
        for (; row < p->rows; row += SIDE)
            integer_rows(TL_U8, p, s, row, next);
    }
    for (; row < p->rows; row += SIDE)
        integer_rows(dtype, p, s, row, next);
}

/* A gathered panel, and an unpacked span. */
static size_t scratch_bytes(int32_t in) {
    return tl_align(tl_panel_bytes(TL_Q8, in)) + SPAN_BYTES;
}

INLINE void run(tl_dtype dtype, const tl_product *p) {
    int32_t blocks = p->weight->in / TL_BLOCK;
    unsigned char *gathered = p->scratch;
    unsigned char *unpacked = gathered + tl_align(tl_panel_bytes(TL_Q8, p->weight->in));
    ahead next = spread_ahead(p, (size_t)((p->outs + TL_PANEL - 1) / TL_PANEL) * (size_t)blocks *
                                     (size_t)((p->rows + SIDE - 1) / SIDE));
#if defined(__AMX_INT8__)
    if (rows_on_tiles(p->rows)) _tile_loadconfig(&block_tiles);
#endif
    for (int32_t out = run_few(dtype, p); out < p->outs; out += TL_PANEL) {
        panel from = find_panel(p, out, gathered);
        for (int32_t b = 0; b < blocks; b += SPAN) {
            span s = {{from.scales + (size_t)b * TL_PANEL,
                       from.values + (size_t)b * tl_block_bytes(dtype)},
                      b,
                      tl_min(SPAN, blocks - b),
                      out};
            run_span(dtype, p, &s, unpacked, &next);
        }
    }
#if defined(__AMX_INT8__)
    if (rows_on_tiles(p->rows)) _tile_release();
#endif
}

static void run_q8(const tl_product *p) {
    run(TL_Q8, p);
}

static void run_q4(const tl_product *p) {
    run(TL_Q4, p);
}

const tl_product_path TL_NAME(tl_product_path_q8_fast) = {.name = "q8 int8",
                                                          .run = run_q8,
                                                          .scratch_bytes = scratch_bytes,
                                                          .group_bytes = group_bytes,
                                                          .prepare = quantise_q8,
                                                          .prepare_rows = SIDE};
const tl_product_path TL_NAME(tl_product_path_q4_fast) = {.name = "q4 int8",
                                                          .run = run_q4,
                                                          .scratch_bytes = scratch_bytes,
                                                          .group_bytes = group_bytes,
                                                          .prepare = quantise_q4,
                                                          .prepare_rows = SIDE};

#endif
