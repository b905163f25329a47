/* tinyllm: run and evaluate tiny language models, natively.
 *
 * The public interface of libtinyllm. Every fallible function returns false or NULL and, when
 * `error` is not NULL, fills it with a code and one line that names the file, the field and what
 * was expected. Nothing here prints, exits or keeps global state. Handles are opaque; each is freed
 * by its own _free.
 */
#ifndef TINYLLM_H
#define TINYLLM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum tl_code {
    TL_OK = 0,
    TL_ERROR_USAGE,       /* the caller's arguments are wrong */
    TL_ERROR_IO,          /* a file or device could not be read or written */
    TL_ERROR_FORMAT,      /* a file's content is malformed or contradicts itself */
    TL_ERROR_UNSUPPORTED, /* well-formed, but a kind this build does not implement */
    TL_ERROR_MEMORY,      /* memory could not be had */
    TL_ERROR_LIMIT,       /* a stated limit (context length, size) would be exceeded */
    TL_ERROR_NETWORK,     /* a server could not be reached or refused */
    TL_ERROR_INTERRUPTED, /* stopped by the user */
} tl_code;

typedef struct tl_error {
    tl_code code;
    char message[1024];
} tl_error;

#ifdef __cplusplus
}
#endif
#endif
