/* telemetry: sensors sampled in a thread, and what follows for a span of time. */
#ifndef TL_STUDY_TELEMETRY_H
#define TL_STUDY_TELEMETRY_H

#include "study/sensors.h"

/* Sums over samples. Energy is the integral of power by trapezoids between readings (a reading
 * that failed is bridged), or the difference of an energy counter. */
typedef struct tl_span {
    int64_t samples;
    double seconds;   /* from the first sample to the last */
    double energy;    /* J; NAN without a source or with fewer than two readings */
    double power_max; /* W */
    double temperature_start, temperature_max;
    double clock_min, clock_sum;
    int64_t clock_samples;
    double throttles;
    double gap_max;
    /* while adding */
    tl_sample first, last, powered; /* `powered`: the last one with power or energy */
    double energy_from;             /* of an energy counter */
} tl_span;

void tl_span_start(tl_span *span);
void tl_span_add(tl_span *span, const tl_sample *sample);

typedef struct tl_telemetry tl_telemetry;

/* Starts the thread; it samples from tl_telemetry_begin to tl_telemetry_end only. */
tl_telemetry *tl_telemetry_new(const char *root, tl_error *error);
void tl_telemetry_free(tl_telemetry *telemetry);
const tl_sensors *tl_telemetry_sensors(const tl_telemetry *telemetry);

void tl_telemetry_begin(tl_telemetry *telemetry);
void tl_telemetry_end(tl_telemetry *telemetry, tl_span *span);

/* The hottest zone now; NAN where none can be read. Not between begin and end. */
double tl_telemetry_temperature(tl_telemetry *telemetry);

#endif
