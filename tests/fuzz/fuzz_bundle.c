/* Any bytes as a bundle (tar, or zstd around it): verified or refused, never more. Nothing is
 * installed. */
#include "hub/bundle.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool tick(void *context, uint64_t done, uint64_t total) {
    enum { MOST = 1 << 24 }; /* bytes of a bomb worth waiting for */
    (void)context, (void)total;
    return done < MOST;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    int fd = memfd_create("bundle", MFD_CLOEXEC);
    if (fd < 0 || write(fd, data, size) != (ssize_t)size) abort();
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    tl_error error = {0};
    tl_bundle bundle;
    tl_bundle_read(path, true, &bundle, tick, NULL, &error);
    tl_bundle_free(&bundle);
    close(fd);
    return 0;
}
