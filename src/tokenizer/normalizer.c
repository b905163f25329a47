#include "tokenizer/normalizer.h"

#include "tokenizer/ages.h"
#include "tokenizer/classes.h"
#include "tokenizer/components.h"
#include "tokenizer/utf8.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

enum { NORMALIZER_LIMIT = 64, GROWTH_LIMIT = 1 << 30 };

/* Takes what was written to `next` as the text. */
static bool take(tl_normal *normal, tl_error *error) {
    tl_buffer *written = normal->next;
    if (written->failed || written->length > GROWTH_LIMIT)
        return tl_fail_memory(error, written->length, "normalized text");
    normal->text = tl_buffer_string(written);
    normal->length = written->length;
    normal->next =
        written == &normal->work->normal[0] ? &normal->work->normal[1] : &normal->work->normal[0];
    return true;
}

/* Starts to write the next text. */
static tl_buffer *begin(tl_normal *normal) {
    tl_buffer_clear(normal->next);
    tl_buffer_reserve(normal->next, normal->length + 16);
    return normal->next;
}

/* Is the character its own NFC wherever it stands (NFC_Quick_Check=Yes, combining class 0), by
 * ranges that hold most text? */
static bool is_composed(uint32_t point) {
    return point < 0x300 || (point >= 0x400 && point <= 0x481) ||
           (point >= 0x2010 && point <= 0x2027) || (point >= 0x3041 && point <= 0x3096) ||
           (point >= 0x30a1 && point <= 0x30fa) || (point >= 0x3001 && point <= 0x301b) ||
           (point >= 0x4e00 && point <= 0x9fff) || (point >= 0xac00 && point <= 0xd7a3) ||
           (point >= 0xff01 && point <= 0xff9d);
}

static bool all_composed(const char *text, size_t length) {
    for (size_t i = 0; i < length; i += tl_utf8_size(text[i]))
        if ((unsigned char)text[i] >= 0xcc && !is_composed(tl_utf8_at(text + i))) return false;
    return true;
}

static unsigned combining_class(int32_t point) {
    return point < 0x300 || tl_is_inert((uint32_t)point)
               ? 0
               : (unsigned)utf8proc_get_property(point)->combining_class;
}

/* Sorts a run of combining characters by class, equal ones in their order. */
static bool sort_run(int32_t *points, size_t count, tl_error *error) {
    if (count <= 32) {
        for (size_t i = 1; i < count; i++) {
            int32_t point = points[i];
            unsigned class = combining_class(point);
            size_t at = i;
            for (; at > 0 && combining_class(points[at - 1]) > class; at--)
                points[at] = points[at - 1];
            points[at] = point;
        }
        return true;
    }
    size_t starts[257] = {0}; /* a counting sort: hostile text has runs of any length */
    for (size_t i = 0; i < count; i++)
        starts[combining_class(points[i]) + 1]++;
    for (int class = 0; class < 256; class ++)
        starts[class + 1] += starts[class];
    int32_t *sorted = malloc(count * sizeof *sorted);
    if (!sorted) return tl_fail_memory(error, count * sizeof *sorted, "normalizing");
    for (size_t i = 0; i < count; i++)
        sorted[starts[combining_class(points[i])]++] = points[i];
    memcpy(points, sorted, count * sizeof *sorted);
    free(sorted);
    return true;
}

/* Decomposes into work->points, in canonical order (UAX #15). */
static bool decompose(tl_normal *normal, int form, size_t *count, tl_error *error) {
    enum { EXPANSION = 18 }; /* the longest decomposition of one character */
    tl_token_work *work = normal->work;
    utf8proc_option_t options = UTF8PROC_DECOMPOSE | (form & UTF8PROC_COMPAT ? UTF8PROC_COMPAT : 0);
    size_t used = 0, run = 0;
    for (const char *at = normal->text, *end = at + normal->length; at < end;
         at += tl_utf8_size(*at)) {
        if (!tl_token_work_points(work, used + EXPANSION, error)) return false;
        int boundary;
        utf8proc_int32_t point = (utf8proc_int32_t)tl_utf8_at(at);
        utf8proc_ssize_t got = 1;
        if (tl_is_inert((uint32_t)point))
            work->points[used] = point;
        else
            got =
                utf8proc_decompose_char(point, work->points + used, EXPANSION, options, &boundary);
        if (got < 0 || got > EXPANSION)
            return tl_fail(error, TL_ERROR_FORMAT, "normalizing: %s", utf8proc_errmsg(got));
        for (utf8proc_ssize_t i = 0; i < got; i++, used++) {
            if (combining_class(work->points[used]) != 0) continue;
            if (used - run > 1 && !sort_run(work->points + run, used - run, error)) return false;
            run = used + 1;
        }
    }
    if (used - run > 1 && !sort_run(work->points + run, used - run, error)) return false;
    *count = used;
    return true;
}

/* Composes in place what lies between inert characters; returns how many characters are left. */
static size_t compose(int32_t *points, size_t count) {
    size_t used = 0, start = 0;
    for (size_t i = 0; i <= count; i++) {
        if (i < count && !tl_is_inert((uint32_t)points[i])) continue;
        if (i > start) {
            utf8proc_ssize_t left = utf8proc_normalize_utf32(
                points + start, (utf8proc_ssize_t)(i - start), UTF8PROC_COMPOSE | UTF8PROC_STABLE);
            memmove(points + used, points + start, (size_t)left * sizeof *points);
            used += (size_t)left;
        }
        if (i < count) points[used++] = points[i];
        start = i + 1;
    }
    return used;
}

static bool apply_form(const tl_normalizer *n, tl_normal *normal, tl_error *error) {
    bool composed = n->form & UTF8PROC_COMPOSE;
    if (composed && !(n->form & UTF8PROC_COMPAT) && all_composed(normal->text, normal->length))
        return true;
    size_t count = 0;
    if (!decompose(normal, n->form, &count, error)) return false;
    if (composed) count = compose(normal->work->points, count);
    tl_buffer *out = begin(normal);
    for (size_t i = 0; i < count; i++)
        tl_utf8_append(out, (uint32_t)normal->work->points[i]);
    return take(normal, error);
}

static bool apply_prepend(const tl_normalizer *n, tl_normal *normal, tl_error *error) {
    if (!normal->length) return true;
    tl_buffer *out = begin(normal);
    tl_buffer_append_string(out, n->text);
    tl_buffer_append(out, normal->text, normal->length);
    return take(normal, error);
}

static bool replace_literal(const tl_normalizer *n, tl_normal *normal, tl_error *error) {
    size_t length = strlen(n->text), at = 0;
    const char *found = length ? memmem(normal->text, normal->length, n->text, length) : NULL;
    if (!found) return true;
    tl_buffer *out = begin(normal);
    if (found == normal->text && !*n->content) normal->first = false;
    while (found) {
        size_t start = (size_t)(found - normal->text);
        tl_buffer_append(out, normal->text + at, start - at);
        tl_buffer_append_string(out, n->content);
        at = start + length;
        found = memmem(normal->text + at, normal->length - at, n->text, length);
    }
    tl_buffer_append(out, normal->text + at, normal->length - at);
    return take(normal, error);
}

static bool replace_regex(const tl_normalizer *n, tl_normal *normal, tl_error *error) {
    tl_matcher *matcher = tl_token_work_matcher(normal->work, error);
    tl_token_work *work = normal->work;
    const char *subject = tl_stand_in_text(normal->text, normal->length, &work->stand_ins, error);
    if (!matcher || !subject) return false;
    size_t at = 0, last = SIZE_MAX, copied = 0;
    tl_match match;
    tl_buffer *out = NULL;
    for (;;) {
        if (!tl_regex_next(n->regex, matcher, subject, normal->length, &at, &last, &match, error))
            return false;
        if (!match.found) break;
        if (!out) out = begin(normal);
        if (match.start == 0 && match.end > 0 && !*n->content) normal->first = false;
        tl_buffer_append(out, normal->text + copied, match.start - copied);
        tl_buffer_append_string(out, n->content);
        copied = match.end;
    }
    if (!out) return true;
    tl_buffer_append(out, normal->text + copied, normal->length - copied);
    return take(normal, error);
}

static bool apply_replace(const tl_normalizer *n, tl_normal *normal, tl_error *error) {
    if (!normal->length) return true;
    return n->regex ? replace_regex(n, normal, error) : replace_literal(n, normal, error);
}

static bool apply_precompiled(const tl_normalizer *n, tl_normal *normal, tl_error *error) {
    tl_charsmap_apply(n->map, normal->text, normal->length, begin(normal), &normal->first);
    return take(normal, error);
}

static bool apply_strip(const tl_normalizer *n, tl_normal *normal, tl_error *error) {
    (void)error;
    const char *start = normal->text, *end = start + normal->length;
    while (n->left && start < end && tl_is_whitespace(tl_utf8_at(start)))
        start += tl_utf8_size(*start);
    while (n->right && start < end && tl_is_whitespace(tl_utf8_at(tl_utf8_before(end))))
        end = tl_utf8_before(end);
    if (start > normal->text) normal->first = false;
    normal->text = start;
    normal->length = (size_t)(end - start);
    return true;
}

/* Passes every character through `change`, which appends what it becomes. */
static bool map_characters(tl_normal *normal, void (*change)(uint32_t point, tl_buffer *out),
                           tl_error *error) {
    tl_buffer *out = begin(normal);
    for (size_t i = 0; i < normal->length; i += tl_utf8_size(normal->text[i])) {
        change(tl_utf8_at(normal->text + i), out);
        if (i == 0 && out->length == 0) normal->first = false;
    }
    return take(normal, error);
}

static void lower(uint32_t point, tl_buffer *out) {
    if (point < 0x80)
        tl_buffer_append_byte(out, point >= 'A' && point <= 'Z' ? (char)(point + 32) : (char)point);
    else if (point == 0x130) /* the one character whose lower case is two */
        tl_buffer_append_string(out, "i\xcc\x87");
    else
        tl_utf8_append(out, (uint32_t)utf8proc_tolower((utf8proc_int32_t)point));
}

static bool apply_lowercase(const tl_normalizer *n, tl_normal *normal, tl_error *error) {
    (void)n;
    return map_characters(normal, lower, error);
}

static void drop_mark(uint32_t point, tl_buffer *out) {
    if (point < 0x80 || !tl_is_mark(point)) tl_utf8_append(out, point);
}

static bool apply_strip_accents(const tl_normalizer *n, tl_normal *normal, tl_error *error) {
    (void)n;
    return map_characters(normal, drop_mark, error);
}

/* SentencePiece's nmt rules, as the reference states them. */
static void nmt(uint32_t point, tl_buffer *out) {
    if ((point >= 0x01 && point <= 0x08) || point == 0x0b || (point >= 0x0e && point <= 0x1f) ||
        point == 0x7f || point == 0x8f || point == 0x9f)
        return;
    bool space = point == 0x09 || point == 0x0a || point == 0x0c || point == 0x0d ||
                 point == 0x1680 || (point >= 0x200b && point <= 0x200f) || point == 0x2028 ||
                 point == 0x2029 || point == 0x2581 || point == 0xfeff || point == 0xfffd;
    tl_utf8_append(out, space ? ' ' : point);
}

static bool apply_nmt(const tl_normalizer *n, tl_normal *normal, tl_error *error) {
    (void)n;
    return map_characters(normal, nmt, error);
}

static void clean(uint32_t point, tl_buffer *out) {
    if (point == '\t' || point == '\n' || point == '\r')
        tl_buffer_append_byte(out, ' ');
    else if (point != 0 && point != 0xfffd && !tl_is_control_or_format(point))
        tl_utf8_append(out, tl_is_whitespace(point) ? ' ' : point);
}

static bool is_chinese(uint32_t point) {
    return (point >= 0x4e00 && point <= 0x9fff) || (point >= 0x3400 && point <= 0x4dbf) ||
           (point >= 0x20000 && point <= 0x2a6df) || (point >= 0x2a700 && point <= 0x2b73f) ||
           (point >= 0x2b740 && point <= 0x2b81f) || (point >= 0x2b920 && point <= 0x2ceaf) ||
           (point >= 0xf900 && point <= 0xfaff) || (point >= 0x2f800 && point <= 0x2fa1f);
}

static void space_chinese(uint32_t point, tl_buffer *out) {
    if (is_chinese(point)) tl_buffer_append_byte(out, ' ');
    tl_utf8_append(out, point);
    if (is_chinese(point)) tl_buffer_append_byte(out, ' ');
}

static void drop_nonspacing(uint32_t point, tl_buffer *out) {
    if (point < 0x80 || !tl_is_mark_nonspacing(point)) tl_utf8_append(out, point);
}

static bool apply_bert(const tl_normalizer *n, tl_normal *normal, tl_error *error) {
    const tl_normalizer decomposed = {.form = UTF8PROC_DECOMPOSE};
    return (!n->clean || map_characters(normal, clean, error)) &&
           (!n->chinese || map_characters(normal, space_chinese, error)) &&
           (!n->accents || (apply_form(&decomposed, normal, error) &&
                            map_characters(normal, drop_nonspacing, error))) &&
           (!n->lowercase || map_characters(normal, lower, error));
}

static bool apply_byte_level(const tl_normalizer *n, tl_normal *normal, tl_error *error) {
    (void)n;
    tl_buffer *out = begin(normal);
    tl_byte_level_append(out, normal->text, normal->length);
    return take(normal, error);
}

static bool copy_text(const cJSON *json, const char *field, char **copy, const char *where,
                      tl_error *error) {
    const char *text;
    if (!tl_json_string_or(json, field, NULL, &text, where, error)) return false;
    if (!text)
        return tl_fail(error, TL_ERROR_FORMAT, "%s: field '%s' is missing: expected a string",
                       where, field);
    if (strlen(text) > 256)
        return tl_fail(error, TL_ERROR_LIMIT, "%s: field '%s' is longer than 256 bytes", where,
                       field);
    *copy = strdup(text);
    return *copy || tl_fail_memory(error, strlen(text), field);
}

static bool read_prepend(tl_normalizer *n, const cJSON *json, const char *where, tl_error *error) {
    return copy_text(json, "prepend", &n->text, where, error);
}

static bool read_replace(tl_normalizer *n, const cJSON *json, const char *where, tl_error *error) {
    return tl_pattern_read(json, &n->text, &n->regex, where, error) &&
           copy_text(json, "content", &n->content, where, error);
}

static bool read_precompiled(tl_normalizer *n, const cJSON *json, const char *where,
                             tl_error *error) {
    const char *text;
    if (!tl_json_string_or(json, "precompiled_charsmap", NULL, &text, where, error)) return false;
    if (!text) { /* a SentencePiece model without rules: nothing to do */
        n->apply = NULL;
        return true;
    }
    n->map = tl_charsmap_from_base64(text, where, error);
    return n->map;
}

static bool read_strip(tl_normalizer *n, const cJSON *json, const char *where, tl_error *error) {
    return tl_json_bool_or(json, "strip_left", true, &n->left, where, error) &&
           tl_json_bool_or(json, "strip_right", true, &n->right, where, error);
}

static bool read_bert(tl_normalizer *n, const cJSON *json, const char *where, tl_error *error) {
    return tl_json_bool_or(json, "clean_text", true, &n->clean, where, error) &&
           tl_json_bool_or(json, "handle_chinese_chars", true, &n->chinese, where, error) &&
           tl_json_bool_or(json, "lowercase", true, &n->lowercase, where, error) &&
           tl_json_bool_or(json, "strip_accents", n->lowercase, &n->accents, where, error);
}

/* The normalizers this build knows. */
static const struct {
    const char *type;
    bool (*apply)(const tl_normalizer *normalizer, tl_normal *normal, tl_error *error);
    bool (*read)(tl_normalizer *normalizer, const cJSON *json, const char *where, tl_error *error);
    int form;
} kinds[] = {
    {"NFC", apply_form, NULL, UTF8PROC_COMPOSE},
    {"NFD", apply_form, NULL, UTF8PROC_DECOMPOSE},
    {"NFKC", apply_form, NULL, UTF8PROC_COMPOSE | UTF8PROC_COMPAT},
    {"NFKD", apply_form, NULL, UTF8PROC_DECOMPOSE | UTF8PROC_COMPAT},
    {"Prepend", apply_prepend, read_prepend},
    {"Replace", apply_replace, read_replace},
    {"Precompiled", apply_precompiled, read_precompiled},
    {"Strip", apply_strip, read_strip},
    {"StripAccents", apply_strip_accents},
    {"Lowercase", apply_lowercase},
    {"Nmt", apply_nmt},
    {"BertNormalizer", apply_bert, read_bert},
    {"ByteLevel", apply_byte_level},
};

static bool append(tl_normalizers *list, tl_normalizer item, const char *where, tl_error *error) {
    if (list->count == NORMALIZER_LIMIT)
        return tl_fail(error, TL_ERROR_LIMIT, "%s: more than %d normalizers", where,
                       NORMALIZER_LIMIT);
    tl_normalizer *items = realloc(list->items, ((size_t)list->count + 1) * sizeof *items);
    if (!items) return tl_fail_memory(error, sizeof *items, "normalizers");
    list->items = items;
    items[list->count++] = item;
    return true;
}

static bool read_kind(void *context, const char *type, const cJSON *json, const char *where,
                      tl_error *error) {
    tl_normalizers *list = context;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        if (strcmp(kinds[i].type, type) != 0) continue;
        tl_normalizer item = {.apply = kinds[i].apply, .form = kinds[i].form};
        if (!append(list, item, where, error)) return false;
        return !kinds[i].read || kinds[i].read(&list->items[list->count - 1], json, where, error);
    }
    return tl_component_unknown(type, where, error);
}

bool tl_normalizers_read(tl_normalizers *list, const cJSON *json, const char *where,
                         tl_error *error) {
    return tl_component_read(json, "normalizers", read_kind, list, where, error);
}

bool tl_normalizers_add_charsmap(tl_normalizers *list, const void *bytes, size_t length,
                                 const char *where, tl_error *error) {
    tl_charsmap *map = tl_charsmap_new(bytes, length, where, error);
    if (map && append(list, (tl_normalizer){.apply = apply_precompiled, .map = map}, where, error))
        return true;
    tl_charsmap_free(map);
    return false;
}

void tl_normalizers_free(tl_normalizers *list) {
    for (int i = 0; i < list->count; i++) {
        free(list->items[i].text);
        free(list->items[i].content);
        tl_regex_free(list->items[i].regex);
        tl_charsmap_free(list->items[i].map);
    }
    free(list->items);
    *list = (tl_normalizers){0};
}

bool tl_normalizers_apply(const tl_normalizers *list, tl_token_work *work, const char **text,
                          size_t *length, bool *first, tl_error *error) {
    tl_normal normal = {*text, *length, *first, &work->normal[0], work};
    for (int i = 0; i < list->count; i++) {
        const tl_normalizer *n = &list->items[i];
        if (n->apply && !n->apply(n, &normal, error)) return false;
    }
    *text = normal.text;
    *length = normal.length;
    *first = normal.first;
    return true;
}
