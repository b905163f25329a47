#include "tokenizer/pieces.h"

#include <stdlib.h>

void tl_pieces_clear(tl_pieces *pieces) {
    tl_buffer_clear(&pieces->own);
    pieces->text = NULL;
    pieces->count = 0;
    pieces->failed = false;
}

void tl_pieces_view(tl_pieces *pieces, tl_pieces *in) {
    tl_buffer spare = pieces->own;
    pieces->own = in->own;
    in->own = spare;
    pieces->text = in->text;
    pieces->count = 0;
    pieces->failed = false;
}

void tl_pieces_free(tl_pieces *pieces) {
    tl_buffer_free(&pieces->own);
    free(pieces->items);
    *pieces = (tl_pieces){0};
}

void tl_pieces_push(tl_pieces *pieces, size_t start, size_t length, bool first) {
    if (pieces->count == pieces->capacity) {
        size_t capacity = pieces->capacity ? pieces->capacity * 2 : 64;
        tl_piece *items = realloc(pieces->items, capacity * sizeof *items);
        if (!items) {
            pieces->failed = true;
            return;
        }
        pieces->items = items;
        pieces->capacity = capacity;
    }
    pieces->items[pieces->count++] = (tl_piece){start, length, first};
}

void tl_pieces_add(tl_pieces *pieces, size_t start, size_t length, bool first) {
    if (length) tl_pieces_push(pieces, start, length, first);
}

void tl_pieces_push_own(tl_pieces *pieces, size_t start, bool first) {
    tl_pieces_push(pieces, start, pieces->own.length - start, first);
}

bool tl_pieces_finish(tl_pieces *pieces, tl_error *error) {
    if (pieces->failed || pieces->own.failed)
        return tl_fail_memory(error, pieces->capacity * sizeof *pieces->items, "pieces of text");
    if (!pieces->text) pieces->text = tl_buffer_string(&pieces->own);
    return true;
}
