#include "model/families/llama_names.h"

const tl_weight_name tl_llama_names[] = {
    {TL_ROLE_EMBEDDING, "embed_tokens"},
    {TL_ROLE_ATTENTION_NORM, "layers.#.input_layernorm"},
    {TL_ROLE_Q, "layers.#.self_attn.q_proj"},
    {TL_ROLE_K, "layers.#.self_attn.k_proj"},
    {TL_ROLE_V, "layers.#.self_attn.v_proj"},
    {TL_ROLE_O, "layers.#.self_attn.o_proj"},
    {TL_ROLE_FFN_NORM, "layers.#.post_attention_layernorm"},
    {TL_ROLE_GATE, "layers.#.mlp.gate_proj"},
    {TL_ROLE_UP, "layers.#.mlp.up_proj"},
    {TL_ROLE_DOWN, "layers.#.mlp.down_proj"},
    {TL_ROLE_FINAL_NORM, "norm"},
    {TL_ROLE_HEAD, "lm_head"},
    {.name = NULL},
};
