#include "support/same_bits.h"

#include "engine/engine.h"
#include "support/support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SEQUENCES = 6, LONGEST = 90, ENCODED = 17, MOST_SEGMENTS = SEQUENCES * LONGEST + 2 };

/* A family of sequences: two stems, and for each several continuations. */
typedef struct material {
    int32_t tokens[SEQUENCES][LONGEST];
    int32_t length[SEQUENCES];
    int32_t encoder[2][ENCODED];
    int32_t letters[2];
    bool encoded;
} material;

typedef struct answers {
    float logprob[SEQUENCES][LONGEST];
    bool greedy[SEQUENCES][LONGEST];
    float letter[SEQUENCES][2];
} answers;

static uint32_t next_random(uint32_t *state) {
    *state = *state * 1664525 + 1013904223;
    return *state >> 8;
}

static void invent(const tl_model_spec *spec, material *m) {
    uint32_t random = 7;
    int32_t longest = spec->positions < LONGEST ? spec->positions : LONGEST;
    m->encoded = spec->encoder;
    for (int i = 0; i < SEQUENCES; i++) {
        int32_t shared = i % 3 == 0 ? 0 : longest / 2 + i;
        m->length[i] = longest - (int32_t)(next_random(&random) % (uint32_t)(longest / 4));
        for (int32_t t = 0; t < m->length[i]; t++)
            m->tokens[i][t] = t < shared ? m->tokens[i - i % 3][t]
                                         : (int32_t)(next_random(&random) % (uint32_t)spec->vocab);
    }
    for (int i = 0; i < 2; i++) {
        m->letters[i] = (int32_t)(next_random(&random) % (uint32_t)spec->vocab);
        for (int t = 0; t < ENCODED; t++)
            m->encoder[i][t] = (int32_t)(next_random(&random) % (uint32_t)spec->vocab);
    }
}

static int make_asks(const material *m, int i, tl_ask *asks) {
    int n = 0;
    for (int32_t t = 0; t + 1 < m->length[i]; t++)
        asks[n++] = (tl_ask){.row = t, .kind = TL_ASK_LOGPROB, .token = m->tokens[i][t + 1]};
    for (int k = 0; k < 2; k++)
        asks[n++] = (tl_ask){.row = m->length[i] - 1, .kind = TL_ASK_LOGIT, .token = m->letters[k]};
    return n;
}

static void read_asks(const material *m, int i, const tl_ask *asks, answers *found) {
    int n = m->length[i] - 1;
    for (int t = 0; t < n; t++) {
        found->logprob[i][t] = asks[t].value;
        found->greedy[i][t] = asks[t].greedy;
    }
    for (int k = 0; k < 2; k++)
        found->letter[i][k] = asks[n + k].value;
}

static tl_engine *engine_of(const tl_model *model, int threads, int pass_rows) {
    tl_error error = {0};
    tl_engine *engine = tl_engine_new(
        model,
        &(tl_engine_options){.threads = threads, .pass_rows = pass_rows, .device = test_device()},
        &error);
    assert_ok(engine != NULL, error);
    return engine;
}

/* Each sequence alone, as one segment. */
static void score_alone(const tl_model *model, const material *m, answers *found) {
    tl_engine *engine = engine_of(model, 1, 300);
    tl_error error = {0};
    for (int i = 0; i < SEQUENCES; i++) {
        tl_segment segments[] = {{-1, m->encoder[i / 3], ENCODED, true},
                                 {m->encoded ? 0 : -1, m->tokens[i], m->length[i], false}};
        tl_ask asks[LONGEST + 2];
        int n = make_asks(m, i, asks);
        for (int a = 0; a < n; a++)
            asks[a].segment = m->encoded;
        assert_ok(
            tl_engine_score(engine, segments + !m->encoded, 1 + m->encoded, asks, n, NULL, &error),
            error);
        read_asks(m, i, asks, found);
    }
    tl_engine_free(engine);
}

/* All at once, shared by the engine itself. */
static void score_paths(tl_engine *engine, const material *m, answers *found) {
    static const int order[SEQUENCES] = {4, 0, 5, 2, 1, 3};
    tl_path paths[SEQUENCES];
    tl_ask asks[SEQUENCES][LONGEST + 2];
    tl_error error = {0};
    for (int p = 0; p < SEQUENCES; p++) {
        int i = order[p];
        paths[p] = (tl_path){m->encoded ? m->encoder[i / 3] : NULL,
                             m->encoded ? ENCODED : 0,
                             m->tokens[i],
                             m->length[i],
                             asks[i],
                             make_asks(m, i, asks[i])};
    }
    assert_ok(tl_engine_score_paths(engine, paths, SEQUENCES, NULL, &error), error);
    for (int i = 0; i < SEQUENCES; i++)
        read_asks(m, i, asks[i], found);
}

/* All at once, every sequence cut into segments at random. */
static void score_cut(tl_engine *engine, const material *m, uint32_t *random, answers *found) {
    static tl_segment segments[MOST_SEGMENTS];
    static tl_ask asks[SEQUENCES * (LONGEST + 2)];
    int n_segments = 0, n_asks = 0;
    tl_error error = {0};
    for (int e = 0; m->encoded && e < 2; e++)
        segments[n_segments++] = (tl_segment){-1, m->encoder[e], ENCODED, true};
    for (int i = 0; i < SEQUENCES; i++) {
        int32_t parent = m->encoded ? i / 3 : -1, begin = 0;
        tl_ask own[LONGEST + 2];
        int n = make_asks(m, i, own), at = 0;
        while (begin < m->length[i]) {
            int32_t left = m->length[i] - begin;
            int32_t count = 1 + (int32_t)(next_random(random) % 40);
            if (count > left) count = left;
            segments[n_segments] = (tl_segment){parent, m->tokens[i] + begin, count, false};
            for (; at < n && own[at].row < begin + count; at++) {
                asks[n_asks] = own[at];
                asks[n_asks].segment = n_segments;
                asks[n_asks++].row -= begin;
            }
            parent = n_segments++;
            begin += count;
        }
    }
    assert_ok(tl_engine_score(engine, segments, n_segments, asks, n_asks, NULL, &error), error);
    for (int i = 0, at = 0; i < SEQUENCES; at += m->length[i] + 1, i++)
        read_asks(m, i, asks + at, found);
}

static void compare(const material *m, const answers *found, const answers *expected,
                    const char *name, const char *how) {
    for (int i = 0; i < SEQUENCES; i++) {
        for (int t = 0; t + 1 < m->length[i]; t++)
            if (memcmp(&found->logprob[i][t], &expected->logprob[i][t], sizeof(float)) != 0 ||
                found->greedy[i][t] != expected->greedy[i][t])
                fail_msg("%s, %s: sequence %d, token %d: %.9g, alone %.9g", name, how, i, t,
                         (double)found->logprob[i][t], (double)expected->logprob[i][t]);
        if (memcmp(found->letter[i], expected->letter[i], sizeof found->letter[i]) != 0)
            fail_msg("%s, %s: sequence %d: letters differ", name, how, i);
    }
}

void test_same_bits(const tl_model *model, const char *name) {
    static const int pass_rows[] = {1, 2, 3, 16, 37, 64, 300};
    static material m;
    static answers expected, found;
    uint32_t random = 99;
    char how[64];
    invent(&model->spec, &m);
    score_alone(model, &m, &expected);
    for (size_t p = 0; p < sizeof pass_rows / sizeof *pass_rows; p++) {
        if (test_brief() && p % 3) continue;
        int threads = 1 + (int)p % 4;
        tl_engine *engine = engine_of(model, threads, pass_rows[p]);
        snprintf(how, sizeof how, "%d threads, passes of %d, shared", threads, pass_rows[p]);
        score_paths(engine, &m, &found);
        compare(&m, &found, &expected, name, how);
        if (!model->spec.rope_int8) {
            snprintf(how, sizeof how, "%d threads, passes of %d, cut", threads, pass_rows[p]);
            score_cut(engine, &m, &random, &found);
            compare(&m, &found, &expected, name, how);
        }
        tl_engine_free(engine);
    }
}
