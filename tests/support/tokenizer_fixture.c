#include "support/tokenizer_fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char fixture_bpe[] =
    "{\"type\": \"BPE\", \"vocab\": {\"a\": 0, \"b\": 1, \"c\": 2, \"Ġ\": 3, \"ab\": 4, \"abc\": 5,"
    " \"Ġa\": 6}, \"merges\": [\"a b\", \"ab c\", [\"Ġ\", \"a\"]]}";

tl_tokenizer *fixture_file(const char *name, const void *content, size_t length, tl_error *error) {
    static int next;
    const char *directory = test_scratch_path("tokenizer-%d", next++);
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", directory, name);
    test_write_file(path, content, length);
    return tl_tokenizer_open(directory, error);
}

tl_tokenizer *fixture_json(const char *model, const char *fields, tl_error *error) {
    tl_buffer text = {0};
    tl_buffer_append_format(&text, "{\"version\": \"1.0\", \"model\": %s%s}", model, fields);
    tl_tokenizer *tokenizer = fixture_file("tokenizer.json", text.data, text.length, error);
    tl_buffer_free(&text);
    return tokenizer;
}

static void read_ids(const char *text, tl_ids *ids) {
    for (char *end; *text; text = end + (*end == ' ')) {
        int32_t id = (int32_t)strtol(text, &end, 10);
        assert_true(tl_ids_append(ids, &id, 1, NULL));
    }
}

static void assert_ids(const tl_tokenizer *tokenizer, const char *text, bool special,
                       const char *expected) {
    tl_error error = {0};
    tl_ids ids = {0};
    assert_ok(tokenizer, error);
    assert_ok(tl_tokenizer_encode(tokenizer, text, strlen(text), special, &ids, &error), error);
    tl_buffer got = {0};
    for (size_t i = 0; i < ids.count; i++)
        tl_buffer_append_format(&got, "%s%d", i ? " " : "", ids.data[i]);
    if (strcmp(tl_buffer_string(&got), expected) != 0)
        fail_msg("'%s' encodes to \"%s\", expected \"%s\"", text, tl_buffer_string(&got), expected);
    tl_buffer_free(&got);
    tl_ids_free(&ids);
}

void assert_encodes(const tl_tokenizer *tokenizer, const char *text, const char *ids) {
    assert_ids(tokenizer, text, true, ids);
}

void assert_encodes_plain(const tl_tokenizer *tokenizer, const char *text, const char *ids) {
    assert_ids(tokenizer, text, false, ids);
}

void assert_decodes(const tl_tokenizer *tokenizer, const char *ids, bool skip_special,
                    const char *text) {
    tl_error error = {0};
    tl_ids list = {0};
    tl_buffer out = {0};
    read_ids(ids, &list);
    assert_ok(tl_tokenizer_decode(tokenizer, list.data, list.count, skip_special, &out, &error),
              error);
    assert_string_equal(tl_buffer_string(&out), text);
    tl_buffer_free(&out);
    tl_ids_free(&list);
}
