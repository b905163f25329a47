/* Exact products with packed q8 and q4 weights: these are scale × value, which f32 holds exactly;
 * each element sums its columns in order with FMA. */
#include "kernels/cpu/panel_few.h"

enum {
    TOGETHER = VL == 16 ? 2 : 1, /* panels whose sums stay in registers at a time */
    WIDE = TOGETHER * TL_PANEL,
    SPAN = 8 / TOGETHER, /* blocks widened at a time */
    GROUP_ROWS = 48,     /* rows whose sums are held beside the widened blocks */
    SUMS = GROUP_ROWS * TL_PANEL,
    PLACED = V_FMA_ROUNDS_ONCE && VL == 16, /* where "and" and "or" are one instruction */
};

/* A block at once is faster by a tenth; but on NEON GCC draws all its loads together and spills. */
#if defined(V_NEON)
#define UNROLL_GROUPS
#else
#define UNROLL_GROUPS UNROLL
#endif

/* What weight_of takes of a scale. */
INLINE vf scale_base(tl_dtype dtype, vf scale) {
    if (!PLACED) return v_zero();
    return scale * v_set(-32768.0f - (dtype == TL_Q8 ? 128.0f : 8.0f));
}

/* scale × value of the 16 outputs, or part of them, whose values begin at `group`, each at bit `at`
 * of a lane. PLACED: put where they stand just before the point they make 2¹⁵ + value + bias, and
 * since scale × (2¹⁵ + bias) is exact in f32, one FMA that rounds once gives the weight. */
INLINE vf weight_of(tl_dtype dtype, const unsigned char *group, int at, vf scale, vf base) {
    const int bits = dtype == TL_Q8 ? 8 : 4, above = 32 - bits;
    vi lanes = load_values(group);
    if (PLACED) {
        lanes = at > 8 ? lanes >> (at - 8) : lanes << (8 - at);
        lanes = (lanes & v_set_int(((1 << bits) - 1) << 8)) | v_set_int(0x47000000);
        return v_fma((vf)lanes, scale, base);
    }
    lanes = lanes ^ v_set_int((int32_t)(dtype == TL_Q8 ? 0x80808080 : 0x88888888));
    return v_from_int((lanes << (above - at)) >> above) * scale;
}

/* wide[column][WIDE] = weights of `count` blocks of one panel. */
INLINE void widen_blocks(tl_dtype dtype, const panel *from, int32_t first, int32_t count,
                         float *wide) {
    const uint16_t *scales = from->scales + (size_t)first * TL_PANEL;
    const unsigned char *block = from->values + (size_t)first * tl_block_bytes(dtype);
    for (int32_t b = 0; b < count; b++, scales += TL_PANEL, block += tl_block_bytes(dtype)) {
        for (int part = 0; part < PARTS; part++) {
            vf scale = v_load_f16(scales + part * VL), base = scale_base(dtype, scale);
            float *to = wide + (size_t)b * TL_BLOCK * WIDE + part * VL;
            UNROLL for (int upper = 0; upper < 2; upper++) {
                if (upper > 0 && dtype == TL_Q8) continue;
                for (int g = 0; g < groups_of(dtype); g++) {
                    const unsigned char *group = block + (g * TL_PANEL + part * VL) * 4;
                    UNROLL for (int i = 0; i < 4; i++, to += WIDE)
                        v_store(to, weight_of(dtype, group, i * 8 + upper * 4, scale, base));
                }
            }
        }
    }
}

/* sums[panel][r][16] += x[r] · wide for R rows, P panels and `count` columns. */
INLINE void outer(const int R, const int P, const float *x, int64_t x_stride, const float *wide,
                  int32_t count, float *sums) {
    vf acc[12][TOGETHER * PARTS];
    UNROLL for (int r = 0; r < R; r++) {
        UNROLL for (int i = 0; i < P * PARTS; i++) acc[r][i] =
            v_load(sums + i / PARTS * SUMS + r * TL_PANEL + i % PARTS * VL);
    }
    for (int32_t k = 0; k < count; k++) {
        vf weight[TOGETHER * PARTS];
        UNROLL for (int i = 0; i < P * PARTS; i++) weight[i] =
            v_load(wide + (size_t)k * WIDE + i * VL);
        UNROLL for (int r = 0; r < R; r++) {
            vf value = v_set(x[r * x_stride + k]);
            UNROLL for (int i = 0; i < P * PARTS; i++) acc[r][i] =
                v_fma(value, weight[i], acc[r][i]);
        }
    }
    UNROLL for (int r = 0; r < R; r++) {
        UNROLL for (int i = 0; i < P * PARTS; i++)
            v_store(sums + i / PARTS * SUMS + r * TL_PANEL + i % PARTS * VL, acc[r][i]);
    }
}

INLINE void outer_rows(const int P, int32_t rows, const float *x, int64_t x_stride,
                       const float *wide, int32_t count, float *sums) {
    while (rows >= ROWS) {
        outer(ROWS, P, x, x_stride, wide, count, sums);
        x += ROWS * x_stride;
        sums += ROWS * TL_PANEL;
        rows -= ROWS;
    }
    while (rows >= 4) {
        outer(4, P, x, x_stride, wide, count, sums);
        x += 4 * x_stride;
        sums += 4 * TL_PANEL;
        rows -= 4;
    }
    for (; rows > 0; rows--) {
        outer(1, P, x, x_stride, wide, count, sums);
        x += x_stride;
        sums += TL_PANEL;
    }
}

/* Weights stay in registers; column by column, as outer. */
INLINE void stream(tl_dtype dtype, const int R, const int P, const tl_product *p, int32_t row,
                   const panel_runs *at, float *y) {
    const int vectors = P * PARTS;
    const unsigned char *first = at->first;
    const unsigned char *values = first + (size_t)at->blocks * TL_PANEL * sizeof(uint16_t);
    const float *x = p->x + row * p->x_stride;
    vf acc[FEW_SUMS];
    UNROLL for (int i = 0; i < R * vectors; i++) acc[i] = v_zero();
    for (int32_t b = 0; b < at->blocks; b++, first += 2 * TL_PANEL) {
        vf scale[RUNS * PARTS], base[RUNS * PARTS];
        UNROLL for (int i = 0; i < vectors; i++) {
            const uint16_t *scales = (const uint16_t *)(first + (size_t)(i / PARTS) * at->apart);
            scale[i] = v_load_f16(scales + i % PARTS * VL);
            base[i] = scale_base(dtype, scale[i]);
        }
        fetch_next(dtype, R, P, at, b);
        UNROLL for (int upper = 0; upper < 2; upper++) {
            if (upper > 0 && dtype == TL_Q8) continue;
            UNROLL_GROUPS for (int g = 0; g < groups_of(dtype); g++, x += 4) {
                UNROLL for (int k = 0; k < 4 * vectors; k++) {
                    const int i = k % vectors;
                    const unsigned char *group = values + (size_t)(i / PARTS) * at->apart +
                                                 (g * TL_PANEL + i % PARTS * VL) * 4;
                    vf weight =
                        weight_of(dtype, group, k / vectors * 8 + upper * 4, scale[i], base[i]);
                    UNROLL for (int r = 0; r < R; r++) acc[r * vectors + i] = v_fma(
                        v_set(x[r * p->x_stride + k / vectors]), weight, acc[r * vectors + i]);
                }
            }
        }
        values += tl_block_bytes(dtype);
    }
    store_runs(R, P, p, at, acc, y);
}

/* Functions of their own, lest constants of the widening hold registers in the innermost loop. */
static __attribute__((noinline)) void outer_together(int32_t rows, const float *x, int64_t x_stride,
                                                     const float *wide, int32_t count,
                                                     float *sums) {
    outer_rows(TOGETHER, rows, x, x_stride, wide, count, sums);
}

static __attribute__((noinline)) void outer_alone(int32_t rows, const float *x, int64_t x_stride,
                                                  const float *wide, int32_t count, float *sums) {
    outer_rows(1, rows, x, x_stride, wide, count, sums);
}

/* Gathered panels, widened blocks, sums. */
static size_t exact_scratch(int32_t in) {
    return TOGETHER * tl_align(tl_panel_bytes(TL_Q8, in)) +
           sizeof(float) * (WIDE * SPAN * TL_BLOCK + TOGETHER * SUMS);
}

/* All rows against `panels` panels, TOGETHER at most, from output `out` on. */
INLINE void run_panels(tl_dtype dtype, const tl_product *p, int32_t out, int panels) {
    int32_t blocks = p->weight->in / TL_BLOCK;
    size_t each = tl_align(tl_panel_bytes(TL_Q8, p->weight->in));
    float *wide = (float *)((unsigned char *)p->scratch + TOGETHER * each);
    float *sums = wide + WIDE * SPAN * TL_BLOCK;
    panel from[TOGETHER];
    for (int i = 0; i < panels; i++)
        from[i] = find_panel(p, out + i * TL_PANEL, (unsigned char *)p->scratch + i * each);
    for (int32_t row = 0; row < p->rows; row += GROUP_ROWS) {
        int32_t rows = tl_min(GROUP_ROWS, p->rows - row);
        const float *x = p->x + row * p->x_stride;
        memset(sums, 0, sizeof(float) * TOGETHER * SUMS);
        for (int32_t b = 0; b < blocks; b += SPAN, x += SPAN * TL_BLOCK) {
            int32_t count = tl_min(SPAN, blocks - b);
            for (int i = 0; i < panels; i++)
                widen_blocks(dtype, &from[i], b, count, wide + i * TL_PANEL);
            if (panels == TOGETHER)
                outer_together(rows, x, p->x_stride, wide, count * TL_BLOCK, sums);
            else
                outer_alone(rows, x, p->x_stride, wide, count * TL_BLOCK, sums);
        }
        for (int i = 0; i < panels; i++)
            put_panel(p, row, rows, out + i * TL_PANEL, sums + i * SUMS);
    }
}

INLINE void run_exact(tl_dtype dtype, const tl_product *p) {
    for (int32_t out = run_few(dtype, p); out < p->outs; out += WIDE)
        run_panels(dtype, p, out, p->outs - out > TL_PANEL ? TOGETHER : 1);
}

static void run_q8(const tl_product *p) {
    run_exact(TL_Q8, p);
}

static void run_q4(const tl_product *p) {
    run_exact(TL_Q4, p);
}

const tl_product_path TL_NAME(tl_product_path_q8) = {
    .name = "q8", .run = run_q8, .scratch_bytes = exact_scratch};
const tl_product_path TL_NAME(tl_product_path_q4) = {
    .name = "q4", .run = run_q4, .scratch_bytes = exact_scratch};
