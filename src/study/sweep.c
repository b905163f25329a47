#include "study/sweep.h"

#include "study/predict.h"
#include "study/sitting.h"
#include "study/wire.h"

#include <errno.h>
#include <math.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    TICK_MILLISECONDS = 100,
    RECEIVE = 1 << 16,
    DONE_CHUNK = 1 << 16, /* indices in one message */
};
static const double STOPPING_SECONDS = 3;      /* for the example in flight after Ctrl-C */
static const double COOLING_SECONDS = 30 * 60; /* at most before each group */

typedef struct sweep_state {
    tl_plan *plan;
    tl_store *store;
    const tl_sweep_options *options;
    tl_sweep_result *result;
    tl_telemetry *telemetry;
    int64_t done, total; /* examples of the whole sweep */
    bool cannot_cool;    /* said already */
} sweep_state;

/* One group while it runs. */
typedef struct running_group {
    sweep_state *sweep;
    const tl_plan_group *group;
    bool pending[TL_PROTOCOL_COUNT];    /* cells to run, by their place in the group */
    int64_t planned[TL_PROTOCOL_COUNT]; /* examples, as the worker counts them; -1: not heard yet */
    int64_t stored[TL_PROTOCOL_COUNT];
    int64_t done, total; /* examples of the pending cells */
    char stage[24];
    tl_sitting sitting;
} running_group;

/* ---- what a group will need ---- */

static int64_t memory_limit(const tl_sweep_options *options) {
    if (options->memory_limit > 0) return options->memory_limit;
    if (options->memory_share <= 0) return 0;
    tl_system_memory memory;
    tl_sys_memory(options->root, &memory);
    return memory.total > 0 ? (int64_t)(options->memory_share * (double)memory.total) : 0;
}

/* Is there room? If not, `reason` says what is needed and what there is. */
static bool has_room(const sweep_state *sweep, const tl_plan_group *group, char *reason,
                     size_t size) {
    tl_memory parts;
    int64_t need = tl_group_predict(group, &parts);
    int64_t limit = memory_limit(sweep->options);
    tl_system_memory memory;
    tl_sys_memory(sweep->options->root, &memory);
    bool limited = limit > 0 && (memory.available < 0 || limit < memory.available);
    int64_t room = limited ? limit : memory.available;
    if (need == 0 || room < 0 || need <= room) return true;
    snprintf(reason, size, "needs about %.0f MB (weights %.0f MB), and %s %.0f MB",
             (double)need / 1048576, (double)(parts.weights_mapped + parts.weights_owned) / 1048576,
             limited ? "the memory limit is" : "the memory available is only",
             (double)room / 1048576);
    return false;
}

/* ---- verdicts ---- */

static void count_verdict(tl_sweep_result *result, tl_verdict verdict) {
    if (verdict == TL_VERDICT_DONE)
        result->done++;
    else
        result->failed++;
    if (verdict == TL_VERDICT_LOAD_ERROR || verdict == TL_VERDICT_UNSUPPORTED) result->unreadable++;
}

static bool end_cell(running_group *run, int at, tl_verdict verdict, const char *reason,
                     tl_error *error) {
    const tl_store_cell *cell = &run->group->cells[at];
    const tl_sweep_listener *listener = &run->sweep->options->listener;
    count_verdict(run->sweep->result, verdict);
    if (!tl_store_set_verdict(run->sweep->store, cell->id, verdict, reason, error)) return false;
    if (listener->cell_ends)
        listener->cell_ends(listener->context, run->group, cell, verdict, reason ? reason : "");
    return true;
}

/* Gives every pending cell one verdict without any worker. */
static bool end_all(running_group *run, tl_verdict verdict, const char *reason, tl_error *error) {
    for (int i = 0; i < run->group->cell_count; i++)
        if (run->pending[i] && !end_cell(run, i, verdict, reason, error)) return false;
    return true;
}

/* Stores verdicts and measures of a group whose worker is gone. */
static bool record(running_group *run, tl_error *error) {
    const char *reason;
    tl_verdict verdict = tl_sitting_judge(&run->sitting, &reason);
    sweep_state *sweep = run->sweep;
    if (verdict == TL_VERDICT_INTERRUPTED) sweep->result->interrupted = true;
    for (int i = 0; i < run->group->cell_count; i++) {
        if (!run->pending[i]) continue;
        /* A cell with every example stored is done, whatever became of its neighbour. */
        bool complete = run->planned[i] >= 0 && run->stored[i] >= run->planned[i];
        bool done = verdict == TL_VERDICT_DONE || complete;
        if (!tl_sitting_store(&run->sitting, run->group, sweep->store, run->group->cells[i].id,
                              tl_telemetry_sensors(sweep->telemetry), error) ||
            !end_cell(run, i, done ? TL_VERDICT_DONE : verdict, done ? NULL : reason, error))
            return false;
    }
    return tl_store_checkpoint(sweep->store, error);
}

/* ---- talking to the worker ---- */

static void append_text(tl_buffer *out, const char *name, const char *value) {
    if (value) tl_json_put_string(out, name, value);
}

static bool send_job(const running_group *run, tl_guard *guard, tl_error *error) {
    const tl_sweep_options *o = run->sweep->options;
    const tl_plan_group *group = run->group;
    static const char *const bos[] = {
        [TL_BOS_AUTO] = "auto", [TL_BOS_ON] = "on", [TL_BOS_OFF] = "off"};
    tl_buffer job = {0};
    tl_buffer_append_format(&job,
                            "{\"precision\":\"%s\",\"threads\":%d,\"limit\":%lld,\"shots\":%d,"
                            "\"shots_first\":%s,\"batched\":%s,\"bos\":\"%s\",\"protocols\":[",
                            o->fast ? "fast" : "exact", o->threads, (long long)group->limit,
                            o->shots, o->shots_first ? "true" : "false",
                            o->batched ? "true" : "false", bos[o->bos]);
    for (int i = 0; i < group->cell_count; i++)
        if (run->pending[i])
            tl_json_put_string(&job, NULL, tl_protocol_name(group->cells[i].protocol));
    tl_buffer_append_byte(&job, ']');
    append_text(&job, "model", group->model->directory);
    append_text(&job, "dtype", group->dtype);
    append_text(&job, "device", o->device);
    append_text(&job, "task", tl_task_path(group->task));
    append_text(&job, "data_file", o->data_file);
    append_text(&job, "data_dir", o->data_dir);
    tl_buffer_append_byte(&job, '}');
    bool good = job.failed ? tl_fail_memory(error, job.length, "a job")
                           : tl_wire_send(tl_guard_socket(guard), TL_FRAME_JOB, job.data,
                                          job.length, error);
    tl_buffer_free(&job);
    return good;
}

/* Indices on their way to the worker: the protocol, then the indices. */
typedef struct done_message {
    int64_t words[DONE_CHUNK + 1];
    size_t count;
    int socket;
    int64_t total;
    bool lost;
} done_message;

static void send_done(done_message *message) {
    if (message->count > 0 && !tl_wire_send(message->socket, TL_FRAME_DONE, message->words,
                                            (message->count + 1) * sizeof *message->words, NULL))
        message->lost = true;
    message->count = 0;
}

static bool add_done(void *context, int64_t index) {
    done_message *message = context;
    message->words[++message->count] = index;
    message->total++;
    if (message->count == DONE_CHUNK) send_done(message);
    return !message->lost;
}

static int place_of(const running_group *run, tl_protocol protocol) {
    for (int i = 0; i < run->group->cell_count; i++)
        if (run->pending[i] && run->group->cells[i].protocol == protocol) return i;
    return -1;
}

/* The worker knows how many examples there are: tells it which are stored already. */
static bool answer_ready(running_group *run, tl_guard *guard, const tl_frame *frame,
                         tl_error *error) {
    int64_t counts[2][TL_PROTOCOL_COUNT];
    if (frame->length != sizeof counts)
        return tl_fail(error, TL_ERROR_FORMAT, "the worker's counts are garbled");
    memcpy(counts, frame->payload, sizeof counts);
    done_message *message = malloc(sizeof *message);
    if (!message) return tl_fail_memory(error, sizeof *message, "a message");
    bool good = true;
    run->total = run->done = 0;
    for (int i = 0; i < run->group->cell_count && good; i++) {
        if (!run->pending[i]) continue;
        const tl_store_cell *cell = &run->group->cells[i];
        *message = (done_message){.socket = tl_guard_socket(guard)};
        message->words[0] = cell->protocol;
        run->planned[i] = counts[0][cell->protocol];
        good = tl_store_set_planned(run->sweep->store, cell->id, run->planned[i], error) &&
               tl_store_set_measure(run->sweep->store, cell->id, "rows_in_split",
                                    (double)counts[1][cell->protocol], "", NULL, error) &&
               tl_store_each_index(run->sweep->store, cell->id, add_done, message, error);
        send_done(message);
        run->stored[i] = message->total;
        run->done += message->total;
        run->total += run->planned[i];
    }
    free(message);
    /* A worker that is gone by now is noticed when its end is read. */
    tl_wire_send(tl_guard_socket(guard), TL_FRAME_GO, NULL, 0, NULL);
    return good;
}

static bool stopping(const sweep_state *sweep) {
    return sweep->options->stop && *sweep->options->stop > 0;
}

static void tell_progress(const running_group *run) {
    const tl_sweep_listener *listener = &run->sweep->options->listener;
    if (listener->progress)
        listener->progress(listener->context, run->group, run->stage, run->done, run->total,
                           run->sweep->done, run->sweep->total, run->sitting.fresh);
}

static bool store_example(running_group *run, tl_guard *guard, const tl_frame *frame,
                          tl_arena *arena, tl_error *error) {
    tl_example example;
    tl_arena_reset(arena);
    if (!tl_wire_get_example(frame->payload, frame->length, arena, &example, error)) return false;
    int at = place_of(run, example.protocol);
    if (at < 0) return tl_fail(error, TL_ERROR_FORMAT, "an example of a protocol nobody asked for");
    if (!tl_store_add_example(run->sweep->store, run->group->cells[at].id, &example, error))
        return false;
    run->stored[at]++;
    run->done++;
    run->sitting.fresh++;
    run->sweep->done++;
    char go_on = !stopping(run->sweep);
    tl_wire_send(tl_guard_socket(guard), TL_FRAME_ACK, &go_on, 1, NULL);
    tell_progress(run);
    return true;
}

static void enter_stage(running_group *run, const char *stage) {
    snprintf(run->stage, sizeof run->stage, "%s", stage);
    if (strcmp(stage, "evaluating") == 0 && !run->sitting.evaluating) {
        run->sitting.evaluating = true;
        run->sitting.begun = tl_clock_monotonic();
        tl_sys_memory(run->sweep->options->root, &run->sitting.memory_before);
        tl_telemetry_begin(run->sweep->telemetry);
    }
    tell_progress(run);
}

static void stop_measuring(running_group *run) {
    if (!run->sitting.evaluating || run->sitting.seconds > 0) return;
    tl_telemetry_end(run->sweep->telemetry, &run->sitting.span);
    tl_sys_memory(run->sweep->options->root, &run->sitting.memory_after);
    run->sitting.seconds = tl_clock_monotonic() - run->sitting.begun;
}

/* Facts by which a run is written in lm-evaluation-harness's layout: of the model, of the task. */
static bool note_for_harness(running_group *run, const cJSON *model, tl_error *error) {
    char key[512];
    tl_store *store = run->sweep->store;
    tl_buffer config = {0};
    char *text = cJSON_PrintUnformatted(tl_json_get(model, "harness"));
    snprintf(key, sizeof key, "harness model %s", run->group->model->given);
    bool good = !text || tl_store_set_fact(store, key, text, error);
    snprintf(key, sizeof key, "harness task %s", tl_task_name(run->group->task));
    if (good && tl_task_harness_config(run->group->task, &config))
        good = tl_store_set_fact(store, key, tl_buffer_string(&config), error);
    tl_buffer_free(&config);
    free(text);
    return good;
}

static bool note_model(running_group *run, const tl_frame *frame, tl_error *error) {
    cJSON *facts = tl_json_parse(frame->payload, frame->length, "the worker's facts", NULL);
    const char *family = "";
    int64_t parameters = 0;
    bool good = true;
    if (facts && tl_json_string_or(facts, "family", "", &family, "", NULL) &&
        tl_json_int_or(facts, "parameters", 0, 0, INT64_MAX, &parameters, "", NULL)) {
        char label[32];
        tl_parameters_label(parameters, label, sizeof label);
        const char *shown = run->group->model->label ? run->group->model->label : label;
        for (int i = 0; i < run->group->cell_count && good; i++)
            if (run->pending[i])
                good = tl_store_set_model(run->sweep->store, run->group->cells[i].id, family,
                                          parameters, shown, error) &&
                       tl_store_worker_measures(run->sweep->store, run->group->cells[i].id,
                                                tl_json_get(facts, "measures"), error);
        good = good && note_for_harness(run, facts, error);
    }
    cJSON_Delete(facts);
    return good;
}

static void note_failure(running_group *run, const tl_frame *frame) {
    int32_t code = TL_ERROR_FORMAT;
    if (frame->length < sizeof code) return;
    memcpy(&code, frame->payload, sizeof code);
    run->sitting.failed = true;
    run->sitting.code = (tl_code)code;
    snprintf(run->sitting.message, sizeof run->sitting.message, "%.*s",
             (int)(frame->length - sizeof code), frame->payload + sizeof code);
}

static bool hear(running_group *run, tl_guard *guard, const tl_frame *frame, tl_arena *arena,
                 tl_error *error) {
    char stage[24];
    switch (frame->kind) {
    case TL_FRAME_STAGE:
        snprintf(stage, sizeof stage, "%.*s", (int)frame->length, frame->payload);
        enter_stage(run, stage);
        return true;
    case TL_FRAME_MODEL:
        return note_model(run, frame, error);
    case TL_FRAME_READY:
        return answer_ready(run, guard, frame, error);
    case TL_FRAME_EXAMPLE:
        return store_example(run, guard, frame, arena, error);
    case TL_FRAME_MEASURES:
        stop_measuring(run);
        run->sitting.measures = tl_json_parse(frame->payload, frame->length, "measures", error);
        return run->sitting.measures != NULL;
    case TL_FRAME_FAILED:
        stop_measuring(run);
        note_failure(run, frame);
        return true;
    default:
        return tl_fail(error, TL_ERROR_FORMAT, "an unexpected message from the worker");
    }
}

/* Takes what the worker has sent; *closed at its end. False when the store cannot be written. A
 * worker that talks nonsense is killed. */
static bool receive(running_group *run, tl_guard *guard, tl_buffer *heard, tl_arena *arena,
                    bool *closed, tl_error *error) {
    if (!tl_buffer_reserve(heard, RECEIVE)) return tl_fail_memory(error, RECEIVE, "messages");
    ssize_t got = recv(tl_guard_socket(guard), heard->data + heard->length, RECEIVE, MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return true;
    if (got <= 0) {
        *closed = true;
        return true;
    }
    heard->length += (size_t)got;
    tl_guard_heard(guard);
    size_t at = 0;
    tl_frame frame;
    tl_error problem = {0};
    while (tl_wire_next(heard, &at, &frame, &problem)) {
        if (hear(run, guard, &frame, arena, &problem)) continue;
        if (problem.code != TL_ERROR_FORMAT) {
            if (error) *error = problem;
            return false;
        }
        break;
    }
    if (problem.code != TL_OK) tl_guard_kill(guard, TL_VERDICT_CRASHED, problem.message);
    memmove(heard->data, heard->data + at, heard->length - at);
    heard->length -= at;
    return true;
}

/* ---- one group ---- */

/* Follows the worker until it hangs up. */
static bool follow(running_group *run, tl_guard *guard, tl_error *error) {
    tl_buffer heard = {0};
    tl_arena *arena = tl_arena_new();
    bool good = arena || tl_fail_memory(error, RECEIVE, "examples"), closed = false;
    double stopped = 0, ticked = 0;
    while (good && !closed) {
        struct pollfd polled = {tl_guard_socket(guard), POLLIN, 0};
        if (poll(&polled, 1, TICK_MILLISECONDS) > 0)
            good = receive(run, guard, &heard, arena, &closed, error);
        double now = tl_clock_monotonic();
        if (now - ticked > TICK_MILLISECONDS / 1e3) {
            ticked = now;
            tl_guard_watch(guard);
            if (good) good = tl_store_flush(run->sweep->store, error);
            tell_progress(run);
        }
        if (!stopping(run->sweep)) continue;
        if (stopped == 0) stopped = now;
        if (*run->sweep->options->stop > 1 || now - stopped > STOPPING_SECONDS)
            tl_guard_kill(guard, TL_VERDICT_INTERRUPTED, "interrupted");
    }
    stop_measuring(run);
    tl_arena_free(arena);
    tl_buffer_free(&heard);
    return good;
}

static bool mark_running(running_group *run, tl_error *error) {
    for (int i = 0; i < run->group->cell_count; i++)
        if (run->pending[i] && !tl_store_set_verdict(run->sweep->store, run->group->cells[i].id,
                                                     TL_VERDICT_RUNNING, NULL, error))
            return false;
    return true;
}

/* Cells that failed together before any question was asked, for a protocol this model cannot do:
 * each is worth trying by itself. */
static bool is_worth_splitting(const running_group *run) {
    int pending = 0;
    for (int i = 0; i < run->group->cell_count; i++)
        pending += run->pending[i];
    return pending > 1 && run->sitting.failed && run->sitting.code == TL_ERROR_UNSUPPORTED &&
           !run->sitting.evaluating && strcmp(run->stage, "preparing") == 0;
}

/* *split: nothing was recorded, the cells are to be run one by one. */
static bool run_worker(running_group *run, bool *split, tl_error *error) {
    sweep_state *sweep = run->sweep;
    const tl_sweep_options *o = sweep->options;
    char label[256];
    snprintf(label, sizeof label, "%.120s %.120s", run->group->model->name,
             tl_task_name(run->group->task));
    tl_guard_limits limits = {
        .memory = memory_limit(o),
        .seconds = o->time_limit,
        .stall = o->stall_limit,
        .threads = o->threads,
        .program = o->program,
        .label = label,
        .root = o->root,
    };
    if (!mark_running(run, error)) return false;
    tl_guard *guard = tl_guard_start(&limits, error);
    if (!guard) return false;
    send_job(run, guard, NULL); /* its absence is noticed when its end is read */
    bool good = follow(run, guard, error);
    if (good) tl_guard_finish(guard, &run->sitting.outcome);
    *split = good && is_worth_splitting(run);
    if (good && !*split) good = record(run, error);
    tl_guard_free(guard);
    cJSON_Delete(run->sitting.measures);
    return good;
}

static void cool_down(sweep_state *sweep) {
    const tl_sweep_options *o = sweep->options;
    if (isnan(o->cooldown)) return;
    double begun = tl_clock_monotonic();
    while (!stopping(sweep) && tl_clock_monotonic() - begun < COOLING_SECONDS) {
        double temperature = tl_telemetry_temperature(sweep->telemetry);
        if (isnan(temperature) && !sweep->cannot_cool && o->listener.note)
            o->listener.note(o->listener.context,
                             "no thermal zone can be read: there is no waiting to cool down");
        sweep->cannot_cool = isnan(temperature);
        if (!(temperature > o->cooldown)) return;
        if (o->listener.cooling) o->listener.cooling(o->listener.context, temperature, o->cooldown);
        tl_clock_sleep(1);
    }
}

static bool run_group(sweep_state *sweep, const tl_plan_group *group, int place, tl_error *error) {
    running_group run = {.sweep = sweep, .group = group};
    bool any = false;
    for (int i = 0; i < group->cell_count; i++) {
        run.planned[i] = -1;
        run.pending[i] = group->cells[i].verdict != TL_VERDICT_DONE;
        any |= run.pending[i];
        run.total += run.pending[i] ? group->cells[i].examples : 0;
        sweep->result->done += !run.pending[i];
    }
    if (!any) return true;
    const tl_sweep_listener *listener = &sweep->options->listener;
    if (listener->group_begins)
        listener->group_begins(listener->context, group, place, sweep->plan->group_count);
    const tl_plan_model *model = group->model;
    if (model->problem)
        return end_all(&run,
                       model->problem_code == TL_ERROR_UNSUPPORTED ? TL_VERDICT_UNSUPPORTED
                                                                   : TL_VERDICT_LOAD_ERROR,
                       model->problem, error);
    cool_down(sweep);
    if (stopping(sweep)) return true;
    char reason[256];
    if (!has_room(sweep, group, reason, sizeof reason))
        return end_all(&run, TL_VERDICT_PREDICTED_OOM, reason, error);
    bool split = false;
    if (!run_worker(&run, &split, error)) return false;
    for (int i = 0; i < group->cell_count && split && !stopping(sweep); i++) {
        if (!run.pending[i]) continue;
        running_group alone = {.sweep = sweep, .group = group, .planned = {-1, -1, -1}};
        alone.pending[i] = true;
        alone.total = group->cells[i].examples;
        bool again;
        if (!run_worker(&alone, &again, error)) return false;
    }
    return true;
}

/* ---- the sweep ---- */

bool tl_sweep(tl_plan *plan, tl_store *store, const tl_sweep_options *options,
              tl_sweep_result *result, tl_error *error) {
    *result = (tl_sweep_result){0};
    if (options->memory_share > 0 && memory_limit(options) <= 0)
        return tl_fail(error, TL_ERROR_USAGE,
                       "a memory limit of %.0f %% needs MemTotal of /proc/meminfo, which cannot be "
                       "read here: give a size",
                       100 * options->memory_share);
    sweep_state sweep = {.plan = plan, .store = store, .options = options, .result = result};
    for (int g = 0; g < plan->group_count; g++) {
        for (int c = 0; c < plan->groups[g].cell_count; c++) {
            sweep.total += plan->groups[g].cells[c].examples;
            sweep.done += tl_store_count_examples(store, plan->groups[g].cells[c].id);
        }
    }
    sweep.telemetry = tl_telemetry_new(options->root, error);
    bool good = sweep.telemetry != NULL;
    for (int g = 0; g < plan->group_count && good && !stopping(&sweep); g++)
        good = run_group(&sweep, &plan->groups[g], g + 1, error);
    result->interrupted |= stopping(&sweep);
    tl_telemetry_free(sweep.telemetry);
    return good;
}
