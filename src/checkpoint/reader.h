/* reader: what the readers of the single formats share. Private to this room. */
#ifndef TL_CHECKPOINT_READER_H
#define TL_CHECKPOINT_READER_H

#include "checkpoint/checkpoint.h"

/* One weights file in memory. */
typedef struct tl_source {
    const char *path; /* how messages name it */
    const unsigned char *data;
    size_t size;
    bool mapped;       /* a file mapping, whose pages can be given back */
    size_t copy_limit; /* bytes that copies of its tensors may still take */
} tl_source;

/* Each format's reader adds every tensor of `source` to the checkpoint. */
bool tl_safetensors_read(tl_checkpoint *checkpoint, tl_source *source, tl_error *error);
bool tl_torch_read(tl_checkpoint *checkpoint, tl_source *source, tl_error *error);
bool tl_torch_read(tl_checkpoint *checkpoint, tl_source *source, tl_error *error);

/* A checkpoint from one file's content, which must outlive it; the format is told by its first
 * bytes. `name` is how messages name it. For tests and fuzzing. */
tl_checkpoint *tl_checkpoint_open_memory(const void *data, size_t size, const char *name,
                                         tl_error *error);

/* Adds a tensor; its name is copied, its data is not. A second tensor of the same name is an error,
 * unless an index says which shard's tensor counts. */
bool tl_checkpoint_add(tl_checkpoint *checkpoint, const tl_source *source, const tl_tensor *tensor,
                       tl_error *error);

/* Sets `tensor->bytes` from its dtype and shape; `path` and the tensor's name go into the error. */
bool tl_tensor_measure(tl_tensor *tensor, const char *path, tl_error *error);

/* Memory that lives as long as the checkpoint, not zeroed, aligned to 64 bytes, charged to the
 * source's copy_limit: what hostile files can make us allocate stays in proportion to their size.
 */
void *tl_checkpoint_alloc(tl_checkpoint *checkpoint, tl_source *source, size_t bytes,
                          tl_error *error);

/* `data` itself where it is aligned to `alignment` bytes, else an aligned copy. The pages copied
 * from are given back, so that the bytes are resident once. `copied` tells which. */
const void *tl_checkpoint_aligned(tl_checkpoint *checkpoint, tl_source *source, const void *data,
                                  size_t bytes, size_t alignment, bool *copied, tl_error *error);

/* Remembers a key of __metadata__; both strings are copied. */
bool tl_checkpoint_add_metadata(tl_checkpoint *checkpoint, const char *key, const char *value,
                                tl_error *error);

/* Parses JSON from a hostile file: refuses documents whose tree would be larger than any real
 * header or index makes. NULL on error. Free with cJSON_Delete. */
cJSON *tl_parse_bounded_json(const char *text, size_t length, const char *path, tl_error *error);

/* A count or offset in JSON: a whole number from 0 to 2^53. */
bool tl_json_size(const cJSON *item, size_t *value);

#endif
