/* Field expressions: parsing, values, filters, messages. */
#include "support/support.h"

#include "task/template.h"
#include "task/text.h"

#include <string.h>

typedef struct world {
    tl_templates *templates;
    tl_arena *arena;
    cJSON *row;
} world;

static const char row_text[] =
    "{\"q\": \"What?\", \"n\": 3, \"x\": 2.5, \"yes\": true, \"nothing\": null, \"label\": \" 2 \","
    " \"text\": [\" a \", \"b  c\", \"d\"], \"mixed\": [1, \"two\", false],"
    " \"deep\": {\"list\": [{\"k\": \"v\"}, {\"k\": \"w\"}]}, \"odd name\": \"odd\","
    " \"keys\": [\"A\", \"B\", \"C\"], \"key\": \"B\", \"sentence\": \"one _ two _ three\"}";

static int set_up(void **state) {
    static world w;
    tl_error error = {0};
    w.templates = tl_templates_new(&error);
    w.arena = tl_arena_new();
    w.row = tl_json_parse(row_text, strlen(row_text), "row", &error);
    *state = &w;
    return w.row ? 0 : -1;
}

static int tear_down(void **state) {
    world *w = *state;
    tl_templates_free(w->templates);
    tl_arena_free(w->arena);
    cJSON_Delete(w->row);
    return 0;
}

static bool evaluate(world *w, const char *source, const char **text, tl_error *error) {
    tl_scope scope = {.row = w->row, .arena = w->arena};
    const tl_template *t = tl_template_parse(w->templates, source, error);
    return t && tl_scope_set(&scope, "$letter", tl_value_text("A"), error) &&
           tl_template_text(t, &scope, text, error);
}

static void test_templates_give_text(void **state) {
    static const struct {
        const char *source, *text;
    } cases[] = {
        {"", ""},
        {"plain", "plain"},
        {"{q}", "What?"},
        {"Q: {q}\nA:", "Q: What?\nA:"},
        {"{{{q}}}", "{What?}"},
        {"{n}{x}{yes}", "32.5true"},
        {"{ text[1] }", "b  c"},
        {"{deep.list[1].k}", "w"},
        {"{['odd name']}", "odd"},
        {"{$letter}) {q}", "A) What?"},
        {"{text[0] | strip}", "a"},
        {"{text[0] | strip_left}", "a "},
        {"{text[0] | strip_right}", " a"},
        {"{text[7] ?? 'none'}", "none"},
        {"{nothing ?? missing ?? q}", "What?"},
        {"{q | int ?? n}", "3"},
        {"{label | int | minus 1}", "1"},
        {"{label | int | plus 40}", "42"},
        {"{x | int}", "2"},
        {"{yes | int}", "1"},
        {"{key | position keys}", "1"},
        {"{key | position 'C' 'B' \"A\"}", "1"},
        {"{yes | position false true}", "1"},
        {"{key | position 'Z' ?? -1}", "-1"},
        {"{key | letter}", "1"},
        {"{text | strip | join ','}", "a,b  c,d"},
        {"{sentence | before '_'}", "one "},
        {"{sentence | after '_' | strip}", "two _ three"},
        {"{sentence | split ' _ ' | join '|'}", "one|two|three"},
        {"{sentence | replace '_' 'X' | lower}", "one x two x three"},
        {"{'a  b   c' | replace '  ' ' '}", "a b  c"},
        {"{'[x]a[y\nz]b' | regex_replace '\\[.*?\\]' ''}", "a[y\nz]b"},
        {"{'abc' | regex_replace 'x*' '-'}", "-a-b-c-"},
        {"{mixed | join ' '}", "1 two false"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        tl_error error = {0};
        const char *text = NULL;
        if (!evaluate(*state, cases[i].source, &text, &error))
            fail_msg("%s: %s", cases[i].source, error.message);
        if (strcmp(text, cases[i].text) != 0)
            fail_msg("%s gives '%s', expected '%s'", cases[i].source, text, cases[i].text);
    }
}

static void test_failures_name_the_field_or_filter(void **state) {
    static const struct {
        const char *source, *part;
    } cases[] = {
        {"{absent}", "field 'absent' is missing"},
        {"{text[9]}", "field 'text[9]' is missing"},
        {"{deep.list[0].other}", "field 'deep.list[0].other' is missing"},
        {"{nothing}", "field 'nothing' is missing"},
        {"{text}", "found a list"},
        {"{deep}", "field 'deep': expected text"},
        {"{q | int}", "field 'q': filter 'int': 'What?' is not an integer"},
        {"{key | position 'X' 'Y'}", "'B' is not among the 2"},
        {"{q | before '#'}", "no '#' in the text"},
        {"{q | minus 1}", "expected integers"},
        {"{q | sort}", "unknown filter"},
        {"{q", "expected '|'"},
        {"{q | strip 'x'}", "takes 0 to 0 arguments"},
        {"{q | replace 'x'}", "takes 2 to 2 arguments"},
        {"{'open}", "quote is not closed"},
        {"a } b", "lone '}'"},
        {"{}", "expected a field's name"},
        {"{text[x]}", "expected an index"},
        {"{text[-1]}", "expected an index"},
        {"{q | regex_replace '(' ''}", "pattern '('"},
        {"{q | regex_replace key ''}", "must be a quoted text"},
        {"{12x}", "expected an integer"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        tl_error error = {0};
        const char *text = NULL;
        if (evaluate(*state, cases[i].source, &text, &error))
            fail_msg("%s gives '%s', expected an error", cases[i].source, text);
        if (!strstr(error.message, cases[i].part))
            fail_msg("%s: '%s', expected '%s'", cases[i].source, error.message, cases[i].part);
    }
}

static void test_single_expressions_keep_their_type(void **state) {
    world *w = *state;
    tl_error error = {0};
    tl_scope scope = {.row = w->row, .arena = w->arena};
    tl_value value;
    const tl_template *list = tl_template_parse(w->templates, "{text | strip}", &error);
    assert_ok(tl_template_value(list, &scope, &value, &error), error);
    assert_int_equal(value.kind, TL_VALUE_LIST);
    assert_int_equal(value.count, 3);
    assert_string_equal(value.items[0].text, "a");
    const tl_template *number = tl_template_parse(w->templates, "{n}", &error);
    assert_ok(tl_template_value(number, &scope, &value, &error), error);
    assert_int_equal(value.kind, TL_VALUE_INTEGER);
    assert_int_equal(value.integer, 3);
}

static void test_variables_come_before_fields(void **state) {
    world *w = *state;
    tl_error error = {0};
    tl_scope scope = {.row = w->row, .arena = w->arena};
    const tl_template *t = tl_template_parse(w->templates, "{q}", &error);
    const char *text;
    assert_ok(tl_scope_set(&scope, "q", tl_value_text("variable"), &error), error);
    assert_ok(tl_template_text(t, &scope, &text, &error), error);
    assert_string_equal(text, "variable");
}

static void test_named_filters(void **state) {
    world *w = *state;
    tl_error error = {0};
    const char *text;
    assert_ok(tl_templates_add_filter(w->templates, "tidy", "strip | replace '  ' ' '", &error),
              error);
    assert_ok(evaluate(w, "{text | tidy | join '/'}", &text, &error), error);
    assert_string_equal(text, "a/b c/d");
    assert_false(tl_templates_add_filter(w->templates, "strip", "lower", &error));
    assert_false(tl_templates_add_filter(w->templates, "again", "tidy | tidy", &error));
    assert_false(tl_templates_add_filter(w->templates, "bad", "strip }", &error));
}

/* Expected values are Python's. */
static void test_text_is_pythons(void **state) {
    (void)state;
    static const struct {
        const char *from, *capitalized;
    } cases[] = {
        {"", ""},
        {"the MAN From", "The man from"},
        {"éCOLE ÀÉ", "École àé"},
        {"ßX", "Ssx"},
        {"ﬁRST", "First"},
        {"ǆX", "ǅx"},
        {"xΑΣ ΑΣΑ Σ", "Xας ασα σ"},
        {"aİ", "Ai̇"},
        {"1ABC", "1abc"},
        {"x\xff"
         "Y",
         "X\xff"
         "y"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        tl_buffer out = {0};
        tl_text_capitalize(&out, cases[i].from, strlen(cases[i].from));
        assert_string_equal(tl_buffer_string(&out), cases[i].capitalized);
        tl_buffer_free(&out);
    }
    const char *text = "\xe2\x80\x83 \x1c"
                       "a b\xc2\xa0\n";
    size_t length = strlen(text);
    tl_text_strip(&text, &length, true, true);
    assert_int_equal(length, 3);
    assert_memory_equal(text, "a b", 3);
    assert_int_equal(tl_text_characters("añ日👩", strlen("añ日👩")), 4);
}

static void test_floats_are_pythons(void **state) {
    (void)state;
    static const struct {
        double value;
        const char *text;
    } cases[] = {
        {1, "1.0"},
        {0, "0.0"},
        {-0.5, "-0.5"},
        {0.1, "0.1"},
        {1e16, "1e+16"},
        {123456789012345680.0, "1.2345678901234568e+17"},
        {1e15, "1000000000000000.0"},
        {0.0001, "0.0001"},
        {0.00001, "1e-05"},
        {-58.933937072753906, "-58.933937072753906"},
        {1.0 / 3, "0.3333333333333333"},
        {5e-324, "5e-324"},
        {100, "100.0"},
        {12345.678, "12345.678"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        tl_buffer out = {0};
        tl_text_append_python_float(&out, cases[i].value);
        assert_string_equal(tl_buffer_string(&out), cases[i].text);
        tl_buffer_free(&out);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_templates_give_text),
        cmocka_unit_test(test_failures_name_the_field_or_filter),
        cmocka_unit_test(test_single_expressions_keep_their_type),
        cmocka_unit_test(test_variables_come_before_fields),
        cmocka_unit_test(test_named_filters),
        cmocka_unit_test(test_text_is_pythons),
        cmocka_unit_test(test_floats_are_pythons),
    };
    return cmocka_run_group_tests_name("template", tests, set_up, tear_down);
}
