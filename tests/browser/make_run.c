/* Writes the store of a run for the browser's tests: make_run DIR MODELS TASKS EXAMPLES [hostile]
 * [troubled] [loglikelihood]. */
#include "support/run_fixture.h"
#include "support/support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(int argc, char **argv) {
    if (argc < 5) return fprintf(stderr, "usage: make_run DIR MODELS TASKS EXAMPLES [WORD]…\n"), 2;
    run_fixture fixture = {atoi(argv[2]), atoi(argv[3]), atoi(argv[4])};
    for (int i = 5; i < argc; i++) {
        fixture.hostile |= strcmp(argv[i], "hostile") == 0;
        fixture.troubled |= strcmp(argv[i], "troubled") == 0;
        fixture.loglikelihood |= strcmp(argv[i], "loglikelihood") == 0;
    }
    run_fixture_write(argv[1], &fixture);
    return 0;
}
