#include "base/arena.h"

#include "base/checked.h"

#include <stdlib.h>
#include <string.h>

enum { ALIGNMENT = 64, FIRST_BLOCK = 1 << 14, LARGEST_GROWTH = 1 << 22 };

typedef struct block {
    struct block *next;
    size_t size; /* usable bytes after the header */
    size_t used;
} block;

struct tl_arena {
    block *current;
    block *spare; /* blocks kept by a reset */
    size_t bytes;
    size_t next_size;
};

/* The header takes one alignment unit, so that the bytes after it are aligned. */
_Static_assert(sizeof(block) <= ALIGNMENT, "arena block header must fit one alignment unit");

static char *block_bytes(block *b) {
    return (char *)b + ALIGNMENT;
}

tl_arena *tl_arena_new(void) {
    tl_arena *arena = calloc(1, sizeof *arena);
    if (arena) arena->next_size = FIRST_BLOCK;
    return arena;
}

static void free_blocks(block *b) {
    while (b) {
        block *next = b->next;
        free(b);
        b = next;
    }
}

void tl_arena_free(tl_arena *arena) {
    if (!arena) return;
    free_blocks(arena->current);
    free_blocks(arena->spare);
    free(arena);
}

static block *take_spare(tl_arena *arena, size_t size) {
    for (block **link = &arena->spare; *link; link = &(*link)->next) {
        if ((*link)->size < size) continue;
        block *found = *link;
        *link = found->next;
        return found;
    }
    return NULL;
}

static block *new_block(tl_arena *arena, size_t size) {
    size_t capacity = size > arena->next_size ? size : arena->next_size;
    size_t total;
    if (!tl_add_size(capacity, ALIGNMENT, &total)) return NULL;
    if (total > SIZE_MAX - ALIGNMENT) return NULL;
    total = (total + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    block *b = aligned_alloc(ALIGNMENT, total);
    if (!b) return NULL;
    b->size = total - ALIGNMENT;
    arena->bytes += total;
    if (arena->next_size < LARGEST_GROWTH) arena->next_size *= 2;
    return b;
}

void *tl_arena_alloc(tl_arena *arena, size_t count, size_t size, const char *what,
                     tl_error *error) {
    size_t bytes;
    if (!tl_mul_size(count, size, &bytes) || bytes > SIZE_MAX - 2 * ALIGNMENT) {
        tl_fail_memory(error, SIZE_MAX, what);
        return NULL;
    }
    size_t rounded = (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    block *b = arena->current;
    if (!b || b->size - b->used < rounded) {
        b = take_spare(arena, rounded);
        if (!b) b = new_block(arena, rounded);
        if (!b) {
            tl_fail_memory(error, bytes, what);
            return NULL;
        }
        b->used = 0;
        b->next = arena->current;
        arena->current = b;
    }
    void *memory = block_bytes(b) + b->used;
    b->used += rounded;
    memset(memory, 0, bytes);
    return memory;
}

char *tl_arena_strndup(tl_arena *arena, const char *text, size_t length, tl_error *error) {
    size_t size;
    if (!tl_add_size(length, 1, &size)) {
        tl_fail_memory(error, SIZE_MAX, "a string");
        return NULL;
    }
    char *copy = tl_arena_alloc(arena, size, 1, "a string", error);
    if (copy && length) memcpy(copy, text, length);
    return copy;
}

char *tl_arena_strdup(tl_arena *arena, const char *text, tl_error *error) {
    return tl_arena_strndup(arena, text, strlen(text), error);
}

void tl_arena_reset(tl_arena *arena) {
    while (arena->current) {
        block *b = arena->current;
        arena->current = b->next;
        b->next = arena->spare;
        arena->spare = b;
    }
}

size_t tl_arena_bytes(const tl_arena *arena) {
    return arena->bytes;
}
