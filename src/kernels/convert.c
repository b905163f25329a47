/* Conversions of matrices. */
#include "kernels/compute.h"

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

static void quantise_panels(const tl_compute *compute, const void *context, int32_t first,
                            int32_t end) {
    const conversion *op = context;
    size_t bytes = tl_panel_bytes(op->dtype, op->source->in);
    for (int32_t panel = first; panel < end; panel++)
        compute->kernels->pack_panel(op->source, panel, op->dtype,
                                     op->data + (size_t)panel * bytes);
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
