/* The runtime of the emulation. Copies and launches happen when they are asked for, or, while a
 * stream is captured, when the graph is launched. Device memory is the host's, each block apart, so
 * that AddressSanitizer sees what leaves it.
 *
 *   EMULATED_DEVICES     how many there are (1)
 *   EMULATED_MEMORY      bytes of each (1 GiB)
 *   EMULATED_INTEGRATED  1: they share the processor's memory
 *   EMULATED_BACKWARDS   1: threads of a block take turns from the last to the first */
#include "grid.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { MOST_DIM_ROWS = 65535 };

typedef struct block {
    struct block *next;
    void *data;
    size_t bytes;
} block;

struct emulated_event {
    struct timespec time;
};

typedef struct node {
    struct node *next;
    emulated_kernel *kernel;
    void *arguments;
    dim3 grid, block;
    size_t shared;
} node;

struct emulated_graph {
    node *first, **end;
};

struct emulated_stream {
    struct emulated_graph *captured; /* NULL: launches run */
};

static block *blocks;
static size_t held;
static cudaError_t last_error;
static size_t largest_shared = 48 << 10;

static cudaError_t result(cudaError_t error) {
    if (error != cudaSuccess) last_error = error;
    return error;
}

static size_t setting(const char *name, size_t otherwise) {
    const char *text = getenv(name);
    return text && *text ? (size_t)strtoull(text, NULL, 10) : otherwise;
}

static size_t memory(void) {
    return setting("EMULATED_MEMORY", (size_t)1 << 30);
}

cudaError_t cudaGetDeviceCount(int *count) {
    *count = (int)setting("EMULATED_DEVICES", 1);
    return result(*count ? cudaSuccess : cudaErrorNoDevice);
}

cudaError_t cudaSetDevice(int device) {
    return result(device < (int)setting("EMULATED_DEVICES", 1) ? cudaSuccess
                                                               : cudaErrorInvalidValue);
}

cudaError_t cudaGetDeviceProperties(struct cudaDeviceProp *p, int device) {
    (void)device;
    *p = (struct cudaDeviceProp){.name = "emulated GPU",
                                 .major = 8,
                                 .minor = 0,
                                 .integrated = (int)setting("EMULATED_INTEGRATED", 0),
                                 .multiProcessorCount = 4,
                                 .sharedMemPerBlockOptin = 99 << 10,
                                 .totalGlobalMem = memory()};
    return cudaSuccess;
}

cudaError_t cudaDeviceGetAttribute(int *value, enum cudaDeviceAttr attribute, int device) {
    (void)attribute, (void)device;
    *value = (int)setting("EMULATED_INTEGRATED", 0);
    return cudaSuccess;
}

cudaError_t cudaFuncSetAttribute(const void *function, enum cudaFuncAttribute attribute,
                                 int value) {
    (void)function, (void)attribute;
    if (value > 99 << 10) return result(cudaErrorInvalidValue);
    largest_shared = (size_t)value;
    return cudaSuccess;
}

cudaError_t cudaGetLastError(void) {
    cudaError_t error = last_error;
    last_error = cudaSuccess;
    return error;
}

const char *cudaGetErrorString(cudaError_t error) {
    switch (error) {
    case cudaErrorMemoryAllocation:
        return "out of memory";
    case cudaErrorNoDevice:
        return "no CUDA-capable device is detected";
    case cudaErrorInvalidConfiguration:
        return "invalid configuration argument";
    default:
        return "emulated error";
    }
}

/* ---- memory ---------------------------------------------------------------------------------- */

cudaError_t cudaMemGetInfo(size_t *left, size_t *total) {
    *total = memory();
    *left = *total > held ? *total - held : 0;
    return cudaSuccess;
}

cudaError_t cudaMalloc(void **data, size_t bytes) {
    block *b = malloc(sizeof *b);
    *data = NULL;
    if (bytes > memory() || held > memory() - bytes || !b ||
        !(b->data = aligned_alloc(256, (bytes + 255) / 256 * 256))) {
        free(b);
        return result(cudaErrorMemoryAllocation);
    }
    memset(b->data, 0xcd, bytes); /* NaN where nothing was written */
    b->bytes = bytes;
    b->next = blocks;
    blocks = b;
    held += bytes;
    *data = b->data;
    return cudaSuccess;
}

cudaError_t cudaFree(void *data) {
    for (block **at = &blocks; *at; at = &(*at)->next) {
        block *b = *at;
        if (b->data != data) continue;
        *at = b->next;
        held -= b->bytes;
        free(b->data);
        free(b);
        return cudaSuccess;
    }
    return result(data ? cudaErrorInvalidValue : cudaSuccess);
}

cudaError_t cudaMallocHost(void **data, size_t bytes) {
    *data = aligned_alloc(256, (bytes + 255) / 256 * 256);
    return result(*data ? cudaSuccess : cudaErrorMemoryAllocation);
}

cudaError_t cudaFreeHost(void *data) {
    free(data);
    return cudaSuccess;
}

/* Pages may be registered once. */
cudaError_t cudaHostRegister(void *data, size_t bytes, unsigned flags) {
    (void)flags;
    if ((uintptr_t)data % 4096 || bytes % 4096) return result(cudaErrorInvalidValue);
    for (block *b = blocks; b; b = b->next)
        if ((char *)data < (char *)b->data + b->bytes && (char *)b->data < (char *)data + bytes)
            return result(cudaErrorInvalidValue);
    block *b = malloc(sizeof *b);
    if (!b) return result(cudaErrorMemoryAllocation);
    *b = (block){blocks, data, bytes};
    blocks = b;
    return cudaSuccess;
}

cudaError_t cudaHostUnregister(void *data) {
    for (block **at = &blocks; *at; at = &(*at)->next) {
        block *b = *at;
        if (b->data != data) continue;
        *at = b->next;
        free(b);
        return cudaSuccess;
    }
    return result(cudaErrorInvalidValue);
}

/* The backend captures launches only: a copy within a captured stream is a mistake here. */
cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, enum cudaMemcpyKind kind,
                            cudaStream_t stream) {
    (void)kind;
    if (stream->captured) return result(cudaErrorStreamCaptureUnsupported);
    memcpy(to, from, bytes);
    return cudaSuccess;
}

/* ---- streams and events ---------------------------------------------------------------------- */

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *stream, unsigned flags) {
    (void)flags;
    *stream = calloc(1, sizeof **stream);
    return result(*stream ? cudaSuccess : cudaErrorMemoryAllocation);
}

cudaError_t cudaStreamDestroy(cudaStream_t stream) {
    free(stream);
    return cudaSuccess;
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
    return result(stream->captured ? cudaErrorStreamCaptureUnsupported : cudaSuccess);
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t *event, unsigned flags) {
    (void)flags;
    *event = calloc(1, sizeof **event);
    return result(*event ? cudaSuccess : cudaErrorMemoryAllocation);
}

cudaError_t cudaEventDestroy(cudaEvent_t event) {
    free(event);
    return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
    if (stream->captured) return result(cudaErrorStreamCaptureUnsupported);
    clock_gettime(CLOCK_MONOTONIC, &event->time);
    return cudaSuccess;
}

cudaError_t cudaEventSynchronize(cudaEvent_t event) {
    (void)event;
    return cudaSuccess;
}

cudaError_t cudaEventElapsedTime(float *milliseconds, cudaEvent_t from, cudaEvent_t to) {
    *milliseconds = (float)((double)(to->time.tv_sec - from->time.tv_sec) * 1e3 +
                            (double)(to->time.tv_nsec - from->time.tv_nsec) / 1e6);
    return cudaSuccess;
}

/* ---- launches -------------------------------------------------------------------------------- */

static cudaError_t run(emulated_kernel *kernel, const void *arguments, dim3 grid, dim3 threads,
                       size_t shared) {
    int backwards = setting("EMULATED_BACKWARDS", 0) != 0;
    return result(emulated_run(kernel, arguments, grid, threads, shared, backwards)
                      ? cudaSuccess
                      : cudaErrorUnknown);
}

/* `list` is [arguments, their size]: see tl_cuda_launch. */
cudaError_t cudaLaunchKernel(const void *function, dim3 grid, dim3 threads, void **list,
                             size_t shared, cudaStream_t stream) {
    emulated_kernel *kernel;
    memcpy(&kernel, &function, sizeof kernel);
    if (!grid.x || !grid.y || !grid.z || grid.y > MOST_DIM_ROWS || grid.z > MOST_DIM_ROWS ||
        threads.x > 1024 || shared > largest_shared)
        return result(cudaErrorInvalidConfiguration);
    if (!stream->captured) return run(kernel, list[0], grid, threads, shared);
    node *n = calloc(1, sizeof *n);
    size_t size = *(const size_t *)list[1];
    if (!n || !(n->arguments = malloc(size))) {
        free(n);
        return result(cudaErrorMemoryAllocation);
    }
    memcpy(n->arguments, list[0], size);
    n->kernel = kernel;
    n->grid = grid;
    n->block = threads;
    n->shared = shared;
    *stream->captured->end = n;
    stream->captured->end = &n->next;
    return cudaSuccess;
}

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, enum cudaStreamCaptureMode mode) {
    (void)mode;
    if (stream->captured) return result(cudaErrorStreamCaptureUnsupported);
    stream->captured = calloc(1, sizeof *stream->captured);
    if (!stream->captured) return result(cudaErrorMemoryAllocation);
    stream->captured->end = &stream->captured->first;
    return cudaSuccess;
}

cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t *graph) {
    *graph = stream->captured;
    stream->captured = NULL;
    return result(*graph ? cudaSuccess : cudaErrorInvalidValue);
}

/* The graph itself serves as the executable one; destroying the first leaves it. */
cudaError_t cudaGraphInstantiate(cudaGraphExec_t *exec, cudaGraph_t graph,
                                 unsigned long long flags) {
    (void)flags;
    *exec = graph;
    return cudaSuccess;
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
    (void)graph;
    return cudaSuccess;
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream) {
    (void)stream;
    for (const node *n = exec->first; n; n = n->next) {
        cudaError_t error = run(n->kernel, n->arguments, n->grid, n->block, n->shared);
        if (error != cudaSuccess) return error;
    }
    return cudaSuccess;
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec) {
    while (exec->first) {
        node *n = exec->first;
        exec->first = n->next;
        free(n->arguments);
        free(n);
    }
    free(exec);
    return cudaSuccess;
}
