/* What pack and unpack show. */
#ifndef TL_CLI_BUNDLE_DISPLAY_H
#define TL_CLI_BUNDLE_DISPLAY_H

#include "cli/cli.h"
#include "hub/bundle.h"

/* A line of progress, redrawn on a terminal, now and then elsewhere. */
typedef struct bundle_progress {
    const char *word; /* "packed" */
    double started, last;
} bundle_progress;

bundle_progress bundle_progress_start(const char *word);
void bundle_progress_end(const bundle_progress *progress);

/* A tl_bundle_tick over a bundle_progress; stops at an interrupt (cli_catch_interrupts). */
bool bundle_progress_tick(void *context, uint64_t done, uint64_t total);

/* One line for each repository, on stderr. */
void bundle_print(const tl_bundle *bundle);

#endif
