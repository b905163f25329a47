#include "task/asking.h"

#include "task/text.h"

#include <math.h>
#include <string.h>

enum { STUDY_MOST_TOKENS = 512 }; /* the published study's prompts, special tokens included */

/* ---- letters ---- */

static bool encode(const tl_asker *asker, const char *text, bool special, tl_ids *ids,
                   tl_error *error) {
    return tl_tokenizer_encode(asker->tokenizer, text, strlen(text), special, ids, error);
}

static bool study_token(const tl_asker *asker, char letter, int32_t *token, tl_error *error) {
    tl_ids ids = {0};
    const char text[] = {' ', letter, 0};
    bool ok = encode(asker, text, true, &ids, error);
    size_t count = ids.count;
    if (ok && asker->spec->encoder && count > 1 &&
        ids.data[count - 1] == tl_tokenizer_eos(asker->tokenizer))
        count--;
    if (ok && count == 0)
        ok = tl_fail(error, TL_ERROR_UNSUPPORTED, "the tokenizer gives ' %c' no token", letter);
    if (ok) *token = ids.data[count - 1];
    tl_ids_free(&ids);
    return ok;
}

static bool letter_token(const tl_asker *asker, char letter, int32_t *token, tl_error *error) {
    const char text[] = "\nAnswer: ?";
    char with_letter[sizeof text];
    memcpy(with_letter, text, sizeof text);
    with_letter[sizeof text - 2] = letter;
    tl_ids ids = {0};
    /* A decoder's text begins with the answer; a causal model's goes on after "Answer:". */
    const char *from = asker->spec->encoder ? with_letter + sizeof text - 2 : with_letter;
    bool ok = encode(asker, from, false, &ids, error);
    if (ok && ids.count == 0)
        ok = tl_fail(error, TL_ERROR_UNSUPPORTED, "the tokenizer gives '%c' no token", letter);
    if (ok) *token = ids.data[ids.count - 1];
    tl_ids_free(&ids);
    return ok;
}

bool tl_asker_find_letters(tl_asker *asker, tl_protocol protocol, tl_error *error) {
    int32_t *tokens = asker->letters[protocol];
    bool study = protocol == TL_PROTOCOL_STUDY;
    for (int i = 0; i < TL_TASK_LETTERS; i++) {
        char letter = (char)('A' + i);
        if (!(study ? study_token(asker, letter, &tokens[i], error)
                    : letter_token(asker, letter, &tokens[i], error)))
            return false;
    }
    return true;
}

/* Do the letters of the options have tokens of their own? The published program did not ask. */
static bool letters_differ(const tl_asker *asker, const tl_inquiry *inquiry, tl_error *why) {
    const int32_t *tokens = asker->letters[inquiry->protocol];
    for (int i = 0; i < inquiry->question.n_choices; i++)
        for (int j = 0; j < i && inquiry->protocol != TL_PROTOCOL_STUDY; j++)
            if (tokens[j] == tokens[i])
                return tl_fail(why, TL_ERROR_UNSUPPORTED,
                               "the tokenizer gives %c and %c the same token: letters cannot be "
                               "told apart",
                               'A' + j, 'A' + i);
    return true;
}

/* ---- questions to tokens ---- */

static bool skip(tl_inquiry *inquiry, tl_arena *arena, const tl_error *why, tl_error *error) {
    inquiry->skipped = tl_arena_strdup(arena, why->message, error);
    inquiry->n_paths = 0;
    return inquiry->skipped != NULL;
}

/* Cuts a prompt to `most` tokens, special tokens that the tokenizer put around the text staying
 * where they are; on the right as the published study did, on the left so that the question stays
 * otherwise. */
static bool cut(const tl_asker *asker, const char *text, bool right, size_t most, tl_ids *ids,
                tl_error *error) {
    tl_ids plain = {0};
    if (!encode(asker, text, false, &plain, error)) return false;
    size_t around = ids->count > plain.count ? ids->count - plain.count : 0, before = 0;
    while (before < around &&
           memcmp(ids->data + before, plain.data, plain.count * sizeof *plain.data) != 0)
        before++;
    size_t after = around - before, kept = most > around ? most - around : 0;
    size_t dropped = ids->count - around - kept;
    size_t from = right ? before + kept : before; /* where the hole begins */
    memmove(ids->data + from, ids->data + from + dropped,
            (ids->count - from - dropped) * sizeof *ids->data);
    ids->count = before + kept + after;
    tl_ids_free(&plain);
    return true;
}

static bool encode_prompt(const tl_asker *asker, tl_inquiry *inquiry, tl_error *error) {
    bool study = inquiry->protocol == TL_PROTOCOL_STUDY;
    const char *text = inquiry->question.prompt;
    int32_t longest = tl_request_max_length(asker->spec, asker->tokenizer);
    if (study) longest = STUDY_MOST_TOKENS;
    size_t most = (size_t)(longest < asker->spec->positions ? longest : asker->spec->positions);
    if (!encode(asker, text, true, &inquiry->prompt, error)) return false;
    if (inquiry->prompt.count <= most) return true;
    inquiry->truncated = true;
    return cut(asker, text, study, most, &inquiry->prompt, error);
}

/* One sequence; the options' letters are asked at its last position, or at the decoder's first. */
static bool ask_letters(const tl_asker *asker, tl_inquiry *inquiry, tl_arena *arena,
                        tl_error *error) {
    size_t n = (size_t)inquiry->question.n_choices;
    tl_error why;
    if (!letters_differ(asker, inquiry, &why)) return skip(inquiry, arena, &why, error);
    if (!encode_prompt(asker, inquiry, error)) return false;
    if (inquiry->prompt.count == 0) {
        tl_fail(&why, TL_ERROR_FORMAT, "the prompt has no tokens");
        return skip(inquiry, arena, &why, error);
    }
    tl_path *path = tl_arena_alloc(arena, 1, sizeof *path, "a question", error);
    tl_ask *asks = tl_arena_alloc(arena, n, sizeof *asks, "a question", error);
    if (!path || !asks) return false;
    if (asker->spec->encoder &&
        !tl_ids_append(&inquiry->decoder, &asker->spec->decoder_start, 1, error))
        return false;
    const tl_ids *input = asker->spec->encoder ? &inquiry->decoder : &inquiry->prompt;
    for (size_t i = 0; i < n; i++)
        asks[i] = (tl_ask){.row = (int32_t)input->count - 1,
                           .kind = TL_ASK_LOGIT,
                           .token = asker->letters[inquiry->protocol][i]};
    *path = (tl_path){.tokens = input->data,
                      .n_tokens = (int32_t)input->count,
                      .asks = asks,
                      .n_asks = (int32_t)n};
    if (asker->spec->encoder) {
        path->encoder = inquiry->prompt.data;
        path->n_encoder = (int32_t)inquiry->prompt.count;
    }
    inquiry->paths = path;
    inquiry->asks = asks;
    inquiry->n_paths = 1;
    inquiry->tokens = inquiry->tokens_asked = path->n_encoder + path->n_tokens;
    return true;
}

/* Encodes context and continuation of each choice; false with TL_ERROR_LIMIT or TL_ERROR_FORMAT in
 * `why` when the question cannot be asked. */
static bool encode_pairs(const tl_asker *asker, tl_inquiry *inquiry, tl_error *why) {
    const tl_question *q = &inquiry->question;
    for (int32_t i = 0; i < q->n_choices; i++) {
        tl_pair *pair = &inquiry->pairs[i];
        if (!tl_pair_encode(asker->spec, asker->tokenizer, asker->bos, q->contexts[i],
                            strlen(q->contexts[i]), q->continuations[i],
                            strlen(q->continuations[i]), pair, why))
            return tl_fail_within(why, "choice %d", i);
        if (pair->targets.count == 0)
            return tl_fail(why, TL_ERROR_FORMAT, "choice %d ('%.40s') has no tokens", i,
                           q->choices[i]);
        inquiry->truncated |= pair->truncated;
    }
    return true;
}

static void count_tokens(tl_inquiry *inquiry) {
    for (int32_t i = 0; i < inquiry->n_paths; i++) {
        const tl_path *path = &inquiry->paths[i];
        bool shares = i > 0 && inquiry->question.contexts[i] == inquiry->question.contexts[0];
        int64_t whole = (int64_t)path->n_encoder + path->n_tokens;
        inquiry->tokens_asked += whole;
        inquiry->tokens += shares ? path->n_asks : whole;
    }
}

static bool ask_choices(const tl_asker *asker, tl_inquiry *inquiry, tl_arena *arena,
                        tl_error *error) {
    size_t n = (size_t)inquiry->question.n_choices, n_asks = 0;
    tl_error why = {0};
    inquiry->pairs = tl_arena_alloc(arena, n, sizeof *inquiry->pairs, "a question", error);
    if (!inquiry->pairs) return false;
    if (!encode_pairs(asker, inquiry, &why)) {
        if (why.code == TL_ERROR_LIMIT || why.code == TL_ERROR_FORMAT)
            return skip(inquiry, arena, &why, error);
        if (error) *error = why;
        return false;
    }
    for (size_t i = 0; i < n; i++)
        n_asks += inquiry->pairs[i].targets.count;
    inquiry->paths = tl_arena_alloc(arena, n, sizeof *inquiry->paths, "a question", error);
    inquiry->asks = tl_arena_alloc(arena, n_asks, sizeof *inquiry->asks, "a question", error);
    if (!inquiry->paths || !inquiry->asks) return false;
    tl_ask *ask = inquiry->asks;
    for (size_t i = 0; i < n; i++) {
        tl_pair_path(&inquiry->pairs[i], ask, &inquiry->paths[i]);
        ask += inquiry->pairs[i].targets.count;
    }
    inquiry->n_paths = (int32_t)n;
    count_tokens(inquiry);
    return true;
}

bool tl_inquiry_encode(const tl_asker *asker, tl_inquiry *inquiry, tl_arena *arena,
                       tl_error *error) {
    return inquiry->protocol == TL_PROTOCOL_LOGLIKELIHOOD
               ? ask_choices(asker, inquiry, arena, error)
               : ask_letters(asker, inquiry, arena, error);
}

void tl_inquiry_free(tl_inquiry *inquiry) {
    for (int32_t i = 0; inquiry->pairs && i < inquiry->question.n_choices; i++)
        tl_pair_free(&inquiry->pairs[i]);
    tl_ids_free(&inquiry->prompt);
    tl_ids_free(&inquiry->decoder);
    *inquiry = (tl_inquiry){0};
}

/* ---- answers ---- */

/* numpy's argmax: the first largest, where not-a-number is larger than everything. */
static int32_t first_largest(const double *values, int32_t n) {
    int32_t best = 0;
    for (int32_t i = 1; i < n && !isnan(values[best]); i++)
        if (isnan(values[i]) || values[i] > values[best]) best = i;
    return best;
}

static void score_choices(const tl_inquiry *inquiry, double *scores, bool *greedy) {
    for (int32_t i = 0; i < inquiry->n_paths; i++) {
        const tl_path *path = &inquiry->paths[i];
        double sum = 0;
        greedy[i] = true;
        for (int32_t j = 0; j < path->n_asks; j++) {
            sum += (double)path->asks[j].value;
            greedy[i] &= path->asks[j].greedy;
        }
        scores[i] = (double)(float)sum; /* the harness sums in the model's float32 */
    }
}

static int32_t predict_by_length(const tl_question *q, const double *scores, bool bytes) {
    double by_length[TL_TASK_CHOICES];
    for (int32_t i = 0; i < q->n_choices; i++) {
        size_t length = strlen(q->choices[i]);
        if (!bytes) length = tl_text_characters(q->choices[i], length);
        by_length[i] = scores[i] / (double)length;
    }
    return first_largest(by_length, q->n_choices);
}

bool tl_inquiry_answer(const tl_asker *asker, const tl_inquiry *inquiry, tl_arena *arena,
                       tl_example *example, tl_error *error) {
    const tl_question *q = &inquiry->question;
    *example = (tl_example){.protocol = inquiry->protocol,
                            .index = inquiry->index,
                            .document = q->document ? q->document : "{}",
                            .prompt = q->prompt ? q->prompt : "",
                            .gold = q->document ? q->gold : -1,
                            .prediction = -1,
                            .prediction_norm = -1,
                            .prediction_bytes = -1,
                            .truncated = inquiry->truncated,
                            .skipped = inquiry->skipped,
                            .forward_seconds = NAN,
                            .total_seconds = NAN,
                            .tokens_asked = inquiry->tokens_asked};
    if (inquiry->skipped) return true;
    size_t n = (size_t)q->n_choices;
    double *scores = tl_arena_alloc(arena, n, sizeof *scores, "scores", error);
    bool *greedy = tl_arena_alloc(arena, n, sizeof *greedy, "scores", error);
    if (!scores || !greedy) return false;
    example->n_choices = q->n_choices;
    example->choices = q->choices;
    example->contexts = q->contexts;
    example->continuations = q->continuations;
    example->scores = scores;
    if (inquiry->protocol != TL_PROTOCOL_LOGLIKELIHOOD) {
        for (size_t i = 0; i < n; i++)
            scores[i] = (double)inquiry->asks[i].value;
        example->prediction = first_largest(scores, q->n_choices);
        return true;
    }
    score_choices(inquiry, scores, greedy);
    example->greedy = greedy;
    example->prediction = first_largest(scores, q->n_choices);
    if (!asker->task->methods[TL_PROTOCOL_LOGLIKELIHOOD].norm) return true;
    example->prediction_norm = predict_by_length(q, scores, false);
    example->prediction_bytes = predict_by_length(q, scores, true);
    return true;
}
