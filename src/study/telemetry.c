#include "study/telemetry.h"

#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>

void tl_span_start(tl_span *span) {
    *span = (tl_span){
        .energy = NAN,
        .power_max = NAN,
        .temperature_start = NAN,
        .temperature_max = NAN,
        .clock_min = NAN,
        .throttles = NAN,
        .powered = {.time = NAN},
    };
}

static void add_energy(tl_span *span, const tl_sample *sample) {
    bool counter = !isnan(sample->energy);
    if (!counter && isnan(sample->power)) return;
    double elapsed = sample->time - span->powered.time; /* NAN at the first */
    if (isnan(span->powered.time)) {
        span->energy_from = sample->energy;
    } else if (counter) {
        double power = (sample->energy - span->powered.energy) / elapsed;
        span->energy = sample->energy - span->energy_from;
        if (elapsed > 0 && !(power <= span->power_max)) span->power_max = power;
    } else {
        if (isnan(span->energy)) span->energy = 0;
        span->energy += elapsed * (sample->power + span->powered.power) / 2;
    }
    if (!counter && !(sample->power <= span->power_max)) span->power_max = sample->power;
    span->powered = *sample;
}

void tl_span_add(tl_span *span, const tl_sample *sample) {
    if (span->samples++ == 0) {
        span->first = *sample;
        span->temperature_start = sample->temperature;
    } else if (sample->time - span->last.time > span->gap_max) {
        span->gap_max = sample->time - span->last.time;
    }
    span->last = *sample;
    span->seconds = sample->time - span->first.time;
    span->throttles = sample->throttles - span->first.throttles;
    if (!isnan(sample->temperature) && !(sample->temperature <= span->temperature_max))
        span->temperature_max = sample->temperature;
    if (!isnan(sample->clock)) {
        span->clock_sum += sample->clock;
        span->clock_samples++;
        if (!(sample->clock >= span->clock_min)) span->clock_min = sample->clock;
    }
    add_energy(span, sample);
}

struct tl_telemetry {
    tl_sensors *sensors;
    pthread_t thread;
    pthread_mutex_t lock; /* of all that follows, and of the sensors */
    pthread_cond_t changed;
    bool sampling, ending, started;
    tl_span span;
};

/* With the lock held. */
static void sample_now(tl_telemetry *t) {
    tl_sample sample;
    tl_sensors_read(t->sensors, &sample);
    tl_span_add(&t->span, &sample);
}

static struct timespec later(double seconds) {
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    long nanoseconds = at.tv_nsec + (long)(seconds * 1e9);
    at.tv_sec += nanoseconds / 1000000000;
    at.tv_nsec = nanoseconds % 1000000000;
    return at;
}

static void *sampler(void *argument) {
    tl_telemetry *t = argument;
    pthread_mutex_lock(&t->lock);
    while (!t->ending) {
        if (!t->sampling) {
            pthread_cond_wait(&t->changed, &t->lock);
            continue;
        }
        struct timespec next = later(tl_sensors_interval(t->sensors));
        int woken = pthread_cond_timedwait(&t->changed, &t->lock, &next);
        if (woken == ETIMEDOUT && t->sampling) sample_now(t);
    }
    pthread_mutex_unlock(&t->lock);
    return NULL;
}

tl_telemetry *tl_telemetry_new(const char *root, tl_error *error) {
    tl_telemetry *t = calloc(1, sizeof *t);
    if (!t) {
        tl_fail_memory(error, sizeof *t, "telemetry");
        return NULL;
    }
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_mutex_init(&t->lock, NULL);
    pthread_cond_init(&t->changed, &attributes);
    pthread_condattr_destroy(&attributes);
    t->sensors = tl_sensors_open(root, error);
    /* Signals are for the main thread, which waits where they wake it. */
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    if (t->sensors && pthread_create(&t->thread, NULL, sampler, t) == 0)
        t->started = true;
    else if (t->sensors)
        tl_fail(error, TL_ERROR_MEMORY, "cannot start the sampling thread");
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (t->started) return t;
    tl_telemetry_free(t);
    return NULL;
}

void tl_telemetry_free(tl_telemetry *t) {
    if (!t) return;
    if (t->started) {
        pthread_mutex_lock(&t->lock);
        t->ending = true;
        pthread_cond_signal(&t->changed);
        pthread_mutex_unlock(&t->lock);
        pthread_join(t->thread, NULL);
    }
    pthread_cond_destroy(&t->changed);
    pthread_mutex_destroy(&t->lock);
    tl_sensors_free(t->sensors);
    free(t);
}

const tl_sensors *tl_telemetry_sensors(const tl_telemetry *t) {
    return t->sensors;
}

void tl_telemetry_begin(tl_telemetry *t) {
    pthread_mutex_lock(&t->lock);
    tl_span_start(&t->span);
    sample_now(t);
    t->sampling = true;
    pthread_cond_signal(&t->changed);
    pthread_mutex_unlock(&t->lock);
}

void tl_telemetry_end(tl_telemetry *t, tl_span *span) {
    pthread_mutex_lock(&t->lock);
    if (t->sampling) sample_now(t);
    t->sampling = false;
    *span = t->span;
    pthread_mutex_unlock(&t->lock);
}

double tl_telemetry_temperature(tl_telemetry *t) {
    tl_sample sample;
    pthread_mutex_lock(&t->lock);
    tl_sensors_read(t->sensors, &sample);
    pthread_mutex_unlock(&t->lock);
    return sample.temperature;
}
