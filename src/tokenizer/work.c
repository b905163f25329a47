#include "tokenizer/work.h"

#include <stdlib.h>

void tl_stretches_add(tl_stretches *stretches, size_t start, size_t end, int32_t id) {
    if (stretches->count == stretches->capacity) {
        size_t capacity = stretches->capacity ? stretches->capacity * 2 : 64;
        tl_stretch *items = realloc(stretches->items, capacity * sizeof *items);
        if (!items) {
            stretches->failed = true;
            return;
        }
        stretches->items = items;
        stretches->capacity = capacity;
    }
    stretches->items[stretches->count++] = (tl_stretch){start, end, id};
}

void tl_stretches_free(tl_stretches *stretches) {
    free(stretches->items);
    *stretches = (tl_stretches){0};
}

void tl_token_work_free(tl_token_work *work) {
    tl_buffer_free(&work->repaired);
    tl_buffer_free(&work->stand_ins);
    for (int i = 0; i < 2; i++) {
        tl_buffer_free(&work->normal[i]);
        tl_pieces_free(&work->pieces[i]);
    }
    tl_stretches_free(&work->raw);
    tl_stretches_free(&work->normalized);
    tl_stretches_free(&work->matches);
    tl_matcher_free(work->matcher);
    free(work->memory);
    free(work->points);
    *work = (tl_token_work){0};
}

tl_matcher *tl_token_work_matcher(tl_token_work *work, tl_error *error) {
    if (!work->matcher) work->matcher = tl_matcher_new(error);
    return work->matcher;
}

void *tl_token_work_memory(tl_token_work *work, size_t count, size_t size, tl_error *error) {
    size_t bytes;
    if (!tl_mul_size(count, size, &bytes)) bytes = SIZE_MAX;
    if (bytes <= work->memory_size) return work->memory;
    void *memory = bytes == SIZE_MAX ? NULL : malloc(bytes + bytes / 2);
    if (!memory) {
        tl_fail_memory(error, bytes, "a word");
        return NULL;
    }
    free(work->memory);
    work->memory = memory;
    work->memory_size = bytes + bytes / 2;
    return memory;
}

bool tl_token_work_points(tl_token_work *work, size_t count, tl_error *error) {
    if (count <= work->points_capacity) return true;
    size_t capacity = count + count / 2;
    int32_t *points = realloc(work->points, capacity * sizeof *points);
    if (!points) return tl_fail_memory(error, capacity * sizeof *points, "normalizing");
    work->points = points;
    work->points_capacity = capacity;
    return true;
}
