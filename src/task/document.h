/* document: a row as Python's json writes it back, for logs and hashes that equal the harness's. */
#ifndef TL_TASK_DOCUMENT_H
#define TL_TASK_DOCUMENT_H

#include "base/base.h"

/* Appends valid JSON `text` as json.dumps(json.loads(text), ensure_ascii=False) writes it; with
 * `indent` > 0 as json.dumps(…, indent=indent). Numbers keep their kind: 1 stays an integer, 1.0 a
 * float. Does not recurse. */
void tl_document_append(tl_buffer *out, const char *text, size_t length, int indent);

/* Appends a string with Python's escapes (ensure_ascii=False), quotes included. */
void tl_document_append_string(tl_buffer *out, const char *text, size_t length);

/* "name": as json.dumps separates fields, after what stands in the object so far. */
void tl_document_put_name(tl_buffer *out, const char *name);
/* A field, its value a text, or JSON as it stands. */
void tl_document_put_text(tl_buffer *out, const char *name, const char *text);
void tl_document_put_raw(tl_buffer *out, const char *name, const char *json);

#endif
