/* Attention of one key-value head for some queries of one span, all query heads that share the keys
 * at once.
 *
 * The order of every element: a score sums the head's dims in order; a row's maximum is exact; its
 * exponentials are summed in lanes that key positions fix; an output sums the keys in order. A key
 * that a query must not see takes no part at all. */
#include "kernels/cpu/functions.h"
#include "kernels/cpu/math.h"

#include <math.h>

enum {
    PARTS = 4, /* vectors in a tile of keys */
    TILE_KEYS = PARTS * VL,
    MOST_ROWS = 6,
    AHEAD = 16, /* keys, whose rows lie apart: the processor does not foresee them */
};

/* Asks for n floats of the store's row of a key. */
INLINE void fetch_key(const float *store, int64_t stride, const int32_t *slots, int32_t key,
                      int n) {
    for (int i = 0; i < n; i += 16)
        __builtin_prefetch(store + slots[key] * stride + i, 0, 3);
}

/* One query of one head. */
typedef struct query_row {
    const float *q;
    float *out;
    float *scores; /* by key position - base */
    int32_t head, position;
    int32_t first, end; /* the keys it sees */
    float factor;       /* 1 / Σ exp */
} query_row;

typedef struct work {
    const tl_attention *op;
    const int32_t *slots;
    const float *k, *v; /* this head's columns of the stores */
    int32_t keys;
    int32_t base; /* position of the first score held; a multiple of TILE_KEYS */
    query_row *rows;
    int32_t n_rows;
    float *tile; /* [head_dim][TILE_KEYS] */
} work;

INLINE int32_t round_up(int32_t n) {
    return (n + TILE_KEYS - 1) / TILE_KEYS * TILE_KEYS;
}

/* tile[d][key] = k[slot of first + key][d], zero beyond the last key in its vector. */
static void gather(const work *w, int32_t first) {
    int32_t dim = w->op->head_dim;
    for (int32_t part = 0; part < TILE_KEYS && first + part < w->keys; part += VL) {
        const float *keys[VL];
        int32_t count = tl_min(VL, w->keys - first - part);
        for (int i = 0; i < VL; i++)
            keys[i] = i < count ? w->k + w->slots[first + part + i] * w->op->kv_stride : NULL;
        int32_t next = first + part + TILE_KEYS;
        for (int32_t key = next; key < tl_min(next + VL, w->keys); key++)
            fetch_key(w->k, w->op->kv_stride, w->slots, key, dim);
        int32_t d = 0;
        for (; d + VL <= dim; d += VL) {
            vf block[VL];
            for (int i = 0; i < VL; i++)
                block[i] = i < count ? v_load(keys[i] + d) : v_zero();
            v_transpose(block);
            for (int i = 0; i < VL; i++)
                v_store(w->tile + (d + i) * TILE_KEYS + part, block[i]);
        }
        for (; d < dim; d++) {
            for (int i = 0; i < VL; i++)
                w->tile[d * TILE_KEYS + part + i] = i < count ? keys[i][d] : 0.0f;
        }
    }
}

/* Scores of R rows against P vectors of the tile whose first key is at `first`. */
INLINE void score_part(const int R, const int P, const work *w, const query_row *rows,
                       int32_t first) {
    int32_t dim = w->op->head_dim;
    vf acc[MOST_ROWS][PARTS];
    UNROLL for (int r = 0; r < R; r++) {
        UNROLL for (int i = 0; i < P; i++) acc[r][i] = v_zero();
    }
    for (int32_t d = 0; d < dim; d++) {
        vf key[PARTS];
        UNROLL for (int i = 0; i < P; i++) key[i] = v_load(w->tile + d * TILE_KEYS + i * VL);
        UNROLL for (int r = 0; r < R; r++) {
            vf value = v_set(rows[r].q[d]);
            UNROLL for (int i = 0; i < P; i++) acc[r][i] = v_fma(value, key[i], acc[r][i]);
        }
    }
    vf scale = v_set(w->op->scale);
    UNROLL for (int r = 0; r < R; r++) {
        UNROLL for (int i = 0; i < P; i++)
            v_store(rows[r].scores + (first - w->base) + i * VL, acc[r][i] * scale);
    }
}

/* Half of a tile where none of the rows sees the other half: the last of them sees most. */
INLINE void score_rows(const int R, const work *w, const query_row *rows, int32_t first) {
    if (rows[R - 1].end - first > TILE_KEYS / 2)
        score_part(R, PARTS, w, rows, first);
    else
        score_part(R, PARTS / 2, w, rows, first);
}

static void score_tile(const work *w, int32_t first) {
    for (int32_t i = 0; i < w->n_rows;) {
        const query_row *rows = w->rows + i;
        int32_t left = w->n_rows - i;
        if (rows[0].end <= first) { /* rows are in order of position: not seen by this one */
            i++;
        } else if (TILE_ROWS >= 6 && left >= 6) {
            score_rows(6, w, rows, first);
            i += 6;
        } else if (left >= 3) {
            score_rows(3, w, rows, first);
            i += 3;
        } else {
            score_rows(1, w, rows, first);
            i++;
        }
    }
}

static void add_bias(const work *w, const query_row *row) {
    const tl_attention *op = w->op;
    if (op->alibi_slopes) {
        vf slope = v_set(op->alibi_slopes[row->head]);
        for (int32_t key = row->first / VL * VL; key < row->end; key += VL) {
            float *s = row->scores + (key - w->base);
            vf position = v_from_int(v_iota() + v_set_int(key));
            v_store(s, v_load(s) + slope * position);
        }
    }
    if (op->relative_bias) {
        const float *bias = op->relative_bias + row->head * op->relative_stride +
                            op->relative_center - row->position;
        for (int32_t key = row->first; key < row->end; key++)
            row->scores[key - w->base] += bias[key];
    }
}

/* Scores → exp(score - maximum), and the sum's inverse, for R rows side by side: each is a chain of
 * instructions that wait for one another. Where a row does not see what another does, it gets
 * zeros, which change no sum. */
INLINE void softmax(const int R, const work *w, query_row *rows) {
    int32_t from = rows[0].first, to = rows[0].end, all_from = from, all_to = to;
    UNROLL for (int r = 0; r < R; r++) {
        add_bias(w, &rows[r]);
        from = tl_min(from, rows[r].first);
        to = tl_max(to, rows[r].end);
        all_from = tl_max(all_from, rows[r].first);
        all_to = tl_min(all_to, rows[r].end);
    }
    from = from / VL * VL;
    vf lowest = v_set(-INFINITY), most[4], total[4];
    UNROLL for (int r = 0; r < R; r++) {
        most[r] = lowest;
        total[r] = v_zero();
    }
    for (int32_t key = from; key < to; key += VL) {
        vi position = v_iota() + v_set_int(key);
        bool whole = key >= all_from && key + VL <= all_to;
        UNROLL for (int r = 0; r < R; r++) {
            float *s = rows[r].scores + (key - w->base);
            vf score = v_load(s);
            if (!whole) {
                vi seen =
                    (position >= v_set_int(rows[r].first)) & (position < v_set_int(rows[r].end));
                score = v_select(seen, score, lowest);
                v_store(s, score);
            }
            most[r] = v_max(score, most[r]);
        }
    }
    UNROLL for (int r = 0; r < R; r++) most[r] = v_set(v_largest(most[r]));
    for (int32_t key = from; key < to; key += VL) {
        UNROLL for (int r = 0; r < R; r++) {
            float *s = rows[r].scores + (key - w->base);
            vf e = v_exp_weight(v_load(s) - most[r]);
            v_store(s, e);
            total[r] = total[r] + e;
        }
    }
    UNROLL for (int r = 0; r < R; r++) rows[r].factor = 1.0f / v_sum(total[r]);
}

/* Whether the next n rows see keys at all. */
static bool all_see(const work *w, int32_t from, int n) {
    if (from + n > w->n_rows) return false;
    for (int i = 0; i < n; i++)
        if (w->rows[from + i].first >= w->rows[from + i].end) return false;
    return true;
}

static void softmax_all(const work *w) {
    for (int32_t i = 0; i < w->n_rows;) {
        if (all_see(w, i, 4)) {
            softmax(4, w, w->rows + i);
            i += 4;
        } else if (all_see(w, i, 2)) {
            softmax(2, w, w->rows + i);
            i += 2;
        } else {
            if (all_see(w, i, 1)) softmax(1, w, w->rows + i);
            i++;
        }
    }
}

/* out[r][d] += Σ p[r][key] v[key][d] over keys first … end, for R rows and N vectors of dims. */
INLINE void mix(const int R, const int N, const work *w, const query_row *rows, int32_t d, int n,
                int32_t first, int32_t end) {
    vf acc[MOST_ROWS][4];
    UNROLL for (int r = 0; r < R; r++) {
        UNROLL for (int i = 0; i < N; i++) acc[r][i] =
            n == VL ? v_load(rows[r].out + d + i * VL) : v_load_n(rows[r].out + d, n);
    }
    for (int32_t key = first; key < end; key++) {
        const float *value = w->v + w->slots[key] * w->op->kv_stride + d;
        fetch_key(w->v + d, w->op->kv_stride, w->slots, tl_min(key + AHEAD, end - 1), N * VL);
        vf column[4];
        UNROLL for (int i = 0; i < N; i++) column[i] =
            n == VL ? v_load(value + i * VL) : v_load_n(value, n);
        UNROLL for (int r = 0; r < R; r++) {
            vf p = v_set(rows[r].scores[key - w->base]);
            UNROLL for (int i = 0; i < N; i++) acc[r][i] = v_fma(p, column[i], acc[r][i]);
        }
    }
    UNROLL for (int r = 0; r < R; r++) {
        UNROLL for (int i = 0; i < N; i++) {
            if (n == VL)
                v_store(rows[r].out + d + i * VL, acc[r][i]);
            else
                v_store_n(rows[r].out + d, acc[r][i], n);
        }
    }
}

INLINE void mix_dims(const int R, const work *w, const query_row *rows, int32_t first,
                     int32_t end) {
    int32_t dim = w->op->head_dim, d = 0;
    for (; d + 4 * VL <= dim; d += 4 * VL)
        mix(R, 4, w, rows, d, VL, first, end);
    for (; d + VL <= dim; d += VL)
        mix(R, 1, w, rows, d, VL, first, end);
    if (d < dim) mix(R, 1, w, rows, d, dim - d, first, end);
}

/* Rows that see different keys share the ones that all of them see; the others come before and
 * after, row by row, so that each row has its keys in order. */
INLINE void mix_rows(const int R, const work *w, const query_row *rows) {
    int32_t first = rows[0].first, end = rows[0].end;
    for (int r = 1; r < R; r++) {
        first = tl_max(first, rows[r].first);
        end = tl_min(end, rows[r].end);
    }
    if (end <= first) {
        for (int r = 0; r < R; r++)
            mix_dims(1, w, rows + r, rows[r].first, rows[r].end);
        return;
    }
    for (int r = 0; r < R; r++)
        if (rows[r].first < first) mix_dims(1, w, rows + r, rows[r].first, first);
    mix_dims(R, w, rows, first, end);
    for (int r = 0; r < R; r++)
        if (rows[r].end > end) mix_dims(1, w, rows + r, end, rows[r].end);
}

static void mix_all(const work *w) {
    int32_t i = 0;
    if (TILE_ROWS >= 6) {
        for (; i + 6 <= w->n_rows; i += 6)
            mix_rows(6, w, w->rows + i);
    }
    for (; i + 3 <= w->n_rows; i += 3)
        mix_rows(3, w, w->rows + i);
    for (; i < w->n_rows; i++)
        mix_rows(1, w, w->rows + i);
}

static void scale_out(const work *w, const query_row *row) {
    vf factor = v_set(row->factor);
    for (int32_t d = 0; d < w->op->head_dim; d += VL) {
        int n = tl_min(VL, w->op->head_dim - d);
        v_store_n(row->out + d, v_load_n(row->out + d, n) * factor, n);
    }
}

void TL_NAME(tl_attend_part)(const tl_attend *attend) {
    const tl_attention *op = attend->op;
    const tl_attention_span *span = attend->span;
    int32_t dim = op->head_dim, n_rows = attend->queries * attend->heads;
    query_row rows[64];
    int32_t first_key = span->keys, end_key = 0;
    for (int32_t i = 0; i < n_rows; i++) {
        int32_t query = attend->first_query + i / attend->heads;
        int32_t head = attend->first_head + i % attend->heads;
        int32_t position = span->first_position + query;
        int64_t row = span->first_row + query;
        int32_t end = op->causal ? tl_min(span->keys, position + 1) : span->keys;
        int32_t first = op->causal && op->window > 0 ? tl_max(0, position + 1 - op->window) : 0;
        rows[i] = (query_row){.q = op->q + row * op->q_stride + (int64_t)head * dim,
                              .out = op->out + row * op->out_stride + (int64_t)head * dim,
                              .head = head,
                              .position = position,
                              .first = tl_min(first, end),
                              .end = end};
        first_key = tl_min(first_key, rows[i].first);
        end_key = tl_max(end_key, end);
    }
    work w = {.op = op,
              .slots = span->slots,
              .k = op->k + (int64_t)attend->kv_head * dim,
              .v = op->v + (int64_t)attend->kv_head * dim,
              .keys = end_key,
              .base = first_key / TILE_KEYS * TILE_KEYS,
              .rows = rows,
              .n_rows = n_rows,
              .tile = attend->scratch};
    float *scores = w.tile + (size_t)dim * TILE_KEYS;
    for (int32_t i = 0; i < n_rows; i++)
        rows[i].scores = scores + (size_t)i * (size_t)round_up(end_key - w.base);
    for (int32_t key = w.base; key < end_key; key += TILE_KEYS) {
        gather(&w, key);
        score_tile(&w, key);
    }
    for (int32_t i = 0; i < n_rows; i++)
        memset(rows[i].out, 0, sizeof(float) * (size_t)dim);
    softmax_all(&w);
    mix_all(&w);
    for (int32_t i = 0; i < n_rows; i++)
        scale_out(&w, &rows[i]);
}
