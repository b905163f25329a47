/* A run's store (study/store.h), read into results. */
#ifndef TL_REPORT_RUN_READ_H
#define TL_REPORT_RUN_READ_H

#include "report/results.h"

/* Does the directory hold a store? */
bool tl_run_is_store(const char *directory);

/* Adds the devices and cells of the store in the directory, which stays open as long as the results
 * live. With results->salvage, what can be read of a damaged one, and a line about that. */
bool tl_run_read(tl_results *results, const char *directory, tl_error *error);

#endif
