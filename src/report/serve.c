#include "report/serve.h"

#include "report/page.h"
#include "report/report.h"

#include <arpa/inet.h>
#include <errno.h>
#include <math.h>
#include <microhttpd.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum {
    CONNECTIONS = 32,
    IDLE_SECONDS = 60,
    EXAMPLE_BYTES = 1 << 20, /* of one answer */
    SAMPLES = 30,            /* seconds over which the rate is taken */
    EVENT_BLOCK = 4096,
};

struct tl_server {
    char *directory;
    struct MHD_Daemon *daemon;
    char url[128];
    bool any_host;
    tl_buffer page;
    atomic_bool stopping;
    pthread_mutex_t lock; /* for what is below */
    tl_buffer report;     /* the last /report.json … */
    uint64_t version;     /* … and what it was made from */
    tl_buffer progress;   /* the last progress, at most a second old */
    double progress_at;
    struct {
        double when;
        int64_t done;
    } samples[SAMPLES];
    int sample_count;
};

/* ---- where the run is ---- */

typedef struct survey {
    tl_store *store;
    uint64_t version;
    int64_t cells, cells_done, cells_ended, planned, done;
    tl_buffer running;
} survey;

static void note_running(survey *s, const tl_store_cell *cell, int64_t done) {
    tl_buffer_clear(&s->running);
    tl_buffer_append_byte(&s->running, '{');
    tl_json_put_string(&s->running, "model", cell->model.name);
    tl_json_put_string(&s->running, "task", cell->task_title);
    tl_json_put_int(&s->running, "done", done);
    tl_json_put_int(&s->running, "planned", cell->examples);
    tl_buffer_append_byte(&s->running, '}');
}

/* Counts rows only of cells that may still grow. */
static bool survey_cell(void *context, const tl_store_cell *cell) {
    survey *s = context;
    uint64_t mark[3] = {s->version, (uint64_t)cell->id, (uint64_t)cell->verdict};
    s->version = tl_hash(mark, sizeof mark);
    s->cells++;
    if (cell->verdict == TL_VERDICT_DONE) {
        s->cells_done++;
        s->cells_ended++;
        s->planned += cell->examples;
        s->done += cell->examples;
        return true;
    }
    if (!tl_verdict_waits(cell->verdict)) {
        s->cells_ended++;
        return true;
    }
    int64_t done = tl_store_count_examples(s->store, cell->id);
    s->planned += cell->examples;
    s->done += done > 0 ? done : 0;
    if (cell->verdict == TL_VERDICT_RUNNING) note_running(s, cell, done);
    return true;
}

static bool take_survey(const char *directory, survey *s, tl_error *error) {
    *s = (survey){0};
    s->store = tl_store_open(directory, false, error);
    bool good = s->store && tl_store_each_cell(s->store, survey_cell, s, error);
    tl_store_close(s->store);
    s->store = NULL;
    return good;
}

static void append_survey(const survey *s, tl_buffer *out) {
    tl_buffer_append_format(
        out,
        "{\"version\":\"%016llx\",\"cells\":%lld,\"cells_done\":%lld,\"cells_ended\":%lld,"
        "\"planned\":%lld,\"done\":%lld,\"running\":%s",
        (unsigned long long)s->version, (long long)s->cells, (long long)s->cells_done,
        (long long)s->cells_ended, (long long)s->planned, (long long)s->done,
        s->running.length ? s->running.data : "null");
}

bool tl_serve_progress(const char *directory, tl_buffer *out, int64_t *done, tl_error *error) {
    survey s;
    bool good = take_survey(directory, &s, error);
    if (good) {
        append_survey(&s, out);
        tl_buffer_append_byte(out, '}');
        *done = s.done;
    }
    tl_buffer_free(&s.running);
    return good && (!out->failed || tl_fail_memory(error, out->length, "progress"));
}

/* Examples a second since the oldest sample; NAN until there are two. */
static double take_rate(tl_server *server, double now, int64_t done) {
    if (server->sample_count && done < server->samples[server->sample_count - 1].done)
        server->sample_count = 0; /* another run */
    if (server->sample_count == SAMPLES) {
        memmove(server->samples, server->samples + 1, (SAMPLES - 1) * sizeof *server->samples);
        server->sample_count--;
    }
    server->samples[server->sample_count].when = now;
    server->samples[server->sample_count++].done = done;
    double span = now - server->samples[0].when;
    return span > 0.5 ? (double)(done - server->samples[0].done) / span : NAN;
}

/* Appends one event: progress, or why there is none yet. */
static void append_event(tl_server *server, tl_buffer *out) {
    pthread_mutex_lock(&server->lock);
    double now = tl_clock_monotonic();
    if (server->progress.length == 0 || now - server->progress_at >= 0.9) {
        survey s;
        tl_error error = {0};
        tl_buffer_clear(&server->progress);
        tl_buffer_append_string(&server->progress, "event: progress\ndata: ");
        bool there = take_survey(server->directory, &s, &error);
        append_survey(&s, &server->progress);
        tl_json_put_double(&server->progress, "rate", there ? take_rate(server, now, s.done) : NAN);
        tl_buffer_append_string(&server->progress, "}\n\n");
        tl_buffer_free(&s.running);
        server->progress_at = now;
    }
    tl_buffer_append(out, server->progress.data, server->progress.length);
    pthread_mutex_unlock(&server->lock);
}

/* ---- answers ---- */

static enum MHD_Result queue(struct MHD_Connection *connection, unsigned status, const char *type,
                             struct MHD_Response *response) {
    if (!response) return MHD_NO;
    MHD_add_response_header(response, "Content-Type", type);
    MHD_add_response_header(response, "Cache-Control", "no-store");
    MHD_add_response_header(response, "X-Content-Type-Options", "nosniff");
    MHD_add_response_header(response, "X-Frame-Options", "DENY");
    MHD_add_response_header(response, "Referrer-Policy", "no-referrer");
    if (status == MHD_HTTP_METHOD_NOT_ALLOWED)
        MHD_add_response_header(response, "Allow", "GET, HEAD");
    enum MHD_Result result = MHD_queue_response(connection, status, response);
    MHD_destroy_response(response);
    return result;
}

static enum MHD_Result answer(struct MHD_Connection *connection, unsigned status, const char *type,
                              const void *bytes, size_t length) {
    struct MHD_Response *response =
        MHD_create_response_from_buffer(length, (void *)(uintptr_t)bytes, MHD_RESPMEM_MUST_COPY);
    return queue(connection, status, type, response);
}

static enum MHD_Result refuse(struct MHD_Connection *connection, unsigned status, const char *why) {
    return answer(connection, status, "text/plain; charset=utf-8", why, strlen(why));
}

static enum MHD_Result answer_page(tl_server *server, struct MHD_Connection *connection) {
    return answer(connection, MHD_HTTP_OK, "text/html; charset=utf-8", server->page.data,
                  server->page.length);
}

static const char empty_report[] =
    "{\"format\":\"tinyllm-report-1\",\"measures\":[],\"runs\":[],\"devices\":[],\"cells\":[],"
    "\"groups\":[]}";

/* A report, named by the version of the run that it shows: what an event must differ from to tell
 * the page anything new. */
static enum MHD_Result answer_version(struct MHD_Connection *connection, uint64_t version,
                                      const char *text, size_t length) {
    char tag[32];
    snprintf(tag, sizeof tag, "\"%016llx\"", (unsigned long long)version);
    struct MHD_Response *response =
        MHD_create_response_from_buffer(length, (void *)(uintptr_t)text, MHD_RESPMEM_MUST_COPY);
    if (response) MHD_add_response_header(response, "ETag", tag);
    return queue(connection, MHD_HTTP_OK, "application/json", response);
}

/* The report is made anew only when a verdict has changed since. */
static enum MHD_Result answer_report(tl_server *server, struct MHD_Connection *connection) {
    survey s;
    tl_error error = {0};
    bool there = take_survey(server->directory, &s, &error);
    tl_buffer_free(&s.running);
    if (!there) return answer_version(connection, s.version, empty_report, sizeof empty_report - 1);
    pthread_mutex_lock(&server->lock);
    bool good = true;
    if (server->report.length == 0 || server->version != s.version) {
        const char *operands[] = {server->directory};
        tl_buffer_clear(&server->report);
        good = tl_report_tables(operands, 1, "json", &server->report, &error);
        if (!good) tl_buffer_clear(&server->report);
        server->version = s.version;
    }
    enum MHD_Result result =
        good ? answer_version(connection, server->version, server->report.data,
                              server->report.length)
             : refuse(connection, MHD_HTTP_INTERNAL_SERVER_ERROR, error.message);
    pthread_mutex_unlock(&server->lock);
    return result;
}

/* A whole number of a query; -1 where it is none. */
static int64_t query_number(struct MHD_Connection *connection, const char *key) {
    const char *text = MHD_lookup_connection_value(connection, MHD_GET_ARGUMENT_KIND, key);
    if (!text || !*text || strlen(text) > 12) return -1;
    char *end;
    long long value = strtoll(text, &end, 10);
    return *end || value < 0 ? -1 : value;
}

typedef struct finding {
    int64_t left, id;
} finding;

static bool find_cell(void *context, const tl_store_cell *cell) {
    finding *f = context;
    if (f->left-- > 0) return true;
    f->id = cell->id;
    return false;
}

static enum MHD_Result answer_examples(tl_server *server, struct MHD_Connection *connection) {
    finding f = {query_number(connection, "cell"), -1};
    int64_t from = query_number(connection, "from");
    if (f.left < 0 || from < 0)
        return refuse(connection, MHD_HTTP_BAD_REQUEST, "expected ?cell=N&from=ROW\n");
    tl_error error = {0};
    tl_buffer out = {0};
    tl_store *store = tl_store_open(server->directory, false, &error);
    bool good = store && tl_store_each_cell(store, find_cell, &f, &error);
    if (good && f.id >= 0) good = tl_page_examples(store, f.id, from, EXAMPLE_BYTES, &out, &error);
    tl_store_close(store);
    enum MHD_Result result;
    if (!good)
        result = refuse(connection, MHD_HTTP_INTERNAL_SERVER_ERROR, error.message);
    else if (f.id < 0)
        result = refuse(connection, MHD_HTTP_NOT_FOUND, "no such cell\n");
    else
        result = answer(connection, MHD_HTTP_OK, "application/json", out.data, out.length);
    tl_buffer_free(&out);
    return result;
}

/* ---- events ---- */

typedef struct listener {
    tl_server *server;
    tl_buffer text; /* the event being sent */
    size_t sent;
    bool begun;
} listener;

static ssize_t send_events(void *context, uint64_t position, char *bytes, size_t size) {
    (void)position;
    listener *l = context;
    if (l->sent == l->text.length) {
        for (int i = 0; l->begun && i < 10 && !l->server->stopping; i++)
            tl_clock_sleep(0.1);
        if (l->server->stopping) return MHD_CONTENT_READER_END_OF_STREAM;
        l->begun = true;
        l->sent = 0;
        tl_buffer_clear(&l->text);
        append_event(l->server, &l->text);
        if (l->text.failed) return MHD_CONTENT_READER_END_WITH_ERROR;
    }
    size_t left = l->text.length - l->sent, part = left < size ? left : size;
    memcpy(bytes, l->text.data + l->sent, part);
    l->sent += part;
    return (ssize_t)part;
}

static void free_listener(void *context) {
    listener *l = context;
    tl_buffer_free(&l->text);
    free(l);
}

static enum MHD_Result answer_events(tl_server *server, struct MHD_Connection *connection) {
    listener *l = calloc(1, sizeof *l);
    if (!l) return MHD_NO;
    l->server = server;
    struct MHD_Response *response = MHD_create_response_from_callback(
        MHD_SIZE_UNKNOWN, EVENT_BLOCK, send_events, l, free_listener);
    if (!response) free_listener(l);
    return queue(connection, MHD_HTTP_OK, "text/event-stream", response);
}

/* ---- the server ---- */

/* A page of another site must not read this one through a name that it points here. */
static bool host_is_ours(const tl_server *server, struct MHD_Connection *connection) {
    if (server->any_host) return true;
    const char *host = MHD_lookup_connection_value(connection, MHD_HEADER_KIND, "Host");
    if (!host) return false;
    static const char *const names[] = {"localhost", "127.0.0.1", "[::1]"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        size_t length = strlen(names[i]);
        if (strncasecmp(host, names[i], length) == 0 && (!host[length] || host[length] == ':'))
            return true;
    }
    return false;
}

static enum MHD_Result serve(void *context, struct MHD_Connection *connection, const char *path,
                             const char *method, const char *version, const char *data,
                             size_t *size, void **state) {
    (void)version, (void)data, (void)size, (void)state;
    static const struct {
        const char *path;
        enum MHD_Result (*answer)(tl_server *, struct MHD_Connection *);
    } routes[] = {{"/", answer_page},
                  {"/report.json", answer_report},
                  {"/examples", answer_examples},
                  {"/events", answer_events}};
    tl_server *server = context;
    if (strcmp(method, "GET") != 0 && strcmp(method, "HEAD") != 0)
        return refuse(connection, MHD_HTTP_METHOD_NOT_ALLOWED, "read-only\n");
    if (!host_is_ours(server, connection))
        return refuse(connection, MHD_HTTP_FORBIDDEN, "asked for under a foreign name\n");
    for (size_t i = 0; i < sizeof routes / sizeof *routes; i++)
        if (strcmp(routes[i].path, path) == 0) return routes[i].answer(server, connection);
    return refuse(connection, MHD_HTTP_NOT_FOUND, "not here\n");
}

static bool make_address(const tl_serve_options *options, struct sockaddr_storage *storage,
                         tl_error *error) {
    const char *text = options->address ? options->address : "127.0.0.1";
    struct sockaddr_in *v4 = (struct sockaddr_in *)storage;
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)storage;
    memset(storage, 0, sizeof *storage);
    if (inet_pton(AF_INET, text, &v4->sin_addr) == 1) {
        v4->sin_family = AF_INET;
        v4->sin_port = htons((uint16_t)options->port);
        return true;
    }
    if (inet_pton(AF_INET6, text, &v6->sin6_addr) == 1) {
        v6->sin6_family = AF_INET6;
        v6->sin6_port = htons((uint16_t)options->port);
        return true;
    }
    return tl_fail(error, TL_ERROR_USAGE,
                   "--address %s: expected an IP address, as 127.0.0.1 or 0.0.0.0", text);
}

static bool listen_there(tl_server *server, const tl_serve_options *options, tl_error *error) {
    struct sockaddr_storage address;
    if (!make_address(options, &address, error)) return false;
    bool v6 = address.ss_family == AF_INET6;
    errno = 0;
    server->daemon =
        MHD_start_daemon(MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_THREAD_PER_CONNECTION |
                             MHD_USE_POLL | (v6 ? MHD_USE_IPv6 : 0),
                         (uint16_t)options->port, NULL, NULL, serve, server, MHD_OPTION_SOCK_ADDR,
                         &address, MHD_OPTION_CONNECTION_LIMIT, (unsigned)CONNECTIONS,
                         MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)IDLE_SECONDS, MHD_OPTION_END);
    const char *text = options->address ? options->address : "127.0.0.1";
    if (!server->daemon)
        return tl_fail_errno(error, "cannot listen on %s port %d (--port 0 takes any free one)",
                             text, options->port);
    const union MHD_DaemonInfo *info =
        MHD_get_daemon_info(server->daemon, MHD_DAEMON_INFO_BIND_PORT);
    snprintf(server->url, sizeof server->url, v6 ? "http://[%s]:%u/" : "http://%s:%u/", text,
             info ? (unsigned)info->port : (unsigned)options->port);
    return true;
}

tl_server *tl_serve(const char *directory, const tl_serve_options *options, tl_error *error) {
    tl_server *server = calloc(1, sizeof *server);
    if (!server) {
        tl_fail_memory(error, sizeof *server, "the server");
        return NULL;
    }
    pthread_mutex_init(&server->lock, NULL);
    server->any_host = options->address != NULL;
    server->directory = strdup(directory);
    bool good = server->directory || tl_fail_memory(error, strlen(directory), "a path");
    if (good && tl_page_live(&server->page, error) && listen_there(server, options, error))
        return server;
    tl_server_stop(server);
    return NULL;
}

const char *tl_server_url(const tl_server *server) {
    return server->url;
}

void tl_server_stop(tl_server *server) {
    if (!server) return;
    server->stopping = true;
    if (server->daemon) MHD_stop_daemon(server->daemon);
    pthread_mutex_destroy(&server->lock);
    tl_buffer_free(&server->page);
    tl_buffer_free(&server->report);
    tl_buffer_free(&server->progress);
    free(server->directory);
    free(server);
}
