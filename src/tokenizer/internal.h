/* The tokenizer's parts, and the readers that fill them. */
#ifndef TL_TOKENIZER_INTERNAL_H
#define TL_TOKENIZER_INTERNAL_H

#include "tokenizer/added.h"
#include "tokenizer/decoder.h"
#include "tokenizer/normalizer.h"
#include "tokenizer/postprocessor.h"
#include "tokenizer/pretokenizer.h"
#include "tokenizer/subword.h"
#include "tokenizer/tokenizer.h"

/* The largest file of a tokenizer that is read; genuine ones stay below 40 MB. */
enum { TL_TOKENIZER_FILE_LIMIT = 256 << 20 };

struct tl_tokenizer {
    tl_normalizers normalizers;
    tl_pretokenizers pretokenizers;
    tl_subword model;
    tl_postprocessors postprocessors;
    tl_decoders decoders;
    tl_added added;
    int32_t size; /* largest id + 1 */
    int32_t bos, eos, pad, unknown;
    int64_t max_length;
    char fingerprint[TL_HEX_SIZE];
};

/* A tokenizer while its files are read. */
typedef struct tl_opening {
    tl_tokenizer *tokenizer;
    const char *directory;
    tl_digest *digest;
    cJSON *config;  /* tokenizer_config.json; NULL where absent */
    cJSON *special; /* special_tokens_map.json */
    cJSON *added;   /* added_tokens.json */
    char config_path[4096], special_path[4096], added_path[4096];
    char class[64]; /* tokenizer_class without a trailing "Fast"; "" for none */
    bool adds_bos;  /* unless tokenizer_config.json says otherwise */
} tl_opening;

/* Reads directory/name and adds it to the fingerprint; NULL with `*absent` set where there is no
 * such file. To be freed with free(). */
char *tl_opening_read(tl_opening *opening, const char *name, char path[4096], size_t *length,
                      bool *absent, tl_error *error);

/* Reads the components of a pipeline from JSON in the form of tokenizer.json (normalizer,
 * pre_tokenizer, post_processor, decoder, added_tokens), once the model has its vocabulary. */
bool tl_pipeline_read(tl_opening *opening, const cJSON *json, const char *file, tl_error *error);

/* The same from text, which the program wrote itself. */
bool tl_pipeline_parse(tl_opening *opening, const tl_buffer *json, const char *file,
                       tl_error *error);

/* The three forms a tokenizer comes in. */
bool tl_open_tokenizer_json(tl_opening *opening, const char *path, const char *text, size_t length,
                            tl_error *error);
bool tl_open_vocab_merges(tl_opening *opening, const char *vocab_path, const char *vocab,
                          size_t vocab_length, tl_error *error);
bool tl_open_sentencepiece(tl_opening *opening, const char *path, const char *bytes, size_t length,
                           tl_error *error);

/* Finds the class: tokenizer_config.json's, else the one that config.json's model_type stands for.
 */
bool tl_opening_find_class(tl_opening *opening, tl_error *error);

/* Adds the tokens that AutoTokenizer adds to a tokenizer without tokenizer.json: those of
 * tokenizer_config.json, added_tokens.json, special_tokens_map.json, and the class's own. */
bool tl_opening_add_tokens(tl_opening *opening, tl_error *error);

/* Finishes: bos, eos, pad, unk, and what AutoTokenizer adds around a text. */
bool tl_opening_finish(tl_opening *opening, tl_error *error);

/* Builds what matching added tokens needs, once all are known. */
bool tl_added_finish(tl_tokenizer *tokenizer, tl_error *error);

#endif
