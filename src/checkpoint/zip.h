/* zip: the members of an archive in memory. Private to this room.
 *
 * Reads what PyTorch writes and what other writers make of it: stored and deflated members, zip64.
 * Refuses what only hostile archives have: members that overlap, local headers that contradict the
 * central directory, encryption, names that occur twice, prefixes before the archive.
 * Format: PKWARE's APPNOTE.TXT 6.3.10. */
#ifndef TL_CHECKPOINT_ZIP_H
#define TL_CHECKPOINT_ZIP_H

#include "base/base.h"

typedef struct tl_zip_member {
    const char *name; /* not NUL-terminated */
    size_t name_length;
    const unsigned char *data; /* as it lies in the archive */
    size_t packed;             /* bytes there */
    size_t size;               /* bytes once inflated; == packed where stored */
    uint32_t crc;
    bool deflated;
    size_t header; /* offset of its local header */
    size_t end;    /* offset of the byte after its data */
} tl_zip_member;

typedef struct tl_zip tl_zip;

/* Reads the directory of an archive; `data` must outlive it. `path` is how messages name it. */
tl_zip *tl_zip_open(const unsigned char *data, size_t size, const char *path, tl_error *error);
void tl_zip_free(tl_zip *zip);

/* Members in the order of the directory; NULL past the last. */
const tl_zip_member *tl_zip_at(const tl_zip *zip, size_t index);

/* The member of that name, or NULL. */
const tl_zip_member *tl_zip_find(const tl_zip *zip, const char *name, size_t length);

/* Is the CRC-32 of a stored member's bytes the declared one? */
bool tl_zip_verify(const tl_zip *zip, const tl_zip_member *member, tl_error *error);

/* Inflates a deflated member into `out`, which has room for member->size bytes; fails when the data
 * is longer or shorter than declared, or its CRC differs. */
bool tl_zip_inflate(const tl_zip *zip, const tl_zip_member *member, void *out, tl_error *error);

#endif
