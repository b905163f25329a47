/* The public interface, with docs/example.c as its first user. */
int example_main(int argc, char **argv);
#define main example_main
#include "../../docs/example.c"
#undef main

#include "support/fixture.h"
#include "support/support.h"

#include <stdlib.h>

static const char *small_model(void) {
    const char *directory = test_scratch_path("model");
    if (!tl_dir_exists(directory)) fixture_checkpoint(directory, &fixture_small);
    return directory;
}

static void test_example_runs(void **state) {
    (void)state;
    char *arguments[] = {"example", (char *)small_model(), NULL};
    assert_int_equal(example_main(2, arguments), 0);
    arguments[1] = (char *)test_scratch_path("absent");
    assert_int_equal(example_main(2, arguments), 1);
    assert_int_equal(example_main(1, arguments), 2);
}

static void test_round_trip(void **state) {
    (void)state;
    tl_error error = {0};
    tl_session_options options = {.threads = 1, .dtype = "bf16"};
    tl_session *session = tl_session_open(small_model(), &options, &error);
    assert_ok(session != NULL, error);
    static const char text[] = "A t\xc3\xa4st";
    int32_t *ids;
    size_t count;
    char *decoded;
    assert_ok(tl_session_encode(session, text, strlen(text), true, &ids, &count, &error), error);
    assert_ok(tl_session_decode(session, ids, count, true, &decoded, &error), error);
    assert_string_equal(decoded, text);
    tl_free(decoded);
    assert_ok(tl_session_decode(session, ids, 0, true, &decoded, &error), error);
    assert_string_equal(decoded, "");
    tl_free(decoded);
    int32_t vocabulary = tl_session_vocabulary(session), best = 0;
    assert_int_equal(vocabulary, FIXTURE_VOCABULARY);
    float *logits = calloc((size_t)vocabulary, sizeof *logits);
    assert_ok(tl_session_logits(session, ids, count, logits, &error), error);
    for (int32_t i = 1; i < vocabulary; i++)
        if (logits[i] > logits[best]) best = i;
    tl_sampling greedy = {.most_tokens = 1, .ignore_eos = true};
    int32_t *made;
    size_t n_made;
    assert_ok(tl_session_generate(session, ids, count, &greedy, &made, &n_made, &error), error);
    assert_int_equal(n_made, 1);
    assert_int_equal(made[0], best);
    assert_false(tl_session_logits(session, ids, 0, logits, &error));
    tl_free(made);
    tl_free(ids);
    free(logits);
    tl_session_free(session);
    options.dtype = "q5";
    assert_null(tl_session_open(small_model(), &options, &error));
    assert_int_equal(error.code, TL_ERROR_USAGE);
}

static void test_scores_name_the_pair(void **state) {
    (void)state;
    tl_error error = {0};
    tl_session *session = tl_session_open(small_model(), NULL, &error);
    assert_ok(session != NULL, error);
    tl_text_pair pairs[] = {{"x", " A"}, {"x", " B"}, {"x ", "A"}};
    tl_text_score scores[3];
    assert_ok(tl_session_score(session, pairs, 3, scores, &error), error);
    assert_true(scores[0].loglikelihood < 0);
    assert_true(scores[0].loglikelihood == scores[2].loglikelihood);
    assert_true(scores[0].loglikelihood != scores[1].loglikelihood);
    assert_int_equal(scores[0].tokens, 1);
    static char longer[4000];
    memset(longer, 'x', sizeof longer - 1);
    pairs[1].continuation = longer;
    assert_false(tl_session_score(session, pairs, 3, scores, &error));
    test_assert_contains(error.message, "pair 1");
    tl_session_free(session);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_example_runs),
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_scores_name_the_pair),
    };
    return cmocka_run_group_tests_name("session", tests, NULL, NULL);
}
