/* The program started in the background, its workers found, and its runs looked into. */
#ifndef TESTS_BACKGROUND_H
#define TESTS_BACKGROUND_H

#include "study/store.h"

#include <sys/types.h>

/* Starts the program with the given arguments (NULL-terminated); its outputs go to the files
 * out.txt and err.txt of the scratch directory. */
pid_t background_start(const char *const arguments[]);

/* The process's child, waiting up to `seconds` for it to appear; 0 when there is none. */
pid_t background_worker(pid_t parent, double seconds);

/* Waits for the end; exit status, or 128 + signal. */
int background_wait(pid_t process);

/* Examples stored in all cells of the run in the scratch directory's `name`; -1 when there is no
 * store yet. */
int64_t background_examples(const char *name);

/* Everything about the run's cells and examples that must not depend on how it was run (times and
 * peaks aside), as text; free(). */
char *background_digest(const char *name);

/* The verdict and reason of the run's first cell. */
tl_verdict background_verdict(const char *name, char *reason, size_t size);

#endif
