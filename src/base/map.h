/* A hash map from byte strings to 64-bit values. */
#ifndef TL_BASE_MAP_H
#define TL_BASE_MAP_H

#include "base/error.h"

typedef struct tl_map tl_map;

/* `expected` sizes the table ahead of time. Keys are not copied: they must outlive the map. */
tl_map *tl_map_new(size_t expected);
void tl_map_free(tl_map *map);

/* Sets key → value, replacing an earlier one; false when memory is out. */
bool tl_map_set(tl_map *map, const void *key, size_t length, uint64_t value);

/* Finds a key; `value` may be NULL. */
bool tl_map_get(const tl_map *map, const void *key, size_t length, uint64_t *value);

size_t tl_map_count(const tl_map *map);

/* A good 64-bit hash of bytes, the same on every run. */
uint64_t tl_hash(const void *bytes, size_t length);

#endif
