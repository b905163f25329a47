/* engine: scoring of forests, generation, requests. */
#include "engine/request.h"
#include "support/fixture.h"
#include "support/load.h"
#include "support/same_bits.h"
#include "support/support.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static tl_engine *engine_of(const tl_model *model, int32_t pass_rows) {
    return test_open_engine(model, &(tl_engine_options){.threads = 2, .pass_rows = pass_rows});
}

static void test_bits(void **state) {
    (void)state;
    static const char *const families[] = {"llama", "gpt2"};
    static const tl_dtype dtypes[] = {TL_F32, TL_BF16, TL_Q8};
    for (int f = 0; f < 2; f++) {
        for (int d = 0; d < 3; d++) {
            tl_model *model = test_small_model(families[f], dtypes[d]);
            test_same_bits(model, families[f]);
            tl_model_unload(model);
        }
    }
}

/* ---- scoring --------------------------------------------------------------------------------- */

/* The three kinds of question agree with each other. */
static void test_asks_agree(void **state) {
    (void)state;
    tl_model *model = test_small_model("llama", TL_F32);
    tl_engine *engine = engine_of(model, 0);
    int32_t vocab = model->spec.vocab, tokens[] = {5, 9, 200, 17};
    float *logits = calloc((size_t)vocab, sizeof *logits);
    tl_ask asks[] = {{.row = 3, .kind = TL_ASK_LOGITS, .logits = logits},
                     {.row = 3, .kind = TL_ASK_LOGIT, .token = 77},
                     {.row = 3, .kind = TL_ASK_LOGPROB, .token = 77},
                     {.row = 3, .kind = TL_ASK_BEST},
                     {.row = 3, .kind = TL_ASK_LOGPROB}};
    tl_path path = {.tokens = tokens, .n_tokens = 4, .asks = asks, .n_asks = 4};
    tl_error error = {0};
    assert_ok(tl_engine_score_paths(engine, &path, 1, NULL, &error), error);
    double total = 0;
    int32_t best = 0;
    for (int32_t i = 0; i < vocab; i++) {
        total += exp(logits[i]);
        if (logits[i] > logits[best]) best = i;
    }
    assert_true(asks[1].value == logits[77]);
    assert_true(fabs(asks[2].value - (logits[77] - log(total))) < 1e-5);
    assert_int_equal(asks[2].greedy, best == 77);
    assert_int_equal(asks[3].token, best);
    asks[3].token = -1;
    asks[4].token = best;
    path.asks = asks + 3;
    path.n_asks = 1;
    assert_ok(tl_engine_score_paths(engine, &path, 1, NULL, &error), error);
    assert_int_equal(asks[3].token, best);
    path.asks = asks + 4;
    assert_ok(tl_engine_score_paths(engine, &path, 1, NULL, &error), error);
    assert_true(asks[4].greedy);
    free(logits);
    tl_engine_free(engine);
    tl_model_unload(model);
}

static void test_shared_prefixes_are_computed_once(void **state) {
    (void)state;
    enum { SHARED = 40, PATHS = 5, OWN = 3 };
    tl_model *model = test_small_model("llama", TL_F32);
    tl_engine *engine = engine_of(model, 0);
    int32_t tokens[PATHS][SHARED + OWN];
    tl_ask asks[PATHS];
    tl_path paths[PATHS];
    for (int i = 0; i < PATHS; i++) {
        for (int t = 0; t < SHARED + OWN; t++)
            tokens[i][t] = t < SHARED ? t : 100 + i * OWN + t - SHARED;
        asks[i] = (tl_ask){.row = SHARED + OWN - 1, .kind = TL_ASK_LOGPROB, .token = 1};
        paths[i] =
            (tl_path){.tokens = tokens[i], .n_tokens = SHARED + OWN, .asks = &asks[i], .n_asks = 1};
    }
    tl_work work;
    tl_error error = {0};
    assert_ok(tl_engine_score_paths(engine, paths, PATHS, &work, &error), error);
    assert_int_equal(work.tokens_computed, SHARED + PATHS * OWN);
    assert_int_equal(work.tokens_asked, PATHS * (SHARED + OWN));
    assert_true(work.seconds > 0);
    tl_engine_free(engine);
    tl_model_unload(model);
}

static void refused(tl_engine *engine, const tl_segment *segments, int n, tl_ask *asks, int n_asks,
                    tl_code code, const char *part) {
    tl_error error = {0};
    if (tl_engine_score(engine, segments, n, asks, n_asks, NULL, &error))
        fail_msg("accepted: expected '%s'", part);
    assert_int_equal(error.code, code);
    test_assert_contains(error.message, part);
}

static void test_refuses_wrong_forests(void **state) {
    (void)state;
    tl_model *model = test_small_model("gpt2", TL_F32);
    tl_engine *engine = engine_of(model, 0);
    int32_t good[] = {1, 2, 3}, bad[] = {1, 264}, negative[] = {-1}, longer[97] = {0};
    tl_ask ask = {.row = 3, .kind = TL_ASK_LOGIT, .token = 1};
    tl_ask beyond = {.row = 0, .kind = TL_ASK_LOGIT, .token = 264};
    refused(engine, &(tl_segment){-1, good, 0, false}, 1, NULL, 0, TL_ERROR_USAGE, "empty");
    refused(engine, &(tl_segment){0, good, 3, false}, 1, NULL, 0, TL_ERROR_USAGE, "parent");
    refused(engine, &(tl_segment){-1, bad, 2, false}, 1, NULL, 0, TL_ERROR_USAGE, "264");
    refused(engine, &(tl_segment){-1, negative, 1, false}, 1, NULL, 0, TL_ERROR_USAGE, "-1");
    refused(engine, &(tl_segment){-1, good, 3, true}, 1, NULL, 0, TL_ERROR_USAGE, "encoder");
    refused(engine, &(tl_segment){-1, good, 3, false}, 1, &ask, 1, TL_ERROR_USAGE, "row 3");
    refused(engine, &(tl_segment){-1, good, 3, false}, 1, &beyond, 1, TL_ERROR_USAGE, "264");
    refused(engine, &(tl_segment){-1, longer, 97, false}, 1, NULL, 0, TL_ERROR_LIMIT, "96");
    tl_engine_free(engine);
    tl_model_unload(model);
}

/* After a first call nothing more is taken from the system. */
static void test_memory_stays(void **state) {
    (void)state;
    tl_model *model = test_small_model("llama", TL_F32);
    tl_engine *engine = engine_of(model, 64);
    int32_t tokens[90];
    tl_memory first = {0}, later;
    const void *blocks[2];
    size_t bytes[2], scratch = 0; /* as taken: the account counts what was touched of it */
    for (int i = 0; i < 90; i++)
        tokens[i] = i;
    for (int round = 0; round < 20; round++) {
        tl_ask ask = {.row = 89 - round, .kind = TL_ASK_LOGPROB, .token = 4};
        tl_path path = {.tokens = tokens, .n_tokens = 90 - round, .asks = &ask, .n_asks = 1};
        tl_error error = {0};
        assert_ok(tl_engine_score_paths(engine, &path, 1, NULL, &error), error);
        tl_engine_memory(engine, &later);
        tl_compute_blocks(tl_engine_compute(engine), blocks, bytes);
        if (round == 0) first = later;
        if (round == 0) scratch = bytes[0] + bytes[1];
        assert_int_equal(later.kv, first.kv);
        assert_int_equal(later.activations, first.activations);
        assert_int_equal(bytes[0] + bytes[1], scratch);
        assert_in_range(later.scratch, 1, scratch);
    }
    assert_true(first.kv > 0 && first.activations > 0 && first.weights_mapped > 0);
    tl_engine_free(engine);
    tl_model_unload(model);
}

/* ---- generation ------------------------------------------------------------------------------ */

static tl_ids generate(tl_engine *engine, const tl_generate_options *options) {
    static const int32_t prompt[] = {10, 20, 30};
    tl_ids ids = {0};
    tl_error error = {0};
    assert_ok(tl_engine_generate(engine, prompt, 3, NULL, 0, options, &ids, &error), error);
    return ids;
}

static bool stop_at_four(void *context, int32_t token) {
    (void)token;
    return ++*(int *)context < 4;
}

static int rank_of(const float *logits, int32_t vocab, int32_t token) {
    int rank = 0;
    for (int32_t i = 0; i < vocab; i++)
        rank += logits[i] > logits[token] || (logits[i] == logits[token] && i < token);
    return rank;
}

/* All of the likeliest are drawn, as many as asked for, and nothing else. */
static void test_draws_are_among_the_likeliest(void **state) {
    (void)state;
    enum { DRAWS = 300, KEPT = 5 };
    tl_model *model = test_small_model("llama", TL_F32);
    tl_engine *engine = engine_of(model, 0);
    int32_t vocab = model->spec.vocab, prompt[] = {1, 2, 3};
    float *logits = calloc((size_t)vocab, sizeof *logits);
    tl_ask ask = {.row = 2, .kind = TL_ASK_LOGITS, .logits = logits};
    tl_path path = {.tokens = prompt, .n_tokens = 3, .asks = &ask, .n_asks = 1};
    tl_error error = {0};
    assert_ok(tl_engine_score_paths(engine, &path, 1, NULL, &error), error);
    double largest = -INFINITY, total = 0;
    for (int32_t i = 0; i < vocab; i++)
        largest = logits[i] > largest ? logits[i] : largest;
    for (int32_t i = 0; i < vocab; i++)
        total += exp(logits[i] - largest);
    /* as much of the probability as five tokens have, and of these only that */
    double share = 0;
    for (int32_t i = 0; i < vocab; i++)
        if (rank_of(logits, vocab, i) < KEPT) share += exp(logits[i] - largest) / total;
    tl_generate_options options[] = {{.temperature = 1, .top_k = KEPT, .top_p = 1},
                                     {.temperature = 1, .top_p = (float)(share * 0.9999)}};
    for (int way = 0; way < 2; way++) {
        int drawn[KEPT] = {0};
        for (int i = 0; i < DRAWS; i++) {
            options[way].most_tokens = 1;
            options[way].ignore_eos = true;
            options[way].seed = (uint64_t)i;
            tl_ids ids = {0};
            assert_ok(tl_engine_generate(engine, prompt, 3, NULL, 0, &options[way], &ids, &error),
                      error);
            int rank = rank_of(logits, vocab, ids.data[0]);
            assert_in_range(rank, 0, KEPT - 1);
            drawn[rank]++;
            tl_ids_free(&ids);
        }
        for (int rank = 0; rank < KEPT; rank++)
            assert_true(drawn[rank] > 0);
    }
    free(logits);
    tl_engine_free(engine);
    tl_model_unload(model);
}

static void test_generation(void **state) {
    (void)state;
    tl_model *model = test_small_model("llama", TL_F32);
    tl_engine *engine = engine_of(model, 0);
    tl_generate_options greedy = {.most_tokens = 12, .ignore_eos = true, .top_p = 1};
    tl_ids first = generate(engine, &greedy);
    assert_int_equal(first.count, 12);
    tl_generate_options narrow = greedy;
    narrow.temperature = 3;
    narrow.top_k = 1;
    tl_ids same = generate(engine, &narrow);
    assert_memory_equal(first.data, same.data, 12 * sizeof(int32_t));
    tl_generate_options drawn = greedy;
    drawn.temperature = 5;
    drawn.top_p = 0.95f;
    drawn.seed = 3;
    tl_ids a = generate(engine, &drawn), b = generate(engine, &drawn);
    assert_memory_equal(a.data, b.data, 12 * sizeof(int32_t));
    drawn.seed = 4;
    tl_ids c = generate(engine, &drawn);
    assert_memory_not_equal(a.data, c.data, 12 * sizeof(int32_t));
    int calls = 0;
    greedy.on_token = stop_at_four;
    greedy.context = &calls;
    tl_ids stopped = generate(engine, &greedy);
    assert_int_equal(stopped.count, 4);
    greedy.on_token = NULL;
    greedy.ignore_eos = false;
    model->spec.n_stops = 2;
    model->spec.stops[0] = -1;
    model->spec.stops[1] = first.data[11];
    tl_ids ended = generate(engine, &greedy);
    size_t stop = 0;
    while (first.data[stop] != first.data[11])
        stop++;
    assert_int_equal(ended.count, stop + 1);
    tl_ids *all[] = {&first, &same, &a, &b, &c, &stopped, &ended};
    for (int i = 0; i < 7; i++)
        tl_ids_free(all[i]);
    tl_engine_free(engine);
    tl_model_unload(model);
}

/* Generation ends where the positions do. */
static void test_generation_ends_with_positions(void **state) {
    (void)state;
    tl_model *model = test_small_model("gpt2", TL_F32);
    tl_engine *engine = engine_of(model, 32);
    tl_generate_options options = {.most_tokens = 500, .ignore_eos = true, .top_p = 1};
    tl_ids ids = generate(engine, &options);
    assert_int_equal(ids.count, 96 - 3 + 1);
    tl_ids_free(&ids);
    int32_t prompt[97] = {0};
    tl_error error = {0};
    assert_false(tl_engine_generate(engine, prompt, 97, NULL, 0, &options, &ids, &error));
    assert_int_equal(error.code, TL_ERROR_LIMIT);
    assert_false(tl_engine_generate(engine, prompt, 0, NULL, 0, &options, &ids, &error));
    assert_false(tl_engine_generate(engine, prompt, 1, prompt, 1, &options, &ids, &error));
    tl_engine_free(engine);
    tl_model_unload(model);
}

/* ---- requests -------------------------------------------------------------------------------- */

static void test_pairs_are_truncated_at_the_left(void **state) {
    (void)state;
    tl_model_spec causal = {.max_length = 6};
    int32_t context[] = {1, 2, 3, 4, 5, 6}, rest[] = {7, 8};
    tl_pair pair;
    tl_error error = {0};
    assert_ok(tl_pair_from_ids(&causal, 6, context, 6, rest, 2, &pair, &error), error);
    assert_true(pair.truncated);
    assert_int_equal(pair.input.count, 6);
    assert_int_equal(pair.input.data[0], 2);
    assert_int_equal(pair.input.data[5], 7);
    assert_int_equal(pair.first_row, 4);
    tl_pair_free(&pair);
    assert_ok(tl_pair_from_ids(&causal, 6, context, 2, rest, 2, &pair, &error), error);
    assert_false(pair.truncated);
    assert_int_equal(pair.first_row, 1);
    tl_pair_free(&pair);
    assert_false(tl_pair_from_ids(&causal, 1, context, 2, rest, 2, &pair, &error));
    assert_int_equal(error.code, TL_ERROR_LIMIT);
    assert_false(tl_pair_from_ids(&causal, 6, context, 0, rest, 2, &pair, &error));
    tl_model_spec seq2seq = {.encoder = true, .decoder_start = 9};
    assert_ok(tl_pair_from_ids(&seq2seq, 4, context, 6, rest, 2, &pair, &error), error);
    assert_int_equal(pair.encoder.count, 4);
    assert_int_equal(pair.encoder.data[0], 3);
    assert_int_equal(pair.input.count, 2);
    assert_int_equal(pair.input.data[0], 9);
    assert_int_equal(pair.input.data[1], 7);
    tl_pair_free(&pair);
}

static void test_trailing_space_moves(void **state) {
    (void)state;
    tl_model_spec spec = {.max_length = 100};
    fixture_tokenizer(test_scratch_path("tokenizer"));
    tl_error error = {0};
    tl_tokenizer *tokenizer = tl_tokenizer_open(test_scratch_path("tokenizer"), &error);
    assert_ok(tokenizer != NULL, error);
    tl_pair moved, plain;
    /* "\u3000" is white space to Python; the merges hold " A". */
    assert_ok(tl_pair_encode(&spec, tokenizer, TL_BOS_AUTO, "x ", 2, "A", 1, &moved, &error),
              error);
    assert_ok(tl_pair_encode(&spec, tokenizer, TL_BOS_AUTO, "x", 1, " A", 2, &plain, &error),
              error);
    assert_int_equal(moved.targets.count, 1);
    assert_int_equal(moved.targets.data[0], plain.targets.data[0]);
    assert_int_equal(moved.n_context, 1);
    tl_pair_free(&moved);
    tl_pair_free(&plain);
    assert_ok(tl_pair_encode(&spec, tokenizer, TL_BOS_AUTO, "x\u3000 ", 5, "A", 1, &moved, &error),
              error);
    assert_int_equal(moved.n_context, 1);
    tl_pair_free(&moved);
    /* An empty context is the end-of-text token, as there is no BOS. */
    assert_ok(tl_pair_encode(&spec, tokenizer, TL_BOS_AUTO, "", 0, "AB", 2, &moved, &error), error);
    assert_int_equal(moved.input.data[0], FIXTURE_VOCABULARY - 1);
    assert_int_equal(moved.targets.count, 2);
    tl_pair_free(&moved);
    tl_tokenizer_free(tokenizer);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bits),
        cmocka_unit_test(test_asks_agree),
        cmocka_unit_test(test_shared_prefixes_are_computed_once),
        cmocka_unit_test(test_refuses_wrong_forests),
        cmocka_unit_test(test_memory_stays),
        cmocka_unit_test(test_generation),
        cmocka_unit_test(test_draws_are_among_the_likeliest),
        cmocka_unit_test(test_generation_ends_with_positions),
        cmocka_unit_test(test_pairs_are_truncated_at_the_left),
        cmocka_unit_test(test_trailing_space_moves),
    };
    return cmocka_run_group_tests_name("engine", tests, NULL, NULL);
}
