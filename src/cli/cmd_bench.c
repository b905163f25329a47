/* tinyllm bench: speed of prefill and decode, load time and memory, as llama-bench measures them:
 * random tokens, logits of the last position only, one warm-up of each. */
#include "cli/model_options.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

enum { MOST_TESTS = 64, MOST_REPETITIONS = 100, PROMPT_BEFORE_DECODE = 8 };

/* One line of the table. */
typedef struct test {
    bool decode;
    int32_t tokens;
    double rates[MOST_REPETITIONS]; /* tokens per second, in the order measured */
    double median, lowest, highest;
} test;

typedef struct bench {
    cli_model *model;
    cli_model_options options;
    int64_t repetitions;
    test tests[MOST_TESTS];
    int count;
    double first_token_seconds; /* load, then the first answer */
} bench;

/* Token ids that look like nothing: speed does not depend on them. */
static int32_t *random_ids(int32_t count, int32_t vocabulary, tl_error *error) {
    int32_t *ids = calloc((size_t)count, sizeof *ids);
    if (!ids) tl_fail_memory(error, (size_t)count * sizeof *ids, "token ids");
    uint32_t state = 12345;
    for (int32_t i = 0; ids && i < count; i++) {
        state = state * 1664525u + 1013904223u;
        ids[i] = (int32_t)(state >> 8) % vocabulary;
    }
    return ids;
}

/* One pass over `tokens` tokens that asks for the last row of logits. */
static bool time_prefill(bench *b, int32_t tokens, double *seconds, tl_error *error) {
    const tl_model_spec *spec = &b->model->model->spec;
    int32_t *ids = random_ids(tokens, spec->vocab, error);
    float *logits = malloc((size_t)spec->vocab * sizeof *logits);
    tl_segment segments[] = {
        {.parent = -1, .tokens = ids, .n_tokens = tokens, .encoder = spec->encoder},
        {.parent = 0, .tokens = &spec->decoder_start, .n_tokens = 1},
    };
    int32_t last = spec->encoder ? 1 : 0;
    tl_ask ask = {.segment = last,
                  .row = segments[last].n_tokens - 1,
                  .kind = TL_ASK_LOGITS,
                  .logits = logits};
    bool ok = ids && (logits || tl_fail_memory(error, (size_t)spec->vocab * 4, "logits"));
    double begin = tl_clock_monotonic();
    ok = ok && tl_engine_score(b->model->engine, segments, last + 1, &ask, 1, NULL, error);
    *seconds = tl_clock_monotonic() - begin;
    free(logits);
    free(ids);
    return ok;
}

/* `tokens` steps of one token after a short prompt. */
static bool time_decode(bench *b, int32_t tokens, double *seconds, tl_error *error) {
    int32_t *ids = random_ids(PROMPT_BEFORE_DECODE, b->model->model->spec.vocab, error);
    if (!ids) return false;
    tl_ids out = {0};
    tl_generate_options options = {
        .most_tokens = tokens + 1, .ignore_eos = true, .top_p = 1, .decode_seconds = seconds};
    bool ok = tl_engine_generate(b->model->engine, ids, PROMPT_BEFORE_DECODE, NULL, 0, &options,
                                 &out, error);
    if (ok && out.count != (size_t)tokens + 1)
        ok = tl_fail(error, TL_ERROR_LIMIT, "the model stopped after %zu of %d tokens", out.count,
                     tokens + 1);
    tl_ids_free(&out);
    free(ids);
    return ok;
}

static bool time_test(bench *b, const test *t, double *seconds, tl_error *error) {
    return (t->decode ? time_decode : time_prefill)(b, t->tokens, seconds, error);
}

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static void summarise(test *t, int count) {
    double sorted[MOST_REPETITIONS];
    memcpy(sorted, t->rates, (size_t)count * sizeof *sorted);
    qsort(sorted, (size_t)count, sizeof *sorted, by_value);
    t->lowest = sorted[0];
    t->highest = sorted[count - 1];
    t->median = (sorted[(count - 1) / 2] + sorted[count / 2]) / 2;
}

/* Repetitions go round the tests, so that a disturbance of the machine does not fall on one. */
static bool measure(bench *b, tl_error *error) {
    double seconds, begin = tl_clock_monotonic();
    for (int i = 0; i < b->count; i++) /* warm-up */
        if (!time_test(b, &b->tests[i], &seconds, error)) return false;
    for (int64_t r = 0; r < b->repetitions; r++) {
        for (int i = 0; i < b->count; i++) {
            test *t = &b->tests[i];
            if (!time_test(b, t, &seconds, error)) return false;
            t->rates[r] = t->tokens / seconds;
        }
        if (tl_clock_monotonic() - begin > 2)
            fprintf(stderr, "round %lld of %lld\n", (long long)r + 1, (long long)b->repetitions);
    }
    for (int i = 0; i < b->count; i++)
        summarise(&b->tests[i], (int)b->repetitions);
    return true;
}

static double peak_mb(void) {
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (double)usage.ru_maxrss / 1024;
}

static const char *dtype_name(const bench *b) {
    return b->options.dtype ? b->options.dtype : tl_dtype_get(b->model->model->spec.stored)->name;
}

static void print_json(const bench *b) {
    const tl_model *model = b->model->model;
    tl_buffer out = {0};
    tl_buffer_append_string(&out, "{\"model\":");
    tl_json_append_string(&out, b->options.model, strlen(b->options.model));
    tl_buffer_append_format(
        &out,
        ",\"family\":\"%s\",\"dtype\":\"%s\",\"fast\":%s,\"threads\":%lld,\"parameters\":%lld,"
        "\"weights_mb\":%.1f,\"load_seconds\":%.4f,\"first_token_seconds\":%.4f,\"peak_mb\":%.1f,"
        "\"tests\":[",
        model->spec.family, dtype_name(b), b->options.fast ? "true" : "false",
        (long long)(b->options.threads ? b->options.threads : tl_processors()),
        (long long)model->parameters,
        (double)(model->mapped_bytes + model->owned_bytes) / (1 << 20), b->model->load_seconds,
        b->first_token_seconds, peak_mb());
    for (int i = 0; i < b->count; i++) {
        const test *t = &b->tests[i];
        tl_buffer_append_format(&out,
                                "%s{\"test\":\"%s\",\"tokens\":%d,\"tokens_per_second\":%.3f,"
                                "\"samples\":[",
                                i ? "," : "", t->decode ? "decode" : "prefill", t->tokens,
                                t->median);
        for (int64_t r = 0; r < b->repetitions; r++)
            tl_buffer_append_format(&out, "%s%.3f", r ? "," : "", t->rates[r]);
        tl_buffer_append_string(&out, "]}");
    }
    tl_buffer_append_string(&out, "]}");
    puts(tl_buffer_string(&out));
    tl_buffer_free(&out);
}

static void print_table(const bench *b) {
    const tl_model *model = b->model->model;
    printf("| model | dtype | threads | test | tokens/s | lowest | highest |\n"
           "| --- | --- | ---: | --- | ---: | ---: | ---: |\n");
    for (int i = 0; i < b->count; i++) {
        const test *t = &b->tests[i];
        printf("| %s | %s%s | %lld | %s %d | %.1f | %.1f | %.1f |\n",
               tl_path_base(b->options.model), dtype_name(b), b->options.fast ? ", fast" : "",
               (long long)(b->options.threads ? b->options.threads : tl_processors()),
               t->decode ? "decode" : "prefill", t->tokens, t->median, t->lowest, t->highest);
    }
    printf("\nloaded in %.3f s, first token after %.3f s; weights %.1f MB, peak resident %.1f MB\n",
           b->model->load_seconds, b->first_token_seconds,
           (double)(model->mapped_bytes + model->owned_bytes) / (1 << 20), peak_mb());
}

/* "64", "128" … → tests of that kind; 0 means none. */
static bool add_tests(bench *b, const cli_list *list, bool decode) {
    for (int i = 0; i < list->count; i++) {
        char *end;
        long tokens = strtol(list->items[i], &end, 10);
        if (*end || end == list->items[i] || tokens < 0 || tokens > 1 << 20) return false;
        if (tokens == 0) continue;
        if (b->count == MOST_TESTS) return false;
        b->tests[b->count++] = (test){.decode = decode, .tokens = (int32_t)tokens};
    }
    return true;
}

static void add_default_tests(bench *b, const cli_list *prompts, const cli_list *decodes) {
    static const int32_t prefill[] = {64, 128, 512};
    for (int i = 0; i < 3 && prompts->count == 0; i++)
        b->tests[b->count++] = (test){.tokens = prefill[i]};
    if (decodes->count == 0) b->tests[b->count++] = (test){.decode = true, .tokens = 32};
}

static int run_bench(const cli_command *command, bench *b, bool json) {
    int status;
    tl_error error = {0};
    cli_model m;
    double begin = tl_clock_monotonic(), seconds;
    if (!cli_model_open(command, &b->options, false, &m, &status)) return status;
    b->model = &m;
    bool ok = time_prefill(b, 1, &seconds, &error);
    b->first_token_seconds = tl_clock_monotonic() - begin;
    ok = ok && measure(b, &error);
    if (ok) (json ? print_json : print_table)(b);
    status = ok ? 0 : cli_fail(command, &error);
    cli_model_close(&m);
    return status;
}

static int run(const cli_command *command, int argc, char **argv) {
    cli_list prompts = {0}, decodes = {0};
    bool json = false;
    bench *b = calloc(1, sizeof *b);
    tl_error error = {0};
    if (!b) {
        tl_fail_memory(&error, sizeof *b, "measurements");
        return cli_fail(command, &error);
    }
    b->repetitions = 5;
    const cli_option table[] = {
        CLI_MODEL_OPTIONS(b->options),
        {"prompt", 'p', CLI_LIST, &prompts, "N,N,…",
         "prefill of that many tokens; 0 for none (default 64,128,512)"},
        {"tokens", 'n', CLI_LIST, &decodes, "N,N,…",
         "decode that many tokens; 0 for none (default 32)"},
        {"repeat", 'r', CLI_INT, &b->repetitions, "N", "rounds (default 5)", 1, MOST_REPETITIONS},
        {"json", 0, CLI_FLAG, &json, NULL, "print one JSON object"},
        {0},
    };
    int operands, status;
    if (!cli_parse(command, table, argc, argv, &operands, &status)) goto done;
    if (operands) {
        status = cli_usage(command, "unexpected argument '%s'", argv[0]);
        goto done;
    }
    if (!add_tests(b, &prompts, false) || !add_tests(b, &decodes, true)) {
        status = cli_usage(command, "-p and -n: expected numbers of tokens, as 64,128");
        goto done;
    }
    add_default_tests(b, &prompts, &decodes);
    status = run_bench(command, b, json);
done:
    cli_list_free(&prompts);
    cli_list_free(&decodes);
    free(b);
    return status;
}

const cli_command cmd_bench = {
    .name = "bench",
    .summary = "speed of prefill and decode, load time, memory",
    .usage = "-m MODEL [options]",
    .examples = "  tinyllm bench -m HuggingFaceTB/SmolLM-135M\n"
                "  tinyllm bench -m Qwen/Qwen2.5-0.5B --dtype q8 --fast -p 128 -n 0 --json\n",
    .run = run,
};
