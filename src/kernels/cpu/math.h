/* exp, the activations and their kin on vectors. Bounds are tested in unit/test_kernels_rows.c.
 *
 * Polynomials are least-maximum fits made for this file in double and rounded to f32. */
#ifndef TL_KERNELS_MATH_H
#define TL_KERNELS_MATH_H

#include "kernels/cpu/vector.h"
#include "kernels/kernels.h"

/* eˣ within 1.5 ulp; 0 below -104, infinity above 88.73, NaN for NaN; denormal results keep their
 * bits. x = n ln 2 + r with |r| ≤ ln 2 / 2; ln 2 in two parts, so that n ln 2 is exact enough. */
INLINE vf v_exp(vf x) {
    x = v_max(v_set(-105.0f), v_min(v_set(89.0f), x));
    vf n = v_round(x * v_set(0x1.715476p+0f));
    vf r = v_fma(n, v_set(-0x1.62e4p-1f), x);
    r = v_fma(n, v_set(-0x1.7f7d1cp-20f), r);
    vf q = v_set(0x1.6db65ap-10f);
    q = v_fma(q, r, v_set(0x1.123c46p-7f));
    q = v_fma(q, r, v_set(0x1.55546cp-5f));
    q = v_fma(q, r, v_set(0x1.555484p-3f));
    q = v_fma(q, r, v_set(0.5f));
    return v_times_power(v_fma(q, r * r, r) + v_set(1.0f), n);
}

/* eˣ, or 0 below 2⁻⁹⁹: for what is weighed against 1. Numbers below 2⁻¹²⁶ and products that end
 * there would stop the processor for a hundred cycles and more, each. */
INLINE vf v_exp_weight(vf x) {
    vf lowest = v_set(-69.0f);
    return v_select(x < lowest, v_zero(), v_exp(v_max(lowest, x)));
}

/* 1 / (1 + e⁻ˣ) within 3 ulp; below -87, where that leaves the normal numbers, 2⁻¹²⁶. */
INLINE vf v_sigmoid(vf x) {
    return v_inverse(v_min(v_set(0x1p126f), v_set(1.0f) + v_exp(-x)));
}

/* erfc(t) / 2 for t ≥ 0.95, through a polynomial for -ln erfc. */
INLINE vf v_half_erfc_(vf t) {
    t = v_min(v_set(10.5f), t);
    vf g = v_set(2.1496075014e-05f);
    g = v_fma(g, t, v_set(-4.391059226e-04f));
    g = v_fma(g, t, v_set(4.193608879e-03f));
    g = v_fma(g, t, v_set(-2.517896191e-02f));
    g = v_fma(g, t, v_set(1.0837246934e-01f));
    g = v_fma(g, t, v_set(6.3326262074e-01f));
    g = v_fma(g, t, v_set(1.1295568261f));
    g = v_fma(g, t, v_set(-1.8344323567e-04f));
    return v_set(0.5f) * v_exp(-g);
}

/* Φ(x), the normal distribution: within 1.2e-7 everywhere. */
INLINE vf v_normal(vf x) {
    vf z = x * v_set(0x1.6a09e6p-1f);
    vf t = v_abs(z);
    vf s = z * z;
    vf p = v_set(0x1.4ae4c8p-14f);
    p = v_fma(p, s, v_set(-0x1.a485eap-11f));
    p = v_fma(p, s, v_set(0x1.5419f6p-8f));
    p = v_fma(p, s, v_set(-0x1.b7fbb4p-6f));
    p = v_fma(p, s, v_set(0x1.ce2d20p-4f));
    p = v_fma(p, s, v_set(-0x1.81273ep-2f));
    p = v_fma(p, s, v_set(0x1.20dd74p+0f));
    vf near = v_fma(v_set(0.5f) * p, z, v_set(0.5f));
    vf tail = v_half_erfc_(t);
    vf far = v_select(z < v_zero(), tail, v_set(1.0f) - tail);
    return v_select(t <= v_set(1.0f), near, far);
}

INLINE vf v_gelu(vf x) {
    return x * v_normal(x);
}

/* x/2 (1 + tanh u) = x σ(2u) with u = √(2/π) (x + 0.044715 x³). */
INLINE vf v_gelu_tanh(vf x) {
    vf u = v_set(0x1.988454p-1f) * v_fma(v_set(0.044715f) * x, x * x, x);
    return x * v_sigmoid(u + u);
}

INLINE vf v_silu(vf x) {
    return x * v_sigmoid(x);
}

INLINE vf v_activate(tl_activation activation, vf x) {
    switch (activation) {
    case TL_ACTIVATION_RELU:
        return v_max(v_zero(), x);
    case TL_ACTIVATION_GELU:
        return v_gelu(x);
    case TL_ACTIVATION_GELU_TANH:
        return v_gelu_tanh(x);
    case TL_ACTIVATION_GELU_QUICK:
        return x * v_sigmoid(v_set(1.702f) * x);
    case TL_ACTIVATION_SILU:
        return v_silu(x);
    case TL_ACTIVATION_NONE:
        break;
    }
    return x;
}

#endif
