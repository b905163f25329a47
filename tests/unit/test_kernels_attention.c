/* Attention against a double loop; the same bits however its rows are cut. */
#include "support/kernels.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct attention_case {
    int32_t heads, kv_heads, head_dim, keys, queries;
    bool causal;
    int32_t window;
    bool alibi, relative;
} attention_case;

typedef struct attention_data {
    float *q, *k, *v, *out, *slopes, *bias;
    int32_t *slots;
    int32_t q_width, kv_width;
} attention_data;

static attention_data attention_new(const attention_case *c) {
    attention_data d = {.q_width = c->heads * c->head_dim, .kv_width = c->kv_heads * c->head_dim};
    int32_t store = c->keys + 7;
    d.q = test_random_values((size_t)(c->queries * d.q_width));
    d.k = test_random_values((size_t)(store * d.kv_width));
    d.v = test_random_values((size_t)(store * d.kv_width));
    d.out = test_memory((size_t)(c->queries * d.q_width) * 4);
    d.slopes = test_random_values((size_t)c->heads);
    d.bias = test_random_values((size_t)(c->heads * (2 * c->keys + 1)));
    d.slots = test_memory((size_t)store * 4);
    for (int32_t i = 0; i < store; i++)
        d.slots[i] = i;
    for (int32_t i = store - 1; i > 0; i--) { /* shuffled */
        int32_t j = test_random_below(i + 1), t = d.slots[i];
        d.slots[i] = d.slots[j];
        d.slots[j] = t;
    }
    return d;
}

static void attention_free(attention_data *d) {
    free(d->q), free(d->k), free(d->v), free(d->out), free(d->slopes), free(d->bias);
    free(d->slots);
}

static tl_attention attention_op(const attention_case *c, const attention_data *d, float *out,
                                 const tl_attention_span *spans, int32_t n_spans) {
    return (tl_attention){.q = d->q,
                          .q_stride = d->q_width,
                          .k = d->k,
                          .v = d->v,
                          .kv_stride = d->kv_width,
                          .out = out,
                          .out_stride = d->q_width,
                          .heads = c->heads,
                          .kv_heads = c->kv_heads,
                          .head_dim = c->head_dim,
                          .scale = 0.3f,
                          .causal = c->causal,
                          .window = c->window,
                          .alibi_slopes = c->alibi ? d->slopes : NULL,
                          .relative_bias = c->relative ? d->bias : NULL,
                          .relative_stride = 2 * c->keys + 1,
                          .relative_center = c->keys,
                          .spans = spans,
                          .n_spans = n_spans};
}

static void check_attention_values(const attention_case *c, const attention_data *d) {
    int32_t first_position = c->keys - c->queries;
    double *p = test_memory((size_t)c->keys * sizeof *p);
    for (int32_t i = 0; i < c->queries; i++) {
        int32_t position = first_position + i;
        int32_t end = c->causal ? position + 1 : c->keys;
        int32_t first = c->causal && c->window && end > c->window ? end - c->window : 0;
        for (int32_t h = 0; h < c->heads; h++) {
            const float *q = d->q + i * d->q_width + h * c->head_dim;
            int32_t column = h / (c->heads / c->kv_heads) * c->head_dim;
            double most = -INFINITY, sum = 0;
            for (int32_t key = first; key < end; key++) {
                const float *k = d->k + d->slots[key] * d->kv_width + column;
                double magnitude;
                p[key] = test_dot(q, k, c->head_dim, &magnitude) * (double)0.3f;
                if (c->alibi) p[key] += (double)d->slopes[h] * key;
                if (c->relative)
                    p[key] += (double)d->bias[h * (2 * c->keys + 1) + key - position + c->keys];
                most = fmax(most, p[key]);
            }
            for (int32_t key = first; key < end; key++)
                sum += p[key] = exp(p[key] - most);
            for (int32_t j = 0; j < c->head_dim; j++) {
                double expected = 0;
                for (int32_t key = first; key < end; key++)
                    expected +=
                        p[key] / sum * (double)d->v[d->slots[key] * d->kv_width + column + j];
                double got = (double)d->out[i * d->q_width + h * c->head_dim + j];
                if (!test_close(got, expected, 1e-5, c->alibi ? 1e-4 : 1e-5))
                    test_fail(
                        "attention %d/%d heads of %d, %d keys, %d queries: row %d head %d [%d] "
                        "= %g, expected %g",
                        c->heads, c->kv_heads, c->head_dim, c->keys, c->queries, i, h, j, got,
                        expected);
            }
        }
    }
    free(p);
}

/* The same rows cut into spans of their own lengths, by other threads. */
static void check_attention_cuts(const attention_case *c, const attention_data *d) {
    tl_attention_span spans[64];
    int32_t n = 0, first_position = c->keys - c->queries;
    for (int32_t done = 0; done < c->queries;) {
        int32_t count = n == 63 ? c->queries - done : 1 + test_random_below(c->queries - done);
        spans[n++] =
            (tl_attention_span){.slots = d->slots,
                                .keys = c->causal ? first_position + done + count : c->keys,
                                .first_row = done,
                                .queries = count,
                                .first_position = first_position + done};
        done += count;
    }
    size_t size = (size_t)(c->queries * d->q_width) * 4;
    float *out = test_memory(size);
    for (int threads = 1; threads <= 3; threads++) {
        tl_compute *compute = test_compute_new(threads, TL_EXACT);
        tl_attention op = attention_op(c, d, out, spans, n);
        memset(out, 0, size);
        tl_attention_run(compute, &op);
        if (memcmp(out, d->out, size) != 0)
            test_fail("attention of %d keys, %d queries: %d spans on %d threads give other bits",
                      c->keys, c->queries, n, threads);
        tl_compute_free(compute);
    }
    free(out);
}

static void check_attention(tl_compute *compute) {
    static const attention_case cases[] = {
        {1, 1, 1, 1, 1, true, 0, false, false},      {2, 1, 3, 5, 5, true, 0, false, false},
        {3, 3, 64, 70, 70, true, 0, false, false},   {9, 3, 64, 150, 33, true, 0, false, false},
        {14, 2, 64, 300, 1, true, 0, false, false},  {4, 4, 20, 131, 131, true, 17, false, false},
        {4, 2, 80, 90, 40, true, 0, true, false},    {6, 6, 64, 77, 77, false, 0, false, true},
        {8, 8, 32, 67, 3, false, 0, false, false},   {2, 2, 128, 257, 257, true, 100, false, false},
        {12, 12, 33, 65, 65, true, 0, false, true},  {71, 1, 16, 40, 12, true, 0, false, false},
        {9, 3, 64, 700, 1, true, 0, false, false},   {5, 5, 33, 450, 1, true, 0, true, false},
        {3, 3, 96, 610, 2, true, 301, false, false}, {1, 1, 8, 900, 1, true, 0, false, false},
        {6, 3, 80, 333, 1, false, 0, false, true},   {7, 7, 128, 1025, 1, true, 500, false, false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const attention_case *c = &cases[i];
        attention_data d = attention_new(c);
        tl_attention_span span = {d.slots, c->keys, 0, c->queries, c->keys - c->queries};
        tl_attention op = attention_op(c, &d, d.out, &span, 1);
        tl_attention_run(compute, &op);
        check_attention_values(c, &d);
        for (int cut = 0; cut < (test_kernels_brief() ? 1 : 4); cut++)
            check_attention_cuts(c, &d);
        attention_free(&d);
    }
}

/* A key that is NaN harms only the queries that see it. */
static void check_attention_poison(tl_compute *compute) {
    attention_case c = {2, 2, 64, 50, 50, true, 0, false, false};
    attention_data d = attention_new(&c);
    d.v[d.slots[30] * d.kv_width + 5] = INFINITY;
    d.k[d.slots[40] * d.kv_width + 5] = NAN;
    tl_attention_span span = {d.slots, c.keys, 0, c.queries, 0};
    tl_attention op = attention_op(&c, &d, d.out, &span, 1);
    tl_attention_run(compute, &op);
    for (int32_t i = 0; i < c.queries; i++)
        if (isfinite(d.out[i * d.q_width + 5]) != (i < 30) ||
            isfinite(d.out[i * d.q_width]) != (i < 40))
            test_fail("attention: query %d and the poisoned keys 30, 40", i);
    attention_free(&d);
}

static void check_all(void) {
    tl_compute *compute = test_compute_new(2, TL_EXACT);
    check_attention(compute);
    check_attention_poison(compute);
    tl_compute_free(compute);
}

int main(int count, char **arguments) {
    return test_each_instruction_set(count, arguments, check_all);
}
