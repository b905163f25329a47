#include "study/sitting.h"

#include "study/measures.h"
#include "study/predict.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static tl_verdict verdict_of_failure(const tl_sitting *sitting) {
    switch (sitting->code) {
    case TL_ERROR_MEMORY:
        return TL_VERDICT_OOM_KILLED;
    case TL_ERROR_INTERRUPTED:
        return TL_VERDICT_INTERRUPTED;
    case TL_ERROR_UNSUPPORTED:
        return TL_VERDICT_UNSUPPORTED;
    default:
        return sitting->evaluating ? TL_VERDICT_CRASHED : TL_VERDICT_LOAD_ERROR;
    }
}

tl_verdict tl_sitting_judge(const tl_sitting *sitting, const char **reason) {
    const tl_guard_outcome *outcome = &sitting->outcome;
    *reason = NULL;
    if (sitting->measures) return TL_VERDICT_DONE;
    if (sitting->failed) {
        *reason = sitting->message;
        return verdict_of_failure(sitting);
    }
    *reason = outcome->fell ? outcome->reason : "the worker ended without a word";
    return outcome->fell ? outcome->verdict : TL_VERDICT_CRASHED;
}

/* ---- measures ---- */

typedef struct setter {
    tl_store *store;
    int64_t cell;
    tl_error *error;
    bool good;
} setter;

static void set(setter *s, const char *name, double value, const char *note) {
    const tl_measure_definition *definition = tl_measure_define(name);
    if (s->good)
        s->good = tl_store_set_measure(s->store, s->cell, name, value,
                                       definition ? definition->unit : "", note, s->error);
}

/* A peak over all the sittings of a cell. */
static void set_peak(setter *s, const char *name, double value, const char *note) {
    double before = tl_store_measure(s->store, s->cell, name);
    if (isnan(value) || value < before) value = before;
    set(s, name, value, isnan(value) ? note : NULL);
}

static double megabytes(int64_t bytes) {
    return bytes < 0 ? NAN : (double)bytes / 1048576;
}

static void set_worker_measures(setter *s, const cJSON *measures) {
    const cJSON *item;
    cJSON_ArrayForEach(item, measures) {
        const cJSON *name = tl_json_get(item, "name"), *value = tl_json_get(item, "value");
        const cJSON *note = tl_json_get(item, "note");
        if (!cJSON_IsString(name)) continue;
        double number = cJSON_IsNumber(value) ? value->valuedouble : NAN;
        bool peak = strncmp(name->valuestring, "peak_", 5) == 0;
        (peak ? set_peak : set)(s, name->valuestring, number,
                                cJSON_IsString(note) ? note->valuestring : NULL);
    }
}

bool tl_store_worker_measures(tl_store *store, int64_t cell, const cJSON *measures,
                              tl_error *error) {
    if (!tl_store_begin(store, error)) return false;
    setter s = {store, cell, error, true};
    set_worker_measures(&s, measures);
    return tl_store_end(store, s.good, error);
}

static void set_memory(setter *s, const tl_sitting *sitting) {
    const tl_guard_outcome *outcome = &sitting->outcome;
    const char *unseen = "the worker was gone before it could be looked at";
    set_peak(s, "peak_rss_mb", megabytes(outcome->peak_resident), unseen);
    set_peak(s, "peak_pss_mb", megabytes(outcome->peak_proportional), unseen);
    set_peak(s, "swap_max_mb", megabytes(outcome->swap_most),
             "the system does not say how much swap is in use");
    set(s, "page_cache_mb", megabytes(outcome->page_cache), NULL);
    if (!sitting->evaluating) return;
    int64_t before = sitting->memory_before.swapped_in, after = sitting->memory_after.swapped_in;
    if (before < 0 || after < before) {
        set(s, "timed_while_swapping", NAN, "the kernel does not count pages swapped in");
        return;
    }
    int64_t page = sysconf(_SC_PAGESIZE);
    set_peak(s, "swapped_in_mb", megabytes((after - before) * page), NULL);
    set_peak(s, "timed_while_swapping", after > before, NULL);
}

/* Energy adds up over the sittings of a cell, with the examples it was measured over. */
static void set_energy(setter *s, const tl_sitting *sitting, const tl_plan_group *group,
                       const tl_sensors *sensors) {
    const char *why;
    const char *source = tl_sensors_power_source(sensors, &why);
    const tl_span *span = &sitting->span;
    double energy = span->energy, over = (double)sitting->fresh;
    bool still = energy <= 0; /* nothing computes for nothing */
    if (isnan(energy) || still) {
        char note[256];
        snprintf(note, sizeof note, "%s%s",
                 still  ? source
                 : *why ? why
                        : "too short for two readings of the sensor",
                 still ? " stood still: it does not measure here, or too little was asked" : "");
        static const char *const names[] = {"energy_j", "energy_per_example_j",
                                            "energy_per_correct_j", "power_mean_w", "power_max_w"};
        for (size_t i = 0; i < sizeof names / sizeof *names; i++)
            if (isnan(tl_store_measure(s->store, s->cell, names[i]))) set(s, names[i], NAN, note);
        return;
    }
    double earlier = tl_store_measure(s->store, s->cell, "energy_j");
    double earlier_over = tl_store_measure(s->store, s->cell, "energy_examples");
    set(s, "power_mean_w", span->seconds > 0 ? energy / span->seconds : NAN, source);
    set_peak(s, "power_max_w", span->power_max, NULL);
    if (!isnan(earlier) && !isnan(earlier_over)) {
        energy += earlier;
        over += earlier_over;
    }
    set(s, "energy_j", energy, source);
    set(s, "energy_examples", over, NULL);
    double each = over > 0 ? energy / over : NAN;
    double examples = tl_store_measure(s->store, s->cell, "examples");
    double correct = tl_store_measure(s->store, s->cell, "correct");
    set(s, "energy_per_example_j", each, group->cell_count > 1 ? "protocols share it" : NULL);
    set(s, "energy_per_correct_j", correct > 0 ? each * examples / correct : NAN,
        correct > 0 ? NULL : "no answer was correct");
}

static void set_heat(setter *s, const tl_sitting *sitting) {
    const tl_span *span = &sitting->span;
    set(s, "temperature_start_c", span->temperature_start, "no thermal zone can be read");
    set_peak(s, "temperature_max_c", span->temperature_max, "no thermal zone can be read");
    set(s, "clock_mean_mhz",
        span->clock_samples > 0 ? span->clock_sum / (double)span->clock_samples : NAN,
        "no cpufreq");
    set(s, "clock_min_mhz", span->clock_min, "no cpufreq");
    set(s, "throttled", span->throttles, "nothing counts throttling here");
    set(s, "samples", (double)span->samples, NULL);
    set(s, "sample_gap_max_s", span->gap_max, NULL);
}

bool tl_sitting_store(const tl_sitting *sitting, const tl_plan_group *group, tl_store *store,
                      int64_t cell, const tl_sensors *sensors, tl_error *error) {
    if (sitting->evaluating && !tl_measure_examples(store, cell, error)) return false;
    if (!tl_store_begin(store, error)) return false;
    setter s = {store, cell, error, true};
    set_worker_measures(&s, sitting->measures);
    set_memory(&s, sitting);
    tl_memory parts;
    int64_t predicted = tl_group_predict(group, &parts);
    if (predicted > 0) set(&s, "predicted_mb", megabytes(predicted), NULL);
    if (sitting->evaluating && sitting->fresh > 0) {
        set(&s, "examples_per_s",
            sitting->seconds > 0 ? (double)sitting->fresh / sitting->seconds : NAN, NULL);
        set_energy(&s, sitting, group, sensors);
        set_heat(&s, sitting);
    }
    return tl_store_end(store, s.good, error);
}
