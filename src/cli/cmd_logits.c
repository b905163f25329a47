/* tinyllm logits: what a model predicts after given tokens, for parity checks. */
#include "cli/model_options.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

typedef struct question {
    tl_ids ids, decoder_ids;
    bool logprobs;
} question;

/* The ids whose probabilities are asked: the decoder's for an encoder-decoder. */
static const tl_ids *scored_ids(const question *q) {
    return q->decoder_ids.count ? &q->decoder_ids : &q->ids;
}

static void print_logits(const question *q, const float *logits, int32_t vocab) {
    tl_buffer out = {0};
    tl_buffer_append_format(&out, "{\"n_tokens\":%zu,\"logits\":[", scored_ids(q)->count);
    for (int32_t i = 0; i < vocab; i++) {
        if (i) tl_buffer_append_byte(&out, ',');
        tl_json_append_float(&out, logits[i]);
    }
    tl_buffer_append_string(&out, "]}");
    puts(tl_buffer_string(&out));
    tl_buffer_free(&out);
}

static void print_logprobs(const question *q, const tl_ask *asks) {
    tl_buffer out = {0};
    size_t count = scored_ids(q)->count;
    tl_buffer_append_format(&out, "{\"n_tokens\":%zu,\"logprobs\":[null", count);
    for (size_t i = 0; i + 1 < count; i++) {
        tl_buffer_append_byte(&out, ',');
        tl_json_append_float(&out, asks[i].value);
    }
    tl_buffer_append_string(&out, "]}");
    puts(tl_buffer_string(&out));
    tl_buffer_free(&out);
}

static bool answer(const question *q, tl_engine *engine, tl_error *error) {
    const tl_model_spec *spec = &tl_engine_model(engine)->spec;
    const tl_ids *ids = scored_ids(q);
    size_t n_asks = q->logprobs ? ids->count - 1 : 1;
    tl_ask *asks = calloc(n_asks + 1, sizeof *asks);
    float *logits = calloc((size_t)spec->vocab, sizeof *logits);
    bool ok = (asks && logits) || tl_fail_memory(error, n_asks * sizeof *asks, "the questions");
    for (size_t i = 0; ok && q->logprobs && i < n_asks; i++)
        asks[i] = (tl_ask){.row = (int32_t)i, .kind = TL_ASK_LOGPROB, .token = ids->data[i + 1]};
    if (ok && !q->logprobs)
        asks[0] = (tl_ask){.row = (int32_t)ids->count - 1, .kind = TL_ASK_LOGITS, .logits = logits};
    tl_path path = {.encoder = spec->encoder ? q->ids.data : NULL,
                    .n_encoder = spec->encoder ? (int32_t)q->ids.count : 0,
                    .tokens = ids->data,
                    .n_tokens = (int32_t)ids->count,
                    .asks = asks,
                    .n_asks = (int32_t)n_asks};
    ok = ok && tl_engine_score_paths(engine, &path, 1, NULL, error);
    if (ok && q->logprobs) print_logprobs(q, asks);
    if (ok && !q->logprobs) print_logits(q, logits, spec->vocab);
    free(asks);
    free(logits);
    return ok;
}

static int run(const cli_command *command, int argc, char **argv) {
    cli_model_options options = {0};
    question q = {0};
    const char *ids = NULL, *decoder_ids = NULL;
    const cli_option table[] = {
        CLI_MODEL_OPTIONS(options),
        {"ids", 0, CLI_STRING, &ids, "N,N,…", "token ids (encoder-decoder: of the encoder)"},
        {"decoder-ids", 0, CLI_STRING, &decoder_ids, "N,N,…",
         "token ids of the decoder (default: its start token)"},
        {"logprobs", 0, CLI_FLAG, &q.logprobs, NULL,
         "log-probability of each id after those before it"},
        {0},
    };
    int operands, status;
    cli_model m = {0};
    tl_error error = {0};
    if (!cli_parse(command, table, argc, argv, &operands, &status)) return status;
    if (operands) return cli_usage(command, "unexpected argument '%s'", argv[0]);
    if (!ids) return cli_usage(command, "no tokens: expected --ids N,N,…");
    if (!cli_parse_ids(command, "ids", ids, &q.ids) ||
        (decoder_ids && !cli_parse_ids(command, "decoder-ids", decoder_ids, &q.decoder_ids))) {
        status = 2;
    } else if (cli_model_open(command, &options, false, &m, &status)) {
        bool encoder = m.model->spec.encoder;
        bool ok = encoder || !decoder_ids ||
                  tl_fail(&error, TL_ERROR_USAGE, "--decoder-ids: the model has no encoder");
        if (ok && encoder && !decoder_ids)
            ok = tl_ids_append(&q.decoder_ids, &m.model->spec.decoder_start, 1, &error);
        ok = ok && answer(&q, m.engine, &error);
        status = ok ? 0 : cli_fail(command, &error);
    }
    cli_model_close(&m);
    tl_ids_free(&q.ids);
    tl_ids_free(&q.decoder_ids);
    return status;
}

const cli_command cmd_logits = {
    .name = "logits",
    .summary = "a model's logits after given tokens, as JSON",
    .usage = "-m MODEL --ids N,N,… [options]",
    .examples = "  tinyllm logits -m HuggingFaceTB/SmolLM-135M --ids 504,3575\n"
                "  tinyllm logits -m ./flan-t5-base --ids 37,3,1 --decoder-ids 0,37 --logprobs\n",
    .run = run,
};
