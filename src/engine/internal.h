/* The engine's own: passes of rows through the layers, and the memory they run in. */
#ifndef TL_ENGINE_INTERNAL_H
#define TL_ENGINE_INTERNAL_H

#include "engine/engine.h"
#include "kernels/backend.h"

/* ---- memory (region.c) ----------------------------------------------------------------------- */

/* Memory straight from the system, or of a device, grown by replacing it: the content is lost. */
typedef struct tl_region {
    void *data;
    size_t bytes;
    const tl_compute *owner; /* whose device's memory it is; NULL: the system's */
} tl_region;

bool tl_region_reserve(tl_region *region, size_t bytes, const char *what, tl_error *error);
void tl_region_free(tl_region *region);

/* Keys and values of positions that later rows see: [layers][slots][width] each. */
typedef struct tl_kv {
    tl_region region;
    float *k, *v;
    int32_t layers, slots;
    int64_t width;
} tl_kv;

bool tl_kv_reserve(tl_kv *store, int32_t layers, int32_t slots, int64_t width, tl_error *error);

/* Rows that go through the layers together. The arrays are the engine's, `capacity` long. */
typedef struct tl_pass {
    bool encoder; /* the encoder's stack: every row sees its whole segment */
    int32_t rows, capacity;
    int32_t *tokens, *positions;
    int32_t *slots;           /* where each row's key and value go in the store */
    int32_t *call_lengths;    /* rope_int8: tokens of the call that the row belongs to */
    int32_t *table_rows;      /* the row of the rotary table each row is turned by */
    int32_t *learned_rows;    /* the row of the position embedding each row adds */
    int32_t *last_table_rows; /* the last layer's, of the wanted rows */
    int32_t *count_up;        /* 0, 1, 2, … */
    tl_attention_span *spans, *cross_spans;
    tl_attention_span *last_spans, *last_cross; /* the last layer's: of the wanted rows only */
    int32_t n_spans, n_last_spans;
    int32_t *keys; /* what the spans' slots point into */
    size_t n_keys, keys_capacity;
    int32_t *wanted; /* ascending: rows whose final hidden state is read */
    int32_t n_wanted;
    bool one_layer; /* nobody outside the pass sees its keys: layers share one layer's store */
    bool narrow;    /* the last layer computes the wanted rows only */
    int32_t launched, last_launched; /* rows and wanted rows, with those a device adds */
} tl_pass;

struct tl_engine {
    const tl_model *model;
    const tl_model *weights;       /* the model, or its twin on a device */
    struct tl_twin *twin;          /* owned; NULL on the CPU */
    const tl_backend_table *table; /* of the device; NULL on the CPU */
    tl_backend *backend;
    tl_error failure; /* the first of this call on the device; TL_OK: none */
    tl_pool *pool;
    tl_compute *compute;
    int32_t pass_rows;
    tl_arena *arena; /* of one call */

    tl_region rows; /* the activations below */
    int32_t row_capacity;
    float *x;          /* [rows, dim]: the residual stream */
    float *normed;     /* [rows, max(dim, embed_dim)] */
    float *q, *mixed;  /* [rows, heads * head_dim] */
    float *k, *v;      /* [rows, kv_heads * head_dim] */
    float *ffn;        /* [rows, ffn_dim] */
    float *hidden;     /* [wanted rows, embed_dim]: what the head reads */
    tl_region indices; /* the arrays of the pass */
    tl_region keys;
    tl_pass pass;

    tl_kv store; /* self-attention */
    tl_kv cross; /* encoder-decoders: keys and values of the encoder's rows */

    tl_region rotary; /* cos and sin [positions, rotary_dim / 2] */
    int32_t rotary_positions;
    float *cosines, *sines;
    float *sine_maxima;    /* rope_int8: max |sin| over positions 0 … p */
    tl_region call_rotary; /* rope_int8: tables of the pass's rows, [2][rows, rotary_dim / 2] */
    int32_t call_rows;     /* that it has room for */
    tl_region relative;    /* T5: [heads, 2 * length - 1] for each stack */
    int32_t relative_length;
    tl_region alibi;
    /* The tables as the operations read them: those above, or their twins on the device. */
    tl_region rotary_twin, call_rotary_twin, relative_twin, alibi_twin;
    const float *turn_cosines, *turn_sines;
    const float *relative_decoder, *relative_encoder;
    const float *alibi_slopes;

    tl_region head; /* logits of a block of rows */
};

/* ---- passes (forward.c) ---------------------------------------------------------------------- */

/* Makes room for passes of `rows` rows over sequences of up to `length` positions. */
bool tl_forward_reserve(tl_engine *engine, int32_t rows, int32_t length, tl_error *error);

/* Bytes of activations that one row of a pass takes. */
size_t tl_pass_row_bytes(const tl_model_spec *spec);

/* Begins an empty pass. */
void tl_pass_begin(tl_engine *engine, bool encoder);

/* Room for another piece whose last row sees `keys` keys? */
bool tl_pass_has_room(const tl_engine *engine, int32_t keys);

/* Appends `count` rows at logical positions `position` …; the slots of all keys up to the last row
 * are `path_slots` [position + count] (copied). `call_length` counts for rope_int8 only. Returns
 * the index of the first row. */
int32_t tl_pass_add(tl_engine *engine, const int32_t *tokens, int32_t count, int32_t position,
                    const int32_t *path_slots, int32_t call_length);

/* The encoder's rows that the last piece's cross-attention reads: `count` slots in a row. */
void tl_pass_cross(tl_engine *engine, const int32_t *slots, int32_t count);

/* Runs the pass. Afterwards engine->hidden holds the wanted rows, ready for the head. For the
 * encoder: the keys and values of every decoder layer's cross-attention are in engine->cross, at
 * slot = row. What fails on a device is told by tl_engine_settle. */
void tl_pass_run(tl_engine *engine);

/* The end of a call: false with the first failure that a device had during it. */
bool tl_engine_settle(tl_engine *engine, tl_error *error);

/* ---- devices (device.c) ---------------------------------------------------------------------- */

/* Sets engine->weights; for a device, to a twin of the model whose weights lie there. */
bool tl_twin_new(tl_engine *engine, tl_error *error);
void tl_twin_free(tl_engine *engine);

/* Makes `twin` hold what `source` holds, and writes its address, or on the CPU the source's, to
 * `*at`. */
bool tl_twin_table(tl_engine *engine, const tl_region *source, tl_region *twin, const void **at,
                   tl_error *error);

/* Rows that the largest pass is launched with: a device adds some, and an encoder's are stored. */
int32_t tl_pass_most_rows(const tl_engine *engine);

/* Sends the pass's indices. True when the device has done the whole pass. */
bool tl_pass_begin_on_device(tl_engine *engine);
void tl_pass_end_on_device(tl_engine *engine);

/* The head on a device, as tl_head_run. */
void tl_head_run_on_device(tl_engine *engine, tl_ask *asks, const int32_t *order,
                           const int32_t *rows, int32_t n_asks);
size_t tl_head_device_bytes(const tl_engine *engine);

/* Seconds of forward passes, by the device's clock where there is one. */
double tl_engine_clock_start(tl_engine *engine);
double tl_engine_clock_stop(tl_engine *engine, double started);

/* ---- tables (tables.c) ----------------------------------------------------------------------- */

bool tl_tables_reserve(tl_engine *engine, int32_t length, tl_error *error);
bool tl_tables_new(tl_engine *engine, tl_error *error);
/* PhoneLM's tables for the rows of the pass. */
bool tl_tables_for_calls(tl_engine *engine, tl_error *error);
bool tl_tables_reserve_calls(tl_engine *engine, int32_t rows, tl_error *error);

/* T5's bucket of a distance key - query. */
int32_t tl_relative_bucket(int32_t distance, bool bidirectional, int32_t buckets,
                           int32_t max_distance);

/* ---- forests (score.c) ----------------------------------------------------------------------- */

/* tl_engine_score without resetting the arena; `ask_segment` [n_asks] stands for the asks' own
 * segment, and `ask_row` for their row, where it is not NULL. */
bool tl_score_forest(tl_engine *engine, const tl_segment *segments, int32_t n_segments,
                     tl_ask *asks, int32_t n_asks, const int32_t *ask_segment,
                     const int32_t *ask_row, tl_work *work, tl_error *error);

/* ---- the head (head.c) ----------------------------------------------------------------------- */

/* Answers asks[order[i]] from row hidden[rows[i]]; `rows` ascends. */
void tl_head_run(tl_engine *engine, tl_ask *asks, const int32_t *order, const int32_t *rows,
                 int32_t n_asks);
bool tl_head_reserve(tl_engine *engine, tl_error *error);

#endif
