/* tinyllm inspect: what a checkpoint is, and what it will need, before anything is loaded. */
#include "checkpoint/checkpoint.h"
#include "cli/model_options.h"
#include "hub/hub.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const double mib = 1024.0 * 1024.0;

/* The dtypes a model can run in, and what it then takes. */
static const tl_dtype dtypes[] = {TL_F32, TL_F16, TL_BF16, TL_Q8, TL_Q4};

typedef struct inspection {
    const char *directory;
    tl_model_spec spec;
    tl_checkpoint *checkpoint; /* NULL when there are no weights */
    int64_t parameters;
    int32_t length;
    bool tensors;
} inspection;

static size_t weight_bytes(const inspection *in, tl_dtype dtype) {
    tl_memory memory;
    tl_engine_predict_memory(&in->spec, dtype, 0, in->length, &memory);
    return memory.weights_mapped + memory.weights_owned;
}

static size_t need_bytes(const inspection *in, tl_dtype dtype) {
    tl_memory memory;
    tl_engine_predict_memory(&in->spec, dtype, 0, in->length, &memory);
    return memory.weights_mapped + memory.weights_owned + memory.kv + memory.activations +
           memory.scratch;
}

/* What most elements of the tensors are stored in. */
static tl_dtype stored_dtype(const inspection *in) {
    size_t bytes[TL_DTYPE_COUNT] = {0};
    tl_dtype most = in->spec.stored, packed;
    const char *own =
        in->checkpoint ? tl_checkpoint_metadata(in->checkpoint, "tinyllm.dtype") : NULL;
    if (own && tl_dtype_parse(own, &packed, NULL)) return packed;
    for (size_t i = 0; in->checkpoint && i < tl_checkpoint_count(in->checkpoint); i++) {
        const tl_tensor *tensor = tl_checkpoint_at(in->checkpoint, i);
        if (tensor->rank == 2) bytes[tensor->dtype] += tensor->bytes;
    }
    for (int i = 0; i <= TL_BF16; i++)
        if (bytes[i] > bytes[most]) most = (tl_dtype)i;
    return most;
}

static const char *position_name(const tl_model_spec *s) {
    static const char *const names[] = {"none", "learned", "rotary", "alibi", "relative"};
    return names[s->position];
}

static size_t memory_here(void) {
    long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
    return pages > 0 && page > 0 ? (size_t)pages * (size_t)page : 0;
}

static void print_text(const inspection *in) {
    const tl_model_spec *s = &in->spec;
    printf("%s\n\n", in->directory);
    printf("family        %s%s\n", s->family, s->encoder ? " (encoder-decoder)" : "");
    printf("parameters    %lld\n", (long long)in->parameters);
    printf("model size    %.2f MB (f32, as the study counts)\n", (double)in->parameters * 4 / mib);
    if (s->encoder)
        printf("layers        %d encoder, %d decoder\n", s->layers, s->decoder_layers);
    else
        printf("layers        %d\n", s->layers);
    printf("width         %d", s->dim);
    if (s->embed_dim != s->dim) printf(" (embedding %d)", s->embed_dim);
    printf(", feed-forward %d%s\n", s->ffn_dim, s->gated ? " gated" : "");
    printf("heads         %d of %d", s->heads, s->head_dim);
    if (s->kv_heads != s->heads) printf(", %d for keys and values", s->kv_heads);
    printf("\nvocabulary    %d%s\n", s->vocab, s->tied_head ? " (head tied to the embedding)" : "");
    printf("positions     %s", position_name(s));
    if (s->max_length) printf(", up to %d", s->max_length);
    printf("\nstored        %s\n", tl_dtype_get(stored_dtype(in))->name);
    printf("\n%-8s %12s %12s   at %d tokens\n", "dtype", "weights MB", "needs MB", in->length);
    for (size_t i = 0; i < sizeof dtypes / sizeof *dtypes; i++) {
        size_t need = need_bytes(in, dtypes[i]);
        printf("%-8s %12.1f %12.1f%s\n", tl_dtype_get(dtypes[i])->name,
               (double)weight_bytes(in, dtypes[i]) / mib, (double)need / mib,
               memory_here() && need > memory_here() ? "   more than this device has" : "");
    }
    if (!in->checkpoint) puts("\nno weights beside config.json");
    if (!in->tensors || !in->checkpoint) return;
    puts("");
    for (size_t i = 0; i < tl_checkpoint_count(in->checkpoint); i++) {
        const tl_tensor *tensor = tl_checkpoint_at(in->checkpoint, i);
        printf("%-5s [", tl_dtype_get(tensor->dtype)->name);
        for (int d = 0; d < tensor->rank; d++)
            printf("%s%lld", d ? ", " : "", (long long)tensor->shape[d]);
        printf("] %s\n", tensor->name);
    }
}

static void append_tensors(tl_buffer *out, const tl_checkpoint *checkpoint) {
    tl_buffer_append_string(out, ",\"tensors\":[");
    for (size_t i = 0; i < tl_checkpoint_count(checkpoint); i++) {
        const tl_tensor *tensor = tl_checkpoint_at(checkpoint, i);
        tl_buffer_append_string(out, i ? ",{\"name\":" : "{\"name\":");
        tl_json_append_string(out, tensor->name, strlen(tensor->name));
        tl_buffer_append_format(out, ",\"dtype\":\"%s\",\"shape\":[",
                                tl_dtype_get(tensor->dtype)->name);
        for (int d = 0; d < tensor->rank; d++)
            tl_buffer_append_format(out, "%s%lld", d ? "," : "", (long long)tensor->shape[d]);
        tl_buffer_append_format(out, "],\"bytes\":%zu}", tensor->bytes);
    }
    tl_buffer_append_string(out, "]");
}

static void print_json(const inspection *in) {
    const tl_model_spec *s = &in->spec;
    tl_buffer out = {0};
    tl_buffer_append_string(&out, "{\"directory\":");
    tl_json_append_string(&out, in->directory, strlen(in->directory));
    tl_buffer_append_format(
        &out, ",\"family\":\"%s\",\"encoder_decoder\":%s,\"parameters\":%lld,\"model_size_mb\":",
        s->family, s->encoder ? "true" : "false", (long long)in->parameters);
    tl_json_append_double(&out, (double)in->parameters * 4 / mib);
    tl_buffer_append_format(
        &out,
        ",\"layers\":%d,\"decoder_layers\":%d,\"dim\":%d,\"embed_dim\":%d,\"ffn_dim\":%d,"
        "\"heads\":%d,\"kv_heads\":%d,\"head_dim\":%d,\"vocab\":%d,\"max_length\":%d,"
        "\"position\":\"%s\",\"tied_head\":%s,\"stored\":\"%s\",\"length\":%d,\"dtypes\":{",
        s->layers, s->decoder_layers, s->dim, s->embed_dim, s->ffn_dim, s->heads, s->kv_heads,
        s->head_dim, s->vocab, s->max_length, position_name(s), s->tied_head ? "true" : "false",
        tl_dtype_get(stored_dtype(in))->name, in->length);
    for (size_t i = 0; i < sizeof dtypes / sizeof *dtypes; i++)
        tl_buffer_append_format(&out, "%s\"%s\":{\"weight_bytes\":%zu,\"need_bytes\":%zu}",
                                i ? "," : "", tl_dtype_get(dtypes[i])->name,
                                weight_bytes(in, dtypes[i]), need_bytes(in, dtypes[i]));
    tl_buffer_append_format(&out, "},\"device_memory_bytes\":%zu", memory_here());
    if (in->checkpoint) append_tensors(&out, in->checkpoint);
    tl_buffer_append_string(&out, "}");
    puts(tl_buffer_string(&out));
    tl_buffer_free(&out);
}

static int run(const cli_command *command, int argc, char **argv) {
    const char *model = NULL;
    int64_t length = 512;
    bool json = false;
    inspection in = {0};
    const cli_option table[] = {
        {"model", 'm', CLI_STRING, &model, "MODEL", "the same as the operand"},
        {"length", 0, CLI_INT, &length, "N", "tokens of the longest sequence (default 512)", 1,
         1 << 24},
        {"tensors", 0, CLI_FLAG, &in.tensors, NULL, "list the tensors"},
        {"json", 0, CLI_FLAG, &json, NULL, "everything as JSON, tensors included"},
        {0},
    };
    char directory[4096];
    int operands, status;
    tl_error error = {0};
    if (!cli_parse(command, table, argc, argv, &operands, &status)) return status;
    if (!(model = cli_model_operand(command, model, operands, argv))) return 2;
    if (!tl_hub_model_directory(model, directory, sizeof directory, &error) ||
        !tl_model_read_spec(directory, &in.spec, &error))
        return cli_fail(command, &error);
    in.directory = directory;
    in.length = (int32_t)length;
    in.parameters = tl_model_count_parameters(&in.spec);
    in.checkpoint = tl_checkpoint_open(directory, &error);
    if (in.checkpoint) in.spec.stored = stored_dtype(&in);
    if (json)
        print_json(&in);
    else
        print_text(&in);
    if (!in.checkpoint) fprintf(stderr, "tinyllm inspect: %s\n", error.message);
    status = in.checkpoint ? 0 : 1;
    tl_checkpoint_free(in.checkpoint);
    return status;
}

const cli_command cmd_inspect = {
    .name = "inspect",
    .summary = "a checkpoint's shape, size at each dtype, and the memory it will need",
    .usage = "MODEL [options]",
    .examples = "  tinyllm inspect HuggingFaceTB/SmolLM-135M\n"
                "  tinyllm inspect ./checkpoint --tensors\n"
                "  tinyllm inspect ./checkpoint --json\n",
    .run = run,
};
