/* Files: mapped read-only, read whole with a limit, written so that a crash leaves the old or the
 * new. */
#ifndef TL_BASE_FILE_H
#define TL_BASE_FILE_H

#include "base/error.h"

/* A read-only mapping of a whole file. */
typedef struct tl_mapping {
    const unsigned char *data; /* NULL when the file is empty */
    size_t size;
} tl_mapping;

bool tl_file_map(const char *path, tl_mapping *mapping, tl_error *error);
void tl_file_unmap(tl_mapping *mapping);

/* The whole file, NUL-terminated, to be freed with free(). Fails when it is longer than `limit`.
 * `length` may be NULL. Works on pipes and /proc files too; "-" is not special. */
char *tl_file_read(const char *path, size_t limit, size_t *length, tl_error *error);

/* Writes beside `path` and renames, with the data synced first. */
bool tl_file_write(const char *path, const void *data, size_t length, tl_error *error);

/* Writes all of it to a descriptor; false with errno set. */
bool tl_file_put(int fd, const void *data, size_t length);

bool tl_file_exists(const char *path);
bool tl_dir_exists(const char *path);

/* Creates a directory and its parents. */
bool tl_dir_create(const char *path, tl_error *error);

/* Opens a directory and holds it (flock) until the descriptor is closed; -1 where it cannot be
 * opened or another process holds it. File systems without such locks are taken as free. */
int tl_dir_lock(const char *path, tl_error *error);

/* Joins with one '/'. The result is to be freed with free(); NULL when memory is out. */
char *tl_path_join(const char *directory, const char *name);

/* The part after the last "/"; "" where the path ends in one. */
const char *tl_path_base(const char *path);

/* Does the path end in `end` (".json")? */
bool tl_path_ends(const char *path, const char *end);

#endif
