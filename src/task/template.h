/* Field expressions: how a task file makes text, lists and numbers out of a row.
 *
 *     template    := text with {expression} in it; {{ and }} stand for the braces themselves
 *     expression  := alternative { "??" alternative }     the first that works
 *     alternative := operand { "|" filter { argument } }
 *     operand     := field path such as choices.text[0], $built_in, 'text', number, true, false
 *
 * A template that is one {expression} and nothing else keeps the expression's type; any other is
 * text. docs/tasks.md lists the filters. */
#ifndef TL_TASK_TEMPLATE_H
#define TL_TASK_TEMPLATE_H

#include "task/value.h"

/* What the names in an expression stand for: variables first (the latest set wins), then the
 * fields of the row. Values made on the way live in `arena`. */
enum { TL_SCOPE_VARIABLES = 48 };
typedef struct tl_scope {
    const cJSON *row;
    tl_arena *arena;
    int n_variables;
    struct {
        const char *name;
        tl_value value;
    } variables[TL_SCOPE_VARIABLES];
} tl_scope;

bool tl_scope_set(tl_scope *scope, const char *name, tl_value value, tl_error *error);

/* Parsed templates share their memory and the compiled patterns. */
typedef struct tl_templates tl_templates;
typedef struct tl_template tl_template;

tl_templates *tl_templates_new(tl_error *error);
void tl_templates_free(tl_templates *templates);

/* Names a pipeline of built-in filters ("strip | lower") for use in later templates. */
bool tl_templates_add_filter(tl_templates *templates, const char *name, const char *pipeline,
                             tl_error *error);

/* Parses a template; it lives as long as `templates`. Messages quote the expression. */
const tl_template *tl_template_parse(tl_templates *templates, const char *text, tl_error *error);

/* The text it was parsed from. */
const char *tl_template_source(const tl_template *t);

/* Appends the template in Jinja where it is plain text and fields; as it stands in the task file
 * otherwise. */
void tl_template_to_jinja(const tl_template *t, tl_buffer *out);
/* Is it one field and nothing else? Then *path is its path. */
bool tl_template_is_field(const tl_template *t, const char **path);
/* Is it plain text? */
bool tl_template_is_literal(const tl_template *t);

/* Evaluates; fails naming the field that is missing or the filter that refused its input. */
bool tl_template_value(const tl_template *t, tl_scope *scope, tl_value *value, tl_error *error);
bool tl_template_text(const tl_template *t, tl_scope *scope, const char **text, tl_error *error);

#endif
