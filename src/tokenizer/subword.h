/* The models that cut a word into tokens: BPE, Unigram, WordPiece, WordLevel. */
#ifndef TL_TOKENIZER_SUBWORD_H
#define TL_TOKENIZER_SUBWORD_H

#include "tokenizer/ids.h"
#include "tokenizer/scan.h"
#include "tokenizer/trie.h"
#include "tokenizer/vocab.h"
#include "tokenizer/work.h"

#include <stdatomic.h>

typedef struct tl_merge {
    uint64_t pair; /* left id << 32 | right id; UINT64_MAX: a free slot */
    uint32_t rank; /* lower merges first */
    int32_t id;    /* what the two become */
} tl_merge;

/* What a model's file says of an unknown character. */
typedef enum tl_unknown {
    TL_UNKNOWN_NONE = -1,   /* no unk_token: the character is left out */
    TL_UNKNOWN_ABSENT = -2, /* an unk_token that the vocabulary lacks: an error when needed */
} tl_unknown;

typedef struct tl_bpe {
    tl_merge *merges;
    uint32_t mask, count;
    int32_t last;    /* what the merge added last makes */
    int32_t unknown; /* id or tl_unknown */
    bool fuse_unknown, byte_fallback, ignore_merges;
    char *prefix, *suffix; /* continuing_subword_prefix, end_of_word_suffix; NULL for none */
    int32_t bytes[256];    /* of "<0x00>" … "<0xFF>", -1 where absent */
    int32_t low[0x180];    /* of the characters below U+0180, -1 where absent */
    bool marked_words;     /* "▁" occurs in tokens at the start only: words are independent */
    /* [vocabulary] is the token's own text encoded as that one token? 0 not asked yet. A memo of a
     * pure function: threads may write it at once, each the same value. */
    _Atomic unsigned char *whole;
} tl_bpe;

typedef struct tl_unigram {
    tl_trie trie;
    double *scores; /* [vocabulary] log-probabilities */
    double unknown_score;
    int32_t unknown;
    bool byte_fallback;
    int32_t bytes[256];
} tl_unigram;

typedef struct tl_wordpiece {
    char *prefix;
    int64_t longest; /* characters; longer words are unknown */
    int32_t unknown;
} tl_wordpiece;

typedef struct tl_subword tl_subword;

typedef struct tl_subword_kind {
    const char *type; /* as in tokenizer.json */
    /* Reads the model's options, once its vocabulary is read. */
    bool (*configure)(tl_subword *model, const cJSON *json, const char *where, tl_error *error);
    /* Called once the merges are read too. */
    bool (*finish)(tl_subword *model, const char *where, tl_error *error);
    bool (*encode)(const tl_subword *model, tl_token_work *work, const char *word, size_t length,
                   tl_ids *ids, tl_error *error);
    /* Reads "vocab" of a tokenizer.json: {"text": id, …}, or [["text", score], …]. */
    bool (*read_vocab)(tl_subword *model, tl_scan *scan, const char *where, tl_error *error);
    /* What the model holds beside its vocabulary; NULL for nothing. */
    void (*free)(tl_subword *model);
    size_t (*bytes)(const tl_subword *model);
} tl_subword_kind;

struct tl_subword {
    const tl_subword_kind *kind;
    tl_vocab vocab;
    union {
        tl_bpe bpe;
        tl_unigram unigram;
        tl_wordpiece wordpiece;
    };
};

extern const tl_subword_kind tl_bpe_kind, tl_unigram_kind, tl_wordpiece_kind, tl_wordlevel_kind;

void tl_subword_free(tl_subword *model);
size_t tl_subword_bytes(const tl_subword *model);

/* Reads {"text": id, …} into the vocabulary. */
bool tl_subword_read_ids(tl_subword *model, tl_scan *scan, const char *where, tl_error *error);

/* Reads "merges": ["a b", …] or [["a", "b"], …]. */
bool tl_bpe_read_merges(tl_subword *model, tl_scan *scan, const char *where, tl_error *error);

/* Adds the merge of rank `rank`; texts that the vocabulary lacks are an error. */
bool tl_bpe_add_merge(tl_subword *model, const char *left, size_t left_length, const char *right,
                      size_t right_length, uint32_t rank, const char *where, tl_error *error);

/* The same for "left right", with the only space between them. */
bool tl_bpe_add_spaced(tl_subword *model, const char *text, size_t length, uint32_t rank,
                       const char *where, tl_error *error);

/* Adds a Unigram token with the next id. */
bool tl_unigram_add(tl_subword *model, const char *text, size_t length, double score,
                    const char *where, tl_error *error);

/* Fills the ids of "<0x00>" … "<0xFF>". */
void tl_subword_byte_ids(const tl_vocab *vocab, int32_t bytes[256]);

/* Appends ids of byte tokens for every byte of `text`; false when one of them is missing. */
bool tl_subword_bytes_of(const int32_t bytes[256], const char *text, size_t length, int32_t *ids);

#endif
