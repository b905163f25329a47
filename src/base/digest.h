/* SHA-256 and git's blob SHA-1, through libcrypto, incrementally. */
#ifndef TL_BASE_DIGEST_H
#define TL_BASE_DIGEST_H

#include "base/error.h"

#include <signal.h>
#include <stdint.h>

enum { TL_HEX_SIZE = 65 }; /* room for any digest here as lower-case hex with its NUL */

typedef struct tl_digest tl_digest;

/* `algorithm`: "sha256" or "sha1". NULL when memory is out or the algorithm is unknown. */
tl_digest *tl_digest_new(const char *algorithm);
/* SHA-1 of a content of `size` bytes as a git blob: git's name of a file's content, and so the
 * Hub's of a small file. NULL when memory is out. */
tl_digest *tl_digest_new_blob(uint64_t size);
void tl_digest_free(tl_digest *digest);
void tl_digest_update(tl_digest *digest, const void *bytes, size_t length);
/* Writes the hex digest; the handle may only be freed afterwards. */
bool tl_digest_finish(tl_digest *digest, char hex[TL_HEX_SIZE]);

/* SHA-256 of bytes in one call. */
bool tl_sha256(const void *bytes, size_t length, char hex[TL_HEX_SIZE]);

/* SHA-256 of a file, read piece by piece, so that the process stays small. `stop` (may be NULL),
 * once above 0, ends it with TL_ERROR_INTERRUPTED. */
bool tl_sha256_file(const char *path, const volatile sig_atomic_t *stop, char hex[TL_HEX_SIZE],
                    tl_error *error);

#endif
