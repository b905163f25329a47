/* Questions: rows seen through a task's templates. */
#include "task/document.h"
#include "task/method.h"

#include <string.h>

static bool set_named(const tl_named_templates *named, tl_scope *scope, tl_error *error) {
    for (int i = 0; i < named->count; i++) {
        tl_value value;
        if (!tl_template_value(named->items[i], scope, &value, error) ||
            !tl_scope_set(scope, named->names[i], value, error))
            return tl_fail_within(error, "'%s'", named->names[i]);
    }
    return true;
}

static const tl_value *variable(const tl_scope *scope, const char *name) {
    for (int i = scope->n_variables - 1; i >= 0; i--)
        if (strcmp(scope->variables[i].name, name) == 0) return &scope->variables[i].value;
    return NULL;
}

static void append_json(tl_buffer *out, const tl_value *value, tl_arena *arena) {
    const char *text = "null";
    size_t length = 4;
    if (value->kind == TL_VALUE_LIST) {
        tl_buffer_append_byte(out, '[');
        for (size_t i = 0; i < value->count; i++) {
            if (i) tl_buffer_append_string(out, ", ");
            append_json(out, &value->items[i], arena); /* items are never lists */
        }
        tl_buffer_append_byte(out, ']');
    } else if (value->kind == TL_VALUE_TEXT) {
        tl_document_append_string(out, value->text, value->length);
    } else {
        tl_value_to_text(value, arena, &text, &length, NULL);
        tl_buffer_append(out, text, length);
    }
}

/* The row as JSON, with the names that `add` gives it. */
static bool make_document(const tl_method *m, const tl_scope *scope, const char *text,
                          size_t length, const char **document, tl_error *error) {
    tl_buffer out = {0};
    tl_document_append(&out, text, length, 0);
    bool empty = cJSON_GetArraySize(scope->row) == 0;
    if (m->add.count && out.length && !out.failed) out.data[--out.length] = 0;
    for (int i = 0; i < m->add.count; i++) {
        if (i || !empty) tl_buffer_append_string(&out, ", ");
        tl_document_append_string(&out, m->add.names[i], strlen(m->add.names[i]));
        tl_buffer_append_string(&out, ": ");
        append_json(&out, variable(scope, m->add.names[i]), scope->arena);
    }
    if (m->add.count) tl_buffer_append_byte(&out, '}');
    *document = tl_arena_strndup(scope->arena, tl_buffer_string(&out), out.length, error);
    bool ok = !out.failed && *document;
    tl_buffer_free(&out);
    return ok || tl_fail_memory(error, length, "a row");
}

/* The choices: one template that gives a list, or a template each. */
static bool make_choices(const tl_method *m, tl_scope *scope, tl_question *q, tl_error *error) {
    tl_value value;
    tl_value each[TL_TASK_CHOICES];
    size_t count = (size_t)m->choices.count;
    const tl_value *items = each;
    if (m->choices.single) {
        if (!tl_template_value(m->choices.items[0], scope, &value, error)) return false;
        if (value.kind != TL_VALUE_LIST || value.count == 0 || value.count > TL_TASK_CHOICES)
            return tl_fail(error, TL_ERROR_FORMAT, "expected a list of 1 to %d choices",
                           TL_TASK_CHOICES);
        items = value.items;
        count = value.count;
    } else {
        for (size_t i = 0; i < count; i++)
            if (!tl_template_value(m->choices.items[i], scope, &each[i], error)) return false;
    }
    q->n_choices = (int32_t)count;
    q->choices = tl_arena_alloc(scope->arena, count, sizeof *q->choices, "choices", error);
    if (!q->choices) return false;
    size_t length;
    for (size_t i = 0; i < count; i++)
        if (!tl_value_to_text(&items[i], scope->arena, &q->choices[i], &length, error))
            return false;
    return true;
}

static bool make_gold(const tl_method *m, tl_scope *scope, tl_question *q, tl_error *error) {
    tl_value gold;
    if (!tl_template_value(m->gold, scope, &gold, error)) return false;
    if (gold.kind == TL_VALUE_BOOL) gold.kind = TL_VALUE_INTEGER;
    if (gold.kind != TL_VALUE_INTEGER)
        return tl_fail(error, TL_ERROR_FORMAT, "%s: expected the number of a choice, from 0",
                       tl_template_source(m->gold));
    if (gold.integer < -1 || gold.integer >= q->n_choices)
        return tl_fail(error, TL_ERROR_FORMAT, "%s gives %lld: expected 0 to %d",
                       tl_template_source(m->gold), (long long)gold.integer, q->n_choices - 1);
    q->gold = (int32_t)gold.integer;
    return true;
}

static const char *letter_text(int index) {
    static const char letters[TL_TASK_LETTERS][2] = {"A", "B", "C", "D", "E", "F", "G", "H", "I",
                                                     "J", "K", "L", "M", "N", "O", "P", "Q", "R",
                                                     "S", "T", "U", "V", "W", "X", "Y", "Z"};
    return letters[index];
}

static bool set_buffer(tl_scope *scope, const char *name, tl_buffer *text, tl_error *error) {
    char *copy = text->failed
                     ? NULL
                     : tl_arena_strndup(scope->arena, tl_buffer_string(text), text->length, error);
    bool ok = copy && tl_scope_set(scope, name, tl_value_text(copy), error);
    tl_buffer_free(text);
    return ok;
}

/* $letters ("A, B, C") and $options (a line for each choice). */
static bool set_options(const tl_method *m, tl_scope *scope, const tl_question *q,
                        tl_error *error) {
    if (q->n_choices > TL_TASK_LETTERS)
        return tl_fail(error, TL_ERROR_LIMIT, "%d choices: letters reach to %d", q->n_choices,
                       TL_TASK_LETTERS);
    tl_buffer letters = {0}, options = {0};
    bool ok = true;
    for (int i = 0; i < q->n_choices && ok; i++) {
        int which = i < m->option.count ? i : m->option.count - 1;
        const char *line = "";
        ok = tl_scope_set(scope, "$letter", tl_value_text(letter_text(i)), error) &&
             tl_scope_set(scope, "$choice", tl_value_text(q->choices[i]), error) &&
             tl_template_text(m->option.items[which], scope, &line, error);
        tl_buffer_append_format(&letters, "%s%s", i ? ", " : "", letter_text(i));
        tl_buffer_append_format(&options, "%s%s", i ? "\n" : "", line);
    }
    bool set = set_buffer(scope, "$letters", &letters, error);
    return set_buffer(scope, "$options", &options, error) && set && ok;
}

/* Texts in order: one after another, as one string. */
static const char *join(tl_arena *arena, const char *first, const char *second, tl_error *error) {
    size_t a = strlen(first), b = strlen(second);
    char *text = tl_arena_alloc(arena, a + b + 1, 1, "a prompt", error);
    if (!text) return NULL;
    memcpy(text, first, a);
    memcpy(text + a, second, b + 1);
    return text;
}

/* The context and continuation of each request: one context for all choices, or (partial scoring)
 * a context each with the same continuation. */
static bool make_requests(const tl_method *m, const char *shots, tl_scope *scope, tl_question *q,
                          tl_error *error) {
    size_t count = (size_t)q->n_choices;
    bool partial = m->contexts.count > 0;
    if (partial && m->contexts.count != q->n_choices)
        return tl_fail(error, TL_ERROR_FORMAT, "%d contexts for %d choices", m->contexts.count,
                       q->n_choices);
    q->contexts = tl_arena_alloc(scope->arena, count, sizeof *q->contexts, "requests", error);
    q->continuations =
        tl_arena_alloc(scope->arena, count, sizeof *q->continuations, "requests", error);
    if (!q->contexts || !q->continuations) return false;
    for (size_t i = 0; i < count; i++) {
        const char *text = NULL, *answer = q->choices[i];
        if (i == 0 || partial) {
            const tl_template *t = partial ? m->contexts.items[i] : m->context;
            if (!tl_template_text(t, scope, &text, error)) return false;
            q->contexts[i] = *shots ? join(scope->arena, shots, text, error) : text;
        } else {
            q->contexts[i] = q->contexts[0];
        }
        if (partial && !tl_template_text(m->continuation, scope, &answer, error)) return false;
        q->continuations[i] = join(scope->arena, m->delimiter, answer, error);
        if (!q->contexts[i] || !q->continuations[i]) return false;
    }
    q->prompt = q->contexts[0];
    return true;
}

/* Everything the templates may name, and the choices and gold answer. */
static bool prepare(const tl_method *m, tl_scope *scope, tl_question *q, tl_error *error) {
    const char *question = NULL;
    if (!set_named(&m->let, scope, error) || !set_named(&m->add, scope, error)) return false;
    if (m->question && (!tl_template_text(m->question, scope, &question, error) ||
                        !tl_scope_set(scope, "$question", tl_value_text(question), error)))
        return false;
    return make_choices(m, scope, q, error) && make_gold(m, scope, q, error);
}

bool tl_question_build(const tl_task *task, tl_protocol protocol, const cJSON *row,
                       const char *text, size_t length, const char *shots, tl_arena *arena,
                       tl_question *question, tl_error *error) {
    const tl_method *m = &task->methods[protocol];
    tl_scope scope = {.row = row, .arena = arena};
    *question = (tl_question){0};
    if (!prepare(m, &scope, question, error)) return false;
    if (protocol == TL_PROTOCOL_LOGLIKELIHOOD) {
        if (!make_requests(m, shots, &scope, question, error)) return false;
    } else if (!set_options(m, &scope, question, error) ||
               !tl_template_text(m->prompt, &scope, &question->prompt, error)) {
        return false;
    }
    return make_document(m, &scope, text, length, &question->document, error);
}

bool tl_question_append_shot(const tl_task *task, const cJSON *row, tl_arena *arena, tl_buffer *out,
                             tl_error *error) {
    const tl_method *m = &task->methods[TL_PROTOCOL_LOGLIKELIHOOD];
    tl_scope scope = {.row = row, .arena = arena};
    tl_question q = {0};
    if (!prepare(m, &scope, &q, error) || !make_requests(m, "", &scope, &q, error)) return false;
    if (q.gold < 0) return tl_fail(error, TL_ERROR_FORMAT, "a few-shot example without an answer");
    tl_buffer_append_string(out, q.contexts[q.gold]);
    tl_buffer_append_string(out, q.continuations[q.gold]);
    tl_buffer_append_string(out, "\n\n");
    return !out->failed || tl_fail_memory(error, out->length, "few-shot examples");
}
