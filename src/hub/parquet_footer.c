/* The footer of a Parquet file: its schema as a tree in depth-first order, and where each column of
 * each row group lies. Format: parquet.thrift of https://github.com/apache/parquet-format. */
#include "hub/parquet_parts.h"
#include "hub/thrift.h"

#include <string.h>

/* The fields of the format's structs that matter here, by their numbers there. */
enum { FILE_SCHEMA = 2, FILE_ROWS = 3, FILE_GROUPS = 4, FILE_ENCRYPTION = 8 };
enum {
    NODE_TYPE = 1,
    NODE_REPETITION = 3,
    NODE_NAME = 4,
    NODE_CHILDREN = 5,
    NODE_CONVERTED = 6,
    NODE_LOGICAL = 10
};
enum { LOGICAL_MAP = 2, LOGICAL_LIST = 3, LOGICAL_DECIMAL = 5, LOGICAL_INTEGER = 10 };
enum { CONVERTED_MAP = 1, CONVERTED_LIST = 3, CONVERTED_DECIMAL = 5, CONVERTED_UINT_8 = 11 };
enum { CONVERTED_UINT_64 = 14 };
enum { GROUP_COLUMNS = 1, GROUP_ROWS = 3 };
enum { COLUMN_FILE = 1, COLUMN_META = 3 };
enum {
    META_TYPE = 1,
    META_CODEC = 4,
    META_VALUES = 5,
    META_SIZE = 7,
    META_DATA_PAGE = 9,
    META_DICTIONARY_PAGE = 11
};

static const char *const type_names[TL_PARQUET_TYPE_COUNT] = {
    "BOOLEAN", "INT32", "INT64", "INT96", "FLOAT", "DOUBLE", "BYTE_ARRAY", "FIXED_LEN_BYTE_ARRAY",
};

typedef struct reader {
    tl_thrift thrift;
    const char *where;
    tl_arena *arena;
    tl_parquet_footer *footer;
    tl_error *error;
    int columns_read;  /* of the row group at hand */
    uint64_t data_end; /* the footer starts here: pages must end before it */
} reader;

static bool malformed(const reader *r, const char *what) {
    return tl_fail(r->error, TL_ERROR_FORMAT, "%s: not a valid Parquet file: %s", r->where, what);
}

/* ---- schema
 * ------------------------------------------------------------------------------------------- */

/* What the annotations of a schema element say. */
typedef struct annotation {
    bool is_list, is_unsigned, is_decimal;
} annotation;

static void read_logical(tl_thrift *thrift, annotation *found) {
    tl_thrift_field kind = {0};
    while (tl_thrift_next(thrift, &kind)) {
        found->is_list |= kind.id == LOGICAL_LIST || kind.id == LOGICAL_MAP;
        found->is_decimal |= kind.id == LOGICAL_DECIMAL;
        if (kind.id != LOGICAL_INTEGER) {
            tl_thrift_skip(thrift, kind);
            continue;
        }
        tl_thrift_field field = {0};
        if (!tl_thrift_enter(thrift, kind)) return;
        while (tl_thrift_next(thrift, &field)) {
            if (field.id == 2)
                found->is_unsigned |= !tl_thrift_boolean(thrift, field);
            else
                tl_thrift_skip(thrift, field);
        }
    }
}

static void read_converted(int64_t converted, annotation *found) {
    found->is_list |= converted == CONVERTED_LIST || converted == CONVERTED_MAP;
    found->is_decimal |= converted == CONVERTED_DECIMAL;
    found->is_unsigned |= converted >= CONVERTED_UINT_8 && converted <= CONVERTED_UINT_64;
}

/* Is this a physical type that has a value in JSON? */
static bool check_type(const reader *r, const tl_parquet_node *node, int64_t type,
                       bool is_decimal) {
    if (type < 0 || type >= TL_PARQUET_TYPE_COUNT) return malformed(r, "a column of unknown type");
    if (is_decimal || type == TL_PARQUET_INT96 || type == TL_PARQUET_FIXED)
        return tl_fail(r->error, TL_ERROR_UNSUPPORTED,
                       "%s: column %s is of type %s: expected strings, integers, booleans or "
                       "floating point",
                       r->where, node->name, is_decimal ? "DECIMAL" : type_names[type]);
    return true;
}

static bool read_node(reader *r, tl_parquet_node *node) {
    tl_thrift *thrift = &r->thrift;
    tl_thrift_field field = {0};
    annotation found = {0};
    const char *name = NULL;
    size_t length = 0;
    int64_t type = -1, children = 0, repetition = TL_PARQUET_REQUIRED;
    while (tl_thrift_next(thrift, &field)) {
        if (field.id == NODE_TYPE)
            type = tl_thrift_integer(thrift, field);
        else if (field.id == NODE_REPETITION)
            repetition = tl_thrift_integer(thrift, field);
        else if (field.id == NODE_NAME)
            name = tl_thrift_binary(thrift, field, &length);
        else if (field.id == NODE_CHILDREN)
            children = tl_thrift_integer(thrift, field);
        else if (field.id == NODE_CONVERTED)
            read_converted(tl_thrift_integer(thrift, field), &found);
        else if (field.id == NODE_LOGICAL && tl_thrift_enter(thrift, field))
            read_logical(thrift, &found);
        else
            tl_thrift_skip(thrift, field);
    }
    if (thrift->failed) return malformed(r, "its schema is cut short");
    if (!name || memchr(name, 0, length)) return malformed(r, "a column without a name");
    if (repetition < TL_PARQUET_REQUIRED || repetition > TL_PARQUET_REPEATED)
        return malformed(r, "a column of unknown repetition");
    if (children < 0 || children >= TL_PARQUET_MOST_NODES)
        return malformed(r, "a group with too many columns");
    node->name = tl_arena_strndup(r->arena, name, length, r->error);
    if (!node->name) return false;
    node->repetition = (tl_parquet_repetition)repetition;
    node->children = (int)children;
    node->is_list = found.is_list;
    node->is_unsigned = found.is_unsigned;
    if (children > 0) return true;
    node->type = (tl_parquet_type)type;
    return check_type(r, node, type, found.is_decimal);
}

/* Places the subtree at `index` below levels of its parent, filling next, leaves and levels. */
static bool place_node(const reader *r, int index, int definition, int repeat, int depth) {
    tl_parquet_footer *footer = r->footer;
    if (depth > TL_PARQUET_DEPTH) return malformed(r, "columns nested too deeply");
    tl_parquet_node *node = &footer->nodes[index];
    node->definition = definition + (depth > 0 && node->repetition != TL_PARQUET_REQUIRED);
    node->repeat = repeat + (depth > 0 && node->repetition == TL_PARQUET_REPEATED);
    node->first_leaf = footer->columns;
    node->next = index + 1;
    if (node->children == 0) footer->leaves[footer->columns++] = index;
    for (int i = 0; i < node->children; i++) {
        if (node->next >= footer->n_nodes) return malformed(r, "a group lacks columns");
        int child = node->next;
        if (!place_node(r, child, node->definition, node->repeat, depth + 1)) return false;
        node->next = footer->nodes[child].next;
    }
    node->leaf_end = footer->columns;
    return true;
}

static bool read_schema(reader *r, tl_thrift_field field) {
    tl_parquet_footer *footer = r->footer;
    size_t count = tl_thrift_structs(&r->thrift, field);
    if (footer->nodes || count < 2 || count > TL_PARQUET_MOST_NODES)
        return malformed(r, "expected a schema of 1 to 4095 columns");
    footer->nodes = tl_arena_alloc(r->arena, count, sizeof *footer->nodes, "a schema", r->error);
    footer->leaves = tl_arena_alloc(r->arena, count, sizeof *footer->leaves, "a schema", r->error);
    if (!footer->nodes || !footer->leaves) return false;
    footer->n_nodes = (int)count;
    for (size_t i = 0; i < count; i++)
        if (!read_node(r, &footer->nodes[i])) return false;
    if (footer->nodes[0].children == 0) return malformed(r, "a schema without columns");
    footer->nodes[0].is_list = false;
    if (!place_node(r, 0, 0, 0, 0)) return false;
    return footer->nodes[0].next == footer->n_nodes || malformed(r, "columns outside the schema");
}

/* ---- row groups
 * ------------------------------------------------------------------------------------------- */

static bool read_meta(reader *r, tl_parquet_chunk *chunk) {
    tl_thrift *thrift = &r->thrift;
    tl_thrift_field field = {0};
    int64_t type = -1, codec = -1, values = -1, size = -1, data = -1, dictionary = -1;
    const struct {
        int id;
        int64_t *value;
    } wanted[] = {
        {META_TYPE, &type}, {META_CODEC, &codec},    {META_VALUES, &values},
        {META_SIZE, &size}, {META_DATA_PAGE, &data}, {META_DICTIONARY_PAGE, &dictionary},
    };
    while (tl_thrift_next(thrift, &field)) {
        size_t i = 0, count = sizeof wanted / sizeof *wanted;
        while (i < count && wanted[i].id != field.id)
            i++;
        if (i < count)
            *wanted[i].value = tl_thrift_integer(thrift, field);
        else
            tl_thrift_skip(thrift, field);
    }
    if (thrift->failed) return malformed(r, "its row groups are cut short");
    if (type != (int64_t)r->footer->nodes[r->footer->leaves[r->columns_read]].type)
        return malformed(r, "a column's type differs from the schema's");
    int64_t start = dictionary > 0 && dictionary < data ? dictionary : data;
    if (values == 0) { /* an empty column may have no pages, and lie nowhere */
        start = 4;
        size = 0;
    }
    if (start < 4 || size < 0 || !tl_within((uint64_t)start, (uint64_t)size, r->data_end))
        return malformed(r, "a column lies outside the file");
    if (values < 0) return malformed(r, "a column with a negative count");
    *chunk = (tl_parquet_chunk){
        .codec = codec < 0 || codec > 100 ? 100 : (int)codec,
        .start = (uint64_t)start,
        .size = (uint64_t)size,
        .values = values,
    };
    return true;
}

static bool read_columns(reader *r, tl_thrift_field list, tl_parquet_group *group) {
    size_t count = tl_thrift_structs(&r->thrift, list);
    if (count != (size_t)r->footer->columns || group->chunks)
        return malformed(r, "a row group whose columns differ from the schema's");
    group->chunks = tl_arena_alloc(r->arena, count, sizeof *group->chunks, "row groups", r->error);
    if (!group->chunks) return false;
    for (r->columns_read = 0; r->columns_read < (int)count; r->columns_read++) {
        tl_thrift_field field = {0};
        bool seen = false;
        while (tl_thrift_next(&r->thrift, &field)) {
            if (field.id == COLUMN_FILE)
                return tl_fail(r->error, TL_ERROR_UNSUPPORTED,
                               "%s: a column kept in another file: expected it in this one",
                               r->where);
            if (field.id != COLUMN_META || seen) {
                tl_thrift_skip(&r->thrift, field);
                continue;
            }
            seen = true;
            if (tl_thrift_enter(&r->thrift, field) &&
                !read_meta(r, &group->chunks[r->columns_read]))
                return false;
        }
        if (!seen || r->thrift.failed) return malformed(r, "a column without its metadata");
    }
    return true;
}

static bool read_groups(reader *r, tl_thrift_field list) {
    tl_parquet_footer *footer = r->footer;
    size_t count = tl_thrift_structs(&r->thrift, list);
    if (footer->groups || !footer->nodes)
        return malformed(r, "row groups before the schema, or twice");
    footer->groups =
        tl_arena_alloc(r->arena, count + 1, sizeof *footer->groups, "row groups", r->error);
    if (!footer->groups) return false;
    for (size_t i = 0; i < count; i++) {
        tl_parquet_group *group = &footer->groups[i];
        tl_thrift_field field = {0};
        while (tl_thrift_next(&r->thrift, &field)) {
            if (field.id == GROUP_ROWS)
                group->rows = tl_thrift_integer(&r->thrift, field);
            else if (field.id != GROUP_COLUMNS)
                tl_thrift_skip(&r->thrift, field);
            else if (!read_columns(r, field, group))
                return false;
        }
        if (r->thrift.failed || !group->chunks || group->rows < 0)
            return malformed(r, "a row group without columns or rows");
        footer->n_groups++;
    }
    return true;
}

static bool read_file_metadata(reader *r) {
    tl_thrift_field field = {0};
    int64_t rows = -1;
    while (tl_thrift_next(&r->thrift, &field)) {
        bool good = true;
        if (field.id == FILE_SCHEMA)
            good = read_schema(r, field);
        else if (field.id == FILE_GROUPS)
            good = read_groups(r, field);
        else if (field.id == FILE_ROWS)
            rows = tl_thrift_integer(&r->thrift, field);
        else if (field.id == FILE_ENCRYPTION)
            return tl_fail(r->error, TL_ERROR_UNSUPPORTED, "%s: is encrypted", r->where);
        else
            tl_thrift_skip(&r->thrift, field);
        if (!good) return false;
    }
    if (r->thrift.failed) return malformed(r, "its footer is cut short");
    if (!r->footer->groups) return malformed(r, "its footer has no schema or no row groups");
    int64_t sum = 0;
    for (int i = 0; i < r->footer->n_groups; i++)
        if (__builtin_add_overflow(sum, r->footer->groups[i].rows, &sum)) sum = -1;
    if (rows != sum) return malformed(r, "its row groups hold another number of rows than it says");
    if (rows > TL_PARQUET_COUNT_LIMIT)
        return tl_fail(r->error, TL_ERROR_LIMIT, "%s: %lld rows: expected at most %d", r->where,
                       (long long)rows, TL_PARQUET_COUNT_LIMIT);
    r->footer->rows = rows;
    return true;
}

bool tl_parquet_read_footer(const tl_mapping *file, const char *where, tl_arena *arena,
                            tl_parquet_footer *footer, tl_error *error) {
    *footer = (tl_parquet_footer){0};
    reader r = {.where = where, .arena = arena, .footer = footer, .error = error};
    if (file->size < 12 || memcmp(file->data, "PAR", 3) != 0)
        return malformed(&r, "it does not begin with PAR1");
    const unsigned char *tail = file->data + file->size - 8;
    if (memcmp(tail + 4, "PARE", 4) == 0)
        return tl_fail(error, TL_ERROR_UNSUPPORTED, "%s: its footer is encrypted", where);
    if (memcmp(tail + 4, "PAR1", 4) != 0)
        return malformed(&r, "it does not end in PAR1 (cut short?)");
    uint64_t length =
        tail[0] | (uint64_t)tail[1] << 8 | (uint64_t)tail[2] << 16 | (uint64_t)tail[3] << 24;
    if (length > file->size - 12) return malformed(&r, "its footer is longer than the file");
    r.data_end = file->size - 8 - length;
    r.thrift = (tl_thrift){.at = tail - length, .end = tail};
    return read_file_metadata(&r);
}
