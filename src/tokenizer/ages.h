/* Characters whose properties depend on the version of Unicode.
 *
 * Hugging Face tokenizers match patterns by Unicode 16, while the installed libraries may be older
 * (PCRE2 of Debian 12: Unicode 14), normalize (NFC and its like) as Unicode 9 did, and know other
 * classes as of Unicode 8 or 9. The tables are from Unicode's DerivedAge, UnicodeData and Scripts
 * files. */
#ifndef TL_TOKENIZER_AGES_H
#define TL_TOKENIZER_AGES_H

#include "base/base.h"

/* For a character assigned in Unicode 15 to 16 an older one of the same category that is as long in
 * UTF-8; any other character itself. */
uint32_t tl_stand_in(uint32_t point);

/* Valid UTF-8 with stand-ins, for matching: every byte stays where it is. `text` itself where there
 * is nothing to replace, else `copy`'s content; NULL when out of memory. */
const char *tl_stand_in_text(const char *text, size_t length, tl_buffer *copy, tl_error *error);

/* Is it of Unicode 10 or later and would be decomposed, composed or reordered? The reference leaves
 * such characters as they are, and nothing moves across them. */
bool tl_is_inert(uint32_t point);

/* Is it punctuation, a mark or a format character that `version` (8 or 9) of Unicode did not have?
 * The reference knows such classes as of these versions. */
bool tl_is_later(uint32_t point, unsigned version);

#endif
