/* model: config.json → spec, weights → places; what contradicts itself is refused by name. */
#include "model/family.h"
#include "support/fixture.h"
#include "support/support.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool parse(const char *text, tl_model_spec *spec, tl_error *error) {
    cJSON *config = tl_json_parse(text, strlen(text), "config.json", error);
    assert_ok(config != NULL, *error);
    bool ok = tl_model_parse_spec(config, spec, "config.json", error);
    cJSON_Delete(config);
    return ok;
}

static tl_model_spec spec_of(const char *text) {
    tl_model_spec spec;
    tl_error error = {0};
    assert_ok(parse(text, &spec, &error), error);
    return spec;
}

static void refused(const char *text, const char *part) {
    tl_model_spec spec;
    tl_error error = {0};
    if (parse(text, &spec, &error)) fail_msg("accepted: %s", text);
    test_assert_contains(error.message, part);
}

#define LLAMA                                                                                      \
    "{\"model_type\":\"llama\",\"vocab_size\":100,\"hidden_size\":48,\"num_hidden_layers\":2,"     \
    "\"num_attention_heads\":6,\"intermediate_size\":64"

static void test_llama_defaults(void **state) {
    (void)state;
    tl_model_spec s = spec_of(LLAMA "}");
    assert_int_equal(s.kv_heads, 6);
    assert_int_equal(s.head_dim, 8);
    assert_int_equal(s.rotary_dim, 8);
    assert_true(s.rope_theta == 10000);
    assert_false(s.tied_head);
    assert_false(s.qkv_bias);
    assert_int_equal(s.max_length, 2048);
    assert_int_equal(s.positions, INT32_MAX);
    s = spec_of(LLAMA ",\"num_key_value_heads\":2,\"head_dim\":16,\"tie_word_embeddings\":true,"
                      "\"attention_bias\":true,\"mlp_bias\":true,\"eos_token_id\":[7,8]}");
    assert_int_equal(s.kv_heads, 2);
    assert_int_equal(s.head_dim, 16);
    assert_true(s.tied_head && s.qkv_bias && s.output_bias && s.ffn_bias);
    assert_int_equal(s.eos, 7);
    assert_int_equal(s.n_stops, 2);
    assert_int_equal(s.stops[1], 8);
    assert_int_equal(s.bos, -1);
}

static void test_what_ends_a_text(void **state) {
    (void)state;
    const char *directory = test_scratch();
    const char *generation = test_scratch_path("generation_config.json");
    test_write_text(test_scratch_path("config.json"), LLAMA ",\"eos_token_id\":[7,8]}");
    test_write_text(generation, "{\"eos_token_id\":9,\"top_k\":20}");
    tl_model_spec s;
    tl_error error = {0};
    assert_ok(tl_model_read_spec(directory, &s, &error), error);
    assert_int_equal(s.eos, 7);
    assert_int_equal(s.n_stops, 1);
    assert_int_equal(s.stops[0], 9);
    test_write_text(generation, "{}");
    assert_ok(tl_model_read_spec(directory, &s, &error), error);
    assert_int_equal(s.n_stops, 2);
    test_write_text(generation, "[]");
    assert_false(tl_model_read_spec(directory, &s, &error));
    test_assert_contains(error.message, "generation_config.json: expected a JSON object");
}

static void test_rope_of_both_transformers(void **state) {
    (void)state;
    tl_model_spec s = spec_of(LLAMA ",\"rope_theta\":5e5,\"rope_scaling\":{\"type\":\"linear\","
                                    "\"factor\":4}}");
    assert_int_equal(s.rope_scaling, TL_ROPE_LINEAR);
    assert_true(s.rope_factor == 4 && s.rope_theta == 5e5);
    s = spec_of(LLAMA ",\"dtype\":\"bfloat16\",\"rope_parameters\":{\"rope_theta\":1e6,"
                      "\"rope_type\":\"llama3\",\"factor\":8,\"low_freq_factor\":1,"
                      "\"high_freq_factor\":4,\"original_max_position_embeddings\":8192}}");
    assert_int_equal(s.rope_scaling, TL_ROPE_LLAMA3);
    assert_true(s.rope_theta == 1e6 && s.rope_original_positions == 8192);
    assert_int_equal(s.stored, TL_BF16);
    s = spec_of(LLAMA ",\"rope_scaling\":{\"type\":\"yarn\",\"factor\":4}}");
    assert_int_equal(s.rope_scaling, TL_ROPE_YARN);
    assert_true(s.rope_original_positions == s.max_length && s.rope_beta_fast == 32);
    assert_true(fabs(s.rope_attention_factor - (0.1 * log(4) + 1)) < 1e-12);
    s = spec_of(LLAMA ",\"max_position_embeddings\":64,\"rope_scaling\":{\"type\":\"dynamic\","
                      "\"factor\":4}}");
    assert_int_equal(s.positions, 64); /* as long as that it is no scaling at all */
    s = spec_of(LLAMA ",\"partial_rotary_factor\":0.5}");
    assert_int_equal(s.rotary_dim, s.head_dim); /* Llama's modeling file does not read it */
    refused(LLAMA ",\"rope_scaling\":{\"type\":\"longrope\",\"factor\":4}}", "longrope");
    refused(LLAMA ",\"rope_scaling\":{\"type\":\"linear\"}}", "factor");
    refused(LLAMA ",\"rope_theta\":0}", "rope_theta");
}

static void test_qwen_window_needs_its_switch(void **state) {
    (void)state;
    static const char qwen[] =
        "{\"model_type\":\"qwen2\",\"vocab_size\":100,\"hidden_size\":48,\"num_hidden_layers\":4,"
        "\"num_attention_heads\":6,\"intermediate_size\":64,\"sliding_window\":16,"
        "\"max_window_layers\":2,\"use_sliding_window\":%s}";
    char text[512];
    snprintf(text, sizeof text, qwen, "false");
    assert_int_equal(spec_of(text).window, 0);
    snprintf(text, sizeof text, qwen, "true");
    tl_model_spec s = spec_of(text);
    assert_int_equal(s.window, 16);
    assert_int_equal(s.window_layers[0], 0xc);
    assert_true(s.qkv_bias && !s.output_bias);
    snprintf(text, sizeof text, qwen,
             "true,\"layer_types\":[\"full_attention\",\"sliding_attention\","
             "\"full_attention\",\"sliding_attention\"]");
    assert_int_equal(spec_of(text).window_layers[0], 0xa);
    snprintf(text, sizeof text, qwen, "true,\"layer_types\":[\"full_attention\"]");
    refused(text, "layer_types");
    snprintf(text, sizeof text, qwen, "true,\"layer_types\":[1,2,3,\"linear_attention\"]");
    refused(text, "layer_types");
}

static void test_other_families(void **state) {
    (void)state;
    tl_model_spec s = spec_of("{\"model_type\":\"gpt2\",\"vocab_size\":9,\"n_embd\":12,"
                              "\"n_layer\":1,\"n_head\":3,\"n_inner\":null,"
                              "\"activation_function\":\"gelu\",\"n_positions\":32}");
    assert_int_equal(s.ffn_dim, 48);
    assert_int_equal(s.activation, TL_ACTIVATION_GELU);
    assert_int_equal(s.positions, 32);
    s = spec_of("{\"model_type\":\"gpt_neox\",\"vocab_size\":9,\"hidden_size\":64,"
                "\"num_hidden_layers\":1,\"num_attention_heads\":4,\"intermediate_size\":8,"
                "\"rotary_pct\":0.25}");
    assert_int_equal(s.rotary_dim, 4);
    assert_true(s.parallel_residual);
    s = spec_of("{\"model_type\":\"gpt_neox\",\"vocab_size\":9,\"hidden_size\":64,"
                "\"num_hidden_layers\":1,\"num_attention_heads\":4,\"intermediate_size\":8,"
                "\"rotary_pct\":0.33}"); /* 5 dims: as many frequencies as for 6 */
    assert_true(s.rotary_dim == 6 && s.rotary_period == 5);
    s = spec_of("{\"model_type\":\"bloom\",\"vocab_size\":9,\"n_embed\":60,\"n_layer\":1,"
                "\"num_attention_heads\":5}");
    assert_int_equal(s.head_dim, 12);
    assert_int_equal(s.max_length, 0);
    assert_true(s.embed_norm && s.tied_head);
    s = spec_of("{\"model_type\":\"opt\",\"vocab_size\":9,\"hidden_size\":16,"
                "\"num_hidden_layers\":1,\"num_attention_heads\":2,\"ffn_dim\":32,"
                "\"do_layer_norm_before\":false,\"word_embed_proj_dim\":8,\"enable_bias\":false}");
    assert_true(s.norm_after && !s.final_norm && !s.qkv_bias && s.norm_bias);
    assert_int_equal(s.embed_dim, 8);
    s = spec_of("{\"model_type\":\"t5\",\"vocab_size\":9,\"d_model\":16,\"num_layers\":2,"
                "\"num_heads\":3,\"d_kv\":4,\"d_ff\":32,\"feed_forward_proj\":\"gated-gelu\","
                "\"num_decoder_layers\":3}");
    assert_true(s.gated && s.encoder && s.tied_head);
    assert_int_equal(s.activation, TL_ACTIVATION_GELU_TANH);
    assert_int_equal(s.decoder_layers, 3);
    assert_true(s.head_scale == 0.25f);
}

static void test_refuses_what_it_cannot_compute(void **state) {
    (void)state;
    refused("[]", "object");
    refused("{}", "model_type");
    refused("{\"model_type\":\"mamba\"}", "gpt_neox");
    refused("{\"model_type\":\"llama\",\"vocab_size\":9}", "hidden_size");
    refused(LLAMA ",\"num_key_value_heads\":4}", "key-value");
    refused(LLAMA ",\"hidden_act\":\"mish\"}", "'hidden_act': activation 'mish'");
    refused(LLAMA ",\"head_dim\":7}", "rotated");
    refused(LLAMA ",\"num_key_value_heads\":-1}", "num_key_value_heads");
    refused("{\"model_type\":\"gpt2\",\"vocab_size\":9,\"n_embd\":16,\"n_layer\":1,\"n_head\":3}",
            "multiple");
    refused("{\"model_type\":\"gpt2\",\"vocab_size\":9,\"n_embd\":16,\"n_layer\":1000000,"
            "\"n_head\":2}",
            "layers");
}

/* ---- loading --------------------------------------------------------------------------------- */

static tl_model *load(const char *directory, tl_error *error) {
    tl_pool *pool = tl_pool_new(1, error);
    tl_compute *compute = tl_compute_new(pool, TL_EXACT, error);
    assert_ok(compute != NULL, *error);
    tl_model *model = tl_model_load(directory, NULL, compute, error);
    tl_compute_free(compute);
    tl_pool_free(pool);
    return model;
}

/* Replaces `from` by `to` in the fixture's config.json. */
static void edit_config(const char *directory, const char *from, const char *to) {
    tl_error error = {0};
    char *path = tl_path_join(directory, "config.json");
    char *text = tl_file_read(path, 1 << 20, NULL, &error);
    assert_ok(text != NULL, error);
    char *at = strstr(text, from);
    if (!at) fail_msg("%s is not in %s", from, text);
    tl_buffer edited = {0};
    tl_buffer_append(&edited, text, (size_t)(at - text));
    tl_buffer_append_string(&edited, to);
    tl_buffer_append_string(&edited, at + strlen(from));
    test_write_text(path, tl_buffer_string(&edited));
    tl_buffer_free(&edited);
    free(text);
    free(path);
}

static void test_config_that_contradicts_tensors(void **state) {
    (void)state;
    static const struct {
        const char *from, *to, *part;
    } edits[] = {
        {"\"num_hidden_layers\":2", "\"num_hidden_layers\":3", "layers.2.input_layernorm.weight"},
        {"\"vocab_size\":264", "\"vocab_size\":300", "[300, 32]"},
        {"\"model_type\":\"llama\"", "\"model_type\":\"gpt2\"", "wte.weight"},
        {"\"model_type\":\"llama\"", "\"model_type\":\"qwen2\"", "q_proj.bias"},
    };
    for (size_t i = 0; i < sizeof edits / sizeof *edits; i++) {
        const char *directory = test_scratch_path("contradicts-%zu", i);
        fixture_checkpoint(directory, &fixture_small);
        edit_config(directory, edits[i].from, edits[i].to);
        tl_error error = {0};
        assert_null(load(directory, &error));
        test_assert_contains(error.message, edits[i].part);
    }
}

static void test_counts_what_it_loads(void **state) {
    (void)state;
    static const char *const families[] = {"llama", "gpt2"};
    for (int i = 0; i < 2; i++) {
        fixture_model made = fixture_small;
        made.family = families[i];
        const char *directory = test_scratch_path("counted-%d", i);
        fixture_checkpoint(directory, &made);
        tl_error error = {0};
        tl_model *model = load(directory, &error);
        assert_ok(model != NULL, error);
        int64_t elements = 0;
        for (size_t t = 0; t < tl_checkpoint_count(model->checkpoint); t++)
            elements += (int64_t)(tl_checkpoint_at(model->checkpoint, t)->bytes / sizeof(float));
        assert_int_equal(model->parameters, elements);
        assert_int_equal(tl_model_count_parameters(&model->spec), elements);
        assert_int_equal(model->spec.stored, TL_F32);
        assert_true(model->mapped_bytes > 0);
        tl_model_unload(model);
    }
}

/* ---- saving ---------------------------------------------------------------------------------- */

static void test_packed_checkpoint_maps_back(void **state) {
    (void)state;
    static const tl_dtype dtypes[] = {TL_Q8, TL_Q4};
    const char *directory = test_scratch_path("packed-from");
    fixture_model made = fixture_small;
    made.family = "gpt2";
    fixture_checkpoint(directory, &made);
    tl_error error = {0};
    tl_pool *pool = tl_pool_new(1, &error);
    tl_compute *compute = tl_compute_new(pool, TL_EXACT, &error);
    for (int i = 0; i < 2; i++) {
        tl_model_options options = {.convert = true, .dtype = dtypes[i]};
        tl_model *model = tl_model_load(directory, &options, compute, &error);
        assert_ok(model != NULL, error);
        const char *output = test_scratch_path("packed-%d", i);
        fixture_checkpoint(output, &made);
        assert_ok(tl_model_save(model, dtypes[i], output, &error), error);
        tl_model *again = tl_model_load(output, NULL, compute, &error);
        assert_ok(again != NULL, error);
        assert_int_equal(again->spec.stored, dtypes[i]);
        const tl_matrix *a = &model->decoder.layers[1].self.k.weight;
        const tl_matrix *b = &again->decoder.layers[1].self.k.weight;
        assert_int_equal(b->dtype, dtypes[i]);
        assert_int_equal(a->bytes, b->bytes);
        assert_memory_equal(a->data, b->data, a->bytes);
        assert_int_equal((uintptr_t)b->data % 64, 0);
        assert_int_equal(again->embedding.dtype, TL_Q8);
        assert_int_equal(again->position_embedding.dtype, TL_F32);
        tl_model_unload(again);
        options.dtype = TL_BF16;
        assert_null(tl_model_load(output, &options, compute, &error));
        test_assert_contains(error.message, "packed");
        tl_model_unload(model);
    }
    tl_compute_free(compute);
    tl_pool_free(pool);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_llama_defaults),
        cmocka_unit_test(test_what_ends_a_text),
        cmocka_unit_test(test_rope_of_both_transformers),
        cmocka_unit_test(test_qwen_window_needs_its_switch),
        cmocka_unit_test(test_other_families),
        cmocka_unit_test(test_refuses_what_it_cannot_compute),
        cmocka_unit_test(test_config_that_contradicts_tensors),
        cmocka_unit_test(test_counts_what_it_loads),
        cmocka_unit_test(test_packed_checkpoint_maps_back),
    };
    return cmocka_run_group_tests_name("model", tests, NULL, NULL);
}
