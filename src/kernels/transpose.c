/* Matrices that a file holds as [in, out], brought to [out, in]. Memory sets the pace: the source
 * is read in long runs into a slab that stays in the cache, the result is written line by line. */
#include "kernels/compute.h"

#include <string.h>

enum {
    LINE = 64,         /* bytes of a row in a tile, and rows in it at most */
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
} transposition;

/* Four rows of four 16-bit elements, each row in one integer, turned by exchanging elements and
 * then pairs of them. Either order of bytes gives the same result: it mirrors both directions. */
static void transpose4(const unsigned char *from, unsigned char *to) {
    const uint64_t even = 0x0000ffff0000ffff, low = 0x00000000ffffffff;
    uint64_t a, b, c, d;
    memcpy(&a, from, sizeof a);
    memcpy(&b, from + SLAB_STRIDE, sizeof b);
    memcpy(&c, from + 2 * SLAB_STRIDE, sizeof c);
    memcpy(&d, from + 3 * SLAB_STRIDE, sizeof d);
    uint64_t ab0 = (a & even) | (b & even) << 16, ab1 = (a >> 16 & even) | (b & ~even);
    uint64_t cd0 = (c & even) | (d & even) << 16, cd1 = (c >> 16 & even) | (d & ~even);
    uint64_t rows[] = {(ab0 & low) | cd0 << 32, (ab1 & low) | cd1 << 32, ab0 >> 32 | (cd0 & ~low),
                       ab1 >> 32 | (cd1 & ~low)};
    for (int i = 0; i < 4; i++)
        memcpy(to + i * LINE, &rows[i], sizeof *rows);
}

/* A square of LINE / size elements of the slab → the same with its rows LINE bytes apart. */
static void transpose_tile(size_t size, const unsigned char *from, unsigned char *to) {
    if (size == sizeof(uint16_t)) {
        for (int row = 0; row < LINE / 2; row += 4)
            for (int column = 0; column < LINE / 2; column += 4)
                transpose4(from + row * SLAB_STRIDE + column * 2, to + column * LINE + row * 2);
        return;
    }
    for (int row = 0; row < LINE / 4; row++)
        for (int column = 0; column < LINE / 4; column++)
            memcpy(to + column * LINE + row * 4, from + row * SLAB_STRIDE + column * 4, 4);
}

/* Rows k … of the source, their elements from `out` on: as many as a slab holds. */
static void transpose_slab(const transposition *op, size_t k, size_t out, unsigned char *slab) {
    const size_t size = op->size, side = LINE / size;
    size_t rows = op->in - k < SLAB_ROWS ? op->in - k : SLAB_ROWS;
    size_t outs = op->out - out < SLAB_BYTES / size ? op->out - out : SLAB_BYTES / size;
    for (size_t row = 0; row < rows; row++)
        memcpy(slab + row * SLAB_STRIDE, op->source + ((k + row) * op->out + out) * size,
               outs * size);
    _Alignas(LINE) unsigned char tile[LINE / 2 * LINE];
    for (size_t o = 0; o < outs; o += side) {
        for (size_t row = 0; row < rows; row += side) {
            transpose_tile(size, slab + row * SLAB_STRIDE + o * size, tile);
            size_t bytes = (rows - row < side ? rows - row : side) * size;
            for (size_t i = 0; i < side && o + i < outs; i++) {
                unsigned char *to = op->data + ((out + o + i) * op->in + k + row) * size;
                if (bytes == LINE)
                    memcpy(to, tile + i * LINE, LINE);
                else
                    memcpy(to, tile + i * LINE, bytes);
            }
        }
    }
}

static void transpose_rows(const tl_compute *compute, const void *context, int32_t first,
                           int32_t end) {
    (void)compute;
    const transposition *op = context;
    unsigned char slab[SLAB_ROWS * SLAB_STRIDE] = {0}; /* the ends of tiles are never rows' own */
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
    transposition op = {source, dtype == TL_F32 ? 4 : 2, (size_t)in, (size_t)out, data};
    tl_rows_run(compute, (in + SLAB_ROWS - 1) / SLAB_ROWS, out * SLAB_ROWS, transpose_rows, &op);
}
