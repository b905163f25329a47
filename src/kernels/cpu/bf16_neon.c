/* Fast products with bf16 and f16 weights on NEON's bfmmla, which multiplies two rows with two
 * outputs over four columns: x is rounded to bf16 beforehand, f16 weights on the way. One row is
 * half of such a product, the other half unused.
 *
 * The order of every element: within each 1024 columns, fours in order as bfmmla adds them, then
 * these sums in order. */
#include "kernels/cpu/functions.h"

#if defined(V_HAS_BFMMLA)

enum {
    OUTS = 8,  /* of a tile */
    PAIRS = 4, /* of rows of a tile, at most */
    STEP = 8,  /* columns */
    BLOCK = 1024,
    SIDE = 2 * PAIRS, /* rows prepared together; so few do not pay for staging the weights */
};

typedef bfloat16x8_t vb; /* two rows or outputs by four columns */

INLINE int32_t padded(int32_t in) {
    return (in + STEP - 1) / STEP * STEP;
}

/* Prepared rows: [columns / 4][4 pairs][2 rows][4], zeros to the end of the last step. */
static size_t group_bytes(int32_t in) {
    return sizeof(uint16_t) * SIDE * (size_t)padded(in);
}

INLINE vb narrow(vf low, vf high) {
    return vcvtq_high_bf16_f32(vcvtq_low_bf16_f32(low), high);
}

/* Eight columns of two rows → twice four columns of both. */
INLINE void interleave(vb a, vb b, vb to[2]) {
    uint64x2_t even = vreinterpretq_u64_bf16(a), odd = vreinterpretq_u64_bf16(b);
    to[0] = vreinterpretq_bf16_u64(vzip1q_u64(even, odd));
    to[1] = vreinterpretq_bf16_u64(vzip2q_u64(even, odd));
}

INLINE vb load_x(const float *x, int32_t left) {
    if (left >= STEP) return narrow(v_load(x), v_load(x + VL));
    float lanes[STEP] = {0};
    memcpy(lanes, x, (size_t)left * sizeof *x);
    return narrow(v_load(lanes), v_load(lanes + VL));
}

/* A second row that is not there is zeros; pairs that are not there stay as they are. */
static void prepare(const float *x, int64_t x_stride, int32_t rows, int32_t in, void *group) {
    const vb none = narrow(v_zero(), v_zero());
    for (int32_t row = 0; row < rows; row += 2) {
        const float *from = x + row * x_stride;
        uint16_t *to = (uint16_t *)group + row * 4;
        for (int32_t k = 0; k < in; k += STEP, to += SIDE * STEP) {
            vb second = none, both[2];
            if (row + 1 < rows) second = load_x(from + x_stride + k, in - k);
            interleave(load_x(from + k, in - k), second, both);
            memcpy(to, &both[0], sizeof *both);
            memcpy(to + SIDE * 4, &both[1], sizeof *both);
        }
    }
}

/* ---- weights ---- */

INLINE vb load_weight(tl_dtype dtype, const uint16_t *p) {
    if (dtype == TL_F16) return narrow(v_load_f16(p), v_load_f16(p + VL));
    return vreinterpretq_bf16_u16(vld1q_u16(p));
}

INLINE vb load_weight_n(tl_dtype dtype, const uint16_t *p, int32_t n) {
    if (n >= STEP) return load_weight(dtype, p);
    uint16_t lanes[STEP] = {0};
    memcpy(lanes, p, (size_t)n * sizeof *p);
    return load_weight(dtype, lanes);
}

/* The weights of a tile: rows that lie anywhere, or staged, [columns / 4][4 pairs of outputs][8].
 */
typedef struct tile_weights {
    const uint16_t *rows[OUTS];
    const uint16_t *staged;
} tile_weights;

/* Eight columns, of which n are there. */
INLINE void load_weights(tl_dtype dtype, const tile_weights *w, int32_t k, int32_t n,
                         vb to[2][OUTS / 2]) {
    UNROLL for (int i = 0; i < OUTS / 2; i++) {
        vb both[2];
        interleave(load_weight_n(dtype, w->rows[2 * i] + k, n),
                   load_weight_n(dtype, w->rows[2 * i + 1] + k, n), both);
        to[0][i] = both[0];
        to[1][i] = both[1];
    }
}

/* Every eighth output starts a tile; beyond the last it is repeated. */
static tile_weights find_weights(const tl_product *p, int32_t out, int32_t k) {
    tile_weights w = {.staged = NULL};
    for (int i = 0; i < OUTS; i++) {
        int32_t at = tl_min(out + i, p->outs - 1);
        const uint16_t *row =
            tl_matrix_row(p->weight, p->columns ? p->columns[at] : p->first_out + at);
        w.rows[i] = row + k;
    }
    return w;
}

INLINE void stage(tl_dtype dtype, tile_weights *w, int32_t count, uint16_t *to) {
    w->staged = to;
    for (int32_t k = 0; k < count; k += STEP, to += OUTS * STEP) {
        vb step[2][OUTS / 2];
        load_weights(dtype, w, k, count - k, step);
        memcpy(to, step, sizeof step);
    }
}

/* ---- tiles ---- */

/* Four columns more. */
INLINE void add_four(const int P, const vb weight[OUTS / 2], const uint16_t *x,
                     vf acc[PAIRS][OUTS / 2]) {
    UNROLL for (int pair = 0; pair < P; pair++) {
        vb value = vreinterpretq_bf16_u16(vld1q_u16(x + 8 * pair));
        UNROLL for (int i = 0; i < OUTS / 2; i++) acc[pair][i] =
            vbfmmlaq_f32(acc[pair][i], value, weight[i]);
    }
    /* The compiler would load ahead, and then move sums from register to register. */
    __asm__ volatile("" : : : "memory");
}

INLINE void put(float *y, vf sums, bool add) {
    v_store(y, add ? v_load(y) + sums : sums);
}

/* y[r][o] (+)= Σ over `count` columns of x[r] · w[o] for `rows` rows in P pairs. */
INLINE void tile(const int P, bool staged, tl_dtype dtype, const tile_weights *w, const uint16_t *x,
                 int32_t rows, int32_t count, bool add, float *y, int64_t y_stride) {
    vf acc[PAIRS][OUTS / 2];
    UNROLL for (int i = 0; i < P * OUTS / 2; i++) acc[i / (OUTS / 2)][i % (OUTS / 2)] = v_zero();
    if (staged) {
        const uint16_t *from = w->staged, *end = from + OUTS * padded(count);
        for (; from < end; from += OUTS * 4, x += SIDE * 4) {
            vb weight[OUTS / 2];
            UNROLL for (int i = 0; i < OUTS / 2; i++) weight[i] =
                vreinterpretq_bf16_u16(vld1q_u16(from + i * 8));
            add_four(P, weight, x, acc);
        }
    } else {
        vb weight[2][OUTS / 2];
        int32_t k = 0;
        for (; k + STEP <= count; k += STEP, x += SIDE * STEP) {
            load_weights(dtype, w, k, STEP, weight);
            add_four(P, weight[0], x, acc);
            add_four(P, weight[1], x + SIDE * 4, acc);
        }
        if (k < count) {
            load_weights(dtype, w, k, count - k, weight);
            add_four(P, weight[0], x, acc);
            add_four(P, weight[1], x + SIDE * 4, acc);
        }
    }
    UNROLL for (int pair = 0; pair < P; pair++) {
        UNROLL for (int i = 0; i < OUTS / 2; i += 2) {
            vf even = acc[pair][i], odd = acc[pair][i + 1];
            float *to = y + 2 * pair * y_stride + 2 * i;
            put(to, vcombine_f32(vget_low_f32(even), vget_low_f32(odd)), add);
            if (2 * pair + 1 < rows)
                put(to + y_stride, vcombine_f32(vget_high_f32(even), vget_high_f32(odd)), add);
        }
    }
}

INLINE void run_tile(bool staged, tl_dtype dtype, const tile_weights *w, const uint16_t *x,
                     int32_t rows, int32_t count, bool add, float *y, int64_t y_stride) {
    switch ((rows + 1) / 2) {
    case 1:
        tile(1, staged, dtype, w, x, rows, count, add, y, y_stride);
        break;
    case 2:
        tile(2, staged, dtype, w, x, rows, count, add, y, y_stride);
        break;
    case 3:
        tile(3, staged, dtype, w, x, rows, count, add, y, y_stride);
        break;
    case 4:
        tile(4, staged, dtype, w, x, rows, count, add, y, y_stride);
        break;
    default:
        break;
    }
}

/* All rows against eight outputs, `count` columns from k on. */
INLINE void run_outs(tl_dtype dtype, const tl_product *p, int32_t out, int32_t k, int32_t count) {
    tile_weights w = find_weights(p, out, k);
    bool staged = p->rows > SIDE;
    if (staged) stage(dtype, &w, count, p->scratch);
    size_t group = group_bytes(p->weight->in) / sizeof(uint16_t);
    const uint16_t *x =
        (const uint16_t *)p->prepared + (size_t)(p->first_row / SIDE) * group + SIDE * k;
    for (int32_t row = 0; row < p->rows; row += SIDE, x += group) {
        float *y = p->y + row * p->y_stride + out;
        int32_t rows = tl_min(SIDE, p->rows - row);
        if (staged)
            run_tile(true, dtype, &w, x, rows, count, k > 0, y, p->y_stride);
        else
            run_tile(false, dtype, &w, x, rows, count, k > 0, y, p->y_stride);
    }
}

static void run(const tl_product *p) {
    for (int32_t k = 0; k < p->weight->in; k += BLOCK) {
        int32_t count = tl_min(BLOCK, p->weight->in - k);
        for (int32_t out = 0; out < p->outs; out += OUTS) {
            if (p->weight->dtype == TL_F16)
                run_outs(TL_F16, p, out, k, count);
            else
                run_outs(TL_BF16, p, out, k, count);
        }
    }
}

static size_t scratch_bytes(int32_t in) {
    (void)in;
    return sizeof(uint16_t) * OUTS * BLOCK;
}

const tl_product_path TL_NAME(tl_product_path_bf16_fast) = {.name = "bf16 matrix",
                                                            .run = run,
                                                            .scratch_bytes = scratch_bytes,
                                                            .group_bytes = group_bytes,
                                                            .prepare = prepare,
                                                            .prepare_rows = SIDE};

#endif
