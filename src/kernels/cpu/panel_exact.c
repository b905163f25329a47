/* Exact products with packed q8 and q4 weights: these are scale × value, which f32 holds exactly;
 * each element sums its columns in order with FMA. */
#include "kernels/cpu/panel_few.h"

enum {
    TOGETHER = VL == 16 ? 2 : 1, /* panels whose sums stay in registers at a time */
    WIDE = TOGETHER * TL_PANEL,
    SPAN = 8 / TOGETHER, /* blocks widened at a time */
    GROUP_ROWS = 48,     /* rows whose sums are held beside the widened blocks */
    SUMS = GROUP_ROWS * TL_PANEL,
};

/* What weight_of takes of a scale. */
INLINE vf scale_base(tl_dtype dtype, vf scale) {
    return scale * v_set(-32768.0f - (dtype == TL_Q8 ? 128.0f : 8.0f));
}

/* scale × value of column k of a block, for the 16 outputs or part of them whose values of it begin
 * at `values`. A value's bits, put where they stand just before the point, make 2¹⁵ + value + bias;
 * scale × (2¹⁵ + bias) is exact in f32, so one FMA that rounds once gives the weight. */
INLINE vf weight_of(tl_dtype dtype, const unsigned char *values, int k, vf scale, vf base) {
    const int bits = dtype == TL_Q8 ? 8 : 4;
    const int group = dtype == TL_Q8 ? k / 4 : k / 4 % 4;
    const int at = k % 4 * 8 + (dtype == TL_Q4 ? k / 16 * 4 : 0);
    vi lanes = load_values(values + group * TL_PANEL * 4);
    if (V_FMA_ROUNDS_ONCE) {
        lanes = at > 8 ? lanes >> (at - 8) : lanes << (8 - at);
        lanes = (lanes & v_set_int(((1 << bits) - 1) << 8)) | v_set_int(0x47000000);
        return v_fma((vf)lanes, scale, base);
    }
    vf value = v_from_int((lanes >> at) & v_set_int((1 << bits) - 1));
    return (value - v_set(dtype == TL_Q8 ? 128.0f : 8.0f)) * scale;
}

/* wide[column][WIDE] = weights of `count` blocks of one panel. */
INLINE void widen_blocks(tl_dtype dtype, const panel *from, int32_t first, int32_t count,
                         float *wide) {
    for (int32_t b = 0; b < count; b++) {
        const uint16_t *scales = from->scales + (size_t)(first + b) * TL_PANEL;
        const unsigned char *block = from->values + (size_t)(first + b) * tl_block_bytes(dtype);
        for (int part = 0; part < PARTS; part++) {
            vf scale = v_load_f16(scales + part * VL), base = scale_base(dtype, scale);
            UNROLL for (int k = 0; k < TL_BLOCK; k++)
                v_store(wide + (size_t)(b * TL_BLOCK + k) * WIDE + part * VL,
                        weight_of(dtype, block + part * VL * 4, k, scale, base));
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
    for (int32_t b = 0; b < at->blocks; b++, first += 2 * TL_PANEL, x += TL_BLOCK) {
        vf scale[RUNS * PARTS], base[RUNS * PARTS];
        UNROLL for (int i = 0; i < vectors; i++) {
            const uint16_t *scales = (const uint16_t *)(first + (size_t)(i / PARTS) * at->apart);
            scale[i] = v_load_f16(scales + i % PARTS * VL);
            base[i] = scale_base(dtype, scale[i]);
        }
        fetch_next(dtype, R, P, at, b);
        UNROLL for (int k = 0; k < TL_BLOCK; k++) {
            UNROLL for (int i = 0; i < vectors; i++) {
                const unsigned char *of = values + (size_t)(i / PARTS) * at->apart;
                vf weight = weight_of(dtype, of + i % PARTS * VL * 4, k, scale[i], base[i]);
                UNROLL for (int r = 0; r < R; r++) acc[r * vectors + i] =
                    v_fma(v_set(x[r * p->x_stride + k]), weight, acc[r * vectors + i]);
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

const tl_path TL_NAME(tl_path_q8) = {.name = "q8", .run = run_q8, .scratch_bytes = exact_scratch};
const tl_path TL_NAME(tl_path_q4) = {.name = "q4", .run = run_q4, .scratch_bytes = exact_scratch};
