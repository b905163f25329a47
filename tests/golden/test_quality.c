/* What lower precision costs: the mean Kullback-Leibler divergence, in nats a token, from the
 * distributions of the stored weights in exact arithmetic to those of fast products with bf16, q8
 * and q4 weights. Bounds are a little above what was measured (docs/performance.md); they catch a
 * format read wrongly or a scale lost, which outputs that merely look plausible would hide. */
#include "engine/engine.h"
#include "support/load.h"
#include "support/support.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

typedef struct variant {
    tl_dtype dtype;
    tl_precision precision;
    double most; /* for the models of the conformance set, with random weights */
    double most_trained;
} variant;

static const variant variants[] = {
    {TL_BF16, TL_EXACT, 4e-4, 5e-5}, {TL_BF16, TL_FAST, 6e-4, 7e-5}, {TL_Q8, TL_EXACT, 3e-3, 3e-4},
    {TL_Q8, TL_FAST, 5e-3, 6e-4},    {TL_Q4, TL_EXACT, 0.4, 0.05},   {TL_Q4, TL_FAST, 0.4, 0.05},
};

/* A model with its engine. */
typedef struct subject {
    tl_model *model;
    tl_engine *engine;
} subject;

static subject open_subject(const char *directory, const tl_model_options *options,
                            tl_precision precision) {
    tl_model *model = test_load_model(directory, options);
    tl_engine_options engine = {.threads = 2, .precision = precision};
    return (subject){model, test_open_engine(model, &engine)};
}

static void close_subject(subject *s) {
    tl_engine_free(s->engine);
    tl_model_unload(s->model);
}

/* A sequence that distributions are compared on, after each of its tokens. */
typedef struct text {
    tl_ids tokens, encoder;
} text;

typedef struct texts {
    text *items;
    int32_t count, rows;
} texts;

static void texts_free(texts *t) {
    for (int32_t i = 0; i < t->count; i++) {
        tl_ids_free(&t->items[i].tokens);
        tl_ids_free(&t->items[i].encoder);
    }
    free(t->items);
}

/* The inputs of the conformance set's cases. */
static texts read_cases(const char *name, bool seq2seq) {
    tl_error error = {0};
    cJSON *expected =
        tl_json_read(test_shared_path("golden/expected/%s/expected.json", name), 1 << 28, &error);
    assert_ok(expected != NULL, error);
    const cJSON *cases = cJSON_GetObjectItem(expected, "cases"), *item;
    texts t = {calloc((size_t)cJSON_GetArraySize(cases), sizeof(text)), 0, 0};
    cJSON_ArrayForEach(item, cases) {
        text *to = &t.items[t.count++];
        to->tokens = test_ids_of(item, seq2seq ? "decoder_input_ids" : "input_ids");
        if (seq2seq) to->encoder = test_ids_of(item, "input_ids");
        t.rows += (int32_t)to->tokens.count;
    }
    cJSON_Delete(expected);
    assert_true(t.rows > 0);
    return t;
}

/* Log-probabilities [rows][vocab]. */
static float *distributions(const subject *s, const texts *t) {
    size_t vocab = (size_t)s->model->spec.vocab;
    float *all = malloc((size_t)t->rows * vocab * sizeof *all), *to = all;
    for (int32_t i = 0; i < t->count; i++) {
        const text *from = &t->items[i];
        int32_t n = (int32_t)from->tokens.count;
        tl_ask *asks = calloc((size_t)n, sizeof *asks);
        for (int32_t r = 0; r < n; r++)
            asks[r] = (tl_ask){.row = r, .kind = TL_ASK_LOGITS, .logits = to + (size_t)r * vocab};
        tl_path path = {from->encoder.count ? from->encoder.data : NULL,
                        (int32_t)from->encoder.count,
                        from->tokens.data,
                        n,
                        asks,
                        n};
        tl_error error = {0};
        assert_ok(tl_engine_score_paths(s->engine, &path, 1, NULL, &error), error);
        free(asks);
        to += (size_t)n * vocab;
    }
    for (int32_t r = 0; r < t->rows; r++) {
        float *row = all + (size_t)r * vocab;
        double largest = row[0], sum = 0;
        for (size_t i = 0; i < vocab; i++)
            largest = fmax(largest, row[i]);
        for (size_t i = 0; i < vocab; i++)
            sum += exp(row[i] - largest);
        for (size_t i = 0; i < vocab; i++)
            row[i] = (float)(row[i] - largest - log(sum));
    }
    return all;
}

/* Σ p (log p - log q), by row, and their mean. */
static double divergence(const float *p, const float *q, int32_t rows, int32_t vocab) {
    double sum = 0;
    for (size_t i = 0; i < (size_t)rows * (size_t)vocab; i++)
        sum += exp(p[i]) * ((double)p[i] - q[i]);
    return sum / rows;
}

static void check_variants(const char *name, const char *directory, const texts *t, bool trained) {
    subject exact = open_subject(directory, NULL, TL_EXACT);
    int32_t vocab = exact.model->spec.vocab;
    float *expected = distributions(&exact, t);
    for (size_t i = 0; i < sizeof variants / sizeof *variants; i++) {
        const variant *v = &variants[i];
        tl_model_options options = {.convert = true, .dtype = v->dtype};
        subject lower = open_subject(directory, &options, v->precision);
        float *found = distributions(&lower, t);
        double nats = divergence(expected, found, t->rows, vocab);
        const char *how = v->precision == TL_FAST ? "fast" : "exact";
        print_message("%-16s %-4s %-5s %.3g\n", name, tl_dtype_get(v->dtype)->name, how, nats);
        double most = trained ? v->most_trained : v->most;
        if (!(nats <= most))
            fail_msg("%s: %s, %s: divergence %.3g, expected at most %.3g", name,
                     tl_dtype_get(v->dtype)->name, how, nats, most);
        free(found);
        close_subject(&lower);
    }
    free(expected);
    close_subject(&exact);
}

static void test_model(void **state) {
    const char *name = *state;
    char directory[4096];
    snprintf(directory, sizeof directory, "%s", test_shared_path("golden/models/%s", name));
    subject s = open_subject(directory, NULL, TL_EXACT);
    texts t = read_cases(name, s.model->spec.encoder);
    close_subject(&s);
    check_variants(name, directory, &t, false);
    texts_free(&t);
}

/* A model of 260 thousand weights, trained on stories, along the story it tells by itself. */
static void test_trained(void **state) {
    (void)state;
    enum { LENGTH = 400, BOS = 1 };
    char directory[4096];
    snprintf(directory, sizeof directory, "%s", test_shared_path("weights/stories260K-hf"));
    if (!tl_dir_exists(directory)) skip();
    subject s = open_subject(directory, NULL, TL_EXACT);
    text story = {0};
    int32_t bos = BOS;
    tl_error error = {0};
    assert_ok(tl_ids_append(&story.tokens, &bos, 1, &error), error);
    tl_generate_options options = {.most_tokens = LENGTH, .ignore_eos = true, .top_p = 1};
    assert_ok(tl_engine_generate(s.engine, &bos, 1, NULL, 0, &options, &story.tokens, &error),
              error);
    close_subject(&s);
    texts t = {&story, 1, (int32_t)story.tokens.count};
    check_variants("stories260K", directory, &t, true);
    tl_ids_free(&story.tokens);
}

int main(void) {
    const struct CMUnitTest trained[] = {cmocka_unit_test(test_trained)};
    int models = test_each_golden_model("quality", test_model, test_brief());
    if (models == 77) return 77;
    return cmocka_run_group_tests_name("quality, trained", trained, NULL, NULL) + models;
}
