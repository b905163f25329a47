#include "support/fixture.h"

#include "support/support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const fixture_model fixture_small = {"llama", 32, 2, 4, 64, 512, 1};

/* ---- tokenizer ---- */

/* GPT-2's printable stand-in for a byte: itself where it is printable, else 256 and up in order. */
static int stand_in(int byte) {
    int next = 256;
    for (int b = 0; b < 256; b++) {
        bool printable = (b >= '!' && b <= '~') || (b >= 0xa1 && b <= 0xac) || b >= 0xae;
        int code = printable ? b : next++;
        if (b == byte) return code;
    }
    return -1;
}

static void append_stand_in(tl_buffer *out, int byte) {
    int code = stand_in(byte);
    if (code < 0x80) {
        if (code == '"' || code == '\\') tl_buffer_append_byte(out, '\\');
        tl_buffer_append_byte(out, (char)code);
    } else {
        tl_buffer_append_format(out, "%c%c", 0xc0 | code >> 6, 0x80 | (code & 0x3f));
    }
}

static const char *const merges[] = {" A", " B", " C", " D", " t", "he", "in"};
enum { MERGES = sizeof merges / sizeof *merges };
_Static_assert(256 + MERGES + 1 == FIXTURE_VOCABULARY, "the vocabulary's size");

void fixture_tokenizer(const char *directory) {
    tl_buffer text = {0};
    tl_buffer_append_string(
        &text,
        "{\"version\":\"1.0\",\"truncation\":null,\"padding\":null,\"added_tokens\":[{\"id\":"
        "263,\"content\":\"<|endoftext|>\",\"single_word\":false,\"lstrip\":false,"
        "\"rstrip\":false,\"normalized\":false,\"special\":true}],\"normalizer\":null,"
        "\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":false,"
        "\"trim_offsets\":true,\"use_regex\":true},\"post_processor\":null,\"decoder\":{"
        "\"type\":\"ByteLevel\",\"add_prefix_space\":true,\"trim_offsets\":true,"
        "\"use_regex\":true},\"model\":{\"type\":\"BPE\",\"dropout\":null,\"unk_token\":"
        "null,\"continuing_subword_prefix\":null,\"end_of_word_suffix\":null,"
        "\"fuse_unk\":false,\"byte_fallback\":false,\"vocab\":{");
    for (int byte = 0; byte < 256; byte++) {
        tl_buffer_append_string(&text, byte ? ",\"" : "\"");
        append_stand_in(&text, byte);
        tl_buffer_append_format(&text, "\":%d", byte);
    }
    for (int i = 0; i < MERGES; i++) {
        tl_buffer_append_string(&text, ",\"");
        append_stand_in(&text, merges[i][0]);
        append_stand_in(&text, merges[i][1]);
        tl_buffer_append_format(&text, "\":%d", 256 + i);
    }
    tl_buffer_append_string(&text, ",\"<|endoftext|>\":263},\"merges\":[");
    for (int i = 0; i < MERGES; i++) {
        tl_buffer_append_string(&text, i ? ",\"" : "\"");
        append_stand_in(&text, merges[i][0]);
        tl_buffer_append_byte(&text, ' ');
        append_stand_in(&text, merges[i][1]);
        tl_buffer_append_byte(&text, '"');
    }
    tl_buffer_append_string(&text, "]}}\n");
    char *path = tl_path_join(directory, "tokenizer.json");
    test_write_file(path, text.data, text.length);
    free(path);
    path = tl_path_join(directory, "tokenizer_config.json");
    test_write_text(path, "{\"tokenizer_class\":\"PreTrainedTokenizerFast\","
                          "\"eos_token\":\"<|endoftext|>\",\"model_max_length\":512}\n");
    free(path);
    tl_buffer_free(&text);
}

/* ---- weights ---- */

typedef struct writer {
    tl_buffer header, data;
    uint32_t random;
} writer;

/* Uniform in [-1, 1). (G. Marsaglia, Xorshift RNGs, 2003.) */
static float next_random(writer *w) {
    w->random ^= w->random << 13;
    w->random ^= w->random >> 17;
    w->random ^= w->random << 5;
    return (float)(int32_t)w->random / 2147483648.0f;
}

/* A tensor [rows, columns], or [rows] when columns is 0, around `centre`. */
static void add_tensor(writer *w, const char *name, int rows, int columns, float centre,
                       float spread) {
    size_t from = w->data.length, count = (size_t)rows * (size_t)(columns ? columns : 1);
    for (size_t i = 0; i < count; i++) {
        float value = centre + spread * next_random(w);
        tl_buffer_append(&w->data, &value, sizeof value);
    }
    tl_buffer_append_format(&w->header, "%s\"%s\":{\"dtype\":\"F32\",\"shape\":[%d",
                            w->header.length > 1 ? "," : "", name, rows);
    if (columns) tl_buffer_append_format(&w->header, ",%d", columns);
    tl_buffer_append_format(&w->header, "],\"data_offsets\":[%zu,%zu]}", from, w->data.length);
}

static void add_layer_tensor(writer *w, const char *stack, int layer, const char *name, int rows,
                             int columns, float centre, float spread) {
    char full[96];
    snprintf(full, sizeof full, "%s.%d.%s", stack, layer, name);
    add_tensor(w, full, rows, columns, centre, spread);
}

static void add_llama(writer *w, const fixture_model *m) {
    int d = m->dim, f = m->ffn_dim;
    add_tensor(w, "model.embed_tokens.weight", FIXTURE_VOCABULARY, d, 0, 0.5f);
    for (int i = 0; i < m->layers; i++) {
        add_layer_tensor(w, "model.layers", i, "input_layernorm.weight", d, 0, 1, 0.2f);
        add_layer_tensor(w, "model.layers", i, "self_attn.q_proj.weight", d, d, 0, 0.3f);
        add_layer_tensor(w, "model.layers", i, "self_attn.k_proj.weight", d / 2, d, 0, 0.3f);
        add_layer_tensor(w, "model.layers", i, "self_attn.v_proj.weight", d / 2, d, 0, 0.3f);
        add_layer_tensor(w, "model.layers", i, "self_attn.o_proj.weight", d, d, 0, 0.3f);
        add_layer_tensor(w, "model.layers", i, "post_attention_layernorm.weight", d, 0, 1, 0.2f);
        add_layer_tensor(w, "model.layers", i, "mlp.gate_proj.weight", f, d, 0, 0.3f);
        add_layer_tensor(w, "model.layers", i, "mlp.up_proj.weight", f, d, 0, 0.3f);
        add_layer_tensor(w, "model.layers", i, "mlp.down_proj.weight", d, f, 0, 0.3f);
    }
    add_tensor(w, "model.norm.weight", d, 0, 1, 0.2f);
}

static void add_gpt2(writer *w, const fixture_model *m) {
    int d = m->dim, f = m->ffn_dim;
    add_tensor(w, "wte.weight", FIXTURE_VOCABULARY, d, 0, 0.5f);
    add_tensor(w, "wpe.weight", m->positions, d, 0, 0.2f);
    for (int i = 0; i < m->layers; i++) {
        add_layer_tensor(w, "h", i, "ln_1.weight", d, 0, 1, 0.2f);
        add_layer_tensor(w, "h", i, "ln_1.bias", d, 0, 0, 0.1f);
        add_layer_tensor(w, "h", i, "attn.c_attn.weight", d, 3 * d, 0, 0.3f);
        add_layer_tensor(w, "h", i, "attn.c_attn.bias", 3 * d, 0, 0, 0.1f);
        add_layer_tensor(w, "h", i, "attn.c_proj.weight", d, d, 0, 0.3f);
        add_layer_tensor(w, "h", i, "attn.c_proj.bias", d, 0, 0, 0.1f);
        add_layer_tensor(w, "h", i, "ln_2.weight", d, 0, 1, 0.2f);
        add_layer_tensor(w, "h", i, "ln_2.bias", d, 0, 0, 0.1f);
        add_layer_tensor(w, "h", i, "mlp.c_fc.weight", d, f, 0, 0.3f);
        add_layer_tensor(w, "h", i, "mlp.c_fc.bias", f, 0, 0, 0.1f);
        add_layer_tensor(w, "h", i, "mlp.c_proj.weight", f, d, 0, 0.3f);
        add_layer_tensor(w, "h", i, "mlp.c_proj.bias", d, 0, 0, 0.1f);
    }
    add_tensor(w, "ln_f.weight", d, 0, 1, 0.2f);
    add_tensor(w, "ln_f.bias", d, 0, 0, 0.1f);
}

static void write_weights(const char *directory, const fixture_model *model, bool llama) {
    writer w = {.random = 2463534242u ^ model->seed * 2654435761u};
    tl_buffer_append_byte(&w.header, '{');
    (llama ? add_llama : add_gpt2)(&w, model);
    tl_buffer_append_byte(&w.header, '}');
    while (w.header.length % 8)
        tl_buffer_append_byte(&w.header, ' ');
    tl_buffer file = {0};
    uint64_t length = w.header.length;
    tl_buffer_append(&file, &length, sizeof length);
    tl_buffer_append(&file, w.header.data, w.header.length);
    tl_buffer_append(&file, w.data.data, w.data.length);
    char *path = tl_path_join(directory, "model.safetensors");
    test_write_file(path, file.data, file.length);
    free(path);
    tl_buffer_free(&w.header);
    tl_buffer_free(&w.data);
    tl_buffer_free(&file);
}

void fixture_checkpoint(const char *directory, const fixture_model *model) {
    bool llama = strcmp(model->family, "llama") == 0;
    char config[768];
    if (llama)
        snprintf(config, sizeof config,
                 "{\"architectures\":[\"LlamaForCausalLM\"],\"model_type\":\"llama\","
                 "\"hidden_size\":%d,\"intermediate_size\":%d,\"num_hidden_layers\":%d,"
                 "\"num_attention_heads\":%d,\"num_key_value_heads\":%d,\"vocab_size\":%d,"
                 "\"max_position_embeddings\":%d,\"rms_norm_eps\":1e-5,\"rope_theta\":10000.0,"
                 "\"hidden_act\":\"silu\",\"tie_word_embeddings\":true,\"torch_dtype\":\"float32\","
                 "\"eos_token_id\":263}\n",
                 model->dim, model->ffn_dim, model->layers, model->heads, model->heads / 2,
                 FIXTURE_VOCABULARY, model->positions);
    else
        snprintf(config, sizeof config,
                 "{\"architectures\":[\"GPT2LMHeadModel\"],\"model_type\":\"gpt2\",\"n_embd\":%d,"
                 "\"n_inner\":%d,\"n_layer\":%d,\"n_head\":%d,\"n_positions\":%d,\"vocab_size\":%d,"
                 "\"layer_norm_epsilon\":1e-5,\"activation_function\":\"gelu_new\","
                 "\"torch_dtype\":\"float32\",\"bos_token_id\":263,\"eos_token_id\":263}\n",
                 model->dim, model->ffn_dim, model->layers, model->heads, model->positions,
                 FIXTURE_VOCABULARY);
    char *path = tl_path_join(directory, "config.json");
    test_write_text(path, config);
    free(path);
    write_weights(directory, model, llama);
    fixture_tokenizer(directory);
}

/* ---- questions ---- */

void fixture_rows(const char *path, const char *task, int count) {
    static const char *const things[] = {"the river", "a lamp",  "the wind", "an apple",
                                         "the clock", "a stone", "the moon", "a ship"};
    tl_buffer text = {0};
    bool piqa = strcmp(task, "piqa") == 0;
    for (int i = 0; i < count; i++) {
        const char *a = things[i % 8], *b = things[(i / 8 + 3) % 8];
        if (piqa) {
            tl_buffer_append_format(&text,
                                    "{\"goal\":\"How do you move %s number %d?\",\"sol1\":\"Carry "
                                    "it to %s.\",\"sol2\":\"Leave it beside %s.\",\"label\":%d}\n",
                                    a, i, b, b, i * 7 % 2);
            continue;
        }
        tl_buffer_append_format(
            &text,
            "{\"id\":\"q%d\",\"question\":\"Which of these is nearest to %s, case %d?\","
            "\"choices\":{\"text\":[\"%s\",\"%s in the morning\",\"nothing\",\"%d of them\"],"
            "\"label\":[\"A\",\"B\",\"C\",\"D\"]},\"answerKey\":\"%c\"}\n",
            i, a, i, b, a, i, "ABCD"[i * 7 % 4]);
    }
    test_write_file(path, text.data, text.length);
    tl_buffer_free(&text);
}
