/* Conversions of matrices, and ggml's quantisation rules in the packed layout of table.h. */
#include "kernels/compute.h"

#include <math.h>
#include <string.h>

size_t tl_matrix_bytes(tl_dtype dtype, int32_t out, int32_t in) {
    if (dtype == TL_Q8 || dtype == TL_Q4)
        return tl_panel_bytes(dtype, in) * (size_t)((out + TL_PANEL - 1) / TL_PANEL);
    return (size_t)out * (size_t)in * (dtype == TL_F32 ? 4 : 2);
}

typedef struct conversion {
    const tl_matrix *source;
    tl_dtype dtype;
    unsigned char *data;
} conversion;

/* One row through f32, in pieces. */
static void convert_row(const tl_compute *compute, const conversion *op, int32_t row) {
    enum { PIECE = 1024 };
    const tl_matrix *source = op->source;
    const unsigned char *from = tl_matrix_row(source, row);
    size_t from_size = source->dtype == TL_F32 ? 4 : 2, to_size = op->dtype == TL_F32 ? 4 : 2;
    unsigned char *to = op->data + (size_t)row * (size_t)source->in * to_size;
    if (source->dtype == op->dtype) {
        memcpy(to, from, (size_t)source->in * to_size);
        return;
    }
    float wide[PIECE];
    for (int32_t k = 0; k < source->in; k += PIECE) {
        size_t count = (size_t)tl_min(PIECE, source->in - k);
        compute->kernels->widen(from + (size_t)k * from_size, source->dtype, count, wide);
        if (op->dtype == TL_F32)
            memcpy(to + (size_t)k * to_size, wide, count * sizeof *wide);
        else
            compute->kernels->narrow(wide, count, op->dtype, to + (size_t)k * to_size);
    }
}

static void convert_rows(const tl_compute *compute, const void *context, int32_t first,
                         int32_t end) {
    for (int32_t row = first; row < end; row++)
        convert_row(compute, context, row);
}

/* An integer near x within [low, high]; low for NaN. */
static int32_t clamped(float x, int32_t low, int32_t high) {
    if (!(x > (float)low)) return low;
    if (x > (float)high) return high;
    return (int32_t)x;
}

static uint16_t quantise_q8(const float *x, int32_t values[TL_BLOCK]) {
    float largest = 0;
    bool finite = true;
    for (int k = 0; k < TL_BLOCK; k++) {
        largest = fabsf(x[k]) > largest ? fabsf(x[k]) : largest;
        finite &= isfinite(x[k]) != 0;
    }
    float scale = largest / 127.0f;
    float inverse = scale != 0 ? 1.0f / scale : 0.0f;
    for (int k = 0; k < TL_BLOCK; k++)
        values[k] = clamped(roundf(x[k] * inverse), -127, 127);
    return tl_f32_to_f16(finite ? scale : NAN);
}

static uint16_t quantise_q4(const float *x, int32_t values[TL_BLOCK]) {
    float largest = 0, extreme = 0;
    bool finite = true;
    for (int k = 0; k < TL_BLOCK; k++) {
        if (fabsf(x[k]) > largest) {
            largest = fabsf(x[k]);
            extreme = x[k];
        }
        finite &= isfinite(x[k]) != 0;
    }
    float scale = extreme / -8.0f;
    float inverse = scale != 0 ? 1.0f / scale : 0.0f;
    for (int k = 0; k < TL_BLOCK; k++)
        values[k] = clamped(x[k] * inverse + 8.5f, 0, 15) - 8;
    return tl_f32_to_f16(finite ? scale : NAN);
}

static void quantise_panel(const tl_compute *compute, const conversion *op, int32_t panel) {
    const tl_matrix *source = op->source;
    size_t block_bytes = tl_block_bytes(op->dtype);
    int32_t blocks = source->in / TL_BLOCK;
    unsigned char *data = op->data + (size_t)panel * tl_panel_bytes(op->dtype, source->in);
    uint16_t *scales = (uint16_t *)data;
    unsigned char *to = data + (size_t)blocks * TL_PANEL * sizeof *scales;
    memset(data, 0, tl_panel_bytes(op->dtype, source->in));
    size_t size = source->dtype == TL_F32 ? 4 : 2;
    for (int32_t lane = 0; lane < TL_PANEL; lane++) {
        int32_t out = panel * TL_PANEL + lane;
        const unsigned char *row = out < source->out ? tl_matrix_row(source, out) : NULL;
        for (int32_t b = 0; b < blocks; b++) {
            float x[TL_BLOCK] = {0};
            int32_t values[TL_BLOCK];
            if (row)
                compute->kernels->widen(row + (size_t)b * TL_BLOCK * size, source->dtype, TL_BLOCK,
                                        x);
            scales[b * TL_PANEL + lane] =
                op->dtype == TL_Q8 ? quantise_q8(x, values) : quantise_q4(x, values);
            for (int32_t k = 0; k < TL_BLOCK; k++) {
                unsigned char *place =
                    to + (size_t)b * block_bytes + tl_block_place(op->dtype, lane, k);
                if (op->dtype == TL_Q8)
                    *place = (unsigned char)(values[k] + 128);
                else
                    *place |= (unsigned char)((values[k] + 8) << (k < 16 ? 0 : 4));
            }
        }
    }
}

static void quantise_panels(const tl_compute *compute, const void *context, int32_t first,
                            int32_t end) {
    for (int32_t panel = first; panel < end; panel++)
        quantise_panel(compute, context, panel);
}

static bool is_row_major(tl_dtype dtype) {
    return dtype == TL_F32 || dtype == TL_F16 || dtype == TL_BF16;
}

bool tl_matrix_convert(tl_compute *compute, const tl_matrix *source, tl_dtype dtype, void *data,
                       tl_matrix *result, tl_error *error) {
    bool packed = dtype == TL_Q8 || dtype == TL_Q4;
    if (!is_row_major(source->dtype) || (!packed && !is_row_major(dtype)))
        return tl_fail(error, TL_ERROR_UNSUPPORTED, "cannot convert %s to %s",
                       tl_dtype_get(source->dtype)->name, tl_dtype_get(dtype)->name);
    if (packed && source->in % TL_BLOCK != 0)
        return tl_fail(error, TL_ERROR_UNSUPPORTED,
                       "cannot convert a matrix of %d columns to %s: expected a multiple of %d",
                       source->in, tl_dtype_get(dtype)->name, TL_BLOCK);
    conversion op = {source, dtype, data};
    if (packed)
        tl_rows_run(compute, (source->out + TL_PANEL - 1) / TL_PANEL, source->in * TL_PANEL,
                    quantise_panels, &op);
    else
        tl_rows_run(compute, source->out, source->in, convert_rows, &op);
    *result = (tl_matrix){.dtype = dtype,
                          .out = source->out,
                          .in = source->in,
                          .stride = source->in,
                          .data = data,
                          .bytes = tl_matrix_bytes(dtype, source->out, source->in)};
    return true;
}

void tl_widen(const void *source, tl_dtype dtype, size_t count, float *y) {
    const uint16_t *halves = source;
    for (size_t i = 0; i < count; i++) {
        if (dtype == TL_F32)
            memcpy(&y[i], (const unsigned char *)source + i * sizeof *y, sizeof *y);
        else
            y[i] = dtype == TL_F16 ? tl_f16_to_f32(halves[i]) : tl_bf16_to_f32(halves[i]);
    }
}
