/* Attention: softmax(scale · q kᵀ + bias) v with a running maximum (Milakov and Gimelshein 2018),
 * over tiles of 32 keys at fixed places of the sequence. A tile that a query sees nothing of leaves
 * its state alone, so a row's bits depend only on its query and its keys in order. */
#include "kernels/cuda/dialect.h"

enum {
    WARPS = TL_CUDA_ATTEND_THREADS / 32,
    WARP_ITEMS = TL_CUDA_ITEMS / WARPS,
    PARTS = TL_CUDA_MOST_HEAD_DIM / 32, /* dims of a lane: lane, lane + 32, … */
};

/* A query of one head. */
typedef struct item_state {
    int32_t first, end; /* the keys it sees */
    float most, sum;
    float mix[PARTS];
} item_state;

TL_INLINE int32_t smaller(int32_t x, int32_t y) {
    return x < y ? x : y;
}

TL_INLINE int32_t larger(int32_t x, int32_t y) {
    return x > y ? x : y;
}

/* The keys [first, end) that the query at `position` sees. */
TL_INLINE void seen_keys(const tl_cuda_attention *a, int32_t keys, int32_t position, int32_t *first,
                         int32_t *end) {
    *end = a->causal ? smaller(keys, position + 1) : keys;
    *first = a->causal && a->window > 0 ? larger(0, position + 1 - a->window) : 0;
}

/* Rows of the store to shared memory, with `gap` floats between them; zero from `end` on. */
TL_INLINE void gather(const float *store, int64_t stride, const int32_t *slots, int32_t base,
                      int32_t end, int dim, int gap, float *shared) {
    for (int i = (int)threadIdx.x; i < TL_CUDA_TILE * dim; i += TL_CUDA_ATTEND_THREADS) {
        int key = i / dim, d = i % dim;
        shared[key * (dim + gap) + d] =
            base + key < end ? store[slots[base + key] * stride + d] : 0;
    }
}

/* Takes the tile at `base` into the states of the warp's items. Lane = key for the scores, lane =
 * dim for the mix; `weights` [32][4] hands the one to the other. */
TL_INLINE void take_tile(const tl_cuda_attention *a, const tl_cuda_piece *piece, int32_t base,
                         const float *queries, const float *keys, const float *values,
                         float *weights, item_state *items) {
    int dim = a->head_dim, lane = (int)threadIdx.x % 32, warp = (int)threadIdx.x / 32;
    int group = a->heads / a->kv_heads;
    float score[WARP_ITEMS];
    TL_UNROLL for (int r = 0; r < WARP_ITEMS; r++) score[r] = 0;
    for (int d = 0; d < dim; d++) {
        float key = keys[lane * (dim + 1) + d];
        TL_UNROLL for (int r = 0; r < WARP_ITEMS; r++) score[r] =
            fmaf(queries[(warp * WARP_ITEMS + r) * dim + d], key, score[r]);
    }
    TL_UNROLL for (int r = 0; r < WARP_ITEMS; r++) {
        item_state *s = &items[r];
        if (s->end <= base) { /* it sees nothing here; the same for the whole warp */
            score[r] = 0;
            continue;
        }
        int item = piece->first_item + warp * WARP_ITEMS + r, key = base + lane;
        int head = (int)blockIdx.y * group + item % group;
        int position = piece->first_position + item / group;
        bool seen = key >= s->first && key < s->end;
        float value = score[r] * a->scale;
        if (a->alibi_slopes) value += a->alibi_slopes[head] * (float)key;
        if (a->relative_bias && seen)
            value +=
                a->relative_bias[head * a->relative_stride + key - position + a->relative_center];
        float most = tl_warp_max(seen ? value : -INFINITY);
        if (most == -INFINITY) {
            score[r] = 0;
            continue;
        }
        most = fmaxf(most, s->most);
        float correction = expf(s->most - most);
        score[r] = seen ? expf(value - most) : 0;
        s->sum = s->sum * correction + tl_warp_sum(score[r]);
        s->most = most;
        TL_UNROLL for (int part = 0; part < PARTS; part++) s->mix[part] *= correction;
    }
    TL_UNROLL for (int r = 0; r < WARP_ITEMS; r++) weights[lane * WARP_ITEMS + r] = score[r];
    __syncwarp();
    for (int key = 0; key < TL_CUDA_TILE; key++) {
        float4 four = *(const float4 *)(weights + key * WARP_ITEMS);
        float weight[WARP_ITEMS] = {four.x, four.y, four.z, four.w};
        TL_UNROLL for (int part = 0; part < PARTS; part++) {
            int d = part * 32 + lane;
            if (d >= dim) continue;
            float value = values[key * dim + d];
            TL_UNROLL for (int r = 0; r < WARP_ITEMS; r++) items[r].mix[part] =
                fmaf(weight[r], value, items[r].mix[part]);
        }
    }
}

TL_INLINE void store_item(const tl_cuda_attention *a, const tl_cuda_piece *piece, int item,
                          const item_state *s) {
    int dim = a->head_dim, lane = (int)threadIdx.x % 32, group = a->heads / a->kv_heads;
    int query = item / group, head = (int)blockIdx.y * group + item % group;
    float *to, divisor = 1;
    if (piece->partial < 0) {
        to = a->out + (piece->first_row + query) * a->out_stride + (int64_t)head * dim;
        divisor = s->sum;
    } else {
        int64_t at = piece->partial + (int64_t)query * piece->chunks + piece->chunk;
        to = a->partials + (at * a->heads + head) * (dim + 2);
        if (lane == 0) {
            to[0] = s->most;
            to[1] = s->sum;
        }
        to += 2;
    }
    TL_UNROLL for (int part = 0; part < PARTS; part++) {
        int d = part * 32 + lane;
        if (d < dim) to[d] = s->mix[part] / divisor;
    }
}

/* grid: pieces × key-value heads. Shared memory: weights [4 warps][32][4], queries [16][dim],
 * keys [32][dim + 1], values [32][dim]. */
TL_KERNEL(tl_cuda_attend, tl_cuda_attention, TL_CUDA_ATTEND_THREADS) {
    TL_DYNAMIC_SHARED(weights);
    const tl_cuda_piece piece = a.pieces[blockIdx.x];
    int dim = a.head_dim, group = a.heads / a.kv_heads, warp = (int)threadIdx.x / 32;
    if (piece.items == 0) return;
    float *queries = weights + TL_CUDA_ITEMS * TL_CUDA_TILE;
    float *keys = queries + TL_CUDA_ITEMS * dim, *values = keys + TL_CUDA_TILE * (dim + 1);
    const int32_t *slots = a.indices + piece.slots;
    for (int i = (int)threadIdx.x; i < TL_CUDA_ITEMS * dim; i += TL_CUDA_ATTEND_THREADS) {
        int item = piece.first_item + i / dim, head = (int)blockIdx.y * group + item % group;
        int64_t row = piece.first_row + item / group;
        queries[i] =
            i / dim < piece.items ? a.q[row * a.q_stride + (int64_t)head * dim + i % dim] : 0;
    }
    item_state items[WARP_ITEMS];
    TL_UNROLL for (int r = 0; r < WARP_ITEMS; r++) {
        item_state *s = &items[r];
        int item = warp * WARP_ITEMS + r;
        seen_keys(&a, piece.keys, piece.first_position + (piece.first_item + item) / group,
                  &s->first, &s->end);
        if (item >= piece.items) s->end = 0;
        s->most = -INFINITY;
        s->sum = 0;
        TL_UNROLL for (int part = 0; part < PARTS; part++) s->mix[part] = 0;
    }
    /* the first item sees the earliest keys, the last the latest */
    int32_t first, end, ignored;
    seen_keys(&a, piece.keys, piece.first_position + piece.first_item / group, &first, &ignored);
    seen_keys(&a, piece.keys, piece.first_position + (piece.first_item + piece.items - 1) / group,
              &ignored, &end);
    first = larger(first / TL_CUDA_TILE * TL_CUDA_TILE, piece.chunk * TL_CUDA_CHUNK);
    end = smaller(end, (piece.chunk + 1) * TL_CUDA_CHUNK);
    for (int32_t base = first; base < end; base += TL_CUDA_TILE) {
        __syncthreads(); /* the queries are there; the last tile was read */
        gather(a.k + (int64_t)blockIdx.y * dim, a.kv_stride, slots, base, end, dim, 1, keys);
        gather(a.v + (int64_t)blockIdx.y * dim, a.kv_stride, slots, base, end, dim, 0, values);
        __syncthreads();
        if (warp * WARP_ITEMS < piece.items)
            take_tile(&a, &piece, base, queries, keys, values,
                      weights + warp * WARP_ITEMS * TL_CUDA_TILE, items);
    }
    TL_UNROLL for (int r = 0; r < WARP_ITEMS; r++) {
        int item = warp * WARP_ITEMS + r;
        if (item < piece.items) store_item(&a, &piece, piece.first_item + item, &items[r]);
    }
}

/* grid: rows × heads. Joins a row's chunks in order. One chunk alone gives the bits that the piece
 * itself would have stored. */
TL_KERNEL(tl_cuda_join_chunks, tl_cuda_attention, 32) {
    const tl_cuda_join join = a.joins[blockIdx.x];
    if (join.row < 0) return;
    int dim = a.head_dim;
    int64_t step = (int64_t)a.heads * (dim + 2);
    const float *from = a.partials + ((int64_t)join.partial * a.heads + blockIdx.y) * (dim + 2);
    float *out = a.out + join.row * a.out_stride + (int64_t)blockIdx.y * dim;
    float most = -INFINITY, sum = 0;
    for (int c = 0; c < join.chunks; c++)
        most = fmaxf(most, from[c * step]);
    for (int c = 0; c < join.chunks; c++)
        if (from[c * step] > -INFINITY) sum += from[c * step + 1] * expf(from[c * step] - most);
    for (int d = (int)threadIdx.x; d < dim; d += 32) {
        float mix = 0;
        for (int c = 0; c < join.chunks; c++)
            if (from[c * step] > -INFINITY)
                mix += from[c * step + 2 + d] * expf(from[c * step] - most);
        out[d] = mix / sum;
    }
}
