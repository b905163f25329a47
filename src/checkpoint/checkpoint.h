/* checkpoint: the files of a model → named tensors, mapped, never copied whole.
 *
 * Reads a Hugging Face directory: model.safetensors, sharded safetensors
 * (model.safetensors.index.json), pytorch_model.bin (zip or the pre-1.6 legacy container, sharded
 * too) through an unpickler that executes nothing. Every size is checked against the file before it
 * is used. */
#ifndef TL_CHECKPOINT_H
#define TL_CHECKPOINT_H

#include "base/base.h"

enum { TL_MOST_DIMENSIONS = 8 };

typedef struct tl_tensor {
    const char *name;
    tl_dtype dtype;
    int rank;
    int64_t shape[TL_MOST_DIMENSIONS];
    const void *data; /* contiguous, row-major, little-endian; aligned to the element */
    size_t bytes;
    bool mapped; /* lies in a file mapping, whose pages can be given back and read again */
} tl_tensor;

typedef struct tl_checkpoint tl_checkpoint;

/* Opens the weights in `directory`: the first that is there of model.safetensors,
 * model.safetensors.index.json with its shards, pytorch_model.bin, pytorch_model.bin.index.json
 * with its shards (the order of transformers). The path of a single weights file will do too.
 * Tensors stay valid until tl_checkpoint_free. */
tl_checkpoint *tl_checkpoint_open(const char *directory, tl_error *error);
void tl_checkpoint_free(tl_checkpoint *checkpoint);

/* The tensor of that name, or NULL. */
const tl_tensor *tl_checkpoint_find(const tl_checkpoint *checkpoint, const char *name);

/* All tensors, in the order of the files: 0 … count-1. Two names may share one storage. */
size_t tl_checkpoint_count(const tl_checkpoint *checkpoint);
const tl_tensor *tl_checkpoint_at(const tl_checkpoint *checkpoint, size_t index);

/* The value of a key of safetensors' __metadata__ (single file), or NULL. */
const char *tl_checkpoint_metadata(const tl_checkpoint *checkpoint, const char *key);

/* How messages name it (its directory). */
const char *tl_checkpoint_path(const tl_checkpoint *checkpoint);

/* The files it consists of: 0 … count-1, then NULL. For manifests and hashes. */
const char *tl_checkpoint_file(const tl_checkpoint *checkpoint, size_t index);

/* Advice to the system about a mapped tensor's pages: it will be read soon / is not needed any more
 * (its pages leave this process's resident memory and can be read again from the file). Only pages
 * that lie wholly inside the tensor are given back; a tensor that is not mapped keeps its memory.
 */
void tl_tensor_will_need(const tl_tensor *tensor);
void tl_tensor_release(const tl_tensor *tensor);

#endif
