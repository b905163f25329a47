/* The kernels' addresses, for the host files: to them a kernel is what cudaLaunchKernel takes. */
#ifndef TL_CUDA_KERNELS_H
#define TL_CUDA_KERNELS_H

void tl_cuda_embed_rows(void);
void tl_cuda_norm_rows(void);
void tl_cuda_move_rows(void);
void tl_cuda_rotate_rows(void);
void tl_cuda_to_bf16(void);
void tl_cuda_finish_rows(void);
void tl_cuda_tile_128x64(void);
void tl_cuda_tile_64x64(void);
void tl_cuda_tile_32x32(void);
void tl_cuda_few_1(void);
void tl_cuda_few_2(void);
void tl_cuda_few_4(void);
void tl_cuda_few_8(void);
void tl_cuda_attend(void);
void tl_cuda_join_chunks(void);
void tl_cuda_read_rows(void);
void tl_cuda_pick_values(void);

#endif
