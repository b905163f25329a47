/* Progress of a sweep on stderr: one live line on a terminal, plain lines elsewhere. */
#ifndef TL_CLI_PROGRESS_H
#define TL_CLI_PROGRESS_H

#include "study/sweep.h"

typedef struct cli_progress {
    bool terminal;
    bool line_open; /* the live line stands where the cursor is */
    int place, count;
    double begun;       /* the group's examples */
    double spoken;      /* when the last line was written */
    double sitting;     /* when the sweep began */
    int64_t first_done; /* examples that were done before it began; -1 until known */
    char last_reason[256];
} cli_progress;

void cli_progress_start(cli_progress *progress);
tl_sweep_listener cli_progress_listener(cli_progress *progress);

/* Reading a file to identify it, with its size in bytes. */
void cli_progress_reading(void *progress, const char *path, double bytes);

/* Clears the live line, so that other text may follow. */
void cli_progress_end(cli_progress *progress);

#endif
