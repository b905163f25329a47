/* method: how a task asks under one protocol, as its file says; and the questions made from rows.
 */
#ifndef TL_TASK_METHOD_H
#define TL_TASK_METHOD_H

#include "task/task.h"
#include "task/template.h"

enum { TL_TASK_CHOICES = 64, TL_TASK_LETTERS = 26, TL_TASK_NAMES = 16 };

/* Templates in order: a single one may give a whole list. */
typedef struct tl_template_list {
    const tl_template *items[TL_TASK_CHOICES];
    int count;
    bool single; /* given as one template rather than a list of them */
} tl_template_list;

typedef struct tl_named_templates {
    const char *names[TL_TASK_NAMES];
    const tl_template *items[TL_TASK_NAMES];
    int count;
} tl_named_templates;

typedef struct tl_method {
    bool defined;
    tl_task_source source;
    const char *split;
    const char *files[TL_TASK_NAMES], *file_splits[TL_TASK_NAMES]; /* rows the task file names */
    int n_files;
    tl_named_templates let; /* names for use in the templates */
    tl_named_templates add; /* the same, and written into the logged document */
    const tl_template *question, *prompt, *gold;
    tl_template_list choices;
    tl_template_list option;                   /* a line of $options, by position */
    const tl_template *context, *continuation; /* loglikelihood */
    tl_template_list contexts;                 /* loglikelihood: one for each choice */
    const char *delimiter;                     /* between context and continuation */
    bool norm;                                 /* acc_norm is one of its metrics */
    const char *shots_split;
    bool shots_drop_same; /* draw one more and leave the question itself out */
    const char *version;
} tl_method;

struct tl_task {
    tl_arena *arena;
    tl_templates *templates;
    char *path;
    const char *name, *title;
    char fingerprint[TL_HEX_SIZE];
    tl_method methods[TL_PROTOCOL_COUNT];
};

/* What one row becomes. Lives in the arena it was built in. */
typedef struct tl_question {
    const char *prompt; /* study, letter: the whole; loglikelihood: the first request's context */
    int32_t n_choices;
    const char **choices;
    const char **contexts, **continuations; /* loglikelihood: [n_choices] */
    int32_t gold;                           /* -1: counted wrong whatever is predicted */
    const char *document;
} tl_question;

/* Builds the question of a row (`text` is its JSON as the file has it). `shots` is put before each
 * context ("" for none). Fails naming the field. */
bool tl_question_build(const tl_task *task, tl_protocol protocol, const cJSON *row,
                       const char *text, size_t length, const char *shots, tl_arena *arena,
                       tl_question *question, tl_error *error);

/* Appends the row as a few-shot example of the loglikelihood protocol: its context, the right
 * answer and an empty line, as lm-evaluation-harness has it. */
bool tl_question_append_shot(const tl_task *task, const cJSON *row, tl_arena *arena, tl_buffer *out,
                             tl_error *error);

#endif
