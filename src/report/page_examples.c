/* Examples for the page: as JSON items, and packed into compressed chunks inside the file. */
#include "report/page_examples.h"

#include "report/page.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

enum {
    CHUNK_BYTES = 1 << 20, /* of JSON before compression: what the browser opens at once */
    BASE64_STEP = 3 * 4096
};

static void append_text(tl_buffer *out, const char *text) {
    if (!text) text = "";
    tl_json_append_string(out, text, strlen(text));
}

void tl_page_append_question(tl_buffer *out, const tl_example *example) {
    append_text(out, example->prompt);
    tl_buffer_append_string(out, ",[");
    for (int i = 0; i < example->n_choices; i++) {
        if (i) tl_buffer_append_byte(out, ',');
        append_text(out, example->choices ? example->choices[i] : "");
    }
    tl_buffer_append_format(out, "],%d", example->gold);
}

void tl_page_append_answer(tl_buffer *out, const tl_example *example) {
    bool likelihood = example->protocol == TL_PROTOCOL_LOGLIKELIHOOD;
    tl_buffer_append_format(out, "%d,%d,[", example->prediction,
                            likelihood ? example->prediction_norm : -1);
    for (int i = 0; i < example->n_choices && example->scores; i++) {
        if (i) tl_buffer_append_byte(out, ',');
        tl_json_append_float(out, (float)example->scores[i]);
    }
    tl_buffer_append_string(out, "],");
    tl_json_append_float(out, (float)(example->forward_seconds * 1e3));
    tl_buffer_append_format(out, ",%d,", example->truncated);
    if (example->skipped)
        append_text(out, example->skipped);
    else
        tl_buffer_append_byte(out, '0');
}

uint64_t tl_page_question_hash(const tl_example *example) {
    uint64_t hash = (uint64_t)example->gold + 1;
    const char *prompt = example->prompt ? example->prompt : "";
    uint64_t parts[2] = {hash, tl_hash(prompt, strlen(prompt))};
    hash = tl_hash(parts, sizeof parts);
    for (int i = 0; i < example->n_choices && example->choices; i++) {
        parts[0] = hash;
        parts[1] = tl_hash(example->choices[i], strlen(example->choices[i]));
        hash = tl_hash(parts, sizeof parts);
    }
    return hash;
}

/* ---- over HTTP ---- */

typedef struct batch {
    tl_buffer *out;
    int64_t from, next;
    size_t start, bytes;
} batch;

static bool take_item(void *context, const tl_example *example) {
    batch *b = context;
    if (example->index < b->from) return true;
    if (b->out->length - b->start >= b->bytes) {
        b->next = example->index;
        return false;
    }
    if (b->out->length > b->start) tl_buffer_append_byte(b->out, ',');
    tl_buffer_append_format(b->out, "[%lld,", (long long)example->index);
    tl_page_append_question(b->out, example);
    tl_buffer_append_byte(b->out, ',');
    tl_page_append_answer(b->out, example);
    tl_buffer_append_byte(b->out, ']');
    return true;
}

bool tl_page_examples(tl_store *store, int64_t cell, int64_t from, size_t bytes, tl_buffer *out,
                      tl_error *error) {
    tl_buffer_append_string(out, "{\"items\":[");
    batch b = {out, from, -1, out->length, bytes};
    if (!tl_store_each_example(store, cell, take_item, &b, error)) return false;
    if (b.next < 0)
        tl_buffer_append_string(out, "],\"next\":null}");
    else
        tl_buffer_append_format(out, "],\"next\":%lld}", (long long)b.next);
    return !out->failed || tl_fail_memory(error, out->length, "examples");
}

/* ---- chunks inside the file ---- */

typedef struct packer {
    FILE *out;
    tl_buffer json; /* items of the chunk being filled */
    int chunks;     /* written so far, over the whole page */
    int first;      /* of the list being written */
    tl_error *error;
    bool failed;
} packer;

void tl_page_write_base64(const void *data, size_t length, FILE *out) {
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const unsigned char *bytes = data;
    char text[BASE64_STEP / 3 * 4];
    while (length) {
        size_t step = length < BASE64_STEP ? length : BASE64_STEP, used = 0;
        for (size_t i = 0; i < step; i += 3) {
            unsigned word = (unsigned)bytes[i] << 16;
            if (i + 1 < step) word |= (unsigned)bytes[i + 1] << 8;
            if (i + 2 < step) word |= bytes[i + 2];
            text[used++] = digits[word >> 18];
            text[used++] = digits[word >> 12 & 63];
            text[used++] = i + 1 < step ? digits[word >> 6 & 63] : '=';
            text[used++] = i + 2 < step ? digits[word & 63] : '=';
        }
        fwrite(text, 1, used, out);
        bytes += step;
        length -= step;
    }
}

static void end_chunk(packer *p) {
    if (p->json.length == 0 || p->failed) return;
    tl_buffer_append_byte(&p->json, ']');
    uLongf size = compressBound((uLong)p->json.length);
    unsigned char *packed = malloc(size);
    if (!packed || p->json.failed ||
        compress2(packed, &size, (const Bytef *)p->json.data, (uLong)p->json.length, 6) != Z_OK) {
        p->failed = !tl_fail_memory(p->error, p->json.length, "a chunk of examples");
    } else {
        fprintf(p->out, "<script type=\"text/plain\" id=\"chunk-%d\">", p->chunks++);
        tl_page_write_base64(packed, size, p->out);
        fputs("</script>\n", p->out);
    }
    free(packed);
    tl_buffer_clear(&p->json);
}

static void begin_item(packer *p) {
    if (p->json.length >= CHUNK_BYTES) end_chunk(p);
    tl_buffer_append_byte(&p->json, p->json.length ? ',' : '[');
}

/* Questions shared by the cells of one task: what is written once, and the hash of each by row. */
typedef struct question_set {
    int cell;         /* the fullest cell: the one they were taken from */
    uint64_t *hashes; /* [rows] 0: none */
    int64_t rows;
    int first, last; /* chunks */
} question_set;

typedef struct packing {
    packer packer;
    question_set *set;
    bool want_questions;
} packing;

static bool remember(question_set *set, int64_t row, uint64_t hash) {
    if (row >= set->rows) {
        int64_t wanted = row + 1 + row / 2;
        uint64_t *bigger = realloc(set->hashes, (size_t)wanted * sizeof *bigger);
        if (!bigger) return false;
        memset(bigger + set->rows, 0, (size_t)(wanted - set->rows) * sizeof *bigger);
        set->hashes = bigger;
        set->rows = wanted;
    }
    set->hashes[row] = hash;
    return true;
}

static bool pack_example(void *context, const tl_example *example) {
    packing *p = context;
    if (example->index < 0 || example->index > INT32_MAX) return true;
    uint64_t hash = tl_page_question_hash(example);
    tl_buffer *json = &p->packer.json;
    begin_item(&p->packer);
    tl_buffer_append_format(json, "[%lld,", (long long)example->index);
    if (p->want_questions) {
        tl_page_append_question(json, example);
        if (!remember(p->set, example->index, hash))
            p->packer.failed = !tl_fail_memory(p->packer.error, 8, "the list of questions");
    } else {
        bool shared = example->index < p->set->rows && p->set->hashes[example->index] == hash;
        tl_page_append_answer(json, example);
        if (!shared) {
            tl_buffer_append_byte(json, ',');
            tl_page_append_question(json, example);
        }
    }
    tl_buffer_append_byte(json, ']');
    return !p->packer.failed;
}

static bool pack_cell(packing *p, tl_store *store, const tl_result_cell *cell) {
    p->packer.first = p->packer.chunks;
    if (!tl_store_each_example(store, cell->store_id, pack_example, p, p->packer.error))
        return false;
    end_chunk(&p->packer);
    return !p->packer.failed;
}

static bool same_questions(const tl_result_cell *a, const tl_result_cell *b) {
    return a->run == b->run && a->shots == b->shots && strcmp(a->task, b->task) == 0 &&
           strcmp(a->protocol, b->protocol) == 0;
}

/* The first cell of the set that `cell` belongs to, and the fullest one. */
static void find_set(const tl_results *results, int cell, int *leader, int *fullest) {
    *leader = *fullest = cell;
    for (int i = 0; i < results->cell_count; i++) {
        if (!same_questions(&results->cells[i], &results->cells[cell])) continue;
        if (i < *leader) *leader = i;
        if (results->cells[i].examples > results->cells[*fullest].examples) *fullest = i;
    }
}

static void list_chunks(tl_buffer *index, int cell, int set, int first, int last) {
    tl_buffer_append_format(index, "%s\"%d\":{\"questions\":%d,\"first\":%d,\"last\":%d}",
                            index->data[index->length - 1] == '{' ? "" : ",", cell, set, first,
                            last);
}

static bool pack_set(packing *p, tl_store *store, const tl_results *results, int leader,
                     int fullest, tl_buffer *sets, tl_buffer *cells) {
    question_set set = {.cell = fullest};
    p->set = &set;
    p->want_questions = true;
    bool good = pack_cell(p, store, &results->cells[fullest]);
    tl_buffer_append_format(sets, "%s\"%d\":{\"first\":%d,\"last\":%d}",
                            sets->data[sets->length - 1] == '{' ? "" : ",", leader, p->packer.first,
                            p->packer.chunks);
    p->want_questions = false;
    for (int i = leader; good && i < results->cell_count; i++) {
        const tl_result_cell *cell = &results->cells[i];
        if (!same_questions(cell, &results->cells[leader]) || cell->examples + cell->skipped == 0)
            continue;
        good = pack_cell(p, store, cell);
        list_chunks(cells, i, leader, p->packer.first, p->packer.chunks);
    }
    free(set.hashes);
    return good;
}

static bool pack_run(packing *p, const tl_results *results, int run, tl_buffer *sets,
                     tl_buffer *cells) {
    tl_store *store = results->runs[run].store;
    bool good = true;
    for (int i = 0; good && i < results->cell_count; i++) {
        if (results->cells[i].run != run) continue;
        int leader, fullest;
        find_set(results, i, &leader, &fullest);
        if (leader == i) good = pack_set(p, store, results, leader, fullest, sets, cells);
    }
    return good;
}

bool tl_page_pack_examples(const tl_results *results, FILE *out, tl_error *error) {
    packing p = {.packer = {.out = out, .error = error}};
    tl_buffer sets = {0}, cells = {0};
    tl_buffer_append_byte(&sets, '{');
    tl_buffer_append_byte(&cells, '{');
    bool good = !sets.failed && !cells.failed;
    for (int run = 0; good && run < results->run_count; run++)
        if (results->runs[run].store) good = pack_run(&p, results, run, &sets, &cells);
    good = good && !sets.failed && !cells.failed;
    if (good)
        fprintf(out,
                "<script type=\"application/json\" id=\"chunks\">{\"questions\":%s},"
                "\"cells\":%s}}</script>\n",
                sets.data, cells.data);
    tl_buffer_free(&p.packer.json);
    tl_buffer_free(&sets);
    tl_buffer_free(&cells);
    return good;
}
