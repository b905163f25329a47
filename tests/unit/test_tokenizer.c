/* tokenizer: the components of tokenizer.json, one small case for each rule. */
#include "support/tokenizer_fixture.h"
#include "tokenizer/ages.h"
#include "tokenizer/classes.h"
#include "tokenizer/scan.h"
#include "tokenizer/utf8.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char byte_level[] =
    ", \"pre_tokenizer\": {\"type\": \"ByteLevel\", \"add_prefix_space\": false},"
    " \"decoder\": {\"type\": \"ByteLevel\"}";

static tl_tokenizer *must_open(const char *model, const char *fields) {
    tl_error error = {0};
    tl_tokenizer *tokenizer = fixture_json(model, fields, &error);
    assert_ok(tokenizer, error);
    return tokenizer;
}

static void test_byte_level_bpe(void **state) {
    (void)state;
    tl_tokenizer *t = must_open(fixture_bpe, byte_level);
    assert_encodes(t, "abc", "5");
    assert_encodes(t, "abc abab ac", "5 3 4 4 6 2");
    assert_encodes(t, "", "");
    assert_encodes(t, "axc", "0 2"); /* x has no token and there is no unk_token */
    assert_decodes(t, "5 6 1", false, "abc ab");
    assert_decodes(t, "5 99 -1 6", false, "abc a"); /* ids without a token are skipped */
    assert_int_equal(tl_tokenizer_size(t), 7);
    assert_string_equal(tl_tokenizer_token(t, 6), "Ġa");
    assert_null(tl_tokenizer_token(t, 7));
    assert_int_equal(tl_tokenizer_id(t, "Ġa"), 6);
    assert_int_equal(tl_tokenizer_id(t, "Ġb"), -1);
    assert_int_equal(tl_tokenizer_bos(t), -1);
    assert_int_equal(strlen(tl_tokenizer_fingerprint(t)), 64);
    assert_true(tl_tokenizer_bytes(t) > 0);
    tl_tokenizer_free(t);
}

static void test_the_merge_of_lowest_rank_comes_first(void **state) {
    (void)state;
    tl_tokenizer *t = must_open(
        "{\"type\": \"BPE\", \"vocab\": {\"a\": 0, \"b\": 1, \"c\": 2, \"bc\": 3, \"ab\": 4,"
        " \"aa\": 5}, \"merges\": [\"b c\", \"a b\", \"a a\"]}",
        "");
    assert_encodes(t, "abc", "0 3");
    assert_encodes(t, "aab", "0 4");
    assert_encodes(t, "aaaaa", "5 5 0"); /* ties: leftmost */
    /* Words of more than a few symbols take another way to the same ids. */
    char text[3 * 50 + 1], ids[3 * 50 * 2 + 1] = "";
    for (int i = 0; i < 50; i++) {
        memcpy(text + 3 * i, "abc", 4);
        strcat(ids, i ? " 0 3" : "0 3");
    }
    assert_encodes(t, text, ids);
    tl_tokenizer_free(t);
}

static void test_ignore_merges_and_unknowns(void **state) {
    (void)state;
    const char *vocab = "\"vocab\": {\"a\": 0, \"b\": 1, \"ba\": 2, \"?\": 3}, \"merges\": []";
    char model[512];
    snprintf(model, sizeof model, "{\"type\": \"BPE\", \"ignore_merges\": true, %s}", vocab);
    tl_tokenizer *t = must_open(model, "");
    assert_encodes(t, "ba", "2");
    assert_encodes(t, "bab", "1 0 1");
    tl_tokenizer_free(t);
    snprintf(model, sizeof model, "{\"type\": \"BPE\", \"unk_token\": \"?\", %s}", vocab);
    t = must_open(model, "");
    assert_encodes(t, "xxaya", "3 3 0 3 0");
    tl_tokenizer_free(t);
    snprintf(model, sizeof model,
             "{\"type\": \"BPE\", \"unk_token\": \"?\", \"fuse_unk\": true, %s}", vocab);
    t = must_open(model, "");
    assert_encodes(t, "xxaya", "3 0 3 0");
    tl_tokenizer_free(t);
}

static void test_byte_fallback_and_its_decoder(void **state) {
    (void)state;
    tl_tokenizer *t = must_open(
        "{\"type\": \"BPE\", \"byte_fallback\": true, \"unk_token\": \"?\", \"vocab\": {\"a\": 0,"
        " \"<0xC3>\": 1, \"<0xA9>\": 2, \"?\": 3, \"▁\": 4}, \"merges\": []}",
        ", \"normalizer\": {\"type\": \"Sequence\", \"normalizers\": [{\"type\": \"Prepend\","
        " \"prepend\": \"▁\"}, {\"type\": \"Replace\", \"pattern\": {\"String\": \" \"},"
        " \"content\": \"▁\"}]}, \"decoder\": {\"type\": \"Sequence\", \"decoders\": ["
        "{\"type\": \"Replace\", \"pattern\": {\"String\": \"▁\"}, \"content\": \" \"},"
        "{\"type\": \"ByteFallback\"}, {\"type\": \"Fuse\"},"
        "{\"type\": \"Strip\", \"content\": \" \", \"start\": 1, \"stop\": 0}]}");
    assert_encodes(t, "é a", "4 1 2 4 0");
    assert_encodes(t, "è", "4 3"); /* <0xA8> is missing */
    assert_encodes(t, "", "");
    assert_decodes(t, "4 1 2 4 0", false, "é a");
    assert_decodes(t, "4 0 1 0 2", false,
                   "a\xef\xbf\xbd"
                   "a\xef\xbf\xbd");
    assert_decodes(t, "1 2 2", false, "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd");
    tl_tokenizer_free(t);
}

static void test_unigram_takes_the_best_cut(void **state) {
    (void)state;
    const char model[] = "{\"type\": \"Unigram\", \"unk_id\": 0, \"vocab\": [[\"<unk>\", 0.0],"
                         " [\"▁\", -2], [\"a\", -3], [\"ab\", -3.5], [\"b\", -3], [\"▁ab\", -6],"
                         " [\"c\", -1]]}";
    tl_tokenizer *t = must_open(model, ", \"pre_tokenizer\": {\"type\": \"Metaspace\"},"
                                       " \"decoder\": {\"type\": \"Metaspace\"}");
    assert_encodes(t, "ab", "1 3"); /* -5.5 beats -6 and -8 */
    assert_encodes(t, "ab c", "1 3 1 6");
    assert_encodes(t, "axyzb", "1 2 0 4"); /* unknowns in a row are one */
    assert_decodes(t, "1 3 1 6", false, "ab c");
    tl_tokenizer_free(t);
}

static void test_wordpiece_and_wordlevel(void **state) {
    (void)state;
    const char pre[] = ", \"pre_tokenizer\": {\"type\": \"Whitespace\"}, \"decoder\": {\"type\":"
                       " \"WordPiece\", \"prefix\": \"##\", \"cleanup\": true}";
    tl_tokenizer *t = must_open("{\"type\": \"WordPiece\", \"unk_token\": \"[UNK]\","
                                " \"max_input_chars_per_word\": 5, \"vocab\": {\"[UNK]\": 0,"
                                " \"un\": 1, \"##do\": 2, \"u\": 3, \".\": 4}}",
                                pre);
    assert_encodes(t, "undo u.", "1 2 3 4");
    assert_encodes(t, "und undodo", "0 0");
    assert_decodes(t, "1 2 3 4", false, "undo u.");
    tl_tokenizer_free(t);
    t = must_open("{\"type\": \"WordLevel\", \"unk_token\": \"[UNK]\", \"vocab\": {\"[UNK]\": 0,"
                  " \"un\": 1}}",
                  ", \"pre_tokenizer\": {\"type\": \"WhitespaceSplit\"}");
    assert_encodes(t, "un do\xe2\x80\xa8un", "1 0 1");
    assert_decodes(t, "1 0", false, "un [UNK]"); /* no decoder: joined with spaces */
    tl_tokenizer_free(t);
}

/* What each behavior makes of "a-b--c" with "-" matched; pieces show as one [X] token each. */
static void test_split_behaviors(void **state) {
    (void)state;
    const struct {
        const char *behavior, *invert, *ids;
    } cases[] = {
        {"Removed", "false", "0 1 2"},          {"Isolated", "false", "0 3 1 3 3 2"},
        {"Contiguous", "false", "0 3 1 4 2"},   {"MergedWithPrevious", "false", "5 6 3 2"},
        {"MergedWithNext", "false", "0 7 3 8"}, {"Removed", "true", "3 3 3"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char fields[512];
        snprintf(fields, sizeof fields,
                 ", \"pre_tokenizer\": {\"type\": \"Split\", \"pattern\": {\"Regex\": \"-\"},"
                 " \"behavior\": \"%s\", \"invert\": %s}",
                 cases[i].behavior, cases[i].invert);
        tl_tokenizer *t =
            must_open("{\"type\": \"WordLevel\", \"unk_token\": \"?\", \"vocab\": {\"a\": 0,"
                      " \"b\": 1, \"c\": 2, \"-\": 3, \"--\": 4, \"a-\": 5, \"b-\": 6, \"-b\": 7,"
                      " \"-c\": 8, \"?\": 9}}",
                      fields);
        assert_encodes(t, "a-b--c", cases[i].ids);
        tl_tokenizer_free(t);
    }
}

static void test_metaspace_schemes(void **state) {
    (void)state;
    const char model[] = "{\"type\": \"WordLevel\", \"unk_token\": \"?\", \"vocab\": {\"?\": 0,"
                         " \"a\": 1, \"▁a\": 2, \"▁\": 3, \"▁a▁a\": 4, \"<s>\": 5}}";
    const struct {
        const char *options, *ids;
    } cases[] = {
        {"", "2 2 5 2"},
        {", \"add_prefix_space\": false", "1 2 5 1"},
        {", \"prepend_scheme\": \"first\"", "2 2 5 1"},
        {", \"prepend_scheme\": \"first\", \"split\": false", "4 5 1"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char fields[512];
        snprintf(fields, sizeof fields,
                 ", \"pre_tokenizer\": {\"type\": \"Metaspace\", \"replacement\": \"▁\"%s},"
                 " \"added_tokens\": [{\"id\": 5, \"content\": \"<s>\", \"special\": true}]",
                 cases[i].options);
        tl_tokenizer *t = must_open(model, fields);
        assert_encodes(t, "a a<s>a", cases[i].ids);
        tl_tokenizer_free(t);
    }
}

static void test_normalizers(void **state) {
    (void)state;
    const struct {
        const char *json, *text, *ids;
    } cases[] = {
        {"{\"type\": \"NFC\"}", "e\xcc\x81", "1"},
        {"{\"type\": \"NFD\"}", "é", "2"},
        {"{\"type\": \"NFKC\"}", "ﬁ", "3"},
        {"{\"type\": \"Lowercase\"}", "FI", "3"},
        {"{\"type\": \"Strip\"}",
         " \xc2\xa0"
         "fi\n",
         "3"},
        {"{\"type\": \"Sequence\", \"normalizers\": [{\"type\": \"NFD\"}, {\"type\":"
         " \"StripAccents\"}]}",
         "fí", "3"},
        {"{\"type\": \"Replace\", \"pattern\": {\"Regex\": \"x{2,}\"}, \"content\": \"\"}",
         "xxfxxxxi", "3"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char fields[512];
        snprintf(fields, sizeof fields, ", \"normalizer\": %s", cases[i].json);
        tl_tokenizer *t =
            must_open("{\"type\": \"WordLevel\", \"unk_token\": \"?\", \"vocab\": {\"?\": 0,"
                      " \"é\": 1, \"e\\u0301\": 2, \"fi\": 3}}",
                      fields);
        assert_encodes(t, cases[i].text, cases[i].ids);
        tl_tokenizer_free(t);
    }
}

static void test_added_tokens(void **state) {
    (void)state;
    tl_tokenizer *t = must_open(
        fixture_bpe,
        ", \"added_tokens\": ["
        "{\"id\": 7, \"content\": \"<s>\", \"special\": true, \"normalized\": false},"
        "{\"id\": 8, \"content\": \"<s>>\", \"special\": false, \"normalized\": false},"
        "{\"id\": 9, \"content\": \"b!\", \"lstrip\": true, \"rstrip\": true, \"normalized\": "
        "false},"
        "{\"id\": 10, \"content\": \"w\", \"single_word\": true, \"normalized\": false},"
        "{\"id\": 11, \"content\": \"q\", \"normalized\": true}], \"normalizer\": {\"type\": "
        "\"Lowercase\"}, \"pre_tokenizer\": {\"type\": \"ByteLevel\", \"add_prefix_space\": false},"
        " \"decoder\": {\"type\": \"ByteLevel\"}");
    assert_encodes(t, "a<s>b", "0 7 1");
    assert_encodes(t, "<s>>a", "8 0"); /* the longest */
    assert_encodes(t, "<S>", "");      /* the raw text is matched */
    assert_encodes(t, "a  b! \n a", "0 9 0");
    assert_encodes(t, "w aw w", "10 6 3 10");
    assert_encodes(t, "aQ", "0 11"); /* in the normalized text */
    assert_decodes(t, "0 7 1", false, "a<s>b");
    assert_decodes(t, "0 7 1", true, "ab");
    tl_tokenizer_free(t);
}

/* A token that takes the spaces on its left finds nothing left where the one before took them. */
static void test_added_tokens_that_share_spaces(void **state) {
    (void)state;
    tl_tokenizer *t = must_open(
        fixture_bpe, ", \"added_tokens\": ["
                     "{\"id\": 7, \"content\": \"X\", \"rstrip\": true, \"normalized\": false},"
                     "{\"id\": 8, \"content\": \"\\n\", \"lstrip\": true, \"rstrip\": true,"
                     " \"normalized\": false}]");
    assert_encodes(t, "aX \n \nb", "0 7 1");
    assert_encodes(t, "a \n \nb", "0 8 1");
    tl_tokenizer_free(t);
}

/* Steps that cut the text of a step before the last: it must not have been written over. */
static void test_steps_that_only_cut(void **state) {
    (void)state;
    tl_tokenizer *t =
        must_open("{\"type\": \"WordLevel\", \"unk_token\": \"?\", \"vocab\": {\"?\": 0,"
                  " \"▁a\": 1, \"-\": 2, \"b\": 3, \"_<c \": 4}}",
                  ", \"pre_tokenizer\": {\"type\": \"Sequence\", \"pretokenizers\": ["
                  "{\"type\": \"Metaspace\", \"replacement\": \"▁\"},"
                  "{\"type\": \"Split\", \"pattern\": {\"String\": \"-\"}, \"behavior\":"
                  " \"Isolated\", \"invert\": false},"
                  "{\"type\": \"Punctuation\"}, {\"type\": \"Digits\"}]},"
                  " \"decoder\": {\"type\": \"Sequence\", \"decoders\": ["
                  "{\"type\": \"Strip\", \"content\": \"_\", \"start\": 1, \"stop\": 0},"
                  "{\"type\": \"Strip\", \"content\": \" \", \"start\": 0, \"stop\": 1},"
                  "{\"type\": \"Fuse\"}]}");
    assert_encodes(t, "a-b", "1 2 3");
    assert_decodes(t, "4 3", false, "<cb");
    tl_tokenizer_free(t);
}

/* Patterns know what Unicode 16 assigned; normalization nothing since Unicode 10. */
static void test_versions_of_unicode(void **state) {
    (void)state;
    tl_tokenizer *t = must_open(
        "{\"type\": \"WordLevel\", \"unk_token\": \"?\", \"vocab\": {\"?\": 0,"
        " \"a\U0001e4d0\": 1, \"-\": 2, \"\U0001ccf0\": 3, \"a\u08cf\u0301\": 4, \"\u2e43\": 5}}",
        ", \"normalizer\": {\"type\": \"NFC\"}, \"pre_tokenizer\": {\"type\": \"Sequence\","
        " \"pretokenizers\": [{\"type\": \"Split\", \"pattern\": {\"Regex\": "
        "\"[\\\\p{L}\\\\p{M}]+\"},"
        " \"behavior\": \"Isolated\", \"invert\": false}, {\"type\": \"Digits\"}]}");
    assert_encodes(t, "a\U0001e4d0-\U0001ccf0-", "1 2 3 2");
    assert_encodes(t, "a\u08cf\u0301", "4");
    tl_tokenizer_free(t);
    assert_true(tl_stand_in(0x4e00) == 0x4e00 && tl_stand_in(0x2ebf0) == 0x30000);
    assert_false(tl_is_punctuation(0x2e43));
    assert_true(tl_is_punctuation(0x2e42));
}

static void test_numbers_as_the_reference_reads_them(void **state) {
    (void)state;
    static const struct {
        const char *text;
        double value;
    } cases[] = {
        {"-2.8904671867899373", -(28904671867899373.0 / 1e16)},
        {"0.12345678901234567890123", 12345678901234567890.0 / 1e20},
        {"123456789012345678901234", 12345678901234567890.0 * 1e4},
        {"-1.5e-3", -(15 / 1e4)},
        {"25E+1", 250},
        {"1e-400", 0},
        {"0", 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        tl_error error = {0};
        double value;
        tl_scan scan = {.text = cases[i].text,
                        .at = cases[i].text,
                        .end = cases[i].text + strlen(cases[i].text),
                        .file = "numbers",
                        .error = &error};
        assert_ok(tl_scan_number(&scan, &value), error);
        if (value != cases[i].value) fail_msg("%s: %.17g", cases[i].text, value);
        assert_ptr_equal(scan.at, scan.end);
    }
}

static void test_post_processors(void **state) {
    (void)state;
    const char template[] =
        ", \"post_processor\": {\"type\": \"Sequence\", \"processors\": [{\"type\": \"ByteLevel\"},"
        "{\"type\": \"TemplateProcessing\", \"single\": [{\"SpecialToken\": {\"id\": \"c\","
        " \"type_id\": 0}}, {\"Sequence\": {\"id\": \"A\", \"type_id\": 0}}, {\"SpecialToken\":"
        " {\"id\": \"two\", \"type_id\": 0}}], \"special_tokens\": {\"c\": {\"ids\": [2]}, \"two\":"
        " {\"ids\": [0, 1]}}}]}";
    tl_tokenizer *t = must_open(fixture_bpe, template);
    assert_encodes(t, "ab", "2 4 0 1");
    assert_encodes_plain(t, "ab", "4");
    tl_ids ids = {0};
    const int32_t before[] = {40, 41};
    assert_true(tl_ids_append(&ids, before, 2, NULL));
    assert_true(tl_tokenizer_encode(t, "ab", 2, true, &ids, NULL)); /* appends */
    assert_int_equal(ids.count, 6);
    assert_int_equal(ids.data[1], 41);
    assert_int_equal(ids.data[2], 2);
    tl_ids_free(&ids);
    tl_tokenizer_free(t);
    t = must_open(fixture_bpe, ", \"post_processor\": {\"type\": \"RobertaProcessing\", \"sep\":"
                               " [\"b\", 1], \"cls\": [\"a\", 0]}");
    assert_encodes(t, "c", "0 2 1");
    tl_tokenizer_free(t);
}

static void test_invalid_utf8_counts_as_replacement(void **state) {
    (void)state;
    tl_tokenizer *t = must_open("{\"type\": \"WordLevel\", \"unk_token\": \"?\", \"vocab\": {\"?\":"
                                " 0, \"\\ufffd\": 1, \"a\": 2, \"\\u0000\": 3}}",
                                ", \"pre_tokenizer\": {\"type\": \"Split\", \"pattern\": "
                                "{\"Regex\": \"(?m:.)\"}, \"behavior\": \"Isolated\"}");
    assert_encodes(t,
                   "a\xff"
                   "a\xe2\x82"
                   "a\xc0\x80",
                   "2 1 2 1 2 1 1");
    tl_ids ids = {0};
    assert_true(tl_tokenizer_encode(t, "a\0a", 3, true, &ids, NULL));
    assert_int_equal(ids.count, 3);
    assert_int_equal(ids.data[1], 3);
    tl_ids_free(&ids);
    tl_tokenizer_free(t);
}

static void test_long_words_stay_near_linear(void **state) {
    (void)state;
    enum { LENGTH = 400000 };
    tl_tokenizer *t = must_open("{\"type\": \"BPE\", \"vocab\": {\"a\": 0, \"aa\": 1, \"aaaa\": 2},"
                                " \"merges\": [\"a a\", \"aa aa\"]}",
                                "");
    char *text = malloc(LENGTH);
    memset(text, 'a', LENGTH);
    tl_ids ids = {0};
    tl_error error = {0};
    double start = tl_clock_monotonic();
    assert_ok(tl_tokenizer_encode(t, text, LENGTH, true, &ids, &error), error);
    assert_int_equal(ids.count, LENGTH / 4);
    assert_true(tl_clock_monotonic() - start < 20); /* 400 000² steps would take minutes */
    tl_ids_free(&ids);
    free(text);
    tl_tokenizer_free(t);
}

typedef struct shared_use {
    const tl_tokenizer *tokenizer;
    bool good;
} shared_use;

static void *encode_again_and_again(void *argument) {
    shared_use *use = argument;
    use->good = true;
    for (int i = 0; i < 2000 && use->good; i++) {
        tl_ids ids = {0};
        use->good = tl_tokenizer_encode(use->tokenizer, "abc abab", 8, true, &ids, NULL) &&
                    ids.count == 4 && ids.data[0] == 5 && ids.data[3] == 4;
        tl_ids_free(&ids);
    }
    return NULL;
}

static void test_threads_share_a_tokenizer(void **state) {
    (void)state;
    enum { THREADS = 4 };
    tl_tokenizer *t = must_open(fixture_bpe, byte_level);
    pthread_t threads[THREADS];
    shared_use uses[THREADS];
    for (int i = 0; i < THREADS; i++) {
        uses[i] = (shared_use){t, false};
        assert_int_equal(pthread_create(&threads[i], NULL, encode_again_and_again, &uses[i]), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
        assert_true(uses[i].good);
    }
    tl_tokenizer_free(t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_byte_level_bpe),
        cmocka_unit_test(test_the_merge_of_lowest_rank_comes_first),
        cmocka_unit_test(test_ignore_merges_and_unknowns),
        cmocka_unit_test(test_byte_fallback_and_its_decoder),
        cmocka_unit_test(test_unigram_takes_the_best_cut),
        cmocka_unit_test(test_wordpiece_and_wordlevel),
        cmocka_unit_test(test_split_behaviors),
        cmocka_unit_test(test_metaspace_schemes),
        cmocka_unit_test(test_normalizers),
        cmocka_unit_test(test_added_tokens),
        cmocka_unit_test(test_added_tokens_that_share_spaces),
        cmocka_unit_test(test_steps_that_only_cut),
        cmocka_unit_test(test_versions_of_unicode),
        cmocka_unit_test(test_numbers_as_the_reference_reads_them),
        cmocka_unit_test(test_post_processors),
        cmocka_unit_test(test_invalid_utf8_counts_as_replacement),
        cmocka_unit_test(test_long_words_stay_near_linear),
        cmocka_unit_test(test_threads_share_a_tokenizer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
