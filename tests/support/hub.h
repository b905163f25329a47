/* The test hub (hub_server.py), for tests of downloads. */
#ifndef TESTS_HUB_H
#define TESTS_HUB_H

#include "support/support.h"

/* Starts the server over a fresh scratch directory, sets HF_ENDPOINT to it and HF_HOME to another,
 * clears what else the environment says of a hub. False where there is no python3. Stopped by
 * test_hub_stop, or when the test program ends. */
bool test_hub_start(void);
void test_hub_stop(void);

/* Puts a file of `size` bytes (made from `seed`) or a text into a repository: "models/org/name". */
void test_hub_file(const char *repository, const char *name, size_t size, unsigned seed);
void test_hub_text(const char *repository, const char *name, const char *text);

/* Sets how the server misbehaves (JSON, see hub_server.py); counts of what has been used stay. */
void test_hub_behave(const char *json);

/* The requests so far, one JSON object a line; forgets them. Free with free(). */
char *test_hub_log(void);

/* A path in the cache (HF_HOME/hub); lives until the next eight test_scratch_path calls. */
const char *test_hub_cache(const char *format, ...) TL_PRINTF(1, 2);

#endif
