#include "base/dtype.h"

#include <string.h>

static const tl_dtype_traits traits[TL_DTYPE_COUNT] = {
    [TL_F32] = {"f32", "F32", "float32", 1, 4, true},
    [TL_F16] = {"f16", "F16", "float16", 1, 2, true},
    [TL_BF16] = {"bf16", "BF16", "bfloat16", 1, 2, true},
    [TL_Q8] = {"q8", NULL, NULL, 32, 34, true},
    [TL_Q4] = {"q4", NULL, NULL, 32, 18, true},
    [TL_F64] = {"f64", "F64", "float64", 1, 8, false},
    [TL_I64] = {"i64", "I64", "int64", 1, 8, false},
    [TL_I32] = {"i32", "I32", "int32", 1, 4, false},
    [TL_I16] = {"i16", "I16", "int16", 1, 2, false},
    [TL_I8] = {"i8", "I8", "int8", 1, 1, false},
    [TL_U8] = {"u8", "U8", "uint8", 1, 1, false},
    [TL_BOOL] = {"bool", "BOOL", "bool", 1, 1, false},
};

const tl_dtype_traits *tl_dtype_get(tl_dtype dtype) {
    return &traits[dtype];
}

bool tl_dtype_parse(const char *name, tl_dtype *dtype, tl_error *error) {
    for (int i = 0; i < TL_DTYPE_COUNT; i++) {
        if (traits[i].compute && strcmp(traits[i].name, name) == 0) {
            *dtype = (tl_dtype)i;
            return true;
        }
    }
    return tl_fail(error, TL_ERROR_USAGE, "unknown dtype '%s': expected f32, f16, bf16, q8 or q4",
                   name);
}

static float from_bits(uint32_t bits) {
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static uint32_t to_bits(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

float tl_f16_to_f32(uint16_t half) {
    uint32_t sign = (uint32_t)(half & 0x8000) << 16;
    uint32_t exponent = (half >> 10) & 0x1f;
    uint32_t mantissa = half & 0x3ff;
    if (exponent == 0x1f) return from_bits(sign | 0x7f800000 | mantissa << 13);
    if (exponent != 0) return from_bits(sign | (exponent + 112) << 23 | mantissa << 13);
    float magnitude = (float)mantissa * 0x1p-24f;
    return sign ? -magnitude : magnitude;
}

uint16_t tl_f32_to_f16(float value) {
    uint32_t bits = to_bits(value);
    uint16_t sign = (uint16_t)(bits >> 16 & 0x8000);
    uint32_t magnitude = bits & 0x7fffffff;
    if (magnitude > 0x7f800000) return (uint16_t)(sign | 0x7e00);
    if (magnitude >= 0x477ff000) return (uint16_t)(sign | 0x7c00);
    if (magnitude < 0x38800000) { /* subnormal or zero in half: let the adder round */
        uint32_t rounded = to_bits(from_bits(magnitude) + 0.5f) - to_bits(0.5f);
        return (uint16_t)(sign | rounded);
    }
    uint32_t rounded = magnitude + 0xfff + (magnitude >> 13 & 1);
    return (uint16_t)(sign | (rounded - (112u << 23)) >> 13);
}

float tl_bf16_to_f32(uint16_t half) {
    return from_bits((uint32_t)half << 16);
}

uint16_t tl_f32_to_bf16(float value) {
    uint32_t bits = to_bits(value);
    if ((bits & 0x7fffffff) > 0x7f800000) return (uint16_t)(bits >> 16 | 0x40);
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}
