#include "study/worker.h"

#include "study/memory_account.h"
#include "study/wire.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    WARM_TOKENS = 64, /* of the passes that are not measured */
    WARM_PASSES = 3,
    BELOW_LETTERS = 'A',
};
static const double WARM_SECONDS = 2; /* no further warm-up pass after so long */

typedef struct worker {
    int socket;
    tl_buffer received, sending;
    cJSON *job;
    tl_task *task;
    tl_evaluation_options options;
    tl_model *model;
    tl_tokenizer *tokenizer;
    tl_engine *engine;
    tl_evaluation *evaluation;
    tl_memory_account *account;
    double load_seconds, warm_seconds, evaluation_seconds;
    bool stopped; /* the parent said so */
} worker;

static bool send_text(worker *w, tl_frame_kind kind, const char *text, tl_error *error) {
    return tl_wire_send(w->socket, kind, text, strlen(text), error);
}

/* ---- the job ---- */

static bool read_protocols(worker *w, tl_error *error) {
    const cJSON *item;
    cJSON_ArrayForEach(item, tl_json_get(w->job, "protocols")) {
        tl_protocol protocol;
        if (!cJSON_IsString(item) || !tl_protocol_parse(item->valuestring, &protocol, error))
            return false;
        w->options.protocols[protocol] = true;
    }
    return true;
}

static bool read_job(worker *w, tl_error *error) {
    tl_frame frame;
    bool closed;
    if (!tl_wire_receive(w->socket, &w->received, &frame, &closed, error)) return false;
    w->job = tl_json_parse(frame.payload, frame.length, "the job", error);
    if (!w->job) return false;
    int64_t shots, seed;
    const char *bos;
    tl_evaluation_options *o = &w->options;
    if (!tl_json_int_or(w->job, "limit", 0, 0, INT64_MAX, &o->limit, "the job", error) ||
        !tl_json_int_or(w->job, "shots", 0, 0, INT32_MAX, &shots, "the job", error) ||
        !tl_json_int_or(w->job, "shots_seed", 1234, 0, UINT32_MAX, &seed, "the job", error) ||
        !tl_json_bool_or(w->job, "shots_first", false, &o->shots_first, "the job", error) ||
        !tl_json_bool_or(w->job, "batched", false, &o->batched, "the job", error) ||
        !tl_json_string_or(w->job, "bos", "auto", &bos, "the job", error) ||
        !tl_json_string_or(w->job, "data_file", NULL, &o->data_file, "the job", error) ||
        !tl_json_string_or(w->job, "data_dir", NULL, &o->data_dir, "the job", error))
        return false;
    o->shots = (int32_t)shots;
    o->shots_seed = (uint32_t)seed;
    return tl_bos_parse(bos, &o->bos, error) && read_protocols(w, error);
}

/* ---- loading ---- */

static bool load_model(worker *w, tl_error *error) {
    const char *directory, *dtype, *precision, *device;
    int64_t threads;
    if (!tl_json_string_or(w->job, "model", "", &directory, "the job", error) ||
        !tl_json_string_or(w->job, "dtype", NULL, &dtype, "the job", error) ||
        !tl_json_string_or(w->job, "precision", "exact", &precision, "the job", error) ||
        !tl_json_string_or(w->job, "device", NULL, &device, "the job", error) ||
        !tl_json_int_or(w->job, "threads", 0, 0, 1024, &threads, "the job", error))
        return false;
    tl_model_options options = {.convert = dtype != NULL};
    if (dtype && !tl_dtype_parse(dtype, &options.dtype, error)) return false;
    tl_engine_options engine_options = {
        .threads = (int)threads,
        .precision = strcmp(precision, "fast") == 0 ? TL_FAST : TL_EXACT,
        .device = device,
    };
    /* The conversion has threads of its own, ended before the engine's begin. */
    tl_pool *pool = tl_pool_new((int)threads, error);
    tl_compute *compute = pool ? tl_compute_new(pool, engine_options.precision, error) : NULL;
    if (compute) w->model = tl_model_load(directory, &options, compute, error);
    tl_compute_free(compute);
    tl_pool_free(pool);
    if (!w->model) return false;
    w->tokenizer = tl_tokenizer_open(directory, error);
    if (!w->tokenizer) return false;
    w->engine = tl_engine_new(w->model, &engine_options, error);
    return w->engine != NULL;
}

/* Bytes of an element as run, by the blocks of its type: the study's model size. */
static double bytes_per_element(worker *w) {
    const char *name = NULL;
    tl_dtype dtype = w->model->spec.stored;
    if (tl_json_string_or(w->job, "dtype", NULL, &name, "", NULL) && name)
        tl_dtype_parse(name, &dtype, NULL);
    const tl_dtype_traits *traits = tl_dtype_get(dtype);
    return (double)traits->block_bytes / traits->block;
}

/* A special token as lm-evaluation-harness logs it: its text and its id as text. */
static void append_token(tl_buffer *out, const char *name, const tl_tokenizer *tokenizer,
                         int32_t token) {
    const char *text = token >= 0 ? tl_tokenizer_token(tokenizer, token) : NULL;
    tl_buffer_append_format(out, "\"tokenizer_%s_token\":[", name);
    if (text)
        tl_json_append_string(out, text, strlen(text));
    else
        tl_buffer_append_string(out, "null");
    tl_buffer_append_format(out, text ? ",\"%d\"]," : ",\"None\"],", token);
}

/* What the harness's results say of a model, for the export in its layout. Where there is no
 * padding token the harness takes the unknown one, else EOS. */
static void append_harness_facts(worker *w, tl_buffer *out) {
    const tl_tokenizer *t = w->tokenizer;
    int32_t pad = tl_tokenizer_pad(t), eos = tl_tokenizer_eos(t);
    if (pad < 0) pad = tl_tokenizer_unk(t) >= 0 ? tl_tokenizer_unk(t) : eos;
    const char *stored = tl_dtype_get(w->model->spec.stored)->torch;
    tl_buffer_append_byte(out, '{');
    append_token(out, "pad", t, pad);
    append_token(out, "eos", t, eos);
    append_token(out, "bos", t, tl_tokenizer_bos(t));
    tl_buffer_append_format(out, "\"eot_token_id\":%d,\"max_length\":%d,\"stored\":\"%s\"}", eos,
                            tl_request_max_length(&w->model->spec, t), stored ? stored : "float32");
}

/* What is known of the model before any question: told at once, so that it is stored even if the
 * worker does not live to the end. */
static bool report_model(worker *w, tl_error *error) {
    tl_buffer *out = &w->sending;
    double parameters = (double)w->model->parameters;
    tl_compute *compute = tl_engine_compute(w->engine);
    tl_buffer_clear(out);
    tl_buffer_append_byte(out, '{');
    tl_json_put_string(out, "family", w->model->spec.family);
    tl_json_put_int(out, "parameters", w->model->parameters);
    tl_json_open(out, "measures", '[');
    tl_measure_append(out, "parameters", parameters, "", NULL);
    tl_measure_append(out, "model_size_mb", parameters * bytes_per_element(w) / 1048576, "MB",
                      NULL);
    tl_measure_append(out, "load_s", w->load_seconds, "s", NULL);
    tl_measure_append(out, "threads", tl_pool_threads(tl_compute_pool(compute)), "",
                      tl_compute_isa(compute));
    tl_buffer_append_string(out, "],\"harness\":");
    append_harness_facts(w, out);
    tl_buffer_append_byte(out, '}');
    if (out->failed) return tl_fail_memory(error, out->length, "a message");
    return tl_wire_send(w->socket, TL_FRAME_MODEL, out->data, out->length, error);
}

static bool prepare(worker *w, tl_error *error) {
    const char *task;
    if (!tl_json_string_or(w->job, "task", "", &task, "the job", error)) return false;
    w->task = tl_task_open(task, error);
    if (!w->task) return false;
    w->evaluation = tl_evaluation_new(w->task, &w->options, w->engine, w->tokenizer, error);
    return w->evaluation != NULL;
}

/* Tells how many examples there are, and hears which of them are done. */
static bool agree(worker *w, tl_error *error) {
    int64_t counts[2][TL_PROTOCOL_COUNT];
    for (int p = 0; p < TL_PROTOCOL_COUNT; p++) {
        counts[0][p] = tl_evaluation_count(w->evaluation, (tl_protocol)p);
        counts[1][p] = tl_evaluation_total(w->evaluation, (tl_protocol)p);
    }
    if (!tl_wire_send(w->socket, TL_FRAME_READY, counts, sizeof counts, error)) return false;
    for (;;) {
        tl_frame frame;
        bool closed;
        if (!tl_wire_receive(w->socket, &w->received, &frame, &closed, error)) return false;
        if (frame.kind == TL_FRAME_GO) return true;
        int64_t protocol, index;
        if (frame.kind != TL_FRAME_DONE || frame.length < sizeof protocol)
            return tl_fail(error, TL_ERROR_FORMAT, "an unexpected message from the parent");
        memcpy(&protocol, frame.payload, sizeof protocol);
        if (protocol < 0 || protocol >= TL_PROTOCOL_COUNT) continue;
        for (size_t at = sizeof protocol; at + sizeof index <= frame.length; at += sizeof index) {
            memcpy(&index, frame.payload + at, sizeof index);
            tl_evaluation_done(w->evaluation, (tl_protocol)protocol, index);
        }
    }
}

/* Passes that are not measured: they bring the weights into memory, the threads to life and the
 * clocks up. */
static bool warm_up(worker *w, tl_error *error) {
    const tl_model_spec *spec = &w->model->spec;
    int32_t ids[WARM_TOKENS], count = WARM_TOKENS;
    if (count > spec->positions) count = spec->positions;
    for (int32_t i = 0; i < count; i++)
        ids[i] = (BELOW_LETTERS + i) % spec->vocab;
    int32_t start = spec->decoder_start >= 0 ? spec->decoder_start : 0;
    tl_segment segments[2] = {{.parent = -1, .tokens = ids, .n_tokens = count},
                              {.parent = 0, .tokens = &start, .n_tokens = 1}};
    segments[0].encoder = spec->encoder;
    double begun = tl_clock_monotonic();
    for (int pass = 0; pass < WARM_PASSES; pass++) {
        tl_ask ask = {.segment = spec->encoder ? 1 : 0,
                      .row = spec->encoder ? 0 : count - 1,
                      .kind = TL_ASK_LOGPROB,
                      .token = 0};
        tl_work work;
        if (!tl_engine_score(w->engine, segments, spec->encoder ? 2 : 1, &ask, 1, &work, error))
            return false;
        w->warm_seconds = tl_clock_monotonic() - begun;
        if (w->warm_seconds > WARM_SECONDS) break;
    }
    return true;
}

/* ---- evaluating ---- */

typedef struct streaming {
    worker *worker;
    tl_error *error;
    bool failed;
} streaming;

/* Hands an example to the parent and waits until it is stored. */
static bool stream_example(void *context, const tl_example *example) {
    streaming *s = context;
    worker *w = s->worker;
    tl_buffer_clear(&w->sending);
    tl_wire_put_example(&w->sending, example);
    tl_frame frame;
    bool closed;
    s->failed =
        w->sending.failed ||
        !tl_wire_send(w->socket, TL_FRAME_EXAMPLE, w->sending.data, w->sending.length, s->error) ||
        !tl_wire_receive(w->socket, &w->received, &frame, &closed, s->error);
    if (s->failed) return false;
    w->stopped = frame.kind != TL_FRAME_ACK || frame.length != 1 || frame.payload[0] == 0;
    return !w->stopped;
}

static bool evaluate(worker *w, tl_error *error) {
    streaming s = {.worker = w, .error = error};
    double begun = tl_clock_monotonic();
    bool good = tl_evaluation_run(w->evaluation, stream_example, &s, error) && !s.failed;
    w->evaluation_seconds = tl_clock_monotonic() - begun;
    return good;
}

static bool report_measures(worker *w, tl_error *error) {
    tl_account_finish(w->account, w->engine, w->tokenizer);
    tl_buffer *out = &w->sending;
    tl_buffer_clear(out);
    tl_buffer_append_byte(out, '[');
    tl_measure_append(out, "warm_up_s", w->warm_seconds, "s", NULL);
    tl_measure_append(out, "evaluation_s", w->evaluation_seconds, "s", NULL);
    tl_account_append(w->account, out);
    tl_buffer_append_byte(out, ']');
    if (out->failed) return tl_fail_memory(error, out->length, "a message");
    return tl_wire_send(w->socket, TL_FRAME_MEASURES, out->data, out->length, error);
}

static bool work(worker *w, tl_error *error) {
    double begun = tl_clock_monotonic();
    w->account = tl_account_new(error);
    if (!w->account || !read_job(w, error) || !send_text(w, TL_FRAME_STAGE, "loading", error) ||
        !load_model(w, error))
        return false;
    w->load_seconds = tl_clock_monotonic() - begun;
    tl_account_loaded(w->account, w->model);
    if (!report_model(w, error) || !send_text(w, TL_FRAME_STAGE, "preparing", error) ||
        !prepare(w, error) || !agree(w, error))
        return false;
    tl_account_prepared(w->account, w->tokenizer);
    return send_text(w, TL_FRAME_STAGE, "warming", error) && warm_up(w, error) &&
           send_text(w, TL_FRAME_STAGE, "evaluating", error) && evaluate(w, error) &&
           report_measures(w, error);
}

static void report_failure(worker *w, const tl_error *error) {
    tl_buffer *out = &w->sending;
    tl_buffer_clear(out);
    int32_t code = w->stopped ? TL_ERROR_INTERRUPTED : (int32_t)error->code;
    tl_buffer_append(out, &code, sizeof code);
    tl_buffer_append_string(out, error->message);
    if (!out->failed) tl_wire_send(w->socket, TL_FRAME_FAILED, out->data, out->length, NULL);
}

int tl_worker_main(int socket) {
    worker w = {.socket = socket};
    tl_error error = {0};
    if (!work(&w, &error)) report_failure(&w, &error);
    tl_evaluation_free(w.evaluation);
    tl_task_free(w.task);
    tl_engine_free(w.engine);
    tl_tokenizer_free(w.tokenizer);
    tl_model_unload(w.model);
    tl_account_free(w.account);
    cJSON_Delete(w.job);
    tl_buffer_free(&w.received);
    tl_buffer_free(&w.sending);
    close(socket);
    return 0;
}
