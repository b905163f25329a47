/* Finding and loading a device's backend. A library once loaded stays: a vendor's runtime does not
 * survive being unloaded. */
#include "kernels/backend.h"

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

bool tl_backend_check(const char *device, tl_error *error) {
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
            tl_fail(error, TL_ERROR_USAGE, "the CUDA backend cannot be loaded (%s)", dlerror());
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
            tl_fail(error, TL_ERROR_USAGE, "the CUDA backend cannot be loaded (%s)", dlerror());
        return library;
    }
    snprintf(path, sizeof path, "%s/%s", TINYLLM_INSTALLED_LIBDIR, backend_file);
    snprintf(tried, size, "%s", access(path, R_OK) == 0 ? path : backend_file);
    void *library = dlopen(tried, RTLD_NOW | RTLD_LOCAL);
    if (!library)
        tl_fail(error, TL_ERROR_USAGE,
                "no CUDA backend: %s is neither beside the program nor in its library directory "
                "(build with -DTINYLLM_CUDA=ON, or name the file in TINYLLM_CUDA_LIBRARY; "
                "--device cpu needs none)",
                backend_file);
    return library;
}

static const tl_backend_table *load(tl_error *error) {
    char tried[PATH_MAX + 256];
    void *library = open_library(tried, sizeof tried, error);
    if (!library) return NULL;
    tl_backend_entry *entry;
    *(void **)&entry = dlsym(library, TL_BACKEND_SYMBOL);
    const tl_backend_table *table = entry ? entry() : NULL;
    if (table && table->version == TL_BACKEND_VERSION) return table;
    tl_fail(error, TL_ERROR_USAGE,
            "%s is no backend of this version: expected one built with this program", tried);
    return NULL;
}

const char *tl_backend_resolve(const char *device, tl_error *error) {
    int index = 0;
    if (!device) return "cpu";
    if (!tl_backend_check(device, error)) return NULL;
    bool automatic = strcmp(device, "auto") == 0;
    if (!automatic && !parse_index(device, &index)) return device;
    const tl_backend_table *table = load(automatic ? NULL : error);
    if (table && table->probe(index, automatic ? NULL : error)) return automatic ? "cuda" : device;
    return automatic ? "cpu" : NULL;
}

bool tl_backend_open(tl_compute *compute, const char *name, tl_error *error) {
    int index;
    if (!parse_index(name, &index)) return tl_backend_check(name, error);
    const tl_backend_table *table = load(error);
    if (!table) return false;
    compute->backend = table->open(index, compute->precision, error);
    if (!compute->backend) return false;
    tl_backend_facts facts = {0};
    table->facts(compute->backend, &facts);
    compute->table = table;
    snprintf(compute->backend_name, sizeof compute->backend_name, "%s:%d %s", table->name, index,
             facts.name);
    return true;
}

void tl_backend_close(tl_compute *compute) {
    if (!compute->table) return;
    compute->table->close(compute->backend);
    compute->table = NULL;
}

const tl_backend_table *tl_compute_table(const tl_compute *compute) {
    return compute->table;
}

tl_backend *tl_compute_backend(const tl_compute *compute) {
    return compute->backend;
}
