/* Classes of characters, by Unicode as the reference knows it (ages.h). */
#ifndef TL_TOKENIZER_CLASSES_H
#define TL_TOKENIZER_CLASSES_H

#include "base/base.h"

bool tl_is_whitespace(uint32_t point);        /* White_Space */
bool tl_is_numeric(uint32_t point);           /* N* */
bool tl_is_punctuation(uint32_t point);       /* P*, and every ASCII punctuation character */
bool tl_is_mark(uint32_t point);              /* M* */
bool tl_is_mark_nonspacing(uint32_t point);   /* Mn */
bool tl_is_word(uint32_t point);              /* Alphabetic, M*, Nd, Pc, the two joiners */
bool tl_is_control_or_format(uint32_t point); /* C*, but unassigned */

#endif
