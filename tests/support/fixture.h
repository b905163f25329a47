/* Checkpoints and question files made on the spot: tiny, random, the same on every run. */
#ifndef TESTS_FIXTURE_H
#define TESTS_FIXTURE_H

#include <stdint.h>

typedef struct fixture_model {
    const char *family; /* "llama" or "gpt2" */
    int dim, layers, heads, ffn_dim, positions;
    uint32_t seed;
} fixture_model;

/* A llama of 32 dimensions and two layers. */
extern const fixture_model fixture_small;

enum { FIXTURE_VOCABULARY = 264 };

/* Writes config.json, model.safetensors (f32) and tokenizer.json (byte-level BPE of 256 bytes, the
 * merges " A" … " D", "Ġt", "he" and <|endoftext|>) into `directory`. */
void fixture_checkpoint(const char *directory, const fixture_model *model);

/* The tokenizer alone. */
void fixture_tokenizer(const char *directory);

/* Writes `count` questions as JSONL in the schema of ARC on the hub (arc_easy: four choices) or of
 * PIQA (piqa: two). */
void fixture_rows(const char *path, const char *task, int count);

#endif
