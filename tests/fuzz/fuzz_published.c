/* The table of published figures. */
#include "report/published.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    tl_error error = {0};
    tl_results *results = tl_results_new(&error);
    char *text = malloc(size + 1);
    if (results && text) {
        memcpy(text, data, size);
        text[size] = 0;
        tl_published_read_text(results, text, "fuzz", &error);
    }
    free(text);
    tl_results_free(results);
    return 0;
}
