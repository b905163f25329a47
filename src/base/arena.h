/* Arenas: memory freed all at once, by lifetime (model, session, request). */
#ifndef TL_BASE_ARENA_H
#define TL_BASE_ARENA_H

#include "base/error.h"

typedef struct tl_arena tl_arena;

/* An empty arena; NULL when memory is out. Every allocation is aligned to 64 bytes. */
tl_arena *tl_arena_new(void);
void tl_arena_free(tl_arena *arena);

/* Zeroed memory that lives until the arena is reset or freed; NULL (and `error`) when memory is out
 * or count × size overflows. `what` names it in the message. */
void *tl_arena_alloc(tl_arena *arena, size_t count, size_t size, const char *what, tl_error *error);

/* A NUL-terminated copy of `length` bytes. */
char *tl_arena_strndup(tl_arena *arena, const char *text, size_t length, tl_error *error);
char *tl_arena_strdup(tl_arena *arena, const char *text, tl_error *error);

/* Forgets every allocation, keeps the memory for reuse. */
void tl_arena_reset(tl_arena *arena);

/* Bytes held from the system. */
size_t tl_arena_bytes(const tl_arena *arena);

#endif
