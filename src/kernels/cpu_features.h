/* What this processor and its system offer to the kernels. */
#ifndef TL_KERNELS_CPU_FEATURES_H
#define TL_KERNELS_CPU_FEATURES_H

#include <stdbool.h>
#include <stdint.h>

enum {
    TL_CPU_AVX2 = 1 << 0,     /* AVX2, FMA, F16C */
    TL_CPU_AVX_VNNI = 1 << 1, /* the VEX-coded dot products */
    TL_CPU_AVX512 = 1 << 2,   /* F, BW, DQ, VL */
    TL_CPU_AVX512_VNNI = 1 << 3,
    TL_CPU_AVX512_BF16 = 1 << 4,
    TL_CPU_QUICK_BF16 = 1 << 10, /* vdpbf16ps does twice the products of an FMA (Zen 4 and later; on
                                    Sapphire Rapids half of them) */
    TL_CPU_AMX = 1 << 5,         /* tiles with bf16 and int8, and the system's leave to use them */
    TL_CPU_NEON = 1 << 6,
    TL_CPU_DOTPROD = 1 << 7,
    TL_CPU_BF16 = 1 << 8, /* bfdot, bfmmla */
    TL_CPU_I8MM = 1 << 9,
};

/* Does this machine have all of `features`? Asks Linux for leave to use AMX when that is among
 * them: it holds for the threads created afterwards too. */
bool tl_cpu_has(uint32_t features);

#endif
