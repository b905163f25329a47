/* What the files of one instantiation offer each other. */
#ifndef TL_KERNELS_FUNCTIONS_H
#define TL_KERNELS_FUNCTIONS_H

#include "kernels/cpu/vector.h"
#include "kernels/table.h"

extern const tl_product_path TL_NAME(tl_product_path_f32), TL_NAME(tl_product_path_f16),
    TL_NAME(tl_product_path_bf16);
extern const tl_product_path TL_NAME(tl_product_path_bf16_fast), TL_NAME(tl_product_path_amx);
extern const tl_product_path TL_NAME(tl_product_path_q8), TL_NAME(tl_product_path_q4);
extern const tl_product_path TL_NAME(tl_product_path_q8_fast), TL_NAME(tl_product_path_q4_fast);

/* Exact products of many rows (many.c). */
size_t TL_NAME(tl_many_group_bytes)(int32_t in);
void TL_NAME(tl_many_prepare)(const float *x, int64_t x_stride, int32_t rows, int32_t in,
                              void *group);
size_t TL_NAME(tl_many_scratch_bytes)(int32_t in);
void TL_NAME(tl_many_run)(const tl_product *product);

void TL_NAME(tl_finish)(const tl_linear *op, const float *t, const float *g, int64_t stride,
                        int32_t first_row, int32_t rows, int32_t first_out, int32_t outs);
void TL_NAME(tl_embed_row)(const tl_matrix *matrix, int32_t id, float scale, float *y);
void TL_NAME(tl_layer_norm_row)(const float *x, int32_t dim, const float *weight, const float *bias,
                                float eps, float *y);
void TL_NAME(tl_rms_norm_row)(const float *x, int32_t dim, const float *weight, float eps,
                              float *y);
void TL_NAME(tl_add_row)(const float *x, int32_t dim, float *y);
void TL_NAME(tl_rotate_row)(float *x, int32_t heads, int32_t head_dim, int32_t half,
                            const float *cosines, const float *sines);
void TL_NAME(tl_largest)(const float *x, int32_t n, float *largest, int32_t *argmax);
float TL_NAME(tl_exp_sum)(const float *x, int32_t n, float shift);
void TL_NAME(tl_attend_part)(const tl_attend *attend);
void TL_NAME(tl_widen_run)(const void *source, tl_dtype dtype, size_t count, float *y);
void TL_NAME(tl_narrow_run)(const float *x, size_t count, tl_dtype dtype, void *y);
void TL_NAME(tl_transpose_squares)(size_t size, size_t rows, size_t columns,
                                   const unsigned char *from, size_t from_stride, unsigned char *to,
                                   size_t to_stride);
void TL_NAME(tl_pack_panel)(const tl_matrix *source, int32_t panel, tl_dtype dtype,
                            unsigned char *to);

#endif
