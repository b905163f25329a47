/* Memory that lasts from pass to pass: regions, and the stores of keys and values in them. */
#include "engine/internal.h"

#include <sys/mman.h>

bool tl_region_reserve(tl_region *region, size_t bytes, const char *what, tl_error *error) {
    enum { PAGE = 4096, WORTH_HUGE_PAGES = 8 << 20 };
    if (bytes <= region->bytes) return true;
    if (bytes > SIZE_MAX / 2) return tl_fail_memory(error, bytes, what);
    bytes = (bytes + PAGE - 1) / PAGE * PAGE;
    tl_region_free(region);
    if (region->owner) {
        const tl_backend_table *table = tl_compute_table(region->owner);
        region->data = table->allocate(tl_compute_backend(region->owner), bytes, what, error);
        region->bytes = region->data ? bytes : 0;
        return region->data != NULL;
    }
    void *data = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (data == MAP_FAILED) return tl_fail_memory(error, bytes, what);
    if (bytes >= WORTH_HUGE_PAGES) madvise(data, bytes, MADV_HUGEPAGE);
    *region = (tl_region){.data = data, .bytes = bytes};
    return true;
}

void tl_region_free(tl_region *region) {
    if (region->data && region->owner)
        tl_compute_table(region->owner)->release(tl_compute_backend(region->owner), region->data);
    else if (region->data)
        munmap(region->data, region->bytes);
    *region = (tl_region){.owner = region->owner};
}

bool tl_kv_reserve(tl_kv *store, int32_t layers, int32_t slots, int64_t width, tl_error *error) {
    size_t elements;
    if (!tl_mul_size((size_t)layers, (size_t)slots, &elements) ||
        !tl_mul_size(elements, (size_t)width, &elements) ||
        !tl_mul_size(elements, 2 * sizeof(float), &elements))
        return tl_fail_memory(error, SIZE_MAX, "the keys and values");
    if (!tl_region_reserve(&store->region, elements, "the keys and values", error)) return false;
    store->k = store->region.data;
    store->v = store->k + (size_t)layers * (size_t)slots * (size_t)width;
    store->layers = layers;
    store->slots = slots;
    store->width = width;
    return true;
}
