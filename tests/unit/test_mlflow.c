/* MLflow's REST API, spoken to a stub that checks every request. */
#include "report/export.h"
#include "support/run_fixture.h"
#include "support/support.h"

#include <math.h>
#include <microhttpd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { REQUESTS = 64, BODY = 1 << 16 };

typedef struct request {
    char method[8], path[256], query[256], authorization[128], type[64];
    char body[BODY];
    size_t length;
} request;

/* What the stub has seen, and how it answers. */
typedef struct stub {
    struct MHD_Daemon *daemon;
    char uri[64];
    request *requests;
    int count;
    bool experiment_exists;
    const char *failing; /* a path that is answered with 400 */
    const char *found;   /* what runs/search answers */
} stub;

static enum MHD_Result answer(struct MHD_Connection *connection, unsigned status,
                              const char *text) {
    struct MHD_Response *response = MHD_create_response_from_buffer(
        strlen(text), (void *)(uintptr_t)text, MHD_RESPMEM_MUST_COPY);
    enum MHD_Result result = MHD_queue_response(connection, status, response);
    MHD_destroy_response(response);
    return result;
}

static enum MHD_Result respond(stub *s, struct MHD_Connection *connection, const char *path) {
    if (s->failing && strstr(path, s->failing))
        return answer(connection, 400,
                      "{\"error_code\":\"INVALID_PARAMETER_VALUE\",\"message\":\"no such thing\"}");
    if (strstr(path, "experiments/get-by-name")) {
        if (s->experiment_exists)
            return answer(connection, 200, "{\"experiment\":{\"experiment_id\":\"7\"}}");
        return answer(connection, 404, "{\"error_code\":\"RESOURCE_DOES_NOT_EXIST\"}");
    }
    if (strstr(path, "experiments/create"))
        return answer(connection, 200, "{\"experiment_id\":\"8\"}");
    if (strstr(path, "runs/search")) return answer(connection, 200, s->found ? s->found : "{}");
    if (strstr(path, "runs/create"))
        return answer(connection, 200, "{\"run\":{\"info\":{\"run_id\":\"r1\"}}}");
    return answer(connection, 200, "{}");
}

static void note(char *to, size_t size, const char *text) {
    snprintf(to, size, "%s", text ? text : "");
}

static enum MHD_Result serve(void *context, struct MHD_Connection *connection, const char *path,
                             const char *method, const char *version, const char *data,
                             size_t *size, void **state) {
    (void)version;
    stub *s = context;
    if (!*state) {
        if (s->count == REQUESTS) return MHD_NO;
        request *r = &s->requests[s->count++];
        note(r->method, sizeof r->method, method);
        note(r->path, sizeof r->path, path);
        note(r->query, sizeof r->query,
             MHD_lookup_connection_value(connection, MHD_GET_ARGUMENT_KIND, "experiment_name"));
        note(r->authorization, sizeof r->authorization,
             MHD_lookup_connection_value(connection, MHD_HEADER_KIND, "Authorization"));
        note(r->type, sizeof r->type,
             MHD_lookup_connection_value(connection, MHD_HEADER_KIND, "Content-Type"));
        *state = r;
        return MHD_YES;
    }
    request *r = *state;
    if (*size) {
        if (r->length + *size >= BODY) return MHD_NO;
        memcpy(r->body + r->length, data, *size);
        r->length += *size;
        *size = 0;
        return MHD_YES;
    }
    return respond(s, connection, path);
}

static stub start(void) {
    stub s = {.requests = calloc(REQUESTS, sizeof(request))};
    return s;
}

static void listen_on(stub *s) {
    s->daemon =
        MHD_start_daemon(MHD_USE_INTERNAL_POLLING_THREAD, 0, NULL, NULL, serve, s, MHD_OPTION_END);
    assert_non_null(s->daemon);
    const union MHD_DaemonInfo *info = MHD_get_daemon_info(s->daemon, MHD_DAEMON_INFO_BIND_PORT);
    snprintf(s->uri, sizeof s->uri, "http://127.0.0.1:%u/", (unsigned)info->port);
}

static void stop(stub *s) {
    MHD_stop_daemon(s->daemon);
    free(s->requests);
}

static cJSON *body_of(const request *r) {
    tl_error error = {0};
    assert_string_equal(r->type, "application/json");
    cJSON *json = tl_json_parse(r->body, r->length, r->path, &error);
    assert_ok(json, error);
    return json;
}

static const char *text(const cJSON *object, const char *field) {
    return cJSON_GetStringValue(tl_json_get(object, field));
}

/* The value of a key among {"key", "value"} pairs; fails the test unless it is there once. */
static const cJSON *pair(const cJSON *list, const char *key) {
    const cJSON *entry, *found = NULL;
    cJSON_ArrayForEach(entry, list) {
        if (strcmp(text(entry, "key"), key) != 0) continue;
        assert_null(found);
        found = tl_json_get(entry, "value");
    }
    if (!found) fail_msg("no key '%s'", key);
    return found;
}

/* The search for a cell's run; returns the id that it looks for. */
static const char *check_search(const request *r, const char *experiment) {
    static char id[9];
    cJSON *body = body_of(r);
    assert_string_equal(r->path, "/api/2.0/mlflow/runs/search");
    const cJSON *experiments = tl_json_get(body, "experiment_ids");
    assert_int_equal(cJSON_GetArraySize(experiments), 1);
    assert_string_equal(experiments->child->valuestring, experiment);
    assert_int_equal(sscanf(text(body, "filter"), "tags.`tinyllm.cell` = '%8[0-9a-z]'", id), 1);
    cJSON_Delete(body);
    return id;
}

static void check_create(const request *r, const char *experiment, const char *cell) {
    cJSON *body = body_of(r);
    assert_string_equal(r->method, "POST");
    assert_string_equal(r->path, "/api/2.0/mlflow/runs/create");
    assert_string_equal(text(body, "experiment_id"), experiment);
    assert_string_equal(text(body, "run_name"), "tiny-a-20M in arc_easy");
    assert_true(tl_json_get(body, "start_time")->valuedouble > 1.7e12);
    const cJSON *tags = tl_json_get(body, "tags");
    assert_string_equal(pair(tags, "device")->valuestring, "Board 2C");
    assert_string_equal(pair(tags, "dataset")->valuestring, "arc_easy");
    assert_string_equal(pair(tags, "verdict")->valuestring, "done");
    assert_string_equal(pair(tags, "tinyllm.cell")->valuestring, cell);
    cJSON_Delete(body);
}

static void check_batch(const request *r) {
    cJSON *body = body_of(r);
    assert_string_equal(r->path, "/api/2.0/mlflow/runs/log-batch");
    assert_string_equal(text(body, "run_id"), "r1");
    const cJSON *metrics = tl_json_get(body, "metrics"), *params = tl_json_get(body, "params");
    int correct = 0;
    for (int i = 0; i < 25; i++)
        correct += run_fixture_right(0, 0, i);
    assert_float_equal(pair(metrics, "accuracy")->valuedouble, 4.0 * correct, 1e-9);
    assert_float_equal(pair(metrics, "model_size_mb")->valuedouble, 76, 1e-9);
    const cJSON *metric;
    cJSON_ArrayForEach(metric, metrics) {
        assert_true(tl_json_get(metric, "timestamp")->valuedouble > 1.7e12);
        assert_int_equal(tl_json_get(metric, "step")->valueint, 0);
    }
    assert_string_equal(pair(params, "model")->valuestring, "org/tiny-a-20M");
    assert_string_equal(pair(params, "protocol")->valuestring, "study");
    cJSON_Delete(body);
}

static void check_update(const request *r, const char *status) {
    cJSON *body = body_of(r);
    assert_string_equal(r->path, "/api/2.0/mlflow/runs/update");
    assert_string_equal(text(body, "run_id"), "r1");
    assert_string_equal(text(body, "status"), status);
    assert_non_null(tl_json_get(body, "end_time"));
    cJSON_Delete(body);
}

static const char *make_run(bool troubled) {
    const char *directory = test_scratch_path(troubled ? "troubled" : "good");
    if (!tl_dir_exists(directory))
        run_fixture_write(directory, &(run_fixture){1, troubled ? 3 : 1, 25, .troubled = troubled});
    return directory;
}

static void test_every_request_is_right(void **state) {
    (void)state;
    stub s = start();
    listen_on(&s);
    tl_error error = {0};
    int count;
    unsetenv("MLFLOW_TRACKING_TOKEN");
    assert_ok(tl_export_mlflow(make_run(false), s.uri, "small & tiny", &count, &error), error);
    assert_int_equal(count, 1);
    assert_int_equal(s.count, 6);
    assert_string_equal(s.requests[0].method, "GET");
    assert_string_equal(s.requests[0].path, "/api/2.0/mlflow/experiments/get-by-name");
    assert_string_equal(s.requests[0].query, "small & tiny");
    assert_string_equal(s.requests[0].authorization, "");
    cJSON *body = body_of(&s.requests[1]);
    assert_string_equal(s.requests[1].path, "/api/2.0/mlflow/experiments/create");
    assert_string_equal(text(body, "name"), "small & tiny");
    cJSON_Delete(body);
    check_create(&s.requests[3], "8", check_search(&s.requests[2], "8"));
    check_batch(&s.requests[4]);
    check_update(&s.requests[5], "FINISHED");
    stop(&s);
}

static void test_failed_cells_are_failed_runs(void **state) {
    (void)state;
    stub s = start();
    s.experiment_exists = true;
    listen_on(&s);
    tl_error error = {0};
    int count;
    setenv("MLFLOW_TRACKING_TOKEN", "secret", 1);
    assert_ok(tl_export_mlflow(make_run(true), s.uri, "e", &count, &error), error);
    unsetenv("MLFLOW_TRACKING_TOKEN");
    assert_int_equal(count, 2); /* the third is not finished */
    assert_int_equal(s.count, 9);
    check_create(&s.requests[2], "7", check_search(&s.requests[1], "7"));
    check_update(&s.requests[4], "FINISHED");
    check_update(&s.requests[8], "FAILED");
    for (int i = 0; i < s.count; i++)
        assert_string_equal(s.requests[i].authorization, "Bearer secret");
    stop(&s);
}

static void test_what_is_there_is_not_sent_again(void **state) {
    (void)state;
    stub s = start();
    s.experiment_exists = true;
    s.found = "{\"runs\":[{\"info\":{\"run_id\":\"r0\",\"status\":\"FINISHED\"}}]}";
    listen_on(&s);
    tl_error error = {0};
    int count;
    assert_ok(tl_export_mlflow(make_run(false), s.uri, "e", &count, &error), error);
    assert_int_equal(count, 1);
    assert_int_equal(s.count, 2);
    check_search(&s.requests[1], "7");
    stop(&s);
}

static void test_unfinished_runs_are_replaced(void **state) {
    (void)state;
    stub s = start();
    s.experiment_exists = true;
    s.found = "{\"runs\":[{\"info\":{\"run_id\":\"r0\",\"status\":\"RUNNING\"}}]}";
    listen_on(&s);
    tl_error error = {0};
    assert_ok(tl_export_mlflow(make_run(false), s.uri, "e", NULL, &error), error);
    assert_int_equal(s.count, 6);
    cJSON *body = body_of(&s.requests[2]);
    assert_string_equal(s.requests[2].path, "/api/2.0/mlflow/runs/delete");
    assert_string_equal(text(body, "run_id"), "r0");
    cJSON_Delete(body);
    check_create(&s.requests[3], "7", check_search(&s.requests[1], "7"));
    check_update(&s.requests[5], "FINISHED");
    stop(&s);
}

static void test_answers_without_a_run_are_refused(void **state) {
    (void)state;
    static const char *const answers[] = {"{\"runs\":[{}]}", "{\"runs\":[7]}",
                                          "{\"runs\":[{\"info\":{\"run_id\":1}}]}", "[", ""};
    for (size_t i = 0; i < sizeof answers / sizeof *answers; i++) {
        stub s = start();
        s.experiment_exists = true;
        s.found = answers[i];
        listen_on(&s);
        tl_error error = {0};
        assert_false(tl_export_mlflow(make_run(false), s.uri, "e", NULL, &error));
        assert_int_equal(error.code, TL_ERROR_FORMAT);
        test_assert_contains(error.message, "runs/search");
        stop(&s);
    }
}

static void test_refusals_say_what_the_server_said(void **state) {
    (void)state;
    static const char *const paths[] = {"get-by-name", "experiments/create", "runs/search",
                                        "runs/create", "log-batch",          "runs/update"};
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        stub s = start();
        s.failing = paths[i];
        listen_on(&s);
        tl_error error = {0};
        assert_false(tl_export_mlflow(make_run(false), s.uri, "e", NULL, &error));
        assert_int_equal(error.code, TL_ERROR_NETWORK);
        test_assert_contains(error.message, "400 INVALID_PARAMETER_VALUE: no such thing");
        test_assert_contains(error.message, paths[i]);
        stop(&s);
    }
    tl_error error = {0};
    assert_false(tl_export_mlflow(make_run(false), "http://127.0.0.1:1", "e", NULL, &error));
    assert_int_equal(error.code, TL_ERROR_NETWORK);
    assert_false(tl_export_mlflow(make_run(false), "file:///etc", "e", NULL, &error));
    assert_int_equal(error.code, TL_ERROR_USAGE);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_request_is_right),
        cmocka_unit_test(test_failed_cells_are_failed_runs),
        cmocka_unit_test(test_what_is_there_is_not_sent_again),
        cmocka_unit_test(test_unfinished_runs_are_replaced),
        cmocka_unit_test(test_answers_without_a_run_are_refused),
        cmocka_unit_test(test_refusals_say_what_the_server_said),
    };
    return cmocka_run_group_tests_name("mlflow", tests, NULL, NULL);
}
