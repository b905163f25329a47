#include "task/fewshot.h"

#include "task/method.h"
#include "task/sampler.h"

#include <stdlib.h>

struct tl_fewshot {
    const tl_task *task;
    const tl_rows *pool;
    int32_t shots, drawn; /* rows used, rows drawn */
    bool first, drop_same;
    uint32_t *rows; /* [questions, drawn]; [drawn] when the first rows serve every question */
};

static bool draw(tl_fewshot *f, uint32_t seed, int64_t questions) {
    uint32_t pool = (uint32_t)tl_rows_count(f->pool), drawn = (uint32_t)f->drawn;
    f->rows = calloc((size_t)(f->first ? 1 : questions) * drawn + 1, sizeof *f->rows);
    if (!f->rows) return false;
    if (f->first) {
        for (uint32_t i = 0; i < drawn; i++)
            f->rows[i] = i;
        return true;
    }
    tl_sampler sampler;
    tl_sampler_seed(&sampler, seed);
    for (int64_t i = 0; i < questions; i++)
        if (!tl_sampler_sample(&sampler, pool, drawn, f->rows + (size_t)i * drawn)) return false;
    return true;
}

tl_fewshot *tl_fewshot_new(const tl_task *task, const tl_rows *pool, int32_t shots, bool first,
                           uint32_t seed, int64_t questions, tl_error *error) {
    bool drop_same = task->methods[TL_PROTOCOL_LOGLIKELIHOOD].shots_drop_same;
    int32_t drawn = shots + drop_same;
    if (tl_rows_count(pool) < drawn || tl_rows_count(pool) > UINT32_MAX) {
        tl_fail(error, TL_ERROR_USAGE, "%s: %lld rows: %d shots need at least %d",
                tl_rows_path(pool), (long long)tl_rows_count(pool), shots, drawn);
        return NULL;
    }
    tl_fewshot *f = calloc(1, sizeof *f);
    if (f) *f = (tl_fewshot){task, pool, shots, drawn, first, drop_same, NULL};
    if (f && draw(f, seed, questions)) return f;
    tl_fail_memory(error, (size_t)questions * (size_t)drawn * sizeof *f->rows, "few-shot examples");
    tl_fewshot_free(f);
    return NULL;
}

void tl_fewshot_free(tl_fewshot *f) {
    if (!f) return;
    free(f->rows);
    free(f);
}

const uint32_t *tl_fewshot_drawn(const tl_fewshot *f, int64_t question, int32_t *count) {
    *count = f->drawn;
    return f->first ? f->rows : f->rows + (size_t)question * (size_t)f->drawn;
}

bool tl_fewshot_text(const tl_fewshot *f, int64_t index, const cJSON *row, tl_arena *arena,
                     const char **text, tl_error *error) {
    int32_t drawn, used = 0;
    const uint32_t *rows = tl_fewshot_drawn(f, index, &drawn);
    tl_buffer out = {0};
    bool ok = true;
    for (int32_t i = 0; i < drawn && used < f->shots && ok; i++) {
        cJSON *shot = tl_rows_parse(f->pool, rows[i], error);
        if (!shot) {
            ok = false;
        } else if (!f->drop_same || !cJSON_Compare(row, shot, true)) {
            ok = tl_question_append_shot(f->task, shot, arena, &out, error) ||
                 tl_fail_within(error, "few-shot example %s:%lld", tl_rows_path(f->pool),
                                (long long)tl_rows_line(f->pool, rows[i]));
            used++;
        }
        cJSON_Delete(shot);
    }
    if (ok) {
        *text = tl_arena_strndup(arena, tl_buffer_string(&out), out.length, error);
        ok = !out.failed && *text;
    }
    tl_buffer_free(&out);
    return ok;
}
