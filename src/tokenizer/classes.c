#include "tokenizer/classes.h"

#include "tokenizer/ages.h"

#include <utf8proc.h>

static utf8proc_category_t category_of(uint32_t point) {
    return utf8proc_category((utf8proc_int32_t)tl_stand_in(point));
}

bool tl_is_whitespace(uint32_t point) {
    if (point < 0x80) return point == ' ' || (point >= '\t' && point <= '\r');
    if (point == 0x85) return true;
    utf8proc_category_t category = category_of(point);
    return category >= UTF8PROC_CATEGORY_ZS && category <= UTF8PROC_CATEGORY_ZP;
}

bool tl_is_numeric(uint32_t point) {
    if (point < 0x80) return point >= '0' && point <= '9';
    utf8proc_category_t category = category_of(point);
    return category >= UTF8PROC_CATEGORY_ND && category <= UTF8PROC_CATEGORY_NO;
}

bool tl_is_punctuation(uint32_t point) {
    if (point < 0x80)
        return point > ' ' && point < 0x7f && !(point >= '0' && point <= '9') &&
               !(point >= 'A' && point <= 'Z') && !(point >= 'a' && point <= 'z');
    utf8proc_category_t category = utf8proc_category((utf8proc_int32_t)point);
    return category >= UTF8PROC_CATEGORY_PC && category <= UTF8PROC_CATEGORY_PO &&
           !tl_is_later(point, 8);
}

bool tl_is_mark(uint32_t point) {
    utf8proc_category_t category = utf8proc_category((utf8proc_int32_t)point);
    return category >= UTF8PROC_CATEGORY_MN && category <= UTF8PROC_CATEGORY_ME &&
           !tl_is_later(point, 9);
}

bool tl_is_mark_nonspacing(uint32_t point) {
    return utf8proc_category((utf8proc_int32_t)point) == UTF8PROC_CATEGORY_MN &&
           !tl_is_later(point, 8);
}

/* Letters by property though symbols by category: circled and squared Latin letters. */
static bool is_lettered_symbol(uint32_t point) {
    return (point >= 0x24b6 && point <= 0x24e9) || (point >= 0x1f130 && point <= 0x1f149) ||
           (point >= 0x1f150 && point <= 0x1f169) || (point >= 0x1f170 && point <= 0x1f189);
}

bool tl_is_word(uint32_t point) {
    if (point < 0x80)
        return (point >= '0' && point <= '9') || (point >= 'A' && point <= 'Z') ||
               (point >= 'a' && point <= 'z') || point == '_';
    utf8proc_category_t category = category_of(point);
    return (category >= UTF8PROC_CATEGORY_LU && category <= UTF8PROC_CATEGORY_NL) ||
           category == UTF8PROC_CATEGORY_PC || point == 0x200c || point == 0x200d ||
           is_lettered_symbol(point);
}

bool tl_is_control_or_format(uint32_t point) {
    utf8proc_category_t category = utf8proc_category((utf8proc_int32_t)point);
    return category >= UTF8PROC_CATEGORY_CC && category <= UTF8PROC_CATEGORY_CO &&
           !tl_is_later(point, 8);
}
