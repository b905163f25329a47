/* Rows of x quantised to int8 for fast products with packed weights: by row and block of 32
 * columns.
 */
#ifndef TL_KERNELS_QUANTISED_H
#define TL_KERNELS_QUANTISED_H

#include "kernels/cpu/functions.h"

enum {
#if defined(__AMX_INT8__)
    SIDE = 16, /* rows prepared together: a tile */
#else
    SIDE = VL >= 8 ? 12 : 16,
#endif
    /* An integer sum that starts from the bits of 1.5 × 2²³ is, read as a float, 1.5 × 2²³ + sum:
     * one FMA takes that away again and multiplies, where it rounds once. */
    BY_BITS = V_FMA_ROUNDS_ONCE,
    START = BY_BITS ? 0x4b400000 : 0,
};

/* A block of 32 columns, from one row of a group on: scales, corrections and values of all its
 * rows. A group has as many rows as there are, so that few lie close together, or SIDE where they
 * go through a tile. Sums of products start from the correction: START and what takes the weights'
 * bias out again, -bias × Σ values. */
typedef struct quantised {
    float *scales;
    int32_t *corrections;
    int32_t (*values)[TL_BLOCK / 4]; /* four int8 in each */
    size_t apart;                    /* bytes from block to block */
} quantised;

INLINE size_t block_apart(int32_t side) {
    return (size_t)side * (sizeof(float) + sizeof(int32_t) + TL_BLOCK);
}

static size_t group_bytes(int32_t in) {
    return block_apart(SIDE) * (size_t)(in / TL_BLOCK);
}

/* The first block of a row. */
INLINE quantised row_of(void *group, int32_t side, int32_t row) {
    float *scales = group;
    int32_t *corrections = (int32_t *)(scales + side);
    return (quantised){scales + row, corrections + row,
                       (int32_t(*)[TL_BLOCK / 4])(corrections + side) + row, block_apart(side)};
}

INLINE quantised move_on(quantised x, int32_t blocks) {
    size_t bytes = x.apart * (size_t)blocks;
    return (quantised){(float *)((unsigned char *)x.scales + bytes),
                       (int32_t *)((unsigned char *)x.corrections + bytes),
                       (int32_t(*)[TL_BLOCK / 4])((unsigned char *)x.values + bytes), x.apart};
}

/* What v_scale adds for a weight's scale. */
INLINE vf v_scale_base(vf scale) {
    if (!BY_BITS) return v_zero();
    return scale * v_set(-0x1.8p23f);
}

/* sum × scale, rounded once, of a sum that started from START. */
INLINE vf v_scale(vi sum, vf scale, vf base) {
    if (BY_BITS) return v_fma((vf)sum, scale, base);
    return v_from_int(sum) * scale;
}

/* COUNT blocks of a row, at most four: what runs across lanes is done for all of them at once. */
INLINE void quantise_blocks(const int COUNT, int32_t bias, const float *x, quantised to) {
    vi most[4], sums[4]; /* magnitudes as bits, where NaN is above all */
    UNROLL for (int b = 0; b < 4; b++) most[b] = sums[b] = v_set_int(0);
    UNROLL for (int b = 0; b < COUNT; b++) {
        UNROLL for (int i = 0; i < TL_BLOCK; i += VL) most[b] =
            v_max_int((vi)v_abs(v_load(x + b * TL_BLOCK + i)), most[b]);
    }
    i4 bits = v_largest_int4(most);
    v4 largest = (v4)bits, over = 127.0f / largest, under = largest / 127.0f;
    v4 inverse = (v4)((i4)over & (largest > 0.0f));
    i4 finite = bits < 0x7f800000, nan = (i4){0} + 0x7fc00000;
    v4 scales = (v4)(((i4)under & finite) | (nan & ~finite));
    UNROLL for (int b = 0; b < COUNT; b++) {
        UNROLL for (int i = 0; i < TL_BLOCK; i += VL) {
            /* clamped, so that the sum stays small when x is not finite */
            vf scaled = v_load(x + b * TL_BLOCK + i) * v_set(inverse[b]);
            vi value = v_to_int(v_max(v_set(-127.0f), v_min(scaled, v_set(127.0f))));
            sums[b] += value;
            v_store_i8((int8_t *)move_on(to, b).values[0] + i, value);
        }
    }
    i4 corrections = START - bias * v_sum_int4(sums);
    UNROLL for (int b = 0; b < COUNT; b++) {
        *move_on(to, b).scales = scales[b];
        *move_on(to, b).corrections = corrections[b];
    }
}

INLINE void quantise_row(int32_t bias, const float *x, int32_t in, quantised to) {
    int32_t blocks = in / TL_BLOCK, b = 0;
    for (; b + 4 <= blocks; b += 4, to = move_on(to, 4))
        quantise_blocks(4, bias, x + b * TL_BLOCK, to);
    for (; b < blocks; b++, to = move_on(to, 1))
        quantise_blocks(1, bias, x + b * TL_BLOCK, to);
}

#if defined(__AMX_INT8__)
/* How many of `rows` are multiplied on tiles: whole groups, and a last one that is nearly full. */
INLINE int32_t rows_on_tiles(int32_t rows) {
    return rows % SIDE > 12 ? rows : rows - rows % SIDE;
}
#endif

/* The rows that a group of so many is laid out for. Chunks of rows begin with groups and end with
 * them, so whoever reads a group knows how many it has. */
INLINE int32_t side_of(int32_t rows) {
#if defined(__AMX_INT8__)
    if (rows_on_tiles(rows)) return SIDE;
#endif
    return tl_min(rows, SIDE);
}

INLINE void quantise(int32_t bias, const float *x, int64_t x_stride, int32_t rows, int32_t in,
                     void *group) {
    int32_t side = side_of(rows);
    for (int32_t r = 0; r < rows; r++)
        quantise_row(bias, x + r * x_stride, in, row_of(group, side, r));
    for (int32_t r = rows; r < side; r++) { /* what the tile lacks */
        quantised none = row_of(group, side, r);
        for (int32_t b = 0; b < in / TL_BLOCK; b++, none = move_on(none, 1)) {
            *none.scales = 0.0f;
            memset(none.values, 0, sizeof *none.values);
        }
    }
}

static void quantise_q8(const float *x, int64_t x_stride, int32_t rows, int32_t in, void *group) {
    quantise(128, x, x_stride, rows, in, group);
}

static void quantise_q4(const float *x, int64_t x_stride, int32_t rows, int32_t in, void *group) {
    quantise(8, x, x_stride, rows, in, group);
}

#endif
