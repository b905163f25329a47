/* After a first call of its kind, the engine asks the system for no memory: every allocating
 * function that the library calls is counted here (the linker's --wrap). */
#include "engine/engine.h"
#include "support/fixture.h"
#include "support/load.h"
#include "support/support.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

static atomic_int allocations;

/* NOLINTBEGIN: the linker's names */
void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *memory, size_t size);
void *__real_aligned_alloc(size_t alignment, size_t size);
int __real_posix_memalign(void **memory, size_t alignment, size_t size);
void *__real_mmap(void *at, size_t size, int protection, int flags, int fd, off_t offset);

void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *memory, size_t size);
void *__wrap_aligned_alloc(size_t alignment, size_t size);
int __wrap_posix_memalign(void **memory, size_t alignment, size_t size);
void *__wrap_mmap(void *at, size_t size, int protection, int flags, int fd, off_t offset);

void *__wrap_malloc(size_t size) {
    atomic_fetch_add(&allocations, 1);
    return __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size) {
    atomic_fetch_add(&allocations, 1);
    return __real_calloc(count, size);
}

void *__wrap_realloc(void *memory, size_t size) {
    atomic_fetch_add(&allocations, 1);
    return __real_realloc(memory, size);
}

void *__wrap_aligned_alloc(size_t alignment, size_t size) {
    atomic_fetch_add(&allocations, 1);
    return __real_aligned_alloc(alignment, size);
}

int __wrap_posix_memalign(void **memory, size_t alignment, size_t size) {
    atomic_fetch_add(&allocations, 1);
    return __real_posix_memalign(memory, alignment, size);
}

void *__wrap_mmap(void *at, size_t size, int protection, int flags, int fd, off_t offset) {
    atomic_fetch_add(&allocations, 1);
    return __real_mmap(at, size, protection, flags, fd, offset);
}
/* NOLINTEND */

typedef struct variant {
    const char *family;
    tl_dtype dtype;
    tl_precision precision;
} variant;

static const variant variants[] = {
    {"llama", TL_F32, TL_EXACT}, {"llama", TL_BF16, TL_FAST}, {"llama", TL_Q8, TL_EXACT},
    {"llama", TL_Q8, TL_FAST},   {"gpt2", TL_F32, TL_EXACT},  {"gpt2", TL_Q4, TL_FAST},
};

typedef struct subject {
    tl_model *model;
    tl_engine *engine;
} subject;

static subject open_subject(const variant *v) {
    tl_model *model = test_small_model(v->family, v->dtype);
    tl_engine_options options = {.threads = 2, .precision = v->precision, .pass_rows = 16};
    return (subject){model, test_open_engine(model, &options)};
}

static void close_subject(subject *s) {
    tl_engine_free(s->engine);
    tl_model_unload(s->model);
}

/* Questions of `choices` that share a beginning, in several passes, with every kind of ask. */
static void score(tl_engine *engine, int32_t length, int32_t choices) {
    enum { MOST = 8, LONGEST = 64 };
    static int32_t tokens[MOST][LONGEST];
    static float logits[FIXTURE_VOCABULARY];
    tl_ask asks[MOST][4];
    tl_path paths[MOST];
    for (int32_t c = 0; c < choices; c++) {
        for (int32_t i = 0; i < length; i++)
            tokens[c][i] = i < length / 2 ? i + 1 : 40 * c + i;
        for (int k = 0; k < 4; k++) {
            static const tl_ask_kind kinds[] = {TL_ASK_LOGPROB, TL_ASK_LOGIT, TL_ASK_BEST,
                                                TL_ASK_LOGITS};
            asks[c][k] =
                (tl_ask){.row = length - 1 - k, .kind = kinds[k], .token = 7 + c, .logits = logits};
        }
        paths[c] = (tl_path){.tokens = tokens[c], .n_tokens = length, .asks = asks[c], .n_asks = 4};
    }
    tl_error error = {0};
    assert_ok(tl_engine_score_paths(engine, paths, choices, NULL, &error), error);
}

static void test_scoring(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof variants / sizeof *variants; i++) {
        subject s = open_subject(&variants[i]);
        score(s.engine, 40, 5);
        assert_true(allocations > 0); /* the counting works */
        atomic_store(&allocations, 0);
        score(s.engine, 40, 5);
        score(s.engine, 9, 2);
        assert_int_equal(allocations, 0);
        close_subject(&s);
    }
}

/* From the second token on; the first is the prompt's. */
static bool count_from_second(void *context, int32_t token) {
    (void)token;
    int *tokens = context;
    if (++*tokens == 2) atomic_store(&allocations, 0);
    return true;
}

static void test_generating(void **state) {
    (void)state;
    enum { LENGTH = 30 };
    static const int32_t out[LENGTH];
    for (size_t i = 0; i < sizeof variants / sizeof *variants; i++) {
        subject s = open_subject(&variants[i]);
        int tokens = 0;
        const int32_t prompt[] = {5, 9, 200, 17};
        tl_generate_options options = {.most_tokens = LENGTH,
                                       .ignore_eos = true,
                                       .top_p = 1,
                                       .on_token = count_from_second,
                                       .context = &tokens};
        tl_ids ids = {0};
        tl_error error = {0};
        assert_ok(tl_ids_append(&ids, out, LENGTH, &error), error); /* room */
        ids.count = 0;
        assert_ok(tl_engine_generate(s.engine, prompt, 4, NULL, 0, &options, &ids, &error), error);
        assert_int_equal(tokens, LENGTH);
        assert_int_equal(allocations, 0);
        tl_ids_free(&ids);
        close_subject(&s);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_scoring),
        cmocka_unit_test(test_generating),
    };
    return cmocka_run_group_tests_name("engine memory", tests, NULL, NULL);
}
