/* ceilings: what this machine's cores and memory can do at most, as JSON lines.
 *
 *   ceilings [THREADS …]             default: 1, and all processors
 *   ceilings --read MIB [THREADS …]  reading that much over and over, and nothing else
 *
 * Products: chains of independent multiply-adds in registers, one kernel for each instruction that
 * the processor has. Memory: each thread reads its part of the buffer, as one stream of addresses
 * or as several far apart, since one core may read several at once faster than one. One multiply
 * and one add count as two operations. Each figure is the best of several windows of time: a
 * neighbour can only make it smaller. */
#include "base/base.h"

#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* Runs `rounds` rounds; returns the operations done. `sink` keeps the compiler honest. */
typedef double kernel_function(long rounds, volatile float *sink);

#define REPEAT8(statement)                                                                         \
    statement(0) statement(1) statement(2) statement(3) statement(4) statement(5) statement(6)     \
        statement(7)

#if defined(__x86_64__)
#include <cpuid.h>
#include <immintrin.h>
#include <sys/syscall.h>
#include <unistd.h>

__attribute__((target("avx2,fma"))) static double fma_avx2(long rounds, volatile float *sink) {
    __m256 a = _mm256_set1_ps(*sink), b = _mm256_set1_ps(0.5f);
#define DECLARE(i) __m256 x##i = a;
    REPEAT8(DECLARE)
#undef DECLARE
    __m256 x8 = a, x9 = a;
    for (long r = 0; r < rounds; r++) {
#define STEP(i) x##i = _mm256_fmadd_ps(x##i, b, a);
        REPEAT8(STEP) STEP(8) STEP(9)
#undef STEP
    }
#define ADD(i) a = _mm256_add_ps(a, x##i);
    REPEAT8(ADD)
    ADD(8)
    ADD(9)
#undef ADD
    *sink = _mm256_cvtss_f32(a);
    return (double)rounds * 10 * 8 * 2;
}

/* Twelve 512-bit accumulators hide the latency of two units. */
#define KERNEL512(function, isa, type, start, step, collect, lanes)                                \
    __attribute__((target(isa))) static double function(long rounds, volatile float *sink) {       \
        const __m512i seed = _mm512_set1_epi32((int)*sink);                                        \
        type x[12];                                                                                \
        for (int i = 0; i < 12; i++)                                                               \
            x[i] = start;                                                                          \
        for (long r = 0; r < rounds; r++) {                                                        \
            _Pragma("GCC unroll 12") for (int i = 0; i < 12; i++) x[i] = step(x[i], seed);         \
        }                                                                                          \
        for (int i = 0; i < 12; i++)                                                               \
            *sink = *sink + collect(x[i]);                                                         \
        return (double)rounds * 12 * (lanes)*2;                                                    \
    }
#define FMA512(x, seed)  _mm512_fmadd_ps(x, _mm512_castsi512_ps(seed), _mm512_castsi512_ps(seed))
#define BF512(x, seed)   _mm512_dpbf16_ps(x, (__m512bh)(seed), (__m512bh)(seed))
#define VNNI512(x, seed) _mm512_dpbusd_epi32(x, seed, seed)
#define FIRST_INT(x)     (float)_mm_cvtsi128_si32(_mm512_castsi512_si128(x))
KERNEL512(fma_avx512, "avx512f", __m512, _mm512_setzero_ps(), FMA512, _mm512_cvtss_f32, 16)
KERNEL512(bf16_avx512, "avx512f,avx512bf16", __m512, _mm512_setzero_ps(), BF512, _mm512_cvtss_f32,
          32)
KERNEL512(int8_avx512, "avx512f,avx512vnni", __m512i, _mm512_setzero_si512(), VNNI512, FIRST_INT,
          64)

/* Has the processor AMX, and may this process use it? */
static bool have_amx(void) {
    enum { REQUEST_PERMISSION = 0x1023, TILE_DATA = 18 };
    unsigned a, b, c, d;
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return false;
    const unsigned wanted = 1u << 22 | 1u << 24 | 1u << 25; /* bf16, tiles, int8 */
    return (d & wanted) == wanted && syscall(SYS_arch_prctl, REQUEST_PERMISSION, TILE_DATA) == 0;
}

/* Eight tiles of 16 rows of 64 bytes. */
#define KERNEL_AMX(function, step, products)                                                       \
    __attribute__((target("amx-tile,amx-bf16,amx-int8"))) static double function(                  \
        long rounds, volatile float *sink) {                                                       \
        static const _Alignas(64) struct {                                                         \
            uint8_t palette, start, reserved[14];                                                  \
            uint16_t bytes[16];                                                                    \
            uint8_t rows[16];                                                                      \
        } config = {                                                                               \
            1, 0, {0}, {64, 64, 64, 64, 64, 64, 64, 64}, {16, 16, 16, 16, 16, 16, 16, 16}};        \
        (void)sink;                                                                                \
        _tile_loadconfig(&config);                                                                 \
        for (long r = 0; r < rounds / 64; r++) {                                                   \
            step(0, 4, 6);                                                                         \
            step(1, 4, 7);                                                                         \
            step(2, 5, 6);                                                                         \
            step(3, 5, 7);                                                                         \
        }                                                                                          \
        _tile_release();                                                                           \
        return (double)(rounds / 64) * 4 * 16 * 16 * (products)*2;                                 \
    }
KERNEL_AMX(bf16_amx, _tile_dpbf16ps, 32)
KERNEL_AMX(int8_amx, _tile_dpbusd, 64)
#endif

#if defined(__aarch64__)
#include <arm_neon.h>
static double fma_neon(long rounds, volatile float *sink) {
    float32x4_t a = vdupq_n_f32(*sink), x[16];
    for (int i = 0; i < 16; i++)
        x[i] = a;
    for (long r = 0; r < rounds; r++) {
        _Pragma("GCC unroll 16") for (int i = 0; i < 16; i++) x[i] = vfmaq_f32(x[i], x[i], a);
    }
    for (int i = 0; i < 16; i++)
        *sink = *sink + vgetq_lane_f32(x[i], 0);
    return (double)rounds * 16 * 4 * 2;
}
#endif

typedef struct kernel {
    const char *name, *instruction;
    kernel_function *run;
    bool there;
} kernel;

/* The kernels that this processor has. */
static int list_kernels(kernel *kernels) {
    int count = 0;
#if defined(__x86_64__)
    __builtin_cpu_init();
    kernel all[] = {
        {"f32", "AVX-512 fma", fma_avx512, __builtin_cpu_supports("avx512f")},
        {"f32", "AVX2 fma", fma_avx2,
         __builtin_cpu_supports("fma") && !__builtin_cpu_supports("avx512f")},
        {"bf16", "AVX-512 vdpbf16ps", bf16_avx512, __builtin_cpu_supports("avx512bf16")},
        {"bf16", "AMX tdpbf16ps", bf16_amx, have_amx()},
        {"int8", "AMX tdpbusd", int8_amx, have_amx()},
        {"int8", "AVX-512 vpdpbusd", int8_avx512, __builtin_cpu_supports("avx512vnni")},
    };
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        if (all[i].there) kernels[count++] = all[i];
#elif defined(__aarch64__)
    kernels[count++] = (kernel){"f32", "NEON fmla", fma_neon, true};
#endif
    return count;
}

/* Reads memory [bytes] as `streams` streams and returns the bytes read. */
typedef double reader_function(const unsigned char *memory, size_t bytes, size_t streams,
                               volatile float *sink);

typedef uint64_t lanes __attribute__((vector_size(64)));

/* A step takes 256 bytes of each stream, so that a line is never waited for by the next one. */
static inline __attribute__((always_inline)) double
read_streams(const unsigned char *memory, size_t bytes, size_t streams, volatile float *sink) {
    enum { STEP = 4 * sizeof(lanes) };
    size_t part = bytes / streams / STEP * STEP;
    lanes sums[4] = {0};
    for (size_t at = 0; at < part; at += STEP) {
        for (size_t s = 0; s < streams; s++) {
            const lanes *from = (const lanes *)(memory + s * part + at);
            for (int i = 0; i < 4; i++)
                sums[i] += from[i];
        }
    }
    lanes sum = sums[0] + sums[1] + sums[2] + sums[3];
    *sink = (float)sum[0];
    return (double)(part * streams);
}

#define READER(name, attributes)                                                                   \
    attributes static double name(const unsigned char *memory, size_t bytes, size_t streams,       \
                                  volatile float *sink) {                                          \
        return read_streams(memory, bytes, streams, sink);                                         \
    }
READER(read_plainly, )
#if defined(__x86_64__)
READER(read_avx2, __attribute__((target("avx2"))))
READER(read_avx512, __attribute__((target("avx512f"))))
#endif

static reader_function *choose_reader(void) {
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f")) return read_avx512;
    if (__builtin_cpu_supports("avx2")) return read_avx2;
#endif
    return read_plainly;
}

/* What the threads of one measurement do: a kernel's products, or reading. */
typedef struct work {
    const kernel *kernel; /* NULL: read memory */
    reader_function *read;
    const unsigned char *memory;
    size_t bytes, streams;
} work;

typedef struct job {
    work work; /* this thread's part */
    pthread_barrier_t *start;
    double done; /* operations or bytes */
    double begin, end;
} job;

static void *run_job(void *context) {
    static const double WINDOW = 0.03; /* seconds */
    job *j = context;
    const work *w = &j->work;
    volatile float sink = 0;
    pthread_barrier_wait(j->start);
    j->begin = tl_clock_monotonic();
    j->done = 0;
    do {
        j->done += w->kernel ? w->kernel->run(1 << 16, &sink)
                             : w->read(w->memory, w->bytes, w->streams, &sink);
        j->end = tl_clock_monotonic();
    } while (j->end - j->begin < WINDOW);
    return NULL;
}

/* Work per second of all threads together. */
static double measure(const work *whole, int threads) {
    enum { MOST = 256 };
    static pthread_t handles[MOST];
    static job jobs[MOST];
    pthread_barrier_t start;
    if (threads > MOST) threads = MOST;
    pthread_barrier_init(&start, NULL, (unsigned)threads);
    size_t part = whole->bytes / (size_t)threads / 4096 * 4096;
    for (int i = 0; i < threads; i++) {
        jobs[i] = (job){.work = *whole, .start = &start};
        jobs[i].work.memory = whole->memory ? whole->memory + part * (size_t)i : NULL;
        jobs[i].work.bytes = part;
        if (pthread_create(&handles[i], NULL, run_job, &jobs[i])) exit(1);
    }
    double done = 0, begin = INFINITY, end = 0;
    for (int i = 0; i < threads; i++) {
        pthread_join(handles[i], NULL);
        done += jobs[i].done;
        begin = fmin(begin, jobs[i].begin);
        end = fmax(end, jobs[i].end);
    }
    pthread_barrier_destroy(&start);
    return done / (end - begin);
}

static double best_of(const work *whole, int threads) {
    enum { WINDOWS = 15 };
    double best = 0;
    for (int i = 0; i < WINDOWS; i++)
        best = fmax(best, measure(whole, threads));
    return best;
}

static void report(const char *name, const char *by, const char *unit, int threads, double value) {
    printf("{\"ceiling\":\"%s\",\"by\":\"%s\",\"threads\":%d,\"%s\":%.1f}\n", name, by, threads,
           unit, value / 1e9);
    fflush(stdout);
}

/* The best of several numbers of streams. */
static void report_memory(const unsigned char *memory, size_t bytes, int threads) {
    double best = 0;
    size_t best_streams = 0;
    for (size_t streams = 1; streams <= 16; streams *= 2) {
        work w = {.read = choose_reader(), .memory = memory, .bytes = bytes, .streams = streams};
        double rate = best_of(&w, threads);
        if (rate > best) best_streams = streams;
        best = fmax(best, rate);
    }
    char by[64];
    snprintf(by, sizeof by, "read %zu MiB, %zu stream%s a thread", bytes >> 20, best_streams,
             best_streams > 1 ? "s" : "");
    report("memory", by, "gbytes", threads, best);
}

static int usage(void) {
    fprintf(stderr, "usage: ceilings [--read MIB] [THREADS ...]\n");
    return 2;
}

int main(int count, char **words) {
    enum { USUAL_MIB = 512, MOST_MIB = 1 << 16, MOST_COUNTS = 16 };
    int threads[MOST_COUNTS] = {1, tl_processors()}, used = threads[1] > 1 ? 2 : 1;
    bool only_reading = count > 1 && strcmp(words[1], "--read") == 0;
    long mib = only_reading && count > 2 ? atol(words[2]) : USUAL_MIB;
    int first = only_reading ? 3 : 1;
    if (mib < 1 || mib > MOST_MIB || count - first > MOST_COUNTS) return usage();
    for (int i = first; i < count; i++) {
        used = i - first + 1;
        if ((threads[used - 1] = atoi(words[i])) < 1) return usage();
    }
    size_t bytes = (size_t)mib << 20;
    unsigned char *memory = aligned_alloc((size_t)2 << 20, bytes + (bytes & ((1 << 21) - 1)));
    if (!memory) return 1;
    madvise(memory, bytes, MADV_HUGEPAGE);
    memset(memory, 1, bytes);
    kernel kernels[8];
    int known = only_reading ? 0 : list_kernels(kernels);
    for (int t = 0; t < used; t++) {
        for (int i = 0; i < known; i++) {
            work w = {.kernel = &kernels[i]};
            report(kernels[i].name, kernels[i].instruction, "gops", threads[t],
                   best_of(&w, threads[t]));
        }
        report_memory(memory, bytes, threads[t]);
    }
    free(memory);
    return 0;
}
