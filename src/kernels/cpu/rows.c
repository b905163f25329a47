/* Row by row: norms, embeddings, rotary positions, activations, conversions. Sums over a row run in
 * lanes and end in one tree, so they depend on nothing but the row. */
#include "kernels/cpu/functions.h"
#include "kernels/cpu/math.h"

INLINE vf load_part(const float *p, int n) {
    return n == VL ? v_load(p) : v_load_n(p, n);
}

INLINE void store_part(float *p, vf a, int n) {
    if (n == VL)
        v_store(p, a);
    else
        v_store_n(p, a, n);
}

/* ---- linear's end ---- */

/* Another core may hold the lines that y is written to: they are asked for some rows before. */
enum { WRITE_AHEAD = 8 };

INLINE void fetch_to_write(const float *y, int32_t count) {
    for (int32_t o = 0; o < count; o += 16)
        __builtin_prefetch(y + o, 1);
}

INLINE void finish_row(tl_activation activation, const tl_linear *op, const float *t,
                       const float *g, int32_t first_out, int32_t outs, const float *residual,
                       float *y) {
    for (int32_t o = 0; o < outs; o += VL) {
        int n = tl_min(VL, outs - o);
        vf value = load_part(t + o, n);
        if (op->bias) value = value + load_part(op->bias + first_out + o, n);
        value = v_activate(activation, value);
        if (g) {
            vf gate = load_part(g + o, n);
            if (op->gate_bias) gate = gate + load_part(op->gate_bias + first_out + o, n);
            value = value * gate;
        }
        if (residual) value = value + load_part(residual + o, n);
        store_part(y + o, value, n);
    }
}

void TL_NAME(tl_finish)(const tl_linear *op, const float *t, const float *g, int64_t stride,
                        int32_t first_row, int32_t rows, int32_t first_out, int32_t outs) {
    for (int32_t r = 0; r < rows; r++) {
        const float *residual =
            op->residual ? op->residual + (first_row + r) * op->residual_stride + first_out : NULL;
        float *y = op->y + (first_row + r) * op->y_stride + first_out;
        const float *tr = t + r * stride, *gr = g ? g + r * stride : NULL;
        if (r + WRITE_AHEAD < rows) fetch_to_write(y + WRITE_AHEAD * op->y_stride, outs);
        switch (op->activation) {
        case TL_ACTIVATION_RELU:
            finish_row(TL_ACTIVATION_RELU, op, tr, gr, first_out, outs, residual, y);
            break;
        case TL_ACTIVATION_GELU:
            finish_row(TL_ACTIVATION_GELU, op, tr, gr, first_out, outs, residual, y);
            break;
        case TL_ACTIVATION_GELU_TANH:
            finish_row(TL_ACTIVATION_GELU_TANH, op, tr, gr, first_out, outs, residual, y);
            break;
        case TL_ACTIVATION_GELU_QUICK:
            finish_row(TL_ACTIVATION_GELU_QUICK, op, tr, gr, first_out, outs, residual, y);
            break;
        case TL_ACTIVATION_SILU:
            finish_row(TL_ACTIVATION_SILU, op, tr, gr, first_out, outs, residual, y);
            break;
        case TL_ACTIVATION_NONE:
            finish_row(TL_ACTIVATION_NONE, op, tr, gr, first_out, outs, residual, y);
            break;
        }
    }
}

/* ---- conversions ---- */

INLINE vf load_wide(tl_dtype dtype, const void *p, size_t i, int n) {
    if (dtype == TL_BF16)
        return n == VL ? v_load_bf16((const uint16_t *)p + i)
                       : v_load_bf16_n((const uint16_t *)p + i, n);
    if (dtype == TL_F16)
        return n == VL ? v_load_f16((const uint16_t *)p + i)
                       : v_load_f16_n((const uint16_t *)p + i, n);
    return load_part((const float *)p + i, n);
}

INLINE void widen(tl_dtype dtype, const void *source, size_t count, float *y) {
    size_t i = 0;
    for (; i + VL <= count; i += VL)
        v_store(y + i, load_wide(dtype, source, i, VL));
    if (i < count)
        v_store_n(y + i, load_wide(dtype, source, i, (int)(count - i)), (int)(count - i));
}

void TL_NAME(tl_widen_run)(const void *source, tl_dtype dtype, size_t count, float *y) {
    if (dtype == TL_BF16)
        widen(TL_BF16, source, count, y);
    else if (dtype == TL_F16)
        widen(TL_F16, source, count, y);
    else
        memcpy(y, source, count * sizeof *y);
}

/* Rounds to the nearest even bf16; a NaN stays one. */
INLINE vi round_bf16(vf a) {
    vi bits = (vi)a;
    vi rounded = bits + v_set_int(0x7fff) + ((bits >> 16) & v_set_int(1));
    vi quiet = bits | v_set_int(0x400000);
    vi nan = ~(a == a);
    return (((nan & quiet) | (~nan & rounded)) >> 16) & v_set_int(0xffff);
}

void TL_NAME(tl_narrow_run)(const float *x, size_t count, tl_dtype dtype, void *y) {
    uint16_t *halves = y;
    size_t i = 0;
    for (; i + VL <= count; i += VL) {
        vf value = v_load(x + i);
        if (dtype == TL_F16)
            v_store_f16(halves + i, value);
        else
            v_store_u16(halves + i, round_bf16(value));
    }
    for (; i < count; i++)
        halves[i] = dtype == TL_F16 ? tl_f32_to_f16(x[i]) : tl_f32_to_bf16(x[i]);
}

static void embed_packed(const tl_matrix *matrix, int32_t id, float scale, float *y) {
    int32_t blocks = matrix->in / TL_BLOCK, lane = id % TL_PANEL;
    const unsigned char *data = tl_panel(matrix, id / TL_PANEL);
    const unsigned char *values = data + (size_t)blocks * TL_PANEL * sizeof(uint16_t);
    for (int32_t b = 0; b < blocks; b++, values += tl_block_bytes(matrix->dtype)) {
        float factor = tl_f16_to_f32(((const uint16_t *)data)[b * TL_PANEL + lane]);
        for (int32_t k = 0; k < TL_BLOCK; k++) {
            int32_t value = values[tl_block_place(matrix->dtype, lane, k)];
            if (matrix->dtype == TL_Q8)
                value -= 128;
            else
                value = (k < 16 ? value & 15 : value >> 4) - 8;
            y[b * TL_BLOCK + k] = factor * (float)value * scale;
        }
    }
}

void TL_NAME(tl_embed_row)(const tl_matrix *matrix, int32_t id, float scale, float *y) {
    if (matrix->dtype == TL_Q8 || matrix->dtype == TL_Q4) {
        embed_packed(matrix, id, scale, y);
        return;
    }
    const void *row = tl_matrix_row(matrix, id);
    for (int32_t i = 0; i < matrix->in; i += VL) {
        int n = tl_min(VL, matrix->in - i);
        store_part(y + i, load_wide(matrix->dtype, row, (size_t)i, n) * v_set(scale), n);
    }
}

/* ---- norms ---- */

/* Four partial sums in each lane hide the additions' latency; they are joined in pairs. */
typedef struct running {
    vf part[4];
} running;

INLINE float running_sum(const running *s) {
    return v_sum((s->part[0] + s->part[1]) + (s->part[2] + s->part[3]));
}

void TL_NAME(tl_layer_norm_row)(const float *x, int32_t dim, const float *weight, const float *bias,
                                float eps, float *y) {
    running total = {{v_zero(), v_zero(), v_zero(), v_zero()}};
    for (int32_t i = 0, part = 0; i < dim; i += VL, part = (part + 1) & 3)
        total.part[part] = total.part[part] + load_part(x + i, tl_min(VL, dim - i));
    vf mean = v_set(running_sum(&total) / (float)dim);
    running squares = {{v_zero(), v_zero(), v_zero(), v_zero()}};
    for (int32_t i = 0, part = 0; i < dim; i += VL, part = (part + 1) & 3) {
        int n = tl_min(VL, dim - i);
        vf off = load_part(x + i, n) - mean;
        if (n < VL) off = v_select(v_first(n), off, v_zero());
        squares.part[part] = v_fma(off, off, squares.part[part]);
    }
    vf variance = v_set(running_sum(&squares) / (float)dim);
    vf factor = v_set(1.0f) / v_sqrt(variance + v_set(eps));
    for (int32_t i = 0; i < dim; i += VL) {
        int n = tl_min(VL, dim - i);
        vf value = (load_part(x + i, n) - mean) * factor;
        if (weight) value = value * load_part(weight + i, n);
        if (bias) value = value + load_part(bias + i, n);
        store_part(y + i, value, n);
    }
}

void TL_NAME(tl_rms_norm_row)(const float *x, int32_t dim, const float *weight, float eps,
                              float *y) {
    running squares = {{v_zero(), v_zero(), v_zero(), v_zero()}};
    for (int32_t i = 0, part = 0; i < dim; i += VL, part = (part + 1) & 3) {
        vf value = load_part(x + i, tl_min(VL, dim - i));
        squares.part[part] = v_fma(value, value, squares.part[part]);
    }
    vf factor = v_set(1.0f) / v_sqrt(v_set(running_sum(&squares) / (float)dim + eps));
    for (int32_t i = 0; i < dim; i += VL) {
        int n = tl_min(VL, dim - i);
        vf value = load_part(x + i, n) * factor;
        if (weight) value = value * load_part(weight + i, n);
        store_part(y + i, value, n);
    }
}

void TL_NAME(tl_add_row)(const float *x, int32_t dim, float *y) {
    for (int32_t i = 0; i < dim; i += VL) {
        int n = tl_min(VL, dim - i);
        store_part(y + i, load_part(y + i, n) + load_part(x + i, n), n);
    }
}

void TL_NAME(tl_rotate_row)(float *x, int32_t heads, int32_t head_dim, int32_t half,
                            const float *cosines, const float *sines) {
    for (int32_t h = 0; h < heads; h++, x += head_dim) {
        for (int32_t i = 0; i < half; i += VL) {
            int n = tl_min(VL, half - i);
            vf c = load_part(cosines + i, n), s = load_part(sines + i, n);
            vf first = load_part(x + i, n), second = load_part(x + half + i, n);
            store_part(x + i, first * c - second * s, n);
            store_part(x + half + i, second * c + first * s, n);
        }
    }
}

void TL_NAME(tl_largest)(const float *x, int32_t n, float *largest, int32_t *argmax) {
    vf most = v_set(x[0]);
    int32_t i = 0;
    for (; i + VL <= n; i += VL)
        most = v_max(v_load(x + i), most);
    float peak = v_largest(most);
    for (; i < n; i++)
        peak = x[i] > peak ? x[i] : peak;
    vi found = v_set_int(0);
    vf wanted = v_set(peak);
    int32_t at = 0;
    for (i = 0; i + VL <= n; i += VL) {
        found = v_load(x + i) == wanted;
        bool any = false;
        for (int l = 0; l < VL; l++)
            any |= found[l] != 0;
        if (any) break;
    }
    for (at = i; at < n - 1 && x[at] != peak; at++) {
    }
    *largest = peak;
    *argmax = at;
}

float TL_NAME(tl_exp_sum)(const float *x, int32_t n, float shift) {
    running total = {{v_zero(), v_zero(), v_zero(), v_zero()}};
    for (int32_t k = 0, part = 0; k < n; k += VL, part = (part + 1) & 3) {
        int count = tl_min(VL, n - k);
        vf e = v_exp(load_part(x + k, count) - v_set(shift));
        if (count < VL) e = v_select(v_first(count), e, v_zero());
        total.part[part] = total.part[part] + e;
    }
    return running_sum(&total);
}
