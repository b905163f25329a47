#include "cli/progress.h"

#include "cli/quantities.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const double LIVE_SECONDS = 0.1, PLAIN_SECONDS = 10;
static const double READING_BYTES = 256e6; /* files that take a noticeable time */

void cli_progress_start(cli_progress *p) {
    *p = (cli_progress){.terminal = isatty(STDERR_FILENO) == 1, .first_done = -1};
    p->sitting = tl_clock_monotonic();
}

void cli_progress_end(cli_progress *p) {
    if (p->line_open) fputs("\r\033[K", stderr);
    p->line_open = false;
    fflush(stderr);
}

static void group_begins(void *context, const tl_plan_group *group, int place, int count) {
    cli_progress *p = context;
    p->place = place;
    p->count = count;
    p->begun = 0;
    p->spoken = tl_clock_monotonic();
    if (p->terminal) return;
    fprintf(stderr, "[%d/%d] %s on %s (%s)\n", place, count, group->model->shown,
            tl_task_name(group->task), group->dtype_shown);
}

/* Seconds for `left` more at the rate of `done` in the time since `begun`. */
static double remaining(double begun, int64_t done, int64_t left) {
    if (done <= 0) return -1;
    return (tl_clock_monotonic() - begun) / (double)done * (double)left;
}

static void progress(void *context, const tl_plan_group *group, const char *stage, int64_t done,
                     int64_t total, int64_t sweep_done, int64_t sweep_total, int64_t fresh) {
    cli_progress *p = context;
    double now = tl_clock_monotonic();
    if (p->first_done < 0) p->first_done = sweep_done - fresh;
    bool evaluating = strcmp(stage, "evaluating") == 0;
    if (evaluating && p->begun == 0) p->begun = now;
    if (now - p->spoken < (p->terminal ? LIVE_SECONDS : PLAIN_SECONDS)) return;
    p->spoken = now;
    char rest[32], all[32], line[256];
    cli_format_duration(remaining(p->begun, fresh, total - done), rest, sizeof rest);
    cli_format_duration(remaining(p->sitting, sweep_done - p->first_done, sweep_total - sweep_done),
                        all, sizeof all);
    int used = snprintf(line, sizeof line, "[%d/%d] %.60s on %.40s: ", p->place, p->count,
                        group->model->shown, tl_task_name(group->task));
    size_t left = sizeof line - (size_t)used;
    if (evaluating && fresh > 0)
        snprintf(line + used, left, "%lld/%lld, %.1f/s, %s left (all: %s)", (long long)done,
                 (long long)total, (double)fresh / (now - p->begun), rest, all);
    else
        snprintf(line + used, left, "%s", *stage ? stage : "starting");
    fprintf(stderr, p->terminal ? "\r\033[K%s" : "%s\n", line);
    p->line_open = p->terminal;
    fflush(stderr);
}

/* One line for each cell; a reason that the cell before had too is not said again. */
static void cell_ends(void *context, const tl_plan_group *group, const tl_store_cell *cell,
                      tl_verdict verdict, const char *reason) {
    cli_progress *p = context;
    cli_progress_end(p);
    if (verdict == TL_VERDICT_DONE) {
        if (p->terminal)
            fprintf(stderr, "[%d/%d] %s on %s (%s, %s): done\n", p->place, p->count,
                    group->model->shown, cell->task, tl_protocol_name(cell->protocol), cell->dtype);
        return;
    }
    bool said = strncmp(p->last_reason, reason, sizeof p->last_reason - 1) == 0;
    fprintf(stderr, "tinyllm run: %s on %s (%s, %s): %s%s%s\n", group->model->shown, cell->task,
            tl_protocol_name(cell->protocol), cell->dtype, tl_verdict_name(verdict),
            said ? "" : ": ", said ? ", as before" : reason);
    snprintf(p->last_reason, sizeof p->last_reason, "%s", reason);
}

static void cooling(void *context, double temperature, double target) {
    cli_progress *p = context;
    double now = tl_clock_monotonic();
    if (now - p->spoken < (p->terminal ? LIVE_SECONDS : PLAIN_SECONDS)) return;
    p->spoken = now;
    fprintf(stderr,
            p->terminal ? "\r\033[Kcooling down: %.1f °C, waiting for %.1f °C"
                        : "cooling down: %.1f °C, waiting for %.1f °C\n",
            temperature, target);
    p->line_open = p->terminal;
    fflush(stderr);
}

static void note(void *context, const char *text) {
    cli_progress_end(context);
    fprintf(stderr, "tinyllm run: %s\n", text);
}

void cli_progress_reading(void *context, const char *path, double bytes) {
    cli_progress *p = context;
    if (bytes < READING_BYTES) return;
    fprintf(stderr, p->terminal ? "\r\033[Kidentifying %s (%.0f MB)" : "identifying %s (%.0f MB)\n",
            path, bytes / 1e6);
    p->line_open = p->terminal;
    fflush(stderr);
}

tl_sweep_listener cli_progress_listener(cli_progress *p) {
    return (tl_sweep_listener){
        .context = p,
        .group_begins = group_begins,
        .progress = progress,
        .cell_ends = cell_ends,
        .cooling = cooling,
        .note = note,
    };
}
