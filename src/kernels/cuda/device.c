/* A CUDA device: opening it, its memory, its errors, and the table of functions. */
#include "kernels/cuda/internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- errors ---------------------------------------------------------------------------------- */

bool tl_cuda_check(tl_backend *b, cudaError_t result, const char *at) {
    if (result == cudaSuccess) return true;
    cudaGetLastError(); /* it is told here, not to whoever asks next */
    if (b->failed == cudaSuccess) {
        b->failed = result;
        b->failed_at = at;
    }
    return false;
}

bool tl_cuda_tell(tl_backend *b, tl_error *error) {
    cudaError_t failed = b->failed;
    b->failed = cudaSuccess;
    if (failed == cudaSuccess) return true;
    return tl_fail(error, failed == cudaErrorMemoryAllocation ? TL_ERROR_MEMORY : TL_ERROR_IO,
                   "the GPU failed at %s: %s", b->failed_at, cudaGetErrorString(failed));
}

/* ---- memory ---------------------------------------------------------------------------------- */

void *tl_cuda_allocate(tl_backend *b, size_t bytes, const char *what, tl_error *error) {
    enum { UNIT = 512 }; /* what the driver rounds to, and PyTorch's allocator too */
    tl_cuda_block *block = malloc(sizeof *block);
    if (!block) {
        tl_fail_memory(error, sizeof *block, what);
        return NULL;
    }
    bytes = (bytes + UNIT - 1) / UNIT * UNIT;
    *block = (tl_cuda_block){b->blocks, NULL, bytes};
    cudaError_t result = cudaSetDevice(b->index);
    if (result == cudaSuccess) result = cudaMalloc(&block->data, bytes);
    if (result != cudaSuccess) {
        size_t left = 0, total = 0;
        cudaGetLastError();
        cudaMemGetInfo(&left, &total);
        free(block);
        tl_fail(error, result == cudaErrorMemoryAllocation ? TL_ERROR_MEMORY : TL_ERROR_IO,
                "out of GPU memory: %zu bytes for %s, with %zu held and %zu of %zu free (%s)",
                bytes, what, b->allocated, left, total, cudaGetErrorString(result));
        return NULL;
    }
    b->blocks = block;
    b->allocated += bytes;
    if (b->allocated > b->peak) b->peak = b->allocated;
    return block->data;
}

void tl_cuda_release(tl_backend *b, void *memory) {
    for (tl_cuda_block **at = &b->blocks; memory && *at; at = &(*at)->next) {
        tl_cuda_block *block = *at;
        if (block->data != memory) continue;
        tl_cuda_drop_graphs(b);
        tl_cuda_check(b, cudaStreamSynchronize(b->stream), "waiting");
        tl_cuda_check(b, cudaFree(memory), "freeing memory");
        b->allocated -= block->bytes;
        *at = block->next;
        free(block);
        return;
    }
}

bool tl_cuda_grow(tl_backend *b, void **memory, size_t *held, size_t bytes, const char *what,
                  tl_error *error) {
    if (bytes <= *held) return true;
    tl_cuda_release(b, *memory);
    *held = 0;
    *memory = tl_cuda_allocate(b, bytes, what, error);
    if (*memory) *held = bytes;
    return *memory != NULL;
}

static bool upload(tl_backend *b, void *to, const void *from, size_t bytes, tl_error *error) {
    tl_cuda_check(b, cudaSetDevice(b->index), "choosing the device");
    tl_cuda_check(b, cudaMemcpyAsync(to, from, bytes, cudaMemcpyHostToDevice, b->stream),
                  "copying to the device");
    return tl_cuda_tell(b, error);
}

static bool download(tl_backend *b, void *to, const void *from, size_t bytes, tl_error *error) {
    tl_cuda_check(b, cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToHost, b->stream),
                  "copying from the device");
    tl_cuda_check(b, cudaStreamSynchronize(b->stream), "waiting");
    return tl_cuda_tell(b, error);
}

/* Registers the pages of [begin, end) that are not yet. */
static bool adopt_pages(tl_backend *b, char *begin, char *end) {
    while (begin < end) {
        char *stop = end;
        tl_cuda_adopted *inside = NULL;
        for (tl_cuda_adopted *a = b->adopted; a; a = a->next) {
            if (a->begin <= begin && begin < a->end) inside = a;
            if (a->begin > begin && a->begin < stop) stop = a->begin;
        }
        if (inside) {
            begin = inside->end;
            continue;
        }
        tl_cuda_adopted *range = malloc(sizeof *range);
        if (!range) return false;
        unsigned flags = cudaHostRegisterMapped | cudaHostRegisterReadOnly;
        if (cudaHostRegister(begin, (size_t)(stop - begin), flags) != cudaSuccess) {
            cudaGetLastError();
            free(range);
            return false;
        }
        *range = (tl_cuda_adopted){b->adopted, begin, stop};
        b->adopted = range;
        b->adopted_bytes += (size_t)(stop - begin);
        begin = stop;
    }
    return true;
}

static const void *adopt(tl_backend *b, const void *host, size_t bytes) {
    if (!b->adopts || !bytes || (uintptr_t)host % 16) return NULL;
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    uintptr_t begin = (uintptr_t)host / page * page;
    uintptr_t end = ((uintptr_t)host + bytes + page - 1) / page * page;
    return adopt_pages(b, (char *)begin, (char *)end) ? host : NULL;
}

/* ---- the device ------------------------------------------------------------------------------ */

static bool probe(int index, tl_error *error) {
    int count = 0;
    cudaError_t result = cudaGetDeviceCount(&count);
    if (result == cudaErrorInsufficientDriver)
        return tl_fail(error, TL_ERROR_USAGE,
                       "no CUDA driver, or one older than CUDA %d.%d, which this backend was built "
                       "with: install NVIDIA's driver (nvidia-smi shows it), or use --device cpu",
                       CUDART_VERSION / 1000, CUDART_VERSION % 1000 / 10);
    if (result != cudaSuccess || count == 0)
        return tl_fail(error, TL_ERROR_USAGE,
                       "no CUDA device (%s): check nvidia-smi and CUDA_VISIBLE_DEVICES, or use "
                       "--device cpu",
                       result == cudaSuccess ? "none is visible" : cudaGetErrorString(result));
    if (index >= count)
        return tl_fail(error, TL_ERROR_USAGE, "cuda:%d: there are %d CUDA devices, from cuda:0 on",
                       index, count);
    return true;
}

static bool read_properties(tl_backend *b) {
    struct cudaDeviceProp p;
    int by_address = 0, read_only = 0;
    if (!tl_cuda_check(b, cudaGetDeviceProperties(&p, b->index), "reading its properties"))
        return false;
    cudaDeviceGetAttribute(&by_address, cudaDevAttrCanUseHostPointerForRegisteredMem, b->index);
    cudaDeviceGetAttribute(&read_only, cudaDevAttrHostRegisterReadOnlySupported, b->index);
    snprintf(b->name, sizeof b->name, "%.100s, sm_%d%d", p.name, p.major, p.minor);
    b->integrated = p.integrated != 0;
    /* There is one memory: weights are read where the checkpoint is mapped. Elsewhere the way to
     * the processor's memory is many times slower than the device's own. */
    b->adopts = b->integrated && by_address && read_only;
    b->processors = p.multiProcessorCount;
    b->shared_bytes = p.sharedMemPerBlockOptin;
    b->total = p.totalGlobalMem;
    return true;
}

static void close_device(tl_backend *b) {
    if (!b) return;
    cudaSetDevice(b->index);
    if (b->stream) cudaStreamSynchronize(b->stream);
    tl_cuda_drop_graphs(b);
    tl_cuda_fast_free(b);
    tl_cuda_free_areas(b);
    while (b->blocks)
        tl_cuda_release(b, b->blocks->data);
    while (b->adopted) {
        tl_cuda_adopted *range = b->adopted;
        b->adopted = range->next;
        cudaHostUnregister(range->begin);
        free(range);
    }
    for (int i = 0; i < 2; i++)
        if (b->timer[i]) cudaEventDestroy(b->timer[i]);
    if (b->stream) cudaStreamDestroy(b->stream);
    free(b);
}

static bool start(tl_backend *b, tl_error *error) {
    tl_cuda_check(b, cudaSetDevice(b->index), "choosing the device");
    if (b->failed == cudaSuccess) read_properties(b);
    if (b->failed == cudaSuccess)
        tl_cuda_check(b, cudaStreamCreateWithFlags(&b->stream, cudaStreamNonBlocking),
                      "making a stream");
    for (int i = 0; i < 2 && b->failed == cudaSuccess; i++)
        tl_cuda_check(b, cudaEventCreateWithFlags(&b->timer[i], cudaEventDefault),
                      "making an event");
    if (b->failed == cudaSuccess) tl_cuda_prepare_kernels(b);
    return tl_cuda_tell(b, error) && (b->precision != TL_FAST || tl_cuda_fast_new(b, error));
}

static tl_backend *open_device(int index, tl_precision precision, tl_error *error) {
    if (!probe(index, error)) return NULL;
    tl_backend *b = calloc(1, sizeof *b);
    if (!b) {
        tl_fail_memory(error, sizeof *b, "a device");
        return NULL;
    }
    b->index = index;
    b->precision = precision;
    b->recording = -1;
    if (start(b, error)) return b;
    close_device(b);
    return NULL;
}

static void facts_of(tl_backend *b, tl_backend_facts *facts) {
    size_t left = 0, total = 0;
    cudaSetDevice(b->index);
    *facts = (tl_backend_facts){.integrated = b->integrated,
                                .allocated = b->allocated,
                                .peak = b->peak,
                                .adopted = b->adopted_bytes,
                                .total = b->total,
                                .passes_played = b->played};
    snprintf(facts->name, sizeof facts->name, "%s", b->name);
    if (cudaMemGetInfo(&left, &total) == cudaSuccess) facts->driver_used = total - left;
}

static void timer_start(tl_backend *b) {
    tl_cuda_check(b, cudaSetDevice(b->index), "choosing the device");
    tl_cuda_check(b, cudaEventRecord(b->timer[0], b->stream), "timing");
}

static double timer_stop(tl_backend *b) {
    float milliseconds = 0;
    tl_cuda_check(b, cudaEventRecord(b->timer[1], b->stream), "timing");
    if (tl_cuda_check(b, cudaEventSynchronize(b->timer[1]), "waiting"))
        tl_cuda_check(b, cudaEventElapsedTime(&milliseconds, b->timer[0], b->timer[1]), "timing");
    return (double)milliseconds / 1e3;
}

static bool multiplies(const tl_backend *b, tl_dtype dtype) {
    (void)b;
    return dtype == TL_F32 || dtype == TL_F16 || dtype == TL_BF16;
}

static const tl_backend_table table = {
    .version = TL_BACKEND_VERSION,
    .name = "cuda",
    .probe = probe,
    .open = open_device,
    .close = close_device,
    .facts = facts_of,
    .allocate = tl_cuda_allocate,
    .release = tl_cuda_release,
    .upload = upload,
    .download = download,
    .adopt = adopt,
    .multiplies = multiplies,
    .reserve = tl_cuda_reserve,
    .round_rows = tl_cuda_round_rows,
    .begin = tl_cuda_begin,
    .end = tl_cuda_end,
    .stage = tl_cuda_stage,
    .timer_start = timer_start,
    .timer_stop = timer_stop,
    .linear = tl_cuda_linear_run,
    .embed = tl_cuda_embed_run,
    .norm = tl_cuda_norm_run,
    .add_rows = tl_cuda_add_run,
    .scale_rows = tl_cuda_scale_run,
    .rotate = tl_cuda_rotate_run,
    .scatter_rows = tl_cuda_scatter_run,
    .keep_rows = tl_cuda_keep_run,
    .attention = tl_cuda_attention_run,
    .read = tl_cuda_read_run,
};

/* The one thing this library exports. */
__attribute__((visibility("default"))) const tl_backend_table *tinyllm_backend_table(void);

const tl_backend_table *tinyllm_backend_table(void) {
    return &table;
}
