/* What the products with packed q8 and q4 weights share: lanes run along the 16 outputs of a panel.
 */
#ifndef TL_KERNELS_PANEL_H
#define TL_KERNELS_PANEL_H

#include "kernels/cpu/ahead.h"

enum {
    PARTS = TL_PANEL / VL, /* vectors in a panel's 16 outputs */
    ROWS = VL == 8    ? 6
           : VL == 16 ? 12
                      : 4, /* rows × PARTS vectors stay in registers */
};

typedef struct panel {
    const uint16_t *scales;
    const unsigned char *values;
} panel;

/* Groups of lanes that a block's values fill: q8's hold four columns in order each, q4's four
 * columns in their lower halves and the four that are 16 further on in the upper ones. */
INLINE int groups_of(tl_dtype dtype) {
    return dtype == TL_Q8 ? 8 : 4;
}

/* The panel of outputs first … first + 15 of the product; gathered into scratch memory where its
 * columns are given one by one. */
INLINE panel find_panel(const tl_product *p, int32_t first, unsigned char *gathered) {
    const tl_matrix *m = p->weight;
    int32_t blocks = m->in / TL_BLOCK;
    size_t scales = (size_t)blocks * TL_PANEL * sizeof(uint16_t);
    if (!p->columns) {
        const unsigned char *data = tl_panel(m, (p->first_out + first) / TL_PANEL);
        return (panel){(const uint16_t *)data, data + scales};
    }
    size_t values = tl_block_bytes(m->dtype);
    int32_t groups = groups_of(m->dtype);
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

/* The same as signed bytes. */
INLINE vi load_signed(tl_dtype dtype, const unsigned char *block, int g, int part) {
    typedef uint32_t vu __attribute__((vector_size(sizeof(vi))));
    const vi top = v_set_int((int32_t)0x80808080);
    vi weight = load_group(dtype, block, g, part);
    if (dtype == TL_Q8) return weight ^ top;
    /* minus 8 in each byte; the top bit, set meanwhile, lends to no neighbour */
    return (vi)((vu)(weight | top) - (vu)v_set_int(0x08080808)) ^ top;
}

/* Sums [rows][16] of outputs out … → y. */
INLINE void put_panel(const tl_product *p, int32_t row, int32_t rows, int32_t out,
                      const float *sums) {
    size_t outs = (size_t)tl_min(TL_PANEL, p->outs - out);
    for (int32_t r = 0; r < rows; r++)
        memcpy(p->y + (row + r) * p->y_stride + out, sums + r * TL_PANEL, outs * sizeof(float));
}

#endif
