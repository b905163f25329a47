#include "base/file.h"

#include "base/buffer.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

bool tl_file_map(const char *path, tl_mapping *mapping, tl_error *error) {
    *mapping = (tl_mapping){0};
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return tl_fail_errno(error, "%s: cannot open", path);
    struct stat status;
    if (fstat(fd, &status) != 0) {
        tl_fail_errno(error, "%s: cannot stat", path);
        close(fd);
        return false;
    }
    if (!S_ISREG(status.st_mode)) {
        close(fd);
        return tl_fail(error, TL_ERROR_IO, "%s: not a regular file", path);
    }
    mapping->size = (size_t)status.st_size;
    if (mapping->size > 0) {
        void *data = mmap(NULL, mapping->size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (data == MAP_FAILED) {
            tl_fail_errno(error, "%s: cannot map %zu bytes", path, mapping->size);
            *mapping = (tl_mapping){0};
            close(fd);
            return false;
        }
        mapping->data = data;
    }
    close(fd);
    return true;
}

void tl_file_unmap(tl_mapping *mapping) {
    if (mapping->data) munmap((void *)mapping->data, mapping->size);
    *mapping = (tl_mapping){0};
}

char *tl_file_read(const char *path, size_t limit, size_t *length, tl_error *error) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        tl_fail_errno(error, "%s: cannot open", path);
        return NULL;
    }
    tl_buffer content = {0};
    struct stat status;
    if (fstat(fd, &status) == 0 && S_ISREG(status.st_mode) && (size_t)status.st_size <= limit)
        tl_buffer_reserve(&content, (size_t)status.st_size + 1);
    bool good = false;
    while (!content.failed && content.length <= limit) {
        if (!tl_buffer_reserve(&content, 1 << 13)) break;
        ssize_t got =
            read(fd, content.data + content.length, content.capacity - content.length - 1);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) {
            tl_fail_errno(error, "%s: cannot read", path);
            break;
        }
        if (got == 0) {
            good = true;
            break;
        }
        content.length += (size_t)got;
    }
    close(fd);
    if (content.length > limit)
        good =
            tl_fail(error, TL_ERROR_LIMIT, "%s: larger than the limit of %zu bytes", path, limit);
    else if (content.failed)
        good = tl_fail_memory(error, content.length, path);
    if (!good) {
        tl_buffer_free(&content);
        return NULL;
    }
    if (length) *length = content.length;
    return tl_buffer_take(&content);
}

bool tl_file_put(int fd, const void *data, size_t length) {
    for (const char *at = data; length > 0;) {
        ssize_t put = write(fd, at, length);
        if (put < 0 && errno == EINTR) continue;
        if (put <= 0) return false;
        at += put;
        length -= (size_t)put;
    }
    return true;
}

bool tl_file_write(const char *path, const void *data, size_t length, tl_error *error) {
    tl_buffer name = {0};
    tl_buffer_append_format(&name, "%s.%ld.part", path, (long)getpid());
    if (name.failed) return tl_fail_memory(error, strlen(path), "a path");
    int fd = open(name.data, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (fd < 0) {
        tl_fail_errno(error, "%s: cannot create", name.data);
        tl_buffer_free(&name);
        return false;
    }
    bool good = tl_file_put(fd, data, length) && fsync(fd) == 0;
    if (close(fd) != 0) good = false;
    if (good && rename(name.data, path) != 0) good = false;
    if (!good) {
        tl_fail_errno(error, "%s: cannot write %zu bytes", path, length);
        unlink(name.data);
    }
    tl_buffer_free(&name);
    return good;
}

bool tl_file_exists(const char *path) {
    struct stat status;
    return stat(path, &status) == 0 && S_ISREG(status.st_mode);
}

bool tl_dir_exists(const char *path) {
    struct stat status;
    return stat(path, &status) == 0 && S_ISDIR(status.st_mode);
}

bool tl_dir_create(const char *path, tl_error *error) {
    char *copy = strdup(path);
    if (!copy) return tl_fail_memory(error, strlen(path), "a path");
    bool good = true;
    for (char *at = copy + 1; good; at++) {
        if (*at != '/' && *at != 0) continue;
        char kept = *at;
        *at = 0;
        if (mkdir(copy, 0777) != 0 && (errno != EEXIST || !tl_dir_exists(copy)))
            good = tl_fail_errno(error, "%s: cannot create the directory", copy);
        *at = kept;
        if (kept == 0) break;
    }
    free(copy);
    return good;
}

int tl_dir_lock(const char *path, tl_error *error) {
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
        tl_fail_errno(error, "%s: cannot open", path);
    } else if (flock(fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) {
        tl_fail(error, TL_ERROR_IO,
                "%s: another process is writing there; wait for it, or use another directory",
                path);
        close(fd);
        fd = -1;
    }
    return fd;
}

char *tl_path_join(const char *directory, const char *name) {
    tl_buffer path = {0};
    tl_buffer_append_string(&path, directory);
    if (path.length > 0 && path.data[path.length - 1] != '/') tl_buffer_append_byte(&path, '/');
    tl_buffer_append_string(&path, name);
    return tl_buffer_take(&path);
}

const char *tl_path_base(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

bool tl_path_ends(const char *path, const char *end) {
    size_t length = strlen(path), tail = strlen(end);
    return length >= tail && strcmp(path + length - tail, end) == 0;
}
