/* Which files of a repository a run needs, by their names. */
#ifndef TL_HUB_SELECT_H
#define TL_HUB_SELECT_H

#include "hub/cache.h"

/* Which of `names` (paths in a dataset repository) are the Parquet files of a split, in the order
 * of their shards. Knows DIR/split-00000-of-00001[-hash].parquet, DIR/split/0000.parquet and
 * split.parquet; DIR must be the config where one is given, else "data", "default", "plain_text"
 * or the only one that has the split. Indices go to `picked` (room for names->count); returns how
 * many, 0 when none. */
int tl_dataset_pick(const tl_names *names, const char *config, const char *split, int *picked);

/* Which of `names` (paths in a model repository) a run reads: config, tokenizer, and the weights:
 * model.safetensors, else its shards, else pytorch_model.bin or its shards, else the only .gguf;
 * or instead of the weights what the shell patterns match. Indices go to `picked` (room for
 * names->count); returns how many, 0 with `error` when the weights cannot be chosen or a pattern
 * matches nothing. `id` names the repository in messages. */
int tl_model_pick(const tl_names *names, const char *id, const char *const *patterns,
                  int n_patterns, int *picked, tl_error *error);

#endif
