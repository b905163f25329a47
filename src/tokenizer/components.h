/* What the components of tokenizer.json (normalizer, pre_tokenizer, post_processor, decoder) share:
 * sequences of them, patterns and the byte alphabet. */
#ifndef TL_TOKENIZER_COMPONENTS_H
#define TL_TOKENIZER_COMPONENTS_H

#include "tokenizer/regex.h"

/* Takes one component in; `where` names it in errors ("tokenizer.json: decoder.decoders[1]"). */
typedef bool tl_component_reader(void *context, const char *type, const cJSON *json,
                                 const char *where, tl_error *error);

/* Calls `read` for `json`, or for each member of the sequence that it is, in order; `members` is
 * the field that holds them ("decoders"). Nothing for NULL. False with the error set where nested
 * too deeply, or where `read` says so. */
bool tl_component_read(const cJSON *json, const char *members, tl_component_reader *read,
                       void *context, const char *where, tl_error *error);

/* The error for a type that no reader knows; returns false. */
bool tl_component_unknown(const char *type, const char *where, tl_error *error);

/* Reads the field "pattern", {"String": text} or {"Regex": expression}: one of the two is set. */
bool tl_pattern_read(const cJSON *json, char **literal, tl_regex **regex, const char *where,
                     tl_error *error);

/* Byte-level text: every byte is written as a printable character (GPT-2's bytes_to_unicode): the
 * printable bytes of Latin-1 as themselves, the others, in order, as U+0100 and up. */
void tl_byte_level_append(tl_buffer *out, const char *bytes, size_t length);

/* The byte that a character of byte-level text stands for; -1 for none. */
int tl_byte_level_byte(uint32_t point);

#endif
