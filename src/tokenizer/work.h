/* Working memory of one call to encode or decode. */
#ifndef TL_TOKENIZER_WORK_H
#define TL_TOKENIZER_WORK_H

#include "tokenizer/pieces.h"
#include "tokenizer/regex.h"

/* A stretch of text: one that an added token or a pattern matched, or one between. */
typedef struct tl_stretch {
    size_t start, end;
    int32_t id; /* of the added token; for patterns 1 where it matched; -1 between matches */
} tl_stretch;

typedef struct tl_stretches {
    tl_stretch *items;
    size_t count, capacity;
    bool failed;
} tl_stretches;

void tl_stretches_add(tl_stretches *stretches, size_t start, size_t end, int32_t id);
void tl_stretches_free(tl_stretches *stretches);

/* A symbol of a word that is being merged. */
typedef struct tl_symbol {
    int32_t id; /* -1: merged into the one before it */
    int32_t previous, next;
} tl_symbol;

/* A merge that may be made. */
typedef struct tl_candidate {
    uint32_t rank;
    int32_t position;
    int32_t id;
} tl_candidate;

/* The best way to reach a place in a word. */
typedef struct tl_best {
    double score;
    int32_t id; /* -1: not reached */
    uint32_t start;
} tl_best;

typedef struct tl_token_work {
    tl_buffer repaired;           /* the text given, when it was not valid UTF-8 */
    tl_buffer normal[2];          /* what normalizers write, in turn */
    tl_buffer stand_ins;          /* a text as patterns see it */
    tl_pieces pieces[2];          /* what pre-tokenizers and decoders write, in turn */
    tl_stretches raw, normalized; /* stretches between added tokens */
    tl_stretches matches;         /* of one pre-tokenizer or normalizer */
    tl_matcher *matcher;          /* NULL until tl_token_work_matcher */
    void *memory;                 /* of the model, for one word */
    size_t memory_size;
    int32_t *points; /* characters of a normalizer */
    size_t points_capacity;
} tl_token_work;

void tl_token_work_free(tl_token_work *work);

/* The matcher, made on first use. */
tl_matcher *tl_token_work_matcher(tl_token_work *work, tl_error *error);

/* At least count × size bytes of `memory`, content undefined. */
void *tl_token_work_memory(tl_token_work *work, size_t count, size_t size, tl_error *error);

/* Room for `count` characters in `points`, content kept. */
bool tl_token_work_points(tl_token_work *work, size_t count, tl_error *error);

#endif
