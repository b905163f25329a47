/* Exact products of many rows with row-major weights: VL rows of x run in the lanes, and each
 * weight, read from where the file was mapped (4 bytes never cross a cache line), serves them all.
 *
 * The order of every element is dot.c's, whose lanes are done here one after another: within each
 * 1024 columns, first the columns ≡ 0 in order with FMA, then those ≡ another lane …, and sums join
 * as soon as v_sum4's tree lets them. x is prepared so that it streams by in this order. */
#include "kernels/cpu/ahead.h"

enum {
    MOST_LEVELS = 4,   /* of the tree */
    X_AHEAD = 16 * VL, /* x comes from the L2 cache: so far ahead it is asked for */
    FETCHES = VL > 8,  /* shorter vectors would ask for each cache line several times */
};

static int32_t steps_of(int32_t columns) {
    return (columns + VL - 1) / VL;
}

/* Floats of one turn's columns of a prepared group: a vector each, and one more, lest turns lie
 * whole pages apart. */
static size_t turn_size(int32_t columns) {
    return (size_t)(steps_of(columns) + 1) * VL;
}

/* A prepared group of VL rows: for each 1024 columns [VL turns][columns / VL][VL rows]. */
static size_t block_size(int32_t columns) {
    return turn_size(columns) * VL;
}

static size_t group_size(int32_t in) {
    size_t size = (size_t)(in / TL_DOT_BLOCK) * block_size(TL_DOT_BLOCK);
    return in % TL_DOT_BLOCK ? size + block_size(in % TL_DOT_BLOCK) : size;
}

size_t TL_NAME(tl_many_group_bytes)(int32_t in) {
    return sizeof(float) * group_size(in);
}

void TL_NAME(tl_many_prepare)(const float *x, int64_t x_stride, int32_t rows, int32_t in,
                              void *group) {
    float *to = group;
    for (int32_t first = 0; first < in; first += TL_DOT_BLOCK) {
        int32_t count = tl_min(in - first, TL_DOT_BLOCK);
        size_t turn = turn_size(count);
        for (int32_t k = 0; k < count; k += VL, to += VL) {
            int n = tl_min(VL, count - k);
            const float *from = x + first + k;
            vf block[VL];
            for (int r = 0; r < VL; r++)
                block[r] = r >= rows ? v_zero()
                           : n == VL ? v_load(from + r * x_stride)
                                     : v_load_n(from + r * x_stride, n);
            v_transpose(block);
            for (int i = 0; i < VL; i++)
                v_store(to + (size_t)i * turn, block[v_turn(i)]);
        }
        to += block_size(count) - (size_t)steps_of(count) * VL;
    }
}

/* A tile: LANE_OUTS outputs × G groups of rows over a block of columns. */
typedef struct tile_part {
    const float *x;    /* the first group's block */
    size_t group;      /* floats from group to group */
    const float *next; /* a group's block that will be wanted in the cache */
    const float *w[LANE_OUTS];
    int32_t count;
    bool add;
    float *totals; /* [LANE_OUTS][G][VL] */
    int64_t totals_stride;
    ahead *ahead; /* a step in each turn */
} tile_part;

INLINE void tile(const int G, const tile_part *p) {
    vf kept[MOST_LEVELS][LANE_OUTS][LANE_GROUPS];
    int32_t steps = steps_of(p->count), tail = p->count % VL;
    size_t turn = turn_size(p->count), group = p->group;
    for (int i = 0; i < VL; i++) {
        int lane = v_turn(i);
        const float *x = p->x + (size_t)i * turn, *next = p->next + (size_t)i * turn;
        bool shorter = tail && lane >= tail;
        const float *w[LANE_OUTS];
        vf acc[LANE_OUTS][LANE_GROUPS];
        UNROLL for (int o = 0; o < LANE_OUTS; o++) {
            w[o] = p->w[o] + lane;
            UNROLL for (int g = 0; g < G; g++) acc[o][g] = v_zero();
        }
        fetch(p->ahead);
        int32_t end = (steps - shorter) * VL;
        for (int32_t k = 0; k < end; k += VL) {
            vf value[LANE_GROUPS];
            if (FETCHES) __builtin_prefetch(next + k, 0, 2);
            UNROLL for (int g = 0; g < G; g++) {
                value[g] = v_load(x + (size_t)g * group + k);
                if (FETCHES) __builtin_prefetch(x + (size_t)g * group + k + X_AHEAD, 0, 3);
            }
            UNROLL for (int o = 0; o < LANE_OUTS; o++) {
                vf weight = v_set(w[o][k]);
                UNROLL for (int g = 0; g < G; g++) acc[o][g] = v_fma(value[g], weight, acc[o][g]);
            }
        }
        if (shorter) { /* as the dot form, which has zeros there */
            UNROLL for (int o = 0; o < LANE_OUTS; o++) {
                UNROLL for (int g = 0; g < G; g++) acc[o][g] = v_fma(v_zero(), v_zero(), acc[o][g]);
            }
        }
        int level = 0;
        for (int joined = i; joined & 1; joined >>= 1, level++) {
            UNROLL for (int o = 0; o < LANE_OUTS; o++) {
                UNROLL for (int g = 0; g < G; g++) acc[o][g] = kept[level][o][g] + acc[o][g];
            }
        }
        if (i < VL - 1) {
            UNROLL for (int o = 0; o < LANE_OUTS; o++) {
                UNROLL for (int g = 0; g < G; g++) kept[level][o][g] = acc[o][g];
            }
            continue;
        }
        UNROLL for (int o = 0; o < LANE_OUTS; o++) {
            UNROLL for (int g = 0; g < G; g++) {
                float *to = p->totals + o * p->totals_stride + g * VL;
                vf total = acc[o][g];
                if (p->add) total = v_load(to) + total;
                v_store(to, total);
            }
        }
    }
}

static void run_tile(int groups, const tile_part *part) {
    switch (groups) {
    case 1:
        tile(1, part);
        break;
    case 2:
        tile(2, part);
        break;
    default:
        tile(3, part);
        break;
    }
}

/* The memory of a chunk: its sums [outs][rows], and the weights of a tile as f32. */
enum { TOTALS = TL_CHUNK_OUTS * TL_CHUNK_ROWS, WIDE = LANE_OUTS * TL_DOT_BLOCK };

size_t TL_NAME(tl_many_scratch_bytes)(int32_t in) {
    (void)in;
    return sizeof(float) * (TOTALS + WIDE);
}

/* The weights of a tile; past the last output, its own again. */
static void place_weights(const tl_product *p, int32_t out, int32_t k, tile_part *part) {
    for (int32_t o = 0; o < LANE_OUTS; o++) {
        int32_t row = p->first_out + tl_min(out + o, p->outs - 1);
        const char *w = tl_matrix_row(p->weight, row);
        if (p->weight->dtype == TL_F32) {
            part->w[o] = (const float *)w + k;
            continue;
        }
        float *wide = (float *)p->scratch + TOTALS + o * TL_DOT_BLOCK;
        TL_NAME(tl_widen_run)
        (w + (size_t)k * sizeof(uint16_t), p->weight->dtype, (size_t)part->count, wide);
        part->w[o] = wide;
    }
}

/* totals [outs][rows] → y [rows, outs] */
static void put(const tl_product *p, int32_t groups) {
    for (int32_t out = 0; out < p->outs; out += VL) {
        for (int32_t row = 0; row < p->rows; row += VL) {
            const float *from = (float *)p->scratch + out * groups * VL + row;
            vf block[VL];
            for (int i = 0; i < VL; i++)
                block[i] = v_load(from + i * groups * VL);
            v_transpose(block);
            for (int r = 0; r < tl_min(VL, p->rows - row); r++)
                v_store(p->y + (row + r) * p->y_stride + out, block[r]);
        }
    }
}

void TL_NAME(tl_many_run)(const tl_product *p) {
    int32_t in = p->weight->in, groups = (p->rows + VL - 1) / VL;
    int32_t sets = (groups + LANE_GROUPS - 1) / LANE_GROUPS;
    int32_t blocks = (in + TL_DOT_BLOCK - 1) / TL_DOT_BLOCK;
    size_t tiles = (size_t)((p->outs + LANE_OUTS - 1) / LANE_OUTS) * (size_t)(blocks * sets);
    ahead next = spread_ahead(p, tiles * VL);
    tile_part part = {
        .group = group_size(in), .totals_stride = (int64_t)groups * VL, .ahead = &next};
    const float *x = (const float *)p->prepared + (size_t)(p->first_row / VL) * part.group;
    for (int32_t k = 0; k < in; k += TL_DOT_BLOCK, x += block_size(TL_DOT_BLOCK)) {
        part.count = tl_min(in - k, TL_DOT_BLOCK);
        part.add = k > 0;
        for (int32_t out = 0; out < p->outs; out += LANE_OUTS) {
            place_weights(p, out, k, &part);
            for (int32_t set = 0; set < sets; set++) {
                int32_t first = groups * set / sets, end = groups * (set + 1) / sets;
                part.x = x + (size_t)first * part.group;
                part.next = part.x;
                int32_t wanted = first + (out - p->outs) / LANE_OUTS + LANE_GROUPS;
                if (k + TL_DOT_BLOCK < in && wanted >= first && wanted < end)
                    part.next = x + block_size(TL_DOT_BLOCK) + (size_t)wanted * part.group;
                part.totals = (float *)p->scratch + out * part.totals_stride + first * VL;
                run_tile(end - first, &part);
            }
        }
    }
    put(p, groups);
}
