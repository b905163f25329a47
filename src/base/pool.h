/* One pool of threads, created once. Work is shared by chunks that threads claim as they get to
 * them, so a thread that the system sets aside delays only the chunk in its hands; waiting threads
 * yield, then sleep. */
#ifndef TL_BASE_POOL_H
#define TL_BASE_POOL_H

#include "base/error.h"

typedef struct tl_pool tl_pool;

/* `worker` is 0 … threads-1, for scratch memory of one's own; `chunk` is 0 … chunks-1. Results must
 * not depend on which worker takes which chunk, nor in what order. */
typedef void tl_pool_function(void *context, int chunk, int worker);

/* `threads` counts the caller; 0 means the processors this process may run on. */
tl_pool *tl_pool_new(int threads, tl_error *error);
void tl_pool_free(tl_pool *pool);
int tl_pool_threads(const tl_pool *pool);

/* Runs every chunk and returns when all are done. One caller at a time; not to be nested. */
void tl_pool_run(tl_pool *pool, int chunks, tl_pool_function *function, void *context);

/* Processors this process may run on (affinity and cgroup quota considered); at least 1. */
int tl_processors(void);

#endif
