/* sensors: power, heat, clocks and throttling as Linux shows them under /sys.
 *
 *   power    INA3221 rails of a Jetson (hwmon of JetPack 5 and 6, iio of JetPack 4)
 *            RAPL's packages (powercap), as energy that wraps around
 *            hwmon's own power meters; a battery's discharge
 *   heat     thermal zones
 *   clocks   cpufreq
 *   throttle thermal_throttle's counters, the Jetson's over-current counters, the firmware's flags
 *            of a Raspberry Pi
 *
 * What is not there is said with its reason; nothing is ever taken for 0. */
#ifndef TL_STUDY_SENSORS_H
#define TL_STUDY_SENSORS_H

#include "base/base.h"

typedef struct tl_sensors tl_sensors;

/* Looks for sensors under `root`; having none is no error. */
tl_sensors *tl_sensors_open(const char *root, tl_error *error);
void tl_sensors_free(tl_sensors *sensors);

/* A JSON object: what was found under which kind, and for what is missing why. */
void tl_sensors_describe(const tl_sensors *sensors, tl_buffer *json);

/* A line for each kind that is missing, with the remedy where there is one. */
void tl_sensors_missing(const tl_sensors *sensors, tl_buffer *lines);

/* How the total power is known ("ina3221 VDD_IN"), or NULL with the reason in *why. */
const char *tl_sensors_power_source(const tl_sensors *sensors, const char **why);

/* Seconds between samples that the slowest power sensor asks for; at least 0.05. */
double tl_sensors_interval(const tl_sensors *sensors);

/* One reading; NAN for what is not there or could not be read this time. */
typedef struct tl_sample {
    double time;   /* monotonic seconds */
    double power;  /* W, of the whole (see the source) */
    double energy; /* J since opening, where the source counts energy; NAN where it has power */
    double temperature; /* °C, the hottest zone */
    double clock;       /* MHz, the fastest core */
    double throttles;   /* events since opening */
} tl_sample;

void tl_sensors_read(tl_sensors *sensors, tl_sample *sample);

#endif
