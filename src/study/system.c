#include "study/system.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static bool read_text(const char *path, char *text, size_t size) {
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) return false;
    size_t length = 0;
    ssize_t got = 0;
    while (length < size - 1 && (got = read(fd, text + length, size - 1 - length)) > 0)
        length += (size_t)got;
    bool good = length > 0 || got == 0;
    close(fd);
    while (length > 0 && strchr(" \t\r\n", text[length - 1])) /* strchr finds the NUL too */
        length--;
    text[length] = 0;
    return good;
}

bool tl_sys_text(const char *root, const char *path, char *text, size_t size) {
    char full[PATH_MAX];
    int length = snprintf(full, sizeof full, "%s%s", root ? root : "", path);
    *text = 0;
    return length > 0 && (size_t)length < sizeof full && read_text(full, text, size);
}

bool tl_sys_integer(const char *root, const char *path, int64_t *value) {
    char text[64], *end;
    if (!tl_sys_text(root, path, text, sizeof text)) return false;
    errno = 0;
    long long number = strtoll(text, &end, 10);
    if (end == text || end[strspn(end, " \t\r\n")] != 0 || errno == ERANGE) return false;
    *value = number;
    return true;
}

/* hwmon2 before hwmon10. */
static int by_number(const struct dirent **a, const struct dirent **b) {
    return strverscmp((*a)->d_name, (*b)->d_name);
}

static int visible(const struct dirent *entry) {
    return entry->d_name[0] != '.';
}

void tl_sys_list(const char *root, const char *directory, tl_sys_names *names) {
    *names = (tl_sys_names){0};
    char full[PATH_MAX];
    int length = snprintf(full, sizeof full, "%s%s", root ? root : "", directory);
    if (length <= 0 || (size_t)length >= sizeof full) return;
    struct dirent **entries;
    int count = scandir(full, &entries, visible, by_number);
    if (count <= 0) {
        if (count == 0) free(entries);
        return;
    }
    names->items = calloc((size_t)count, sizeof *names->items);
    for (int i = 0; i < count; i++) {
        char *name = names->items ? strdup(entries[i]->d_name) : NULL;
        if (name) names->items[names->count++] = name;
        free(entries[i]);
    }
    free(entries);
}

void tl_sys_names_free(tl_sys_names *names) {
    for (int i = 0; i < names->count; i++)
        free(names->items[i]);
    free(names->items);
    *names = (tl_sys_names){0};
}

/* The number after "NAME" at the start of a line, or -1. */
static int64_t field(const char *text, const char *name) {
    size_t length = strlen(name);
    for (const char *line = text; line; line = strchr(line, '\n')) {
        if (*line == '\n') line++;
        if (strncmp(line, name, length) != 0 || !strchr(": \t", line[length])) continue;
        const char *digits = line + length + strspn(line + length, ": \t");
        char *end;
        long long value = strtoll(digits, &end, 10);
        return end == digits ? -1 : value;
    }
    return -1;
}

static int64_t kilobytes(const char *text, const char *name) {
    int64_t value = field(text, name);
    return value < 0 || value > INT64_MAX / 1024 ? -1 : value * 1024;
}

void tl_sys_memory(const char *root, tl_system_memory *memory) {
    char text[1 << 14];
    tl_sys_text(root, "/proc/meminfo", text, sizeof text);
    memory->total = kilobytes(text, "MemTotal");
    memory->available = kilobytes(text, "MemAvailable");
    memory->swap_total = kilobytes(text, "SwapTotal");
    memory->swap_free = kilobytes(text, "SwapFree");
    memory->cached = kilobytes(text, "Cached");
    tl_sys_text(root, "/proc/vmstat", text, sizeof text);
    memory->swapped_in = field(text, "pswpin");
    memory->swapped_out = field(text, "pswpout");
    memory->major_faults = field(text, "pgmajfault");
    memory->oom_kills = field(text, "oom_kill");
}

bool tl_sys_process(pid_t process, tl_process_memory *memory) {
    char path[64], text[1 << 13];
    snprintf(path, sizeof path, "/proc/%ld/status", (long)process);
    *memory = (tl_process_memory){-1, -1, -1, -1, -1};
    if (!read_text(path, text, sizeof text)) return false;
    memory->resident = kilobytes(text, "VmRSS");
    memory->peak_resident = kilobytes(text, "VmHWM");
    memory->swap = kilobytes(text, "VmSwap");
    memory->anonymous = kilobytes(text, "RssAnon");
    memory->file = kilobytes(text, "RssFile");
    return memory->resident >= 0;
}

int64_t tl_sys_proportional(pid_t process) {
    char path[64], text[1 << 12];
    snprintf(path, sizeof path, "/proc/%ld/smaps_rollup", (long)process);
    int64_t pss = read_text(path, text, sizeof text) ? kilobytes(text, "Pss") : -1;
    if (pss >= 0) return pss;
    tl_process_memory memory;
    return tl_sys_process(process, &memory) ? memory.resident : -1;
}

int64_t tl_sys_major_faults(pid_t process) {
    char path[64], text[1024];
    snprintf(path, sizeof path, "/proc/%ld/stat", (long)process);
    if (!read_text(path, text, sizeof text)) return -1;
    /* After the name in parentheses: state ppid pgrp session tty tpgid flags minflt cminflt majflt
     */
    const char *at = strrchr(text, ')');
    long long faults;
    if (!at || sscanf(at + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %lld", &faults) != 1) return -1;
    return faults;
}
