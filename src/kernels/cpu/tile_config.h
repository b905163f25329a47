/* How AMX's eight tile registers are set up: what ldtilecfg reads. */
#ifndef TL_KERNELS_TILE_CONFIG_H
#define TL_KERNELS_TILE_CONFIG_H

#include <stdint.h>

/* Instances are constant: GCC 12 takes the instruction to read 8 bytes only, and would drop what is
 * written to the others. */
typedef struct tile_config {
    uint8_t palette, start_row, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
} tile_config;

#endif
