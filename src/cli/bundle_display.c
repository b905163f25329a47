#include "cli/bundle_display.h"

#include "cli/hub_arguments.h"
#include "cli/quantities.h"

#include <stdio.h>
#include <unistd.h>

bool bundle_progress_tick(void *context, uint64_t done, uint64_t total) {
    bundle_progress *p = context;
    bool terminal = isatty(STDERR_FILENO);
    double now = tl_clock_monotonic();
    if (now - p->last >= (terminal ? 0.2 : 5)) {
        p->last = now;
        double rate = now > p->started ? (double)done / (now - p->started) / 1e6 : 0;
        fprintf(stderr, "%s%s %.1f of %.1f MB, %.1f MB/s%s", terminal ? "\r\033[K" : "", p->word,
                (double)done / 1e6, (double)total / 1e6, rate, terminal ? "" : "\n");
        fflush(stderr);
    }
    return !cli_interrupted();
}

bundle_progress bundle_progress_start(const char *word) {
    double now = tl_clock_monotonic();
    return (bundle_progress){word, now, now};
}

void bundle_progress_end(const bundle_progress *p) {
    if (isatty(STDERR_FILENO) && p->last > p->started) fprintf(stderr, "\r\033[K");
}

void bundle_print(const tl_bundle *bundle) {
    for (int r = 0; r < bundle->count; r++) {
        const tl_bundle_repo *repo = &bundle->repos[r];
        char text[32];
        uint64_t size = 0;
        for (int i = 0; i < repo->count; i++)
            size += repo->files[i].size;
        fprintf(stderr, "%s @ %.12s: %d files, %s\n", repo->repo.id, repo->commit, repo->count,
                cli_format_size(size, text, sizeof text));
    }
}
