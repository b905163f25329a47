/* tinyllm generate: text from a model, streamed as it comes. */
#include "cli/model_options.h"
#include "engine/request.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct generation {
    const cli_model *model;
    tl_ids ids;        /* so far */
    tl_buffer printed; /* what of their text has been written */
} generation;

/* How much of new text may be shown: what ends in U+FFFD may still become a character. */
static size_t settled_length(const tl_buffer *text) {
    static const char replacement[] = "\xef\xbf\xbd";
    size_t length = text->length;
    while (length >= 3 && memcmp(text->data + length - 3, replacement, 3) == 0)
        length -= 3;
    return length;
}

/* Writes what the token adds to the text. Decoding all of them again keeps the decoder's rules
 * about neighbours (spaces, bytes of one character). */
static bool stream(void *context, int32_t token) {
    generation *g = context;
    tl_error error = {0};
    tl_buffer text = {0};
    if (!tl_ids_append(&g->ids, &token, 1, &error)) return false;
    if (!tl_tokenizer_decode(g->model->tokenizer, g->ids.data, g->ids.count, true, &text, &error))
        return false;
    size_t length = settled_length(&text), before = g->printed.length;
    if (length > before && (before == 0 || memcmp(text.data, g->printed.data, before) == 0)) {
        fwrite(text.data + before, 1, length - before, stdout);
        fflush(stdout);
        tl_buffer_append(&g->printed, text.data + before, length - before);
    }
    tl_buffer_free(&text);
    return true;
}

static bool print_json(const cli_model *m, const tl_ids *ids, tl_error *error) {
    tl_buffer text = {0}, out = {0};
    bool ok = !m->tokenizer ||
              tl_tokenizer_decode(m->tokenizer, ids->data, ids->count, true, &text, error);
    tl_buffer_append_string(&out, "{\"ids\":[");
    for (size_t i = 0; i < ids->count; i++)
        tl_buffer_append_format(&out, "%s%d", i ? "," : "", ids->data[i]);
    tl_buffer_append_string(&out, "]");
    if (m->tokenizer) {
        tl_buffer_append_string(&out, ",\"text\":");
        tl_json_append_string(&out, tl_buffer_string(&text), text.length);
    }
    tl_buffer_append_string(&out, "}");
    if (ok) puts(tl_buffer_string(&out));
    tl_buffer_free(&text);
    tl_buffer_free(&out);
    return ok;
}

/* The rest of the text, once no more tokens come, and what it took. */
static bool finish_stream(generation *g, const tl_ids *ids, double first, double decode,
                          tl_error *error) {
    tl_buffer text = {0};
    bool ok = tl_tokenizer_decode(g->model->tokenizer, ids->data, ids->count, true, &text, error);
    if (ok && text.length > g->printed.length)
        fwrite(text.data + g->printed.length, 1, text.length - g->printed.length, stdout);
    putchar('\n');
    tl_buffer_free(&text);
    if (ids->count > 1)
        fprintf(stderr, "%zu tokens: the first after %.3f s, then %.1f/s\n", ids->count, first,
                (double)(ids->count - 1) / decode);
    return ok;
}

static bool generate(const cli_model *m, const tl_ids *prompt, const tl_ids *decoder,
                     tl_generate_options *options, bool json, tl_error *error) {
    generation g = {.model = m};
    tl_ids ids = {0};
    double first = 0, decode = 0;
    options->first_token_seconds = &first;
    options->decode_seconds = &decode;
    options->on_token = json ? NULL : stream;
    options->context = &g;
    bool ok = tl_engine_generate(m->engine, prompt->data, (int32_t)prompt->count,
                                 decoder->count ? decoder->data : NULL, (int32_t)decoder->count,
                                 options, &ids, error);
    if (ok) ok = json ? print_json(m, &ids, error) : finish_stream(&g, &ids, first, decode, error);
    tl_ids_free(&ids);
    tl_ids_free(&g.ids);
    tl_buffer_free(&g.printed);
    return ok;
}

/* From ids to ids no tokenizer is needed: without one the text is left out, and why is told. */
static bool open_model(const cli_command *command, const cli_model_options *options, bool ids_only,
                       cli_model *m, int *status) {
    if (!cli_model_open(command, options, !ids_only, m, status)) return false;
    tl_error error = {0};
    if (ids_only && !(m->tokenizer = tl_tokenizer_open(m->directory, &error)))
        fprintf(stderr, "tinyllm generate: no text: %s\n", error.message);
    return true;
}

/* The ids of a text; of an empty one the token that a prompt begins with, where there is one. */
static bool encode_prompt(const cli_model *m, const char *text, tl_bos when, tl_ids *prompt,
                          tl_error *error) {
    const tl_model_spec *spec = &m->model->spec;
    if (!tl_request_encode(spec, m->tokenizer, when, text, strlen(text), prompt, error))
        return false;
    int32_t prefix = tl_request_prefix_token(spec, m->tokenizer);
    return prompt->count > 0 || prefix < 0 || tl_ids_append(prompt, &prefix, 1, error);
}

static int run(const cli_command *command, int argc, char **argv) {
    cli_model_options options = {0};
    const char *text = NULL, *ids = NULL, *decoder_ids = NULL, *bos = "auto";
    int64_t n = 64, top_k = 0, seed = 0;
    double temperature = 0, top_p = 1;
    bool json = false, ignore_eos = false;
    const cli_option table[] = {
        CLI_MODEL_OPTIONS(options),
        {"prompt", 'p', CLI_STRING, &text, "TEXT", "the text to continue"},
        {"ids", 0, CLI_STRING, &ids, "N,N,…", "the same as token ids"},
        {"decoder-ids", 0, CLI_STRING, &decoder_ids, "N,N,…",
         "encoder-decoder: what the decoder begins with (default: its start token)"},
        {"tokens", 'n', CLI_INT, &n, "N", "tokens at most (default 64)", 0, 1 << 24},
        {"temperature", 0, CLI_DOUBLE, &temperature, "T", "0 takes the likeliest (default 0)"},
        {"top-k", 0, CLI_INT, &top_k, "K", "draw from the K likeliest (default: all)", 0,
         INT32_MAX},
        {"top-p", 0, CLI_DOUBLE, &top_p, "P", "draw from the likeliest up to P (default 1)"},
        {"seed", 0, CLI_INT, &seed, "N", "of the random draws (default 0)", 0, INT64_MAX},
        {"bos", 0, CLI_STRING, &bos, "WHEN", "BOS before the text: auto, on, off"},
        {"ignore-eos", 0, CLI_FLAG, &ignore_eos, NULL, "go on after an end-of-sequence token"},
        {"json", 0, CLI_FLAG, &json, NULL, "print {\"ids\":[…],\"text\":…} at the end"},
        {0},
    };
    int operands, status;
    cli_model m;
    tl_error error = {0};
    tl_ids prompt = {0}, decoder = {0};
    tl_bos when;
    if (!cli_parse(command, table, argc, argv, &operands, &status)) return status;
    if (operands) return cli_usage(command, "unexpected argument '%s'", argv[0]);
    if (!text == !ids) return cli_usage(command, "expected either -p TEXT or --ids N,N,…");
    if (!tl_bos_parse(bos, &when, &error)) return cli_fail(command, &error);
    if (!(temperature >= 0) || !(top_p > 0) || top_p > 1)
        return cli_usage(command, "expected --temperature of at least 0 and --top-p in 0 … 1");
    bool parsed = (!ids || cli_parse_ids(command, "ids", ids, &prompt)) &&
                  (!decoder_ids || cli_parse_ids(command, "decoder-ids", decoder_ids, &decoder));
    if (!parsed) {
        status = 2;
    } else if (open_model(command, &options, ids && json, &m, &status)) {
        tl_generate_options g = {.most_tokens = (int32_t)n,
                                 .ignore_eos = ignore_eos,
                                 .temperature = (float)temperature,
                                 .top_k = (int32_t)top_k,
                                 .top_p = (float)top_p,
                                 .seed = (uint64_t)seed};
        bool ok = (ids || encode_prompt(&m, text, when, &prompt, &error)) &&
                  generate(&m, &prompt, &decoder, &g, json, &error);
        status = ok ? 0 : cli_fail(command, &error);
        cli_model_close(&m);
    }
    tl_ids_free(&prompt);
    tl_ids_free(&decoder);
    return status;
}

const cli_command cmd_generate = {
    .name = "generate",
    .summary = "continue a text, greedily or by drawing",
    .usage = "-m MODEL (-p TEXT | --ids N,N,…) [options]",
    .examples = "  tinyllm generate -m HuggingFaceTB/SmolLM-135M -p \"Once upon a time\" -n 100\n"
                "  tinyllm generate -m google/flan-t5-base -p \"Translate to German: hello\" "
                "--json\n",
    .run = run,
};
