/* Text cut into pieces: what passes between the steps of encoding and of decoding. */
#ifndef TL_TOKENIZER_PIECES_H
#define TL_TOKENIZER_PIECES_H

#include "base/base.h"

typedef struct tl_piece {
    size_t start, length; /* bytes in `text` */
    bool first;           /* begins where the text given to encode begins */
} tl_piece;

typedef struct tl_pieces {
    const char *text; /* what the pieces cut: `own`, or another's text */
    tl_buffer own;
    tl_piece *items;
    size_t count, capacity;
    bool failed; /* memory ran out: content is incomplete */
} tl_pieces;

/* Empty, with memory kept; the pieces will cut `own`. */
void tl_pieces_clear(tl_pieces *pieces);

/* Empty; the pieces will cut the text that `in` cuts, and hold its memory from now on: the step
 * after next writes to what is then free. */
void tl_pieces_view(tl_pieces *pieces, tl_pieces *in);
void tl_pieces_free(tl_pieces *pieces);

/* Appends a piece of `text`. */
void tl_pieces_push(tl_pieces *pieces, size_t start, size_t length, bool first);

/* The same, but an empty piece is left out, as splitting does. */
void tl_pieces_add(tl_pieces *pieces, size_t start, size_t length, bool first);

/* Appends the piece of `own` that began at `start` and ends where `own` does; it may be empty. */
void tl_pieces_push_own(tl_pieces *pieces, size_t start, bool first);

/* False with an error when memory ran out; sets `text` when the pieces cut `own`. */
bool tl_pieces_finish(tl_pieces *pieces, tl_error *error);

#endif
