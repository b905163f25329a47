/* MLflow: one run per cell over its REST API (version 2.0). */
#include "report/export.h"
#include "report/load.h"

#include <curl/curl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    LARGEST_ANSWER = 1 << 22,
    CONNECT_SECONDS = 15,
    ANSWER_SECONDS = 60,
    BATCH_METRICS = 1000, /* limits of runs/log-batch */
    BATCH_PARAMS = 100,
    TAG_BYTES = 5000,
    PARAM_BYTES = 500,
};

/* The tag by which an export finds what an earlier one sent. */
#define CELL_TAG "tinyllm.cell"

typedef struct client {
    CURL *curl;
    struct curl_slist *headers;
    tl_buffer uri; /* without a final '/' */
    tl_buffer answer;
    tl_error *error;
} client;

/* ---- requests ---- */

static size_t take_answer(char *bytes, size_t size, size_t count, void *context) {
    tl_buffer *answer = context;
    if (answer->length + size * count > LARGEST_ANSWER) return 0;
    tl_buffer_append(answer, bytes, size * count);
    return answer->failed ? 0 : size * count;
}

/* Name and password, or a token, as MLflow's own clients take them. */
static bool set_credentials(client *c) {
    const char *token = getenv("MLFLOW_TRACKING_TOKEN");
    const char *user = getenv("MLFLOW_TRACKING_USERNAME");
    const char *password = getenv("MLFLOW_TRACKING_PASSWORD");
    if (user && password) {
        curl_easy_setopt(c->curl, CURLOPT_HTTPAUTH, CURLAUTH_BASIC);
        curl_easy_setopt(c->curl, CURLOPT_USERNAME, user);
        curl_easy_setopt(c->curl, CURLOPT_PASSWORD, password);
    } else if (token) {
        tl_buffer header = {0};
        tl_buffer_append_format(&header, "Authorization: Bearer %s", token);
        struct curl_slist *list = header.failed ? NULL : curl_slist_append(c->headers, header.data);
        tl_buffer_free(&header);
        if (!list) return tl_fail_memory(c->error, 0, "a header");
        c->headers = list;
    }
    return true;
}

static bool open_client(client *c, const char *uri) {
    if (strncmp(uri, "http://", 7) != 0 && strncmp(uri, "https://", 8) != 0)
        return tl_fail(c->error, TL_ERROR_USAGE, "--uri %s: expected http://… or https://…", uri);
    tl_buffer_append_string(&c->uri, uri);
    while (!c->uri.failed && c->uri.length && c->uri.data[c->uri.length - 1] == '/')
        c->uri.data[--c->uri.length] = 0;
    c->curl = curl_easy_init();
    c->headers = curl_slist_append(NULL, "Content-Type: application/json");
    if (!c->curl || !c->headers || c->uri.failed)
        return tl_fail_memory(c->error, 0, "an HTTP client");
    if (!set_credentials(c)) return false;
    curl_easy_setopt(c->curl, CURLOPT_HTTPHEADER, c->headers);
    curl_easy_setopt(c->curl, CURLOPT_WRITEFUNCTION, take_answer);
    curl_easy_setopt(c->curl, CURLOPT_WRITEDATA, &c->answer);
    curl_easy_setopt(c->curl, CURLOPT_CONNECTTIMEOUT, (long)CONNECT_SECONDS);
    curl_easy_setopt(c->curl, CURLOPT_TIMEOUT, (long)ANSWER_SECONDS);
    curl_easy_setopt(c->curl, CURLOPT_NOSIGNAL, 1L);
#if LIBCURL_VERSION_NUM >= 0x075500
    curl_easy_setopt(c->curl, CURLOPT_PROTOCOLS_STR, "http,https");
#else
    curl_easy_setopt(c->curl, CURLOPT_PROTOCOLS, (long)(CURLPROTO_HTTP | CURLPROTO_HTTPS));
#endif
    curl_easy_setopt(c->curl, CURLOPT_USERAGENT, "tinyllm/" TINYLLM_VERSION);
    return true;
}

static void close_client(client *c) {
    curl_easy_cleanup(c->curl);
    curl_slist_free_all(c->headers);
    tl_buffer_free(&c->uri);
    tl_buffer_free(&c->answer);
}

/* Fails with what the server said of itself. */
static bool refuse(client *c, const char *path, long status) {
    cJSON *json = cJSON_ParseWithLength(tl_buffer_string(&c->answer), c->answer.length);
    const char *code = cJSON_GetStringValue(cJSON_GetObjectItem(json, "error_code"));
    const char *message = cJSON_GetStringValue(cJSON_GetObjectItem(json, "message"));
    tl_fail(c->error, TL_ERROR_NETWORK, "%s: %s answered %ld%s%s%s%.200s", c->uri.data, path,
            status, code ? " " : "", code ? code : "", message ? ": " : "", message ? message : "");
    cJSON_Delete(json);
    return false;
}

/* Sends a POST with `body`, or a GET where it is NULL. `*absent` (may be NULL) is set instead of an
 * error when the server answers 404. The parsed answer is the caller's; NULL on failure. */
static cJSON *request(client *c, const char *path, const tl_buffer *body, bool *absent) {
    tl_buffer url = {0};
    tl_buffer_append_format(&url, "%s/api/2.0/mlflow/%s", c->uri.data, path);
    if (url.failed || (body && body->failed)) {
        tl_buffer_free(&url);
        tl_fail_memory(c->error, 0, "a request");
        return NULL;
    }
    tl_buffer_clear(&c->answer);
    curl_easy_setopt(c->curl, CURLOPT_URL, url.data);
    curl_easy_setopt(c->curl, body ? CURLOPT_POST : CURLOPT_HTTPGET, 1L);
    if (body) {
        curl_easy_setopt(c->curl, CURLOPT_POSTFIELDS, body->data);
        curl_easy_setopt(c->curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)body->length);
    }
    CURLcode result = curl_easy_perform(c->curl);
    tl_buffer_free(&url);
    long status = 0;
    curl_easy_getinfo(c->curl, CURLINFO_RESPONSE_CODE, &status);
    if (result != CURLE_OK) {
        tl_fail(c->error, TL_ERROR_NETWORK, "%s: %s", c->uri.data, curl_easy_strerror(result));
        return NULL;
    }
    if (status == 404 && absent) {
        *absent = true;
        return NULL;
    }
    if (status != 200) {
        refuse(c, path, status);
        return NULL;
    }
    return tl_json_parse(tl_buffer_string(&c->answer), c->answer.length, path, c->error);
}

/* A POST whose answer holds nothing of interest. */
static bool post(client *c, const char *path, const tl_buffer *body) {
    cJSON *answer = request(c, path, body, NULL);
    cJSON_Delete(answer);
    return answer != NULL;
}

/* A string inside the answer: object.field, copied out. NULL (and an error) when it is not there.
 */
static char *answer_string(client *c, const cJSON *object, const char *field, const char *path) {
    const char *value = cJSON_GetStringValue(tl_json_get(object, field));
    char *copy = value ? strdup(value) : NULL;
    if (!value)
        tl_fail(c->error, TL_ERROR_FORMAT, "%s: %s: the answer has no '%s'", c->uri.data, path,
                field);
    else if (!copy)
        tl_fail_memory(c->error, strlen(value), field);
    return copy;
}

/* ---- bodies ---- */

/* {"key":…,"value":…} in an array that has begun; `limit` cuts the value. */
static void append_pair(tl_buffer *body, const char *key, const char *value, size_t limit) {
    tl_json_open(body, NULL, '{');
    tl_json_put_string(body, "key", key);
    tl_json_put_name(body, "value");
    size_t length = strlen(value);
    if (length > limit) length = limit;
    while (length < strlen(value) && ((unsigned char)value[length] & 0xc0) == 0x80)
        length--; /* no half characters */
    tl_json_append_string(body, value, length);
    tl_buffer_append_byte(body, '}');
}

static int64_t milliseconds(double seconds) {
    return isfinite(seconds) ? llround(seconds * 1e3) : 0;
}

static void append_metric(tl_buffer *body, const char *key, double value, int64_t when) {
    if (!isfinite(value)) return;
    tl_json_open(body, NULL, '{');
    tl_json_put_string(body, "key", key);
    tl_json_put_double(body, "value", value);
    tl_json_put_int(body, "timestamp", when);
    tl_buffer_append_string(body, ",\"step\":0}");
}

static void append_metrics(tl_buffer *body, const tl_result_cell *cell) {
    int64_t when = milliseconds(cell->finished);
    int left = BATCH_METRICS;
    for (int m = 0; m < TL_MEASURE_COUNT; m++) {
        const tl_measure_traits *traits = tl_measure_get((tl_measure)m);
        if (isnan(cell->values[m])) continue;
        append_metric(body, traits->key, cell->values[m], when);
        left--;
    }
    for (int i = 0; i < cell->measure_count && left > 0; i++, left--) {
        bool headline = false; /* a key may be there once */
        for (int m = 0; m < TL_MEASURE_COUNT; m++)
            headline |= strcmp(tl_measure_get((tl_measure)m)->key, cell->measures[i].name) == 0;
        if (!headline) append_metric(body, cell->measures[i].name, cell->measures[i].value, when);
    }
}

static void append_params(tl_buffer *body, const tl_results *results, const tl_result_cell *cell) {
    char shots[16], parameters[32];
    snprintf(shots, sizeof shots, "%d", cell->shots);
    snprintf(parameters, sizeof parameters, "%lld", (long long)cell->model.parameters);
    const char *const params[][2] = {
        {"model", cell->model.id},
        {"family", cell->model.family},
        {"parameters", parameters},
        {"dataset", cell->task},
        {"protocol", cell->protocol},
        {"dtype", cell->dtype},
        {"precision", cell->precision},
        {"shots", shots},
        {"device", results->devices[cell->device].name},
    };
    for (size_t i = 0; i < sizeof params / sizeof *params; i++)
        if (*params[i][1]) append_pair(body, params[i][0], params[i][1], PARAM_BYTES);
}

/* ---- what an export does ---- */

/* A body with its first field; the caller appends the others. */
static tl_buffer begin_body(const char *field, const char *value) {
    tl_buffer body = {0};
    tl_buffer_append_byte(&body, '{');
    tl_json_put_string(&body, field, value);
    return body;
}

/* Ends the body, sends it and frees it. */
static bool post_body(client *c, const char *path, tl_buffer *body) {
    tl_buffer_append_byte(body, '}');
    bool good = post(c, path, body);
    tl_buffer_free(body);
    return good;
}

/* The experiment's id, made where it is missing. */
static char *find_experiment(client *c, const char *name) {
    char *escaped = curl_easy_escape(c->curl, name, 0);
    if (!escaped) {
        tl_fail_memory(c->error, strlen(name), "the experiment's name");
        return NULL;
    }
    tl_buffer path = {0};
    tl_buffer_append_format(&path, "experiments/get-by-name?experiment_name=%s", escaped);
    curl_free(escaped);
    bool absent = false;
    char *id = NULL;
    cJSON *answer = request(c, tl_buffer_string(&path), NULL, &absent);
    tl_buffer_free(&path);
    if (answer)
        id = answer_string(c, tl_json_get(answer, "experiment"), "experiment_id",
                           "experiments/get-by-name");
    cJSON_Delete(answer);
    if (!absent) return id;
    tl_buffer body = begin_body("name", name);
    tl_buffer_append_byte(&body, '}');
    answer = request(c, "experiments/create", &body, NULL);
    if (answer) id = answer_string(c, answer, "experiment_id", "experiments/create");
    cJSON_Delete(answer);
    tl_buffer_free(&body);
    return id;
}

/* Deletes the run that `info` is of. */
static bool delete_run(client *c, const cJSON *info) {
    char *run = answer_string(c, info, "run_id", "runs/search");
    if (!run) return false;
    tl_buffer body = begin_body("run_id", run);
    bool good = post_body(c, "runs/delete", &body);
    free(run);
    return good;
}

/* Is there a run of this cell? One that an interrupted export left unfinished is deleted. */
static bool find_run(client *c, const char *experiment, const char *id, bool *there) {
    char filter[64];
    snprintf(filter, sizeof filter, "tags.`" CELL_TAG "` = '%s'", id);
    tl_buffer body = begin_body("filter", filter);
    tl_json_open(&body, "experiment_ids", '[');
    tl_json_append_string(&body, experiment, strlen(experiment));
    tl_buffer_append_string(&body, "]}");
    cJSON *answer = request(c, "runs/search", &body, NULL);
    tl_buffer_free(&body);
    bool good = answer != NULL;
    const cJSON *run, *runs = tl_json_get(answer, "runs");
    cJSON_ArrayForEach(run, runs) {
        const cJSON *info = tl_json_get(run, "info");
        const char *status = cJSON_GetStringValue(tl_json_get(info, "status"));
        if (status && strcmp(status, "RUNNING") != 0)
            *there = true;
        else
            good = good && delete_run(c, info);
    }
    cJSON_Delete(answer);
    return good;
}

static char *create_run(client *c, const char *experiment, const tl_results *results,
                        const tl_result_cell *cell, const char *cell_id) {
    tl_buffer body = begin_body("experiment_id", experiment), name = {0};
    tl_buffer_append_format(&name, "%s in %s", cell->model.name, cell->task);
    tl_json_put_string(&body, "run_name", tl_buffer_string(&name));
    tl_json_put_int(&body, "start_time", milliseconds(cell->started));
    tl_json_open(&body, "tags", '[');
    const char *const tags[][2] = {
        {"device", results->devices[cell->device].name},
        {"model", cell->model.name},
        {"dataset", cell->task},
        {"verdict", tl_verdict_name(cell->verdict)},
        {"reason", cell->reason},
        {"mlflow.source.name", "tinyllm " TINYLLM_VERSION},
        {"tinyllm.identity", cell->identity},
        {CELL_TAG, cell_id},
    };
    for (size_t i = 0; i < sizeof tags / sizeof *tags; i++)
        if (*tags[i][1]) append_pair(&body, tags[i][0], tags[i][1], TAG_BYTES);
    tl_buffer_append_string(&body, "]}");
    body.failed |= name.failed;
    cJSON *answer = request(c, "runs/create", &body, NULL);
    char *id = NULL;
    if (answer) {
        const cJSON *info = tl_json_get(tl_json_get(answer, "run"), "info");
        id = answer_string(c, info, "run_id", "runs/create");
    }
    cJSON_Delete(answer);
    tl_buffer_free(&body);
    tl_buffer_free(&name);
    return id;
}

static bool log_batch(client *c, const char *run, const tl_results *results,
                      const tl_result_cell *cell) {
    tl_buffer body = begin_body("run_id", run);
    tl_json_open(&body, "metrics", '[');
    append_metrics(&body, cell);
    tl_buffer_append_string(&body, "],\"params\":[");
    append_params(&body, results, cell);
    tl_buffer_append_byte(&body, ']');
    return post_body(c, "runs/log-batch", &body);
}

static bool end_run(client *c, const char *run, const tl_result_cell *cell) {
    tl_buffer body = begin_body("run_id", run);
    tl_json_put_string(&body, "status", tl_cell_done(cell) ? "FINISHED" : "FAILED");
    tl_json_put_int(&body, "end_time", milliseconds(cell->finished));
    return post_body(c, "runs/update", &body);
}

static bool export_cell(client *c, const char *experiment, const tl_results *results,
                        const tl_result_cell *cell) {
    char id[TL_CELL_ID + 1];
    tl_cell_id(results, cell, id);
    bool there = false, good = find_run(c, experiment, id, &there);
    if (good && !there) {
        char *run = create_run(c, experiment, results, cell, id);
        good = run && log_batch(c, run, results, cell) && end_run(c, run, cell);
        free(run);
    }
    return good || tl_fail_within(c->error, "%s on %s", cell->model.name, cell->task);
}

static bool export_cells(client *c, const char *name, const tl_results *results, int *count) {
    char *experiment = find_experiment(c, name);
    bool good = experiment != NULL;
    for (int i = 0; good && i < results->cell_count; i++) {
        if (tl_cell_waiting(&results->cells[i])) continue;
        good = export_cell(c, experiment, results, &results->cells[i]);
        if (good && count) (*count)++;
    }
    free(experiment);
    return good;
}

bool tl_export_mlflow(const char *directory, const char *uri, const char *experiment, int *count,
                      tl_error *error) {
    if (count) *count = 0;
    client c = {.error = error};
    tl_results *results = tl_results_load_run(directory, error);
    bool good = results && open_client(&c, uri) && export_cells(&c, experiment, results, count);
    close_client(&c);
    tl_results_free(results);
    return good;
}
