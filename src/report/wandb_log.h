/* The file of a W&B run: a seven-byte header, then records framed as in LevelDB's log (blocks of
 * 32 KiB, chunks of checksum, length and kind), with the plain CRC-32 of zlib. */
#ifndef TL_REPORT_WANDB_LOG_H
#define TL_REPORT_WANDB_LOG_H

#include "base/base.h"

#include <stdio.h>

enum {
    TL_WANDB_BLOCK = 32768,
    TL_WANDB_CHUNK_HEADER = 7,
    TL_WANDB_FILE_HEADER = 7,
};

typedef struct tl_wandb_log {
    FILE *out;       /* borrowed */
    uint64_t offset; /* bytes written */
} tl_wandb_log;

/* Begins the file: writes its header. */
bool tl_wandb_log_begin(tl_wandb_log *log, FILE *out, tl_error *error);

/* Appends one record of any length, split over blocks where it must be. */
bool tl_wandb_log_append(tl_wandb_log *log, const void *bytes, size_t length, tl_error *error);

#endif
