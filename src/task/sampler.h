/* sampler: CPython's random module, as far as the harness draws few-shot examples with it. */
#ifndef TL_TASK_SAMPLER_H
#define TL_TASK_SAMPLER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* random.Random(seed): the Mersenne Twister MT19937 (M. Matsumoto, T. Nishimura, 1998), seeded by
 * its init_by_array. */
typedef struct tl_sampler {
    uint32_t state[624];
    int at;
} tl_sampler;

void tl_sampler_seed(tl_sampler *sampler, uint32_t seed);

/* getrandbits(bits), 1 ≤ bits ≤ 32. */
uint32_t tl_sampler_bits(tl_sampler *sampler, int bits);

/* random.sample(range(n), k) into `chosen` [k]; k ≤ n. False when memory is out. */
bool tl_sampler_sample(tl_sampler *sampler, uint32_t n, uint32_t k, uint32_t *chosen);

#endif
