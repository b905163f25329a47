/* The next chunk's weights, fetched into the cache while this one is multiplied: a little in each
 * step, so that memory is never idle and never in the way. */
#ifndef TL_KERNELS_AHEAD_H
#define TL_KERNELS_AHEAD_H

#include "kernels/cpu/functions.h"

/* What is left to fetch. */
typedef struct ahead {
    const char *at, *end;
    size_t step;
} ahead;

/* For a product of so many steps. */
INLINE ahead spread_ahead(const tl_product *p, size_t steps) {
    const char *end = p->ahead_bytes ? p->ahead + p->ahead_bytes : p->ahead;
    return (ahead){p->ahead, end, p->ahead_bytes / (steps + 1) + 1};
}

INLINE void fetch(ahead *next) {
    for (size_t done = 0; done < next->step && next->at < next->end; done += 64) {
        __builtin_prefetch(next->at, 0, 2);
        next->at += 64;
    }
}

#endif
