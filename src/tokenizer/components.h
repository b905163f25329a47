/* What several components share: patterns and the byte alphabet. */
#ifndef TL_TOKENIZER_COMPONENTS_H
#define TL_TOKENIZER_COMPONENTS_H

#include "tokenizer/regex.h"

/* Reads the field "pattern", {"String": text} or {"Regex": expression}: one of the two is set. */
bool tl_pattern_read(const cJSON *json, char **literal, tl_regex **regex, const char *where,
                     tl_error *error);

/* Byte-level text: every byte is written as a printable character (GPT-2's bytes_to_unicode): the
 * printable bytes of Latin-1 as themselves, the others, in order, as U+0100 and up. */
void tl_byte_level_append(tl_buffer *out, const char *bytes, size_t length);

/* The byte that a character of byte-level text stands for; -1 for none. */
int tl_byte_level_byte(uint32_t point);

#endif
