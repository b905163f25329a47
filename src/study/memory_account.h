/* The worker's own account of its memory, beside what the kernel observes.
 *
 * Every part is known to the program: the weights it mapped (as far as their pages were read) and
 * those it converted, the KV store, activations and scratch of the engine, the tokenizer. What is
 * left is the program itself: code, libraries, thread stacks, and the questions; both are taken as
 * what the resident set grew by at their own stage. */
#ifndef TL_STUDY_MEMORY_ACCOUNT_H
#define TL_STUDY_MEMORY_ACCOUNT_H

#include "engine/engine.h"

typedef struct tl_memory_account tl_memory_account;

/* At the start of the process: what stands before anything is loaded. */
tl_memory_account *tl_account_new(tl_error *error);
void tl_account_free(tl_memory_account *account);

/* After loading the model (borrowed until freed); after reading the questions; at the end. */
void tl_account_loaded(tl_memory_account *account, const tl_model *model);
void tl_account_prepared(tl_memory_account *account, const tl_tokenizer *tokenizer);
void tl_account_finish(tl_memory_account *account, const tl_engine *engine,
                       const tl_tokenizer *tokenizer);

/* Appends the measures of the account as JSON objects, each after a comma where one is before. */
void tl_account_append(const tl_memory_account *account, tl_buffer *out);

/* Appends {"name":…,"value":…,"unit":…,"note":…}, after a comma where `out` needs one. */
void tl_measure_append(tl_buffer *out, const char *name, double value, const char *unit,
                       const char *note);

#endif
