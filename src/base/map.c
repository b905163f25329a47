#include "base/map.h"

#include <stdlib.h>
#include <string.h>

typedef struct slot {
    const void *key; /* NULL: free */
    size_t length;
    uint64_t hash;
    uint64_t value;
} slot;

struct tl_map {
    slot *slots;
    size_t capacity; /* a power of two */
    size_t count;
};

uint64_t tl_hash(const void *bytes, size_t length) {
    const unsigned char *at = bytes;
    uint64_t hash = 0x9e3779b97f4a7c15u ^ (uint64_t)length;
    while (length >= 8) {
        uint64_t word;
        memcpy(&word, at, 8);
        hash = (hash ^ word) * 0xff51afd7ed558ccdu;
        hash ^= hash >> 32;
        at += 8;
        length -= 8;
    }
    uint64_t tail = 0;
    if (length) memcpy(&tail, at, length);
    hash = (hash ^ tail) * 0xc4ceb9fe1a85ec53u;
    hash ^= hash >> 29;
    hash *= 0xff51afd7ed558ccdu;
    return hash ^ hash >> 32;
}

tl_map *tl_map_new(size_t expected) {
    size_t capacity = 16;
    while (capacity / 4 * 3 < expected && capacity <= SIZE_MAX / 2 / sizeof(slot))
        capacity *= 2;
    tl_map *map = malloc(sizeof *map);
    if (!map) return NULL;
    *map = (tl_map){calloc(capacity, sizeof(slot)), capacity, 0};
    if (!map->slots) {
        free(map);
        return NULL;
    }
    return map;
}

void tl_map_free(tl_map *map) {
    if (!map) return;
    free(map->slots);
    free(map);
}

/* The slot that holds the key, or the free one where it would go. */
static slot *find(const tl_map *map, const void *key, size_t length, uint64_t hash) {
    size_t mask = map->capacity - 1;
    for (size_t i = hash & mask;; i = (i + 1) & mask) {
        slot *s = &map->slots[i];
        if (!s->key) return s;
        if (s->hash == hash && s->length == length && memcmp(s->key, key, length) == 0) return s;
    }
}

static bool grow(tl_map *map) {
    if (map->capacity > SIZE_MAX / 2 / sizeof(slot)) return false;
    tl_map bigger = {calloc(map->capacity * 2, sizeof(slot)), map->capacity * 2, map->count};
    if (!bigger.slots) return false;
    for (size_t i = 0; i < map->capacity; i++) {
        const slot *s = &map->slots[i];
        if (s->key) *find(&bigger, s->key, s->length, s->hash) = *s;
    }
    free(map->slots);
    *map = bigger;
    return true;
}

bool tl_map_set(tl_map *map, const void *key, size_t length, uint64_t value) {
    if (!key) key = "";
    uint64_t hash = tl_hash(key, length);
    slot *s = find(map, key, length, hash);
    if (s->key) {
        s->value = value;
        return true;
    }
    if (map->count + 1 > map->capacity / 4 * 3) {
        if (!grow(map)) return false;
        s = find(map, key, length, hash);
    }
    *s = (slot){key, length, hash, value};
    map->count++;
    return true;
}

bool tl_map_get(const tl_map *map, const void *key, size_t length, uint64_t *value) {
    if (!key) key = "";
    const slot *s = find(map, key, length, tl_hash(key, length));
    if (!s->key) return false;
    if (value) *value = s->value;
    return true;
}

size_t tl_map_count(const tl_map *map) {
    return map->count;
}
