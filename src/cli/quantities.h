/* Quantities as people write them: 6G, 80%, 90s, 2h. */
#ifndef TL_CLI_QUANTITIES_H
#define TL_CLI_QUANTITIES_H

#include <stdbool.h>
#include <stdint.h>

/* Bytes ("6G", "512M", "1.5GiB", "800000K": powers of 1024) or a share of a whole ("80%"); the
 * other is 0. */
bool cli_parse_memory(const char *text, int64_t *bytes, double *share);

/* Seconds: "90", "90s", "15m", "2h", "1d". */
bool cli_parse_duration(const char *text, double *seconds);

/* "0:29", "1:02:03", "2d 03:04:05" into `text`. */
void cli_format_duration(double seconds, char *text, int size);

/* "23 B", "4.10 kB", "538.09 MB", "1.20 GB" (powers of 1000, as disks and the hub count) into
 * `text`; returns it. */
const char *cli_format_size(uint64_t bytes, char *text, int size);

#endif
