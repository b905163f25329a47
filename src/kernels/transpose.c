/* Matrices that a file holds as [in, out], brought to [out, in]. Memory sets the pace: the source
 * is read in long runs into a slab that stays in the cache, the result is written in whole lines.
 */
#include "kernels/compute.h"

#include <string.h>

enum {
    LINE = 64,         /* bytes of a row in a square */
    SLAB_ROWS = 64,    /* of the source: two lines of the result, or four */
    SLAB_BYTES = 2048, /* of each */
    /* Rows a power of two apart would drive each other out of the cache. */
    SLAB_STRIDE = SLAB_BYTES + LINE,
};

typedef struct transposition {
    const unsigned char *source;
    size_t size; /* of an element */
    size_t in, out;
    unsigned char *data;
    const tl_kernels *kernels;
} transposition;

/* Part of a square: `rows` rows of the source, `outs` of the result. */
static void transpose_part(const transposition *op, const unsigned char *from, size_t rows,
                           size_t outs, unsigned char *to) {
    _Alignas(LINE) unsigned char square[LINE / 2 * LINE];
    const size_t side = LINE / op->size;
    op->kernels->transpose_squares(op->size, side, side, from, SLAB_STRIDE, square, LINE);
    for (size_t i = 0; i < outs; i++)
        memcpy(to + i * op->in * op->size, square + i * LINE, rows * op->size);
}

static size_t least(size_t a, size_t b) {
    return a < b ? a : b;
}

/* Rows k … of the source, their elements from `out` on: as many as a slab holds. */
static void transpose_slab(const transposition *op, size_t k, size_t out, unsigned char *slab) {
    const size_t size = op->size, side = LINE / size;
    size_t rows = least(op->in - k, SLAB_ROWS), outs = least(op->out - out, SLAB_BYTES / size);
    size_t whole_rows = rows - rows % side, whole_outs = outs - outs % side;
    const unsigned char *source = op->source + (k * op->out + out) * size;
    unsigned char *data = op->data + (out * op->in + k) * size;
    for (size_t row = 0; row < rows; row++)
        memcpy(slab + row * SLAB_STRIDE, source + row * op->out * size, outs * size);
    op->kernels->transpose_squares(size, whole_rows, whole_outs, slab, SLAB_STRIDE, data,
                                   op->in * size);
    for (size_t o = 0; o < outs; o += side)
        for (size_t row = o < whole_outs ? whole_rows : 0; row < rows; row += side)
            transpose_part(op, slab + row * SLAB_STRIDE + o * size, least(rows - row, side),
                           least(outs - o, side), data + (o * op->in + row) * size);
}

static void transpose_rows(const tl_compute *compute, const void *context, int32_t first,
                           int32_t end) {
    (void)compute;
    const transposition *op = context;
    unsigned char slab[SLAB_ROWS * SLAB_STRIDE] = {0}; /* parts of squares read all of them */
    size_t width = SLAB_BYTES / op->size, slabs = (op->out + width - 1) / width;
    for (int32_t group = first; group < end; group++) {
        /* Neighbours go opposite ways, so that threads do not ask for the same new pages. */
        for (size_t i = 0; i < slabs; i++)
            transpose_slab(op, (size_t)group * SLAB_ROWS, (group % 2 ? slabs - 1 - i : i) * width,
                           slab);
    }
}

void tl_matrix_transpose(tl_compute *compute, const void *source, tl_dtype dtype, int32_t in,
                         int32_t out, void *data) {
    transposition op = {source, dtype == TL_F32 ? 4 : 2, (size_t)in, (size_t)out,
                        data,   compute->kernels};
    tl_rows_run(compute, (in + SLAB_ROWS - 1) / SLAB_ROWS, out * SLAB_ROWS, transpose_rows, &op);
}
