/* Blocks' integer sums on AMX tiles: 16 rows of x [32 values] times a block [8 groups][16 outs][4],
 * both signed.
 *
 * While tiles are in use the processor does one 512-bit floating-point instruction a cycle instead
 * of two (measured on Emerald Rapids), and a tile's sums reach vector registers through memory
 * only: 16 stores, 16 loads, and two FMAs for each row are what a block costs, not its products. */
#ifndef TL_KERNELS_PANEL_TILES_H
#define TL_KERNELS_PANEL_TILES_H

#include "kernels/cpu/panel.h"
#include "kernels/cpu/quantised.h"
#include "kernels/cpu/tile_config.h"

/* 0 … 3: sums; 4, 5: rows of x; 6, 7: blocks of weights. */
static const tile_config block_tiles = {
    .palette = 1,
    .row_bytes = {64, 64, 64, 64, TL_BLOCK, TL_BLOCK, 64, 64},
    .rows = {SIDE, SIDE, SIDE, SIDE, SIDE, SIDE, 8, 8},
};

enum {
    RING = 4,      /* tiles of sums */
    STORE_LAG = 2, /* blocks after which a tile's sums are stored: products take 52 cycles */
};

INLINE void add_block(const uint16_t *scales, const float *x_scales, const int32_t *sums,
                      vf acc[SIDE]) {
    vf scale = v_load_f16(scales), base = v_scale_base(scale);
    UNROLL for (int r = 0; r < SIDE; r++) {
        vi dot;
        memcpy(&dot, sums + r * TL_PANEL, sizeof dot);
        acc[r] = v_fma(v_scale(dot + v_set_int(START), scale, base), v_set(x_scales[r]), acc[r]);
    }
}

/* A panel's span, unpacked to signed bytes, and rows in groups of 16; the last may have fewer. */
typedef struct tile_task {
    const uint16_t *scales;
    const unsigned char *values;
    quantised x;    /* the first group's first block of the span */
    int32_t blocks; /* of the span */
    int32_t apart;  /* blocks from its last one to the next group's first */
    int32_t rows;
    bool more; /* added to y */
    float *y;
    int64_t y_stride;
} tile_task;

/* Where one of the loop's stages is. */
typedef struct tile_place {
    quantised x;
    int32_t block, row;
} tile_place;

INLINE bool next_group(const tile_task *t, tile_place *at) {
    bool next = ++at->block == t->blocks;
    at->x = move_on(at->x, next ? t->apart : 1);
    if (!next) return false;
    at->block = 0;
    at->row += SIDE;
    return true;
}

INLINE void load_sums(const tile_task *t, int32_t row, vf acc[SIDE]) {
    const float *y = t->y + row * t->y_stride;
    UNROLL for (int r = 0; r < SIDE; r++) acc[r] =
        t->more && row + r < t->rows ? v_load(y + r * t->y_stride) : v_zero();
}

INLINE void store_sums(const tile_task *t, int32_t row, const vf acc[SIDE]) {
    float *y = t->y + row * t->y_stride;
    UNROLL for (int r = 0; r < SIDE; r++) if (row + r < t->rows)
        v_store(y + r * t->y_stride, acc[r]);
}

/* Step `sum` of four: the products of one block, the sums of two blocks before stored, those of
 * four before scaled and added. Tile numbers must be literals. */
#define TILE_STEP(sum, row_tile, weight, stored)                                                   \
    do {                                                                                           \
        if (first.row < t->rows) {                                                                 \
            _tile_loadd(row_tile, first.x.values, TL_BLOCK);                                       \
            _tile_loadd(weight, t->values + (size_t)first.block * UNPACKED, 64);                   \
            _tile_zero(sum);                                                                       \
            _tile_dpbssd(sum, row_tile, weight);                                                   \
            next_group(t, &first);                                                                 \
        }                                                                                          \
        if (step + sum >= STORE_LAG) _tile_stored(stored, sums[stored], 64);                       \
        if (step + sum >= RING && last.row < t->rows) {                                            \
            add_block(t->scales + (size_t)last.block * TL_PANEL, last.x.scales, sums[sum], acc);   \
            int32_t row = last.row;                                                                \
            if (next_group(t, &last)) {                                                            \
                store_sums(t, row, acc);                                                           \
                load_sums(t, last.row, acc);                                                       \
            }                                                                                      \
        }                                                                                          \
        fetch(next);                                                                               \
    } while (0)

/* All rows against a span of one panel: one row of blocks goes on into the next group's, so that
 * the stages are filled once. */
static void tile_rows(const tile_task *t, ahead *next) {
    _Alignas(64) int32_t sums[RING][SIDE * TL_PANEL];
    vf acc[SIDE];
    tile_place first = {.x = t->x}, last = first;
    load_sums(t, 0, acc);
    for (int32_t step = 0; last.row < t->rows; step = RING) {
        TILE_STEP(0, 4, 6, 2);
        TILE_STEP(1, 5, 7, 3);
        TILE_STEP(2, 4, 6, 0);
        TILE_STEP(3, 5, 7, 1);
    }
}

#endif
