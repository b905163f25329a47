/* Tables that depend on positions: rotary angles, T5's relative bias, ALiBi's slopes. */
#include "engine/internal.h"

#include <math.h>

/* The dim that turns `turns` times within the original positions. */
static double yarn_dim(const tl_model_spec *spec, double turns) {
    return spec->rotary_period * log(spec->rope_original_positions / (turns * 2 * M_PI)) /
           (2 * log(spec->rope_theta));
}

/* Fast dims keep their frequency, slow ones have it divided by the factor, on a ramp in between
 * (Peng et al. 2023; _compute_yarn_parameters). */
static float yarn_frequency(const tl_model_spec *spec, int32_t i, float power) {
    double low = yarn_dim(spec, spec->rope_beta_fast), high = yarn_dim(spec, spec->rope_beta_slow);
    if (!spec->rope_exact_range) low = floor(low), high = ceil(high);
    low = fmax(low, 0);
    high = fmin(high, spec->rotary_period - 1);
    if (low == high) high += 0.001;
    float ramp = fminf(fmaxf(((float)i - (float)low) / (float)(high - low), 0), 1);
    float kept = 1 - ramp;
    return 1.0f / ((float)spec->rope_factor * power) * (1 - kept) + 1.0f / power * kept;
}

/* Inverse frequencies in f32, as transformers computes them: 1 / theta^(2i / dim), then scaled
 * (modeling_rope_utils.py: linear, llama3, yarn). */
static float inverse_frequency(const tl_model_spec *spec, int32_t i) {
    float exponent = (float)(2 * i) / (float)spec->rotary_period;
    float power = (float)pow(spec->rope_theta, exponent), frequency = 1.0f / power;
    if (spec->rope_scaling == TL_ROPE_LINEAR) return frequency / (float)spec->rope_factor;
    if (spec->rope_scaling == TL_ROPE_YARN) return yarn_frequency(spec, i, power);
    if (spec->rope_scaling != TL_ROPE_LLAMA3) return frequency;
    double low = spec->rope_original_positions / spec->rope_low_factor;
    double high = spec->rope_original_positions / spec->rope_high_factor;
    float wavelength = (float)(2 * M_PI) / frequency;
    if (wavelength < (float)high) return frequency;
    float scaled = frequency / (float)spec->rope_factor;
    if (wavelength > (float)low) return scaled;
    float smooth =
        ((float)spec->rope_original_positions / wavelength - (float)spec->rope_low_factor) /
        (float)(spec->rope_high_factor - spec->rope_low_factor);
    return (1 - smooth) * scaled + smooth * frequency;
}

static bool reserve_rotary(tl_engine *e, int32_t length, tl_error *error) {
    const tl_model_spec *spec = &e->model->spec;
    if (spec->position != TL_POSITION_ROTARY || length <= e->rotary_positions) return true;
    size_t half = (size_t)spec->rotary_dim / 2, positions = (size_t)length;
    if (!tl_region_reserve(&e->rotary, (2 * positions * half + positions) * sizeof(float),
                           "the rotary tables", error))
        return false;
    e->cosines = e->rotary.data;
    e->sines = e->cosines + positions * half;
    e->sine_maxima = e->sines + positions * half;
    float maximum = 0;
    float scale = spec->rope_scaling == TL_ROPE_YARN ? (float)spec->rope_attention_factor : 1;
    for (size_t i = 0; i < half; i++) {
        float frequency = inverse_frequency(spec, (int32_t)i);
        for (size_t p = 0; p < positions; p++) {
            float angle = (float)p * frequency;
            e->cosines[p * half + i] = (float)cos(angle) * scale;
            e->sines[p * half + i] = (float)sin(angle) * scale;
        }
    }
    for (size_t p = 0; p < positions; p++) {
        for (size_t i = 0; i < half; i++)
            maximum = fmaxf(maximum, fabsf(e->sines[p * half + i]));
        e->sine_maxima[p] = maximum;
    }
    e->rotary_positions = length;
    if (spec->rope_int8) return true;
    const void *at;
    if (!tl_twin_table(e, &e->rotary, &e->rotary_twin, &at, error)) return false;
    e->turn_cosines = at;
    e->turn_sines = e->turn_cosines + positions * half;
    return true;
}

static float round_to_int8(float value, float maximum) {
    return maximum > 0 ? rintf(value / maximum * 127) / 127 * maximum : 0;
}

bool tl_tables_reserve_calls(tl_engine *e, int32_t rows, tl_error *error) {
    if (!e->model->spec.rope_int8) return true;
    size_t bytes = sizeof(float) * (size_t)rows * (size_t)e->model->spec.rotary_dim;
    e->call_rows = 0;
    if (!tl_region_reserve(&e->call_rotary, bytes, "the rotary tables", error)) return false;
    e->call_rows = rows;
    return true;
}

/* modeling_phonelm.py: both tables are rounded to int8 by their largest magnitude over the
 * positions of the call; cos(0) = 1 is the cosines'. */
bool tl_tables_for_calls(tl_engine *e, tl_error *error) {
    size_t half = (size_t)e->model->spec.rotary_dim / 2;
    float *cosines = e->call_rotary.data, *sines = cosines + (size_t)e->call_rows * half;
    for (size_t r = 0; r < (size_t)e->pass.rows; r++) {
        size_t position = (size_t)e->pass.positions[r];
        float maximum = e->sine_maxima[e->pass.call_lengths[r] - 1];
        for (size_t i = 0; i < half; i++) {
            cosines[r * half + i] = round_to_int8(e->cosines[position * half + i], 1);
            sines[r * half + i] = round_to_int8(e->sines[position * half + i], maximum);
        }
    }
    const void *at;
    if (!tl_twin_table(e, &e->call_rotary, &e->call_rotary_twin, &at, error)) return false;
    e->turn_cosines = at;
    e->turn_sines = e->turn_cosines + (size_t)e->call_rows * half;
    return true;
}

/* T5Attention._relative_position_bucket, its logarithm in f32. */
int32_t tl_relative_bucket(int32_t distance, bool bidirectional, int32_t buckets,
                           int32_t max_distance) {
    int32_t first = 0;
    if (bidirectional) {
        buckets /= 2;
        if (distance > 0) first = buckets;
        if (distance < 0) distance = -distance;
    } else {
        distance = distance < 0 ? -distance : 0;
    }
    int32_t exact = buckets / 2;
    if (distance < exact) return first + distance;
    float ratio = logf((float)distance / (float)exact) / (float)log((double)max_distance / exact);
    int32_t large = exact + (int32_t)(ratio * (float)(buckets - exact));
    return first + (large < buckets ? large : buckets - 1);
}

static void fill_relative(const tl_model_spec *spec, const float *bias, bool bidirectional,
                          int32_t length, float *table) {
    int32_t width = 2 * length - 1;
    for (int32_t i = 0; i < width; i++) {
        int32_t bucket = tl_relative_bucket(i - (length - 1), bidirectional, spec->relative_buckets,
                                            spec->relative_max_distance);
        for (int32_t head = 0; head < spec->heads; head++)
            table[(int64_t)head * width + i] = bias[bucket * spec->heads + head];
    }
}

static bool reserve_relative(tl_engine *e, int32_t length, tl_error *error) {
    const tl_model_spec *spec = &e->model->spec;
    if (spec->position != TL_POSITION_RELATIVE || length <= e->relative_length) return true;
    size_t size = (size_t)spec->heads * (2 * (size_t)length - 1);
    if (!tl_region_reserve(&e->relative, 2 * size * sizeof(float), "the relative biases", error))
        return false;
    float *decoder = e->relative.data, *encoder = decoder + size;
    fill_relative(spec, e->model->decoder.relative_bias, false, length, decoder);
    if (spec->encoder) fill_relative(spec, e->model->encoder.relative_bias, true, length, encoder);
    const void *at;
    if (!tl_twin_table(e, &e->relative, &e->relative_twin, &at, error)) return false;
    e->relative_decoder = at;
    e->relative_encoder = e->relative_decoder + size;
    e->relative_length = length;
    return true;
}

/* Lengths are rounded up so that growing sequences rebuild the tables rarely. */
bool tl_tables_reserve(tl_engine *e, int32_t length, tl_error *error) {
    int32_t rounded = 256;
    while (rounded < length && rounded <= INT32_MAX / 2)
        rounded *= 2;
    if (rounded < length) rounded = length;
    return reserve_rotary(e, rounded, error) && reserve_relative(e, rounded, error);
}

/* Press et al. 2022: 2^(-8i/n) for a power of two; for other counts the series of the power below,
 * then every other slope of the series of twice that (build_alibi_tensor in modeling_bloom.py). */
bool tl_tables_new(tl_engine *e, tl_error *error) {
    const tl_model_spec *spec = &e->model->spec;
    if (spec->position != TL_POSITION_ALIBI) return true;
    if (!tl_region_reserve(&e->alibi, (size_t)spec->heads * sizeof(float), "the ALiBi slopes",
                           error))
        return false;
    float *slopes = e->alibi.data;
    int32_t below = 1;
    while (below * 2 <= spec->heads)
        below *= 2;
    for (int32_t i = 0; i < spec->heads; i++) {
        double exponent = i < below ? -8.0 * (i + 1) / below : -4.0 * (2 * (i - below) + 1) / below;
        slopes[i] = (float)exp2(exponent);
    }
    const void *at;
    if (!tl_twin_table(e, &e->alibi, &e->alibi_twin, &at, error)) return false;
    e->alibi_slopes = at;
    return true;
}
