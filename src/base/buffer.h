/* A growable run of bytes, always followed by a NUL. Failure to grow is sticky: append freely,
 * check `failed` once at the end. */
#ifndef TL_BASE_BUFFER_H
#define TL_BASE_BUFFER_H

#include "base/error.h"

typedef struct tl_buffer {
    char *data; /* NULL until the first append; NUL-terminated afterwards */
    size_t length;
    size_t capacity;
    bool failed; /* memory ran out: content is incomplete */
} tl_buffer;

/* Start with `tl_buffer b = {0};`, end with tl_buffer_free. */
void tl_buffer_free(tl_buffer *buffer);
void tl_buffer_clear(tl_buffer *buffer); /* length 0, memory kept */

bool tl_buffer_reserve(tl_buffer *buffer, size_t extra);
void tl_buffer_append(tl_buffer *buffer, const void *bytes, size_t length);
void tl_buffer_append_string(tl_buffer *buffer, const char *text);
void tl_buffer_append_byte(tl_buffer *buffer, char byte);
void tl_buffer_append_format(tl_buffer *buffer, const char *format, ...) TL_PRINTF(2, 3);

/* The content as a string ("" when empty). */
const char *tl_buffer_string(const tl_buffer *buffer);

/* The bytes of the byte order mark that `text` begins with: 3, or 0 where there is none. */
size_t tl_byte_order_mark(const char *text, size_t length);

/* Gives the content away, to be freed with free(); the buffer is empty afterwards. NULL when
 * failed. */
char *tl_buffer_take(tl_buffer *buffer);

#endif
