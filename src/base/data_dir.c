#include "base/data_dir.h"

#include "base/file.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static bool holds_data(const char *directory) {
    char probe[PATH_MAX];
    int length = snprintf(probe, sizeof probe, "%s/tasks", directory);
    return length > 0 && (size_t)length < sizeof probe && tl_dir_exists(probe);
}

static bool beside_executable(char *path, size_t size) {
    char executable[PATH_MAX];
    ssize_t length = readlink("/proc/self/exe", executable, sizeof executable - 1);
    if (length <= 0) return false;
    executable[length] = 0;
    char *slash = strrchr(executable, '/');
    if (!slash) return false;
    *slash = 0;
    int written = snprintf(path, size, "%s/../share/tinyllm", executable);
    return written > 0 && (size_t)written < size;
}

bool tl_data_dir(char *path, size_t size, tl_error *error) {
    const char *chosen = getenv("TINYLLM_DATA");
    if (chosen && *chosen) {
        snprintf(path, size, "%s", chosen);
        if (holds_data(path)) return true;
        return tl_fail(error, TL_ERROR_IO, "TINYLLM_DATA=%s: no tasks/ directory in it", chosen);
    }
    if (beside_executable(path, size) && holds_data(path)) return true;
    static const char *const built_in[] = {TINYLLM_INSTALLED_DATA, TINYLLM_SOURCE_DATA};
    for (size_t i = 0; i < sizeof built_in / sizeof *built_in; i++) {
        snprintf(path, size, "%s", built_in[i]);
        if (holds_data(path)) return true;
    }
    return tl_fail(error, TL_ERROR_IO,
                   "the program's data (tasks/) was found neither beside the executable nor in %s "
                   "nor in %s: set TINYLLM_DATA to the directory that holds it",
                   TINYLLM_INSTALLED_DATA, TINYLLM_SOURCE_DATA);
}
