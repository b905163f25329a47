/* Names of repositories, the registry and the lists, and finding snapshots in the cache. */
#include "hub/cache.h"
#include "hub/hub.h"
#include "hub/select.h"
#include "support/support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define COMMIT "0123456789abcdef0123456789abcdef01234567"

static void test_names(void **state) {
    (void)state;
    static const struct {
        const char *text;
        bool good;
        const char *id, *revision;
    } cases[] = {
        {"gpt2", true, "gpt2", "main"},
        {"org/name", true, "org/name", "main"},
        {"org/name@refs/pr/3", true, "org/name", "refs/pr/3"},
        {"a.b/c-d_e@v1.0", true, "a.b/c-d_e", "v1.0"},
        {"org/name@" COMMIT, true, "org/name", COMMIT},
        {"", false},
        {"../name", false},
        {"org/..", false},
        {"org/a/b", false},
        {"/etc", false},
        {"org/", false},
        {"org/na--me", false},
        {"org/na..me", false},
        {"-org/name", false},
        {"org/na me", false},
        {"org/name@", false},
        {"org/name@../../x", false},
        {"org/name@a\nb", false},
        {"org/name@a b", false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        tl_repo repo;
        tl_error error = {0};
        bool good = tl_repo_parse(TL_REPO_MODEL, cases[i].text, &repo, &error);
        if (good != cases[i].good) fail_msg("'%s': %s", cases[i].text, error.message);
        if (!good) continue;
        assert_string_equal(repo.id, cases[i].id);
        assert_string_equal(repo.revision, cases[i].revision);
    }
}

static void test_safe_paths(void **state) {
    (void)state;
    static const char *const good[] = {"config.json", "a/b/c.bin", ".gitattributes", "a/..b", "é"};
    static const char *const bad[] = {"",       "/a",   "a/",  "a//b",  "..",   "../a",
                                      "a/../b", "a/..", "./a", "a/./b", "a\\b", "a\nb"};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        if (!tl_is_safe_path(good[i])) fail_msg("'%s' should be safe", good[i]);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (tl_is_safe_path(bad[i])) fail_msg("'%s' should be refused", bad[i]);
}

static void test_registry(void **state) {
    (void)state;
    tl_error error = {0};
    tl_registry *registry = tl_registry_open(&error);
    assert_ok(registry, error);
    assert_int_equal(tl_registry_count(registry), 20);
    for (int i = 0; i < 20; i++) {
        const tl_known_model *model = tl_registry_at(registry, i);
        tl_repo repo;
        assert_ok(tl_repo_parse(TL_REPO_MODEL, model->id, &repo, &error), error);
        assert_non_null(model->family);
        assert_non_null(model->parameters_label);
        assert_true(model->parameters > 100000000 && model->parameters < 1200000000);
    }
    const tl_known_model *known = tl_registry_find(registry, "smollm-135m");
    assert_non_null(known);
    assert_string_equal(known->id, "HuggingFaceTB/SmolLM-135M");
    assert_ptr_equal(tl_registry_find(registry, "HuggingFaceTB/SmolLM-135M"), known);
    assert_null(tl_registry_find(registry, "SmolLM-9B"));
    tl_registry_free(registry);
}

static void test_lists(void **state) {
    (void)state;
    tl_error error = {0};
    char **items = NULL;
    int count = 0;
    assert_ok(tl_hub_expand("some/dir", &items, &count, &error), error);
    assert_ok(tl_hub_expand("@study", &items, &count, &error), error);
    assert_ok(tl_hub_expand("opt-125M@main", &items, &count, &error), error);
    assert_int_equal(count, 22);
    assert_string_equal(items[0], "some/dir");
    assert_string_equal(items[1], "bigscience/bloom-560m");
    assert_string_equal(items[21], "facebook/opt-125m@main");
    assert_false(tl_hub_expand("@nothing", &items, &count, &error));
    test_assert_contains(error.message, "@study");
    assert_int_equal(error.code, TL_ERROR_USAGE);
    for (int i = 0; i < count; i++)
        free(items[i]);
    free(items);
}

/* Lays out a snapshot as the hub's own library does. */
static void lay(const char *repo, const char *name, const char *blob, const char *text) {
    char link[4096], target[4096];
    test_write_text(test_scratch_path("hub/%s/refs/main", repo), COMMIT);
    if (text) test_write_text(test_scratch_path("hub/%s/blobs/%s", repo, blob), text);
    snprintf(link, sizeof link, "%s/hub/%s/snapshots/" COMMIT, test_scratch(), repo);
    tl_error error = {0};
    assert_ok(tl_dir_create(link, &error), error);
    snprintf(target, sizeof target, "../../blobs/%s", blob);
    strcat(link, "/");
    strcat(link, name);
    assert_int_equal(symlink(target, link), 0);
}

static void test_snapshots(void **state) {
    (void)state;
    setenv("HF_HUB_CACHE", test_scratch_path("hub"), 1);
    tl_error error = {0};
    char path[4096], expected[4096];
    assert_false(tl_hub_model_directory("org/tiny", path, sizeof path, &error));
    test_assert_contains(error.message, "tinyllm pull org/tiny");
    test_write_text(test_scratch_path("tiny.gguf"), "GGUF");
    assert_false(tl_hub_model_directory(test_scratch_path("tiny.gguf"), path, sizeof path, &error));
    test_assert_contains(error.message, "expected the directory of a Hugging Face checkpoint");

    lay("models--org--tiny", "config.json", "c0", "{}");
    assert_false(tl_hub_model_directory("org/tiny", path, sizeof path, &error));
    test_assert_contains(error.message, "no weights");

    lay("models--org--tiny", "model.safetensors", "w0", NULL);
    assert_false(tl_hub_model_directory("org/tiny", path, sizeof path, &error));
    test_assert_contains(error.message, "model.safetensors leads to no file of the cache");

    test_write_text(test_scratch_path("hub/models--org--tiny/blobs/w0"), "weights");
    assert_ok(tl_hub_model_directory("org/tiny", path, sizeof path, &error), error);
    snprintf(expected, sizeof expected, "%s/hub/models--org--tiny/snapshots/" COMMIT,
             test_scratch());
    assert_string_equal(path, expected);
    assert_ok(tl_hub_model_directory("org/tiny@" COMMIT, path, sizeof path, &error), error);
    assert_string_equal(path, expected);
    assert_false(tl_hub_model_directory("org/tiny@v2", path, sizeof path, &error));
    test_assert_contains(error.message, "tinyllm pull org/tiny@v2");
    assert_ok(tl_hub_model_directory(expected, path, sizeof path, &error), error);
    assert_false(tl_hub_model_directory("/no/such/place", path, sizeof path, &error));
}

/* A link out of the cache is refused, whatever it leads to. */
static void test_escape(void **state) {
    (void)state;
    setenv("HF_HUB_CACHE", test_scratch_path("hub"), 1);
    tl_error error = {0};
    char path[4096];
    lay("models--org--escape", "model.safetensors", "w1", "weights");
    assert_ok(tl_hub_model_directory("org/escape", path, sizeof path, &error), error);
    strcat(path, "/config.json");
    assert_int_equal(symlink("/etc/passwd", path), 0);
    assert_false(tl_hub_model_directory("org/escape", path, sizeof path, &error));
    test_assert_contains(error.message, "config.json leads to no file of the cache");
}

static void test_shards(void **state) {
    (void)state;
    setenv("HF_HUB_CACHE", test_scratch_path("hub"), 1);
    tl_error error = {0};
    char path[4096];
    lay("models--org--shards", "model.safetensors.index.json", "i0",
        "{\"weight_map\": {\"a\": \"m-1.safetensors\", \"b\": \"m-2.safetensors\"}}");
    lay("models--org--shards", "m-1.safetensors", "s1", "1");
    assert_false(tl_hub_model_directory("org/shards", path, sizeof path, &error));
    test_assert_contains(error.message, "m-2.safetensors is missing");
    lay("models--org--shards", "m-2.safetensors", "s2", "2");
    assert_ok(tl_hub_model_directory("org/shards", path, sizeof path, &error), error);
}

static void test_cache_places(void **state) {
    (void)state;
    static const char *const names[] = {"HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME",
                                        "XDG_CACHE_HOME"};
    static const char *const expected[] = {"/a", "/b", "/c/hub", "/d/huggingface/hub",
                                           "/home/x/.cache/huggingface/hub"};
    static const char *const values[] = {"/a", "/b", "/c", "/d"};
    char path[4096];
    tl_error error = {0};
    setenv("HOME", "/home/x", 1);
    for (int i = 0; i < 4; i++)
        setenv(names[i], values[i], 1);
    for (int i = 0; i < 5; i++) {
        assert_ok(tl_hf_cache(path, sizeof path, &error), error);
        assert_string_equal(path, expected[i]);
        if (i < 4) unsetenv(names[i]);
    }
    setenv("HF_HOME", "~/hf", 1);
    assert_ok(tl_hf_cache(path, sizeof path, &error), error);
    assert_string_equal(path, "/home/x/hf/hub");
}

static void check_pick(const char *config, const char *split, const char *expected) {
    static char *paths[] = {
        "README.md",
        "ARC-Challenge/test-00000-of-00001.parquet",
        "ARC-Easy/test-00000-of-00001.parquet",
        "ARC-Easy/validation-00000-of-00001.parquet",
        "data/train-00000-of-00002.parquet",
        "data/train-00001-of-00002-0ab1.parquet",
        "data/train_extra-00000-of-00001.parquet",
        "one/dev/0000.parquet",
        "plain_text/validation/0000.parquet",
        "validation.parquet",
    };
    tl_names names = {paths, sizeof paths / sizeof *paths};
    int picked[16];
    int count = tl_dataset_pick(&names, config, split, picked);
    char got[1024] = "";
    for (int i = 0; i < count; i++) {
        strcat(got, paths[picked[i]]);
        strcat(got, " ");
    }
    assert_string_equal(got, expected);
}

static void test_pick(void **state) {
    (void)state;
    check_pick("ARC-Easy", "validation", "ARC-Easy/validation-00000-of-00001.parquet ");
    check_pick("ARC-Easy", "dev", "");
    check_pick(NULL, "test", "");
    check_pick(NULL, "dev", "one/dev/0000.parquet ");
    check_pick(NULL, "train",
               "data/train-00000-of-00002.parquet data/train-00001-of-00002-0ab1.parquet ");
    check_pick(NULL, "validation", "plain_text/validation/0000.parquet ");
    check_pick("plain_text", "validation", "plain_text/validation/0000.parquet ");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),     cmocka_unit_test(test_safe_paths),
        cmocka_unit_test(test_registry),  cmocka_unit_test(test_lists),
        cmocka_unit_test(test_snapshots), cmocka_unit_test(test_shards),
        cmocka_unit_test(test_escape),    cmocka_unit_test(test_cache_places),
        cmocka_unit_test(test_pick),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
