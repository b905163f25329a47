/* tinyllm bench: prefill and decode speed, load time and memory, in llama-bench's terms. */
#include "cli/model_options.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

enum { MOST_TESTS = 64, MOST_REPETITIONS = 1000 };

/* One line of the result: a prompt of `prompt` tokens (pp), or `generated` tokens after it (tg). */
typedef struct measure {
    int32_t prompt, generated;
    double *speeds; /* tokens/s, one per repetition, as they came */
    double mean, deviation, median, lowest, highest;
    double first_token; /* seconds until the first token of the generation; NAN for a prefill */
    double per_token;   /* seconds */
} measure;

typedef struct bench {
    const char *model, *dtype;
    cli_model m;
    int32_t repetitions;
    measure measures[MOST_TESTS];
    int count;
    double *speeds;       /* of all measures */
    double ready_seconds; /* load, then the first answer */
    tl_memory memory;
    double peak_mb;
    bool fast;
} bench;

/* ---- measuring ------------------------------------------------------------------------------- */

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void summarise(measure *t, int32_t n) {
    double sorted[MOST_REPETITIONS], sum = 0, squares = 0;
    memcpy(sorted, t->speeds, (size_t)n * sizeof *sorted);
    qsort(sorted, (size_t)n, sizeof *sorted, by_value);
    for (int32_t i = 0; i < n; i++)
        sum += sorted[i];
    t->mean = sum / n;
    for (int32_t i = 0; i < n; i++)
        squares += (sorted[i] - t->mean) * (sorted[i] - t->mean);
    t->deviation = n > 1 ? sqrt(squares / (n - 1)) : 0;
    t->lowest = sorted[0];
    t->highest = sorted[n - 1];
    t->median = (sorted[(n - 1) / 2] + sorted[n / 2]) / 2;
    t->per_token = 1 / t->median;
}

/* Arbitrary tokens, the same on every run. */
static void fill_tokens(int32_t *tokens, int32_t n, int32_t vocab) {
    uint32_t random = 1;
    for (int32_t i = 0; i < n; i++) {
        random = random * 1664525 + 1013904223;
        tokens[i] = (int32_t)((random >> 8) % (uint32_t)vocab);
    }
}

/* The prompt as one forward pass with the last row's logits; for an encoder-decoder it goes to the
 * encoder. */
static bool prefill(bench *b, const int32_t *tokens, int32_t n, double *seconds, tl_error *error) {
    const tl_model_spec *spec = &b->m.model->spec;
    tl_ask ask = {.row = spec->encoder ? 0 : n - 1, .kind = TL_ASK_LOGPROB, .token = 0};
    tl_path path = {.encoder = spec->encoder ? tokens : NULL,
                    .n_encoder = spec->encoder ? n : 0,
                    .tokens = spec->encoder ? &spec->decoder_start : tokens,
                    .n_tokens = spec->encoder ? 1 : n,
                    .asks = &ask,
                    .n_asks = 1};
    tl_work work;
    if (!tl_engine_score_paths(b->m.engine, &path, 1, &work, error)) return false;
    *seconds = work.seconds;
    return true;
}

/* The tokens after the first of a generation of generated + 1. */
static bool decode(bench *b, measure *t, const int32_t *tokens, double *seconds, tl_error *error) {
    double first = 0;
    tl_generate_options options = {.most_tokens = t->generated + 1,
                                   .ignore_eos = true,
                                   .top_p = 1,
                                   .first_token_seconds = &first,
                                   .decode_seconds = seconds};
    tl_ids ids = {0};
    bool ok = tl_engine_generate(b->m.engine, tokens, t->prompt, NULL, 0, &options, &ids, error);
    if (ok && ids.count != (size_t)t->generated + 1)
        ok = tl_fail(error, TL_ERROR_LIMIT, "the model stopped after %zu of %d tokens", ids.count,
                     t->generated + 1);
    tl_ids_free(&ids);
    if (!(first >= t->first_token)) t->first_token = first;
    return ok;
}

static bool measure_once(bench *b, measure *t, const int32_t *tokens, double *speed,
                         tl_error *error) {
    double seconds = 0;
    bool ok = t->generated ? decode(b, t, tokens, &seconds, error)
                           : prefill(b, tokens, t->prompt, &seconds, error);
    *speed = (t->generated ? t->generated : t->prompt) / seconds;
    return ok;
}

/* Repetitions go round the tests, so that a disturbance of the machine does not fall on one. Round
 * 0 is the warm-up. */
static bool measure_rounds(bench *b, const int32_t *tokens, tl_error *error) {
    double begin = tl_clock_monotonic(), speed;
    for (int32_t round = 0; round <= b->repetitions; round++) {
        for (int i = 0; i < b->count; i++) {
            measure *t = &b->measures[i];
            if (round <= 1) t->first_token = NAN;
            if (!measure_once(b, t, tokens, &speed, error)) return false;
            if (round) t->speeds[round - 1] = speed;
        }
        if (round && tl_clock_monotonic() - begin > 2)
            fprintf(stderr, "round %d of %d\n", round, b->repetitions);
    }
    return true;
}

static bool measure_all(bench *b, double begin, tl_error *error) {
    int32_t longest = 1;
    double seconds;
    for (int i = 0; i < b->count; i++)
        if (b->measures[i].prompt > longest) longest = b->measures[i].prompt;
    int32_t *tokens = calloc((size_t)longest, sizeof *tokens);
    double *speeds = calloc((size_t)b->count * (size_t)b->repetitions + 1, sizeof *speeds);
    bool ok = (tokens && speeds) || tl_fail_memory(error, (size_t)longest * 4, "a benchmark");
    if (ok) fill_tokens(tokens, longest, b->m.model->spec.vocab);
    for (int i = 0; ok && i < b->count; i++)
        b->measures[i].speeds = speeds + (int64_t)i * b->repetitions;
    ok = ok && prefill(b, tokens, 1, &seconds, error);
    b->ready_seconds = tl_clock_monotonic() - begin;
    ok = ok && measure_rounds(b, tokens, error);
    for (int i = 0; ok && i < b->count; i++)
        summarise(&b->measures[i], b->repetitions);
    free(tokens);
    if (!ok) free(speeds);
    b->speeds = ok ? speeds : NULL;
    if (!ok) return false;
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    b->peak_mb = (double)usage.ru_maxrss / 1024;
    tl_engine_memory(b->m.engine, &b->memory);
    return true;
}

/* ---- printing -------------------------------------------------------------------------------- */

static const double mib = 1024.0 * 1024.0;

static void test_name(const measure *t, char name[48]) {
    if (!t->generated)
        snprintf(name, 48, "pp%d", t->prompt);
    else if (t->prompt > 1)
        snprintf(name, 48, "tg%d @ %d", t->generated, t->prompt);
    else
        snprintf(name, 48, "tg%d", t->generated);
}

static size_t total_bytes(const tl_memory *m) {
    return m->weights_mapped + m->weights_owned + m->kv + m->activations + m->scratch;
}

static void print_markdown(const bench *b) {
    char name[48];
    puts("| model | dtype | family | params | threads | isa | test | t/s | ms/token |");
    puts("| --- | --- | --- | ---: | ---: | --- | --- | ---: | ---: |");
    for (int i = 0; i < b->count; i++) {
        const measure *t = &b->measures[i];
        test_name(t, name);
        printf("| %s | %s%s | %s | %.2f M | %d | %s | %s | %.2f ± %.2f | %.3f |\n",
               tl_path_base(b->model), b->dtype, b->fast ? " fast" : "", b->m.model->spec.family,
               (double)b->m.model->parameters / 1e6, tl_engine_threads(b->m.engine),
               tl_compute_isa(tl_engine_compute(b->m.engine)), name, t->mean, t->deviation,
               t->per_token * 1e3);
    }
    printf("\nloaded in %.3f s, first answer after %.3f s; peak resident %.1f MB\n",
           b->m.load_seconds, b->ready_seconds, b->peak_mb);
    printf("memory %.1f MB: weights %.1f mapped + %.1f own, keys and values %.1f, "
           "activations %.1f, scratch %.1f\n",
           (double)total_bytes(&b->memory) / mib, (double)b->memory.weights_mapped / mib,
           (double)b->memory.weights_owned / mib, (double)b->memory.kv / mib,
           (double)b->memory.activations / mib, (double)b->memory.scratch / mib);
    if (b->memory.device_peak)
        printf("GPU memory: %.1f MB held, %.1f at most, %.1f in use by all; weights: %.1f MB read "
               "in host memory\n",
               (double)b->memory.device / mib, (double)b->memory.device_peak / mib,
               (double)b->memory.device_driver / mib, (double)b->memory.device_adopted / mib);
    for (int i = 0; i < b->count; i++) {
        test_name(&b->measures[i], name);
        if (b->measures[i].generated)
            printf("%s: first token after %.1f ms\n", name, b->measures[i].first_token * 1e3);
    }
}

static void print_csv(const bench *b) {
    char name[48];
    puts("model,family,parameters,dtype,fast,threads,isa,test,n_prompt,n_gen,repetitions,avg_ts,"
         "stddev_ts,median_ts,ms_per_token,first_token_ms,load_s,memory_bytes");
    for (int i = 0; i < b->count; i++) {
        const measure *t = &b->measures[i];
        test_name(t, name);
        printf("%s,%s,%lld,%s,%d,%d,%s,%s,%d,%d,%d,%.3f,%.3f,%.3f,%.4f,", tl_path_base(b->model),
               b->m.model->spec.family, (long long)b->m.model->parameters, b->dtype, b->fast,
               tl_engine_threads(b->m.engine), tl_compute_isa(tl_engine_compute(b->m.engine)), name,
               t->prompt, t->generated, b->repetitions, t->mean, t->deviation, t->median,
               t->per_token * 1e3);
        if (t->generated) printf("%.4f", t->first_token * 1e3);
        printf(",%.4f,%zu\n", b->m.load_seconds, total_bytes(&b->memory));
    }
}

/* What all tests of a run have in common. */
static void append_run(tl_buffer *out, const bench *b) {
    const tl_model *model = b->m.model;
    tl_buffer_append_string(out, "\"model\":");
    tl_json_append_string(out, b->model, strlen(b->model));
    tl_buffer_append_format(
        out,
        ",\"family\":\"%s\",\"dtype\":\"%s\",\"fast\":%s,\"threads\":%d,\"isa\":\"%s\","
        "\"parameters\":%lld,\"weights_mb\":%.1f,\"load_seconds\":%.4f,"
        "\"first_token_seconds\":%.4f,\"peak_mb\":%.1f,\"repetitions\":%d,"
        "\"memory\":{\"weights_mapped\":%zu,\"weights_owned\":%zu,\"kv\":%zu,"
        "\"activations\":%zu,\"scratch\":%zu,\"device\":%zu,\"device_peak\":%zu,"
        "\"device_driver\":%zu,\"device_adopted\":%zu}",
        model->spec.family, b->dtype, b->fast ? "true" : "false", tl_engine_threads(b->m.engine),
        tl_compute_isa(tl_engine_compute(b->m.engine)), (long long)model->parameters,
        (double)(model->mapped_bytes + model->owned_bytes) / mib, b->m.load_seconds,
        b->ready_seconds, b->peak_mb, b->repetitions, b->memory.weights_mapped,
        b->memory.weights_owned, b->memory.kv, b->memory.activations, b->memory.scratch,
        b->memory.device, b->memory.device_peak, b->memory.device_driver, b->memory.device_adopted);
}

static void append_test(tl_buffer *out, const bench *b, const measure *t) {
    char name[48];
    test_name(t, name);
    tl_buffer_append_format(out,
                            "\"test\":\"%s\",\"name\":\"%s\",\"tokens\":%d,\"n_prompt\":%d,"
                            "\"n_gen\":%d,\"tokens_per_second\":%.3f,\"mean\":%.3f,"
                            "\"stddev\":%.3f,\"ms_per_token\":%.4f,\"first_token_ms\":",
                            t->generated ? "decode" : "prefill", name,
                            t->generated ? t->generated : t->prompt, t->prompt, t->generated,
                            t->median, t->mean, t->deviation, t->per_token * 1e3);
    tl_json_append_double(out, t->generated ? t->first_token * 1e3 : NAN);
    tl_buffer_append_string(out, ",\"samples\":[");
    for (int32_t r = 0; r < b->repetitions; r++)
        tl_buffer_append_format(out, "%s%.3f", r ? "," : "", t->speeds[r]);
    tl_buffer_append_string(out, "]");
}

static void print_json(const bench *b) {
    tl_buffer out = {0};
    tl_buffer_append_string(&out, "{");
    append_run(&out, b);
    tl_buffer_append_string(&out, ",\"tests\":[");
    for (int i = 0; i < b->count; i++) {
        tl_buffer_append_string(&out, i ? ",{" : "{");
        append_test(&out, b, &b->measures[i]);
        tl_buffer_append_string(&out, "}");
    }
    tl_buffer_append_string(&out, "]}\n");
    fputs(tl_buffer_string(&out), stdout);
    tl_buffer_free(&out);
}

static void print_jsonl(const bench *b) {
    tl_buffer out = {0};
    for (int i = 0; i < b->count; i++) {
        tl_buffer_append_string(&out, "{");
        append_run(&out, b);
        tl_buffer_append_string(&out, ",");
        append_test(&out, b, &b->measures[i]);
        tl_buffer_append_string(&out, "}\n");
    }
    fputs(tl_buffer_string(&out), stdout);
    tl_buffer_free(&out);
}

static const struct {
    const char *name;
    void (*print)(const bench *bench);
} formats[] = {
    {"md", print_markdown}, {"csv", print_csv}, {"json", print_json}, {"jsonl", print_jsonl}};

/* ---- the command ----------------------------------------------------------------------------- */

/* A list of lengths: "64,128,512". 0 leaves that kind of test out. */
static bool add_lengths(const cli_command *command, bench *b, const char *option,
                        const cli_list *list, bool generated, int32_t depth) {
    for (int i = 0; i < list->count; i++) {
        char *end;
        long n = strtol(list->items[i], &end, 10);
        if (*end || n < 0 || n > 1 << 20) {
            cli_usage(command, "--%s %s: expected lengths from 0 to %d", option, list->items[i],
                      1 << 20);
            return false;
        }
        if (n == 0) continue;
        if (b->count == MOST_TESTS) {
            cli_usage(command, "--%s: more than %d tests", option, MOST_TESTS);
            return false;
        }
        b->measures[b->count++] = generated ? (measure){.prompt = depth, .generated = (int32_t)n}
                                            : (measure){.prompt = (int32_t)n};
    }
    return true;
}

static bool default_lengths(cli_list *list, const char *text) {
    if (list->count) return true;
    list->items = calloc(1, sizeof *list->items);
    if (!list->items || !(list->items[0] = strdup(text))) return false;
    list->count = 1;
    return true;
}

static int run_bench(const cli_command *command, const cli_model_options *options, bench *b,
                     size_t format) {
    int status;
    tl_error error = {0};
    double begin = tl_clock_monotonic();
    /* Speed needs no tokenizer, but loading is timed with one where it is there. */
    if (!options->model || !cli_model_load(options, true, &b->m, &error))
        if (!cli_model_open(command, options, false, &b->m, &status)) return status;
    b->model = options->model;
    b->fast = options->fast;
    b->dtype = options->dtype ? options->dtype : tl_dtype_get(b->m.model->spec.stored)->name;
    bool ok = measure_all(b, begin, &error);
    if (ok) formats[format].print(b);
    free(b->speeds);
    cli_model_close(&b->m);
    return ok ? 0 : cli_fail(command, &error);
}

static int run(const cli_command *command, int argc, char **argv) {
    cli_model_options options = {0};
    cli_list prompts = {0}, generated = {0};
    int64_t repetitions = 5, depth = 8;
    bool json = false;
    const char *output = "md";
    const cli_option table[] = {
        CLI_MODEL_OPTIONS(options),
        {"n-prompt", 'p', CLI_LIST, &prompts, "N,…", "prompt lengths (default 512; 0: none)"},
        {"n-gen", 'n', CLI_LIST, &generated, "N,…", "tokens to generate (default 128; 0: none)"},
        {"depth", 'd', CLI_INT, &depth, "N", "prompt before the generated tokens (default 8)", 1,
         1 << 20},
        {"repetitions", 'r', CLI_INT, &repetitions, "N",
         "of each test, after a warm-up (default 5)", 1, MOST_REPETITIONS},
        {"output", 'o', CLI_STRING, &output, "FORMAT", "md, csv, json or jsonl (default md)"},
        {"json", 0, CLI_FLAG, &json, NULL, "the same as --output json"},
        {0},
    };
    int operands, status = 2;
    size_t format = 0;
    bench *b = calloc(1, sizeof *b);
    bool parsed = cli_parse(command, table, argc, argv, &operands, &status);
    if (parsed && b) {
        status = 2;
        b->repetitions = (int32_t)repetitions;
        if (json) output = "json";
        while (format < sizeof formats / sizeof *formats &&
               strcmp(formats[format].name, output) != 0)
            format++;
        if (operands)
            cli_usage(command, "unexpected argument '%s'", argv[0]);
        else if (format == sizeof formats / sizeof *formats)
            cli_usage(command, "--output %s: expected md, csv, json or jsonl", output);
        else if (default_lengths(&prompts, "512") && default_lengths(&generated, "128") &&
                 add_lengths(command, b, "n-prompt", &prompts, false, 0) &&
                 add_lengths(command, b, "n-gen", &generated, true, (int32_t)depth))
            status = run_bench(command, &options, b, format);
    }
    cli_list_free(&prompts);
    cli_list_free(&generated);
    free(b);
    return status;
}

const cli_command cmd_bench = {
    .name = "bench",
    .summary = "prefill and decode speed, load time, memory",
    .usage = "-m MODEL [-p N,…] [-n N,…] [-r N] [options]",
    .examples = "  tinyllm bench -m HuggingFaceTB/SmolLM-135M -p 64,128,512 -n 128\n"
                "  tinyllm bench -m ./checkpoint --dtype q8 --fast --threads 2 -o jsonl\n",
    .run = run,
};
