/* Time. */
#ifndef TL_BASE_CLOCK_H
#define TL_BASE_CLOCK_H

/* Seconds on the monotonic clock: for durations. */
double tl_clock_monotonic(void);

/* Seconds since 1970-01-01 UTC: for dates. */
double tl_clock_wall(void);

/* Sleeps for `seconds`, or until a signal arrives. */
void tl_clock_sleep(double seconds);

#endif
