/* Fast products with packed q8 and q4 weights on NEON: the sums of panel_fast.c, by whichever
 * instructions there are. Many rows share a panel unpacked into signed bytes; up to three read it
 * as it lies. A block's sum is an integer, so both ways give the same bits. */
#include "kernels/cpu/panel.h"

#if defined(V_NEON)

enum {
    SIDE = 16,             /* rows prepared together */
    GROUPS = TL_BLOCK / 4, /* of four columns */
    PART_BYTES = 4 * TL_BLOCK,
    FEW = 3, /* rows that do not pay for unpacking */
};

/* A block of 32 columns of a group's rows of x. A group has as many as there are, so that few lie
 * close together. */
typedef struct quantised {
    float *scales;
    int8_t *values;
    size_t apart; /* bytes from block to block */
} quantised;

/* The rows that a group of so many is laid out for: i8mm takes pairs. */
INLINE int32_t side_of(int32_t rows) {
    return (tl_min(rows, SIDE) + 1) & ~1;
}

INLINE size_t block_apart(int32_t side) {
    return (size_t)side * (sizeof(float) + TL_BLOCK);
}

/* A group's first block. */
INLINE quantised block_of(void *group, int32_t side) {
    float *scales = group;
    return (quantised){scales, (int8_t *)(scales + side), block_apart(side)};
}

INLINE quantised move_on(quantised x) {
    return (quantised){(float *)((unsigned char *)x.scales + x.apart), x.values + x.apart, x.apart};
}

/* Where column k of a row lies among the values: i8mm takes eight columns of two rows at once. */
INLINE int32_t place(int32_t row, int32_t k) {
#if defined(__ARM_FEATURE_MATMUL_INT8)
    return row / 2 * 2 * TL_BLOCK + k / 8 * 16 + row % 2 * 8 + k % 8;
#else
    return row * TL_BLOCK + k;
#endif
}

static size_t group_bytes(int32_t in) {
    return block_apart(SIDE) * (size_t)(in / TL_BLOCK);
}

/* Where x is not finite the scale is not either: NaN passes through fmax, and turns to 0 as an
 * integer. */
INLINE void quantise_block(const float *x, quantised to, int32_t row) {
    enum { VECTORS = TL_BLOCK / VL };
    vf value[VECTORS], most = v_zero();
    UNROLL for (int i = 0; i < VECTORS; i++) {
        value[i] = v_load(x + i * VL);
        most = vmaxq_f32(most, vabsq_f32(value[i]));
    }
    float largest = vmaxvq_f32(most);
    float inverse = largest > 0.0f ? 127.0f / largest : 0.0f;
    int16x4_t words[VECTORS];
    UNROLL for (int i = 0; i < VECTORS; i++) words[i] =
        vqmovn_s32(v_to_int(vmulq_n_f32(value[i], inverse)));
    UNROLL for (int i = 0; i < VECTORS; i += 2)
        vst1_s8(to.values + place(row, i * VL), vqmovn_s16(vcombine_s16(words[i], words[i + 1])));
    to.scales[row] = largest / 127.0f;
}

static void quantise(const float *x, int64_t x_stride, int32_t rows, int32_t in, void *group) {
    for (int32_t r = 0; r < rows; r++) {
        quantised to = block_of(group, side_of(rows));
        for (int32_t b = 0; b < in / TL_BLOCK; b++, to = move_on(to))
            quantise_block(x + r * x_stride + b * TL_BLOCK, to, r);
    }
}

/* The four outputs of a part as signed bytes, [8 groups][4 outs][4 columns]. */
INLINE void load_part(tl_dtype dtype, const unsigned char *block, int part, int8x16_t w[GROUPS]) {
    const uint8_t *from = block + part * 16;
    if (dtype == TL_Q8) {
        UNROLL for (int g = 0; g < GROUPS; g++) w[g] =
            vreinterpretq_s8_u8(veorq_u8(vld1q_u8(from + g * 4 * TL_PANEL), vdupq_n_u8(0x80)));
        return;
    }
    UNROLL for (int g = 0; g < GROUPS / 2; g++) {
        uint8x16_t both = vld1q_u8(from + g * 4 * TL_PANEL);
        int8x16_t low = vreinterpretq_s8_u8(vandq_u8(both, vdupq_n_u8(15)));
        int8x16_t high = vreinterpretq_s8_u8(vshrq_n_u8(both, 4));
        w[g] = vsubq_s8(low, vdupq_n_s8(8));
        w[g + GROUPS / 2] = vsubq_s8(high, vdupq_n_s8(8));
    }
}

/* What the columns of one row's block are multiplied with: int8, 16 or 4 at a time. */
#if defined(__ARM_FEATURE_DOTPROD)
typedef struct row_values {
    int8x8_t eighths[TL_BLOCK / 8];
} row_values;

INLINE row_values load_row(quantised x, int32_t row) {
    row_values v;
    UNROLL for (int i = 0; i < TL_BLOCK / 8; i++) v.eighths[i] =
        vld1_s8(x.values + place(row, 8 * i));
    return v;
}

INLINE int32x4_t dot_part(const int8x16_t w[GROUPS], const row_values *v) {
    int32x4_t dot = vdupq_n_s32(0);
    UNROLL for (int g = 0; g < GROUPS; g += 2) {
        dot = vdotq_lane_s32(dot, w[g], v->eighths[g / 2], 0);
        dot = vdotq_lane_s32(dot, w[g + 1], v->eighths[g / 2], 1);
    }
    return dot;
}
#else
typedef struct row_values {
    int8x16_t groups[GROUPS]; /* four columns each, four times */
} row_values;

INLINE row_values load_row(quantised x, int32_t row) {
    row_values v;
    UNROLL for (int g = 0; g < GROUPS; g++) v.groups[g] =
        vreinterpretq_s8_s32(vld1q_dup_s32((const int32_t *)(x.values + place(row, 4 * g))));
    return v;
}

/* Two products of bytes, 128 × 127 at most, fit in 16 bits. */
INLINE int32x4_t dot_part(const int8x16_t w[GROUPS], const row_values *v) {
    int32x4_t low = vdupq_n_s32(0), high = low;
    UNROLL for (int g = 0; g < GROUPS; g += 2) {
        const int8x16_t *x = v->groups + g;
        int16x8_t sums = vmull_s8(vget_low_s8(w[g]), vget_low_s8(x[0]));
        sums = vmlal_s8(sums, vget_low_s8(w[g + 1]), vget_low_s8(x[1]));
        low = vpadalq_s16(low, sums);
        sums = vmull_high_s8(w[g], x[0]);
        sums = vmlal_high_s8(sums, w[g + 1], x[1]);
        high = vpadalq_s16(high, sums);
    }
    return vpaddq_s32(low, high);
}
#endif

/* One row against a panel as it lies: sums[16]. */
INLINE void one_row(tl_dtype dtype, const panel *from, int32_t blocks, quantised x, int32_t row,
                    float *sums) {
    vf acc[PARTS];
    UNROLL for (int part = 0; part < PARTS; part++) acc[part] = v_zero();
    for (int32_t b = 0; b < blocks; b++, x = move_on(x)) {
        const unsigned char *block = from->values + (size_t)b * tl_block_bytes(dtype);
        const uint16_t *scales = from->scales + (size_t)b * TL_PANEL;
        row_values values = load_row(x, row);
        UNROLL for (int part = 0; part < PARTS; part++) {
            int8x16_t w[GROUPS];
            load_part(dtype, block, part, w);
            vf dot = v_from_int(dot_part(w, &values)) * v_load_f16(scales + part * VL);
            acc[part] = vfmaq_n_f32(acc[part], dot, x.scales[row]);
        }
    }
    UNROLL for (int part = 0; part < PARTS; part++) v_store(sums + part * VL, acc[part]);
}

/* ---- many rows ---- */

/* A panel as [blocks][4 parts][8][16] signed bytes: groups as load_part has them, or for i8mm pairs
 * of outputs by eight columns. */
static void unpack(tl_dtype dtype, const panel *from, int32_t blocks, int8_t *to) {
    for (int32_t b = 0; b < blocks; b++) {
        const unsigned char *block = from->values + (size_t)b * tl_block_bytes(dtype);
        for (int part = 0; part < PARTS; part++, to += PART_BYTES) {
            int8x16_t w[GROUPS];
            load_part(dtype, block, part, w);
            UNROLL for (int g = 0; g < GROUPS; g += 2) {
#if defined(__ARM_FEATURE_MATMUL_INT8)
                int32x4_t even = vreinterpretq_s32_s8(w[g]), odd = vreinterpretq_s32_s8(w[g + 1]);
                vst1q_s8(to + 16 * g, vreinterpretq_s8_s32(vzip1q_s32(even, odd)));
                vst1q_s8(to + 16 * g + 16, vreinterpretq_s8_s32(vzip2q_s32(even, odd)));
#else
                vst1q_s8(to + 16 * g, w[g]);
                vst1q_s8(to + 16 * g + 16, w[g + 1]);
#endif
            }
        }
    }
}

/* The compiler would load several parts' weights at once, and then lack registers. */
#define KEEP_ORDER() __asm__ volatile("" : : : "memory")

#if defined(__ARM_FEATURE_MATMUL_INT8)
enum { MANY = 4 };

INLINE vf pair(float32x2_t low, float32x2_t high) {
    return vcombine_f32(low, high);
}

/* Four rows against an unpacked panel: sums[4][16]. Two rows × two outputs are a vector. */
INLINE void many_rows(const panel *from, const int8_t *w, int32_t blocks, quantised x, int32_t row,
                      float *sums) {
    vf acc[2][2 * PARTS];
    UNROLL for (int i = 0; i < 4 * PARTS; i++) acc[i / (2 * PARTS)][i % (2 * PARTS)] = v_zero();
    for (int32_t b = 0; b < blocks; b++, x = move_on(x)) {
        const uint16_t *scales = from->scales + (size_t)b * TL_PANEL;
        const int8_t *values = x.values + place(row, 0);
        int8x16_t v[2][4];
        UNROLL for (int i = 0; i < 8; i++) v[i / 4][i % 4] = vld1q_s8(values + 16 * i);
        vf x_scales = v_load(x.scales + row);
        vf x_scale[2] = {vzip1q_f32(x_scales, x_scales), vzip2q_f32(x_scales, x_scales)};
        UNROLL for (int part = 0; part < PARTS; part++, w += PART_BYTES) {
            vi dot[2][2];
            UNROLL for (int i = 0; i < 4; i++) dot[i / 2][i % 2] = v_set_int(0);
            UNROLL for (int step = 0; step < 4; step++) {
                UNROLL for (int two = 0; two < 2; two++) {
                    int8x16_t weight = vld1q_s8(w + 32 * step + 16 * two);
                    dot[0][two] = vmmlaq_s32(dot[0][two], v[0][step], weight);
                    dot[1][two] = vmmlaq_s32(dot[1][two], v[1][step], weight);
                }
            }
            vf scale = v_load_f16(scales + part * VL);
            UNROLL for (int two = 0; two < 2; two++) {
                float32x2_t half = two ? vget_high_f32(scale) : vget_low_f32(scale);
                UNROLL for (int i = 0; i < 2; i++) acc[i][2 * part + two] = v_fma(
                    v_from_int(dot[i][two]) * pair(half, half), x_scale[i], acc[i][2 * part + two]);
            }
            KEEP_ORDER();
        }
    }
    UNROLL for (int i = 0; i < 2; i++) {
        UNROLL for (int part = 0; part < PARTS; part++) {
            vf even = acc[i][2 * part], odd = acc[i][2 * part + 1];
            float *to = sums + 2 * i * TL_PANEL + part * VL;
            v_store(to, pair(vget_low_f32(even), vget_low_f32(odd)));
            v_store(to + TL_PANEL, pair(vget_high_f32(even), vget_high_f32(odd)));
        }
    }
}
#elif defined(__ARM_FEATURE_DOTPROD)
enum { MANY = 4 };

/* Lanes must be literals. */
#define ADD_GROUP(dot, w, v, half, group)                                                          \
    do {                                                                                           \
        int8x16_t weight = vld1q_s8((w) + 16 * (group));                                           \
        UNROLL for (int r = 0; r < MANY; r++)(dot)[r] =                                            \
            vdotq_laneq_s32((dot)[r], weight, (v)[r][half], group);                                \
    } while (0)

/* Four rows against an unpacked panel: sums[4][16]. */
INLINE void many_rows(const panel *from, const int8_t *w, int32_t blocks, quantised x, int32_t row,
                      float *sums) {
    vf acc[MANY][PARTS];
    UNROLL for (int i = 0; i < MANY * PARTS; i++) acc[i / PARTS][i % PARTS] = v_zero();
    for (int32_t b = 0; b < blocks; b++, x = move_on(x)) {
        const uint16_t *scales = from->scales + (size_t)b * TL_PANEL;
        const int8_t *values = x.values + place(row, 0);
        int8x16_t v[MANY][2];
        UNROLL for (int i = 0; i < 2 * MANY; i++) v[i / 2][i % 2] = vld1q_s8(values + 16 * i);
        UNROLL for (int part = 0; part < PARTS; part++, w += PART_BYTES) {
            vi dot[MANY];
            UNROLL for (int r = 0; r < MANY; r++) dot[r] = v_set_int(0);
            UNROLL for (int half = 0; half < 2; half++) {
                ADD_GROUP(dot, w + 64 * half, v, half, 0);
                ADD_GROUP(dot, w + 64 * half, v, half, 1);
                ADD_GROUP(dot, w + 64 * half, v, half, 2);
                ADD_GROUP(dot, w + 64 * half, v, half, 3);
            }
            vf scale = v_load_f16(scales + part * VL);
            UNROLL for (int r = 0; r < MANY; r++) acc[r][part] =
                vfmaq_n_f32(acc[r][part], v_from_int(dot[r]) * scale, x.scales[row + r]);
            KEEP_ORDER();
        }
    }
    UNROLL for (int i = 0; i < MANY * PARTS; i++) v_store(sums + i * VL, acc[i / PARTS][i % PARTS]);
}
#else
enum { MANY = 1 };

/* One row against an unpacked panel: sums[16]. */
INLINE void many_rows(const panel *from, const int8_t *w, int32_t blocks, quantised x, int32_t row,
                      float *sums) {
    vf acc[PARTS];
    UNROLL for (int part = 0; part < PARTS; part++) acc[part] = v_zero();
    for (int32_t b = 0; b < blocks; b++, x = move_on(x)) {
        const uint16_t *scales = from->scales + (size_t)b * TL_PANEL;
        row_values values = load_row(x, row);
        UNROLL for (int part = 0; part < PARTS; part++, w += PART_BYTES) {
            int8x16_t weight[GROUPS];
            UNROLL for (int g = 0; g < GROUPS; g++) weight[g] = vld1q_s8(w + 16 * g);
            vf dot = v_from_int(dot_part(weight, &values)) * v_load_f16(scales + part * VL);
            acc[part] = vfmaq_n_f32(acc[part], dot, x.scales[row]);
            KEEP_ORDER();
        }
    }
    UNROLL for (int part = 0; part < PARTS; part++) v_store(sums + part * VL, acc[part]);
}
#endif

/* Rows of one group against one panel. */
INLINE void run_group(tl_dtype dtype, const tl_product *p, const panel *from,
                      const int8_t *unpacked, int32_t row, int32_t out) {
    int32_t blocks = p->weight->in / TL_BLOCK, rows = tl_min(SIDE, p->rows - row), r = 0;
    size_t group = (size_t)((p->first_row + row) / SIDE);
    quantised x = block_of((unsigned char *)p->prepared + group * group_bytes(p->weight->in),
                           side_of(p->rows - row));
    float sums[SIDE * TL_PANEL];
    if (unpacked)
        for (; r + MANY <= rows; r += MANY)
            many_rows(from, unpacked, blocks, x, r, sums + r * TL_PANEL);
    for (; r < rows; r++)
        one_row(dtype, from, blocks, x, r, sums + r * TL_PANEL);
    put_panel(p, row, rows, out, sums);
}

INLINE void run(tl_dtype dtype, const tl_product *p) {
    unsigned char *gathered = p->scratch;
    int8_t *unpacked = (int8_t *)(gathered + tl_align(tl_panel_bytes(TL_Q8, p->weight->in)));
    for (int32_t out = 0; out < p->outs; out += TL_PANEL) {
        panel from = find_panel(p, out, gathered);
        if (p->rows > FEW) unpack(dtype, &from, p->weight->in / TL_BLOCK, unpacked);
        for (int32_t row = 0; row < p->rows; row += SIDE)
            run_group(dtype, p, &from, p->rows > FEW ? unpacked : NULL, row, out);
    }
}

/* A gathered panel, and an unpacked one. */
static size_t scratch_bytes(int32_t in) {
    return tl_align(tl_panel_bytes(TL_Q8, in)) + (size_t)in * TL_PANEL;
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
                                                          .prepare = quantise,
                                                          .prepare_rows = SIDE};
const tl_product_path TL_NAME(tl_product_path_q4_fast) = {.name = "q4 int8",
                                                          .run = run_q4,
                                                          .scratch_bytes = scratch_bytes,
                                                          .group_bytes = group_bytes,
                                                          .prepare = quantise,
                                                          .prepare_rows = SIDE};

#endif
