/* What a name that nobody has may have been meant for. */
#include "cli/cli.h"

#include <string.h>

enum { LONGEST = 32, SHORTEST_BEGINNING = 3 };

/* lm-evaluation-harness's and llama.cpp's names, which resemble none of ours. */
static const char *const foreign[][2] = {
    {"num-fewshot", "shots"},
    {"batch-size", "batched"},
    {"n-predict", "tokens"},
    {"hf-repo", "model"},
};

static bool same(char a, char b) {
    return a == b || (a == '_' && b == '-');
}

static bool begins(const char *word, const char *name, size_t length) {
    size_t i = 0;
    while (i < length && same(word[i], name[i]))
        i++;
    return i == length;
}

static size_t least(size_t a, size_t b) {
    return a < b ? a : b;
}

/* Letters added, left out, exchanged with another or with their neighbour. */
static size_t distance(const char *a, size_t n, const char *b, size_t m) {
    size_t rows[3][LONGEST + 1], *before = rows[0], *last = rows[1], *now = rows[2];
    for (size_t j = 0; j <= m; j++)
        last[j] = j;
    for (size_t i = 1; i <= n; i++) {
        now[0] = i;
        for (size_t j = 1; j <= m; j++) {
            now[j] = least(least(last[j], now[j - 1]) + 1, last[j - 1] + !same(a[i - 1], b[j - 1]));
            if (i > 1 && j > 1 && same(a[i - 1], b[j - 2]) && same(a[i - 2], b[j - 1]))
                now[j] = least(now[j], before[j - 2] + 1);
        }
        size_t *free_row = before;
        before = last;
        last = now;
        now = free_row;
    }
    return last[m];
}

static size_t resemblance(const cli_guess *guess, const char *name, size_t length) {
    for (size_t i = 0; i < sizeof foreign / sizeof *foreign; i++)
        if (strcmp(name, foreign[i][1]) == 0 && strlen(foreign[i][0]) == guess->length &&
            begins(guess->word, foreign[i][0], guess->length))
            return 0;
    size_t shared = least(guess->length, length);
    if (shared >= SHORTEST_BEGINNING && begins(guess->word, name, shared)) return 1;
    return distance(guess->word, guess->length, name, length);
}

void cli_guess_try(cli_guess *guess, const char *name) {
    size_t length = strlen(name);
    if (length > LONGEST || guess->length > LONGEST) return;
    size_t found = resemblance(guess, name, length);
    if (found > (guess->length + 1) / 3 || (guess->name && found >= guess->distance)) return;
    guess->name = name;
    guess->distance = found;
}
