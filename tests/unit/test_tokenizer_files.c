/* tokenizer: the forms it is published in, what the files beside it say, and bad input. */
#include "support/tokenizer_fixture.h"

#include "tokenizer/regex.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A directory of its own for each call, with the files given as name, content, …, NULL. */
static tl_tokenizer *open_files(tl_error *error, const char *const files[]) {
    static int next;
    char directory[4096];
    snprintf(directory, sizeof directory, "%s", test_scratch_path("files-%d", next++));
    for (int i = 0; files[i]; i += 2) {
        char path[4200];
        snprintf(path, sizeof path, "%s/%s", directory, files[i]);
        test_write_text(path, files[i + 1]);
    }
    return tl_tokenizer_open(directory, error);
}
#define OPEN_FILES(error, ...) open_files(error, (const char *const[]){__VA_ARGS__, NULL})

static const char vocab[] = "{\"a\": 0, \"b\": 1, \"ab\": 2, \"Ġ\": 3, \"</s>\": 4, \"1\": 5}";
static const char merges[] = "#version: 0.2\na b\n\n";

static void test_vocab_and_merges(void **state) {
    (void)state;
    tl_error error = {0};
    tl_tokenizer *t =
        OPEN_FILES(&error, "vocab.json", vocab, "merges.txt", merges, "tokenizer_config.json",
                   "{\"tokenizer_class\": \"GPT2Tokenizer\", \"add_bos_token\": true,"
                   " \"bos_token\": {\"content\": \"</s>\", \"normalized\": true},"
                   " \"pad_token\": \"<pad>\", \"unk_token\": null,"
                   " \"model_max_length\": 1024}",
                   "special_tokens_map.json", "{\"eos_token\": \"</s>\"}");
    assert_ok(t, error);
    assert_encodes(t, "ab</s>b", "4 2 4 1");
    assert_encodes(t, "<pad>a", "4 6 0"); /* new tokens get the next id */
    assert_int_equal(tl_tokenizer_bos(t), 4);
    assert_int_equal(tl_tokenizer_eos(t), 4);
    assert_int_equal(tl_tokenizer_pad(t), 6);
    assert_int_equal(tl_tokenizer_unk(t), -1);
    assert_int_equal(tl_tokenizer_size(t), 7);
    assert_int_equal(tl_tokenizer_max_length(t), 1024);
    tl_tokenizer_free(t);
}

static void test_class_by_model_type(void **state) {
    (void)state;
    tl_error error = {0};
    tl_tokenizer *t = OPEN_FILES(&error, "vocab.json", vocab, "merges.txt", merges, "config.json",
                                 "{\"model_type\": \"qwen2\"}");
    assert_ok(t, error);
    assert_int_equal(tl_tokenizer_bos(t), -1);
    assert_int_equal(tl_tokenizer_eos(t), 6); /* "<|endoftext|>", the class's own */
    assert_encodes(t, "ab<|endoftext|>11", "2 6 5 5");
    tl_tokenizer_free(t);
    assert_null(OPEN_FILES(&error, "vocab.json", vocab, "merges.txt", merges,
                           "tokenizer_config.json", "{\"tokenizer_class\": \"CTRLTokenizer\"}"));
    test_assert_contains(error.message, "CTRLTokenizer");
}

static void test_add_bos_and_eos_as_configured(void **state) {
    (void)state;
    tl_error error = {0};
    char json[1024];
    snprintf(json, sizeof json, "{\"model\": %s, \"added_tokens\": []}", fixture_bpe);
    tl_tokenizer *t =
        OPEN_FILES(&error, "tokenizer.json", json, "tokenizer_config.json",
                   "{\"add_bos_token\": true, \"add_eos_token\": true, \"bos_token\": \"b\","
                   " \"eos_token\": \"c\"}");
    assert_ok(t, error);
    assert_encodes(t, "a", "1 0 2");
    assert_encodes_plain(t, "a", "0");
    tl_tokenizer_free(t);
}

/* Protocol Buffers, by hand. */
static void put_varint(tl_buffer *out, uint64_t value) {
    for (; value >= 0x80; value >>= 7)
        tl_buffer_append_byte(out, (char)(value | 0x80));
    tl_buffer_append_byte(out, (char)value);
}

static void put_bytes(tl_buffer *out, uint32_t field, const void *bytes, size_t length) {
    put_varint(out, field << 3 | 2);
    put_varint(out, length);
    tl_buffer_append(out, bytes, length);
}

static void put_piece(tl_buffer *out, const char *text, float score, uint64_t type) {
    tl_buffer piece = {0};
    put_bytes(&piece, 1, text, strlen(text));
    put_varint(&piece, 2 << 3 | 5);
    tl_buffer_append(&piece, &score, sizeof score);
    put_varint(&piece, 3 << 3);
    put_varint(&piece, type);
    put_bytes(out, 1, piece.data, piece.length);
    tl_buffer_free(&piece);
}

static void put_trainer(tl_buffer *out, uint64_t model_type) {
    tl_buffer trainer = {0};
    put_varint(&trainer, 3 << 3);
    put_varint(&trainer, model_type);
    put_bytes(out, 2, trainer.data, trainer.length);
    tl_buffer_free(&trainer);
}

static void test_sentencepiece_bpe(void **state) {
    (void)state;
    tl_error error = {0};
    tl_buffer model = {0};
    put_piece(&model, "<unk>", 0, 2);
    put_piece(&model, "<s>", 0, 3);
    put_piece(&model, "</s>", 0, 3);
    put_piece(&model, "<0x78>", 0, 6);
    put_piece(&model, "▁a", -1, 1);
    put_piece(&model, "ab", -0.5f, 1);
    put_piece(&model, "▁", -2, 1);
    put_piece(&model, "a", -3, 1);
    put_piece(&model, "b", -4, 1);
    put_piece(&model, "<user>", 0, 4);
    put_trainer(&model, 2);
    const char normalizer[] = {4 << 3, 0}; /* remove_extra_whitespaces: no */
    put_bytes(&model, 3, normalizer, sizeof normalizer);
    tl_tokenizer *t = fixture_file("tokenizer.model", model.data, model.length, &error);
    assert_ok(t, error);
    assert_encodes(t, "ab a", "1 6 5 4"); /* "ab" has the better score than "▁a" */
    assert_encodes(t, "ax  b", "1 4 3 6 6 8");
    assert_encodes(t, "<user>b</s>", "1 9 6 8 2");
    assert_decodes(t, "1 6 5 9 4 2", true, "ab<user> a");
    assert_int_equal(tl_tokenizer_bos(t), 1);
    tl_tokenizer_free(t);
    for (size_t length = 0; length < model.length; length++) { /* cut off anywhere: no crash */
        t = fixture_file("tokenizer.model", model.data, length, &error);
        tl_tokenizer_free(t);
    }
    tl_buffer_free(&model);
}

static void test_sentencepiece_unigram(void **state) {
    (void)state;
    tl_error error = {0};
    tl_buffer model = {0};
    put_piece(&model, "<pad>", 0, 3);
    put_piece(&model, "</s>", 0, 3);
    put_piece(&model, "<unk>", 0, 2);
    put_piece(&model, "▁a", -1, 1);
    put_piece(&model, "b", -2, 1);
    put_trainer(&model, 1);
    tl_tokenizer *t = fixture_file("spiece.model", model.data, model.length, &error);
    assert_ok(t, error);
    assert_encodes(t, " ab   a ", "3 4 3 1");
    assert_encodes(t, "<extra_id_0>a", "104 3 1"); /* 100 of them, the last first */
    assert_encodes(t, "<extra_id_99>", "5 1");
    assert_int_equal(tl_tokenizer_size(t), 105);
    tl_tokenizer_free(t);
    put_trainer(&model, 3);
    assert_null(fixture_file("spiece.model", model.data, model.length, &error));
    test_assert_contains(error.message, "model_type 3");
    tl_buffer_free(&model);
}

/* A tokenizer.json with one fault, and what its message must name. */
static void test_bad_files_are_refused_by_name(void **state) {
    (void)state;
    const char good[] = "{\"type\": \"BPE\", \"vocab\": {\"a\": 0}, \"merges\": []}";
    const struct {
        const char *model, *fields, *message;
    } cases[] = {
        {"{\"type\": \"Neural\", \"vocab\": {}}", "", "model: type 'Neural'"},
        {"{\"type\": \"BPE\", \"merges\": []}", "", "field 'vocab'"},
        {"{\"type\": \"BPE\", \"vocab\": {}, \"merges\": []}", "", "empty"},
        {"{\"type\": \"BPE\", \"vocab\": {\"a\": 0}}", "", "field 'merges' is missing"},
        {"{\"type\": \"BPE\", \"vocab\": {\"a\": 0, \"b\": 0}, \"merges\": []}", "",
         "id 0 belongs to both 'a' and 'b'"},
        {"{\"type\": \"BPE\", \"vocab\": {\"a\": 0, \"a\": 1}, \"merges\": []}", "",
         "token 'a' has both id 0 and id 1"},
        {"{\"type\": \"BPE\", \"vocab\": {\"a\": -1}, \"merges\": []}", "", "id -1"},
        {"{\"type\": \"BPE\", \"vocab\": {\"a\": 4294967296}, \"merges\": []}", "", "4294967296"},
        {"{\"type\": \"BPE\", \"vocab\": {\"a\": 1e3}, \"merges\": []}", "", "an integer"},
        {"{\"type\": \"BPE\", \"vocab\": {\"a\": 0}, \"merges\": [\"a b\"]}", "", "merges: 'b'"},
        {"{\"type\": \"BPE\", \"vocab\": {\"a\": 0}, \"merges\": [\"a a\"]}", "", "merges: 'aa'"},
        {"{\"type\": \"BPE\", \"vocab\": {\"a\": 0}, \"merges\": [\"a\"]}", "", "one space"},
        {"{\"type\": \"BPE\", \"vocab\": {\"a\": 0}, \"merges\": [], \"dropout\": 0.1}", "",
         "field 'dropout'"},
        {"{\"type\": \"Unigram\", \"unk_id\": 5, \"vocab\": [[\"a\", 0]]}", "", "field 'unk_id'"},
        {"{\"type\": \"Unigram\", \"vocab\": [[\"a\", 0], [\"a\", 1]]}", "", "token 'a'"},
        {good, ", \"normalizer\": {\"type\": \"Rot13\"}", "normalizer: type 'Rot13'"},
        {good,
         ", \"normalizer\": {\"type\": \"Sequence\", \"normalizers\": [{\"type\": \"NFC\"},"
         " {\"type\": \"Prepend\"}]}",
         "normalizer.normalizers[1]: field 'prepend'"},
        {good, ", \"normalizer\": {\"type\": \"Precompiled\", \"precompiled_charsmap\": \"AAAA\"}",
         "precompiled_charsmap"},
        {good, ", \"pre_tokenizer\": {\"type\": \"UnicodeScripts\"}",
         "pre_tokenizer: type 'UnicodeScripts'"},
        {good,
         ", \"pre_tokenizer\": {\"type\": \"Split\", \"pattern\": {\"Regex\": \"a\"},"
         " \"behavior\": \"Merged\"}",
         "field 'behavior' is 'Merged'"},
        {good,
         ", \"pre_tokenizer\": {\"type\": \"Split\", \"pattern\": {\"Regex\": \"(a)\\\\1\"},"
         " \"behavior\": \"Isolated\"}",
         "a back reference"},
        {good, ", \"pre_tokenizer\": {\"type\": \"Metaspace\", \"prepend_scheme\": \"last\"}",
         "field 'prepend_scheme' is 'last'"},
        {good, ", \"post_processor\": {\"type\": \"Other\"}", "post_processor: type 'Other'"},
        {good,
         ", \"post_processor\": {\"type\": \"TemplateProcessing\", \"single\":"
         " [{\"SpecialToken\": {\"id\": \"x\"}}], \"special_tokens\": {}}",
         "no ids for 'x'"},
        {good,
         ", \"post_processor\": {\"type\": \"BertProcessing\", \"sep\": [\"a\", 7], \"cls\":"
         " [\"a\", 0]}",
         "token ids within 0 to 0"},
        {good, ", \"decoder\": {\"type\": \"CTC\"}", "decoder: type 'CTC'"},
        {good, ", \"added_tokens\": [{\"id\": 0, \"content\": \"b\"}]", "added_tokens[0]"},
        {good, ", \"added_tokens\": [{\"id\": 3, \"content\": \"a\"}]", "the vocabulary gives"},
        {good,
         ", \"added_tokens\": [{\"id\": 1, \"content\": \"b\"}, {\"id\": 1, \"content\": \"c\"}]",
         "id 1 belongs to both 'b' and 'c'"},
        {good, ", \"added_tokens\": [{\"id\": 99999999, \"content\": \"b\"}]", "99999999"},
        {good, ", \"x\": [[[[", "tokenizer.json:1: expected"},
        {good, ", \"x\": \"\xff\"", "not UTF-8"},
        {"7", "", "model"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        tl_error error = {0};
        tl_tokenizer *t = fixture_json(cases[i].model, cases[i].fields, &error);
        if (t) fail_msg("opened %s%s", cases[i].model, cases[i].fields);
        test_assert_contains(error.message, cases[i].message);
        test_assert_contains(error.message, "tokenizer.json");
    }
}

static void test_deep_nesting_is_refused(void **state) {
    (void)state;
    tl_buffer fields = {0};
    tl_error error = {0};
    tl_buffer_append_string(&fields, ", \"normalizer\": ");
    for (int i = 0; i < 40; i++)
        tl_buffer_append_string(&fields, "{\"type\": \"Sequence\", \"normalizers\": [");
    tl_buffer_append_string(&fields, "{\"type\": \"NFC\"}");
    for (int i = 0; i < 40; i++)
        tl_buffer_append_string(&fields, "]}");
    assert_null(fixture_json(fixture_bpe, fields.data, &error));
    test_assert_contains(error.message, "deeply");
    tl_buffer_clear(&fields);
    tl_buffer_append_string(&fields, ", \"x\": ");
    for (int i = 0; i < 200000; i++)
        tl_buffer_append_byte(&fields, '[');
    assert_null(fixture_json(fixture_bpe, fields.data, &error));
    test_assert_contains(error.message, "deeply");
    tl_buffer_free(&fields);
}

static void test_a_missing_tokenizer_is_said(void **state) {
    (void)state;
    tl_error error = {0};
    assert_null(OPEN_FILES(&error, "config.json", "{}"));
    test_assert_contains(error.message, "tokenizer.json");
    assert_null(OPEN_FILES(&error, "vocab.json", vocab));
    test_assert_contains(error.message, "merges.txt");
    assert_null(OPEN_FILES(&error, "vocab.json", vocab, "merges.txt", "a b\nb  a\n"));
    test_assert_contains(error.message, "merges.txt:2");
}

static void test_a_pattern_that_backtracks_too_much_is_an_error(void **state) {
    (void)state;
    tl_error error = {0};
    tl_tokenizer *t = fixture_json(fixture_bpe,
                                   ", \"pre_tokenizer\": {\"type\": \"Split\", \"pattern\":"
                                   " {\"Regex\": \"(a|a)*[bc]\"}, \"behavior\": \"Isolated\"}",
                                   &error);
    assert_ok(t, error);
    char text[64];
    memset(text, 'a', sizeof text);
    tl_ids ids = {0};
    assert_false(tl_tokenizer_encode(t, text, sizeof text, true, &ids, &error));
    assert_int_equal(error.code, TL_ERROR_LIMIT);
    assert_int_equal(ids.count, 0);
    tl_ids_free(&ids);
    tl_tokenizer_free(t);
}

/* Where Oniguruma and PCRE2 read a pattern differently: the first match, as "start-end". */
static void test_patterns_are_read_as_oniguruma_does(void **state) {
    (void)state;
    const struct {
        const char *pattern, *text;
        int start, end; /* start -1: no match */
    } cases[] = {
        {"[^(\\s|[.,])]+", "(.a|b", 2, 3},   /* nested classes */
        {"[a-z&&[^aeiou]]+", "aebcd", 2, 5}, /* intersection */
        {"[a[^b-z]]+", "bca!", 2, 4},        /* a negated class within one */
        {"\\h+", "xyz0fG", 3, 5},            /* hex digits */
        {"\\s", "\xe1\xa0\x8e ", 3, 4},      /* U+180E is no space */
        {"\\w", "\xc2\xbd", 0, 2},           /* but ½ is a word character */
        {"[\\w]", "\xc2\xbd", -1, 0},        /* except in a class */
        {"a{,2}b", "aaab", 1, 4},            /* {,n} is {0,n} */
        {"a{2}+b", "aaaab", 0, 5},           /* not possessive: (?:a{2})+ */
        {"a.b", "a\nb", -1, 0},              /* . stops at a newline … */
        {"(?m:a.b)", "a\nb", 0, 3},          /* … but for (?m) */
        {"^b$", "a\nb\nc", 2, 3},            /* ^ and $ are of lines */
        {"a(?i)b|c", "C", -1, 0},            /* (?i) holds to the end of the group */
        {"a(?i)b|c", "aC", 0, 2},
        {"(?i:'s)", "'\xc5\xbf", 0, 3}, /* Unicode case folding */
        {"\\v", "\x0b", 0, 1},
        {"\\u00e9|\\x{e8}", "\xc3\xa9", 0, 2},
        {"\\p{^L}", "a1", 1, 2},
        {"\\p{Han}", "\xe4\xb8\x80", 0, 3},
        {"[[:punct:]]", "+", 0, 1},
        {"(?<year>a)b", "ab", 0, 2},
        {"[]a]+", "]a", 0, 2},
    };
    tl_error error = {0};
    tl_matcher *matcher = tl_matcher_new(&error);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        tl_regex *regex = tl_regex_new(cases[i].pattern, strlen(cases[i].pattern), &error);
        assert_ok(regex, error);
        tl_match match;
        assert_ok(
            tl_regex_find(regex, matcher, cases[i].text, strlen(cases[i].text), 0, &match, &error),
            error);
        int start = match.found ? (int)match.start : -1, end = match.found ? (int)match.end : 0;
        if (start != cases[i].start || end != cases[i].end)
            fail_msg("%s matches %d-%d", cases[i].pattern, start, end);
        tl_regex_free(regex);
    }
    const char *const refused[] = {"(a)\\1", "\\g<0>", "(?x) a", "(?~a)", "\\yA",  "a)",
                                   "(a",     "[a",     "*a",     "[b-a]", "\\xff", "\\p{Klingon}"};
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        tl_regex *regex = tl_regex_new(refused[i], strlen(refused[i]), &error);
        if (regex) fail_msg("compiled %s", refused[i]);
        test_assert_contains(error.message, refused[i]);
    }
    tl_matcher_free(matcher);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_vocab_and_merges),
        cmocka_unit_test(test_class_by_model_type),
        cmocka_unit_test(test_add_bos_and_eos_as_configured),
        cmocka_unit_test(test_sentencepiece_bpe),
        cmocka_unit_test(test_sentencepiece_unigram),
        cmocka_unit_test(test_bad_files_are_refused_by_name),
        cmocka_unit_test(test_deep_nesting_is_refused),
        cmocka_unit_test(test_a_missing_tokenizer_is_said),
        cmocka_unit_test(test_a_pattern_that_backtracks_too_much_is_an_error),
        cmocka_unit_test(test_patterns_are_read_as_oniguruma_does),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
