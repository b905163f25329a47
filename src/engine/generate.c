/* Generation: one sequence, its keys and values kept. */
#include "engine/internal.h"

#include <math.h>
#include <string.h>

/* A sequence being continued. */
typedef struct sequence {
    tl_engine *engine;
    const tl_generate_options *options;
    int32_t *tokens; /* [capacity] */
    int32_t n, capacity;
    int32_t computed; /* tokens whose keys are in the store */
    int32_t *slots;   /* 0, 1, 2, … */
    int32_t n_encoder;
    float *logits;    /* [vocab] to draw from; NULL when the likeliest is taken */
    int32_t *ranking; /* [vocab]: for top-k and top-p */
    uint64_t random;
} sequence;

/* splitmix64 (Steele et al. 2014) → [0, 1). */
static double next_random(uint64_t *state) {
    uint64_t z = (*state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return (double)((z ^ (z >> 31)) >> 11) * 0x1p-53;
}

/* The vocabulary by falling logit, as far as it is asked for: `heap` [vocab] is a heap of the first
 * `left` entries, likeliest on top; those taken out lie behind it, from the end on. */
typedef struct ranking {
    const float *logits;
    int32_t *heap;
    int32_t left, vocab;
} ranking;

static bool is_likelier(const float *logits, int32_t a, int32_t b) {
    return logits[a] > logits[b] || (logits[a] == logits[b] && a < b);
}

static void sift(ranking *r, int32_t at) {
    int32_t moved = r->heap[at];
    for (int32_t child; (child = 2 * at + 1) < r->left; at = child) {
        if (child + 1 < r->left && is_likelier(r->logits, r->heap[child + 1], r->heap[child]))
            child++;
        if (!is_likelier(r->logits, r->heap[child], moved)) break;
        r->heap[at] = r->heap[child];
    }
    r->heap[at] = moved;
}

static ranking rank(const float *logits, int32_t *heap, int32_t vocab) {
    ranking r = {logits, heap, vocab, vocab};
    for (int32_t i = 0; i < vocab; i++)
        heap[i] = i;
    for (int32_t i = vocab / 2; i-- > 0;)
        sift(&r, i);
    return r;
}

/* The token at place i; places are asked for in order. */
static int32_t token_at(ranking *r, int32_t i) {
    if (i == r->vocab - r->left) {
        int32_t first = r->heap[0];
        r->heap[0] = r->heap[--r->left];
        if (r->left > 0) sift(r, 0);
        r->heap[r->left] = first;
    }
    return r->heap[r->vocab - 1 - i];
}

/* exp((logit - largest) / temperature) of each token, in place. */
static double weigh(float *logits, int32_t vocab, float temperature) {
    float largest = logits[0];
    double total = 0;
    for (int32_t i = 1; i < vocab; i++)
        if (logits[i] > largest) largest = logits[i];
    for (int32_t i = 0; i < vocab; i++) {
        logits[i] = expf((logits[i] - largest) / temperature);
        total += logits[i];
    }
    return total;
}

/* Temperature, then top-k, then top-p, as transformers' logits warpers; then a draw. */
static int32_t draw_token(sequence *q) {
    const tl_generate_options *o = q->options;
    int32_t vocab = q->engine->model->spec.vocab, kept = vocab;
    double total = weigh(q->logits, vocab, o->temperature), sum = 0;
    bool ranked = (o->top_k > 0 && o->top_k < vocab) || o->top_p < 1;
    ranking r = {0};
    if (ranked) r = rank(q->logits, q->ranking, vocab);
    if (o->top_k > 0 && o->top_k < vocab) {
        total = 0;
        for (kept = 0; kept < o->top_k; kept++)
            total += q->logits[token_at(&r, kept)];
    }
    if (o->top_p < 1) {
        int32_t most = kept;
        for (kept = 0; kept < most && (kept == 0 || sum < o->top_p * total); kept++)
            sum += q->logits[token_at(&r, kept)];
        total = sum;
    }
    double target = next_random(&q->random) * total;
    int32_t token = 0;
    for (int32_t i = 0; i < kept && target >= 0; i++) {
        token = ranked ? token_at(&r, i) : i;
        target -= q->logits[token];
    }
    return token;
}

/* Computes what is not yet computed and returns the next token. For rope_int8 the tables depend on
 * the whole call, so every step computes the whole sequence. */
static int32_t step(sequence *q) {
    tl_engine *e = q->engine;
    if (e->model->spec.rope_int8) q->computed = 0;
    while (q->computed < q->n) {
        int32_t left = q->n - q->computed;
        int32_t count = left < e->pass.capacity ? left : e->pass.capacity;
        tl_pass_begin(e, false);
        tl_pass_add(e, q->tokens + q->computed, count, q->computed, q->slots, q->n);
        if (q->n_encoder) tl_pass_cross(e, q->slots, q->n_encoder);
        q->computed += count;
        if (q->computed == q->n) e->pass.wanted[e->pass.n_wanted++] = count - 1;
        tl_pass_run(e);
    }
    tl_ask ask = {.kind = q->logits ? TL_ASK_LOGITS : TL_ASK_BEST, .logits = q->logits};
    tl_head_run(e, &ask, &(int32_t){0}, &(int32_t){0}, 1);
    return q->logits ? draw_token(q) : ask.token;
}

static bool is_stop(const tl_model_spec *spec, int32_t token) {
    for (int32_t i = 0; i < spec->n_stops; i++)
        if (spec->stops[i] == token) return true;
    return false;
}

static bool generate(sequence *q, tl_ids *out, tl_error *error) {
    const tl_generate_options *o = q->options;
    const tl_model_spec *spec = &q->engine->model->spec;
    double begin = tl_clock_monotonic();
    for (int32_t made = 0; made < o->most_tokens; made++) {
        if (q->n > q->capacity || q->n > spec->positions) break;
        int32_t token = step(q);
        if (!tl_engine_settle(q->engine, error)) return false;
        double now = tl_clock_monotonic() - begin;
        if (made == 0 && o->first_token_seconds) *o->first_token_seconds = now;
        if (made == 0 && o->decode_seconds) begin += now;
        if (made > 0 && o->decode_seconds) *o->decode_seconds = now;
        if (!tl_ids_append(out, &token, 1, error)) return false;
        if (q->n < q->capacity) q->tokens[q->n] = token;
        q->n++;
        if (o->on_token && !o->on_token(o->context, token)) break;
        if (!o->ignore_eos && is_stop(spec, token)) break;
    }
    return true;
}

static bool run_encoder(sequence *q, const int32_t *tokens, int32_t count, tl_error *error) {
    tl_engine *e = q->engine;
    const tl_model_spec *spec = &e->model->spec;
    if (!tl_kv_reserve(&e->cross, spec->decoder_layers, tl_pass_most_rows(e),
                       (int64_t)spec->kv_heads * spec->head_dim, error))
        return false;
    tl_pass_begin(e, true);
    e->pass.one_layer = true;
    tl_pass_add(e, tokens, count, 0, q->slots, count);
    tl_pass_run(e);
    q->n_encoder = count;
    return tl_engine_settle(e, error);
}

static bool check_prompt(const tl_model_spec *spec, const int32_t *tokens, int32_t count,
                         tl_error *error) {
    if (count < 1)
        return tl_fail(error, TL_ERROR_USAGE, "an empty prompt: expected at least one token");
    if (count > spec->positions)
        return tl_fail(error, TL_ERROR_LIMIT, "a prompt of %d tokens: the model takes %d", count,
                       spec->positions);
    for (int32_t i = 0; i < count; i++)
        if (tokens[i] < 0 || tokens[i] >= spec->vocab)
            return tl_fail(error, TL_ERROR_USAGE,
                           "token %d is not in the vocabulary: expected 0 to %d", tokens[i],
                           spec->vocab - 1);
    return true;
}

static bool prepare(sequence *q, int32_t n_encoder, tl_error *error) {
    static const char what[] = "a sequence";
    tl_engine *e = q->engine;
    const tl_model_spec *spec = &e->model->spec;
    int32_t longest = q->capacity > n_encoder ? q->capacity : n_encoder;
    int32_t rows = e->pass_rows > n_encoder ? e->pass_rows : n_encoder;
    if (!tl_forward_reserve(e, rows, longest, error)) return false;
    if (longest < e->pass.capacity) longest = e->pass.capacity;
    q->tokens = tl_arena_alloc(e->arena, (size_t)q->capacity, sizeof *q->tokens, what, error);
    q->slots = tl_arena_alloc(e->arena, (size_t)longest, sizeof *q->slots, what, error);
    if (!q->tokens || !q->slots) return false;
    if (q->options->temperature > 0) {
        size_t vocab = (size_t)spec->vocab;
        q->logits = tl_arena_alloc(e->arena, vocab, sizeof *q->logits, what, error);
        q->ranking = tl_arena_alloc(e->arena, vocab, sizeof *q->ranking, what, error);
        if (!q->logits || !q->ranking) return false;
    }
    for (int32_t i = 0; i < longest; i++)
        q->slots[i] = i;
    return tl_kv_reserve(&e->store, e->model->decoder.n_layers, longest,
                         (int64_t)spec->kv_heads * spec->head_dim, error);
}

bool tl_engine_generate(tl_engine *e, const int32_t *prompt, int32_t n_prompt,
                        const int32_t *decoder_prompt, int32_t n_decoder_prompt,
                        const tl_generate_options *options, tl_ids *out, tl_error *error) {
    const tl_model_spec *spec = &e->model->spec;
    const int32_t *first = prompt;
    int32_t n = n_prompt;
    if (!check_prompt(spec, prompt, n_prompt, error)) return false;
    if (spec->encoder) {
        first = decoder_prompt ? decoder_prompt : &spec->decoder_start;
        n = decoder_prompt ? n_decoder_prompt : 1;
        if (!check_prompt(spec, first, n, error)) return false;
    } else if (decoder_prompt) {
        return tl_fail(error, TL_ERROR_USAGE,
                       "decoder tokens: the model has no decoder of its own");
    }
    if (options->most_tokens < 0 || options->most_tokens > INT32_MAX / 4 - n)
        return tl_fail(error, TL_ERROR_USAGE, "%d tokens to generate: expected 0 to %d",
                       options->most_tokens, INT32_MAX / 4 - n);
    if (options->first_token_seconds) *options->first_token_seconds = 0;
    if (options->decode_seconds) *options->decode_seconds = 0;
    sequence q = {.engine = e, .options = options, .n = n, .random = options->seed};
    int64_t capacity = (int64_t)n + options->most_tokens;
    q.capacity = capacity < spec->positions ? (int32_t)capacity : spec->positions;
    tl_arena_reset(e->arena);
    if (!prepare(&q, spec->encoder ? n_prompt : 0, error)) return false;
    memcpy(q.tokens, first, (size_t)n * sizeof *first);
    if (spec->encoder && !run_encoder(&q, prompt, n_prompt, error)) return false;
    return generate(&q, out, error);
}
