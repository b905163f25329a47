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

INLINE void add_block(const uint16_t *scales, const quantised *x, const int32_t *sums,
                      vf acc[SIDE]) {
    vf scale = v_load_f16(scales), base = v_scale_base(scale);
    UNROLL for (int r = 0; r < SIDE; r++) {
        vi dot;
        memcpy(&dot, sums + r * TL_PANEL, sizeof dot);
        acc[r] = v_fma(v_scale(dot + v_set_int(START), scale, base), v_set(x->scales[r]), acc[r]);
    }
}

/* Step `sum` of four: the products of block b + sum, the sums of two blocks before stored, those of
 * four before scaled and added. Tile numbers must be literals. */
#define TILE_STEP(sum, row, weight, stored)                                                        \
    do {                                                                                           \
        int32_t at = b + sum;                                                                      \
        if (at < blocks) {                                                                         \
            _tile_loadd(row, x[at].values, TL_BLOCK);                                              \
            _tile_loadd(weight, values + (size_t)at * UNPACKED, 64);                               \
            _tile_zero(sum);                                                                       \
            _tile_dpbssd(sum, row, weight);                                                        \
        }                                                                                          \
        if (at >= STORE_LAG && at - STORE_LAG < blocks) _tile_stored(stored, sums[stored], 64);    \
        if (at >= RING && at - RING < blocks)                                                      \
            add_block(scales + (size_t)(at - RING) * TL_PANEL, &x[at - RING], sums[sum], acc);     \
        fetch(next);                                                                               \
    } while (0)

/* 16 rows against some blocks of one panel whose values lie at `values` as signed bytes; added to
 * y where `more`. */
static void tile_rows(const uint16_t *scales, const unsigned char *values, int32_t blocks,
                      const quantised *x, ahead *next, bool more, float *y, int64_t y_stride) {
    _Alignas(64) int32_t sums[RING][SIDE * TL_PANEL];
    vf acc[SIDE];
    UNROLL for (int r = 0; r < SIDE; r++) acc[r] = more ? v_load(y + r * y_stride) : v_zero();
    for (int32_t b = 0; b < blocks + RING; b += RING) {
        TILE_STEP(0, 4, 6, 2);
        TILE_STEP(1, 5, 7, 3);
        TILE_STEP(2, 4, 6, 0);
        TILE_STEP(3, 5, 7, 1);
    }
    UNROLL for (int r = 0; r < SIDE; r++) v_store(y + r * y_stride, acc[r]);
}

#endif
