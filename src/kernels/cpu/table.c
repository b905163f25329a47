/* The table of this instantiation. */
#include "kernels/cpu/functions.h"
#include "kernels/cpu_features.h"

#if defined(__AMX_BF16__)
#define FAST_BF16 TL_NAME(tl_product_path_amx)
#define FAST_F16  TL_NAME(tl_product_path_amx)
#elif defined(V_HAS_BF16) || defined(V_HAS_BFMMLA)
#define FAST_BF16 TL_NAME(tl_product_path_bf16_fast)
#define FAST_F16  TL_NAME(tl_product_path_bf16_fast)
#else
#define FAST_BF16 TL_NAME(tl_product_path_bf16)
#define FAST_F16  TL_NAME(tl_product_path_f16)
#endif

static bool usable(void) {
    return tl_cpu_has(TL_CPU_NEEDS);
}

static bool advisable(void) {
    return tl_cpu_has(TL_CPU_WANTS);
}

extern const tl_kernels TL_NAME(tl_kernels);
const tl_kernels TL_NAME(tl_kernels) = {
    .name = TL_ISA_NAME,
    .usable = usable,
    .advisable = advisable,
    .paths =
        {
            [TL_F32] = {&TL_NAME(tl_product_path_f32), &TL_NAME(tl_product_path_f32)},
            [TL_F16] = {&TL_NAME(tl_product_path_f16), &FAST_F16},
            [TL_BF16] = {&TL_NAME(tl_product_path_bf16), &FAST_BF16},
            [TL_Q8] = {&TL_NAME(tl_product_path_q8), &TL_NAME(tl_product_path_q8_fast)},
            [TL_Q4] = {&TL_NAME(tl_product_path_q4), &TL_NAME(tl_product_path_q4_fast)},
        },
    .finish = TL_NAME(tl_finish),
    .embed = TL_NAME(tl_embed_row),
    .layer_norm = TL_NAME(tl_layer_norm_row),
    .rms_norm = TL_NAME(tl_rms_norm_row),
    .add = TL_NAME(tl_add_row),
    .rotate = TL_NAME(tl_rotate_row),
    .largest = TL_NAME(tl_largest),
    .exp_sum = TL_NAME(tl_exp_sum),
    .attend = TL_NAME(tl_attend_part),
    .widen = TL_NAME(tl_widen_run),
    .narrow = TL_NAME(tl_narrow_run),
    .transpose_squares = TL_NAME(tl_transpose_squares),
    .pack_panel = TL_NAME(tl_pack_panel),
};
