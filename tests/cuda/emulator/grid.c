/* Blocks one after the other; a block's threads as fibers, each run until it waits or ends. */
#include "grid.h"

#include "kernels/cuda/arguments.h"

#include "emulator.h"
#include "switch.h"

#include <stdbool.h>
#include <stdlib.h>

/* A stack is an odd number of cache lines: tops a power of two apart would share a few lines of the
 * cache. */
enum { MOST_THREADS = 256, STACK = (64 << 10) + 13 * 64, WARPS = MOST_THREADS / 32 };

typedef struct fiber {
    void *top;          /* of its stack, while another runs */
    const int *barrier; /* it waits until this counter is no longer `seen`; NULL: it runs */
    int seen;
    int parity; /* of the warp's exchanges */
    bool ended;
} fiber;

/* Threads that have come to a barrier, and how often it has opened. */
typedef struct barrier {
    int expected, arrived, opened;
} barrier;

emulated_place emulated;

static struct {
    fiber fibers[MOST_THREADS];
    char *stacks;
    void *scheduler; /* the top of its stack, while a fiber runs */
    int running;
    emulated_kernel *kernel;
    const void *arguments;
    barrier block, warps[WARPS];
    float handed[2][MOST_THREADS];
    float *shared;
} grid;

/* ---- fibers ---------------------------------------------------------------------------------- */

static void to_scheduler(void) {
    emulated_switch(&grid.fibers[grid.running].top, grid.scheduler);
}

static void leave(barrier *b);

/* A fiber lives on from block to block. */
static void enter(void) {
    for (;;) {
        grid.kernel(grid.arguments);
        fiber *f = &grid.fibers[grid.running];
        f->ended = true;
        leave(&grid.block);
        leave(&grid.warps[grid.running / 32]);
        to_scheduler();
    }
}

static bool make_fibers(void) {
    grid.stacks = aligned_alloc(64, (size_t)MOST_THREADS * STACK);
    if (!grid.stacks) return false;
    for (int i = 0; i < MOST_THREADS; i++)
        grid.fibers[i].top = emulated_start(grid.stacks + (size_t)(i + 1) * STACK, enter);
    return true;
}

/* ---- barriers -------------------------------------------------------------------------------- */

static void wait_at(barrier *b) {
    fiber *f = &grid.fibers[grid.running];
    if (++b->arrived == b->expected) {
        b->arrived = 0;
        b->opened++;
        return;
    }
    f->barrier = &b->opened;
    f->seen = b->opened;
    to_scheduler();
}

void emulated_barrier(void) {
    wait_at(&grid.block);
}

void emulated_warp_barrier(void) {
    wait_at(&grid.warps[grid.running / 32]);
}

/* Turn by turn through two sets of slots: nobody can be two exchanges ahead. */
float emulated_exchange(float value, int from) {
    fiber *f = &grid.fibers[grid.running];
    int parity = f->parity;
    f->parity ^= 1;
    grid.handed[parity][grid.running] = value;
    emulated_warp_barrier();
    return grid.handed[parity][grid.running / 32 * 32 + from];
}

float *emulated_dynamic_shared(void) {
    return grid.shared;
}

/* A thread that ends is waited for no longer. */
static void leave(barrier *b) {
    b->expected--;
    if (b->arrived > 0 && b->arrived == b->expected) {
        b->arrived = 0;
        b->opened++;
    }
}

/* ---- blocks ---------------------------------------------------------------------------------- */

static bool prepare_block(int threads) {
    if (!grid.stacks && !make_fibers()) return false;
    grid.block = (barrier){.expected = threads};
    for (int w = 0; w < WARPS; w++) {
        int lanes = threads - w * 32;
        grid.warps[w] = (barrier){.expected = lanes > 32 ? 32 : lanes > 0 ? lanes : 0};
    }
    for (int i = 0; i < threads; i++) {
        fiber *f = &grid.fibers[i];
        f->ended = false;
        f->barrier = NULL;
        f->parity = 0;
    }
    return true;
}

static bool run_block(int threads, bool backwards) {
    if (!prepare_block(threads)) return false;
    for (int left = threads; left > 0;) {
        bool moved = false;
        for (int i = 0; i < threads; i++) {
            int thread = backwards ? threads - 1 - i : i;
            fiber *f = &grid.fibers[thread];
            if (f->ended || (f->barrier && *f->barrier == f->seen)) continue;
            f->barrier = NULL;
            grid.running = thread;
            emulated.thread.x = (unsigned)thread;
            emulated_switch(&grid.scheduler, f->top);
            left -= f->ended;
            moved = true;
        }
        if (!moved) return false;
    }
    return true;
}

int emulated_run(emulated_kernel *kernel, const void *arguments, dim3 blocks, dim3 block,
                 size_t shared, int backwards) {
    bool good = block.x <= MOST_THREADS && block.y == 1 && block.z == 1;
    grid.kernel = kernel;
    grid.arguments = arguments;
    grid.shared = aligned_alloc(16, (shared + 16) / 16 * 16);
    for (unsigned z = 0; good && z < blocks.z; z++)
        for (unsigned y = 0; good && y < blocks.y; y++)
            for (unsigned x = 0; good && x < blocks.x; x++) {
                emulated.block = (dim3){x, y, z};
                good = run_block((int)block.x, backwards);
            }
    free(grid.shared);
    return good;
}
