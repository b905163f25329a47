#include "task/template.h"

#include "task/filters.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    MOST_PARTS = 128,
    MOST_ALTERNATIVES = 8,
    MOST_FILTERS = 16,
    MOST_STEPS = 8,
    MOST_PATTERNS = 256,
    MOST_NAMED = 32,
};

/* One step of a field path: a name, or an index where `name` is NULL. */
typedef struct step {
    const char *name;
    int index;
} step;

typedef struct operand {
    bool is_path;
    tl_value constant;
    const char *source; /* of a path, for messages */
    step *steps;
    int n_steps;
} operand;

typedef struct application {
    const tl_filter *filter;
    operand *arguments;
    int n_arguments;
    void *pattern;
} application;

typedef struct alternative {
    operand input;
    application *filters;
    int n_filters;
} alternative;

typedef struct part {
    const char *literal; /* NULL: an expression */
    size_t length;
    alternative *alternatives;
    int n_alternatives;
} part;

struct tl_template {
    const char *source;
    part *parts;
    int n_parts;
};

struct tl_templates {
    tl_arena *arena;
    void *patterns[MOST_PATTERNS];
    int n_patterns;
    struct {
        const char *name;
        application *filters;
        int n_filters;
    } named[MOST_NAMED];
    int n_named;
};

bool tl_scope_set(tl_scope *scope, const char *name, tl_value value, tl_error *error) {
    for (int i = 0; i < scope->n_variables; i++)
        if (strcmp(scope->variables[i].name, name) == 0) {
            scope->variables[i].value = value;
            return true;
        }
    if (scope->n_variables == TL_SCOPE_VARIABLES)
        return tl_fail(error, TL_ERROR_LIMIT, "more than %d names", TL_SCOPE_VARIABLES);
    scope->variables[scope->n_variables].name = name;
    scope->variables[scope->n_variables++].value = value;
    return true;
}

/* ---- parsing ---- */

tl_templates *tl_templates_new(tl_error *error) {
    tl_templates *templates = calloc(1, sizeof *templates);
    if (templates) templates->arena = tl_arena_new();
    if (templates && templates->arena) return templates;
    free(templates);
    tl_fail_memory(error, sizeof *templates, "templates");
    return NULL;
}

void tl_templates_free(tl_templates *templates) {
    if (!templates) return;
    for (int i = 0; i < templates->n_patterns; i++)
        tl_filter_pattern_free(templates->patterns[i]);
    tl_arena_free(templates->arena);
    free(templates);
}

typedef struct parser {
    tl_templates *templates;
    const char *source; /* the whole template, for messages */
    const char *at;
    tl_error *error;
} parser;

static bool complain(parser *p, const char *what) {
    return tl_fail(p->error, TL_ERROR_FORMAT, "in '%.80s' near '%.20s': %s", p->source, p->at,
                   what);
}

static void skip_spaces(parser *p) {
    while (*p->at == ' ' || *p->at == '\n' || *p->at == '\t')
        p->at++;
}

static bool take(parser *p, const char *token) {
    size_t length = strlen(token);
    if (strncmp(p->at, token, length) != 0) return false;
    p->at += length;
    return true;
}

static bool is_name_byte(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '-' || (unsigned char)c >= 0x80;
}

static void *copy(parser *p, const void *items, int count, size_t size) {
    void *memory =
        tl_arena_alloc(p->templates->arena, (size_t)count + 1, size, "a template", p->error);
    if (memory && count) memcpy(memory, items, (size_t)count * size);
    return memory;
}

static const char *parse_quoted(parser *p) {
    char quote = *p->at;
    const char *start = p->at + 1, *end = strchr(start, quote);
    if (!end) {
        complain(p, "a quote is not closed");
        return NULL;
    }
    p->at = end + 1;
    return tl_arena_strndup(p->templates->arena, start, (size_t)(end - start), p->error);
}

static const char *parse_name(parser *p) {
    const char *start = p->at;
    if (*p->at == '$') p->at++;
    while (is_name_byte(*p->at))
        p->at++;
    if (p->at == start) {
        complain(p, "expected a field's name");
        return NULL;
    }
    return tl_arena_strndup(p->templates->arena, start, (size_t)(p->at - start), p->error);
}

/* "[3]" or "['any name']" */
static bool parse_subscript(parser *p, step *s) {
    if (*p->at == '\'' || *p->at == '"') {
        s->name = parse_quoted(p);
        if (!s->name) return false;
    } else {
        char *end;
        long index = strtol(p->at, &end, 10);
        if (end == p->at || *p->at == '-' || *p->at == '+' || index > 100000)
            return complain(p, "expected an index such as [0]");
        s->name = NULL;
        s->index = (int)index;
        p->at = end;
    }
    return take(p, "]") || complain(p, "expected ']'");
}

static bool parse_path(parser *p, operand *o) {
    step steps[MOST_STEPS];
    const char *start = p->at;
    o->is_path = true;
    while (true) {
        if (o->n_steps == MOST_STEPS) return complain(p, "the path is too long");
        step *s = &steps[o->n_steps];
        if (take(p, "[")) {
            if (!parse_subscript(p, s)) return false;
        } else {
            if (o->n_steps && !take(p, ".")) break;
            s->name = parse_name(p);
            if (!s->name) return false;
        }
        o->n_steps++;
    }
    o->source = tl_arena_strndup(p->templates->arena, start, (size_t)(p->at - start), p->error);
    o->steps = copy(p, steps, o->n_steps, sizeof *steps);
    return o->source && o->steps;
}

static bool parse_number(parser *p, tl_value *value) {
    char *end;
    long long integer = strtoll(p->at, &end, 10);
    if (end == p->at || is_name_byte(*end) || *end == '.')
        return complain(p, "expected an integer");
    *value = tl_value_integer(integer);
    p->at = end;
    return true;
}

static bool parse_operand(parser *p, operand *o) {
    *o = (operand){0};
    char c = *p->at;
    if (c == '\'' || c == '"') {
        const char *text = parse_quoted(p);
        if (!text) return false;
        o->constant = tl_value_text(text);
        return true;
    }
    if ((c >= '0' && c <= '9') || c == '-') return parse_number(p, &o->constant);
    static const char *const words[] = {"false", "true"};
    for (int i = 0; i < 2; i++) {
        size_t length = strlen(words[i]);
        if (strncmp(p->at, words[i], length) != 0 || is_name_byte(p->at[length])) continue;
        if (p->at[length] == '.' || p->at[length] == '[') continue;
        p->at += length;
        o->constant = (tl_value){.kind = TL_VALUE_BOOL, .integer = i};
        return true;
    }
    return parse_path(p, o);
}

static bool compile_pattern(parser *p, application *a) {
    const operand *first = &a->arguments[0];
    if (first->is_path || first->constant.kind != TL_VALUE_TEXT)
        return complain(p, "the pattern must be a quoted text");
    if (p->templates->n_patterns == MOST_PATTERNS) return complain(p, "too many patterns");
    a->pattern = tl_filter_pattern_compile(first->constant.text, p->error);
    if (!a->pattern) return false;
    p->templates->patterns[p->templates->n_patterns++] = a->pattern;
    return true;
}

static bool ends_application(const char *at) {
    return *at == 0 || *at == '|' || *at == '}' || (at[0] == '?' && at[1] == '?');
}

/* Parses "name argument…" onto the list: a built-in filter, or the named pipeline's filters. */
static bool parse_application(parser *p, application *filters, int *n_filters) {
    const char *start = p->at;
    while (is_name_byte(*p->at))
        p->at++;
    size_t length = (size_t)(p->at - start);
    for (int i = 0; i < p->templates->n_named; i++) {
        if (strlen(p->templates->named[i].name) != length ||
            memcmp(p->templates->named[i].name, start, length) != 0)
            continue;
        int count = p->templates->named[i].n_filters;
        if (*n_filters + count > MOST_FILTERS) return complain(p, "too many filters");
        memcpy(filters + *n_filters, p->templates->named[i].filters,
               (size_t)count * sizeof *filters);
        *n_filters += count;
        skip_spaces(p);
        return ends_application(p->at) || complain(p, "a named filter takes no arguments");
    }
    application a = {.filter = tl_filter_find(start, length)};
    if (!a.filter) {
        p->at = start;
        return complain(p, "unknown filter");
    }
    operand arguments[TL_FILTER_ARGUMENTS];
    for (skip_spaces(p); !ends_application(p->at); skip_spaces(p)) {
        if (a.n_arguments == TL_FILTER_ARGUMENTS) return complain(p, "too many arguments");
        if (!parse_operand(p, &arguments[a.n_arguments++])) return false;
    }
    if (a.n_arguments < a.filter->least || a.n_arguments > a.filter->most)
        return tl_fail(p->error, TL_ERROR_FORMAT,
                       "in '%.80s': filter '%s' takes %d to %d arguments, not %d", p->source,
                       a.filter->name, a.filter->least, a.filter->most, a.n_arguments);
    a.arguments = copy(p, arguments, a.n_arguments, sizeof *arguments);
    if (!a.arguments || (a.filter->pattern && !compile_pattern(p, &a))) return false;
    if (*n_filters == MOST_FILTERS) return complain(p, "too many filters");
    filters[(*n_filters)++] = a;
    return true;
}

static bool parse_alternative(parser *p, alternative *a) {
    application filters[MOST_FILTERS];
    *a = (alternative){0};
    skip_spaces(p);
    if (!parse_operand(p, &a->input)) return false;
    for (skip_spaces(p); take(p, "|"); skip_spaces(p)) {
        skip_spaces(p);
        if (!parse_application(p, filters, &a->n_filters)) return false;
    }
    a->filters = copy(p, filters, a->n_filters, sizeof *filters);
    return a->filters != NULL;
}

/* What stands between braces; `at` is after the "{" and ends after the "}". */
static bool parse_expression(parser *p, part *out) {
    alternative alternatives[MOST_ALTERNATIVES];
    *out = (part){0};
    do {
        if (out->n_alternatives == MOST_ALTERNATIVES) return complain(p, "too many alternatives");
        if (!parse_alternative(p, &alternatives[out->n_alternatives++])) return false;
    } while (take(p, "??"));
    if (!take(p, "}")) return complain(p, "expected '|', '?\?' or '}'");
    out->alternatives = copy(p, alternatives, out->n_alternatives, sizeof *alternatives);
    return out->alternatives != NULL;
}

/* Plain text up to the next expression; doubled braces stand for themselves. */
static bool parse_literal(parser *p, part *out) {
    tl_buffer text = {0};
    while (*p->at) {
        if (take(p, "{{")) {
            tl_buffer_append_byte(&text, '{');
        } else if (take(p, "}}")) {
            tl_buffer_append_byte(&text, '}');
        } else if (*p->at == '{') {
            break;
        } else if (*p->at == '}') {
            tl_buffer_free(&text);
            return complain(p, "a lone '}' (write }} for the brace itself)");
        } else {
            tl_buffer_append_byte(&text, *p->at++);
        }
    }
    *out = (part){.length = text.length};
    out->literal =
        tl_arena_strndup(p->templates->arena, tl_buffer_string(&text), text.length, p->error);
    tl_buffer_free(&text);
    return out->literal != NULL;
}

const tl_template *tl_template_parse(tl_templates *templates, const char *text, tl_error *error) {
    parser p = {templates, text, text, error};
    part parts[MOST_PARTS];
    tl_template t = {.source = tl_arena_strdup(templates->arena, text, error)};
    if (!t.source) return NULL;
    while (*p.at) {
        if (t.n_parts == MOST_PARTS) {
            complain(&p, "the template has too many parts");
            return NULL;
        }
        part *next = &parts[t.n_parts++];
        bool expression = p.at[0] == '{' && p.at[1] != '{';
        p.at += expression;
        if (expression ? !parse_expression(&p, next) : !parse_literal(&p, next)) return NULL;
    }
    t.parts = copy(&p, parts, t.n_parts, sizeof *parts);
    return t.parts ? copy(&p, &t, 1, sizeof t) : NULL;
}

const char *tl_template_source(const tl_template *t) {
    return t->source;
}

bool tl_templates_add_filter(tl_templates *templates, const char *name, const char *pipeline,
                             tl_error *error) {
    parser p = {templates, pipeline, pipeline, error};
    application filters[MOST_FILTERS];
    int n_filters = 0, n_named = templates->n_named;
    if (n_named == MOST_NAMED) return complain(&p, "too many named filters");
    if (tl_filter_find(name, strlen(name)))
        return tl_fail(error, TL_ERROR_FORMAT, "'%s' is a built-in filter's name", name);
    templates->n_named = 0; /* a pipeline is made of built-in filters only: no chains of names */
    bool ok;
    do {
        skip_spaces(&p);
        ok = parse_application(&p, filters, &n_filters);
    } while (ok && take(&p, "|"));
    templates->n_named = n_named;
    if (!ok) return false;
    if (*p.at) return complain(&p, "expected '|' or the end");
    templates->named[n_named].name = tl_arena_strdup(templates->arena, name, error);
    templates->named[n_named].filters = copy(&p, filters, n_filters, sizeof *filters);
    templates->named[n_named].n_filters = n_filters;
    if (!templates->named[n_named].name || !templates->named[n_named].filters) return false;
    templates->n_named++;
    return true;
}

/* ---- in Jinja ---- */

static const char *plain_field(const part *p) {
    const alternative *a = p->alternatives;
    bool plain = !p->literal && p->n_alternatives == 1 && a->n_filters == 0 && a->input.is_path &&
                 a->input.source[0] != '$';
    return plain ? a->input.source : NULL;
}

bool tl_template_is_field(const tl_template *t, const char **path) {
    *path = t->n_parts == 1 ? plain_field(&t->parts[0]) : NULL;
    return *path != NULL;
}

bool tl_template_is_literal(const tl_template *t) {
    return t->n_parts == 0 || (t->n_parts == 1 && t->parts[0].literal);
}

void tl_template_to_jinja(const tl_template *t, tl_buffer *out) {
    for (int i = 0; i < t->n_parts; i++)
        if (!t->parts[i].literal && !plain_field(&t->parts[i])) {
            tl_buffer_append_string(out, t->source);
            return;
        }
    for (int i = 0; i < t->n_parts; i++)
        if (t->parts[i].literal)
            tl_buffer_append(out, t->parts[i].literal, t->parts[i].length);
        else
            tl_buffer_append_format(out, "{{%s}}", plain_field(&t->parts[i]));
}

/* ---- evaluation ---- */

static bool missing(const operand *o, tl_error *error) {
    return tl_fail(error, TL_ERROR_FORMAT, "field '%s' is missing", o->source);
}

/* Texts are copied: what is made from a row outlives it. */
static bool scalar_from_json(const cJSON *json, const operand *o, tl_arena *arena, tl_value *value,
                             tl_error *error) {
    if (cJSON_IsString(json)) {
        const char *text = tl_arena_strdup(arena, json->valuestring, error);
        if (!text) return false;
        *value = tl_value_text(text);
    } else if (cJSON_IsBool(json)) {
        *value = (tl_value){.kind = TL_VALUE_BOOL, .integer = cJSON_IsTrue(json)};
    } else if (cJSON_IsNumber(json)) {
        double number = json->valuedouble;
        *value = number == floor(number) && fabs(number) < 0x1p53
                     ? tl_value_integer((int64_t)number)
                     : (tl_value){.kind = TL_VALUE_NUMBER, .number = number};
    } else {
        return tl_fail(error, TL_ERROR_FORMAT, "field '%s': expected text, a number, true or false",
                       o->source);
    }
    return true;
}

static bool value_from_json(const cJSON *json, const operand *o, tl_arena *arena, tl_value *value,
                            tl_error *error) {
    if (!cJSON_IsArray(json)) return scalar_from_json(json, o, arena, value, error);
    size_t count = 0;
    for (const cJSON *item = json->child; item; item = item->next)
        count++;
    tl_value *items = tl_arena_alloc(arena, count + 1, sizeof *items, "a list", error);
    if (!items) return false;
    const cJSON *item = json->child;
    for (size_t i = 0; i < count; i++, item = item->next)
        if (!scalar_from_json(item, o, arena, &items[i], error)) return false;
    *value = (tl_value){.kind = TL_VALUE_LIST, .items = items, .count = count};
    return true;
}

static const tl_value *find_variable(const tl_scope *scope, const char *name) {
    for (int i = 0; i < scope->n_variables; i++)
        if (strcmp(scope->variables[i].name, name) == 0) return &scope->variables[i].value;
    return NULL;
}

static bool resolve_variable(const operand *o, const tl_value *variable, tl_value *value,
                             tl_error *error) {
    *value = *variable;
    for (int i = 1; i < o->n_steps; i++) {
        if (o->steps[i].name || value->kind != TL_VALUE_LIST ||
            (size_t)o->steps[i].index >= value->count)
            return missing(o, error);
        *value = value->items[o->steps[i].index];
    }
    return true;
}

static bool resolve(const operand *o, const tl_scope *scope, tl_value *value, tl_error *error) {
    if (!o->is_path) {
        *value = o->constant;
        return true;
    }
    const tl_value *variable = o->steps[0].name ? find_variable(scope, o->steps[0].name) : NULL;
    if (variable) return resolve_variable(o, variable, value, error);
    const cJSON *json = scope->row;
    for (int i = 0; i < o->n_steps && json; i++) {
        const step *s = &o->steps[i];
        if (s->name)
            json = cJSON_IsObject(json) ? tl_json_get(json, s->name) : NULL;
        else
            json = cJSON_IsArray(json) ? cJSON_GetArrayItem(json, s->index) : NULL;
    }
    if (!json || cJSON_IsNull(json)) return missing(o, error);
    return value_from_json(json, o, scope->arena, value, error);
}

static bool apply(const application *a, tl_scope *scope, tl_value *value, tl_error *error) {
    tl_value arguments[TL_FILTER_ARGUMENTS], output;
    for (int i = 0; i < a->n_arguments; i++)
        if (!resolve(&a->arguments[i], scope, &arguments[i], error)) return false;
    tl_filter_call call = {a->filter, arguments, a->n_arguments, a->pattern, scope->arena, error};
    if (!tl_filter_apply(&call, value, &output)) return false;
    *value = output;
    return true;
}

static bool evaluate_alternative(const alternative *a, tl_scope *scope, tl_value *value,
                                 tl_error *error) {
    if (!resolve(&a->input, scope, value, error)) return false;
    for (int i = 0; i < a->n_filters; i++) {
        if (apply(&a->filters[i], scope, value, error)) continue;
        if (!a->input.is_path) return false;
        return tl_fail_within(error, "field '%s'", a->input.source);
    }
    return true;
}

/* The first alternative that works; the first one's failure is the one reported. */
static bool evaluate(const part *p, tl_scope *scope, tl_value *value, tl_error *error) {
    tl_error first = {0}, other;
    for (int i = 0; i < p->n_alternatives; i++) {
        tl_error *into = i ? &other : &first;
        *into = (tl_error){0};
        if (evaluate_alternative(&p->alternatives[i], scope, value, into)) return true;
        if (into->code == TL_ERROR_MEMORY) break;
    }
    if (error) *error = first;
    return false;
}

bool tl_template_value(const tl_template *t, tl_scope *scope, tl_value *value, tl_error *error) {
    if (t->n_parts == 1 && !t->parts[0].literal) return evaluate(&t->parts[0], scope, value, error);
    tl_buffer text = {0};
    bool ok = true;
    for (int i = 0; i < t->n_parts && ok; i++) {
        const part *p = &t->parts[i];
        const char *piece = p->literal;
        size_t length = p->length;
        tl_value inner;
        if (!piece)
            ok = evaluate(p, scope, &inner, error) &&
                 tl_value_to_text(&inner, scope->arena, &piece, &length, error);
        if (ok) tl_buffer_append(&text, piece, length);
    }
    if (ok) {
        *value = (tl_value){.kind = TL_VALUE_TEXT, .length = text.length};
        value->text = tl_arena_strndup(scope->arena, tl_buffer_string(&text), text.length, error);
        ok = !text.failed && value->text;
    }
    tl_buffer_free(&text);
    return ok;
}

bool tl_template_text(const tl_template *t, tl_scope *scope, const char **text, tl_error *error) {
    tl_value value;
    size_t length;
    return tl_template_value(t, scope, &value, error) &&
           tl_value_to_text(&value, scope->arena, text, &length, error);
}
