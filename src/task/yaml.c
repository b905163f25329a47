#include "task/yaml.h"

#include <string.h>
#include <yaml.h>

enum { MOST_DEPTH = 16, MOST_ENTRIES = 4096 };

typedef struct reader {
    yaml_parser_t parser;
    yaml_event_t event; /* the one being looked at */
    bool has_event;
    const char *where;
    tl_arena *arena;
    tl_error *error;
    int entries; /* nodes made so far */
} reader;

static bool complain(reader *r, const char *what) {
    return tl_fail(r->error, TL_ERROR_FORMAT, "%s:%zu: %s", r->where, r->event.start_mark.line + 1,
                   what);
}

static bool next(reader *r) {
    if (r->has_event) yaml_event_delete(&r->event);
    r->has_event = yaml_parser_parse(&r->parser, &r->event) != 0;
    if (r->has_event) return true;
    return tl_fail(r->error, TL_ERROR_FORMAT, "%s:%zu: not YAML: %s", r->where,
                   r->parser.problem_mark.line + 1,
                   r->parser.problem ? r->parser.problem : "unreadable");
}

/* A list being gathered: doubled in the arena as it grows (what is left behind is small). */
typedef struct gathering {
    const char **keys;
    tl_yaml *items;
    int count, capacity;
} gathering;

static tl_yaml *gather(reader *r, gathering *g, const char *key) {
    if (++r->entries > MOST_ENTRIES) {
        complain(r, "too many entries for a task file");
        return NULL;
    }
    if (g->count == g->capacity) {
        int capacity = g->capacity ? g->capacity * 2 : 8;
        tl_yaml *items =
            tl_arena_alloc(r->arena, (size_t)capacity, sizeof *items, "task file", r->error);
        const char **keys =
            tl_arena_alloc(r->arena, (size_t)capacity, sizeof *keys, "task file", r->error);
        if (!items || !keys) return NULL;
        if (g->count) {
            memcpy(items, g->items, (size_t)g->count * sizeof *items);
            memcpy(keys, g->keys, (size_t)g->count * sizeof *keys);
        }
        g->items = items;
        g->keys = keys;
        g->capacity = capacity;
    }
    g->keys[g->count] = key;
    return &g->items[g->count++];
}

/* Tags change what a value means ("!function", lm-evaluation-harness's Python), and none is known
 * here. */
static bool untagged(reader *r, const yaml_char_t *tag) {
    if (!tag) return true;
    return tl_fail(r->error, TL_ERROR_UNSUPPORTED,
                   "%s:%zu: the tag '%.64s' is not read: expected a value without one, such as a "
                   "template",
                   r->where, r->event.start_mark.line + 1, (const char *)tag);
}

static const char *scalar(reader *r) {
    if (!untagged(r, r->event.data.scalar.tag)) return NULL;
    if (r->event.data.scalar.anchor) {
        complain(r, "anchors are not used in task files");
        return NULL;
    }
    const char *text = (const char *)r->event.data.scalar.value;
    size_t length = r->event.data.scalar.length;
    if (memchr(text, 0, length)) {
        complain(r, "a NUL character");
        return NULL;
    }
    return tl_arena_strndup(r->arena, text, length, r->error);
}

static bool read_key(reader *r, const gathering *g, const char **key) {
    if (r->event.type != YAML_SCALAR_EVENT) return complain(r, "a key must be plain text");
    *key = scalar(r);
    if (!*key) return false;
    for (int i = 0; i < g->count; i++)
        if (strcmp(g->keys[i], *key) == 0)
            return tl_fail(r->error, TL_ERROR_FORMAT, "%s:%zu: '%s' is given twice", r->where,
                           r->event.start_mark.line + 1, *key);
    return next(r);
}

/* Reads the node that the current event begins; depth is bounded, so recursion is. */
static bool read_node(reader *r, tl_yaml *node, int depth) {
    node->line = (int)r->event.start_mark.line + 1;
    yaml_event_type_t end;
    switch (r->event.type) {
    case YAML_SCALAR_EVENT:
        node->kind = TL_YAML_TEXT;
        return (node->text = scalar(r)) != NULL;
    case YAML_SEQUENCE_START_EVENT:
        node->kind = TL_YAML_LIST;
        end = YAML_SEQUENCE_END_EVENT;
        if (!untagged(r, r->event.data.sequence_start.tag)) return false;
        if (r->event.data.sequence_start.anchor)
            return complain(r, "anchors are not used in task files");
        break;
    case YAML_MAPPING_START_EVENT:
        node->kind = TL_YAML_MAPPING;
        end = YAML_MAPPING_END_EVENT;
        if (!untagged(r, r->event.data.mapping_start.tag)) return false;
        if (r->event.data.mapping_start.anchor)
            return complain(r, "anchors are not used in task files");
        break;
    case YAML_ALIAS_EVENT:
        return complain(r, "aliases are not used in task files");
    default:
        return complain(r, "expected text, a list or a mapping");
    }
    if (depth >= MOST_DEPTH) return complain(r, "nested too deep");
    gathering g = {0};
    while (true) {
        if (!next(r)) return false;
        if (r->event.type == end) break;
        const char *key = NULL;
        if (node->kind == TL_YAML_MAPPING && !read_key(r, &g, &key)) return false;
        tl_yaml *item = gather(r, &g, key);
        if (!item || !read_node(r, item, depth + 1)) return false;
    }
    node->keys = g.keys;
    node->items = g.items;
    node->count = g.count;
    return true;
}

static bool read_document(reader *r, tl_yaml *root) {
    if (!next(r)) return false; /* the stream's start */
    if (!next(r)) return false;
    if (r->event.type != YAML_DOCUMENT_START_EVENT) return complain(r, "the file is empty");
    if (!next(r) || !read_node(r, root, 0) || !next(r) || !next(r)) return false;
    if (r->event.type != YAML_STREAM_END_EVENT)
        return complain(r, "expected one document, found another");
    return true;
}

const tl_yaml *tl_yaml_parse(const char *text, size_t length, const char *where, tl_arena *arena,
                             tl_error *error) {
    reader r = {.where = where, .arena = arena, .error = error};
    tl_yaml *root = tl_arena_alloc(arena, 1, sizeof *root, "task file", error);
    if (!root) return NULL;
    if (!yaml_parser_initialize(&r.parser)) {
        tl_fail_memory(error, sizeof r.parser, "the YAML reader");
        return NULL;
    }
    yaml_parser_set_encoding(&r.parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&r.parser, (const unsigned char *)text, length);
    bool ok = read_document(&r, root);
    if (r.has_event) yaml_event_delete(&r.event);
    yaml_parser_delete(&r.parser);
    return ok ? root : NULL;
}

const tl_yaml *tl_yaml_get(const tl_yaml *mapping, const char *key) {
    if (!mapping || mapping->kind != TL_YAML_MAPPING) return NULL;
    for (int i = 0; i < mapping->count; i++)
        if (strcmp(mapping->keys[i], key) == 0) return &mapping->items[i];
    return NULL;
}

bool tl_yaml_check_keys(const tl_yaml *mapping, const char *const *known, const char *where,
                        tl_error *error) {
    if (mapping->kind != TL_YAML_MAPPING)
        return tl_fail(error, TL_ERROR_FORMAT, "%s:%d: expected a mapping (key: value)", where,
                       mapping->line);
    for (int i = 0; i < mapping->count; i++) {
        const char *const *name = known;
        while (*name && strcmp(*name, mapping->keys[i]) != 0)
            name++;
        if (*name) continue;
        tl_buffer list = {0};
        for (name = known; *name; name++)
            tl_buffer_append_format(&list, "%s%s", name == known ? "" : ", ", *name);
        tl_fail(error, TL_ERROR_FORMAT, "%s:%d: unknown key '%s'; known here: %s", where,
                mapping->items[i].line, mapping->keys[i], tl_buffer_string(&list));
        tl_buffer_free(&list);
        return false;
    }
    return true;
}

bool tl_yaml_get_text(const tl_yaml *mapping, const char *key, const char **text, const char *where,
                      tl_error *error) {
    const tl_yaml *node = tl_yaml_get(mapping, key);
    if (!node) return true;
    if (node->kind != TL_YAML_TEXT)
        return tl_fail(error, TL_ERROR_FORMAT, "%s:%d: '%s': expected text", where, node->line,
                       key);
    *text = node->text;
    return true;
}
