/* Every checkpoint of the conformance set against PyTorch's own outputs: logits, log-likelihoods,
 * greedy continuations. */
#include "engine/request.h"
#include "support/load.h"
#include "support/support.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MOST_BRIEF = 3 }; /* cases of a model, where every step costs */

/* The bounds of the conformance set; anything looser would miss the wrong GELU. */
static const double most_logit = 2e-4;

static double most_likelihood(double expected) {
    return 3e-4 + 2e-6 * fabs(expected);
}

typedef struct subject {
    char name[256];
    const char *directory; /* its checkpoint */
    tl_model *model;
    tl_engine *engine;
    tl_tokenizer *tokenizer;
    cJSON *expected;
    tl_checkpoint *tensors; /* expected.safetensors */
    double worst_logit, worst_likelihood;
} subject;

/* ---- reading what is expected ---------------------------------------------------------------- */

static const float *tensor_of(const subject *s, const cJSON *object, const char *field,
                              int64_t rows) {
    const cJSON *name = cJSON_GetObjectItem(object, field);
    if (!cJSON_IsString(name)) return NULL;
    const tl_tensor *tensor = tl_checkpoint_find(s->tensors, name->valuestring);
    assert_non_null(tensor);
    assert_int_equal(tensor->dtype, TL_F32);
    assert_int_equal(tensor->bytes, (size_t)rows * (size_t)s->model->spec.vocab * sizeof(float));
    return tensor->data;
}

static void open_subject(subject *s) {
    static char directory[4096];
    tl_error error = {0};
    snprintf(directory, sizeof directory, "%s", test_shared_path("golden/models/%s", s->name));
    s->directory = directory;
    s->model = test_load_model(directory, NULL);
    s->engine =
        test_open_engine(s->model, &(tl_engine_options){.threads = 2, .device = test_device()});
    s->tokenizer = tl_tokenizer_open(directory, &error);
    assert_ok(s->tokenizer != NULL, error);
    s->expected = tl_json_read(test_shared_path("golden/expected/%s/expected.json", s->name),
                               1 << 28, &error);
    assert_ok(s->expected != NULL, error);
    const char *link = test_scratch_path("%s/model.safetensors", s->name);
    assert_ok(tl_dir_create(test_scratch_path("%s", s->name), &error), error);
    assert_int_equal(
        symlink(test_shared_path("golden/expected/%s/expected.safetensors", s->name), link), 0);
    s->tensors = tl_checkpoint_open(test_scratch_path("%s", s->name), &error);
    assert_ok(s->tensors != NULL, error);
}

static void close_subject(subject *s) {
    tl_checkpoint_free(s->tensors);
    cJSON_Delete(s->expected);
    tl_tokenizer_free(s->tokenizer);
    tl_engine_free(s->engine);
    tl_model_unload(s->model);
}

/* ---- logits ---------------------------------------------------------------------------------- */

static void compare_logits(subject *s, const char *what, const float *found, const float *expected,
                           int64_t count) {
    for (int64_t i = 0; i < count; i++) {
        double difference = fabs((double)found[i] - expected[i]);
        if (difference > s->worst_logit) s->worst_logit = difference;
        if (!(difference <= most_logit))
            fail_msg("%s: %s, logit %lld: %g, expected %g", s->name, what, (long long)i,
                     (double)found[i], (double)expected[i]);
    }
}

static void check_case(subject *s, const cJSON *item, int index) {
    int32_t vocab = s->model->spec.vocab;
    bool seq2seq = s->model->spec.encoder;
    tl_ids input = test_ids_of(item, "input_ids"), decoder = test_ids_of(item, "decoder_input_ids");
    const tl_ids *scored = seq2seq ? &decoder : &input;
    int32_t n = (int32_t)scored->count;
    const cJSON *logprobs = cJSON_GetObjectItem(item, "token_logprobs");
    assert_int_equal(cJSON_GetArraySize(logprobs), n - 1);
    float *logits = calloc((size_t)n * (size_t)vocab, sizeof *logits);
    tl_ask *asks = calloc((size_t)n * 2, sizeof *asks);
    for (int32_t i = 0; i < n; i++)
        asks[i] = (tl_ask){.row = i, .kind = TL_ASK_LOGITS, .logits = logits + (int64_t)i * vocab};
    for (int32_t i = 0; i + 1 < n; i++)
        asks[n + i] = (tl_ask){.row = i, .kind = TL_ASK_LOGPROB, .token = scored->data[i + 1]};
    tl_path path = {seq2seq ? input.data : NULL,
                    seq2seq ? (int32_t)input.count : 0,
                    scored->data,
                    n,
                    asks,
                    2 * n - 1};
    tl_error error = {0};
    assert_ok(tl_engine_score_paths(s->engine, &path, 1, NULL, &error), error);
    char what[64];
    snprintf(what, sizeof what, "case %d", index);
    compare_logits(s, what, logits + (int64_t)(n - 1) * vocab, tensor_of(s, item, "last_logits", 1),
                   vocab);
    const float *all = tensor_of(s, item, "all_logits", n);
    if (all) compare_logits(s, what, logits, all, (int64_t)n * vocab);
    const cJSON *expected;
    int32_t at = 0;
    cJSON_ArrayForEach(expected, logprobs) {
        double difference = fabs(asks[n + at].value - expected->valuedouble);
        if (!(difference <= most_likelihood(expected->valuedouble)))
            fail_msg("%s: %s, token %d: log p %g, expected %g", s->name, what, at,
                     (double)asks[n + at].value, expected->valuedouble);
        at++;
    }
    free(asks);
    free(logits);
    tl_ids_free(&input);
    tl_ids_free(&decoder);
}

static void check_cases(subject *s) {
    const cJSON *item;
    int index = 0;
    cJSON_ArrayForEach(item, cJSON_GetObjectItem(s->expected, "cases")) {
        if (test_brief() && index >= MOST_BRIEF) break;
        check_case(s, item, index++);
    }
    assert_true(index > 0);
}

/* ---- greedy continuations -------------------------------------------------------------------- */

static void check_greedy(subject *s) {
    const cJSON *item;
    int checked = 0;
    cJSON_ArrayForEach(item, cJSON_GetObjectItem(s->expected, "greedy")) {
        if (test_brief() && checked > 0) break;
        tl_error error = {0};
        tl_ids prompt = test_ids_of(item, "prompt_ids"), expected = test_ids_of(item, "new_ids"),
               found = {0};
        tl_generate_options options = {
            .most_tokens = (int32_t)expected.count, .ignore_eos = true, .top_p = 1};
        assert_ok(tl_engine_generate(s->engine, prompt.data, (int32_t)prompt.count, NULL, 0,
                                     &options, &found, &error),
                  error);
        assert_int_equal(found.count, expected.count);
        for (size_t i = 0; i < found.count; i++)
            if (found.data[i] != expected.data[i])
                fail_msg("%s: greedy %d, token %zu: %d, expected %d", s->name, checked, i,
                         found.data[i], expected.data[i]);
        tl_ids_free(&prompt);
        tl_ids_free(&expected);
        tl_ids_free(&found);
        checked++;
    }
    assert_true(checked > 0);
}

/* ---- pairs ----------------------------------------------------------------------------------- */

static void check_pairs(subject *s, const char *field, tl_pair *pairs, int32_t count) {
    tl_error error = {0};
    tl_likelihood *results = calloc((size_t)count, sizeof *results);
    assert_ok(tl_pairs_score(s->engine, pairs, count, results, NULL, &error), error);
    for (int32_t i = 0; i < count; i++) {
        const cJSON *item = cJSON_GetArrayItem(cJSON_GetObjectItem(s->expected, field), i);
        double expected = cJSON_GetObjectItem(item, "ll")->valuedouble;
        double difference = fabs(results[i].loglikelihood - expected);
        if (difference > s->worst_likelihood) s->worst_likelihood = difference;
        if (!(difference <= most_likelihood(expected)))
            fail_msg("%s: %s %d: log-likelihood %.6f, expected %.6f", s->name, field, i,
                     results[i].loglikelihood, expected);
        if (results[i].greedy != cJSON_IsTrue(cJSON_GetObjectItem(item, "is_greedy")))
            fail_msg("%s: %s %d: greedy differs", s->name, field, i);
        tl_pair_free(&pairs[i]);
    }
    free(results);
}

static void check_id_pairs(subject *s) {
    const cJSON *list = cJSON_GetObjectItem(s->expected, "pairs_ids"), *item;
    int32_t count = cJSON_GetArraySize(list), at = 0;
    assert_true(count > 0);
    tl_pair *pairs = calloc((size_t)count, sizeof *pairs);
    tl_error error = {0};
    int32_t max_length = tl_request_max_length(&s->model->spec, s->tokenizer);
    assert_int_equal(max_length, cJSON_GetObjectItem(s->expected, "max_length")->valueint);
    cJSON_ArrayForEach(item, list) {
        tl_ids context = test_ids_of(item, "ctx"), rest = test_ids_of(item, "cont");
        assert_ok(tl_pair_from_ids(&s->model->spec, max_length, context.data,
                                   (int32_t)context.count, rest.data, (int32_t)rest.count,
                                   &pairs[at], &error),
                  error);
        const cJSON *truncated = cJSON_GetObjectItem(item, "truncated");
        if (truncated) assert_int_equal(pairs[at].truncated, cJSON_IsTrue(truncated));
        at++;
        tl_ids_free(&context);
        tl_ids_free(&rest);
    }
    check_pairs(s, "pairs_ids", pairs, count);
    free(pairs);
}

static void check_text_pairs(subject *s) {
    const cJSON *list = cJSON_GetObjectItem(s->expected, "pairs_text"), *item;
    int32_t count = cJSON_GetArraySize(list), at = 0;
    assert_true(count > 0);
    tl_pair *pairs = calloc((size_t)count, sizeof *pairs);
    tl_error error = {0};
    cJSON_ArrayForEach(item, list) {
        const char *context = cJSON_GetObjectItem(item, "context")->valuestring;
        const char *rest = cJSON_GetObjectItem(item, "continuation")->valuestring;
        tl_ids expected = test_ids_of(item, "cont_ids");
        assert_ok(tl_pair_encode(&s->model->spec, s->tokenizer, TL_BOS_AUTO, context,
                                 strlen(context), rest, strlen(rest), &pairs[at], &error),
                  error);
        bool same = pairs[at].targets.count == expected.count &&
                    memcmp(pairs[at].targets.data, expected.data,
                           expected.count * sizeof *expected.data) == 0;
        if (!same) fail_msg("%s: pairs_text %d: continuation's ids differ", s->name, at);
        tl_ids_free(&expected);
        at++;
    }
    check_pairs(s, "pairs_text", pairs, count);
    free(pairs);
}

/* ---- through the program --------------------------------------------------------------------- */

static void check_program_logits(subject *s) {
    const cJSON *item = cJSON_GetArrayItem(cJSON_GetObjectItem(s->expected, "cases"), 2);
    tl_buffer ids = {0}, decoder = {0};
    const cJSON *id;
    cJSON_ArrayForEach(id, cJSON_GetObjectItem(item, "input_ids"))
        tl_buffer_append_format(&ids, "%d,", id->valueint);
    cJSON_ArrayForEach(id, cJSON_GetObjectItem(item, "decoder_input_ids"))
        tl_buffer_append_format(&decoder, "%d,", id->valueint);
    test_result result = decoder.length ? TEST_RUN(NULL, "logits", "-m", s->directory, "--device",
                                                   test_device(), "--ids", tl_buffer_string(&ids),
                                                   "--decoder-ids", tl_buffer_string(&decoder))
                                        : TEST_RUN(NULL, "logits", "-m", s->directory, "--device",
                                                   test_device(), "--ids", tl_buffer_string(&ids));
    if (result.status != 0) fail_msg("%s: %s", s->name, result.err);
    tl_error error = {0};
    cJSON *json = tl_json_parse(result.out, result.out_length, "logits", &error);
    assert_ok(json != NULL, error);
    const cJSON *logits = cJSON_GetObjectItem(json, "logits"), *value;
    assert_int_equal(cJSON_GetArraySize(logits), s->model->spec.vocab);
    const float *expected = tensor_of(s, item, "last_logits", 1);
    int at = 0;
    cJSON_ArrayForEach(value, logits) {
        float found = (float)value->valuedouble;
        compare_logits(s, "through the program", &found, &expected[at++], 1);
    }
    cJSON_Delete(json);
    test_result_free(&result);
    tl_buffer_free(&ids);
    tl_buffer_free(&decoder);
}

/* ---- all of them ----------------------------------------------------------------------------- */

static void test_model(void **state) {
    subject s = {0};
    snprintf(s.name, sizeof s.name, "%s", (const char *)*state);
    open_subject(&s);
    check_cases(&s);
    check_greedy(&s);
    check_id_pairs(&s);
    check_text_pairs(&s);
    check_program_logits(&s);
    printf("%s: |Δ logit| <= %.1e, |Δ log-likelihood| <= %.1e\n", s.name, s.worst_logit,
           s.worst_likelihood);
    close_subject(&s);
}

int main(void) {
    return test_each_golden_model("golden models", test_model, false);
}
