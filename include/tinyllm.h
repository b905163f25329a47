/* tinyllm: run and evaluate tiny language models, natively.
 *
 * The public interface of libtinyllm. Every fallible function returns false or NULL and, when
 * `error` is not NULL, fills it with a code and one line that names the file, the field and what
 * was expected. Nothing here prints, exits or keeps global state. Handles are opaque; each is freed
 * by its own _free.
 */
#ifndef TINYLLM_H
#define TINYLLM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum tl_code {
    TL_OK = 0,
    TL_ERROR_USAGE,       /* the caller's arguments are wrong */
    TL_ERROR_IO,          /* a file or device could not be read or written */
    TL_ERROR_FORMAT,      /* a file's content is malformed or contradicts itself */
    TL_ERROR_UNSUPPORTED, /* well-formed, but a kind this build does not implement */
    TL_ERROR_MEMORY,      /* memory could not be had */
    TL_ERROR_LIMIT,       /* a stated limit (context length, size) would be exceeded */
    TL_ERROR_NETWORK,     /* a server could not be reached or refused */
    TL_ERROR_INTERRUPTED, /* stopped by the user */
} tl_code;

typedef struct tl_error {
    tl_code code;
    char message[1024];
} tl_error;

/* A model with its tokenizer, threads and memory, ready to compute. One thread at a time may use a
 * session. */
typedef struct tl_session tl_session;

typedef struct tl_session_options {
    int threads;       /* 0: all processors this process may use */
    const char *dtype; /* "f32", "f16", "bf16", "q8", "q4": converts the weights; NULL: as stored */
    bool fast;         /* bf16 and int8 products; otherwise exact f32 arithmetic */
    const char *device; /* "cpu", "cuda", "cuda:N", "auto"; NULL: cpu */
} tl_session_options;

/* Opens a checkpoint directory, or a hub id (org/name) in the Hugging Face cache. `options` may be
 * NULL. */
tl_session *tl_session_open(const char *model, const tl_session_options *options, tl_error *error);
void tl_session_free(tl_session *session);

/* Columns of the logits. Ids of the tokenizer are below it. */
int32_t tl_session_vocabulary(const tl_session *session);

/* Text → ids, with the special tokens that the tokenizer adds by default if `special`. *ids is to
 * be freed with tl_free. */
bool tl_session_encode(tl_session *session, const char *text, size_t length, bool special,
                       int32_t **ids, size_t *count, tl_error *error);

/* Ids → text, special tokens left out if `skip_special`. *text is NUL-terminated, to be freed with
 * tl_free. */
bool tl_session_decode(tl_session *session, const int32_t *ids, size_t count, bool skip_special,
                       char **text, tl_error *error);

/* Logits [vocabulary] after the last of `ids`. For an encoder-decoder, `ids` go to the encoder and
 * the logits are those of the decoder's first position. */
bool tl_session_logits(tl_session *session, const int32_t *ids, size_t count, float *logits,
                       tl_error *error);

/* A continuation to be scored after a context, both UTF-8 and NUL-terminated. */
typedef struct tl_text_pair {
    const char *context, *continuation;
} tl_text_pair;

typedef struct tl_text_score {
    double loglikelihood; /* natural, summed over the continuation's tokens */
    bool greedy;          /* every token of it is the likeliest one */
    int tokens;
} tl_text_score;

/* Log-likelihoods as lm-evaluation-harness computes them. What pairs have in common is computed
 * once, so ask for many at a time. */
bool tl_session_score(tl_session *session, const tl_text_pair *pairs, size_t count,
                      tl_text_score *scores, tl_error *error);

typedef struct tl_sampling {
    int most_tokens;
    bool ignore_eos;   /* go on after an end-of-sequence token */
    float temperature; /* 0: always the likeliest token */
    int top_k;         /* 0: all */
    float top_p;       /* 0 or 1: all */
    uint64_t seed;
    /* Called after each token; returning false stops. May be NULL. */
    bool (*on_token)(void *context, int32_t token);
    void *context;
} tl_sampling;

/* Continues `prompt`. *ids (the new ones only) is to be freed with tl_free. */
bool tl_session_generate(tl_session *session, const int32_t *prompt, size_t count,
                         const tl_sampling *sampling, int32_t **ids, size_t *new_count,
                         tl_error *error);

/* Frees what a function above allocated for its caller. */
void tl_free(void *memory);

#ifdef __cplusplus
}
#endif
#endif
