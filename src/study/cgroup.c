#include "study/cgroup.h"

#include "study/system.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* The two generations, by the names of their files. */
typedef struct generation {
    const char *mount;
    const char *limit, *swap_limit; /* `swap_limit` counts swap alone in v2, memory + swap in v1 */
    const char *events, *kills;     /* the file with the count of kills, and its key */
    bool swap_is_total;
} generation;

static const generation generations[] = {
    {"/sys/fs/cgroup", "memory.max", "memory.swap.max", "memory.events", "oom_kill", false},
    {"/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.memsw.limit_in_bytes",
     "memory.oom_control", "oom_kill", true},
};

struct tl_cgroup {
    const generation *generation;
    char own[PATH_MAX / 2];     /* the group this process was in */
    char group[PATH_MAX / 2];   /* the new one */
    char waiting[PATH_MAX / 2]; /* where this process moved to make room, "" when it did not */
};

static bool write_text(const char *directory, const char *file, const char *text) {
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/%s", directory, file);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0) return false;
    bool good = write(fd, text, strlen(text)) == (ssize_t)strlen(text);
    int kept = errno;
    close(fd);
    errno = kept;
    return good;
}

static bool write_integer(const char *directory, const char *file, int64_t value) {
    char text[32];
    snprintf(text, sizeof text, "%lld", (long long)value);
    return write_text(directory, file, text);
}

static bool has_file(const char *directory, const char *file) {
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/%s", directory, file);
    return access(path, F_OK) == 0;
}

/* The path after "0::" (v2), or of the line that lists the memory controller (v1). */
static bool own_path(const char *root, bool second, char *path, size_t size) {
    char text[4096], *rest = text;
    if (!tl_sys_text(root, "/proc/self/cgroup", text, sizeof text)) return false;
    for (char *line; (line = strsep(&rest, "\n"));) {
        char *controllers = strchr(line, ':');
        char *place = controllers ? strchr(controllers + 1, ':') : NULL;
        if (!place) continue;
        *place++ = 0;
        controllers++;
        bool memory = strcmp(controllers, "memory") == 0 || strstr(controllers, "memory,") ||
                      strstr(controllers, ",memory");
        if (second ? *controllers == 0 : memory) {
            snprintf(path, size, "%s", place);
            return true;
        }
    }
    return false;
}

/* v2 hands a controller only to children of a group without processes: this process steps into a
 * child of its own first. Fails where others live in the group too. */
static bool hand_down_memory(tl_cgroup *g) {
    snprintf(g->waiting, sizeof g->waiting, "%.1900s/tinyllm-%ld-parent", g->own, (long)getpid());
    if (mkdir(g->waiting, 0755) != 0 && errno != EEXIST) {
        *g->waiting = 0;
        return false;
    }
    if (write_integer(g->waiting, "cgroup.procs", getpid()) &&
        write_text(g->own, "cgroup.subtree_control", "+memory"))
        return true;
    int kept = errno;
    write_integer(g->own, "cgroup.procs", getpid());
    rmdir(g->waiting);
    *g->waiting = 0;
    errno = kept;
    return false;
}

static bool set_limits(const tl_cgroup *g, int64_t bytes) {
    const generation *v = g->generation;
    if (!write_integer(g->group, v->limit, bytes)) return false;
    /* Without this the group would be swapped out instead of stopped. Not every kernel has it. */
    write_integer(g->group, v->swap_limit, v->swap_is_total ? bytes : 0);
    return true;
}

static bool make(tl_cgroup *g, const char *root, bool second, int64_t bytes) {
    char path[PATH_MAX / 4];
    g->generation = &generations[second ? 0 : 1];
    if (!own_path(root, second, path, sizeof path)) {
        errno = ENOENT;
        return false;
    }
    snprintf(g->own, sizeof g->own, "%.512s%s%.1024s", root ? root : "", g->generation->mount,
             strcmp(path, "/") == 0 ? "" : path);
    snprintf(g->group, sizeof g->group, "%.1900s/tinyllm-%ld-cell", g->own, (long)getpid());
    if (second && !has_file(g->own, "cgroup.subtree_control")) {
        errno = ENOENT;
        return false;
    }
    if (mkdir(g->group, 0755) != 0 && errno != EEXIST) return false;
    if (second && !has_file(g->group, g->generation->limit) && !hand_down_memory(g)) return false;
    return set_limits(g, bytes);
}

tl_cgroup *tl_cgroup_new(const char *root, int64_t bytes, char *why, size_t size) {
    tl_cgroup *group = NULL;
    *why = 0;
    for (int second = 1; second >= 0; second--) {
        group = calloc(1, sizeof *group);
        if (!group) return NULL;
        if (make(group, root, second, bytes)) return group;
        size_t used = strlen(why);
        snprintf(why + used, size - used, "%scgroup v%d: %s", used ? "; " : "", second + 1,
                 strerror(errno));
        tl_cgroup_free(group);
    }
    return NULL;
}

bool tl_cgroup_add(tl_cgroup *group, pid_t process) {
    return write_integer(group->group, "cgroup.procs", process);
}

int64_t tl_cgroup_kills(const tl_cgroup *group) {
    char path[PATH_MAX], text[1024];
    snprintf(path, sizeof path, "%s/%s", group->group, group->generation->events);
    if (!tl_sys_text(NULL, path, text, sizeof text)) return 0;
    size_t length = strlen(group->generation->kills);
    for (char *line = text; line; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (strncmp(line, group->generation->kills, length) == 0 && line[length] == ' ')
            return strtoll(line + length, NULL, 10);
    }
    return 0;
}

void tl_cgroup_free(tl_cgroup *group) {
    if (!group) return;
    if (*group->group) rmdir(group->group);
    if (*group->waiting) {
        write_text(group->own, "cgroup.subtree_control", "-memory");
        write_integer(group->own, "cgroup.procs", getpid());
        rmdir(group->waiting);
    }
    free(group);
}
