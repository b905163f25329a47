/* request: context and continuation as text → ids as lm-evaluation-harness makes them, and their
 * log-likelihoods. */
#ifndef TL_REQUEST_H
#define TL_REQUEST_H

#include "engine/engine.h"

/* Special tokens before a causal model's context: those the tokenizer adds by default (unless the
 * text begins with the BOS token), always, or never (the harness up to 0.4.9.1). Encoder-decoders
 * always take the tokenizer's default. */
typedef enum tl_bos { TL_BOS_AUTO, TL_BOS_ON, TL_BOS_OFF } tl_bos;

bool tl_bos_parse(const char *name, tl_bos *bos, tl_error *error); /* "auto", "on", "off" */

/* A continuation to be scored after a context. */
typedef struct tl_pair {
    tl_ids encoder; /* encoder-decoders: the context; empty for causal models */
    tl_ids input;   /* what the (decoder) model reads: context + continuation, without the last */
    tl_ids targets; /* the continuation: targets[i] is predicted at row first_row + i of input */
    int32_t first_row;
    int32_t n_context; /* ids of the context before truncation */
    bool truncated;    /* the context lost tokens at its left */
} tl_pair;

void tl_pair_free(tl_pair *pair);

/* The longest input as lm-evaluation-harness resolves it: the config's positions, else the
 * tokenizer's model_max_length, else 2048. */
int32_t tl_request_max_length(const tl_model_spec *spec, const tl_tokenizer *tokenizer);

/* What stands for an empty context: the tokenizer's BOS, else its EOS; -1 where it has neither. */
int32_t tl_request_prefix_token(const tl_model_spec *spec, const tl_tokenizer *tokenizer);

/* Encodes a prompt with the special tokens `bos` asks for; appends to `ids`. */
bool tl_request_encode(const tl_model_spec *spec, const tl_tokenizer *tokenizer, tl_bos bos,
                       const char *text, size_t length, tl_ids *ids, tl_error *error);

/* The harness's _encode_pair and truncation: trailing white space of the context moves to the
 * continuation; causal: continuation = ids(context + continuation) after the length of
 * ids(context), and the input keeps its last max_length tokens; encoder-decoder: both are encoded
 * apart. */
bool tl_pair_encode(const tl_model_spec *spec, const tl_tokenizer *tokenizer, tl_bos bos,
                    const char *context, size_t context_length, const char *continuation,
                    size_t continuation_length, tl_pair *pair, tl_error *error);

/* The same from ids. */
bool tl_pair_from_ids(const tl_model_spec *spec, int32_t max_length, const int32_t *context,
                      int32_t n_context, const int32_t *continuation, int32_t n_continuation,
                      tl_pair *pair, tl_error *error);

/* What the engine is asked of a pair: the log-probability of each target, into asks
 * [targets.count]. The path reads the pair's tokens, which must outlive it. */
void tl_pair_path(const tl_pair *pair, tl_ask *asks, tl_path *path);

typedef struct tl_likelihood {
    double loglikelihood; /* Σ log p, natural */
    bool greedy;          /* every token is the argmax of its row */
    int32_t tokens;
} tl_likelihood;

/* Scores pairs, shared prefixes once. */
bool tl_pairs_score(tl_engine *engine, const tl_pair *pairs, int32_t n_pairs,
                    tl_likelihood *results, tl_work *work, tl_error *error);

#endif
