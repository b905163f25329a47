/* cuBLASLt of the emulation: D = Aᵀ · B, bf16 in, f32 out, as a kernel of its own, so that it can
 * be captured like any other. Column-major, as there. */
#include "kernels/cuda/arguments.h"

#include "emulator.h"

#include <cublasLt.h>
#include <stdlib.h>

struct emulated_blas {
    int none;
};
struct emulated_product {
    cublasOperation_t transposed;
};
struct emulated_preference {
    int none;
};
struct emulated_layout {
    cudaDataType_t type;
    uint64_t rows, columns;
    int64_t stride;
};

#define CREATE(to)                                                                                 \
    ((*(to) = calloc(1, sizeof **(to))) ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_ALLOC_FAILED)

cublasStatus_t cublasLtCreate(cublasLtHandle_t *handle) {
    return CREATE(handle);
}

cublasStatus_t cublasLtDestroy(cublasLtHandle_t handle) {
    free(handle);
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t *product, cublasComputeType_t compute,
                                        cudaDataType_t scale) {
    if (compute != CUBLAS_COMPUTE_32F || scale != CUDA_R_32F) return CUBLAS_STATUS_INVALID_VALUE;
    return CREATE(product);
}

cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t product, int attribute,
                                              const void *value, size_t size) {
    if (attribute != CUBLASLT_MATMUL_DESC_TRANSA || size != sizeof product->transposed)
        return CUBLAS_STATUS_INVALID_VALUE;
    product->transposed = *(const cublasOperation_t *)value;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t product) {
    free(product);
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t *preference) {
    return CREATE(preference);
}

cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t preference,
                                                    int attribute, const void *value, size_t size) {
    (void)preference, (void)value;
    size_t expected =
        attribute == CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES ? sizeof(uint64_t) : sizeof(uint32_t);
    return size == expected ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_INVALID_VALUE;
}

cublasStatus_t cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t preference) {
    free(preference);
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t *layout, cudaDataType_t type,
                                          uint64_t rows, uint64_t columns, int64_t stride) {
    if (CREATE(layout) != CUBLAS_STATUS_SUCCESS) return CUBLAS_STATUS_ALLOC_FAILED;
    **layout = (struct emulated_layout){type, rows, columns, stride};
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t layout) {
    free(layout);
    return CUBLAS_STATUS_SUCCESS;
}

static bool fit(cublasLtMatmulDesc_t product, cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,
                cublasLtMatrixLayout_t d) {
    return product->transposed == CUBLAS_OP_T && a->type == CUDA_R_16BF && b->type == CUDA_R_16BF &&
           d->type == CUDA_R_32F && a->rows == b->rows && d->rows == a->columns &&
           d->columns == b->columns && a->stride >= (int64_t)a->rows &&
           b->stride >= (int64_t)b->rows && d->stride >= (int64_t)d->rows;
}

cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t handle, cublasLtMatmulDesc_t product,
                                              cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,
                                              cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d,
                                              cublasLtMatmulPreference_t preference, int asked,
                                              cublasLtMatmulHeuristicResult_t *found, int *count) {
    (void)handle, (void)c, (void)preference;
    *count = asked >= 1 && fit(product, a, b, d);
    *found = (cublasLtMatmulHeuristicResult_t){.algo.data = {d->columns}};
    return *count ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_NOT_SUPPORTED;
}

/* Refuses some numbers of rows for the algorithm chosen for the usual one, as the real one may. */
cublasStatus_t cublasLtMatmulAlgoCheck(cublasLtHandle_t handle, cublasLtMatmulDesc_t product,
                                       cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,
                                       cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d,
                                       const cublasLtMatmulAlgo_t *algorithm,
                                       cublasLtMatmulHeuristicResult_t *found) {
    (void)handle, (void)c, (void)found;
    bool taken = fit(product, a, b, d) &&
                 (algorithm->data[0] == d->columns || d->columns % 16 == 0) && d->columns != 48;
    return taken ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_NOT_SUPPORTED;
}

typedef struct product_arguments {
    const uint16_t *a, *b;
    float *d;
    uint64_t inner;
    int64_t a_stride, b_stride, d_stride;
} product_arguments;

/* A block computes one element. */
TL_KERNEL(emulated_matmul, product_arguments, 1) {
    float sum = 0;
    for (uint64_t k = 0; k < a.inner; k++) {
        float x = tl_bits_float((uint32_t)a.a[(int64_t)blockIdx.x * a.a_stride + (int64_t)k] << 16);
        float y = tl_bits_float((uint32_t)a.b[(int64_t)blockIdx.y * a.b_stride + (int64_t)k] << 16);
        sum += x * y;
    }
    a.d[(int64_t)blockIdx.y * a.d_stride + (int64_t)blockIdx.x] = sum;
}

cublasStatus_t cublasLtMatmul(cublasLtHandle_t handle, cublasLtMatmulDesc_t product,
                              const void *alpha, const void *a, cublasLtMatrixLayout_t a_layout,
                              const void *b, cublasLtMatrixLayout_t b_layout, const void *beta,
                              const void *c, cublasLtMatrixLayout_t c_layout, void *d,
                              cublasLtMatrixLayout_t d_layout,
                              const cublasLtMatmulAlgo_t *algorithm, void *workspace, size_t bytes,
                              cudaStream_t stream) {
    (void)handle, (void)c, (void)c_layout, (void)algorithm, (void)workspace, (void)bytes;
    if (!fit(product, a_layout, b_layout, d_layout) || *(const float *)alpha != 1 ||
        *(const float *)beta != 0)
        return CUBLAS_STATUS_INVALID_VALUE;
    product_arguments arguments = {
        a, b, d, a_layout->rows, a_layout->stride, b_layout->stride, d_layout->stride};
    size_t size = sizeof arguments;
    void *list[] = {&arguments, &size};
    dim3 grid = {(unsigned)d_layout->rows, (unsigned)d_layout->columns, 1}, block = {1, 1, 1};
    return cudaLaunchKernel((const void *)emulated_matmul, grid, block, list, 0, stream) ==
                   cudaSuccess
               ? CUBLAS_STATUS_SUCCESS
               : CUBLAS_STATUS_INVALID_VALUE;
}
