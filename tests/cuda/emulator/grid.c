/* Blocks one after the other; a block's threads as fibers, each run until it waits or ends. */
#include "grid.h"

#include "kernels/cuda/arguments.h"

#include "emulator.h"

#include <setjmp.h>
#include <stdbool.h>
#include <stdlib.h>
#include <ucontext.h>

enum { MOST_THREADS = 256, STACK = 256 << 10, WARPS = MOST_THREADS / 32 };

typedef struct fiber {
    jmp_buf at;
    ucontext_t start;
    char *stack;
    bool begun, ended;
    const int *barrier; /* it waits until this counter is no longer `seen`; NULL: it runs */
    int seen;
    int parity; /* of the warp's exchanges */
} fiber;

/* Threads that have come to a barrier, and how often it has opened. */
typedef struct barrier {
    int expected, arrived, opened;
} barrier;

emulated_place emulated;

static struct {
    fiber fibers[MOST_THREADS];
    jmp_buf scheduler;
    ucontext_t back;
    int running;
    emulated_kernel *kernel;
    const void *arguments;
    barrier block, warps[WARPS];
    float handed[2][MOST_THREADS];
    float *shared;
} grid;

static void wait_at(barrier *b) {
    fiber *f = &grid.fibers[grid.running];
    if (++b->arrived == b->expected) {
        b->arrived = 0;
        b->opened++;
        return;
    }
    f->barrier = &b->opened;
    f->seen = b->opened;
    if (!_setjmp(f->at)) _longjmp(grid.scheduler, 1);
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

/* A fiber lives on from block to block. */
static void enter(void) {
    for (;;) {
        grid.kernel(grid.arguments);
        fiber *f = &grid.fibers[grid.running];
        f->ended = true;
        leave(&grid.block);
        leave(&grid.warps[grid.running / 32]);
        if (!_setjmp(f->at)) _longjmp(grid.scheduler, 1);
    }
}

static void resume(int thread) {
    fiber *f = &grid.fibers[thread];
    grid.running = thread;
    emulated.thread.x = (unsigned)thread;
    if (_setjmp(grid.scheduler)) return;
    if (f->begun) _longjmp(f->at, 1);
    f->begun = true;
    getcontext(&f->start);
    f->start.uc_stack.ss_sp = f->stack;
    f->start.uc_stack.ss_size = STACK;
    f->start.uc_link = NULL;
    makecontext(&f->start, enter, 0);
    setcontext(&f->start);
}

static bool prepare_block(int threads) {
    grid.block = (barrier){.expected = threads};
    for (int w = 0; w < WARPS; w++) {
        int lanes = threads - w * 32;
        grid.warps[w] = (barrier){.expected = lanes > 32 ? 32 : lanes > 0 ? lanes : 0};
    }
    for (int i = 0; i < threads; i++) {
        fiber *f = &grid.fibers[i];
        if (!f->stack) f->stack = malloc(STACK);
        if (!f->stack) return false;
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
            resume(thread);
            left -= grid.fibers[thread].ended;
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
