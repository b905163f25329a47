/* asking: a question as sequences of tokens, and the model's answers as an example. */
#ifndef TL_TASK_ASKING_H
#define TL_TASK_ASKING_H

#include "task/method.h"

/* What every question of an evaluation needs. */
typedef struct tl_asker {
    const tl_task *task;
    const tl_model_spec *spec;
    const tl_tokenizer *tokenizer;
    tl_bos bos;
    int32_t letters[TL_PROTOCOL_COUNT][TL_TASK_LETTERS]; /* tokens of A, B, …; not loglikelihood */
} tl_asker;

/* Finds the letters' tokens for a protocol that asks for letters. Study: the last id of " A" with
 * special tokens on, as the published program had it (before the EOS for encoder-decoders). Letter:
 * the id that follows "Answer:" in "Answer: A"; a question two of whose letters have one token is
 * skipped. */
bool tl_asker_find_letters(tl_asker *asker, tl_protocol protocol, tl_error *error);

/* One question under one protocol on its way to the engine and back. Strings and arrays are in the
 * arena, token ids are its own. */
typedef struct tl_inquiry {
    tl_protocol protocol;
    int64_t index;
    tl_question question;
    const char *skipped; /* why it cannot be asked; NULL when it can */
    bool truncated;
    tl_ids prompt, decoder; /* study, letter */
    tl_pair *pairs;         /* loglikelihood: [n_choices] */
    tl_path *paths;         /* [n_paths] */
    tl_ask *asks;
    int32_t n_paths;
    int64_t tokens; /* what it adds to a pass at most, contexts shared by its own choices once */
    int64_t tokens_asked;
    double started; /* monotonic seconds when its building began */
} tl_inquiry;

/* Makes the token sequences of inquiry->question. A question that the model cannot be asked (a
 * choice without tokens, a continuation longer than the model's context) becomes a skipped one. */
bool tl_inquiry_encode(const tl_asker *asker, tl_inquiry *inquiry, tl_arena *arena,
                       tl_error *error);
void tl_inquiry_free(tl_inquiry *inquiry);

/* Fills in scores and predictions from the answered asks (nothing but the reason where skipped).
 * Times and counts of computed tokens are the caller's. */
bool tl_inquiry_answer(const tl_asker *asker, const tl_inquiry *inquiry, tl_arena *arena,
                       tl_example *example, tl_error *error);

#endif
