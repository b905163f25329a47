/* fewshot: which rows stand before a question as examples, chosen as the harness chooses them. */
#ifndef TL_TASK_FEWSHOT_H
#define TL_TASK_FEWSHOT_H

#include "task/task.h"

typedef struct tl_fewshot tl_fewshot;

/* Draws for `questions` questions in order, as lm-evaluation-harness's default sampler does: one
 * generator for the task, `shots` rows of the pool for each question (one more where the task file
 * says drop_same). With `first`, the pool's first rows for every question. Fails when the pool is
 * too small. `task` and `pool` are borrowed. */
tl_fewshot *tl_fewshot_new(const tl_task *task, const tl_rows *pool, int32_t shots, bool first,
                           uint32_t seed, int64_t questions, tl_error *error);
void tl_fewshot_free(tl_fewshot *fewshot);

/* The rows drawn for a question, before the question itself is dropped; *count of them. */
const uint32_t *tl_fewshot_drawn(const tl_fewshot *fewshot, int64_t question, int32_t *count);

/* The text before the context of question `index`, whose row is `row`. Fails naming the few-shot
 * row that cannot be used. */
bool tl_fewshot_text(const tl_fewshot *fewshot, int64_t index, const cJSON *row, tl_arena *arena,
                     const char **text, tl_error *error);

#endif
