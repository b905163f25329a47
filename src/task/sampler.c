#include "task/sampler.h"

#include <stdlib.h>

enum { N = 624, M = 397 };

static void init(tl_sampler *s, uint32_t seed) {
    s->state[0] = seed;
    for (uint32_t i = 1; i < N; i++)
        s->state[i] = 1812433253u * (s->state[i - 1] ^ (s->state[i - 1] >> 30)) + i;
    s->at = N;
}

/* init_by_array of the one-word key that a small integer seed is. */
void tl_sampler_seed(tl_sampler *s, uint32_t seed) {
    init(s, 19650218u);
    uint32_t i = 1;
    for (int k = 0; k < N; k++) {
        s->state[i] =
            (s->state[i] ^ ((s->state[i - 1] ^ (s->state[i - 1] >> 30)) * 1664525u)) + seed;
        if (++i == N) {
            s->state[0] = s->state[N - 1];
            i = 1;
        }
    }
    for (int k = 0; k < N - 1; k++) {
        s->state[i] =
            (s->state[i] ^ ((s->state[i - 1] ^ (s->state[i - 1] >> 30)) * 1566083941u)) - i;
        if (++i == N) {
            s->state[0] = s->state[N - 1];
            i = 1;
        }
    }
    s->state[0] = 0x80000000u;
}

static uint32_t next_word(tl_sampler *s) {
    if (s->at == N) {
        for (int i = 0; i < N; i++) {
            uint32_t y = (s->state[i] & 0x80000000u) | (s->state[(i + 1) % N] & 0x7fffffffu);
            s->state[i] = s->state[(i + M) % N] ^ (y >> 1) ^ (y & 1 ? 0x9908b0dfu : 0);
        }
        s->at = 0;
    }
    uint32_t y = s->state[s->at++];
    y ^= y >> 11;
    y ^= (y << 7) & 0x9d2c5680u;
    y ^= (y << 15) & 0xefc60000u;
    return y ^ (y >> 18);
}

uint32_t tl_sampler_bits(tl_sampler *s, int bits) {
    return next_word(s) >> (32 - bits);
}

/* _randbelow(n): bits of n's length, drawn anew while too large. */
static uint32_t below(tl_sampler *s, uint32_t n) {
    int bits = 32 - __builtin_clz(n);
    uint32_t r;
    do
        r = tl_sampler_bits(s, bits);
    while (r >= n);
    return r;
}

/* Small ranges are shuffled in a pool; of large ones, what was drawn before is drawn anew. Which is
 * which follows CPython, for the draws to be its own. */
static uint64_t pool_limit(uint32_t k) {
    uint64_t limit = 21, power = 1;
    if (k <= 5) return limit;
    while (power < (uint64_t)k * 3)
        power *= 4;
    return limit + power;
}

bool tl_sampler_sample(tl_sampler *s, uint32_t n, uint32_t k, uint32_t *chosen) {
    if (n <= pool_limit(k)) {
        uint32_t *pool = malloc((size_t)n * sizeof *pool + 1);
        if (!pool) return false;
        for (uint32_t i = 0; i < n; i++)
            pool[i] = i;
        for (uint32_t i = 0; i < k; i++) {
            uint32_t j = below(s, n - i);
            chosen[i] = pool[j];
            pool[j] = pool[n - i - 1];
        }
        free(pool);
        return true;
    }
    for (uint32_t i = 0; i < k; i++) {
        bool seen = true;
        while (seen) {
            chosen[i] = below(s, n);
            seen = false;
            for (uint32_t j = 0; j < i && !seen; j++)
                seen = chosen[j] == chosen[i];
        }
    }
    return true;
}
