/* Rows of a Parquet file: pages of each column in step, put together by their repetition and
 * definition levels (the record assembly of Melnik et al., "Dremel", VLDB 2010). */
#include "hub/parquet.h"

#include "hub/parquet_parts.h"
#include "hub/thrift.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>
#include <zlib.h>

/* One column within the row group at hand: its pages one after the other, and one level ahead. */
typedef struct column {
    const tl_parquet_node *node;
    int codec;
    const unsigned char *at, *end; /* pages not yet read */
    int64_t left;                  /* levels in pages not yet read */
    tl_parquet_dictionary dictionary;
    unsigned char *page; /* the decompressed page at hand */
    size_t page_capacity;
    uint64_t page_left; /* levels of it not yet read */
    tl_rle repeats, definitions;
    tl_parquet_values values;
    bool ahead; /* the next level is in the fields below */
    int repeat, definition;
} column;

struct tl_parquet {
    char *path;
    tl_mapping file;
    tl_arena *arena;
    tl_parquet_footer footer;
    column *columns;
    int group;         /* the row group at hand */
    int64_t rows_left; /* of it */
    int64_t rows_done;
    int64_t items;   /* list elements of the row at hand */
    uint64_t bytes;  /* of text given so far */
    tl_error *error; /* of the call at hand */
};

enum { PAGE_DATA = 0, PAGE_INDEX = 1, PAGE_DICTIONARY = 2, PAGE_DATA_V2 = 3 };
enum { ENCODING_PLAIN = 0, ENCODING_PLAIN_DICTIONARY = 2, ENCODING_RLE = 3 };

/* Text of all rows together: a dictionary could otherwise repeat a long string without end. */
static const uint64_t TEXT_LIMIT = (uint64_t)4 << 30;

static bool malformed(const tl_parquet *parquet, const column *at, const char *what) {
    return tl_fail(parquet->error, TL_ERROR_FORMAT, "%s: row %lld, column %s: %s", parquet->path,
                   (long long)parquet->rows_done + 1, at->node->name, what);
}

/* ---- pages
 * ------------------------------------------------------------------------------------------- */

typedef struct page_head {
    int64_t kind, size, stored_size, checksum;
    bool has_checksum;
    int64_t values, encoding, definition_encoding, repeat_encoding;
    int64_t definition_bytes, repeat_bytes; /* version 2 */
    bool compressed;
} page_head;

/* The three page structs number their fields apart: [version][field] → where it goes. */
static int64_t *page_field(page_head *head, int64_t kind, int id) {
    if (id == 1) return &head->values;
    if (kind == PAGE_DATA_V2)
        return id == 4   ? &head->encoding
               : id == 5 ? &head->definition_bytes
               : id == 6 ? &head->repeat_bytes
                         : NULL;
    if (id == 2) return &head->encoding;
    if (kind == PAGE_DICTIONARY) return NULL;
    return id == 3 ? &head->definition_encoding : id == 4 ? &head->repeat_encoding : NULL;
}

static void read_page_struct(tl_thrift *thrift, int64_t kind, page_head *head) {
    tl_thrift_field field = {0};
    while (tl_thrift_next(thrift, &field)) {
        int64_t *target = page_field(head, kind, field.id);
        if (target)
            *target = tl_thrift_integer(thrift, field);
        else if (kind == PAGE_DATA_V2 && field.id == 7)
            head->compressed = tl_thrift_boolean(thrift, field);
        else
            tl_thrift_skip(thrift, field);
    }
}

/* Fields of PageHeader: 1 kind, 2 size, 3 stored size, 4 checksum, 5 data, 7 dictionary, 8 data v2.
 */
static bool read_page_head(column *at, page_head *head) {
    tl_thrift thrift = {.at = at->at, .end = at->end};
    tl_thrift_field field = {0};
    *head = (page_head){
        .kind = -1,
        .values = -1,
        .encoding = -1,
        .definition_encoding = ENCODING_RLE,
        .repeat_encoding = ENCODING_RLE,
        .compressed = true,
    };
    int64_t *const integers[] = {NULL, &head->kind, &head->size, &head->stored_size,
                                 &head->checksum};
    while (tl_thrift_next(&thrift, &field)) {
        int64_t kind = field.id == 5 ? PAGE_DATA : field.id == 7 ? PAGE_DICTIONARY : PAGE_DATA_V2;
        if (field.id >= 1 && field.id <= 4) {
            *integers[field.id] = tl_thrift_integer(&thrift, field);
            head->has_checksum |= field.id == 4;
        } else if ((field.id == 5 || field.id == 7 || field.id == 8) && kind == head->kind) {
            if (tl_thrift_enter(&thrift, field)) read_page_struct(&thrift, kind, head);
        } else {
            tl_thrift_skip(&thrift, field);
        }
    }
    at->at = thrift.at;
    return !thrift.failed && head->size >= 0 && head->size <= TL_PARQUET_PAGE_LIMIT &&
           head->stored_size >= 0 && head->stored_size <= at->end - at->at;
}

/* Decompresses a page's bytes after the first `plain` ones, which are never compressed, into
 * `out`. */
static bool unpack_page(tl_parquet *parquet, column *at, const page_head *head, size_t plain,
                        unsigned char *out) {
    size_t size = (size_t)head->size, stored = (size_t)head->stored_size;
    if (plain > size || plain > stored) return malformed(parquet, at, "levels outside their page");
    if (head->has_checksum && crc32(0, at->at, (uInt)stored) != (uint32_t)head->checksum)
        return malformed(parquet, at, "a page whose checksum does not match (damaged file?)");
    if (plain) memcpy(out, at->at, plain);
    int codec = head->compressed ? at->codec : 0;
    if (stored == plain && size == plain) return true;
    return tl_parquet_decompress(codec, at->at + plain, stored - plain, out + plain, size - plain,
                                 parquet->path, parquet->error);
}

static bool read_dictionary(tl_parquet *parquet, column *at, const page_head *head) {
    if (at->dictionary.data) return malformed(parquet, at, "a second dictionary");
    if (head->values < 0 || head->values > TL_PARQUET_COUNT_LIMIT ||
        (head->encoding != ENCODING_PLAIN && head->encoding != ENCODING_PLAIN_DICTIONARY))
        return malformed(parquet, at, "a dictionary that is not PLAIN, or too large");
    unsigned char *data = malloc((size_t)head->size + 1);
    if (!data) return tl_fail_memory(parquet->error, (size_t)head->size, "a dictionary");
    if (!unpack_page(parquet, at, head, 0, data)) {
        free(data);
        return false;
    }
    return tl_parquet_dictionary_start(&at->dictionary, at->node->type, data, (size_t)head->size,
                                       (uint32_t)head->values, parquet->path, parquet->error);
}

static int bit_width(int most) {
    int width = 0;
    while (most >> width)
        width++;
    return width;
}

/* Starts a run of levels at *from, whose length stands before it in pages of version 1. */
static bool start_levels(tl_rle *levels, int most, const unsigned char **from,
                         const unsigned char *end, int64_t length, bool prefixed) {
    *levels = (tl_rle){0};
    if (most == 0 && (prefixed || length == 0)) return true;
    if (prefixed) {
        if (end - *from < 4) return false;
        length = (*from)[0] | (int64_t)(*from)[1] << 8 | (int64_t)(*from)[2] << 16 |
                 (int64_t)(*from)[3] << 24;
        *from += 4;
    }
    if (length < 0 || length > end - *from) return false;
    tl_rle_start(levels, *from, *from + length, bit_width(most));
    *from += length;
    return true;
}

static bool start_data_page(tl_parquet *parquet, column *at, const page_head *head) {
    bool second = head->kind == PAGE_DATA_V2;
    if (head->values < 0 || head->values > at->left || head->values > TL_PARQUET_COUNT_LIMIT)
        return malformed(parquet, at, "a page with more values than its column says");
    if (head->definition_encoding != ENCODING_RLE || head->repeat_encoding != ENCODING_RLE)
        return tl_fail(parquet->error, TL_ERROR_UNSUPPORTED,
                       "%s: column %s: levels in BIT_PACKED: expected RLE", parquet->path,
                       at->node->name);
    if (second && (head->definition_bytes < 0 || head->repeat_bytes < 0 ||
                   head->definition_bytes > head->size || head->repeat_bytes > head->size))
        return malformed(parquet, at, "levels outside their page");
    size_t plain = second ? (size_t)(head->definition_bytes + head->repeat_bytes) : 0;
    if ((size_t)head->size + 1 > at->page_capacity) {
        free(at->page);
        at->page_capacity = (size_t)head->size + 1;
        at->page = malloc(at->page_capacity);
        if (!at->page) {
            at->page_capacity = 0;
            return tl_fail_memory(parquet->error, (size_t)head->size, "a page");
        }
    }
    if (!unpack_page(parquet, at, head, plain, at->page)) return false;
    const unsigned char *from = at->page, *end = at->page + head->size;
    if (!start_levels(&at->repeats, at->node->repeat, &from, end, head->repeat_bytes, !second) ||
        !start_levels(&at->definitions, at->node->definition, &from, end, head->definition_bytes,
                      !second))
        return malformed(parquet, at, "levels outside their page");
    at->page_left = (uint64_t)head->values;
    at->left -= head->values;
    return tl_parquet_values_start(
        &at->values, (int)head->encoding, at->node->type, from, end, (uint64_t)head->values,
        at->dictionary.data ? &at->dictionary : NULL, parquet->path, parquet->error);
}

static bool next_page(tl_parquet *parquet, column *at) {
    page_head head;
    if (!read_page_head(at, &head))
        return malformed(parquet, at, "a page that is cut short or malformed");
    bool good = true;
    if (head.kind == PAGE_DICTIONARY)
        good = read_dictionary(parquet, at, &head);
    else if (head.kind == PAGE_DATA || head.kind == PAGE_DATA_V2)
        good = start_data_page(parquet, at, &head);
    else if (head.kind != PAGE_INDEX)
        return malformed(parquet, at, "a page of unknown kind");
    at->at += head.stored_size;
    return good;
}

/* Makes the column's next level known; a failure at its end. */
static bool look(tl_parquet *parquet, column *at) {
    if (at->ahead) return true;
    while (at->page_left == 0) {
        if (at->left == 0) return malformed(parquet, at, "fewer values than rows");
        if (!next_page(parquet, at)) return false;
    }
    uint32_t repeat = 0, definition = 0;
    if ((at->node->repeat > 0 && !tl_rle_next(&at->repeats, &repeat)) ||
        (at->node->definition > 0 && !tl_rle_next(&at->definitions, &definition)) ||
        repeat > (uint32_t)at->node->repeat || definition > (uint32_t)at->node->definition)
        return malformed(parquet, at, "levels that end early or are out of range");
    at->page_left--;
    at->repeat = (int)repeat;
    at->definition = (int)definition;
    at->ahead = true;
    return true;
}

/* ---- rows
 * ------------------------------------------------------------------------------------------- */

static bool build(tl_parquet *parquet, int index, bool present, cJSON **out);

/* Is the subtree absent at `definition`? Then its levels are used up. Every column under it must
 * agree. */
static bool take_absent(tl_parquet *parquet, const tl_parquet_node *node, bool *absent) {
    for (int i = node->first_leaf; i < node->leaf_end; i++) {
        column *at = &parquet->columns[i];
        if (!look(parquet, at)) return false;
        bool here = at->definition < node->definition;
        if (i == node->first_leaf) *absent = here;
        if (here != *absent) return malformed(parquet, at, "columns of one group disagree");
        if (here) at->ahead = false;
    }
    return true;
}

/* Does another element follow in the list that `node` repeats? Every column must agree. */
static bool follows(tl_parquet *parquet, const tl_parquet_node *node, bool *more) {
    *more = false;
    for (int i = node->first_leaf; i < node->leaf_end; i++) {
        column *at = &parquet->columns[i];
        bool end = !at->ahead && at->page_left == 0 && at->left == 0;
        if (!end && !look(parquet, at)) return false;
        bool here = !end && at->repeat >= node->repeat;
        if (here && at->repeat > node->repeat)
            return malformed(parquet, at, "a list that continues outside its row");
        if (i == node->first_leaf) *more = here;
        if (here != *more) return malformed(parquet, at, "columns of one list disagree");
    }
    return true;
}

static bool text_value(tl_parquet *parquet, const column *at, const tl_parquet_value *value,
                       cJSON **out) {
    for (size_t i = 0; i < value->length;) {
        utf8proc_int32_t point;
        utf8proc_ssize_t used = utf8proc_iterate((const utf8proc_uint8_t *)value->bytes + i,
                                                 (utf8proc_ssize_t)(value->length - i), &point);
        if (used <= 0 || point == 0) return malformed(parquet, at, "expected text in UTF-8");
        i += (size_t)used;
    }
    parquet->bytes += value->length;
    if (parquet->bytes > TEXT_LIMIT)
        return tl_fail(parquet->error, TL_ERROR_LIMIT, "%s: more than %llu bytes of text",
                       parquet->path, (unsigned long long)TEXT_LIMIT);
    char *text = strndup(value->length ? value->bytes : "", value->length);
    cJSON *item = text ? cJSON_CreateNull() : NULL;
    if (!item) {
        free(text);
        return tl_fail_memory(parquet->error, value->length, "a row");
    }
    item->type = cJSON_String;
    item->valuestring = text;
    *out = item;
    return true;
}

/* All digits: a JSON number of cJSON's own is a double. */
static cJSON *long_value(int64_t value, bool is_unsigned) {
    char digits[32];
    if (is_unsigned)
        snprintf(digits, sizeof digits, "%llu", (unsigned long long)value);
    else
        snprintf(digits, sizeof digits, "%lld", (long long)value);
    return cJSON_CreateRaw(digits);
}

/* With a point or an exponent, as Python writes it: 1.0 is no integer. */
static cJSON *real_value(double value) {
    tl_buffer digits = {0};
    if (fabs(value) < 1e16 && value == floor(value))
        tl_buffer_append_format(&digits, "%.1f", value);
    else
        tl_json_append_double(&digits, value);
    cJSON *item = digits.failed ? NULL : cJSON_CreateRaw(digits.data);
    tl_buffer_free(&digits);
    return item;
}

static bool leaf_value(tl_parquet *parquet, const tl_parquet_node *node, cJSON **out) {
    column *at = &parquet->columns[node->first_leaf];
    tl_parquet_value value = {0};
    if (!at->values.next || !at->values.next(&at->values, &value))
        return malformed(parquet, at, "a page that ends before its values do");
    switch (node->type) {
    case TL_PARQUET_BOOLEAN:
        *out = cJSON_CreateBool(value.integer != 0);
        break;
    case TL_PARQUET_INT32:
        *out = cJSON_CreateNumber(node->is_unsigned ? (double)(uint32_t)value.integer
                                                    : (double)value.integer);
        break;
    case TL_PARQUET_INT64:
        *out = long_value(value.integer, node->is_unsigned);
        break;
    case TL_PARQUET_BYTE_ARRAY:
        return text_value(parquet, at, &value, out);
    default:
        *out = isfinite(value.real) ? real_value(value.real) : cJSON_CreateNull();
        break;
    }
    return *out || tl_fail_memory(parquet->error, sizeof **out, "a row");
}

static bool object_value(tl_parquet *parquet, const tl_parquet_node *node, cJSON **out) {
    const tl_parquet_node *nodes = parquet->footer.nodes;
    cJSON *object = cJSON_CreateObject();
    int child = (int)(node - nodes) + 1;
    for (int i = 0; object && i < node->children; i++, child = nodes[child].next) {
        cJSON *item;
        if (!build(parquet, child, false, &item)) {
            cJSON_Delete(object);
            return false;
        }
        if (!cJSON_AddItemToObject(object, nodes[child].name, item)) {
            cJSON_Delete(item);
            cJSON_Delete(object);
            object = NULL;
        }
    }
    *out = object;
    return object || tl_fail_memory(parquet->error, sizeof *object, "a row");
}

/* The index of the element within a repeated node: its only child in the three-level form of lists,
 * else itself (the older forms; the rules are in LogicalTypes.md, "Lists"). */
static int element_of(const tl_parquet_node *nodes, int repeated) {
    const tl_parquet_node *node = &nodes[repeated];
    bool older =
        node->children != 1 || strcmp(node->name, "array") == 0 ||
        (strlen(node->name) > 6 && strcmp(node->name + strlen(node->name) - 6, "_tuple") == 0) ||
        nodes[repeated + 1].repetition == TL_PARQUET_REPEATED;
    return older ? repeated : repeated + 1;
}

/* The elements of a repeated node as an array; `annotated` when it stands in a LIST. */
static bool list_value(tl_parquet *parquet, int repeated, bool annotated, cJSON **out) {
    const tl_parquet_node *nodes = parquet->footer.nodes, *node = &nodes[repeated];
    int element = annotated ? element_of(nodes, repeated) : repeated;
    cJSON *array = cJSON_CreateArray();
    if (!array) return tl_fail_memory(parquet->error, sizeof *array, "a row");
    bool empty, more = true;
    bool good = take_absent(parquet, node, &empty);
    while (good && !empty && more) {
        cJSON *item = NULL;
        if (++parquet->items > TL_PARQUET_ITEM_LIMIT)
            good =
                tl_fail(parquet->error, TL_ERROR_LIMIT, "%s: row %lld: more than %d list elements",
                        parquet->path, (long long)parquet->rows_done + 1, TL_PARQUET_ITEM_LIMIT);
        good = good && build(parquet, element, element == repeated, &item);
        if (good) cJSON_AddItemToArray(array, item);
        good = good && follows(parquet, node, &more);
    }
    if (!good) {
        cJSON_Delete(array);
        return false;
    }
    *out = array;
    return true;
}

/* The value of a node at the columns' place. `present`: it is known to be there and its repetition
 * is dealt with. */
static bool build(tl_parquet *parquet, int index, bool present, cJSON **out) {
    const tl_parquet_node *node = &parquet->footer.nodes[index];
    if (!present && node->repetition == TL_PARQUET_REPEATED)
        return list_value(parquet, index, false, out);
    bool absent = false;
    if (!present && !take_absent(parquet, node, &absent)) return false;
    if (absent) {
        *out = cJSON_CreateNull();
        return *out || tl_fail_memory(parquet->error, sizeof **out, "a row");
    }
    if (node->children == 0) {
        column *at = &parquet->columns[node->first_leaf];
        if (!look(parquet, at)) return false;
        at->ahead = false;
        return leaf_value(parquet, node, out);
    }
    const tl_parquet_node *child = node + 1;
    if (node->is_list && node->children == 1 && child->repetition == TL_PARQUET_REPEATED)
        return list_value(parquet, index + 1, true, out);
    return object_value(parquet, node, out);
}

/* ---- the handle
 * ------------------------------------------------------------------------------------------- */

static void end_group(tl_parquet *parquet) {
    for (int i = 0; i < parquet->footer.columns; i++) {
        column *at = &parquet->columns[i];
        free(at->page);
        tl_parquet_dictionary_free(&at->dictionary);
        tl_buffer_free(&at->values.assembled);
        *at = (column){0};
    }
}

static void start_group(tl_parquet *parquet) {
    end_group(parquet);
    const tl_parquet_group *group = &parquet->footer.groups[parquet->group];
    parquet->rows_left = group->rows;
    for (int i = 0; i < parquet->footer.columns; i++) {
        const tl_parquet_chunk *chunk = &group->chunks[i];
        parquet->columns[i] = (column){
            .node = &parquet->footer.nodes[parquet->footer.leaves[i]],
            .codec = chunk->codec,
            .at = parquet->file.data + chunk->start,
            .end = parquet->file.data + chunk->start + chunk->size,
            .left = chunk->values,
        };
    }
}

static bool open_file(tl_parquet *parquet, const char *path, tl_error *error) {
    parquet->path = strdup(path);
    parquet->arena = tl_arena_new();
    parquet->group = -1;
    if (!parquet->path || !parquet->arena) return tl_fail_memory(error, strlen(path), "a file");
    if (!tl_file_map(path, &parquet->file, error) ||
        !tl_parquet_read_footer(&parquet->file, path, parquet->arena, &parquet->footer, error))
        return false;
    size_t count = (size_t)parquet->footer.columns;
    parquet->columns = tl_arena_alloc(parquet->arena, count, sizeof(column), "columns", error);
    return parquet->columns != NULL;
}

tl_parquet *tl_parquet_open(const char *path, tl_error *error) {
    tl_parquet *parquet = calloc(1, sizeof *parquet);
    if (!parquet) {
        tl_fail_memory(error, sizeof *parquet, "a Parquet file");
        return NULL;
    }
    if (open_file(parquet, path, error)) return parquet;
    tl_parquet_free(parquet);
    return NULL;
}

void tl_parquet_free(tl_parquet *parquet) {
    if (!parquet) return;
    if (parquet->columns) end_group(parquet);
    tl_file_unmap(&parquet->file);
    tl_arena_free(parquet->arena);
    free(parquet->path);
    free(parquet);
}

int64_t tl_parquet_count(const tl_parquet *parquet) {
    return parquet->footer.rows;
}

/* Every column must stand at the start of a row: no elements left over from the last. */
static bool check_row_starts(tl_parquet *parquet) {
    for (int i = 0; i < parquet->footer.columns; i++) {
        column *at = &parquet->columns[i];
        if (!look(parquet, at)) return false;
        if (at->repeat != 0) return malformed(parquet, at, "a list that continues outside its row");
    }
    return true;
}

bool tl_parquet_next(tl_parquet *parquet, cJSON **row, tl_error *error) {
    *row = NULL;
    parquet->error = error;
    while (parquet->rows_left == 0) {
        if (parquet->group + 1 >= parquet->footer.n_groups) return true;
        parquet->group++;
        start_group(parquet);
    }
    parquet->items = 0;
    if (!check_row_starts(parquet) || !build(parquet, 0, true, row)) return false;
    parquet->rows_left--;
    parquet->rows_done++;
    return true;
}
