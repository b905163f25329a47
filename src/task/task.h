/* task: dataset + how to ask, as YAML files; examples, protocols, few-shot, statistics.
 *
 * A task file (tasks/NAME.yaml, or a user's own) says where rows come from, which fields make the
 * prompt, the choices and the gold answer, and for each protocol the split and the template.
 * docs/tasks.md has the format. */
#ifndef TL_TASK_H
#define TL_TASK_H

#include "base/base.h"
#include "engine/request.h"
#include "tokenizer/tokenizer.h"

typedef struct tl_task tl_task;

typedef enum tl_protocol {
    TL_PROTOCOL_STUDY,         /* the published study's, every quirk kept */
    TL_PROTOCOL_LETTER,        /* the same question, quirks fixed */
    TL_PROTOCOL_LOGLIKELIHOOD, /* lm-evaluation-harness's log-likelihood of each choice */
    TL_PROTOCOL_COUNT
} tl_protocol;

const char *tl_protocol_name(tl_protocol protocol);
bool tl_protocol_parse(const char *name, tl_protocol *protocol, tl_error *error);

/* Expands one TASK argument: "@study" → the six tasks of the published tables in their order,
 * "@demo" → the program's own, "@all" → every task known, anything else → itself. Appends malloc'ed
 * strings to *items (realloc'ed). */
bool tl_task_expand(const char *argument, char ***items, int *count, tl_error *error);

/* Opens a task by name (tasks/NAME.yaml of the program's data) or by the path of a YAML file. */
tl_task *tl_task_open(const char *name_or_path, tl_error *error);
void tl_task_free(tl_task *task);

const char *tl_task_name(const tl_task *task);        /* "arc_easy" */
const char *tl_task_title(const tl_task *task);       /* the tables' column: "ARC-e" */
const char *tl_task_path(const tl_task *task);        /* the file it was read from */
const char *tl_task_fingerprint(const tl_task *task); /* SHA-256 of the file */
int tl_task_n_choices(const tl_task *task); /* options of the study's prompt; 0 when they vary */
bool tl_task_has_protocol(const tl_task *task, tl_protocol protocol);

/* Where a protocol's rows are on the hub: id, config and pinned revision (NULL where the file names
 * none). Protocols may differ: lm-evaluation-harness reads copies of some datasets. */
typedef struct tl_task_source {
    const char *dataset, *config, *revision;
} tl_task_source;
const tl_task_source *tl_task_dataset(const tl_task *task, tl_protocol protocol);

/* The split a protocol evaluates, and the one its few-shot examples come from (NULL: none). */
const char *tl_task_split(const tl_task *task, tl_protocol protocol);
const char *tl_task_fewshot_split(const tl_task *task, tl_protocol protocol);

/* ---- rows
 * ------------------------------------------------------------------------------------------- */

typedef struct tl_rows tl_rows;

/* Reads rows from JSONL, JSON (an array), CSV with a header, or Parquet, by the file's ending.
 * Malformed input is an error that names the line. `limit` 0 means all. */
tl_rows *tl_rows_open(const char *path, int64_t limit, tl_error *error);
void tl_rows_free(tl_rows *rows);
int64_t tl_rows_count(const tl_rows *rows);
int64_t tl_rows_total(const tl_rows *rows); /* rows of the file, whatever the limit */
/* The row as its file has it (JSON; a CSV record as an object of texts), not NUL-terminated. */
const char *tl_rows_text(const tl_rows *rows, int64_t index, size_t *length);
/* The row parsed anew; free with cJSON_Delete. */
cJSON *tl_rows_parse(const tl_rows *rows, int64_t index, tl_error *error);
int64_t tl_rows_line(const tl_rows *rows, int64_t index); /* the line where it begins, from 1 */
const char *tl_rows_path(const tl_rows *rows);
const char *tl_rows_fingerprint(const tl_rows *rows); /* SHA-256 of the file */

/* Finds the file of a split: DATA_DIR/<task>/<split>.{jsonl,json,csv,parquet}, else the file that
 * the task file itself names, else the program's own data, else the Hugging Face cache. Writes the
 * path; fails naming the places tried and how to get the rows (tinyllm pull). `data_dir` may be
 * NULL. */
bool tl_task_find_rows(const tl_task *task, tl_protocol protocol, const char *split,
                       const char *data_dir, char *path, size_t size, tl_error *error);

/* Appends the question of a row as JSON: {"prompt", "choices", "gold", and for loglikelihood
 * "requests": [{"context", "continuation"}]}. Fails naming the row and the field. */
bool tl_task_preview(const tl_task *task, tl_protocol protocol, const tl_rows *rows, int64_t index,
                     tl_buffer *json, tl_error *error);

/* Appends the task as lm-evaluation-harness's results describe one (an entry of "configs"), as a
 * JSON object; templates in Jinja where they can be said in it. False when the task has no protocol
 * loglikelihood. */
bool tl_task_harness_config(const tl_task *task, tl_buffer *json);

/* ---- evaluation: one model on one task, one or more protocols from the same pass
 * -------------------------- */

typedef struct tl_evaluation_options {
    bool protocols[TL_PROTOCOL_COUNT];
    int64_t limit;       /* examples per protocol; 0: all */
    int32_t shots;       /* loglikelihood only */
    bool shots_first;    /* the first k of the few-shot split rather than the harness's sampler */
    uint32_t shots_seed; /* the harness's: 1234 */
    tl_bos bos;
    bool batched; /* pack questions for speed; otherwise one question at a time, cold, timed on its
                     own */
    const char *data_file; /* rows on disk instead of the split's file, or NULL */
    const char *data_dir;
} tl_evaluation_options;

typedef struct tl_evaluation tl_evaluation;

/* Everything known about one example under one protocol once it has been scored. Borrowed during
 * the callback. */
typedef struct tl_example {
    tl_protocol protocol;
    int64_t index;        /* row of the split */
    const char *document; /* the row as JSON (as the harness logs it, for loglikelihood) */
    const char *prompt; /* text before the answer; for loglikelihood the first request's context */
    int32_t n_choices;
    const char *const *choices;  /* option texts */
    const char *const *contexts; /* loglikelihood: context and continuation of each request */
    const char *const *continuations;
    const double *scores; /* logit of each letter, or log-likelihood of each choice */
    const bool *greedy;   /* loglikelihood: is_greedy of each choice */
    int32_t gold;         /* -1: counted wrong whatever is predicted (a quirk of the study) */
    int32_t prediction;
    int32_t prediction_norm;  /* loglikelihood: by length in characters; -1 where not defined */
    int32_t prediction_bytes; /* loglikelihood: by length in bytes; -1 where not defined */
    bool truncated;
    const char *skipped;    /* the reason, when the row could not be asked; NULL otherwise */
    double forward_seconds; /* the forward pass alone; NAN when it was shared with other examples */
    double total_seconds;   /* with building the prompt and tokenization; NAN likewise */
    int64_t tokens_computed, tokens_asked;
} tl_example;

/* Returns false to stop (the evaluation then ends with TL_ERROR_INTERRUPTED). */
typedef bool tl_example_function(void *context, const tl_example *example);

/* Prepares: opens rows, checks the protocols, draws the few-shot examples. */
tl_evaluation *tl_evaluation_new(const tl_task *task, const tl_evaluation_options *options,
                                 tl_engine *engine, const tl_tokenizer *tokenizer, tl_error *error);
void tl_evaluation_free(tl_evaluation *evaluation);

/* Examples that a protocol will give, skipped ones included; 0 when it was not asked for. */
int64_t tl_evaluation_count(const tl_evaluation *evaluation, tl_protocol protocol);

/* Rows of the protocol's split before any limit. */
int64_t tl_evaluation_total(const tl_evaluation *evaluation, tl_protocol protocol);

/* Marks an example as already done (a resumed run): it will not be asked again. */
void tl_evaluation_done(tl_evaluation *evaluation, tl_protocol protocol, int64_t index);

/* Asks everything not yet done, calling `function` for each example as it is scored (in batched
 * mode not in the order of the rows). */
bool tl_evaluation_run(tl_evaluation *evaluation, tl_example_function *function, void *context,
                       tl_error *error);

/* Fingerprint of the rows asked (with the few-shot rows), and metrics defined: "acc", "acc_norm", …
 */
const char *tl_evaluation_rows_fingerprint(const tl_evaluation *evaluation, tl_protocol protocol);
bool tl_evaluation_has_norm(const tl_evaluation *evaluation, tl_protocol protocol);

#endif
