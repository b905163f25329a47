/* Results must be the same bits whatever the threads, the pass and the company. */
#ifndef TESTS_SAME_BITS_H
#define TESTS_SAME_BITS_H

#include "model/model.h"

/* Scores a few sequences one by one, then in forests cut at random, in passes of 1 to 300 rows, on
 * one to four threads, and fails the test where a bit differs. `name` is how failures call it. */
void test_same_bits(const tl_model *model, const char *name);

#endif
