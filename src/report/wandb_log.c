#include "report/wandb_log.h"

#include <zlib.h>

enum { FULL = 1, FIRST, MIDDLE, LAST };

static bool put(tl_wandb_log *log, const void *bytes, size_t length, tl_error *error) {
    log->offset += length;
    if (fwrite(bytes, 1, length, log->out) == length) return true;
    return tl_fail_errno(error, "cannot write the W&B run");
}

bool tl_wandb_log_begin(tl_wandb_log *log, FILE *out, tl_error *error) {
    static const unsigned char header[TL_WANDB_FILE_HEADER] = {':', 'W', '&', 'B', 0xe1, 0xbe, 0};
    *log = (tl_wandb_log){out, 0};
    return put(log, header, sizeof header, error);
}

/* checksum (of kind and data), length, both little-endian, kind, data */
static bool put_chunk(tl_wandb_log *log, unsigned char kind, const unsigned char *data,
                      size_t length, tl_error *error) {
    uLong crc = crc32(crc32(0, NULL, 0), &kind, 1);
    if (length) crc = crc32(crc, data, (uInt)length);
    const unsigned char header[TL_WANDB_CHUNK_HEADER] = {(unsigned char)crc,
                                                         (unsigned char)(crc >> 8),
                                                         (unsigned char)(crc >> 16),
                                                         (unsigned char)(crc >> 24),
                                                         (unsigned char)(length & 255),
                                                         (unsigned char)(length >> 8),
                                                         kind};
    return put(log, header, sizeof header, error) && put(log, data, length, error);
}

bool tl_wandb_log_append(tl_wandb_log *log, const void *bytes, size_t length, tl_error *error) {
    static const unsigned char zeros[TL_WANDB_CHUNK_HEADER] = {0};
    const unsigned char *data = bytes;
    size_t room = TL_WANDB_BLOCK - log->offset % TL_WANDB_BLOCK;
    if (room < TL_WANDB_CHUNK_HEADER) {
        if (!put(log, zeros, room, error)) return false;
        room = TL_WANDB_BLOCK;
    }
    for (bool first = true;; first = false) {
        size_t fits = room - TL_WANDB_CHUNK_HEADER;
        bool last = length <= fits;
        size_t part = last ? length : fits;
        unsigned char kind = first ? (last ? FULL : FIRST) : (last ? LAST : MIDDLE);
        if (!put_chunk(log, kind, data, part, error)) return false;
        if (last) return true;
        data += part;
        length -= part;
        room = TL_WANDB_BLOCK;
    }
}
