/* bench_tokenizer DIR FILE [ROUNDS]: processor time to open the tokenizer in DIR, and speed of
 * encoding FILE's lines one by one and the file whole; best of the rounds, as "open_ms lines_mbs
 * whole_mbs tokens". bench/tokenizer.sh sets them beside Hugging Face tokenizers. */
#include "tokenizer/tokenizer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Seconds of processor time: on a busy machine the clock on the wall says little. */
static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
    return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

static bool encode_lines(const tl_tokenizer *t, const char *text, size_t length, tl_ids *ids,
                         tl_error *error) {
    for (const char *line = text, *end = text + length; line < end;) {
        const char *stop = memchr(line, '\n', (size_t)(end - line));
        if (!stop) stop = end;
        ids->count = 0;
        if (!tl_tokenizer_encode(t, line, (size_t)(stop - line), true, ids, error)) return false;
        line = stop + 1;
    }
    return true;
}

static int fail(const tl_error *error) {
    fprintf(stderr, "bench_tokenizer: %s\n", error->message);
    return 1;
}

int main(int argc, char **argv) {
    if (argc < 3) {
        fprintf(stderr, "usage: bench_tokenizer DIR FILE [ROUNDS]\n");
        return 2;
    }
    int rounds = argc > 3 ? atoi(argv[3]) : 5;
    tl_error error = {0};
    size_t length;
    char *text = tl_file_read(argv[2], 1 << 28, &length, &error);
    if (!text) return fail(&error);
    double best[3] = {1e9, 1e9, 1e9};
    size_t tokens = 0;
    for (int round = 0; round < rounds; round++) {
        double times[4] = {now()};
        tl_tokenizer *t = tl_tokenizer_open(argv[1], &error);
        if (!t) return fail(&error);
        times[1] = now();
        tl_ids ids = {0};
        if (!encode_lines(t, text, length, &ids, &error)) return fail(&error);
        times[2] = now();
        ids.count = 0;
        if (!tl_tokenizer_encode(t, text, length, true, &ids, &error)) return fail(&error);
        times[3] = now();
        for (int i = 0; i < 3; i++)
            if (times[i + 1] - times[i] < best[i]) best[i] = times[i + 1] - times[i];
        tokens = ids.count;
        tl_ids_free(&ids);
        tl_tokenizer_free(t);
    }
    printf("%.1f %.2f %.2f %zu\n", best[0] * 1e3, (double)length / 1e6 / best[1],
           (double)length / 1e6 / best[2], tokens);
    free(text);
    return 0;
}
