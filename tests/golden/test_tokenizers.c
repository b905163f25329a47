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
    check_decoding(t, e, false);
    check_decoding(t, e, true);
    t->strings++;
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
            tally t = {tokenizer, directory, 0, 0};
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

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_tokenizer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
