/* ceilings: what this machine's cores and memory can do at most, as JSON lines.
 *
 *   ceilings [THREADS …]         default: 1, and all processors
 *
 * Products: chains of independent multiply-adds in registers, one kernel for each instruction that
 * the processor has. Memory: each thread reads its part of a buffer far larger than the caches. One
 * multiply and one add count as two operations. Each figure is the best of several rounds: a
 * neighbour can only make it smaller. */
#include "base/base.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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

typedef struct job {
    const kernel *kernel; /* NULL: read memory */
    const unsigned char *memory;
    size_t bytes;
    pthread_barrier_t *start;
    double work; /* operations or bytes done */
    double begin, end;
} job;

static double read_memory(const unsigned char *memory, size_t bytes, volatile float *sink) {
    typedef uint64_t lanes __attribute__((vector_size(64)));
    lanes sums[4] = {0};
    for (size_t at = 0; at + sizeof sums <= bytes; at += sizeof sums) {
        const lanes *from = (const lanes *)(memory + at);
        for (int i = 0; i < 4; i++)
            sums[i] += from[i];
    }
    *sink = (float)(sums[0] + sums[1] + sums[2] + sums[3])[0];
    return (double)bytes;
}

static void *run_job(void *context) {
    job *j = context;
    volatile float sink = 0;
    pthread_barrier_wait(j->start);
    j->begin = tl_clock_monotonic();
    j->work = 0;
    do {
        j->work +=
            j->kernel ? j->kernel->run(1 << 16, &sink) : read_memory(j->memory, j->bytes, &sink);
        j->end = tl_clock_monotonic();
    } while (j->end - j->begin < 0.08);
    return NULL;
}

/* Work per second of all threads together. */
static double measure(const kernel *k, int threads, const unsigned char *memory, size_t bytes) {
    enum { MOST = 256 };
    static pthread_t handles[MOST];
    static job jobs[MOST];
    pthread_barrier_t start;
    if (threads > MOST) threads = MOST;
    pthread_barrier_init(&start, NULL, (unsigned)threads);
    size_t part = bytes / (size_t)threads / 4096 * 4096;
    for (int i = 0; i < threads; i++) {
        jobs[i] = (job){k, memory + part * (size_t)i, part, &start};
        if (pthread_create(&handles[i], NULL, run_job, &jobs[i])) exit(1);
    }
    double rate = 0;
    for (int i = 0; i < threads; i++) {
        pthread_join(handles[i], NULL);
        rate += jobs[i].work / (jobs[i].end - jobs[i].begin);
    }
    pthread_barrier_destroy(&start);
    return rate;
}

static void report(const char *name, const char *instruction, const char *unit, const kernel *k,
                   int threads, const unsigned char *memory, size_t bytes) {
    enum { ROUNDS = 9 };
    double best = 0;
    for (int i = 0; i < ROUNDS; i++) {
        double rate = measure(k, threads, memory, bytes);
        if (rate > best) best = rate;
    }
    printf("{\"ceiling\":\"%s\",\"by\":\"%s\",\"threads\":%d,\"%s\":%.1f}\n", name, instruction,
           threads, unit, best / 1e9);
    fflush(stdout);
}

int main(int count, char **words) {
    int threads[16] = {1, tl_processors()}, used = threads[1] > 1 ? 2 : 1;
    for (int i = 1; i < count && i <= 16; i++) {
        threads[i - 1] = atoi(words[i]);
        used = i;
        if (threads[i - 1] < 1) {
            fprintf(stderr, "usage: ceilings [THREADS ...]\n");
            return 2;
        }
    }
    const size_t bytes = (size_t)512 << 20;
    unsigned char *memory = aligned_alloc(4096, bytes);
    if (!memory) return 1;
    memset(memory, 1, bytes);
    kernel kernels[8];
    int known = list_kernels(kernels);
    for (int t = 0; t < used; t++) {
        for (int i = 0; i < known; i++)
            report(kernels[i].name, kernels[i].instruction, "gops", &kernels[i], threads[t], NULL,
                   0);
        report("memory", "read 512 MiB", "gbytes", NULL, threads[t], memory, bytes);
    }
    free(memory);
    return 0;
}
