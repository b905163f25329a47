/* Any bytes as rows; the first byte chooses the format. Rows that are read are written back as
 * documents, which must be JSON again. */
#include "task/document.h"
#include "task/task.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A file in memory under names of each format's ending. */
static int make_file(char paths[3][64]) {
    static const char *const endings[] = {"jsonl", "json", "csv"};
    char directory[] = "/tmp/fuzz_rows_XXXXXX", target[64];
    int fd = memfd_create("rows", MFD_CLOEXEC);
    if (fd < 0 || !mkdtemp(directory)) abort();
    snprintf(target, sizeof target, "/proc/self/fd/%d", fd);
    for (int i = 0; i < 3; i++) {
        snprintf(paths[i], 64, "%s/rows.%s", directory, endings[i]);
        if (symlink(target, paths[i]) != 0) abort();
    }
    return fd;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static char paths[3][64];
    static int fd = -1;
    if (fd < 0) fd = make_file(paths);
    if (size < 1) return 0;
    if (ftruncate(fd, 0) != 0 || pwrite(fd, data + 1, size - 1, 0) != (ssize_t)(size - 1)) abort();
    tl_error error = {0};
    tl_rows *rows = tl_rows_open(paths[data[0] % 3], 0, &error);
    for (int64_t i = 0; rows && i < tl_rows_count(rows); i++) {
        size_t length;
        const char *text = tl_rows_text(rows, i, &length);
        tl_buffer out = {0};
        tl_document_append(&out, text, length, i % 2 ? 2 : 0);
        cJSON *again = tl_json_parse(tl_buffer_string(&out), out.length, "document", &error);
        if (!again) abort();
        cJSON_Delete(again);
        tl_buffer_free(&out);
    }
    tl_rows_free(rows);
    return 0;
}
