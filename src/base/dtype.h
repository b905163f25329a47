/* Element types of tensors, as a table. */
#ifndef TL_BASE_DTYPE_H
#define TL_BASE_DTYPE_H

#include "base/error.h"

typedef enum tl_dtype {
    TL_F32,
    TL_F16,
    TL_BF16,
    TL_Q8, /* blocks of 32 int8 with one f16 scale (8.5 bits an element), packed: see kernels.h */
    TL_Q4, /* blocks of 32 4-bit values with one f16 scale (4.5 bits an element), packed */
    TL_F64,
    TL_I64,
    TL_I32,
    TL_I16,
    TL_I8,
    TL_U8,
    TL_BOOL,
    TL_DTYPE_COUNT
} tl_dtype;

typedef struct tl_dtype_traits {
    const char *name;        /* as on the command line: "f32" */
    const char *safetensors; /* as in a safetensors header: "F32"; NULL where there is none */
    const char *torch;       /* as in config.json: "float32"; NULL where there is none */
    uint32_t block;          /* elements in a block */
    uint32_t block_bytes;    /* bytes of a block */
    bool compute;            /* may a model run with its weights in it? */
} tl_dtype_traits;

/* The traits of `dtype`; never NULL for a valid one. */
const tl_dtype_traits *tl_dtype_get(tl_dtype dtype);

/* Finds a compute dtype by its command-line name ("f32", "f16", "bf16", "q8", "q4"). */
bool tl_dtype_parse(const char *name, tl_dtype *dtype, tl_error *error);

float tl_f16_to_f32(uint16_t bits);
uint16_t tl_f32_to_f16(float value); /* round to nearest even */
float tl_bf16_to_f32(uint16_t bits);
uint16_t tl_f32_to_bf16(float value); /* round to nearest even; NaN stays NaN */

#endif
