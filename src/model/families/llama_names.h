/* What llama, qwen2 and phonelm share: the keys of config.json and the names of tensors. */
#ifndef TL_LLAMA_NAMES_H
#define TL_LLAMA_NAMES_H

#include "model/family.h"

/* clang-format off */
#define TL_LLAMA_KEYS                                                                              \
    TL_NEED(SIZE, dim, "hidden_size"),                                                             \
    TL_NEED(SIZE, layers, "num_hidden_layers"),                                                    \
    TL_NEED(SIZE, heads, "num_attention_heads"),                                                   \
    TL_NEED(SIZE, ffn_dim, "intermediate_size"),                                                   \
    TL_KEY(SIZE, kv_heads, "num_key_value_heads"),                                                 \
    TL_KEY(SIZE, head_dim, "head_dim"),                                                            \
    TL_KEY(SIZE, max_length, "max_position_embeddings"),                                           \
    TL_KEY(FLOAT, norm_eps, "rms_norm_eps"),                                                       \
    TL_KEY(ACTIVATION, activation, "hidden_act")
/* clang-format on */

extern const tl_weight_name tl_llama_names[];

#endif
