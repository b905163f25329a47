/* --fast: products of bf16 weights by cuBLASLt, f32 sums, activations rounded to bf16.
 *
 * One algorithm is chosen for a shape of weights and kept for every number of rows it can take, and
 * none that splits a sum and joins it in an order of its own. Few rows are left to the exact
 * kernels, which read weights as fast as these and round nothing. */
#include "kernels/cuda/internal.h"
#include "kernels/cuda/kernels.h"

#include <cublasLt.h>
#include <stdlib.h>

enum {
    FEWEST_ROWS = 9,
    USUAL_ROWS = 256, /* that algorithms are chosen for */
    MOST_SHAPES = 64,
    WORKSPACE = 4 << 20,
};

typedef struct fast_shape {
    int32_t outs, in, rows; /* rows: USUAL_ROWS, or those the usual algorithm cannot take */
    int64_t stride;
    cublasLtMatmulAlgo_t algorithm;
} fast_shape;

struct tl_cuda_fast {
    cublasLtHandle_t handle;
    cublasLtMatmulDesc_t product;
    cublasLtMatmulPreference_t preference;
    void *workspace;
    fast_shape shapes[MOST_SHAPES];
    int n_shapes;
};

static bool check(tl_backend *b, cublasStatus_t status, const char *at) {
    if (status == CUBLAS_STATUS_SUCCESS) return true;
    bool memory = status == CUBLAS_STATUS_ALLOC_FAILED;
    return tl_cuda_check(b, memory ? cudaErrorMemoryAllocation : cudaErrorUnknown, at);
}

/* Row-major y [rows, out] = x [rows, in] · Wᵀ is, column by column, yᵀ = W · xᵀ with W transposed.
 */
bool tl_cuda_fast_new(tl_backend *b, tl_error *error) {
    cublasOperation_t transposed = CUBLAS_OP_T;
    uint32_t joins = CUBLASLT_REDUCTION_SCHEME_NONE;
    uint64_t bytes = WORKSPACE;
    tl_cuda_fast *f = b->fast = calloc(1, sizeof *f);
    if (!f) return tl_fail_memory(error, sizeof *f, "cuBLASLt");
    f->workspace = tl_cuda_allocate(b, WORKSPACE, "cuBLASLt", error);
    if (!f->workspace) return false;
    if (check(b, cublasLtCreate(&f->handle), "starting cuBLASLt") &&
        check(b, cublasLtMatmulDescCreate(&f->product, CUBLAS_COMPUTE_32F, CUDA_R_32F),
              "describing a product") &&
        check(b,
              cublasLtMatmulDescSetAttribute(f->product, CUBLASLT_MATMUL_DESC_TRANSA, &transposed,
                                             sizeof transposed),
              "describing a product") &&
        check(b, cublasLtMatmulPreferenceCreate(&f->preference), "describing a product") &&
        check(b,
              cublasLtMatmulPreferenceSetAttribute(
                  f->preference, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, &joins, sizeof joins),
              "describing a product"))
        check(b,
              cublasLtMatmulPreferenceSetAttribute(
                  f->preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &bytes, sizeof bytes),
              "describing a product");
    return tl_cuda_tell(b, error);
}

void tl_cuda_fast_free(tl_backend *b) {
    tl_cuda_fast *f = b->fast;
    if (!f) return;
    if (f->preference) cublasLtMatmulPreferenceDestroy(f->preference);
    if (f->product) cublasLtMatmulDescDestroy(f->product);
    if (f->handle) cublasLtDestroy(f->handle);
    free(f);
    b->fast = NULL;
}

/* Of x rounded, and of two results, one for the gate. */
size_t tl_cuda_fast_bytes(int32_t rows, int32_t widest) {
    return (size_t)rows * (size_t)widest * (sizeof(uint16_t) + 2 * sizeof(float)) + 3 * 256;
}

bool tl_cuda_fast_takes(const tl_backend *b, const tl_linear *op) {
    const tl_matrix *w = op->weight, *g = op->gate_weight;
    if (!b->fast || op->rows < FEWEST_ROWS || op->columns || w->dtype != TL_BF16) return false;
    size_t needed =
        (size_t)op->rows * ((size_t)w->in * sizeof(uint16_t) + 2 * (size_t)w->out * sizeof(float)) +
        3 * 256;
    return w->in % 8 == 0 && w->out % 8 == 0 && w->stride % 8 == 0 &&
           (uintptr_t)w->data % 16 == 0 && needed <= b->scratch_bytes &&
           (!g || ((uintptr_t)g->data % 16 == 0 && g->stride == w->stride));
}

typedef struct layouts {
    cublasLtMatrixLayout_t w, x, y;
} layouts;

static void free_layouts(layouts *l) {
    if (l->w) cublasLtMatrixLayoutDestroy(l->w);
    if (l->x) cublasLtMatrixLayoutDestroy(l->x);
    if (l->y) cublasLtMatrixLayoutDestroy(l->y);
    *l = (layouts){0};
}

static bool make_layouts(tl_backend *b, const tl_matrix *w, int32_t rows, layouts *l) {
    *l = (layouts){0};
    uint64_t in = (uint64_t)w->in, out = (uint64_t)w->out, n = (uint64_t)rows;
    return check(b, cublasLtMatrixLayoutCreate(&l->w, CUDA_R_16BF, in, out, w->stride),
                 "describing a product") &&
           check(b, cublasLtMatrixLayoutCreate(&l->x, CUDA_R_16BF, in, n, w->in),
                 "describing a product") &&
           check(b, cublasLtMatrixLayoutCreate(&l->y, CUDA_R_32F, out, n, w->out),
                 "describing a product");
}

static bool choose(tl_backend *b, const layouts *l, fast_shape *shape) {
    tl_cuda_fast *f = b->fast;
    cublasLtMatmulHeuristicResult_t found;
    int count = 0;
    if (!check(b,
               cublasLtMatmulAlgoGetHeuristic(f->handle, f->product, l->w, l->x, l->y, l->y,
                                              f->preference, 1, &found, &count),
               "choosing a product") ||
        count < 1)
        return tl_cuda_check(b, cudaErrorNotSupported, "choosing a product");
    shape->algorithm = found.algo;
    return true;
}

static fast_shape *find_shape(tl_backend *b, const tl_matrix *w, int32_t rows) {
    tl_cuda_fast *f = b->fast;
    layouts l;
    for (int i = 0; i < f->n_shapes; i++) {
        fast_shape *s = &f->shapes[i];
        if (s->outs == w->out && s->in == w->in && s->stride == w->stride && s->rows == rows)
            return s;
    }
    if (f->n_shapes == MOST_SHAPES) f->n_shapes = 0;
    fast_shape *s = &f->shapes[f->n_shapes];
    *s = (fast_shape){.outs = w->out, .in = w->in, .rows = rows, .stride = w->stride};
    bool good = make_layouts(b, w, rows, &l) && choose(b, &l, s);
    free_layouts(&l);
    f->n_shapes += good;
    return good ? s : NULL;
}

/* y [rows, out], row after row, of x rounded. */
static void multiply(tl_backend *b, const tl_matrix *w, int32_t rows, const uint16_t *x, float *y) {
    static const float one = 1, zero = 0;
    tl_cuda_fast *f = b->fast;
    cublasLtMatmulHeuristicResult_t fits;
    layouts l;
    const fast_shape *s = find_shape(b, w, USUAL_ROWS);
    if (s && make_layouts(b, w, rows, &l)) {
        if (cublasLtMatmulAlgoCheck(f->handle, f->product, l.w, l.x, l.y, l.y, &s->algorithm,
                                    &fits) != CUBLAS_STATUS_SUCCESS)
            s = find_shape(b, w, rows);
        if (s)
            check(b,
                  cublasLtMatmul(f->handle, f->product, &one, w->data, l.w, x, l.x, &zero, y, l.y,
                                 y, l.y, &s->algorithm, f->workspace, WORKSPACE, b->stream),
                  "a bf16 product");
        free_layouts(&l);
    }
}

void tl_cuda_fast_run(tl_backend *b, const tl_linear *op) {
    const tl_matrix *w = op->weight;
    size_t rows = (size_t)op->rows, sums = (rows * (size_t)w->out + 63) / 64 * 64;
    float *t = b->scratch, *g = t + sums;
    uint16_t *x = (uint16_t *)(g + (op->gate_weight ? sums : 0));
    tl_cuda_round round = {op->x, op->x_stride, w->in, x};
    dim3 grid = {(unsigned)op->rows, 1, 1};
    TL_CUDA_LAUNCH(b, tl_cuda_to_bf16, grid, TL_CUDA_ROW_THREADS, 0, round);
    multiply(b, w, op->rows, x, t);
    if (op->gate_weight) multiply(b, op->gate_weight, op->rows, x, g);
    tl_cuda_finish finish = {t, op->gate_weight ? g : NULL, tl_cuda_product_of(b, op)};
    TL_CUDA_LAUNCH(b, tl_cuda_finish_rows, grid, TL_CUDA_ROW_THREADS, 0, finish);
}
