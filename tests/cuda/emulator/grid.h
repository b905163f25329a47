/* Running a kernel on a grid. */
#ifndef TESTS_CUDA_GRID_H
#define TESTS_CUDA_GRID_H

#include <cuda_runtime_api.h>

typedef void emulated_kernel(const void *arguments);

/* Runs all blocks. False when threads wait at a barrier that others never reach, or a block has too
 * many threads. With `backwards` the threads of a block take turns from the last to the first. */
int emulated_run(emulated_kernel *kernel, const void *arguments, dim3 grid, dim3 block,
                 size_t shared, int backwards);

#endif
