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

/* How many of a thread's own chunks were taken, by it or by others. */
typedef struct turn {
    _Alignas(64) _Atomic uint32_t taken;
} turn;

struct tl_pool {
    /* generation << 32 | chunks not yet claimed. A claim is a compare-and-swap of the whole word,
     * so a thread that slept through a job cannot take a chunk of the next one by mistake; and
     * while a claimed chunk is not completed, the job below stays as it is. Which chunk it is comes
     * second, from `turns`. */
    _Alignas(64) _Atomic uint64_t ticket;
    _Alignas(64) _Atomic uint32_t completed;
    _Atomic bool owner_sleeps; /* on `completed` */
    _Atomic uint32_t bell;     /* futex: bumped at each job while someone sleeps */
    _Atomic uint32_t sleepers;
    _Atomic bool stopping;
    _Alignas(64) tl_pool_function *function;
    void *context;
    int chunks;
    int threads;
    worker *workers;
    turn *turns; /* [threads] */
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

/* The chunk of a claim: the thread's own are `index`, `index` + threads …, in this order, so that
 * it can fetch what it needs next; when they are used up, another's. A turn that is used up stays
 * so, and there are as many chunks as claims: one pass finds one. */
static int take(tl_pool *pool, int index) {
    for (int i = 0;; i++) {
        int owner = (index + i) % pool->threads;
        _Atomic uint32_t *taken = &pool->turns[owner].taken;
        int64_t chunk = owner + (int64_t)atomic_load(taken) * pool->threads;
        if (chunk >= pool->chunks) continue;
        chunk = owner + (int64_t)atomic_fetch_add(taken, 1) * pool->threads;
        if (chunk < pool->chunks) return (int)chunk;
    }
}

/* Claims and runs chunks until none is left. */
static void work(tl_pool *pool, int index) {
    uint64_t ticket = atomic_load_explicit(&pool->ticket, memory_order_acquire);
    while ((uint32_t)ticket != 0) {
        if (!atomic_compare_exchange_weak_explicit(&pool->ticket, &ticket, ticket - 1,
                                                   memory_order_acq_rel, memory_order_acquire))
            continue;
        uint32_t chunks = (uint32_t)pool->chunks;
        pool->function(pool->context, take(pool, index), index);
        if (atomic_fetch_add(&pool->completed, 1) + 1 == chunks && atomic_load(&pool->owner_sleeps))
            futex_wake(&pool->completed, 1);
        ticket = atomic_load_explicit(&pool->ticket, memory_order_acquire);
    }
}

static bool work_waits(tl_pool *pool) {
    return (uint32_t)atomic_load_explicit(&pool->ticket, memory_order_acquire) != 0 ||
           atomic_load_explicit(&pool->stopping, memory_order_relaxed);
}

/* Spins briefly, yields for a while, then sleeps on the bell. */
static void wait_for_work(tl_pool *pool) {
    for (int i = 0; i < SPINS; i++) {
        if (work_waits(pool)) return;
        relax();
    }
    for (int i = 0; i < YIELDS; i++) {
        if (work_waits(pool)) return;
        sched_yield();
    }
    atomic_fetch_add(&pool->sleepers, 1);
    atomic_thread_fence(memory_order_seq_cst);
    uint32_t bell = atomic_load(&pool->bell);
    if (!work_waits(pool)) futex_wait(&pool->bell, bell);
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
    while (!atomic_load_explicit(&self->pool->stopping, memory_order_acquire)) {
        work(self->pool, self->index);
        wait_for_work(self->pool);
    }
    return NULL;
}

/* Spins for the last chunks in other hands, then sleeps: the processor it leaves idle may be what a
 * thread needs that was set aside with a chunk in its hands. */
static void wait_for_end(tl_pool *pool, uint32_t chunks) {
    for (int i = 0; atomic_load_explicit(&pool->completed, memory_order_acquire) < chunks; i++) {
        if (i < SPINS) {
            relax();
            continue;
        }
        atomic_store(&pool->owner_sleeps, true);
        uint32_t completed = atomic_load(&pool->completed);
        if (completed < chunks) futex_wait(&pool->completed, completed);
        atomic_store(&pool->owner_sleeps, false);
    }
}

void tl_pool_run(tl_pool *pool, int chunks, tl_pool_function *function, void *context) {
    if (chunks <= 0) return;
    if (pool->threads == 1 || chunks == 1) {
        for (int i = 0; i < chunks; i++)
            function(context, i, 0);
        return;
    }
    pool->function = function;
    pool->context = context;
    pool->chunks = chunks;
    atomic_store_explicit(&pool->completed, 0, memory_order_relaxed);
    for (int i = 0; i < pool->threads; i++)
        atomic_store_explicit(&pool->turns[i].taken, 0, memory_order_relaxed);
    uint64_t generation = (atomic_load(&pool->ticket) >> 32) + 1;
    atomic_store(&pool->ticket, generation << 32 | (uint32_t)chunks);
    ring(pool);
    work(pool, 0);
    wait_for_end(pool, (uint32_t)chunks);
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
    tl_pool *pool = aligned_alloc(64, sizeof *pool);
    if (!pool) {
        tl_fail_memory(error, sizeof *pool, "the thread pool");
        return NULL;
    }
    memset(pool, 0, sizeof *pool);
    pool->threads = 1;
    pool->workers = calloc((size_t)threads, sizeof *pool->workers);
    pool->turns = aligned_alloc(64, (size_t)threads * sizeof *pool->turns);
    if (!pool->workers || !pool->turns) {
        tl_fail_memory(error, (size_t)threads * (sizeof *pool->workers + sizeof *pool->turns),
                       "the thread pool");
        tl_pool_free(pool);
        return NULL;
    }
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
    free(pool->turns);
    free(pool);
}

int tl_pool_threads(const tl_pool *pool) {
    return pool->threads;
}
