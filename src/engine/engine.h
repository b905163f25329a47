/* engine: forward passes over segments, scoring, generation. It knows no task.
 *
 * A batch is a forest: a segment continues the tokens of its parent and sees their keys and values.
 * Every token is computed once; logits only for the rows, and the columns, that are asked. */
#ifndef TL_ENGINE_H
#define TL_ENGINE_H

#include "base/base.h"
#include "kernels/kernels.h"
#include "model/model.h"
#include "tokenizer/tokenizer.h"

typedef struct tl_engine tl_engine;

typedef struct tl_engine_options {
    int threads; /* 0: all processors this process may use */
    tl_precision precision;
    int32_t pass_rows;  /* tokens in one pass at most; 0: what the products like best */
    const char *device; /* "cpu" (or NULL), "cuda", "cuda:N", "auto": see tl_compute_open */
} tl_engine_options;

/* An engine over a loaded model (borrowed). */
tl_engine *tl_engine_new(const tl_model *model, const tl_engine_options *options, tl_error *error);
void tl_engine_free(tl_engine *engine);
const tl_model *tl_engine_model(const tl_engine *engine);
tl_compute *tl_engine_compute(const tl_engine *engine);
int tl_engine_threads(const tl_engine *engine);
int32_t tl_engine_pass_rows(const tl_engine *engine); /* tokens in one pass at most */

/* ---- scoring
 * ---------------------------------------------------------------------------------------- */

/* One node of the forest. For an encoder-decoder, a root (parent -1) with `encoder` set holds the
 * encoder's tokens; its children are decoder segments, whose first continues nothing but reads the
 * encoder. */
typedef struct tl_segment {
    int32_t parent;        /* index of an earlier segment, or -1 */
    const int32_t *tokens; /* borrowed during the call */
    int32_t n_tokens;      /* at least 1 */
    bool encoder;
} tl_segment;

typedef enum tl_ask_kind {
    TL_ASK_LOGPROB, /* log p(token | all up to and including the row), and whether it is the argmax
                     */
    TL_ASK_LOGIT,   /* the raw logit of the token: only that column of the head is computed */
    TL_ASK_LOGITS,  /* the whole row, into `logits` [vocab] */
    TL_ASK_BEST,    /* the first maximum of the row, into `token` */
} tl_ask_kind;

typedef struct tl_ask {
    int32_t segment, row; /* row within the segment: 0 … n_tokens-1 */
    tl_ask_kind kind;
    int32_t token; /* TL_ASK_BEST: the answer */
    float *logits; /* TL_ASK_LOGITS: where to write */
    /* the answer */
    float value; /* logprob or logit */
    bool greedy; /* TL_ASK_LOGPROB: the token is the first maximum of its row */
} tl_ask;

/* Counts of the work done by the last call, for the report. */
typedef struct tl_work {
    int64_t tokens_computed;
    int64_t tokens_asked; /* had every path from a root to a leaf been computed on its own */
    double seconds;       /* the forward passes alone, by the device's clock: the study's inference
                             time */
} tl_work;

/* Runs the forest and fills in the asks. Results are the same bits for any number of threads, any
 * pass size and any company in the batch. Paths longer than the model's positions are an error
 * (TL_ERROR_LIMIT). For a model with spec.rope_int8 the values depend on the length of the whole
 * call: each ask is answered as in a call that ends with the ask's segment, and nothing is shared.
 */
bool tl_engine_score(tl_engine *engine, const tl_segment *segments, int32_t n_segments,
                     tl_ask *asks, int32_t n_asks, tl_work *work, tl_error *error);

/* One sequence to be computed on its own terms, and what is asked of it. */
typedef struct tl_path {
    const int32_t *encoder; /* encoder-decoders: the encoder's tokens; else NULL */
    int32_t n_encoder;
    const int32_t *tokens; /* the causal model's input, or the decoder's; at least 1 */
    int32_t n_tokens;
    tl_ask *asks; /* `row` counts from the path's start; `segment` is not read */
    int32_t n_asks;
} tl_path;

/* Scores sequences, finding by itself what they share: a prefix that several of them begin with is
 * computed once (instructions, few-shot block, the context of a question's choices). In whatever
 * order they are given. Otherwise as tl_engine_score. */
bool tl_engine_score_paths(tl_engine *engine, const tl_path *paths, int32_t n_paths, tl_work *work,
                           tl_error *error);

/* ---- sequences: generation and prefixes kept
 * ---------------------------------------------------------- */

typedef struct tl_generate_options {
    int32_t most_tokens;
    bool ignore_eos;
    float temperature; /* 0: greedy */
    int32_t top_k;     /* 0: all */
    float top_p;       /* 1: all */
    uint64_t seed;
    /* Called after each token; returning false stops. May be NULL. */
    bool (*on_token)(void *context, int32_t token);
    void *context;
    double *first_token_seconds; /* may be NULL */
    double *decode_seconds;      /* time of the tokens after the first; may be NULL */
} tl_generate_options;

/* Continues `prompt` (for an encoder-decoder: the encoder's input; `decoder_prompt` defaults to the
 * decoder start token) and appends the new ids to `out`. */
bool tl_engine_generate(tl_engine *engine, const int32_t *prompt, int32_t n_prompt,
                        const int32_t *decoder_prompt, int32_t n_decoder_prompt,
                        const tl_generate_options *options, tl_ids *out, tl_error *error);

/* ---- the program's own account of memory
 * -------------------------------------------------------------- */

typedef struct tl_memory {
    size_t weights_mapped; /* views of the checkpoint's files */
    size_t weights_owned;  /* converted, transposed or rearranged; norms and biases */
    size_t kv;             /* keys and values */
    size_t activations;    /* rows on their way through the layers */
    size_t scratch;        /* the kernels' memory, tables of positions, the head's block */
    size_t device;         /* of a GPU's memory now; 0 on the CPU */
    size_t device_peak;    /* the most that was, by the backend's own count */
    size_t device_driver;  /* in use on the GPU by everybody, as its driver says */
    size_t device_adopted; /* weights that the GPU reads where they lie in host memory */
} tl_memory;

/* What is resident now, of what the engine and its model hold. */
void tl_engine_memory(const tl_engine *engine, tl_memory *memory);

/* What a run of `model`'s spec would need at most, before loading: passes of `rows` tokens over
 * sequences of up to `length` tokens. */
void tl_engine_predict_memory(const tl_model_spec *spec, tl_dtype dtype, int32_t rows,
                              int32_t length, tl_memory *memory);

#endif
