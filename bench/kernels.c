/* How fast the products are, beside what the machine can do at all.
 *
 *   bench_kernels [-t THREADS] [-r ROWS,…] [-d DTYPE,…] [-p exact|fast] [IN:OUT …]
 *
 * Every figure is the lower tenth of many short runs; runs of the ceilings are interleaved with
 * those of the products, so that noisy neighbours harm both alike. Weights cycle through enough
 * copies to fall out of the L2 cache, as a model's layers do; decode (1 row) is measured on 512 MB
 * of them. f32, f16 and bf16 weights lie 8 bytes past a cache line, as most files have them.
 * TINYLLM_CPU chooses the instruction set. */
#include "kernels/kernels.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum {
    WINDOWS = 9,
    WARM_BYTES = 48 << 20,
    COLD_BYTES = 512 << 20,
    READ_BYTES = 4 << 20,
    OFFSET = 8
};

static const double WINDOW_SECONDS = 0.03;

/* ---- ceilings ---- */

typedef double ceiling_function(void); /* runs briefly, returns operations done (or bytes read) */

static const unsigned char *memory;

#if defined(__x86_64__)
#include <immintrin.h>

enum { CHAINS = 24, TURNS = 20000 };

#if defined(__clang__)
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 64")
#endif

#define CHAIN_LOOP(type, zero, step, operations)                                                   \
    type sums[CHAINS];                                                                             \
    UNROLL for (int i = 0; i < CHAINS; i++) sums[i] = zero;                                        \
    for (int turn = 0; turn < TURNS; turn++) {                                                     \
        UNROLL for (int i = 0; i < CHAINS; i++) {                                                  \
            step;                                                                                  \
            __asm__ volatile("" : "+v"(sums[i]));                                                  \
        }                                                                                          \
    }                                                                                              \
    return (double)TURNS * CHAINS * (operations);

__attribute__((target("avx512f"))) static double fma_ceiling(void) {
    __m512 a = _mm512_set1_ps(1.0f), b = _mm512_set1_ps(0.5f);
    CHAIN_LOOP(__m512, a, sums[i] = _mm512_fmadd_ps(a, b, sums[i]), 32)
}

__attribute__((target("avx512f,avx512bf16"))) static double bf16_ceiling(void) {
    __m512bh a = (__m512bh)_mm512_set1_epi16(0x3f80), b = a;
    CHAIN_LOOP(__m512, _mm512_setzero_ps(), sums[i] = _mm512_dpbf16_ps(sums[i], a, b), 64)
}

__attribute__((target("avx512f,avx512vnni"))) static double int8_ceiling(void) {
    __m512i a = _mm512_set1_epi8(1), b = a;
    CHAIN_LOOP(__m512i, _mm512_setzero_si512(), sums[i] = _mm512_dpbusd_epi32(sums[i], a, b), 128)
}

typedef struct tile_config {
    uint8_t palette, start, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
} tile_config;

static const tile_config whole_tiles = {
    .palette = 1, .row_bytes = {64, 64, 64, 64, 64, 64}, .rows = {16, 16, 16, 16, 16, 16}};

__attribute__((target("amx-tile,amx-bf16"))) static double amx_ceiling(void) {
    _tile_loadconfig(&whole_tiles);
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    _tile_zero(4);
    _tile_zero(5);
    for (int turn = 0; turn < TURNS; turn++) {
        _tile_dpbf16ps(0, 4, 5);
        _tile_dpbf16ps(1, 4, 5);
        _tile_dpbf16ps(2, 4, 5);
        _tile_dpbf16ps(3, 4, 5);
    }
    _tile_release();
    return (double)TURNS * 4 * 16 * 16 * 32 * 2;
}

/* Four streams at once: one alone does not fill the pipes. */
__attribute__((target("avx512f"))) static double read_part(size_t first, size_t bytes) {
    const unsigned char *p = memory + first;
    size_t quarter = bytes / 4;
    __m512i s[8];
    UNROLL for (int i = 0; i < 8; i++) s[i] = _mm512_setzero_si512();
    for (size_t at = 0; at + 128 <= quarter; at += 128) {
        UNROLL for (int i = 0; i < 8; i++) {
            const unsigned char *from = p + (size_t)(i / 2) * quarter + at + (size_t)(i % 2) * 64;
            s[i] = _mm512_xor_si512(s[i], _mm512_loadu_si512(from));
        }
    }
    UNROLL for (int i = 0; i < 8; i++) __asm__ volatile("" : : "v"(s[i]));
    return (double)bytes;
}

typedef struct ceiling {
    const char *name;
    ceiling_function *run;
    const char *needs;
} ceiling;

static const ceiling ceilings[] = {{"f32 FMA", fma_ceiling, "avx512"},
                                   {"bf16 dot", bf16_ceiling, "avx512+bf16"},
                                   {"int8 dot", int8_ceiling, "avx512+vnni"},
                                   {"bf16 AMX", amx_ceiling, "avx512+amx"}};
#else
static double read_part(size_t first, size_t bytes) {
    uint64_t sum = 0;
    for (size_t at = 0; at + 8 <= bytes; at += 8) {
        uint64_t word;
        memcpy(&word, memory + first + at, 8);
        sum ^= word;
    }
    __asm__ volatile("" : : "r"(sum));
    return (double)bytes;
}

typedef struct ceiling {
    const char *name;
    ceiling_function *run;
    const char *needs;
} ceiling;

static const ceiling ceilings[] = {{NULL, NULL, NULL}};
#endif

enum { CEILINGS = sizeof ceilings / sizeof *ceilings };

/* ---- samples ---- */

/* One thread is timed by its processor time, which others on the machine disturb less. */
static clockid_t clock_used = CLOCK_MONOTONIC;

static double now_seconds(void) {
    struct timespec t;
    clock_gettime(clock_used, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Times of single runs; their lower tenth is what an undisturbed run takes, on a machine that is
 * never quiet for long. */
typedef struct samples {
    double seconds[4096];
    int count;
} samples;

static void add_sample(samples *s, double seconds) {
    if (s->count < (int)(sizeof s->seconds / sizeof *s->seconds)) s->seconds[s->count++] = seconds;
}

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static double lower_tenth(samples *s) {
    qsort(s->seconds, (size_t)s->count, sizeof *s->seconds, by_value);
    return s->seconds[s->count / 10];
}

typedef struct bench {
    tl_pool *pool;
    tl_compute *compute;
    tl_precision precision;
    bool usable[CEILINGS];
    double operations[CEILINGS]; /* of one run */
    samples ceiling[CEILINGS], read;
} bench;

typedef struct ceiling_task {
    ceiling_function *run;
    double operations[64];
} ceiling_task;

static void ceiling_chunk(void *context, int chunk, int worker) {
    (void)worker;
    ceiling_task *task = context;
    task->operations[chunk] = task->run();
}

static void measure_ceilings(bench *b) {
    int threads = tl_pool_threads(b->pool);
    for (int i = 0; i < CEILINGS; i++) {
        if (!b->usable[i]) continue;
        ceiling_task task = {.run = ceilings[i].run};
        for (int n = 0; n < 8; n++) {
            double started = now_seconds();
            tl_pool_run(b->pool, threads, ceiling_chunk, &task);
            add_sample(&b->ceiling[i], now_seconds() - started);
        }
        b->operations[i] = 0;
        for (int t = 0; t < threads; t++)
            b->operations[i] += task.operations[t];
    }
}

/* Where the next reading starts: all of the memory is read in turn. */
static size_t read_at;

static void read_chunk(void *context, int chunk, int worker) {
    (void)context;
    (void)worker;
    read_part(read_at + ((size_t)chunk << 17), 1 << 17);
}

static void measure_reads(bench *b) {
    for (int n = 0; n < 16; n++) {
        double started = now_seconds();
        tl_pool_run(b->pool, READ_BYTES >> 17, read_chunk, NULL);
        add_sample(&b->read, now_seconds() - started);
        read_at = (read_at + READ_BYTES) % COLD_BYTES;
    }
}

/* ---- products ---- */

static float *values(size_t count) {
    float *x = aligned_alloc(64, (count * sizeof *x + 63) / 64 * 64);
    uint32_t state = 12345;
    for (size_t i = 0; x && i < count; i++) {
        state = state * 1664525 + 1013904223;
        x[i] = (float)(state >> 8) * 0x1p-24f - 0.5f;
    }
    return x;
}

static void bench_product(bench *b, tl_dtype dtype, int32_t rows, int32_t in, int32_t out) {
    size_t bytes = tl_matrix_bytes(dtype, out, in);
    size_t total = rows == 1 ? COLD_BYTES : WARM_BYTES;
    int copies = (int)(total / bytes) > 1 ? (int)(total / bytes) : 1;
    bool packed = dtype == TL_Q8 || dtype == TL_Q4;
    unsigned char *data = (unsigned char *)memory + (packed ? 0 : OFFSET);
    float *source = values((size_t)out * (size_t)in), *x = values((size_t)rows * (size_t)in);
    float *y = values((size_t)rows * (size_t)out);
    tl_matrix wide = {TL_F32, out, in, in, source, (size_t)out * (size_t)in * 4}, weight;
    tl_error error;
    if (!source || !x || !y) exit(2);
    if (!tl_matrix_convert(b->compute, &wide, dtype, data, &weight, &error)) {
        fprintf(stderr, "%s\n", error.message);
        exit(1);
    }
    for (int i = 1; i < copies; i++)
        memcpy(data + (size_t)i * bytes, data, bytes);
    samples *taken = calloc(1, sizeof *taken);
    if (!taken) exit(2);
    int copy = 0;
    for (int window = 0; window < WINDOWS; window++) {
        double started = now_seconds();
        for (double now = started; now - started < WINDOW_SECONDS || taken->count < 3 * window;) {
            weight.data = data + (size_t)copy * bytes;
            copy = (copy + 1) % copies;
            tl_linear op = {
                .x = x, .x_stride = in, .rows = rows, .weight = &weight, .y = y, .y_stride = out};
            double before = now;
            tl_linear_run(b->compute, &op);
            now = now_seconds();
            add_sample(taken, now - before);
        }
        if (rows == 1)
            measure_reads(b);
        else
            measure_ceilings(b);
    }
    double seconds = lower_tenth(taken), speed = 2.0 * rows * in * out / seconds;
    free(taken);
    printf("%-5s %-5s %4d x %5d -> %6d  %8.1f us  %8.1f GFLOP/s", tl_dtype_get(dtype)->name,
           b->precision == TL_EXACT ? "exact" : "fast", rows, in, out, 1e6 * seconds, speed / 1e9);
    if (rows == 1) {
        double reading = READ_BYTES / lower_tenth(&b->read);
        printf("  %6.1f GB/s  %3.0f %% of reading", (double)bytes / seconds / 1e9,
               100 * (double)bytes / seconds / reading);
    } else {
        for (int i = 0; i < CEILINGS; i++)
            if (b->usable[i])
                printf("  %3.0f %% of %s",
                       100 * speed * lower_tenth(&b->ceiling[i]) / b->operations[i],
                       ceilings[i].name);
    }
    printf("\n");
    fflush(stdout);
    free(source), free(x), free(y);
}

/* ---- the command line ---- */

static int parse_list(const char *text, int32_t *list, int most) {
    int count = 0;
    for (const char *p = text; count < most && *p; p = *p == ',' ? p + 1 : p) {
        char *end;
        list[count++] = (int32_t)strtol(p, &end, 10);
        if (end == p) break;
        p = end;
    }
    return count;
}

int main(int argc, char **argv) {
    static const int32_t usual[][2] = {{576, 576}, {576, 1536}, {1536, 576},
                                       {896, 896}, {896, 4864}, {4864, 896}};
    int32_t rows[16] = {1, 128}, n_rows = 2;
    const char *dtypes = "f32,f16,bf16,q8,q4", *precisions = "exact,fast";
    int threads = 0, option;
    while ((option = getopt(argc, argv, "t:r:d:p:")) != -1) {
        if (option == 't')
            threads = atoi(optarg);
        else if (option == 'r')
            n_rows = parse_list(optarg, rows, 16);
        else if (option == 'd')
            dtypes = optarg;
        else if (option == 'p')
            precisions = optarg;
        else
            return 2;
    }
    tl_error error;
    static bench b;
    b = (bench){.pool = tl_pool_new(threads, &error)};
    memory = aligned_alloc(2 << 20, COLD_BYTES + (2 << 20));
    if (!b.pool || !memory) return 2;
    memset((void *)memory, 1, COLD_BYTES + OFFSET);
    const char *names[16];
    size_t found = tl_compute_available(names, 16);
    for (int i = 0; i < CEILINGS; i++)
        for (size_t n = 0; n < found && ceilings[i].name; n++)
            b.usable[i] |= strcmp(names[n], ceilings[i].needs) == 0;
    if (tl_pool_threads(b.pool) == 1) clock_used = CLOCK_THREAD_CPUTIME_ID;
    for (int i = 0; i < 5; i++) {
        measure_ceilings(&b);
        measure_reads(&b);
    }
    for (int precision = TL_EXACT; precision <= TL_FAST; precision++) {
        if (!strstr(precisions, precision == TL_EXACT ? "exact" : "fast")) continue;
        b.precision = (tl_precision)precision;
        b.compute = tl_compute_new(b.pool, b.precision, &error);
        if (!b.compute) {
            fprintf(stderr, "%s\n", error.message);
            return 2;
        }
        printf("%s, %d threads\n", tl_compute_isa(b.compute), tl_pool_threads(b.pool));
        for (int dtype = TL_F32; dtype <= TL_Q4; dtype++) {
            const char *at = strstr(dtypes, tl_dtype_get((tl_dtype)dtype)->name);
            if (!at || (dtype == TL_F16 && at > dtypes && at[-1] == 'b' && !strstr(dtypes, "f16,")))
                continue;
            for (int r = 0; r < n_rows; r++) {
                int shapes = optind < argc ? argc - optind : (int)(sizeof usual / sizeof *usual);
                for (int i = 0; i < shapes; i++) {
                    int in = usual[i % 6][0], out = usual[i % 6][1];
                    if (optind < argc && sscanf(argv[optind + i], "%d:%d", &in, &out) != 2)
                        return 2;
                    bench_product(&b, (tl_dtype)dtype, rows[r], in, out);
                }
            }
        }
        tl_compute_free(b.compute);
    }
    for (int i = 0; i < CEILINGS; i++)
        if (b.usable[i])
            printf("%-9s %8.1f GFLOP/s\n", ceilings[i].name,
                   b.operations[i] / lower_tenth(&b.ceiling[i]) / 1e9);
    printf("reading   %8.1f GB/s\n", READ_BYTES / lower_tenth(&b.read) / 1e9);
    tl_pool_free(b.pool);
    free((void *)memory);
    return 0;
}
