#include "base/pool.h"

#include "base/clock.h"

#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { SPINS = 2000, YIELDS = 50, MOST_THREADS = 1024 };

typedef struct worker {
    tl_pool *pool;
    pthread_t thread;
    int index;
} worker;

/* A job, as one thread is told of it: its own chunks are `index`, `index` + threads …, in this
 * order, so that it can fetch what it needs next; when they are used up, it helps others with
 * theirs. Nothing else lies near it, as processors fetch lines in pairs: threads meet as little as
 * can be. */
typedef struct lane {
    /* generation << 32 | own chunks not yet claimed. A claim is a compare-and-swap of the whole
     * word, so a thread that slept through a job cannot take a chunk of the next one by mistake;
     * and while a claimed chunk is not completed, the rest stays as it is. */
    _Alignas(128) _Atomic uint64_t claims;
    tl_pool_function *function;
    void *context;
    uint32_t own; /* chunks at the beginning */
} lane;

struct tl_pool {
    _Alignas(128) _Atomic uint32_t completed; /* chunks that workers ever completed; futex */
    _Atomic bool owner_sleeps;                /* on `completed` */
    _Alignas(128) _Atomic uint32_t bell;      /* futex: bumped at each job while someone sleeps */
    _Atomic uint32_t sleepers;
    _Atomic bool stopping;
    uint32_t generation;
    int threads;
    worker *workers;
    lane *lanes; /* [threads] */
};

static void relax(void) {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static void futex_wait(_Atomic uint32_t *word, uint32_t expected) {
    syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, expected, NULL, NULL, 0);
}

static void futex_wake(_Atomic uint32_t *word, int count) {
    syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, count, NULL, NULL, 0);
}

/* Claims and runs the chunks of a lane until none is left; returns how many it ran. */
static uint32_t run_lane(tl_pool *pool, int from, int index) {
    lane *l = &pool->lanes[from];
    uint32_t ran = 0;
    uint64_t claims = atomic_load_explicit(&l->claims, memory_order_acquire);
    while ((uint32_t)claims != 0) {
        if (!atomic_compare_exchange_weak_explicit(&l->claims, &claims, claims - 1,
                                                   memory_order_acq_rel, memory_order_acquire))
            continue;
        uint32_t turn = l->own - (uint32_t)claims;
        l->function(l->context, from + (int)turn * pool->threads, index);
        ran++;
        claims = atomic_load_explicit(&l->claims, memory_order_acquire);
    }
    return ran;
}

static void complete(tl_pool *pool, uint32_t chunks) {
    if (chunks == 0) return;
    atomic_fetch_add(&pool->completed, chunks);
    if (atomic_load(&pool->owner_sleeps)) futex_wake(&pool->completed, 1);
}

static void work(tl_pool *pool, int index) {
    for (int i = 0; i < pool->threads; i++)
        complete(pool, run_lane(pool, (index + i) % pool->threads, index));
}

static bool has_work(const tl_pool *pool, int index) {
    return (uint32_t)atomic_load_explicit(&pool->lanes[index].claims, memory_order_acquire) != 0;
}

static bool is_wanted(const tl_pool *pool, int index) {
    return has_work(pool, index) || atomic_load_explicit(&pool->stopping, memory_order_relaxed);
}

/* Spins briefly, yields for a while, then sleeps on the bell. */
static void wait_for_work(tl_pool *pool, int index) {
    for (int i = 0; i < SPINS; i++) {
        if (is_wanted(pool, index)) return;
        relax();
    }
    for (int i = 0; i < YIELDS; i++) {
        if (is_wanted(pool, index)) return;
        sched_yield();
    }
    atomic_fetch_add(&pool->sleepers, 1);
    atomic_thread_fence(memory_order_seq_cst);
    uint32_t bell = atomic_load(&pool->bell);
    if (!is_wanted(pool, index)) futex_wait(&pool->bell, bell);
    atomic_fetch_sub(&pool->sleepers, 1);
}

static void ring(tl_pool *pool) {
    atomic_thread_fence(memory_order_seq_cst);
    if (atomic_load(&pool->sleepers) == 0) return;
    atomic_fetch_add(&pool->bell, 1);
    futex_wake(&pool->bell, pool->threads);
}

static void *worker_main(void *argument) {
    worker *self = argument;
    tl_pool *pool = self->pool;
    while (!atomic_load_explicit(&pool->stopping, memory_order_acquire)) {
        wait_for_work(pool, self->index);
        if (has_work(pool, self->index)) work(pool, self->index);
    }
    return NULL;
}

/* Spins until workers completed so many, then sleeps: the processor it leaves idle may be what a
 * thread needs that was set aside with a chunk in its hands. */
static void wait_for_end(tl_pool *pool, uint32_t before, uint32_t wanted) {
    for (int i = 0;; i++) {
        uint32_t completed = atomic_load_explicit(&pool->completed, memory_order_acquire);
        if (completed - before >= wanted) return;
        if (i < SPINS) {
            relax();
            continue;
        }
        atomic_store(&pool->owner_sleeps, true);
        completed = atomic_load(&pool->completed);
        if (completed - before < wanted) futex_wait(&pool->completed, completed);
        atomic_store(&pool->owner_sleeps, false);
    }
}

void tl_pool_run(tl_pool *pool, int chunks, tl_pool_function *function, void *context) {
    if (chunks <= 0) return;
    int threads = pool->threads;
    if (threads == 1 || chunks == 1) {
        for (int i = 0; i < chunks; i++)
            function(context, i, 0);
        return;
    }
    uint32_t before = atomic_load_explicit(&pool->completed, memory_order_relaxed);
    uint64_t generation = (uint64_t)++pool->generation << 32;
    for (int i = 0; i < threads; i++) {
        lane *l = &pool->lanes[i];
        l->function = function;
        l->context = context;
        l->own = (uint32_t)((chunks + threads - 1 - i) / threads); /* i, i + threads … */
        atomic_store_explicit(&l->claims, generation | l->own, memory_order_release);
    }
    ring(pool);
    uint32_t ran = 0;
    for (int i = 0; i < threads; i++)
        ran += run_lane(pool, i, 0);
    wait_for_end(pool, before, (uint32_t)chunks - ran);
}

static int cgroup_quota(void) {
    FILE *file = fopen("/sys/fs/cgroup/cpu.max", "re");
    if (!file) return 0;
    long long quota = 0, period = 0;
    int got = fscanf(file, "%lld %lld", &quota, &period);
    fclose(file);
    if (got != 2 || quota <= 0 || period <= 0) return 0;
    long long processors = (quota + period - 1) / period;
    return processors > MOST_THREADS ? MOST_THREADS : (int)processors;
}

int tl_processors(void) {
    cpu_set_t set;
    int count = 1;
    if (sched_getaffinity(0, sizeof set, &set) == 0) count = CPU_COUNT(&set);
    int quota = cgroup_quota();
    if (quota > 0 && quota < count) count = quota;
    return count > 0 ? count : 1;
}

tl_pool *tl_pool_new(int threads, tl_error *error) {
    if (threads == 0) threads = tl_processors();
    if (threads < 0 || threads > MOST_THREADS) {
        tl_fail(error, TL_ERROR_USAGE, "%d threads: expected 1 to %d", threads, MOST_THREADS);
        return NULL;
    }
    tl_pool *pool = aligned_alloc(128, sizeof *pool);
    if (!pool) {
        tl_fail_memory(error, sizeof *pool, "the thread pool");
        return NULL;
    }
    memset(pool, 0, sizeof *pool);
    pool->threads = 1;
    pool->workers = calloc((size_t)threads, sizeof *pool->workers);
    pool->lanes = aligned_alloc(128, (size_t)threads * sizeof *pool->lanes);
    if (!pool->workers || !pool->lanes) {
        tl_fail_memory(error, (size_t)threads * (sizeof *pool->workers + sizeof *pool->lanes),
                       "the thread pool");
        tl_pool_free(pool);
        return NULL;
    }
    memset(pool->lanes, 0, (size_t)threads * sizeof *pool->lanes);
    for (int i = 1; i < threads; i++) {
        pool->workers[i] = (worker){.pool = pool, .index = i};
        if (pthread_create(&pool->workers[i].thread, NULL, worker_main, &pool->workers[i]) != 0) {
            tl_fail(error, TL_ERROR_MEMORY, "cannot start thread %d of %d", i + 1, threads);
            tl_pool_free(pool);
            return NULL;
        }
        pool->threads = i + 1;
    }
    return pool;
}

void tl_pool_free(tl_pool *pool) {
    if (!pool) return;
    atomic_store(&pool->stopping, true);
    atomic_fetch_add(&pool->bell, 1);
    futex_wake(&pool->bell, pool->threads);
    for (int i = 1; i < pool->threads; i++)
        pthread_join(pool->workers[i].thread, NULL);
    free(pool->workers);
    free(pool->lanes);
    free(pool);
}

int tl_pool_threads(const tl_pool *pool) {
    return pool->threads;
}
