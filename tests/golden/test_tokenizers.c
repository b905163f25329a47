/* Ids and decodings of every string of the conformance set, for every tokenizer in it. */
#include "support/support.h"

#include "tokenizer/scan.h"
#include "tokenizer/tokenizer.h"

#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { STRINGS = 4096 };

static struct {
    char *text;
    size_t length;
} strings[STRINGS];

/* Reads a string that may hold NULs. */
static char *copy_string(tl_scan *scan, size_t *length) {
    const char *text;
    if (!tl_scan_string(scan, &text, length)) return NULL;
    char *copy = malloc(*length + 1);
    memcpy(copy, text, *length);
    copy[*length] = 0;
    return copy;
}

static void read_ids(tl_scan *scan, tl_ids *ids) {
    bool first = true, done = false;
    assert_true(tl_scan_expect(scan, '['));
    while (tl_scan_next(scan, ']', &first, &done) && !done) {
        int64_t id;
        assert_true(tl_scan_int(scan, &id));
        int32_t narrow = (int32_t)id;
        assert_true(tl_ids_append(ids, &narrow, 1, NULL));
    }
}

/* One line of a conformance file. */
typedef struct expectation {
    int64_t index;
    tl_ids ids, plain;
    tl_ids rebuilt, rebuilt_plain; /* where AutoTokenizer's own pipeline gives others */
    bool has_rebuilt;
    char *decoded, *skipped, *text;
    size_t decoded_length, skipped_length, text_length;
    bool has_plain;
} expectation;

static void read_line(char *line, expectation *e) {
    tl_error error = {0};
    tl_scan scan = {line, line, line + strlen(line), "conformance set", &error, {0}};
    bool first = true, done = false;
    *e = (expectation){0};
    assert_true(tl_scan_expect(&scan, '{'));
    while (tl_scan_next(&scan, '}', &first, &done) && !done) {
        size_t length;
        char *name = copy_string(&scan, &length);
        assert_non_null(name);
        assert_true(tl_scan_expect(&scan, ':'));
        if (strcmp(name, "i") == 0) {
            assert_true(tl_scan_int(&scan, &e->index));
        } else if (strcmp(name, "ids") == 0) {
            read_ids(&scan, &e->ids);
        } else if (strcmp(name, "ids_nosp") == 0) {
            read_ids(&scan, &e->plain);
            e->has_plain = true;
        } else if (strcmp(name, "auto") == 0) {
            read_ids(&scan, &e->rebuilt);
            e->has_rebuilt = true;
        } else if (strcmp(name, "auto_nosp") == 0) {
            read_ids(&scan, &e->rebuilt_plain);
        } else if (strcmp(name, "dec") == 0) {
            e->decoded = copy_string(&scan, &e->decoded_length);
        } else if (strcmp(name, "dec_skip") == 0) {
            e->skipped = copy_string(&scan, &e->skipped_length);
        } else if (strcmp(name, "text") == 0) {
            e->text = copy_string(&scan, &e->text_length);
        } else {
            assert_true(tl_scan_skip(&scan));
        }
        free(name);
    }
    tl_scan_free(&scan);
}

static void forget(expectation *e) {
    tl_ids_free(&e->ids);
    tl_ids_free(&e->plain);
    tl_ids_free(&e->rebuilt);
    tl_ids_free(&e->rebuilt_plain);
    free(e->decoded);
    free(e->skipped);
    free(e->text);
}

/* Calls `each` for every line of a file, split at "\n" only. */
static int each_line(const char *path, void (*each)(expectation *e, void *context), void *context) {
    FILE *file = fopen(path, "r");
    if (!file) return 0;
    char *line = NULL;
    size_t capacity = 0;
    int count = 0;
    while (getline(&line, &capacity, file) > 0) {
        expectation e;
        read_line(line, &e);
        each(&e, context);
        forget(&e);
        count++;
    }
    free(line);
    fclose(file);
    return count;
}

static void keep_string(expectation *e, void *context) {
    (void)context;
    assert_in_range(e->index, 0, STRINGS - 1);
    strings[e->index].text = e->text;
    strings[e->index].length = e->text_length;
    e->text = NULL;
}

static void load_strings(void) {
    if (strings[0].text) return;
    int count = each_line(test_shared_path("golden/tokenizers/strings.jsonl"), keep_string, NULL);
    assert_true(count > 0);
}

/* How many strings came out otherwise; the first few are shown. */
typedef struct tally {
    const tl_tokenizer *tokenizer;
    const char *name;
    bool rebuilt; /* expects AutoTokenizer's own pipeline, and no decodings */
    int strings, wrong;
} tally;

static void show(tally *t, const char *what, int64_t index, const tl_ids *expected,
                 const tl_ids *got) {
    if (t->wrong++ > 4) return;
    printf("%s: string %lld: %s\n  expected", t->name, (long long)index, what);
    for (size_t i = 0; i < expected->count && i < 40; i++)
        printf(" %d", expected->data[i]);
    printf("\n  got     ");
    for (size_t i = 0; i < got->count && i < 40; i++)
        printf(" %d", got->data[i]);
    printf("\n");
}

static void check_encoding(tally *t, const expectation *e, bool special, tl_ids *ids) {
    tl_error error = {0};
    const tl_ids *expected = special || !e->has_plain ? &e->ids : &e->plain;
    if (t->rebuilt && e->has_rebuilt) expected = special ? &e->rebuilt : &e->rebuilt_plain;
    assert_ok(tl_tokenizer_encode(t->tokenizer, strings[e->index].text, strings[e->index].length,
                                  special, ids, &error),
              error);
    if (ids->count != expected->count ||
        (ids->count && memcmp(ids->data, expected->data, ids->count * sizeof(int32_t)) != 0))
        show(t, special ? "ids" : "ids without special", e->index, expected, ids);
}

/* Decodings are of the ids without special tokens. An absent "dec" is the string itself, an absent
 * "dec_skip" the same as "dec". */
static void check_decoding(tally *t, const expectation *e, bool skip) {
    tl_error error = {0};
    tl_buffer text = {0};
    const tl_ids *ids = e->has_plain ? &e->plain : &e->ids;
    assert_ok(tl_tokenizer_decode(t->tokenizer, ids->data, ids->count, skip, &text, &error), error);
    const char *expected = skip && e->skipped ? e->skipped
                           : e->decoded       ? e->decoded
                                              : strings[e->index].text;
    size_t length = skip && e->skipped ? e->skipped_length
                    : e->decoded       ? e->decoded_length
                                       : strings[e->index].length;
    if ((text.length != length || (length && memcmp(text.data, expected, length) != 0)) &&
        t->wrong++ < 5)
        printf("%s: string %lld decodes%s to\n  %s\nexpected\n  %s\n", t->name, (long long)e->index,
               skip ? " (without special)" : "", tl_buffer_string(&text), expected);
    tl_buffer_free(&text);
}

static void check(expectation *e, void *context) {
    tally *t = context;
    tl_ids ids = {0};
    check_encoding(t, e, true, &ids);
    ids.count = 0;
    check_encoding(t, e, false, &ids);
    tl_ids_free(&ids);
    if (!t->rebuilt) {
        check_decoding(t, e, false);
        check_decoding(t, e, true);
    }
    t->strings++;
}

/* The special tokens that AutoTokenizer gave, where a file says which class it is. */
static void check_special(const tl_tokenizer *tokenizer, const cJSON *meta, const char *path) {
    char config[4096];
    snprintf(config, sizeof config, "%s/tokenizer_config.json", path);
    if (!tl_file_exists(config)) return;
    const struct {
        const char *name;
        int32_t id;
    } tokens[] = {
        {"bos_token", tl_tokenizer_bos(tokenizer)},
        {"eos_token", tl_tokenizer_eos(tokenizer)},
        {"pad_token", tl_tokenizer_pad(tokenizer)},
        {"unk_token", tl_tokenizer_unk(tokenizer)},
    };
    for (size_t i = 0; i < sizeof tokens / sizeof *tokens; i++) {
        const cJSON *id = cJSON_GetArrayItem(tl_json_get(meta, tokens[i].name), 1);
        assert_int_equal(tokens[i].id, cJSON_IsNumber(id) ? id->valueint : -1);
    }
    double length = tl_json_get(meta, "model_max_length")->valuedouble;
    assert_int_equal(tl_tokenizer_max_length(tokenizer), length < 1e15 ? (int)length : -1);
    assert_int_equal(tl_tokenizer_size(tokenizer),
                     tl_json_get(meta, "vocab_size_with_added")->valueint);
}

static void test_every_tokenizer(void **state) {
    (void)state;
    if (!test_shared()) skip();
    load_strings();
    glob_t found;
    assert_int_equal(glob(test_shared_path("golden/tokenizers/*.meta.json"), 0, NULL, &found), 0);
    int wrong = 0;
    for (size_t i = 0; i < found.gl_pathc; i++) {
        tl_error error = {0};
        cJSON *meta = tl_json_read(found.gl_pathv[i], 1 << 20, &error);
        assert_ok(meta, error);
        const char *directory;
        assert_ok(tl_json_string_or(meta, "dir", "", &directory, "meta", &error), error);
        const char *path = test_shared_path("%s", directory);
        if (!tl_dir_exists(path)) path = test_shared_path("golden/%s", directory);
        tl_tokenizer *tokenizer = tl_tokenizer_open(path, &error);
        if (!tokenizer) {
            printf("%s\n", error.message);
            wrong++;
        } else {
            char lines[4096];
            const char *end = strstr(found.gl_pathv[i], ".meta.json");
            snprintf(lines, sizeof lines, "%.*s.jsonl", (int)(end - found.gl_pathv[i]),
                     found.gl_pathv[i]);
            tally t = {.tokenizer = tokenizer, .name = directory};
            check_special(tokenizer, meta, path);
            each_line(lines, check, &t);
            printf("%-45s %d strings, %d wrong\n", directory, t.strings, t.wrong);
            assert_true(t.strings > 0);
            wrong += t.wrong;
        }
        tl_tokenizer_free(tokenizer);
        cJSON_Delete(meta);
    }
    globfree(&found);
    assert_int_equal(wrong, 0);
}

/* A directory with some of another's files. */
static const char *directory_of(const char *name, const char *const files[], const char *config) {
    for (int i = 0; files[i]; i++) {
        size_t length;
        tl_error error = {0};
        char *text = tl_file_read(test_shared_path("%s", files[i]), 1 << 26, &length, &error);
        assert_ok(text, error);
        test_write_file(test_scratch_path("%s/%s", name, tl_path_base(files[i])), text, length);
        free(text);
    }
    if (config) test_write_text(test_scratch_path("%s/tokenizer_config.json", name), config);
    return test_scratch_path("%s", name);
}

static void check_alone(const char *name, const char *const files[], const char *config,
                        const char *expected, bool rebuilt) {
    tl_error error = {0};
    load_strings();
    tl_tokenizer *tokenizer = tl_tokenizer_open(directory_of(name, files, config), &error);
    assert_ok(tokenizer, error);
    tally t = {.tokenizer = tokenizer, .name = name, .rebuilt = rebuilt};
    each_line(test_shared_path("golden/tokenizers/%s.jsonl", expected), check, &t);
    tl_tokenizer_free(tokenizer);
    assert_true(t.strings > 0);
    assert_int_equal(t.wrong, 0);
}

static void test_sentencepiece_models_alone(void **state) {
    (void)state;
    if (!test_shared()) skip();
    check_alone("llama-model",
                (const char *[]){"tokenizers/TinyLlama--TinyLlama_v1.1/tokenizer.model", NULL},
                "{\"tokenizer_class\": \"LlamaTokenizer\", \"add_bos_token\": true}",
                "TinyLlama--TinyLlama_v1.1", false);
    check_alone("t5-model", (const char *[]){"tokenizers/google--flan-t5-base/spiece.model", NULL},
                "{\"tokenizer_class\": \"T5Tokenizer\"}", "google--flan-t5-base", true);
}

static void test_vocab_and_merges_alone(void **state) {
    (void)state;
    if (!test_shared()) skip();
    check_alone("gpt2-files",
                (const char *[]){"tokenizers/openai-community--gpt2/vocab.json",
                                 "tokenizers/openai-community--gpt2/merges.txt", NULL},
                "{\"tokenizer_class\": \"GPT2TokenizerFast\"}", "openai-community--gpt2", false);
    check_alone("qwen-files",
                (const char *[]){"tokenizers/Qwen--Qwen1.5-0.5B/vocab.json",
                                 "tokenizers/Qwen--Qwen1.5-0.5B/merges.txt", NULL},
                "{\"tokenizer_class\": \"Qwen2Tokenizer\", \"additional_special_tokens\": "
                "[\"<|im_start|>\", \"<|im_end|>\"]}",
                "Qwen--Qwen1.5-0.5B", false);
    check_alone("opt-files",
                (const char *[]){"tokenizers/facebook--opt-125m/vocab.json",
                                 "tokenizers/facebook--opt-125m/merges.txt",
                                 "golden/models/opt-pre/special_tokens_map.json",
                                 "golden/models/opt-pre/tokenizer_config.json", NULL},
                NULL, "facebook--opt-125m", false);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_tokenizer),
        cmocka_unit_test(test_sentencepiece_models_alone),
        cmocka_unit_test(test_vocab_and_merges_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
