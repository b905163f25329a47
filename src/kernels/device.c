/* Finding and loading a device's backend. A library once loaded stays: a vendor's runtime does not
 * survive being unloaded. */
#include "kernels/device.h"

#include "kernels/compute.h"

#include <dlfcn.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char backend_file[] = "libtinyllm_cuda.so";

/* "cuda" or "cuda:N" → N; false for anything else. */
static bool parse_index(const char *name, int *index) {
    *index = 0;
    if (strncmp(name, "cuda", 4) != 0) return false;
    if (!name[4]) return true;
    char *end;
    long value = strtol(name + 5, &end, 10);
    bool digits = name[4] == ':' && name[5] >= '0' && name[5] <= '9' && !*end;
    *index = (int)value;
    return digits && value <= 255;
}

bool tl_device_check(const char *device, tl_error *error) {
    int index;
    if (!device || strcmp(device, "cpu") == 0 || strcmp(device, "auto") == 0 ||
        parse_index(device, &index))
        return true;
    return tl_fail(error, TL_ERROR_USAGE, "device '%s': expected cpu, cuda, cuda:N or auto",
                   device);
}

/* Where the file may lie: beside the program; in the library directory of the program's prefix; in
 * the one this build installs to; where the loader looks. */
static void *open_library(char *tried, size_t size, tl_error *error) {
    static const char *const places[] = {"%.*s/%s", "%.*s/../" TINYLLM_LIBDIR "/%s"};
    const char *named = getenv("TINYLLM_CUDA_LIBRARY");
    char program[PATH_MAX], path[PATH_MAX + 256];
    if (named && *named) {
        snprintf(tried, size, "%s", named);
        void *library = dlopen(named, RTLD_NOW | RTLD_LOCAL);
        if (!library)
            tl_fail(error, TL_ERROR_IO, "the CUDA backend cannot be loaded (%s)", dlerror());
        return library;
    }
    ssize_t length = readlink("/proc/self/exe", program, sizeof program - 1);
    while (length > 0 && program[length - 1] != '/')
        length--;
    for (size_t i = 0; length > 0 && i < sizeof places / sizeof *places; i++) {
        snprintf(path, sizeof path, places[i], (int)length - 1, program, backend_file);
        if (access(path, R_OK) != 0) continue;
        snprintf(tried, size, "%s", path);
        void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
        if (!library)
            tl_fail(error, TL_ERROR_IO, "the CUDA backend cannot be loaded (%s)", dlerror());
        return library;
    }
    snprintf(path, sizeof path, "%s/%s", TINYLLM_INSTALLED_LIBDIR, backend_file);
    snprintf(tried, size, "%s", access(path, R_OK) == 0 ? path : backend_file);
    void *library = dlopen(tried, RTLD_NOW | RTLD_LOCAL);
    if (!library)
        tl_fail(error, TL_ERROR_UNSUPPORTED,
                "no CUDA backend: %s is neither beside the program nor in its library directory "
                "(build with -DTINYLLM_CUDA=ON, or name the file in TINYLLM_CUDA_LIBRARY; "
                "--device cpu needs none)",
                backend_file);
    return library;
}

bool tl_device_open(tl_compute *compute, const char *name, tl_error *error) {
    char tried[PATH_MAX + 256];
    int index;
    if (!parse_index(name, &index)) return tl_device_check(name, error);
    void *library = open_library(tried, sizeof tried, error);
    if (!library) return false;
    tl_device_entry *entry;
    *(void **)&entry = dlsym(library, TL_DEVICE_SYMBOL);
    const tl_device_table *table = entry ? entry() : NULL;
    if (!table || table->version != TL_DEVICE_VERSION) {
        tl_fail(error, TL_ERROR_UNSUPPORTED,
                "%s is no backend of this version: expected one built with this program", tried);
    } else if ((compute->device = table->open(index, compute->precision, error))) {
        tl_device_facts facts = {0};
        table->facts(compute->device, &facts);
        compute->table = table;
        snprintf(compute->device_name, sizeof compute->device_name, "%s:%d %s", table->name, index,
                 facts.name);
        return true;
    }
    return false;
}

void tl_device_close(tl_compute *compute) {
    if (!compute->table) return;
    compute->table->close(compute->device);
    compute->table = NULL;
}

const tl_device_table *tl_compute_table(const tl_compute *compute) {
    return compute->table;
}

tl_device *tl_compute_device(const tl_compute *compute) {
    return compute->device;
}
