/* text: Python's string functions, as the harness's task definitions use them. */
#ifndef TL_TASK_TEXT_H
#define TL_TASK_TEXT_H

#include "base/base.h"

/* str.strip(), on the sides asked: narrows [*text, *text + *length). Unicode white space. */
void tl_text_strip(const char **text, size_t *length, bool left, bool right);

/* str.lower() with full mappings and the final sigma. Bytes that are not UTF-8 are kept. */
void tl_text_lower(tl_buffer *out, const char *text, size_t length);

/* str.capitalize(): the first character in title case, all others in lower case. */
void tl_text_capitalize(tl_buffer *out, const char *text, size_t length);

/* len(str): Unicode code points; a byte that is not UTF-8 counts as one. */
size_t tl_text_characters(const char *text, size_t length);

/* repr(float): shortest digits that read back, always with a point or an exponent. */
void tl_text_append_python_float(tl_buffer *out, double value);

#endif
