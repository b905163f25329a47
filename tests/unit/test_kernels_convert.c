/* Conversions between number formats, transposition, and what q8 and q4 hold. */
#include "support/kernels.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static void check_conversions(tl_compute *compute) {
    enum { OUT = 21, IN = 96 };
    static const float odd[] = {0.0f,     -0.0f,    65504.0f, 65520.0f,  1e-8f, 6e-8f,
                                -6.1e-5f, INFINITY, NAN,      -INFINITY, 3e38f, 1.00390625f};
    float *values = test_random_values(OUT * IN);
    memcpy(values, odd, sizeof odd);
    tl_matrix source = {TL_F32, OUT, IN, IN, values, OUT * IN * 4}, halves, back;
    uint16_t *data = test_memory(OUT * IN * 2);
    float *wide = test_memory(OUT * IN * 4);
    for (int dtype = TL_F16; dtype <= TL_BF16; dtype++) {
        tl_error error;
        if (!tl_matrix_convert(compute, &source, (tl_dtype)dtype, data, &halves, &error) ||
            !tl_matrix_convert(compute, &halves, TL_F32, wide, &back, &error))
            test_fail("convert: %s", error.message);
        for (int i = 0; i < OUT * IN; i++) {
            uint16_t expected =
                dtype == TL_F16 ? tl_f32_to_f16(values[i]) : tl_f32_to_bf16(values[i]);
            float widened_value =
                dtype == TL_F16 ? tl_f16_to_f32(data[i]) : tl_bf16_to_f32(data[i]);
            bool nan = values[i] != values[i];
            if (nan ? widened_value == widened_value : data[i] != expected)
                test_fail("%g as %s: %04x, expected %04x", (double)values[i],
                          tl_dtype_get((tl_dtype)dtype)->name, data[i], expected);
            if (!nan && memcmp(&wide[i], &widened_value, 4) != 0)
                test_fail("%04x widened from %s: %g", data[i], tl_dtype_get((tl_dtype)dtype)->name,
                          (double)wide[i]);
        }
    }
    free(values), free(data), free(wide);
}

/* Sizes that end within tiles and slabs, and exactly with them. */
static void check_transposition(tl_compute *compute) {
    static const int32_t sizes[][2] = {{1, 1}, {3, 70}, {64, 32}, {67, 1025}, {200, 1537}};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        int32_t in = sizes[i][0], out = sizes[i][1], count = in * out;
        uint32_t *words = test_memory((size_t)count * 4), *turned = test_memory((size_t)count * 4);
        for (int32_t j = 0; j < count; j++)
            words[j] = 0x9e3779b9u * (uint32_t)j;
        tl_matrix_transpose(compute, words, TL_F32, in, out, turned);
        for (int32_t j = 0; j < count; j++)
            if (turned[j % out * in + j / out] != words[j])
                test_fail("f32 transpose of %d x %d [%d]", in, out, j);
        const uint16_t *halves = (const uint16_t *)words;
        uint16_t *turned_halves = (uint16_t *)turned;
        tl_matrix_transpose(compute, words, TL_BF16, in, out, turned);
        for (int32_t j = 0; j < count; j++)
            if (turned_halves[j % out * in + j / out] != halves[j])
                test_fail("bf16 transpose of %d x %d [%d]", in, out, j);
        free(words), free(turned);
    }
}

/* Blocks that are hard to round: of zeros, of halves, with extremes of both signs, so small that
 * the scale is no normal number, and not finite. */
static void place_hard_blocks(float *values, int in) {
    for (int k = 0; k < 32; k++) {
        values[k] = 0.0f;
        values[3 * in + k] = (float)k - 15.5f;
        values[4 * in + k] = k == 9 ? -127.0f : (float)(k - 16) + 0.5f;
        values[5 * in + k] = k == 9 ? 8.0f : (float)(k % 8) - 3.5f;
        values[6 * in + k] = (float)(k - 11) * 3e-41f;
        values[7 * in + k] = (float)(k - 11) * 4e-45f;
    }
    values[40] = -9.5f;
    values[72] = 9.5f;
    values[8 * in + 5] = INFINITY;
    values[9 * in + 37] = NAN;
}

/* q8 and q4 hold what ggml's rules give, as read back by the embedding lookup. */
static void check_quantisation_of(tl_compute *compute, tl_dtype from) {
    enum { OUT = 19, IN = 128 };
    float *values = test_random_values(OUT * IN);
    place_hard_blocks(values, IN);
    tl_matrix wide_source = {TL_F32, OUT, IN, IN, values, OUT * IN * 4}, source;
    void *stored_source = test_memory(tl_matrix_bytes(from, OUT, IN));
    tl_error error;
    if (!tl_matrix_convert(compute, &wide_source, from, stored_source, &source, &error))
        test_fail("convert: %s", error.message);
    tl_widen(stored_source, from, OUT * IN, values);
    for (int dtype = TL_Q8; dtype <= TL_Q4; dtype++) {
        tl_matrix packed;
        void *data = test_memory(tl_matrix_bytes((tl_dtype)dtype, OUT, IN));
        if (!tl_matrix_convert(compute, &source, (tl_dtype)dtype, data, &packed, &error))
            test_fail("convert: %s", error.message);
        float *wide = test_widened(compute, &packed);
        for (int b = 0; b < OUT * IN; b += 32) {
            float extreme = 0;
            bool finite = true;
            for (int k = b; k < b + 32; k++) {
                extreme = fabsf(values[k]) > fabsf(extreme) ? values[k] : extreme;
                finite &= isfinite(values[k]) != 0;
            }
            float scale = dtype == TL_Q8 ? fabsf(extreme) / 127.0f : extreme / -8.0f;
            float stored = finite ? tl_f16_to_f32(tl_f32_to_f16(scale)) : NAN;
            float inverse = scale != 0 ? 1.0f / scale : 0.0f;
            for (int k = b; k < b + 32; k++) {
                float scaled = values[k] * inverse;
                float q = dtype == TL_Q8 ? fmaxf(-127, fminf(127, roundf(scaled)))
                                         : fmaxf(0, fminf(15, floorf(scaled + 8.5f))) - 8;
                if (finite ? wide[k] != q * stored : !isnan(wide[k]))
                    test_fail("%s of %s [%d] = %g of %g, expected %g",
                              tl_dtype_get((tl_dtype)dtype)->name, tl_dtype_get(from)->name, k,
                              (double)wide[k], (double)values[k], (double)(q * stored));
            }
        }
        free(data), free(wide);
    }
    free(values), free(stored_source);
}

static void check_quantisation(tl_compute *compute) {
    for (int from = TL_F32; from <= TL_BF16; from++)
        check_quantisation_of(compute, (tl_dtype)from);
}

static void check_all(void) {
    tl_compute *compute = test_compute_new(2, TL_EXACT);
    check_conversions(compute);
    check_transposition(compute);
    check_quantisation(compute);
    tl_compute_free(compute);
}

int main(int count, char **arguments) {
    return test_each_instruction_set(count, arguments, check_all);
}
