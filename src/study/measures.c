#include "study/measures.h"

#include "task/statistics.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const tl_measure_definition tl_measure_definitions[] = {
    /* what was answered */
    {"accuracy", "%", "correct / examples × 100; skipped rows count neither way"},
    {"accuracy_norm", "%",
     "the same for the choice with the largest log-likelihood per character (loglikelihood)"},
    {"accuracy_bytes", "%", "the same per byte of UTF-8"},
    {"correct", "", "examples whose prediction is the gold answer"},
    {"correct_norm", "", "the same for accuracy_norm"},
    {"examples", "", "examples asked"},
    {"rows_in_split", "", "rows of the split, whatever the limit"},
    {"skipped", "", "rows that could not be asked; each has its reason in the store"},
    {"truncated", "", "examples whose prompt was cut to the length allowed"},
    {"tokens_computed", "", "tokens that went through the model"},
    {"tokens_asked", "",
     "tokens that would have, had every prompt and choice been computed on its own"},
    /* how long it took */
    {"forward_ms_mean", "ms",
     "mean over examples of the forward pass alone, warm-up excluded: the study's inference time"},
    {"forward_ms_median", "ms", "its median"},
    {"forward_ms_p90", "ms", "its 90th percentile (linear interpolation)"},
    {"forward_ms_p99", "ms", "its 99th percentile"},
    {"forward_ms_stddev", "ms", "its standard deviation (n - 1)"},
    {"total_ms_mean", "ms", "mean over examples of building the prompt, tokens and forward pass"},
    {"total_ms_median", "ms", "its median"},
    {"total_ms_p90", "ms", "its 90th percentile"},
    {"total_ms_p99", "ms", "its 99th percentile"},
    {"total_ms_stddev", "ms", "its standard deviation (n - 1)"},
    {"examples_per_s", "1/s", "examples of the last sitting / its wall time, storing included"},
    {"load_s", "s", "from the start of the process to a model ready to run"},
    {"warm_up_s", "s", "passes before the first that is measured"},
    {"evaluation_s", "s",
     "asking the examples of the last sitting and storing them, by the worker's clock"},
    {"threads", "", "threads that computed; the note names the instruction set"},
    /* memory */
    {"parameters", "", "parameters, tied ones once"},
    {"model_size_mb", "MB", "parameters × bytes per element as run / 1024²: the study's size"},
    {"peak_gpu_gb", "GB", "peak bytes allocated on the GPU / 1024³; absent without one"},
    {"gpu_driver_gb", "GB", "in use on the GPU at the end, by everybody, as its driver says"},
    {"gpu_adopted_mb", "MB", "weights the GPU read where they lay in the processor's memory"},
    {"peak_rss_mb", "MB", "largest resident set of the cell's process (VmHWM)"},
    {"peak_pss_mb", "MB", "largest proportional set seen: pages shared with others in part"},
    {"account_weights_mb", "MB",
     "own account: pages of mapped weights read, and converted weights"},
    {"account_kv_mb", "MB", "own account: keys and values"},
    {"account_activations_mb", "MB", "own account: activations"},
    {"account_scratch_mb", "MB", "own account: scratch of the kernels"},
    {"account_tokenizer_mb", "MB", "own account: the tokenizer"},
    {"account_questions_mb", "MB", "own account: what reading the questions took"},
    {"account_program_mb", "MB", "own account: code, libraries and stacks"},
    {"account_allocator_mb", "MB", "own account: freed memory that the C library keeps"},
    {"account_loading_mb", "MB",
     "what the peak, while loading or converting, was above what is held at the end"},
    {"account_total_mb", "MB", "the account's sum, to be compared with peak_rss_mb"},
    {"weights_mapped_mb", "MB", "weights used as they lie in the files, read or not"},
    {"predicted_mb", "MB", "need predicted before loading"},
    {"major_faults", "", "page faults of the cell that had to read from the disk, after loading"},
    {"page_cache_mb", "MB", "the system's page cache at the end of the cell"},
    {"swap_max_mb", "MB", "largest swap in use on the system during the cell: the study's"},
    {"swapped_in_mb", "MB", "read back from swap by the whole system during the cell"},
    {"timed_while_swapping", "", "1 where pages were swapped in while examples were timed, else 0"},
    /* energy, heat, clocks */
    {"energy_j", "J", "energy of the evaluation (warm-up excluded); the note names the sensors"},
    {"energy_examples", "", "examples energy_j was measured over"},
    {"energy_per_example_j", "J", "energy_j / energy_examples"},
    {"energy_per_correct_j", "J", "energy_per_example_j × examples / correct"},
    {"power_mean_w", "W", "energy_j / time"},
    {"power_max_w", "W", "largest power sampled"},
    {"temperature_start_c", "°C", "hottest thermal zone when the evaluation began"},
    {"temperature_max_c", "°C", "hottest thermal zone during the evaluation"},
    {"clock_mean_mhz", "MHz", "mean over samples of the fastest core's clock"},
    {"clock_min_mhz", "MHz", "least over samples of the fastest core's clock"},
    {"throttled", "", "throttling events counted during the evaluation"},
    {"samples", "", "samples of the sensors"},
    {"sample_gap_max_s", "s", "longest time between two samples"},
    {0},
};

const tl_measure_definition *tl_measure_define(const char *name) {
    for (const tl_measure_definition *d = tl_measure_definitions; d->name; d++)
        if (strcmp(d->name, name) == 0) return d;
    return NULL;
}

typedef struct tally {
    int64_t examples, skipped, truncated, correct, correct_norm, correct_bytes;
    int64_t with_norm, with_bytes, tokens_computed, tokens_asked;
    double *forward, *total; /* milliseconds of those that have them */
    int64_t n_forward, n_total, capacity;
    bool failed;
} tally;

static bool grow(tally *t) {
    if (t->examples < t->capacity) return true;
    int64_t capacity = t->capacity ? 2 * t->capacity : 1024;
    double *forward = realloc(t->forward, (size_t)capacity * sizeof *forward);
    if (forward) t->forward = forward;
    double *total = realloc(t->total, (size_t)capacity * sizeof *total);
    if (total) t->total = total;
    t->failed = !forward || !total;
    if (!t->failed) t->capacity = capacity;
    return !t->failed;
}

static bool count_example(void *context, const tl_example *e) {
    tally *t = context;
    if (e->skipped) {
        t->skipped++;
        return true;
    }
    if (!grow(t)) return false;
    t->examples++;
    t->truncated += e->truncated;
    t->correct += e->gold >= 0 && e->prediction == e->gold;
    t->with_norm += e->prediction_norm >= 0;
    t->correct_norm += e->gold >= 0 && e->prediction_norm == e->gold;
    t->with_bytes += e->prediction_bytes >= 0;
    t->correct_bytes += e->gold >= 0 && e->prediction_bytes == e->gold;
    t->tokens_computed += e->tokens_computed;
    t->tokens_asked += e->tokens_asked;
    if (!isnan(e->forward_seconds)) t->forward[t->n_forward++] = e->forward_seconds * 1e3;
    if (!isnan(e->total_seconds)) t->total[t->n_total++] = e->total_seconds * 1e3;
    return true;
}

static bool set(tl_store *store, int64_t cell, const char *name, double value, const char *note,
                tl_error *error) {
    return tl_store_set_measure(store, cell, name, value, tl_measure_define(name)->unit,
                                isnan(value) ? note : NULL, error);
}

static double percent(int64_t part, int64_t whole) {
    return whole > 0 ? 100.0 * (double)part / (double)whole : NAN;
}

static bool set_counts(tl_store *store, int64_t cell, const tally *t, tl_error *error) {
    const struct {
        const char *name;
        double value;
        bool given;
    } values[] = {
        {"accuracy", percent(t->correct, t->examples), true},
        {"correct", (double)t->correct, true},
        {"examples", (double)t->examples, true},
        {"skipped", (double)t->skipped, true},
        {"truncated", (double)t->truncated, true},
        {"tokens_computed", (double)t->tokens_computed, true},
        {"tokens_asked", (double)t->tokens_asked, true},
        {"accuracy_norm", percent(t->correct_norm, t->examples), t->with_norm > 0},
        {"correct_norm", (double)t->correct_norm, t->with_norm > 0},
        {"accuracy_bytes", percent(t->correct_bytes, t->examples), t->with_bytes > 0},
    };
    for (size_t i = 0; i < sizeof values / sizeof *values; i++)
        if (values[i].given &&
            !set(store, cell, values[i].name, values[i].value, "no example was asked", error))
            return false;
    return true;
}

static bool set_times(tl_store *store, int64_t cell, const char *prefix, double *values, int64_t n,
                      tl_error *error) {
    tl_summary s = {0, NAN, NAN, NAN, NAN, NAN, NAN, NAN};
    if (n > 0) tl_summarize(values, n, &s);
    const struct {
        const char *suffix;
        double value;
    } parts[] = {{"mean", s.mean},
                 {"median", s.median},
                 {"p90", s.p90},
                 {"p99", s.p99},
                 {"stddev", n > 1 ? s.deviation : NAN}};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        char name[64];
        snprintf(name, sizeof name, "%s_ms_%s", prefix, parts[i].suffix);
        const char *note = n > 0 ? "only one example was timed"
                                 : "examples shared their passes: none was timed on its own";
        if (!set(store, cell, name, parts[i].value, note, error)) return false;
    }
    return true;
}

bool tl_measure_examples(tl_store *store, int64_t cell, tl_error *error) {
    tally t = {0};
    bool good = tl_store_each_example(store, cell, count_example, &t, error);
    if (good && t.failed)
        good = tl_fail_memory(error, (size_t)t.capacity * 2 * sizeof(double), "measures");
    if (good && (good = tl_store_begin(store, error))) {
        good = set_counts(store, cell, &t, error) &&
               set_times(store, cell, "forward", t.forward, t.n_forward, error) &&
               set_times(store, cell, "total", t.total, t.n_total, error);
        good = tl_store_end(store, good, error);
    }
    free(t.forward);
    free(t.total);
    return good;
}
