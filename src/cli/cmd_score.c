/* tinyllm score: log-likelihoods of continuations, as lm-evaluation-harness computes them. */
#include "cli/model_options.h"
#include "engine/request.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { BATCH = 256 };

/* Lines read but not yet answered. */
typedef struct batch {
    cli_model *model;
    tl_bos bos;
    tl_pair pairs[BATCH];
    int32_t count;
    int64_t line;
} batch;

static bool encode_line(batch *b, const char *text, size_t length, tl_error *error) {
    char where[64];
    const char *context, *continuation;
    snprintf(where, sizeof where, "standard input, line %lld", (long long)b->line);
    cJSON *json = tl_json_parse(text, length, where, error);
    bool ok = json && tl_json_string_or(json, "context", NULL, &context, where, error) &&
              tl_json_string_or(json, "continuation", NULL, &continuation, where, error);
    if (ok && (!context || !continuation))
        ok = tl_fail(error, TL_ERROR_FORMAT,
                     "%s: expected {\"context\":…,\"continuation\":…} with strings", where);
    if (ok && !tl_pair_encode(&b->model->model->spec, b->model->tokenizer, b->bos, context,
                              strlen(context), continuation, strlen(continuation),
                              &b->pairs[b->count], error))
        ok = tl_fail_within(error, "%s", where);
    b->count += ok;
    cJSON_Delete(json);
    return ok;
}

static bool answer(batch *b, tl_error *error) {
    tl_likelihood results[BATCH];
    tl_buffer out = {0};
    bool ok = tl_pairs_score(b->model->engine, b->pairs, b->count, results, NULL, error);
    for (int32_t i = 0; i < b->count; i++) {
        tl_pair_free(&b->pairs[i]);
        if (!ok) continue;
        tl_buffer_append_string(&out, "{\"loglikelihood\":");
        tl_json_append_double(&out, results[i].loglikelihood);
        tl_buffer_append_format(&out, ",\"greedy\":%s,\"n_tokens\":%d}\n",
                                results[i].greedy ? "true" : "false", results[i].tokens);
    }
    fputs(tl_buffer_string(&out), stdout);
    fflush(stdout);
    tl_buffer_free(&out);
    b->count = 0;
    return ok;
}

static bool score_lines(batch *b, tl_error *error) {
    char *line = NULL;
    size_t capacity = 0;
    bool ok = true;
    double begin = tl_clock_monotonic(), told = begin;
    for (int64_t length; ok && (length = cli_read_line(&line, &capacity)) >= 0;) {
        b->line++;
        if (strspn(line, " \t") == (size_t)length) continue;
        ok = encode_line(b, line, (size_t)length, error);
        if (b->count == BATCH || (!ok && b->count)) {
            tl_error inner = {0};
            if (!answer(b, ok ? error : &inner)) ok = false;
        }
        if (isatty(2) && tl_clock_monotonic() - told > 2) {
            told = tl_clock_monotonic();
            fprintf(stderr, "%lld pairs, %.1f/s\n", (long long)b->line,
                    (double)b->line / (told - begin));
        }
    }
    if (ok && b->count) ok = answer(b, error);
    free(line);
    return ok;
}

static int run(const cli_command *command, int argc, char **argv) {
    cli_model_options options = {0};
    const char *bos = "auto";
    const cli_option table[] = {
        CLI_MODEL_OPTIONS(options),
        {"bos", 0, CLI_STRING, &bos, "WHEN",
         "BOS before the context: auto (as the tokenizer does), on, off"},
        {0},
    };
    int operands, status;
    cli_model m;
    tl_error error = {0};
    if (!cli_parse(command, table, argc, argv, &operands, &status)) return status;
    if (operands) return cli_usage(command, "unexpected argument '%s'", argv[0]);
    tl_bos when;
    if (!tl_bos_parse(bos, &when, &error)) return cli_fail(command, &error);
    if (!cli_model_open(command, &options, true, &m, &status)) return status;
    batch *b = calloc(1, sizeof *b);
    bool ok = b || tl_fail_memory(&error, sizeof *b, "a batch");
    if (ok) *b = (batch){.model = &m, .bos = when};
    ok = ok && score_lines(b, &error);
    status = ok ? 0 : cli_fail(command, &error);
    free(b);
    cli_model_close(&m);
    return status;
}

const cli_command cmd_score = {
    .name = "score",
    .summary = "log-likelihoods of continuations, line by line",
    .usage = "-m MODEL [options] < pairs.jsonl",
    .examples = "  echo '{\"context\":\"The sky is\",\"continuation\":\" blue\"}' | "
                "tinyllm score -m HuggingFaceTB/SmolLM-135M\n",
    .run = run,
};
