/* The public interface: a session is a model, its tokenizer and its engine. */
#include "engine/request.h"
#include "hub/hub.h"

#include <stdlib.h>
#include <string.h>

struct tl_session {
    tl_model *model;
    tl_tokenizer *tokenizer;
    tl_engine *engine;
};

static tl_model *load(const char *directory, const tl_session_options *options, tl_error *error) {
    tl_model_options load = {.convert = options->dtype != NULL};
    if (options->dtype && !tl_dtype_parse(options->dtype, &load.dtype, error)) return NULL;
    tl_pool *pool = tl_pool_new(options->threads, error);
    tl_compute *compute = pool ? tl_compute_new(pool, TL_EXACT, error) : NULL;
    tl_model *model = compute ? tl_model_load(directory, &load, compute, error) : NULL;
    tl_compute_free(compute);
    tl_pool_free(pool);
    return model;
}

tl_session *tl_session_open(const char *model, const tl_session_options *options, tl_error *error) {
    static const tl_session_options defaults = {0};
    char directory[4096];
    if (!options) options = &defaults;
    if (!tl_hub_model_directory(model, directory, sizeof directory, error)) return NULL;
    tl_session *session = calloc(1, sizeof *session);
    if (!session) {
        tl_fail_memory(error, sizeof *session, "a session");
        return NULL;
    }
    tl_engine_options engine = {.threads = options->threads,
                                .precision = options->fast ? TL_FAST : TL_EXACT,
                                .device = options->device};
    if ((session->model = load(directory, options, error)) &&
        (session->tokenizer = tl_tokenizer_open(directory, error)) &&
        (session->engine = tl_engine_new(session->model, &engine, error)))
        return session;
    tl_session_free(session);
    return NULL;
}

void tl_session_free(tl_session *session) {
    if (!session) return;
    tl_engine_free(session->engine);
    tl_tokenizer_free(session->tokenizer);
    tl_model_unload(session->model);
    free(session);
}

int32_t tl_session_vocabulary(const tl_session *session) {
    return session->model->spec.vocab;
}

bool tl_session_encode(tl_session *session, const char *text, size_t length, bool special,
                       int32_t **ids, size_t *count, tl_error *error) {
    tl_ids found = {0};
    if (!tl_tokenizer_encode(session->tokenizer, text, length, special, &found, error)) {
        tl_ids_free(&found);
        return false;
    }
    *ids = found.data;
    *count = found.count;
    return true;
}

bool tl_session_decode(tl_session *session, const int32_t *ids, size_t count, bool skip_special,
                       char **text, tl_error *error) {
    tl_buffer buffer = {0};
    bool ok = tl_tokenizer_decode(session->tokenizer, ids, count, skip_special, &buffer, error);
    tl_buffer_append(&buffer, "", 0);
    if (ok && (*text = buffer.length ? tl_buffer_take(&buffer) : calloc(1, 1)) == NULL)
        ok = tl_fail_memory(error, buffer.length, "a text");
    tl_buffer_free(&buffer);
    return ok;
}

static bool check_count(size_t count, tl_error *error) {
    return count <= INT32_MAX / 4 ||
           tl_fail(error, TL_ERROR_LIMIT, "%zu at once: expected %d at most", count, INT32_MAX / 4);
}

bool tl_session_logits(tl_session *session, const int32_t *ids, size_t count, float *logits,
                       tl_error *error) {
    const tl_model_spec *spec = &session->model->spec;
    if (!check_count(count, error)) return false;
    int32_t n = (int32_t)count;
    tl_ask ask = {.row = spec->encoder ? 0 : n - 1, .kind = TL_ASK_LOGITS, .logits = logits};
    tl_path path = {.encoder = spec->encoder ? ids : NULL,
                    .n_encoder = spec->encoder ? n : 0,
                    .tokens = spec->encoder ? &spec->decoder_start : ids,
                    .n_tokens = spec->encoder ? 1 : n,
                    .asks = &ask,
                    .n_asks = 1};
    return tl_engine_score_paths(session->engine, &path, 1, NULL, error);
}

bool tl_session_score(tl_session *session, const tl_text_pair *pairs, size_t count,
                      tl_text_score *scores, tl_error *error) {
    if (!check_count(count, error)) return false;
    tl_pair *encoded = calloc(count + 1, sizeof *encoded);
    tl_likelihood *results = calloc(count + 1, sizeof *results);
    bool ok = (encoded && results) || tl_fail_memory(error, count * sizeof *encoded, "the pairs");
    for (size_t i = 0; ok && i < count; i++)
        ok = tl_pair_encode(&session->model->spec, session->tokenizer, TL_BOS_AUTO,
                            pairs[i].context, strlen(pairs[i].context), pairs[i].continuation,
                            strlen(pairs[i].continuation), &encoded[i], error) ||
             tl_fail_within(error, "pair %zu", i);
    ok = ok && tl_pairs_score(session->engine, encoded, (int32_t)count, results, NULL, error);
    for (size_t i = 0; ok && i < count; i++)
        scores[i] = (tl_text_score){results[i].loglikelihood, results[i].greedy, results[i].tokens};
    for (size_t i = 0; encoded && i < count; i++)
        tl_pair_free(&encoded[i]);
    free(encoded);
    free(results);
    return ok;
}

bool tl_session_generate(tl_session *session, const int32_t *prompt, size_t count,
                         const tl_sampling *sampling, int32_t **ids, size_t *new_count,
                         tl_error *error) {
    tl_ids made = {0};
    if (!check_count(count, error)) return false;
    tl_generate_options options = {.most_tokens = sampling->most_tokens,
                                   .ignore_eos = sampling->ignore_eos,
                                   .temperature = sampling->temperature,
                                   .top_k = sampling->top_k,
                                   .top_p = sampling->top_p > 0 ? sampling->top_p : 1,
                                   .seed = sampling->seed,
                                   .on_token = sampling->on_token,
                                   .context = sampling->context};
    if (!tl_engine_generate(session->engine, prompt, (int32_t)count, NULL, 0, &options, &made,
                            error)) {
        tl_ids_free(&made);
        return false;
    }
    *ids = made.data;
    *new_count = made.count;
    return true;
}

void tl_free(void *memory) {
    free(memory);
}
