/* identity: what must be the same for results to belong together: SHA-256 of the weights, of the
 * tokenizer, of the questions and of the task file, the options that change an answer, the build.
 */
#ifndef TL_STUDY_IDENTITY_H
#define TL_STUDY_IDENTITY_H

#include "study/store.h"

#include <signal.h>

/* Fingerprints of a checkpoint directory; "absent" where there is nothing to read. */
typedef struct tl_model_identity {
    char weights[TL_HEX_SIZE]; /* over config.json and the names, sizes and hashes of the weights */
    char tokenizer[TL_HEX_SIZE]; /* over the tokenizer's files */
} tl_model_identity;

/* Who follows the reading of large files; any field may be NULL. */
typedef struct tl_identify_listener {
    void (*progress)(void *context, const char *path, double bytes); /* before each file */
    void *context;
    const volatile sig_atomic_t *stop; /* above 0: no more is read, TL_ERROR_INTERRUPTED */
} tl_identify_listener;

/* Hashes are remembered in the store (by path, size, time and inode), so that only the first run
 * reads the weights; files of the hub's cache carry theirs in their name. */
bool tl_identify_model(tl_store *store, const char *directory, const tl_identify_listener *listener,
                       tl_model_identity *identity, tl_error *error);

#endif
