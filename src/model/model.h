/* model: config.json + tensors → one model_spec and its weights. A family is a table (families/).
 *
 * The forward pass (engine) reads nothing but this. */
#ifndef TL_MODEL_H
#define TL_MODEL_H

#include "base/base.h"
#include "checkpoint/checkpoint.h"
#include "kernels/kernels.h"

typedef enum tl_norm_kind { TL_NORM_LAYER, TL_NORM_RMS } tl_norm_kind;

typedef enum tl_position_kind {
    TL_POSITION_NONE,
    TL_POSITION_LEARNED, /* a table row per position, + position_offset */
    TL_POSITION_ROTARY,
    TL_POSITION_ALIBI,
    TL_POSITION_RELATIVE, /* T5's buckets */
} tl_position_kind;

/* Rotary scaling variants, as config.json's rope_scaling names them. */
typedef enum tl_rope_scaling {
    TL_ROPE_NONE,
    TL_ROPE_LINEAR,
    TL_ROPE_LLAMA3,
    TL_ROPE_DYNAMIC, /* none up to the config's positions; longer sequences are refused */
    TL_ROPE_YARN,
} tl_rope_scaling;

enum { TL_MOST_LAYERS = 1024, TL_MOST_STOPS = 8 };

/* Everything about an architecture that the forward pass asks. */
typedef struct tl_model_spec {
    const char *family;             /* "gpt2", "llama", … */
    int32_t vocab;                  /* rows of the head, padded ones included */
    int32_t layers, decoder_layers; /* decoder_layers only with `encoder` */
    int32_t dim;                    /* residual stream */
    int32_t embed_dim;              /* token embedding; != dim: projections in and out (OPT-350m) */
    int32_t heads, kv_heads, head_dim;
    int32_t ffn_dim;
    int32_t positions;  /* longest sequence the positions allow; INT32_MAX where unlimited */
    int32_t max_length; /* what lm-evaluation-harness resolves, tokenizer aside; 0 when the config
                           is silent */

    tl_norm_kind norm;
    float norm_eps;
    bool norm_after;    /* post-norm blocks (OPT-350m) */
    bool norm_replaces; /* x + f(x) with x ← norm x (BLOOM's option), not x + f(norm x) */
    bool final_norm;
    bool embed_norm;        /* BLOOM */
    bool parallel_residual; /* x + attention(norm1 x) + mlp(norm2 x) */
    tl_activation activation;
    bool gated;                           /* activation(gate) ⊙ up */
    bool qkv_bias, output_bias, ffn_bias; /* which linear layers have a bias */
    bool norm_bias;                       /* layer norms with a bias */
    bool norm_plain;                      /* norms without weights (OPT's option) */
    tl_position_kind position;
    int32_t position_offset;
    double rotary_fraction; /* of each head's dims */
    int32_t rotary_dim;     /* rotated dims of each head, from rotary_fraction; even, may be 0 */
    int32_t rotary_period;  /* frequencies are theta^(-2i / rotary_period): rotary_dim, or one less
                               where the fraction gives an odd number */
    double rope_theta;
    tl_rope_scaling rope_scaling;
    double rope_factor, rope_low_factor, rope_high_factor;
    int32_t rope_original_positions;
    double rope_attention_factor;          /* of cosines and sines (yarn); 0 for 1 */
    double rope_beta_fast, rope_beta_slow; /* yarn: turns at its ramp's ends */
    double rope_mscale, rope_mscale_all;   /* yarn: of the attention factor where it is not given */
    bool rope_exact_range;                 /* yarn: the ramp's ends are not rounded outwards */
    bool rope_int8; /* PhoneLM: tables fake-quantised over each call's positions */
    int32_t relative_buckets, relative_max_distance;
    int32_t window;                              /* sliding window; 0 for none */
    uint64_t window_layers[TL_MOST_LAYERS / 64]; /* bit by bit: the layers that have it */
    float attention_scale;
    bool scale_by_layer; /* attention_scale / (layer + 1) (GPT-2's option) */
    float embed_scale;   /* 1 */
    float head_scale;    /* T5 tied: d_model^-1/2; else 1 */
    bool tied_head;
    bool encoder;                          /* encoder-decoder */
    int32_t decoder_start;                 /* encoder-decoder: the decoder's first token */
    int32_t bos, eos;                      /* of config.json; -1 where absent */
    int32_t stops[TL_MOST_STOPS], n_stops; /* ids that end a generated text */
    tl_dtype stored; /* dtype of most weights in the files; of config.json before loading */
} tl_model_spec;

typedef struct tl_norm_weights {
    const float *weight, *bias; /* bias NULL where there is none */
} tl_norm_weights;

typedef struct tl_linear_weights {
    tl_matrix weight;  /* weight.data NULL: the layer is absent */
    const float *bias; /* NULL where there is none */
} tl_linear_weights;

typedef struct tl_attention_weights {
    tl_norm_weights norm;
    tl_linear_weights q, k, v, o; /* fused qkv files are split here into views or rearranged */
} tl_attention_weights;

typedef struct tl_layer_weights {
    tl_attention_weights self, cross; /* cross: decoder layers of encoder-decoders only */
    tl_norm_weights ffn_norm;
    tl_linear_weights gate, up, down; /* gate absent unless spec.gated */
} tl_layer_weights;

typedef struct tl_stack_weights {
    tl_layer_weights *layers; /* [n_layers] */
    int32_t n_layers;
    tl_norm_weights final_norm;
    const float *relative_bias; /* [buckets, heads] or NULL */
} tl_stack_weights;

typedef struct tl_model {
    tl_model_spec spec;
    tl_matrix embedding;          /* [vocab, embed_dim] */
    tl_matrix position_embedding; /* [positions + offset, dim] or absent */
    tl_norm_weights embed_norm;
    tl_linear_weights project_in, project_out;
    tl_stack_weights decoder; /* the only stack of a causal model */
    tl_stack_weights encoder;
    tl_linear_weights head; /* [vocab, embed_dim]; the embedding where tied */

    tl_checkpoint *checkpoint; /* owned: tensors are views into its mappings */
    tl_arena *arena;           /* owned: norms, biases and the layers' tables */
    struct tl_block *blocks;   /* owned: matrices that had to be converted */
    int64_t parameters;        /* tied ones counted once */
    size_t mapped_bytes;       /* weights used as views of the files */
    size_t owned_bytes; /* weights converted, transposed or quantised into memory of our own */
} tl_model;

typedef struct tl_model_options {
    bool convert; /* convert the matrices to `dtype`; otherwise as stored */
    tl_dtype dtype;
} tl_model_options;

/* Memory that holds converted matrices. */
typedef struct tl_block {
    struct tl_block *next;
    void *data;
    size_t bytes;
} tl_block;

/* Loads a checkpoint directory. `compute` serves conversions only and may be freed afterwards. */
tl_model *tl_model_load(const char *directory, const tl_model_options *options, tl_compute *compute,
                        tl_error *error);
void tl_model_unload(tl_model *model);

/* Reads config.json alone: the spec without weights, for `inspect` and size predictions. */
bool tl_model_read_spec(const char *directory, tl_model_spec *spec, tl_error *error);

/* Writes the model's weights as `directory`/model.safetensors in the project's own layout: matrices
 * as the kernels read them, packed ones as u8 described in the metadata, everything aligned, so
 * that loading maps them. tl_model_load recognises it. `dtype` is what it was converted to. */
bool tl_model_save(const tl_model *model, tl_dtype dtype, const char *directory, tl_error *error);

/* Writes the tensors of a checkpoint as `directory`/model.safetensors under their own names, with
 * f32, f16 and bf16 ones converted to `dtype` (one of these): any other program reads it too. */
bool tl_model_save_converted(const tl_checkpoint *checkpoint, tl_dtype dtype, const char *directory,
                             tl_error *error);

/* Parameters that a spec implies (tied ones once), without any weights: the study's Model size (MB)
 * is this × bytes per element / 1024². */
int64_t tl_model_count_parameters(const tl_model_spec *spec);

#endif
