/* names: models of the same last name, told apart where they stand side by side. */
#ifndef TL_STUDY_NAMES_H
#define TL_STUDY_NAMES_H

#include "base/base.h"

/* The last `parts` parts of a path or hub id: "b/model" of "/data/b/model" for 2, "name@refs/pr/1"
 * of "org/name@refs/pr/1" for 1. All of it where it has no more. Points into `id`. */
const char *tl_model_tail(const char *id, int parts);

/* How many parts tell `id` apart from all of `others` that are not `id` itself; 0 where there is
 * no other. */
int tl_model_parts(const char *id, const char *const *others, int count);

#endif
