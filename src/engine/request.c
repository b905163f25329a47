#include "engine/request.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

enum { DEFAULT_MAX_LENGTH = 2048 }; /* lm-evaluation-harness's _DEFAULT_MAX_LENGTH */

bool tl_bos_parse(const char *name, tl_bos *bos, tl_error *error) {
    static const char *const names[] = {"auto", "on", "off"};
    for (int i = 0; i < 3; i++) {
        if (strcmp(names[i], name) != 0) continue;
        *bos = (tl_bos)i;
        return true;
    }
    return tl_fail(error, TL_ERROR_USAGE, "bos '%s': expected auto, on or off", name);
}

void tl_pair_free(tl_pair *pair) {
    tl_ids_free(&pair->encoder);
    tl_ids_free(&pair->input);
    tl_ids_free(&pair->targets);
    *pair = (tl_pair){0};
}

int32_t tl_request_max_length(const tl_model_spec *spec, const tl_tokenizer *tokenizer) {
    if (spec->max_length > 0) return spec->max_length;
    int64_t length = tokenizer ? tl_tokenizer_max_length(tokenizer) : -1;
    return length > 0 && length <= INT32_MAX - 1 ? (int32_t)length : DEFAULT_MAX_LENGTH;
}

int32_t tl_request_prefix_token(const tl_model_spec *spec, const tl_tokenizer *tokenizer) {
    int32_t token = tl_tokenizer_bos(tokenizer);
    if (token < 0) token = tl_tokenizer_eos(tokenizer);
    if (token < 0) token = spec->bos >= 0 ? spec->bos : spec->eos;
    return token;
}

/* Does the text begin with the token that would be put before it? */
static bool begins_with_prefix(const tl_model_spec *spec, const tl_tokenizer *tokenizer,
                               const char *text, size_t length, bool *begins, tl_error *error) {
    int32_t token = tl_request_prefix_token(spec, tokenizer);
    tl_buffer prefix = {0};
    *begins = false;
    if (token < 0) return true;
    bool ok = tl_tokenizer_decode(tokenizer, &token, 1, false, &prefix, error);
    if (ok && prefix.length && prefix.length <= length)
        *begins = memcmp(prefix.data, text, prefix.length) == 0;
    tl_buffer_free(&prefix);
    return ok;
}

bool tl_request_encode(const tl_model_spec *spec, const tl_tokenizer *tokenizer, tl_bos bos,
                       const char *text, size_t length, tl_ids *ids, tl_error *error) {
    bool special = spec->encoder || bos != TL_BOS_OFF, begins;
    if (special) {
        if (!begins_with_prefix(spec, tokenizer, text, length, &begins, error)) return false;
        special = !begins;
    }
    size_t before = ids->count;
    if (!tl_tokenizer_encode(tokenizer, text, length, special, ids, error)) return false;
    int32_t first = tl_tokenizer_bos(tokenizer);
    if (bos != TL_BOS_ON || spec->encoder || !special || first < 0 ||
        (ids->count > before && ids->data[before] == first))
        return true;
    if (!tl_ids_append(ids, &first, 1, error)) return false;
    memmove(ids->data + before + 1, ids->data + before,
            (ids->count - 1 - before) * sizeof *ids->data);
    ids->data[before] = first;
    return true;
}

/* White space as Python's str.rstrip takes it. */
static bool is_python_space(int32_t c) {
    return (c >= 0x09 && c <= 0x0d) || (c >= 0x1c && c <= 0x20) || c == 0x85 || c == 0xa0 ||
           c == 0x1680 || (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 ||
           c == 0x202f || c == 0x205f || c == 0x3000;
}

static size_t stripped_length(const char *text, size_t length) {
    while (length > 0) {
        size_t start = length - 1;
        while (start > 0 && length - start < 4 && ((unsigned char)text[start] & 0xc0) == 0x80)
            start--;
        utf8proc_int32_t c;
        utf8proc_ssize_t used = utf8proc_iterate((const utf8proc_uint8_t *)text + start,
                                                 (utf8proc_ssize_t)(length - start), &c);
        if (used != (utf8proc_ssize_t)(length - start) || !is_python_space(c)) break;
        length = start;
    }
    return length;
}

/* Causal: the last max_length tokens of context + continuation, without the very last. */
static bool causal_input(int32_t max_length, const int32_t *context, int32_t n_context,
                         const int32_t *continuation, int32_t n_continuation, tl_pair *pair,
                         tl_error *error) {
    if (n_continuation > max_length)
        return tl_fail(error, TL_ERROR_LIMIT,
                       "a continuation of %d tokens: the model takes %d at most", n_continuation,
                       max_length);
    int64_t total = (int64_t)n_context + n_continuation;
    int64_t dropped = total > (int64_t)max_length + 1 ? total - max_length - 1 : 0;
    pair->truncated = dropped > 0;
    pair->first_row = (int32_t)(n_context - dropped - 1);
    if (!tl_ids_append(&pair->input, context + dropped, (size_t)(n_context - dropped), error))
        return false;
    return n_continuation == 0 ||
           tl_ids_append(&pair->input, continuation, (size_t)n_continuation - 1, error);
}

static bool seq2seq_input(const tl_model_spec *spec, int32_t max_length, const int32_t *context,
                          int32_t n_context, const int32_t *continuation, int32_t n_continuation,
                          tl_pair *pair, tl_error *error) {
    int32_t kept = n_context < max_length ? n_context : max_length;
    pair->truncated = kept < n_context;
    pair->first_row = 0;
    if (!tl_ids_append(&pair->encoder, context + (n_context - kept), (size_t)kept, error) ||
        !tl_ids_append(&pair->input, &spec->decoder_start, 1, error))
        return false;
    return n_continuation == 0 ||
           tl_ids_append(&pair->input, continuation, (size_t)n_continuation - 1, error);
}

bool tl_pair_from_ids(const tl_model_spec *spec, int32_t max_length, const int32_t *context,
                      int32_t n_context, const int32_t *continuation, int32_t n_continuation,
                      tl_pair *pair, tl_error *error) {
    *pair = (tl_pair){.n_context = n_context};
    if (n_context < 1)
        return tl_fail(error, TL_ERROR_USAGE, "an empty context: expected at least one token");
    bool ok = spec->encoder ? seq2seq_input(spec, max_length, context, n_context, continuation,
                                            n_continuation, pair, error)
                            : causal_input(max_length, context, n_context, continuation,
                                           n_continuation, pair, error);
    if (ok && tl_ids_append(&pair->targets, continuation, (size_t)n_continuation, error))
        return true;
    tl_pair_free(pair);
    return false;
}

/* The ids of an empty context and of what follows it. */
static bool encode_without_context(const tl_model_spec *spec, const tl_tokenizer *tokenizer,
                                   const char *continuation, size_t length, tl_ids *context,
                                   tl_ids *rest, tl_error *error) {
    int32_t prefix = tl_request_prefix_token(spec, tokenizer);
    if (!tl_tokenizer_encode(tokenizer, continuation, length, false, rest, error)) return false;
    bool shared = rest->count > 0 && rest->data[0] == prefix;
    if (prefix < 0)
        return tl_fail(error, TL_ERROR_USAGE,
                       "an empty context, and the tokenizer has neither BOS nor EOS to stand for "
                       "it: expected some text");
    if (!tl_ids_append(context, &prefix, 1, error)) return false;
    if (shared) memmove(rest->data, rest->data + 1, --rest->count * sizeof *rest->data);
    return true;
}

static bool encode_both(const tl_model_spec *spec, const tl_tokenizer *tokenizer, tl_bos bos,
                        const char *whole, size_t context_length, size_t length, tl_ids *context,
                        tl_ids *rest, tl_error *error) {
    size_t kept = stripped_length(whole, context_length);
    if (!tl_request_encode(spec, tokenizer, bos, whole, kept, context, error)) return false;
    if (spec->encoder)
        return tl_tokenizer_encode(tokenizer, whole + kept, length - kept, false, rest, error);
    if (context->count == 0)
        return encode_without_context(spec, tokenizer, whole, length, context, rest, error);
    if (!tl_request_encode(spec, tokenizer, bos, whole, length, rest, error)) return false;
    size_t dropped = context->count < rest->count ? context->count : rest->count;
    rest->count -= dropped;
    memmove(rest->data, rest->data + dropped, rest->count * sizeof *rest->data);
    return true;
}

bool tl_pair_encode(const tl_model_spec *spec, const tl_tokenizer *tokenizer, tl_bos bos,
                    const char *context, size_t context_length, const char *continuation,
                    size_t continuation_length, tl_pair *pair, tl_error *error) {
    *pair = (tl_pair){0};
    tl_ids context_ids = {0}, rest = {0};
    tl_buffer whole = {0};
    tl_buffer_append(&whole, context, context_length);
    tl_buffer_append(&whole, continuation, continuation_length);
    bool ok = !whole.failed || tl_fail_memory(error, whole.length, "a request");
    if (ok && context_length == 0)
        ok = encode_without_context(spec, tokenizer, continuation, continuation_length,
                                    &context_ids, &rest, error);
    else if (ok)
        ok = encode_both(spec, tokenizer, bos, tl_buffer_string(&whole), context_length,
                         whole.length, &context_ids, &rest, error);
    if (ok && (context_ids.count > INT32_MAX / 2 || rest.count > INT32_MAX / 2))
        ok = tl_fail(error, TL_ERROR_LIMIT, "a request of more than %d tokens", INT32_MAX / 2);
    if (ok)
        ok = tl_pair_from_ids(spec, tl_request_max_length(spec, tokenizer), context_ids.data,
                              (int32_t)context_ids.count, rest.data, (int32_t)rest.count, pair,
                              error);
    tl_buffer_free(&whole);
    tl_ids_free(&context_ids);
    tl_ids_free(&rest);
    return ok;
}

void tl_pair_path(const tl_pair *pair, tl_ask *asks, tl_path *path) {
    *path = (tl_path){pair->encoder.data,
                      (int32_t)pair->encoder.count,
                      pair->input.data,
                      (int32_t)pair->input.count,
                      asks,
                      (int32_t)pair->targets.count};
    for (size_t i = 0; i < pair->targets.count; i++)
        asks[i] = (tl_ask){.row = pair->first_row + (int32_t)i,
                           .kind = TL_ASK_LOGPROB,
                           .token = pair->targets.data[i]};
}

bool tl_pairs_score(tl_engine *engine, const tl_pair *pairs, int32_t n_pairs,
                    tl_likelihood *results, tl_work *work, tl_error *error) {
    size_t n_asks = 0;
    for (int32_t i = 0; i < n_pairs; i++)
        n_asks += pairs[i].targets.count;
    tl_path *paths = calloc((size_t)n_pairs + 1, sizeof *paths);
    tl_ask *asks = calloc(n_asks + 1, sizeof *asks);
    bool ok = paths && asks;
    if (!ok) tl_fail_memory(error, n_asks * sizeof *asks, "the questions");
    n_asks = 0;
    for (int32_t i = 0; ok && i < n_pairs; i++) {
        tl_pair_path(&pairs[i], asks + n_asks, &paths[i]);
        n_asks += pairs[i].targets.count;
    }
    ok = ok && tl_engine_score_paths(engine, paths, n_pairs, work, error);
    for (int32_t i = 0; ok && i < n_pairs; i++) {
        tl_likelihood result = {0, true, paths[i].n_asks};
        for (int32_t j = 0; j < paths[i].n_asks; j++) {
            result.loglikelihood += paths[i].asks[j].value;
            result.greedy = result.greedy && paths[i].asks[j].greedy;
        }
        results[i] = result;
    }
    free(paths);
    free(asks);
    return ok;
}
