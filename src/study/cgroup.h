/* cgroup: a memory limit that the kernel enforces on one process, where this process may ask for
 * it: cgroup v2 when its own group is delegated to it (or it is root), v1 on older boards. */
#ifndef TL_STUDY_CGROUP_H
#define TL_STUDY_CGROUP_H

#include "base/base.h"

#include <sys/types.h>

typedef struct tl_cgroup tl_cgroup;

/* A new group limited to `bytes`, swap not counted on. NULL where it may not be made: `why` says
 * what stood in the way. `root` precedes /proc and /sys, for tests. */
tl_cgroup *tl_cgroup_new(const char *root, int64_t bytes, char *why, size_t size);

bool tl_cgroup_add(tl_cgroup *group, pid_t process);

/* Processes of the group that the kernel killed at its limit. */
int64_t tl_cgroup_kills(const tl_cgroup *group);

/* Removes the group, which must be empty by then; undoes what making it changed. */
void tl_cgroup_free(tl_cgroup *group);

#endif
