/* tinyllm pull against the test hub: what arrives, and what does not when the hub misbehaves. */
#include "support/hub.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int setup(void **state) {
    *state = NULL;
    if (!test_hub_start()) return 0;
    static bool ready = true;
    *state = &ready;
    test_hub_text("models/org/tiny", "config.json", "{\"model_type\": \"llama\"}");
    test_hub_text("models/org/tiny", "tokenizer.json", "{}");
    test_hub_text("models/org/tiny", "README.md", "# Tiny");
    test_hub_file("models/org/tiny", "model.safetensors", 300000, 1);
    test_hub_file("models/org/tiny", "pytorch_model.bin", 1000, 2);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    test_hub_stop();
    return 0;
}

#define NEED_SERVER(state)                                                                         \
    if (!*(state)) skip()

static void expect(test_result result, int status, const char *on_err) {
    if (result.status != status)
        fail_msg("status %d, expected %d:\n%s", result.status, status, result.err);
    if (on_err) test_assert_contains(result.err, on_err);
    test_result_free(&result);
}

/* How many lines of `log` contain both texts. */
static int count_lines(const char *log, const char *a, const char *b) {
    int count = 0;
    while (*log) {
        size_t length = strcspn(log, "\n");
        count += memmem(log, length, a, strlen(a)) && memmem(log, length, b, strlen(b));
        log += length + (log[length] == '\n');
    }
    return count;
}

static void assert_same_file(const char *a, const char *b) {
    tl_error error = {0};
    size_t length_a, length_b;
    char *text_a = tl_file_read(a, 1 << 28, &length_a, &error);
    assert_ok(text_a, error);
    char *text_b = tl_file_read(b, 1 << 28, &length_b, &error);
    assert_ok(text_b, error);
    assert_int_equal(length_a, length_b);
    assert_memory_equal(text_a, text_b, length_a);
    free(text_a);
    free(text_b);
}

/* The cache is laid out as huggingface_hub would have done. */
static void test_layout(void **state) {
    NEED_SERVER(state);
    char commit[64], target[256], snapshot[512];
    tl_error error = {0};
    test_result result = TEST_RUN(NULL, "pull", "org/tiny");
    if (result.status != 0) fail_msg("%s", result.err);
    test_assert_contains(result.err, "to fetch: 300.02 kB");
    char *ref = tl_file_read(test_hub_cache("models--org--tiny/refs/main"), 100, NULL, &error);
    assert_ok(ref, error);
    assert_int_equal(strlen(ref), 40);
    strcpy(commit, ref);
    free(ref);
    snprintf(snapshot, sizeof snapshot, "%s\n",
             test_hub_cache("models--org--tiny/snapshots/%s", commit));
    assert_string_equal(result.out, snapshot);
    test_result_free(&result);
    snapshot[strcspn(snapshot, "\n")] = 0;

    const char *link = test_hub_cache("models--org--tiny/snapshots/%s/model.safetensors", commit);
    ssize_t length = readlink(link, target, sizeof target - 1);
    assert_true(length > 0);
    target[length] = 0;
    assert_memory_equal(target, "../../blobs/", 12);
    assert_int_equal(strlen(target), 12 + 64);
    assert_same_file(link, test_scratch_path("hub1/models/org/tiny/model.safetensors"));
    link = test_hub_cache("models--org--tiny/snapshots/%s/config.json", commit);
    length = readlink(link, target, sizeof target - 1);
    assert_int_equal(length, 12 + 40);
    assert_true(tl_file_exists(test_hub_cache("CACHEDIR.TAG")));
    /* Neither the other weights nor the README. */
    assert_false(
        tl_file_exists(test_hub_cache("models--org--tiny/snapshots/%s/pytorch_model.bin", commit)));
    assert_false(
        tl_file_exists(test_hub_cache("models--org--tiny/snapshots/%s/README.md", commit)));

    /* A second time nothing is fetched; offline nobody is asked. */
    free(test_hub_log());
    expect(TEST_RUN(NULL, "pull", "org/tiny"), 0, "to fetch: 0 B");
    char *log = test_hub_log();
    assert_int_equal(count_lines(log, "resolve", ""), 0);
    free(log);
    setenv("HF_HUB_OFFLINE", "1", 1);
    result = TEST_RUN(NULL, "pull", "org/tiny");
    assert_int_equal(result.status, 0);
    test_assert_contains(result.out, snapshot);
    test_result_free(&result);
    expect(TEST_RUN(NULL, "pull", "org/other"), 1, "offline");
    log = test_hub_log();
    assert_string_equal(log, "");
    free(log);
    unsetenv("HF_HUB_OFFLINE");
}

static void test_pages_and_shards(void **state) {
    NEED_SERVER(state);
    test_hub_behave("{\"page\": 2}");
    test_hub_text("models/org/shards", "config.json", "{}");
    test_hub_text("models/org/shards", "pytorch_model.bin.index.json",
                  "{\"weight_map\": {\"a\": \"pytorch_model-00001-of-00002.bin\", "
                  "\"b\": \"pytorch_model-00002-of-00002.bin\"}}");
    test_hub_file("models/org/shards", "pytorch_model-00001-of-00002.bin", 5000, 3);
    test_hub_file("models/org/shards", "pytorch_model-00002-of-00002.bin", 6000, 4);
    test_hub_file("models/org/shards", "training_args.bin", 700, 5);
    test_hub_file("models/org/shards", "onnx/model.safetensors", 800, 6);
    test_result result = TEST_RUN(NULL, "pull", "--json", "org/shards");
    if (result.status != 0) fail_msg("%s", result.err);
    tl_error error = {0};
    cJSON *json = tl_json_parse(result.out, strlen(result.out), "stdout", &error);
    assert_ok(json, error);
    const cJSON *repo = cJSON_GetArrayItem(json, 0);
    assert_string_equal(cJSON_GetStringValue(tl_json_get(repo, "id")), "org/shards");
    assert_true(cJSON_IsTrue(tl_json_get(repo, "complete")));
    assert_int_equal(cJSON_GetArraySize(tl_json_get(repo, "files")), 4);
    cJSON_Delete(json);
    test_result_free(&result);
}

/* The token goes to the hub and not to where it redirects. */
static void test_token(void **state) {
    NEED_SERVER(state);
    setenv("HF_TOKEN", "hf_test", 1);
    expect(TEST_RUN(NULL, "pull", "org/tiny"), 0, NULL);
    char *log = test_hub_log();
    assert_int_equal(count_lines(log, "\"server\": \"cdn\"", "model.safetensors"), 1);
    assert_int_equal(count_lines(log, "\"server\": \"cdn\"", "hf_test"), 0);
    assert_int_equal(count_lines(log, "\"server\": \"hub\"", "\"authorization\": null"), 0);
    free(log);
    unsetenv("HF_TOKEN");
}

/* Gated, private, missing, wrong token, wrong revision: each its own message. */
static void test_refusals(void **state) {
    NEED_SERVER(state);
    test_hub_text("models/org/gated", "config.json", "{}");
    test_hub_text("models/org/gated", ".gated", "");
    test_hub_file("models/org/gated", "model.safetensors", 100, 7);
    test_hub_text("models/org/private", "config.json", "{}");
    test_hub_text("models/org/private", ".private", "");
    test_hub_file("models/org/private", "model.safetensors", 100, 8);
    expect(TEST_RUN(NULL, "pull", "org/gated"), 1, "gated: accept its conditions at");
    expect(TEST_RUN(NULL, "pull", "org/private"), 1, "private, or does not exist");
    expect(TEST_RUN(NULL, "pull", "org/tiny@v9"), 1, "no revision 'v9'");
    expect(TEST_RUN(NULL, "pull", "org/tiny", "--file", "*.nothing"), 2, "no file matches");
    expect(TEST_RUN(NULL, "pull", "no_such_task"), 1, "neither a task nor a model of the study");
    expect(TEST_RUN(NULL, "pull", "../tiny"), 2, "not the name of a model");
    expect(TEST_RUN(NULL, "pull"), 2, "what to pull?");
    setenv("HF_TOKEN", "hf_test", 1);
    expect(TEST_RUN(NULL, "pull", "org/gated", "org/private"), 0, NULL);
    expect(TEST_RUN(NULL, "pull", "org/missing"), 1, "does not exist, or is private");
    setenv("HF_TOKEN", "hf_old", 1);
    expect(TEST_RUN(NULL, "pull", "org/tiny"), 1, "refused the token from HF_TOKEN");
    setenv("HF_TOKEN", "two words", 1);
    expect(TEST_RUN(NULL, "pull", "org/tiny"), 2, "not one word");
    unsetenv("HF_TOKEN");
    /* One failure does not keep the others from arriving. */
    expect(TEST_RUN(NULL, "pull", "org/missing", "org/tiny"), 1, NULL);
    expect(TEST_RUN(NULL, "pull", "org/tiny"), 0, "to fetch: 0 B");
}

/* Cut connections and busy servers: tried again, from where it was. */
static void test_trouble(void **state) {
    NEED_SERVER(state);
    test_hub_behave(
        "{\"status\": [503, 429, 408], \"retry_after\": 0, \"cut\": [5, 100, 100000, 0]}");
    expect(TEST_RUN(NULL, "pull", "org/tiny", "-j", "1"), 0, NULL);
    char *log = test_hub_log();
    assert_int_equal(count_lines(log, "\"server\": \"cdn\"", "\"range\": \"bytes="), 2);
    assert_true(count_lines(log, "\"server\": \"cdn\"", "\"if_range\": \"\\\"cdn-") >= 1);
    free(log);
    test_hub_text("models/org/down", "config.json", "{}");
    test_hub_file("models/org/down", "model.safetensors", 1000, 9);
    test_hub_behave("{\"status\": [0, 0, 0, 500, 500, 500, 500, 500, 500], \"retry_after\": 0}");
    expect(TEST_RUN(NULL, "pull", "org/down", "--retries", "1"), 1, "the server is in trouble");
    test_hub_behave("{\"status\": [429, 429, 429, 429, 429, 429, 429, 429, 429, 429, 429, 429],"
                    " \"retry_after\": 86400}");
    expect(TEST_RUN(NULL, "pull", "org/down", "-j", "1"), 1, "it asks to wait 86400 s");
}

/* A server without ranges: from the start, and right. Nor has it a page about revisions, so that
 * the commit comes from a header. */
static void test_no_ranges(void **state) {
    NEED_SERVER(state);
    test_hub_behave("{\"cut\": [0, 0, 150000], \"ignore_range\": true, \"no_revision\": true}");
    expect(TEST_RUN(NULL, "pull", "org/tiny", "-j", "1"), 0, NULL);
}

/* Left-overs of an earlier run that are wrong, or too long, do no harm. */
static void test_bad_partial(void **state) {
    NEED_SERVER(state);
    test_result result = TEST_RUN(NULL, "pull", "org/tiny");
    assert_int_equal(result.status, 0);
    char link[4200], target[4200], blob[4200], partial[4300];
    result.out[strcspn(result.out, "\n")] = 0;
    snprintf(link, sizeof link, "%s/model.safetensors", result.out);
    test_result_free(&result);
    ssize_t length = readlink(link, target, sizeof target - 1);
    target[length] = 0;
    snprintf(blob, sizeof blob, "%s", test_hub_cache("models--org--tiny/blobs/%s", target + 12));
    snprintf(partial, sizeof partial, "%s.incomplete", blob);
    static const size_t sizes[] = {1000, 300000, 400000};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        char *zeros = calloc(1, sizes[i]);
        test_write_file(partial, zeros, sizes[i]);
        free(zeros);
        assert_int_equal(unlink(blob), 0);
        expect(TEST_RUN(NULL, "pull", "org/tiny"), 0, NULL);
        assert_false(tl_file_exists(partial));
        assert_same_file(blob, test_scratch_path("hub%d/models/org/tiny/model.safetensors",
                                                 atoi(strstr(blob, "/home") + 5)));
    }
}

/* Wrong content is refused, named and removed. */
static void test_wrong_hash(void **state) {
    NEED_SERVER(state);
    test_hub_behave("{\"damage\": true}");
    expect(TEST_RUN(NULL, "pull", "org/tiny"), 1, "its SHA-256 is");
    DIR *blobs = opendir(test_hub_cache("models--org--tiny/blobs"));
    assert_non_null(blobs);
    for (struct dirent *entry; (entry = readdir(blobs));)
        assert_true(entry->d_name[0] == '.' || strlen(entry->d_name) == 40);
    closedir(blobs);
    assert_false(tl_file_exists(test_hub_cache("models--org--tiny/refs/main")));
    test_hub_behave("{\"long\": true}");
    expect(TEST_RUN(NULL, "pull", "org/tiny"), 1, "more than its");
    test_hub_behave("{}");
    expect(TEST_RUN(NULL, "pull", "org/tiny"), 0, NULL);
}

/* Pages that are not JSON, names that lead elsewhere, links planted in the cache. */
static void test_hostile(void **state) {
    NEED_SERVER(state);
    test_hub_behave("{\"html\": true}");
    expect(TEST_RUN(NULL, "pull", "org/tiny"), 1, "expected JSON, got text/html");
    static const char *const paths[] = {"../evil", "/etc/evil", "a/../../evil", "a\\\\b", ""};
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        char json[128];
        snprintf(json, sizeof json, "{\"path\": \"%s\"}", paths[i]);
        test_hub_behave(json);
        expect(TEST_RUN(NULL, "pull", "org/tiny"), 1, "could lead out of the cache");
    }
    test_hub_behave("{}");
    assert_false(tl_dir_exists(test_hub_cache("models--org--tiny/blobs")));
    tl_error error = {0};
    const char *outside = test_scratch_path("outside");
    assert_ok(tl_dir_create(outside, &error), error);
    assert_ok(tl_dir_create(test_hub_cache("models--org--tiny"), &error), error);
    assert_int_equal(symlink(outside, test_hub_cache("models--org--tiny/snapshots")), 0);
    expect(TEST_RUN(NULL, "pull", "org/tiny"), 1, "refused: a link");
    assert_int_equal(rmdir(outside), 0); /* still empty */
    unlink(test_hub_cache("models--org--tiny/snapshots"));
}

/* Folders of the cache that are links, and files that are none. */
static void test_planted_in_the_cache(void **state) {
    NEED_SERVER(state);
    tl_error error = {0};
    char outside[4096];
    snprintf(outside, sizeof outside, "%s", test_scratch_path("planted"));
    test_hub_text("models/org/planted", "config.json", "{}");
    test_hub_file("models/org/planted", "model.safetensors", 1000, 4);
    assert_ok(tl_dir_create(outside, &error), error);
    assert_ok(tl_dir_create(test_hub_cache(".locks"), &error), error);
    static const char *const links[] = {".locks/models--org--planted", "models--org--planted"};
    for (int i = 0; i < 2; i++) {
        assert_int_equal(symlink(outside, test_hub_cache("%s", links[i])), 0);
        expect(TEST_RUN(NULL, "pull", "org/planted"), 1, "refused: a link");
        assert_int_equal(unlink(test_hub_cache("%s", links[i])), 0);
    }
    assert_int_equal(rmdir(outside), 0); /* still empty */
    expect(TEST_RUN(NULL, "pull", "org/planted"), 0, NULL);
    char blob[4096], target[4096];
    snprintf(target, sizeof target, "%s", test_hub_cache("models--org--planted/refs/main"));
    char *commit = tl_file_read(target, 64, NULL, &error);
    assert_ok(commit, error);
    ssize_t length =
        readlink(test_hub_cache("models--org--planted/snapshots/%s/model.safetensors", commit),
                 target, sizeof target - 1);
    target[length < 0 ? 0 : length] = 0;
    free(commit);
    snprintf(blob, sizeof blob, "%s", test_hub_cache("models--org--planted/blobs/%s", target + 12));
    assert_int_equal(unlink(blob), 0);
    strcat(blob, ".incomplete");
    assert_int_equal(mkfifo(blob, 0666), 0);
    expect(TEST_RUN(NULL, "pull", "org/planted"), 1, "refused: not a file");
    unlink(blob);
}

/* Servers that lead in a circle, ask for hours of patience, compress unasked, refuse HEAD. */
static void test_odd_servers(void **state) {
    NEED_SERVER(state);
    test_hub_behave("{\"circle\": true}");
    expect(TEST_RUN(NULL, "pull", "org/tiny"), 1, "lead in a circle");
    test_hub_text("models/org/odd", "config.json", "{\"model_type\": \"llama\"}");
    test_hub_file("models/org/odd", "model.safetensors", 1000, 5);
    test_hub_behave("{\"gzip\": true, \"no_revision\": true, \"no_head\": true}");
    expect(TEST_RUN(NULL, "pull", "org/odd"), 0, NULL);
}

/* A disk without room and a server without a word: said before, and after, a short while. */
static void test_no_room_no_word(void **state) {
    NEED_SERVER(state);
    test_hub_behave("{\"size\": 1000000000000000}");
    expect(TEST_RUN(NULL, "pull", "org/tiny"), 1, "make room");
    assert_false(tl_dir_exists(test_hub_cache("models--org--tiny/blobs")));
    test_hub_behave("{\"hang\": true}");
    setenv("HF_HUB_DOWNLOAD_TIMEOUT", "1", 1);
    double began = tl_clock_monotonic();
    expect(TEST_RUN(NULL, "pull", "org/tiny", "--retries", "1"), 1, "tinyllm pull: http://");
    assert_true(tl_clock_monotonic() - began < 20);
    unsetenv("HF_HUB_DOWNLOAD_TIMEOUT");
    /* A proxy that is set is used. */
    setenv("http_proxy", "http://127.0.0.1:1", 1);
    expect(TEST_RUN(NULL, "pull", "org/tiny", "--retries", "0"), 1, "127.0.0.1 port 1");
    unsetenv("http_proxy");
}

/* Fetched, packed, unpacked elsewhere, found there offline. */
static void test_bundle(void **state) {
    NEED_SERVER(state);
    const char *bundle = test_scratch_path("tiny.tar.zst");
    expect(TEST_RUN(NULL, "pack", "org/tiny", "-o", bundle), 1, "tinyllm pull org/tiny");
    expect(TEST_RUN(NULL, "pull", "org/tiny"), 0, NULL);
    expect(TEST_RUN(NULL, "pack", "org/tiny"), 2, "-o FILE");
    expect(TEST_RUN(NULL, "pack", "org/tiny", "-o", bundle), 0, "3 files, 300.02 kB");
    setenv("HF_HOME", test_scratch_path("elsewhere"), 1);
    expect(TEST_RUN(NULL, "unpack", bundle, "--check"), 0, NULL);
    assert_false(tl_dir_exists(test_scratch_path("elsewhere")));
    expect(TEST_RUN(NULL, "unpack", bundle), 0, NULL);
    setenv("HF_HUB_OFFLINE", "1", 1);
    expect(TEST_RUN(NULL, "pull", "org/tiny"), 0, "in the cache");
    unsetenv("HF_HUB_OFFLINE");
    expect(TEST_RUN(NULL, "unpack", TEST_PROGRAM), 1, "not a valid archive");
}

/* A task's splits: as Parquet in the repository, else from the hub's conversion. */
static void test_datasets(void **state) {
    NEED_SERVER(state);
    char text[1024], *parquet;
    size_t length;
    tl_error error = {0};
    parquet = tl_file_read(TEST_SOURCE_DIR "/tests/fixtures/parquet/snappy-v1.parquet", 1 << 20,
                           &length, &error);
    assert_ok(parquet, error);
    test_hub_text("datasets/org/questions", "README.md", "rows");
    test_hub_text("datasets/org/questions", "questions.py", "a script");
    test_write_file(test_scratch_path("hub%d/datasets/org/questions@refs%%2Fconvert%%2Fparquet/"
                                      "default/validation/0000.parquet",
                                      atoi(strstr(getenv("HF_HOME"), "/home") + 5)),
                    parquet, length);
    free(parquet);
    snprintf(text, sizeof text,
             "name: questions\ntitle: Questions\ndataset:\n  hub: org/questions\n"
             "split: validation\nquestion: \"{question}\"\nchoices: [\"a\", \"b\"]\n"
             "gold: \"{small | int}\"\n");
    test_write_text(test_scratch_path("questions.yaml"), text);
    expect(TEST_RUN(NULL, "pull", test_scratch_path("questions.yaml")), 0, "org/questions @ ");
    assert_true(
        tl_file_exists(test_hub_cache("datasets--org--questions/refs/refs/convert/parquet")));
    expect(TEST_RUN(NULL, "pull", "datasets/org/questions", "--split", "nothing"), 1,
           "no Parquet file of split nothing");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_layout, setup, teardown),
        cmocka_unit_test_setup_teardown(test_pages_and_shards, setup, teardown),
        cmocka_unit_test_setup_teardown(test_token, setup, teardown),
        cmocka_unit_test_setup_teardown(test_refusals, setup, teardown),
        cmocka_unit_test_setup_teardown(test_trouble, setup, teardown),
        cmocka_unit_test_setup_teardown(test_no_ranges, setup, teardown),
        cmocka_unit_test_setup_teardown(test_bad_partial, setup, teardown),
        cmocka_unit_test_setup_teardown(test_wrong_hash, setup, teardown),
        cmocka_unit_test_setup_teardown(test_hostile, setup, teardown),
        cmocka_unit_test_setup_teardown(test_planted_in_the_cache, setup, teardown),
        cmocka_unit_test_setup_teardown(test_odd_servers, setup, teardown),
        cmocka_unit_test_setup_teardown(test_no_room_no_word, setup, teardown),
        cmocka_unit_test_setup_teardown(test_bundle, setup, teardown),
        cmocka_unit_test_setup_teardown(test_datasets, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
