/* Any bytes as an output of lm-evaluation-harness: up to the first NUL a results file, after it the
 * samples of its task "t". */
#include "report/lmeval_read.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void write_file(const char *path, const uint8_t *data, size_t size) {
    FILE *file = fopen(path, "wb");
    if (!file || fwrite(data, 1, size, file) != size) abort();
    fclose(file);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static char directory[] = "/tmp/fuzz_lmeval_XXXXXX", results_path[64], samples_path[64];
    if (!results_path[0]) {
        if (!mkdtemp(directory)) abort();
        snprintf(results_path, sizeof results_path, "%s/results_1.json", directory);
        snprintf(samples_path, sizeof samples_path, "%s/samples_t_1.jsonl", directory);
    }
    const uint8_t *end = memchr(data, 0, size);
    size_t length = end ? (size_t)(end - data) : size;
    write_file(results_path, data, length);
    if (end)
        write_file(samples_path, end + 1, size - length - 1);
    else
        unlink(samples_path);
    tl_error error = {0};
    tl_results *results = tl_results_new(&error);
    if (results) tl_lmeval_read(results, directory, &error);
    tl_results_free(results);
    return 0;
}
