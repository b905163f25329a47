#include "tokenizer/pretokenizer.h"

#include "tokenizer/ages.h"
#include "tokenizer/classes.h"
#include "tokenizer/components.h"
#include "tokenizer/utf8.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PRETOKENIZER_LIMIT = 64 };

/* GPT-2's pattern, which ByteLevel uses unless told not to (Radford et al. 2019, encoder.py). */
static const char gpt2_pattern[] =
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";

static bool regex_matches(const tl_pretokenizer *p, tl_token_work *work, const char *text,
                          size_t length, tl_error *error) {
    tl_matcher *matcher = tl_token_work_matcher(work, error);
    const char *subject = tl_stand_in_text(text, length, &work->stand_ins, error);
    if (!matcher || !subject) return false;
    size_t at = 0, last = SIZE_MAX, from = 0;
    tl_match match;
    for (;;) {
        if (!tl_regex_next(p->regex, matcher, subject, length, &at, &last, &match, error))
            return false;
        if (!match.found) break;
        if (from < match.start) tl_stretches_add(&work->matches, from, match.start, 0);
        tl_stretches_add(&work->matches, match.start, match.end, 1);
        from = match.end;
    }
    if (from < length) tl_stretches_add(&work->matches, from, length, 0);
    return true;
}

static void literal_matches(const tl_pretokenizer *p, tl_token_work *work, const char *text,
                            size_t length) {
    size_t size = strlen(p->literal), from = 0;
    while (size && from < length) {
        const char *found = memmem(text + from, length - from, p->literal, size);
        if (!found) break;
        size_t start = (size_t)(found - text);
        if (from < start) tl_stretches_add(&work->matches, from, start, 0);
        tl_stretches_add(&work->matches, start, start + size, 1);
        from = start + size;
    }
    if (from < length) tl_stretches_add(&work->matches, from, length, 0);
}

static void character_matches(const tl_pretokenizer *p, tl_token_work *work, const char *text,
                              size_t length) {
    size_t from = 0;
    for (size_t at = 0, size; at < length; at += size) {
        size = tl_utf8_size(text[at]);
        uint32_t point = tl_utf8_at(text + at);
        if (p->is_match ? !p->is_match(point) : point != p->delimiter) continue;
        if (from < at) tl_stretches_add(&work->matches, from, at, 0);
        tl_stretches_add(&work->matches, at, at + size, 1);
        from = at + size;
    }
    if (from < length) tl_stretches_add(&work->matches, from, length, 0);
}

/* Does a stretch join the piece before it? */
static bool joins(tl_behavior behavior, bool match, bool before) {
    switch (behavior) {
    case TL_CONTIGUOUS:
        return match == before;
    case TL_MERGED_WITH_PREVIOUS:
        return match && !before;
    case TL_MERGED_WITH_NEXT:
        return !match && before;
    case TL_REMOVED:
    case TL_ISOLATED:
        break;
    }
    return false;
}

/* Joins matches and what lies between by the behavior, and appends the pieces. */
static void cut(const tl_pretokenizer *p, const tl_stretches *matches, tl_piece whole,
                tl_pieces *out) {
    bool before = false; /* was the stretch before this one a match? */
    size_t start = out->count;
    for (size_t i = 0; i < matches->count && !out->failed; i++) {
        tl_stretch stretch = matches->items[i];
        bool match = (stretch.id == 1) != p->invert;
        if (match && p->behavior == TL_REMOVED) continue;
        if (i > 0 && joins(p->behavior, match, before))
            out->items[out->count - 1].length += stretch.end - stretch.start;
        else
            tl_pieces_push(out, whole.start + stretch.start, stretch.end - stretch.start,
                           whole.first && stretch.start == 0);
        before = match;
    }
    size_t kept = start; /* a pattern may match nothing: such pieces count above, but go now */
    for (size_t i = start; i < out->count; i++)
        if (out->items[i].length) out->items[kept++] = out->items[i];
    out->count = kept;
}

static bool apply_split(const tl_pretokenizer *p, tl_token_work *work, tl_pieces *in,
                        tl_pieces *out, tl_error *error) {
    tl_pieces_view(out, in);
    for (size_t i = 0; i < in->count; i++) {
        tl_piece piece = in->items[i];
        const char *text = in->text + piece.start;
        work->matches.count = 0;
        if (p->regex) {
            if (!regex_matches(p, work, text, piece.length, error)) return false;
        } else if (p->literal) {
            literal_matches(p, work, text, piece.length);
        } else {
            character_matches(p, work, text, piece.length);
        }
        if (work->matches.failed)
            return tl_fail_memory(error, work->matches.capacity * sizeof(tl_stretch), "words");
        cut(p, &work->matches, piece, out);
    }
    return tl_pieces_finish(out, error);
}

static bool apply_byte_level(const tl_pretokenizer *p, tl_token_work *work, tl_pieces *in,
                             tl_pieces *out, tl_error *error) {
    tl_pieces_clear(out);
    tl_buffer spaced = {0};
    for (size_t i = 0; i < in->count; i++) {
        tl_piece piece = in->items[i];
        const char *text = in->text + piece.start;
        size_t length = piece.length;
        if (p->prefix_space && *text != ' ') {
            tl_buffer_clear(&spaced);
            tl_buffer_append_byte(&spaced, ' ');
            tl_buffer_append(&spaced, text, length);
            text = tl_buffer_string(&spaced);
            length = spaced.length;
        }
        work->matches.count = 0;
        if (!p->regex) {
            tl_stretches_add(&work->matches, 0, length, 0);
        } else if (!regex_matches(p, work, text, length, error)) {
            tl_buffer_free(&spaced);
            return false;
        }
        for (size_t m = 0; m < work->matches.count; m++) {
            tl_stretch stretch = work->matches.items[m];
            size_t start = out->own.length;
            tl_byte_level_append(&out->own, text + stretch.start, stretch.end - stretch.start);
            tl_pieces_push_own(out, start, piece.first && stretch.start == 0);
        }
    }
    bool good = !spaced.failed && !work->matches.failed;
    tl_buffer_free(&spaced);
    if (!good) return tl_fail_memory(error, in->own.length, "words");
    return tl_pieces_finish(out, error);
}

/* Appends a piece of `own` from `start` on, cut before every replacement if asked. */
static void push_metaspace(const tl_pretokenizer *p, tl_pieces *out, size_t start, bool first) {
    size_t size = strlen(p->replacement), from = start;
    for (size_t at = start + 1; p->split && at + size <= out->own.length; at++) {
        if (memcmp(out->own.data + at, p->replacement, size) != 0) continue;
        tl_pieces_add(out, from, at - from, first && from == start);
        from = at;
    }
    tl_pieces_add(out, from, out->own.length - from, first && from == start);
}

static bool apply_metaspace(const tl_pretokenizer *p, tl_token_work *work, tl_pieces *in,
                            tl_pieces *out, tl_error *error) {
    (void)work;
    size_t size = strlen(p->replacement);
    tl_pieces_clear(out);
    for (size_t i = 0; i < in->count; i++) {
        tl_piece piece = in->items[i];
        const char *text = in->text + piece.start, *end = text + piece.length;
        size_t start = out->own.length;
        bool there = *text == ' ' || (piece.length >= size && !memcmp(text, p->replacement, size));
        bool wanted =
            p->prepend == TL_PREPEND_ALWAYS || (p->prepend == TL_PREPEND_FIRST && piece.first);
        if (wanted && !there) tl_buffer_append(&out->own, p->replacement, size);
        while (text < end) {
            const char *space = memchr(text, ' ', (size_t)(end - text));
            tl_buffer_append(&out->own, text, (size_t)((space ? space : end) - text));
            if (!space) break;
            tl_buffer_append(&out->own, p->replacement, size);
            text = space + 1;
        }
        if (out->own.failed) break;
        push_metaspace(p, out, start, piece.first);
    }
    return tl_pieces_finish(out, error);
}

static bool apply_fixed_length(const tl_pretokenizer *p, tl_token_work *work, tl_pieces *in,
                               tl_pieces *out, tl_error *error) {
    (void)work;
    tl_pieces_view(out, in);
    for (size_t i = 0; i < in->count; i++) {
        tl_piece piece = in->items[i];
        size_t from = 0, at = 0;
        for (int64_t characters = 0; at < piece.length; characters++) {
            if (characters == p->length) {
                tl_pieces_add(out, piece.start + from, at - from, piece.first && from == 0);
                from = at;
                characters = 0;
            }
            at += tl_utf8_size(in->text[piece.start + at]);
        }
        tl_pieces_add(out, piece.start + from, at - from, piece.first && from == 0);
    }
    return tl_pieces_finish(out, error);
}

/* Runs of word characters, and runs of other visible ones: \w+|[^\w\s]+. */
static bool apply_whitespace(const tl_pretokenizer *p, tl_token_work *work, tl_pieces *in,
                             tl_pieces *out, tl_error *error) {
    enum { SPACE, WORD, OTHER };
    (void)p, (void)work;
    tl_pieces_view(out, in);
    for (size_t i = 0; i < in->count; i++) {
        tl_piece piece = in->items[i];
        const char *text = in->text + piece.start;
        size_t from = 0;
        int before = SPACE;
        for (size_t at = 0; at < piece.length; at += tl_utf8_size(text[at])) {
            uint32_t point = tl_utf8_at(text + at);
            int kind = tl_is_whitespace(point) ? SPACE : tl_is_word(point) ? WORD : OTHER;
            if (kind == before) continue;
            if (before != SPACE)
                tl_pieces_add(out, piece.start + from, at - from, piece.first && from == 0);
            from = at;
            before = kind;
        }
        if (before != SPACE)
            tl_pieces_add(out, piece.start + from, piece.length - from, piece.first && from == 0);
    }
    return tl_pieces_finish(out, error);
}

static bool read_behavior(tl_pretokenizer *p, const cJSON *json, const char *fallback,
                          const char *where, tl_error *error) {
    static const char *const names[] = {
        [TL_REMOVED] = "Removed",
        [TL_ISOLATED] = "Isolated",
        [TL_MERGED_WITH_PREVIOUS] = "MergedWithPrevious",
        [TL_MERGED_WITH_NEXT] = "MergedWithNext",
        [TL_CONTIGUOUS] = "Contiguous",
    };
    const char *name;
    if (!tl_json_string_or(json, "behavior", fallback, &name, where, error)) return false;
    for (size_t i = 0; name && i < sizeof names / sizeof *names; i++) {
        if (strcmp(names[i], name) != 0) continue;
        p->behavior = (tl_behavior)i;
        return true;
    }
    return tl_fail(error, TL_ERROR_UNSUPPORTED, "%s: field 'behavior' is '%.80s': not supported",
                   where, name ? name : "missing");
}

static bool read_byte_level(tl_pretokenizer *p, const cJSON *json, const char *where,
                            tl_error *error) {
    bool use_regex;
    if (!tl_json_bool_or(json, "add_prefix_space", true, &p->prefix_space, where, error) ||
        !tl_json_bool_or(json, "use_regex", true, &use_regex, where, error))
        return false;
    if (use_regex) p->regex = tl_regex_new(gpt2_pattern, sizeof gpt2_pattern - 1, error);
    return !use_regex || p->regex;
}

static bool read_split(tl_pretokenizer *p, const cJSON *json, const char *where, tl_error *error) {
    return tl_pattern_read(json, &p->literal, &p->regex, where, error) &&
           tl_json_bool_or(json, "invert", false, &p->invert, where, error) &&
           read_behavior(p, json, NULL, where, error);
}

static bool read_digits(tl_pretokenizer *p, const cJSON *json, const char *where, tl_error *error) {
    bool individual;
    if (!tl_json_bool_or(json, "individual_digits", false, &individual, where, error)) return false;
    p->is_match = tl_is_numeric;
    p->behavior = individual ? TL_ISOLATED : TL_CONTIGUOUS;
    return true;
}

static bool read_punctuation(tl_pretokenizer *p, const cJSON *json, const char *where,
                             tl_error *error) {
    p->is_match = tl_is_punctuation;
    return read_behavior(p, json, "Isolated", where, error);
}

static bool read_whitespace_split(tl_pretokenizer *p, const cJSON *json, const char *where,
                                  tl_error *error) {
    (void)json, (void)where, (void)error;
    p->is_match = tl_is_whitespace;
    p->behavior = TL_REMOVED;
    return true;
}

static bool read_nothing(tl_pretokenizer *p, const cJSON *json, const char *where,
                         tl_error *error) {
    (void)p, (void)json, (void)where, (void)error;
    return true;
}

static bool read_delimiter(tl_pretokenizer *p, const cJSON *json, const char *where,
                           tl_error *error) {
    const char *delimiter;
    if (!tl_json_string_or(json, "delimiter", "", &delimiter, where, error)) return false;
    if (!*delimiter || strlen(delimiter) != tl_utf8_size(*delimiter))
        return tl_fail(error, TL_ERROR_FORMAT, "%s: field 'delimiter': expected one character",
                       where);
    p->delimiter = tl_utf8_at(delimiter);
    p->behavior = TL_REMOVED;
    return true;
}

bool tl_metaspace_read(const cJSON *json, char replacement[8], tl_prepend *prepend, bool *split,
                       const char *where, tl_error *error) {
    static const char *const schemes[] = {"always", "first", "never"};
    const char *text, *scheme;
    bool prefix_space;
    if (!tl_json_string_or(json, "replacement", "\xe2\x96\x81", &text, where, error) ||
        !tl_json_string_or(json, "prepend_scheme", NULL, &scheme, where, error) ||
        !tl_json_bool_or(json, "add_prefix_space", true, &prefix_space, where, error) ||
        !tl_json_bool_or(json, "split", true, split, where, error))
        return false;
    if (!*text || strlen(text) != tl_utf8_size(*text))
        return tl_fail(error, TL_ERROR_FORMAT, "%s: field 'replacement': expected one character",
                       where);
    memcpy(replacement, text, strlen(text) + 1);
    *prepend =
        prefix_space ? TL_PREPEND_ALWAYS : TL_PREPEND_NEVER; /* as files before 2023 say it */
    if (!scheme) return true;
    for (int i = 0; i < 3; i++) {
        if (strcmp(schemes[i], scheme) != 0) continue;
        *prepend = (tl_prepend)i;
        if (prefix_space || *prepend == TL_PREPEND_NEVER) return true;
        return tl_fail(error, TL_ERROR_FORMAT,
                       "%s: add_prefix_space is false, but prepend_scheme is '%s'", where, scheme);
    }
    return tl_fail(error, TL_ERROR_UNSUPPORTED,
                   "%s: field 'prepend_scheme' is '%.80s': expected always, first or never", where,
                   scheme);
}

static bool read_metaspace(tl_pretokenizer *p, const cJSON *json, const char *where,
                           tl_error *error) {
    return tl_metaspace_read(json, p->replacement, &p->prepend, &p->split, where, error);
}

static bool read_fixed_length(tl_pretokenizer *p, const cJSON *json, const char *where,
                              tl_error *error) {
    return tl_json_int_or(json, "length", 5, 1, 1 << 20, &p->length, where, error);
}

/* The pre-tokenizers this build knows. BertPreTokenizer is two steps, and read as such. */
static const struct {
    const char *type;
    bool (*apply)(const tl_pretokenizer *p, tl_token_work *work, tl_pieces *in, tl_pieces *out,
                  tl_error *error);
    bool (*read)(tl_pretokenizer *p, const cJSON *json, const char *where, tl_error *error);
} kinds[] = {
    {"ByteLevel", apply_byte_level, read_byte_level},
    {"Split", apply_split, read_split},
    {"Digits", apply_split, read_digits},
    {"Punctuation", apply_split, read_punctuation},
    {"Whitespace", apply_whitespace, read_nothing},
    {"WhitespaceSplit", apply_split, read_whitespace_split},
    {"CharDelimiterSplit", apply_split, read_delimiter},
    {"Metaspace", apply_metaspace, read_metaspace},
    {"FixedLength", apply_fixed_length, read_fixed_length},
};

static tl_pretokenizer *append(tl_pretokenizers *list, const char *where, tl_error *error) {
    if (list->count == PRETOKENIZER_LIMIT) {
        tl_fail(error, TL_ERROR_LIMIT, "%s: more than %d pre-tokenizers", where,
                PRETOKENIZER_LIMIT);
        return NULL;
    }
    tl_pretokenizer *items = realloc(list->items, ((size_t)list->count + 1) * sizeof *items);
    if (!items) {
        tl_fail_memory(error, sizeof *items, "pre-tokenizers");
        return NULL;
    }
    list->items = items;
    items[list->count] = (tl_pretokenizer){0};
    return &items[list->count++];
}

static bool add_kind(tl_pretokenizers *list, const char *type, const cJSON *json, const char *where,
                     tl_error *error) {
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        if (strcmp(kinds[i].type, type) != 0) continue;
        tl_pretokenizer *p = append(list, where, error);
        if (!p) return false;
        p->apply = kinds[i].apply;
        return kinds[i].read(p, json, where, error);
    }
    return tl_component_unknown(type, where, error);
}

static bool read_kind(void *context, const char *type, const cJSON *json, const char *where,
                      tl_error *error) {
    if (strcmp(type, "BertPreTokenizer") == 0)
        return add_kind(context, "WhitespaceSplit", json, where, error) &&
               add_kind(context, "Punctuation", json, where, error);
    return add_kind(context, type, json, where, error);
}

bool tl_pretokenizers_read(tl_pretokenizers *list, const cJSON *json, const char *where,
                           tl_error *error) {
    return tl_component_read(json, "pretokenizers", read_kind, list, where, error);
}

void tl_pretokenizers_free(tl_pretokenizers *list) {
    for (int i = 0; i < list->count; i++) {
        free(list->items[i].literal);
        tl_regex_free(list->items[i].regex);
    }
    free(list->items);
    *list = (tl_pretokenizers){0};
}

bool tl_pretokenizers_apply(const tl_pretokenizers *list, tl_token_work *work, const char *text,
                            size_t length, bool first, const tl_pieces **pieces, tl_error *error) {
    tl_pieces *in = &work->pieces[0], *out = &work->pieces[1];
    tl_pieces_clear(in);
    in->text = text;
    tl_pieces_add(in, 0, length, first);
    if (!tl_pieces_finish(in, error)) return false;
    for (int i = 0; i < list->count; i++) {
        const tl_pretokenizer *p = &list->items[i];
        if (!p->apply(p, work, in, out, error)) return false;
        tl_pieces *swapped = in;
        in = out;
        out = swapped;
    }
    *pieces = in;
    return true;
}
