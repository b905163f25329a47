/* Errors are values: a function that can fail takes a `tl_error *` last and returns false or NULL.
 */
#ifndef TL_BASE_ERROR_H
#define TL_BASE_ERROR_H

#include "tinyllm.h"

#include <stdarg.h>

#if defined(__GNUC__)
#define TL_PRINTF(format_index, first_argument)                                                    \
    __attribute__((format(printf, format_index, first_argument)))
#else
#define TL_PRINTF(format_index, first_argument)
#endif

/* Fills `error` (may be NULL) and returns false, so that `return tl_fail(error, …)` reads well.
 * The message names the file, the field and what was expected; control characters from hostile
 * input are replaced by '?', so that a message is always one safe line. */
bool tl_fail(tl_error *error, tl_code code, const char *format, ...) TL_PRINTF(3, 4);

/* As tl_fail, with ": " and the text of the current errno appended. Code TL_ERROR_IO
 * (TL_ERROR_MEMORY for ENOMEM). */
bool tl_fail_errno(tl_error *error, const char *format, ...) TL_PRINTF(2, 3);

/* As tl_fail(TL_ERROR_MEMORY): "out of memory: SIZE bytes for WHAT". */
bool tl_fail_memory(tl_error *error, size_t bytes, const char *what);

/* Puts "context: " before the message already in `error`; returns false. */
bool tl_fail_within(tl_error *error, const char *format, ...) TL_PRINTF(2, 3);

/* A short lower-case word for a code, e.g. "format". */
const char *tl_code_name(tl_code code);

#endif
