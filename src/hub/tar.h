/* Tar archives, as little of them as a bundle needs: regular files in ustar form, read as hostile
 * input. Format: POSIX.1-2017, pax. */
#ifndef TL_HUB_TAR_H
#define TL_HUB_TAR_H

#include "base/base.h"

enum { TL_TAR_BLOCK = 512, TL_TAR_NAME = 512 };

/* Gives the next bytes of the archive: up to `length`, 0 at its end. False after a failure. */
typedef bool tl_tar_source(void *context, void *bytes, size_t length, size_t *got, tl_error *error);

typedef struct tl_tar {
    tl_tar_source *source;
    void *context;
    const char *where; /* names the archive in messages */
    uint64_t left;     /* content of the entry at hand not yet read */
    unsigned padding;  /* bytes after it, up to the next block */
} tl_tar;

typedef struct tl_tar_entry {
    char name[TL_TAR_NAME]; /* relative and safe (tl_is_safe_path); a leading "./" is taken off */
    uint64_t size;
} tl_tar_entry;

/* Moves to the next regular file, past what is left of the one at hand; directories are passed
 * over. *end tells that there is none. Links, devices and names that lead elsewhere are errors that
 * name them. */
bool tl_tar_next(tl_tar *tar, tl_tar_entry *entry, bool *end, tl_error *error);

/* Bytes of the entry's content: up to `length`, 0 at its end. */
bool tl_tar_read(tl_tar *tar, void *bytes, size_t length, size_t *got, tl_error *error);

/* Writes the header of a regular file: name of at most 100 bytes, mode 644, no date. */
void tl_tar_header(unsigned char block[TL_TAR_BLOCK], const char *name, uint64_t size);

/* Bytes that follow a content of `size` bytes, up to the next block. */
unsigned tl_tar_padding(uint64_t size);

#endif
