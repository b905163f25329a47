/* What the kernel says, read from /proc and /sys under a root of choice: tests give a tree of their
 * own. Facts about running processes always come from the real /proc. */
#ifndef TL_STUDY_SYSTEM_H
#define TL_STUDY_SYSTEM_H

#include "base/base.h"

#include <sys/types.h>

/* The content of ROOT/PATH without trailing white space and NULs; false when it cannot be read.
 * `root` may be NULL or "" for the real one. */
bool tl_sys_text(const char *root, const char *path, char *text, size_t size);
bool tl_sys_integer(const char *root, const char *path, int64_t *value);

/* The names in a directory, sorted by the number in them; 0 when it is not there. */
typedef struct tl_sys_names {
    char **items;
    int count;
} tl_sys_names;
void tl_sys_list(const char *root, const char *directory, tl_sys_names *names);
void tl_sys_names_free(tl_sys_names *names);

/* Memory of the whole system: /proc/meminfo and /proc/vmstat. Bytes; counters since boot; -1 where
 * the kernel does not say. */
typedef struct tl_system_memory {
    int64_t total, available, swap_total, swap_free, cached;
    int64_t swapped_in, swapped_out; /* pages */
    int64_t major_faults, oom_kills;
} tl_system_memory;
void tl_sys_memory(const char *root, tl_system_memory *memory);

/* Memory of one process, in bytes; -1 where unknown. */
typedef struct tl_process_memory {
    int64_t resident;      /* VmRSS */
    int64_t peak_resident; /* VmHWM */
    int64_t swap;          /* VmSwap */
    int64_t anonymous;     /* RssAnon */
    int64_t file;          /* RssFile */
} tl_process_memory;
bool tl_sys_process(pid_t process, tl_process_memory *memory);

/* Resident pages of a process, shared ones divided by those who share them (smaps_rollup's Pss);
 * the resident set where the kernel has no such file; -1 for no such process. */
int64_t tl_sys_proportional(pid_t process);

/* Faults of a process that had to read from the disk; -1 where unknown. */
int64_t tl_sys_major_faults(pid_t process);

#endif
