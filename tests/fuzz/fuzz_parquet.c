/* Any bytes as a Parquet file: read to the end or refused, never more. */
#include "hub/parquet.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    enum { MOST_ROWS = 2000 };
    int fd = memfd_create("parquet", MFD_CLOEXEC);
    if (fd < 0 || write(fd, data, size) != (ssize_t)size) abort();
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    tl_error error = {0};
    tl_parquet *parquet = tl_parquet_open(path, &error);
    cJSON *row = NULL;
    for (int i = 0; parquet && i < MOST_ROWS; i++) {
        if (!tl_parquet_next(parquet, &row, &error) || !row) break;
        cJSON_Delete(row);
    }
    tl_parquet_free(parquet);
    close(fd);
    return 0;
}
