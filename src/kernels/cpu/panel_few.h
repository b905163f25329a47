/* Few rows against packed weights: they wait for memory, which likes several long runs of weights
 * at a time. Whoever includes this says how a block is multiplied, by `stream`. */
#ifndef TL_KERNELS_PANEL_FEW_H
#define TL_KERNELS_PANEL_FEW_H

#include "kernels/cpu/panel.h"

enum {
    RUNS = PARTS < 4 ? 4 / PARTS : 1, /* places that weights are read from at a time */
    FEW = VL == 16 ? 4 : 1,           /* rows that are multiplied while weights are being read */
    FEW_SUMS = RUNS * PARTS < 8 && VL == 16 ? 8 : RUNS * PARTS,
};

/* Panels that are multiplied at once. */
typedef struct panel_runs {
    const unsigned char *first;
    const char *next;   /* what comes after the first, or NULL */
    size_t apart;       /* bytes from panel to panel */
    int64_t outs_apart; /* outputs from panel to panel */
    int32_t blocks;
} panel_runs;

/* y[r][i × outs_apart][16] for R rows, from `row` of the product on, against P panels. */
INLINE void stream(tl_dtype dtype, const int R, const int P, const tl_product *p, int32_t row,
                   const panel_runs *at, float *y);

/* Asks for a part of the panels that are read next: several rows have the time to ask for all of
 * it, one row for what the processor's own prefetcher does not foresee. */
INLINE void fetch_next(tl_dtype dtype, const int R, const int P, const panel_runs *at, int32_t b) {
    enum { LINES = 2, LAST = 16 }; /* 2 KiB */
    const size_t bytes = tl_block_bytes(dtype) + TL_PANEL * sizeof(uint16_t);
    if (!at->next) return;
    UNROLL for (int i = 0; i < P; i++) {
        const char *next = at->next + (size_t)i * at->apart;
        if (R > 1) {
            next += (size_t)b * bytes;
            UNROLL for (size_t line = 0; line < bytes; line += 64)
                __builtin_prefetch(next + line, 0, 2);
        } else if (b >= at->blocks - LAST) {
            next += (b - (at->blocks - LAST)) * LINES * 64;
            UNROLL for (int line = 0; line < LINES; line++)
                __builtin_prefetch(next + line * 64, 0, 2);
        }
    }
}

/* sums[r][i][PARTS] → y. */
INLINE void store_runs(const int R, const int P, const tl_product *p, const panel_runs *at,
                       const vf *sums, float *y) {
    UNROLL for (int r = 0; r < R; r++, y += p->y_stride) {
        UNROLL for (int i = 0; i < P * PARTS; i++)
            v_store(y + i / PARTS * at->outs_apart + i % PARTS * VL, sums[r * P * PARTS + i]);
    }
}

/* All rows against P runs of `each` panels side by side, from panel `index` of the product on. */
INLINE void stream_runs(tl_dtype dtype, const int P, const tl_product *p, int32_t index,
                        int32_t each) {
    size_t bytes = tl_panel_bytes(dtype, p->weight->in);
    panel_runs at = {.apart = bytes * (size_t)each,
                     .outs_apart = (int64_t)each * TL_PANEL,
                     .blocks = p->weight->in / TL_BLOCK};
    for (int32_t n = index; n < index + each; n++) {
        at.first = tl_panel(p->weight, p->first_out / TL_PANEL + n);
        at.next = (const char *)at.first + bytes;
        if (n + 1 == index + each) at.next = p->ahead_bytes ? p->ahead : NULL;
        float *y = p->y + (int64_t)n * TL_PANEL;
        int32_t row = 0;
        if (FEW == 4 && p->rows == 4) {
            panel_runs pair = at;
            UNROLL for (int i = 0; i < P; i += 2) {
                stream(dtype, 4, P - i < 2 ? 1 : 2, p, 0, &pair, y + i * at.outs_apart);
                pair.first += 2 * at.apart;
                if (pair.next) pair.next += 2 * at.apart;
            }
            continue;
        }
        if (FEW > 1 && p->rows >= 2) {
            stream(dtype, 2, P, p, 0, &at, y);
            at.next = NULL;
            row = 2;
        }
        if (row < p->rows) stream(dtype, 1, P, p, row, &at, y + row * p->y_stride);
    }
}

/* Returns the first output that is left. */
INLINE int32_t run_few(tl_dtype dtype, const tl_product *p) {
    if (p->columns || p->rows > FEW) return 0;
    int32_t panels = (p->outs + TL_PANEL - 1) / TL_PANEL, left = panels % RUNS;
    if (RUNS == 4 && left && panels % 3 == 0) {
        stream_runs(dtype, 3, p, 0, panels / 3);
        return p->outs;
    }
    if (panels >= RUNS) stream_runs(dtype, RUNS, p, 0, panels / RUNS);
    if (RUNS == 4 && left == 3) stream_runs(dtype, 3, p, panels - left, 1);
    if (RUNS == 4 && left == 2) stream_runs(dtype, 2, p, panels - left, 1);
    if (left == 1) stream_runs(dtype, 1, p, panels - left, 1);
    return p->outs;
}

#endif
