/* Rows: formats, lines named, documents as Python writes them. */
#include "support/support.h"

#include "task/document.h"
#include "task/task.h"

#include <stdlib.h>
#include <string.h>

static tl_rows *open_text(const char *name, const char *text, int64_t limit, tl_error *error) {
    const char *path = test_scratch_path("%s", name);
    test_write_text(path, text);
    return tl_rows_open(path, limit, error);
}

static void assert_field(const tl_rows *rows, int64_t index, const char *field,
                         const char *expected) {
    tl_error error = {0};
    cJSON *row = tl_rows_parse(rows, index, &error);
    assert_ok(row, error);
    const char *text = cJSON_GetStringValue(tl_json_get(row, field));
    assert_non_null(text);
    assert_string_equal(text, expected);
    cJSON_Delete(row);
}

static void test_jsonl(void **state) {
    (void)state;
    tl_error error = {0};
    tl_rows *rows = open_text(
        "a.jsonl",
        "\xef\xbb\xbf{\"a\": \"x\xe2\x80\xa8y\"}\n\n  \r\n{\"a\": \"z\"}\r\n{\"a\": \"w\"}", 0,
        &error);
    assert_ok(rows, error);
    assert_int_equal(tl_rows_count(rows), 3);
    assert_int_equal(tl_rows_line(rows, 1), 4);
    assert_field(rows, 0, "a", "x\xe2\x80\xa8y");
    assert_field(rows, 2, "a", "w");
    char hex[TL_HEX_SIZE];
    const char text[] =
        "\xef\xbb\xbf{\"a\": \"x\xe2\x80\xa8y\"}\n\n  \r\n{\"a\": \"z\"}\r\n{\"a\": \"w\"}";
    assert_true(tl_sha256(text, sizeof text - 1, hex));
    assert_string_equal(tl_rows_fingerprint(rows), hex);
    tl_rows_free(rows);
}

static void test_json_array(void **state) {
    (void)state;
    tl_error error = {0};
    tl_rows *rows = open_text(
        "a.json", "[\n {\"a\": \"]},[\\\"\"},\n\n {\"a\": \"z\", \"b\": [1, {\"c\": []}]} ]\n", 0,
        &error);
    assert_ok(rows, error);
    assert_int_equal(tl_rows_count(rows), 2);
    assert_field(rows, 0, "a", "]},[\"");
    assert_field(rows, 1, "a", "z");
    assert_int_equal(tl_rows_line(rows, 1), 4);
    tl_rows_free(rows);
}

static void test_csv(void **state) {
    (void)state;
    tl_error error = {0};
    tl_rows *rows = open_text(
        "a.csv", "question,\"the, answer\"\r\n\"two\nlines\",\"say \"\"hi\"\"\"\n\nplain,\n", 0,
        &error);
    assert_ok(rows, error);
    assert_int_equal(tl_rows_count(rows), 2);
    assert_field(rows, 0, "question", "two\nlines");
    assert_field(rows, 0, "the, answer", "say \"hi\"");
    assert_field(rows, 1, "the, answer", "");
    assert_int_equal(tl_rows_line(rows, 1), 5);
    tl_rows_free(rows);
}

static void test_limit_keeps_the_total(void **state) {
    (void)state;
    tl_error error = {0};
    tl_rows *rows = open_text("b.jsonl", "{}\n{}\n{}\nnot json\n", 2, &error);
    assert_ok(rows, error);
    assert_int_equal(tl_rows_count(rows), 2);
    assert_int_equal(tl_rows_total(rows), 4);
    tl_rows_free(rows);
}

static void test_bad_rows_are_named(void **state) {
    (void)state;
    static const struct {
        const char *name, *text, *part;
    } cases[] = {
        {"c1.jsonl", "{\"a\": 1}\n{\"a\": 2\n", "c1.jsonl:2: not a JSON object: '{\"a\": 2'"},
        {"c2.jsonl", "{}\n\n[1]\n", "c2.jsonl:3: expected a JSON object"},
        {"c3.jsonl", "", "c3.jsonl: no rows"},
        {"c4.jsonl", "\n\n", "c4.jsonl: no rows"},
        {"c5.json", "{\"a\": 1}", "c5.json:1: expected a JSON array"},
        {"c6.json", "[{\"a\": 1},\n{]", "c6.json:2: not a JSON object"},
        {"c7.json", "[{\"a\": 1}\n{}]", "c7.json:2: expected ','"},
        {"c8.json", "[{\"a\": 1}", "expected ',' or the array's end"},
        {"c9.json", "[{},", "c9.json:1: not a JSON object"},
        {"e1.json", "[\xef\xbb\xbf{}]", "e1.json:1: not a JSON object"},
        {"e2.jsonl", "\xef\xbb\xbf\xef\xbb\xbf{}", "e2.jsonl:1: not a JSON object"},
        {"e3.jsonl", "{\"a\": \"\\u12\\\"b\"}", "e3.jsonl:1: not a JSON object"},
        {"d1.csv", "a,b\n1,2\n3\n", "d1.csv:3: 1 fields where the header has 2"},
        {"d2.csv", "a,b\n1,2,3\n", "d2.csv:2: 3 fields"},
        {"d3.csv", "a,a\n", "d3.csv:1: column 'a' is given twice"},
        {"d4.csv", "a,\n", "d4.csv:1: column 2 has no name"},
        {"d5.csv", "a\n\"x\ny", "d5.csv:2: a quote is not closed"},
        {"d6.csv", "a\n\"x\"y\n", "d6.csv:2: expected a comma"},
        {"d7.csv", "a\n", "d7.csv: no rows"},
        {"d8.txt", "{}", "unknown kind of file"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        tl_error error = {0};
        assert_null(open_text(cases[i].name, cases[i].text, 0, &error));
        test_assert_contains(error.message, cases[i].part);
    }
    tl_error error = {0};
    assert_null(tl_rows_open(test_scratch_path("absent.jsonl"), 0, &error));
    assert_int_equal(error.code, TL_ERROR_IO);
}

static void assert_document(const char *text, int indent, const char *expected) {
    tl_buffer out = {0};
    tl_document_append(&out, text, strlen(text), indent);
    assert_string_equal(tl_buffer_string(&out), expected);
    tl_buffer_free(&out);
}

static void test_documents_are_pythons(void **state) {
    (void)state;
    const char *text = "{\"a\":1,\"b\" : [ ],\"c\":[1.0,-0,1E5,true,null],\"d\":{\"e\":{}},"
                       "\"f\":\"\\u00e9\\t\\/\\u0001\\ud83d\\ude00\"}";
    assert_document(text, 0,
                    "{\"a\": 1, \"b\": [], \"c\": [1.0, 0, 100000.0, true, null], \"d\": {\"e\": "
                    "{}}, \"f\": \"é\\t/\\u0001😀\"}");
    assert_document("[1e5000, -2e999]", 0, "[1e5000, -2e999]"); /* no double holds them */
    assert_document("{\"a\": {\"b\": [1, {\"c\": []}]}, \"d\": {}}", 2,
                    "{\n  \"a\": {\n    \"b\": [\n      1,\n      {\n        \"c\": []\n      }\n"
                    "    ]\n  },\n  \"d\": {}\n}");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_jsonl),
        cmocka_unit_test(test_json_array),
        cmocka_unit_test(test_csv),
        cmocka_unit_test(test_limit_keeps_the_total),
        cmocka_unit_test(test_bad_rows_are_named),
        cmocka_unit_test(test_documents_are_pythons),
    };
    return cmocka_run_group_tests_name("rows", tests, NULL, NULL);
}
