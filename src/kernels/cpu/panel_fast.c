/* Fast products with packed q8 and q4 weights: x is quantised to int8 by row and block of 32
 * columns. A block's products are summed in integers, then scaled and added to the element's f32
 * sum, block after block: integers are exact, so every way to add them gives the same bits. */
#include "kernels/cpu/panel.h"

#if !defined(V_NEON) /* panel_neon.c */
#include "kernels/cpu/quantised.h"

/* A group of weights as v_dot4 wants them. */
INLINE vi load_factor(tl_dtype dtype, const unsigned char *block, int g, int part) {
    vi weight = load_group(dtype, block, g, part);
    if (!V_DOT_SIGNED) return weight;
    const vi top = v_set_int((int32_t)0x80808080);
    if (dtype == TL_Q8) return weight ^ top;
    /* minus 8 in each byte; the top bit, set meanwhile, lends to no neighbour */
    return ((weight | top) - v_set_int(0x08080808)) ^ top;
}

/* sums[r][p][16] for R rows of a prepared group from `row` on, and P panels, all blocks. */
INLINE void integer(tl_dtype dtype, const int R, const int P, const panel *panels, int32_t blocks,
                    const quantised *x, int32_t row, float *sums) {
    vf acc[SIDE][4];
    UNROLL for (int r = 0; r < R; r++) {
        UNROLL for (int i = 0; i < P * PARTS; i++) acc[r][i] = v_zero();
    }
    for (int32_t b = 0; b < blocks; b++, x++) {
        UNROLL for (int i = 0; i < P * PARTS; i++) {
            const panel *from = &panels[i / PARTS];
            const unsigned char *block = from->values + (size_t)b * tl_block_bytes(dtype);
            const int part = i % PARTS;
            vf weight_scale = v_load_f16(from->scales + (size_t)b * TL_PANEL + part * VL);
            vi dot[SIDE];
            UNROLL for (int r = 0; r < R; r++) dot[r] = v_set_int(x->corrections[row + r]);
            UNROLL for (int g = 0; g < 8; g++) {
                vi weight = load_factor(dtype, block, g, part);
                UNROLL for (int r = 0; r < R; r++) dot[r] =
                    v_dot4(dot[r], weight, v_set_int(x->values[row + r][g]));
            }
            UNROLL for (int r = 0; r < R; r++) acc[r][i] =
                v_fma(v_from_int(dot[r]) * weight_scale, v_set(x->scales[row + r]), acc[r][i]);
        }
    }
    UNROLL for (int r = 0; r < R; r++) {
        UNROLL for (int i = 0; i < P * PARTS; i++)
            v_store(sums + (r * P * PARTS + i) * VL, acc[r][i]);
    }
}

/* The prepared group that a row of the product lies in. */
INLINE const quantised *group_of(const tl_product *p, int32_t row) {
    size_t group = (size_t)((p->first_row + row) / SIDE);
    return (const quantised *)p->prepared + group * (size_t)(p->weight->in / TL_BLOCK);
}

/* Up to 16 rows of one group. */
INLINE void integer_rows(tl_dtype dtype, const tl_product *p, const panel *from, int32_t row,
                         int32_t out) {
    enum { MANY = VL == 16 ? 8 : 4 };
    int32_t blocks = p->weight->in / TL_BLOCK, rows = tl_min(SIDE, p->rows - row), r = 0;
    const quantised *x = group_of(p, row);
    float sums[SIDE * TL_PANEL];
    for (; r + MANY <= rows; r += MANY)
        integer(dtype, MANY, 1, from, blocks, x, r, sums + r * TL_PANEL);
    for (; r + 2 <= rows; r += 2)
        integer(dtype, 2, 1, from, blocks, x, r, sums + r * TL_PANEL);
    if (r < rows) integer(dtype, 1, 1, from, blocks, x, r, sums + r * TL_PANEL);
    put_panel(p, row, rows, out, sums);
}

/* One row streams through several panels at a time, as memory likes it. */
INLINE int32_t run_single(tl_dtype dtype, const tl_product *p) {
    enum { MANY = PARTS < 4 ? 4 / PARTS : 1 };
    if (p->columns || p->rows != 1) return 0;
    int32_t blocks = p->weight->in / TL_BLOCK, out = 0;
    for (; out + MANY * TL_PANEL <= p->outs; out += MANY * TL_PANEL) {
        panel panels[MANY];
        for (int i = 0; i < MANY; i++)
            panels[i] = find_panel(p, out + i * TL_PANEL, NULL);
        integer(dtype, 1, MANY, panels, blocks, group_of(p, 0), p->first_row % SIDE, p->y + out);
    }
    return out;
}

#if defined(__AMX_INT8__)
/* The same integers on tiles: 16 rows of x [32 values] times a block [8 groups][16 outs][4]. */

typedef struct tile_config {
    uint8_t palette, start_row, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
} tile_config;

enum { UNPACKED = TL_BLOCK * TL_PANEL };

/* 0 … 3: sums; 4, 5: rows of x; 6, 7: blocks of weights. Constant: see amx.c. */
static const tile_config block_tiles = {
    .palette = 1,
    .row_bytes = {64, 64, 64, 64, TL_BLOCK, TL_BLOCK, 64, 64},
    .rows = {SIDE, SIDE, SIDE, SIDE, SIDE, SIDE, 8, 8},
};

/* q4 as bytes [blocks][8 groups][16 outs][4]. */
static void unpack_q4(const panel *from, int32_t blocks, unsigned char *to) {
    for (int32_t b = 0; b < blocks; b++) {
        const unsigned char *block = from->values + (size_t)b * tl_block_bytes(TL_Q4);
        for (int g = 0; g < 8; g++, to += sizeof(vi)) {
            vi group = load_group(TL_Q4, block, g, 0);
            memcpy(to, &group, sizeof group);
        }
    }
}

/* Tile numbers must be literals. */
#define BLOCK_SUMS(sum, row, block, x, weights, to)                                                \
    do {                                                                                           \
        _tile_loadd(row, (x)->values, TL_BLOCK);                                                   \
        _tile_loadd(block, weights, 64);                                                           \
        _tile_zero(sum);                                                                           \
        _tile_dpbsud(sum, row, block);                                                             \
        _tile_stored(sum, to, 64);                                                                 \
    } while (0)

/* The sums of up to four blocks. */
INLINE void block_sums(const quantised *x, const unsigned char *values, int32_t count,
                       int32_t sums[4][SIDE * TL_PANEL]) {
    BLOCK_SUMS(0, 4, 6, x, values, sums[0]);
    if (count > 1) BLOCK_SUMS(1, 5, 7, x + 1, values + UNPACKED, sums[1]);
    if (count > 2) BLOCK_SUMS(2, 4, 6, x + 2, values + 2 * UNPACKED, sums[2]);
    if (count > 3) BLOCK_SUMS(3, 5, 7, x + 3, values + 3 * UNPACKED, sums[3]);
}

INLINE void add_block(const panel *from, int32_t b, const quantised *x, const int32_t *sums,
                      vf acc[SIDE]) {
    vf weight_scale = v_load_f16(from->scales + (size_t)b * TL_PANEL);
    UNROLL for (int r = 0; r < SIDE; r++) {
        vi dot;
        memcpy(&dot, sums + r * TL_PANEL, sizeof dot);
        dot += v_set_int(x->corrections[r]);
        acc[r] = v_fma(v_from_int(dot) * weight_scale, v_set(x->scales[r]), acc[r]);
    }
}

/* 16 rows against one panel whose blocks lie at `values`; the tiles are four blocks ahead, so that
 * their sums have reached memory when they are wanted. */
static void tile_rows(const panel *from, const unsigned char *values, int32_t blocks,
                      const quantised *x, float *y) {
    _Alignas(64) int32_t sums[2][4][SIDE * TL_PANEL];
    vf acc[SIDE];
    UNROLL for (int r = 0; r < SIDE; r++) acc[r] = v_zero();
    block_sums(x, values, tl_min(4, blocks), sums[0]);
    for (int32_t b = 0; b < blocks; b += 4) {
        int32_t next = b + 4, which = b / 4 % 2;
        if (next < blocks)
            block_sums(x + next, values + (size_t)next * UNPACKED, tl_min(4, blocks - next),
                       sums[which ^ 1]);
        for (int32_t i = 0; i < 4 && b + i < blocks; i++)
            add_block(from, b + i, x + b + i, sums[which][i], acc);
    }
    UNROLL for (int r = 0; r < SIDE; r++) v_store(y + r * TL_PANEL, acc[r]);
}

/* All whole groups of rows; returns the first row that is left. */
static int32_t run_tiles(const tl_product *p, const panel *from, unsigned char *unpacked,
                         int32_t out) {
    int32_t blocks = p->weight->in / TL_BLOCK, row = 0;
    if (p->rows < SIDE) return 0;
    const unsigned char *values = from->values;
    if (p->weight->dtype == TL_Q4) {
        unpack_q4(from, blocks, unpacked);
        values = unpacked;
    }
    float y[SIDE * TL_PANEL];
    _tile_loadconfig(&block_tiles);
    for (; row + SIDE <= p->rows; row += SIDE) {
        tile_rows(from, values, blocks, group_of(p, row), y);
        put_panel(p, row, SIDE, out, y);
    }
    _tile_release();
    return row;
}
#else
static int32_t run_tiles(const tl_product *p, const panel *from, unsigned char *unpacked,
                         int32_t out) {
    (void)p, (void)from, (void)unpacked, (void)out;
    return 0;
}
#endif

/* A gathered panel, and a panel of q4 unpacked. */
static size_t scratch_bytes(int32_t in) {
    return tl_align(tl_panel_bytes(TL_Q8, in)) + (size_t)in * TL_PANEL;
}

INLINE void run(tl_dtype dtype, const tl_product *p) {
    unsigned char *gathered = p->scratch;
    unsigned char *unpacked = gathered + tl_align(tl_panel_bytes(TL_Q8, p->weight->in));
    const char *ahead = p->ahead, *ahead_end = p->ahead + p->ahead_bytes;
    size_t share = p->ahead_bytes / (size_t)((p->outs + TL_PANEL - 1) / TL_PANEL) + 64;
    for (int32_t out = run_single(dtype, p); out < p->outs; out += TL_PANEL) {
        for (size_t at = 0; at < share && ahead < ahead_end; at += 64, ahead += 64)
            __builtin_prefetch(ahead, 0, 2);
        panel from = find_panel(p, out, gathered);
        for (int32_t row = run_tiles(p, &from, unpacked, out); row < p->rows; row += SIDE)
            integer_rows(dtype, p, &from, row, out);
    }
}

static void run_q8(const tl_product *p) {
    run(TL_Q8, p);
}

static void run_q4(const tl_product *p) {
    run(TL_Q4, p);
}

const tl_path TL_NAME(tl_path_q8_fast) = {.name = "q8 int8",
                                          .run = run_q8,
                                          .scratch_bytes = scratch_bytes,
                                          .group_bytes = group_bytes,
                                          .prepare = quantise_q8,
                                          .prepare_rows = SIDE};
const tl_path TL_NAME(tl_path_q4_fast) = {.name = "q4 int8",
                                          .run = run_q4,
                                          .scratch_bytes = scratch_bytes,
                                          .group_bytes = group_bytes,
                                          .prepare = quantise_q4,
                                          .prepare_rows = SIDE};

#endif
