#include "base/clock.h"

#include <time.h>

static double seconds_of(struct timespec t) {
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

double tl_clock_monotonic(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return seconds_of(now);
}

double tl_clock_wall(void) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return seconds_of(now);
}

void tl_clock_sleep(double seconds) {
    if (seconds <= 0) return;
    struct timespec span = {.tv_sec = (time_t)seconds};
    span.tv_nsec = (long)((seconds - (double)span.tv_sec) * 1e9);
    nanosleep(&span, NULL);
}
