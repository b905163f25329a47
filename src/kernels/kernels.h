/* kernels: the operations of a forward pass. They know no family.
 *
 * Written once on a small vector header (cpu/vector_*.h), compiled per instruction set, chosen at
 * run time. Each output element is computed in one fixed order that does not depend on the number
 * of rows, on threads, or on which other rows are in the batch. Activations are f32; matrices are
 * read as stored.
 *
 * Notation: x [rows, dim] is row-major with a stride (in elements) of its own. */
#ifndef TL_KERNELS_H
#define TL_KERNELS_H

#include "base/dtype.h"
#include "base/error.h"
#include "base/pool.h"

/* How products are computed. */
typedef enum tl_precision {
    TL_EXACT, /* f32 activations, f32 multiply and accumulate, whatever the stored type */
    /* bf16 products for bf16 and f16 weights, where the instruction set has them (else as exact);
     * int8 activations for q8 and q4; f32 accumulation. f32 weights as in exact. */
    TL_FAST,
} tl_precision;

/* A weight matrix W [out, in]: y = x · Wᵀ.
 * f32, f16, bf16: row-major as in the file, `stride` elements from row to row (usually == in).
 * q8, q4: packed panels, see tl_quantize_matrix. */
typedef struct tl_matrix {
    tl_dtype dtype;
    int32_t out, in;
    int64_t stride;
    const void *data;
    size_t bytes;
} tl_matrix;

typedef enum tl_activation {
    TL_ACTIVATION_NONE,
    TL_ACTIVATION_RELU,
    TL_ACTIVATION_GELU,       /* exact: x Φ(x), erf */
    TL_ACTIVATION_GELU_TANH,  /* gelu_new, gelu_pytorch_tanh */
    TL_ACTIVATION_GELU_QUICK, /* x σ(1.702 x) */
    TL_ACTIVATION_SILU,
} tl_activation;

/* One set of kernels (an instruction set) with its threads and scratch memory. */
typedef struct tl_compute tl_compute;

/* Picks the best instruction set that this processor has, or the one TINYLLM_CPU names (scalar,
 * avx2, avx512, neon …; one that is not there is an error listing those that are). `pool` is
 * borrowed. */
tl_compute *tl_compute_new(tl_pool *pool, tl_precision precision, tl_error *error);
void tl_compute_free(tl_compute *compute);
const char *
tl_compute_isa(const tl_compute *compute); /* "avx512", with features used: "avx512+amx" */
tl_pool *tl_compute_pool(const tl_compute *compute);
tl_precision tl_compute_precision(const tl_compute *compute);
/* The blocks of scratch memory: the threads' own and the shared one; a block may be NULL. */
void tl_compute_blocks(const tl_compute *compute, const void *blocks[2], size_t bytes[2]);

/* Grows scratch memory for products of up to `rows` rows and `in` columns and attention over up to
 * `keys` keys, so that later calls allocate nothing. */
bool tl_compute_reserve(tl_compute *compute, int32_t rows, int32_t in, int32_t keys,
                        tl_error *error);

/* Writes the names of the instruction sets this processor can run, best first, at most `room` of
 * them; returns how many there are. */
size_t tl_compute_available(const char **names, size_t room);

/* ---- linear
 * ---------------------------------------------------------------------------------------- */

/* y [rows, out] = activation(x · Wᵀ + bias) ⊙ gate + residual, each part optional.
 * With `gate_weight`: y = activation(x · Wᵀ + bias) ⊙ (x · Gᵀ + gate_bias)   (SwiGLU and its kin).
 */
typedef struct tl_linear {
    const float *x;
    int64_t x_stride;
    int32_t rows;
    const tl_matrix *weight;
    const float *bias; /* [out] or NULL */
    tl_activation activation;
    const tl_matrix *gate_weight; /* same shape and dtype as weight, or NULL */
    const float *gate_bias;
    const float *residual; /* [rows, out] added last, or NULL; may be y itself */
    int64_t residual_stride;
    float *y;
    int64_t y_stride;
    /* Only some columns: y[r][i] for column columns[i]; NULL for all. */
    const int32_t *columns;
    int32_t n_columns;
} tl_linear;

void tl_linear_run(tl_compute *compute, const tl_linear *op);

/* Several products over the same x in one go (q, k, v), so that x is prepared once and threads meet
 * once. */
void tl_linear_run_many(tl_compute *compute, const tl_linear *ops, int count);

/* ---- rows
 * ------------------------------------------------------------------------------------------ */

/* y[i] = matrix row `ids[i]` widened to f32, times `scale`: the embedding lookup (also out of a
 * q8/q4 matrix). */
void tl_embed(tl_compute *compute, const tl_matrix *matrix, const int32_t *ids, int32_t rows,
              float scale, float *y, int64_t y_stride);

/* y = (x - mean) / sqrt(var + eps) * weight + bias (bias may be NULL), var with 1/n. y may be x. */
void tl_layer_norm(tl_compute *compute, const float *x, int64_t x_stride, int32_t rows, int32_t dim,
                   const float *weight, const float *bias, float eps, float *y, int64_t y_stride);

/* y = x * rsqrt(mean(x²) + eps) * weight. y may be x. */
void tl_rms_norm(tl_compute *compute, const float *x, int64_t x_stride, int32_t rows, int32_t dim,
                 const float *weight, float eps, float *y, int64_t y_stride);

/* y += x, element by element. */
void tl_add_rows(tl_compute *compute, const float *x, int64_t x_stride, int32_t rows, int32_t dim,
                 float *y, int64_t y_stride);

/* Rotates the first 2 × half dims of each head in place, first half with second half:
 * x1' = x1 cos - x2 sin, x2' = x2 cos + x1 sin. Row r uses cos/sin[table_rows[r]] [half]. */
void tl_rotate(tl_compute *compute, float *x, int64_t x_stride, int32_t rows, int32_t heads,
               int32_t head_dim, int32_t half, const float *cosines, const float *sines,
               const int32_t *table_rows);

/* y = x × scale, element by element. y may be x. */
void tl_scale_rows(tl_compute *compute, const float *x, int64_t x_stride, int32_t rows, int32_t dim,
                   float scale, float *y, int64_t y_stride);

/* Moves row kept[i] of x [rows, dim] to row i, for ascending `kept` [count]. */
void tl_keep_rows(tl_compute *compute, float *x, int64_t x_stride, int32_t dim, const int32_t *kept,
                  int32_t count);

/* Copies row r of x [rows, dim] to row slots[r] of the store; on a device, not where slots[r] is
 * negative. */
void tl_scatter_rows(tl_compute *compute, const float *x, int64_t x_stride, int32_t rows,
                     int32_t dim, const int32_t *slots, float *store, int64_t store_stride);

/* ---- attention
 * ------------------------------------------------------------------------------------- */

/* The queries of one segment against the logical sequence of keys they may see. */
typedef struct tl_attention_span {
    const int32_t *slots; /* [keys]: the store's row of each key, in logical order */
    int32_t keys;         /* keys the last query sees */
    int32_t first_row;    /* row of the first query in q and out */
    int32_t queries;
    int32_t first_position; /* logical position of the first query */
} tl_attention_span;

/* out = softmax(scale · q kᵀ + bias) v, per head; query head h reads kv head h / (heads /
 * kv_heads). Causal: the query at position p sees keys 0 … p (the last `window` of them if window >
 * 0); otherwise all. The result of a row depends only on its own query and its keys in logical
 * order: not on how they were cut into segments, nor on which slots hold them. */
typedef struct tl_attention {
    const float *q; /* [rows, heads * head_dim] */
    int64_t q_stride;
    const float *k, *v; /* stores [slots, kv_heads * head_dim] */
    int64_t kv_stride;
    float *out; /* [rows, heads * head_dim] */
    int64_t out_stride;
    int32_t heads, kv_heads, head_dim;
    float scale;
    bool causal;
    int32_t window;
    const float *alibi_slopes; /* [heads]: adds slope × key position; or NULL */
    /* Relative bias (T5): adds relative_bias[h * relative_stride + (key - query) +
     * relative_center]; NULL for none. The table covers every distance that occurs. */
    const float *relative_bias;
    int64_t relative_stride;
    int32_t relative_center;
    const tl_attention_span *spans;
    int32_t n_spans;
} tl_attention;

void tl_attention_run(tl_compute *compute, const tl_attention *op);

/* ---- the head's readings
 * ---------------------------------------------------------------------------- */

/* Per row of logits [rows, n] and block of so many columns, the last of them shorter: log Σ exp, or
 * NULL, and the index of the first maximum; both [rows, blocks], indices from the row's start. */
void tl_logsumexp_rows(tl_compute *compute, const float *logits, int64_t stride, int32_t rows,
                       int32_t n, int32_t block, float *logsumexp, int32_t *argmax);

/* ---- conversion
 * ------------------------------------------------------------------------------------- */

/* Bytes that `out` × `in` elements take as a matrix of `dtype`. */
size_t tl_matrix_bytes(tl_dtype dtype, int32_t out, int32_t in);

/* Converts W (any compute dtype but q8/q4 as the source) to `dtype` in `data`
 * (tl_matrix_bytes long, aligned to 64). Q8 and Q4 hold blocks of 32 along `in` with an f16 scale
 * as ggml's Q8_0 and Q4_0 do, rearranged in panels of outputs; `in` must be a multiple of 32.
 * Threads share the work. */
bool tl_matrix_convert(tl_compute *compute, const tl_matrix *source, tl_dtype dtype, void *data,
                       tl_matrix *result, tl_error *error);

/* data [in, out] → [out, in], keeping f32, f16 or bf16 (Conv1D weights). */
void tl_matrix_transpose(tl_compute *compute, const void *source, tl_dtype dtype, int32_t in,
                         int32_t out, void *data);

/* Widens `count` elements of f32, f16 or bf16. */
void tl_widen(const void *source, tl_dtype dtype, size_t count, float *y);

#endif
