/* Packing: the manifest, then every content once, through zstd. */
#include "hub/bundle.h"
#include "hub/tar.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zstd.h>

enum { CHUNK = 1 << 20 };

typedef struct writer {
    const char *path; /* as the user named it */
    int fd;
    ZSTD_CCtx *zstd;
    char *in, *out; /* CHUNK bytes to read into, and to write from */
    size_t out_size;
    uint64_t done, total;
    tl_bundle_tick *tick;
    void *context;
    tl_error *error;
} writer;

/* Compresses bytes; `last` ends the stream. */
static bool put(writer *w, const void *bytes, size_t length, bool last) {
    ZSTD_inBuffer in = {bytes, length, 0};
    size_t left;
    do {
        ZSTD_outBuffer out = {w->out, w->out_size, 0};
        left = ZSTD_compressStream2(w->zstd, &out, &in, last ? ZSTD_e_end : ZSTD_e_continue);
        if (ZSTD_isError(left))
            return tl_fail(w->error, TL_ERROR_MEMORY, "%s: zstd: %s", w->path,
                           ZSTD_getErrorName(left));
        if (!tl_file_put(w->fd, w->out, out.pos))
            return tl_fail_errno(w->error, "%s: cannot write", w->path);
    } while (last ? left > 0 : in.pos < in.size);
    return true;
}

static bool put_padding(writer *w, uint64_t size) {
    static const char zeros[2 * TL_TAR_BLOCK];
    return put(w, zeros, tl_tar_padding(size), false);
}

static bool put_text(writer *w, const char *name, const char *text) {
    unsigned char header[TL_TAR_BLOCK];
    size_t length = strlen(text);
    tl_tar_header(header, name, length);
    return put(w, header, sizeof header, false) && put(w, text, length, false) &&
           put_padding(w, length);
}

/* Copies an open file's `size` bytes into the archive and the digest. */
static bool copy_content(writer *w, int fd, const tl_bundle_file *file, tl_digest *digest) {
    uint64_t left = file->size;
    while (left > 0) {
        ssize_t got = read(fd, w->in, left < CHUNK ? (size_t)left : CHUNK);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return tl_fail_errno(w->error, "%s: cannot read", file->source);
        if (got == 0)
            return tl_fail(w->error, TL_ERROR_IO, "%s: became shorter meanwhile", file->source);
        tl_digest_update(digest, w->in, (size_t)got);
        if (!put(w, w->in, (size_t)got, false)) return false;
        left -= (uint64_t)got;
        w->done += (uint64_t)got;
        if (!w->tick(w->context, w->done, w->total))
            return tl_fail(w->error, TL_ERROR_INTERRUPTED, "stopped by the user");
    }
    return put_padding(w, file->size);
}

static bool put_file(writer *w, const tl_bundle_file *file) {
    unsigned char header[TL_TAR_BLOCK];
    char name[TL_HEX_SIZE + 8], hex[TL_HEX_SIZE] = "";
    snprintf(name, sizeof name, "blobs/%s", file->sha256);
    tl_tar_header(header, name, file->size);
    int fd = open(file->source, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return tl_fail_errno(w->error, "%s: cannot open", file->source);
    tl_digest *digest = tl_digest_new("sha256");
    bool good = digest ? put(w, header, sizeof header, false) && copy_content(w, fd, file, digest)
                       : tl_fail_memory(w->error, CHUNK, "a digest");
    if (good && (!tl_digest_finish(digest, hex) || strcmp(hex, file->sha256) != 0))
        good = tl_fail(w->error, TL_ERROR_FORMAT,
                       "%s: damaged: its SHA-256 is %s, expected %s: remove it and pull again",
                       file->source, hex, file->sha256);
    tl_digest_free(digest);
    close(fd);
    return good;
}

static bool put_all(writer *w, const tl_bundle *bundle) {
    static const char end[2 * TL_TAR_BLOCK];
    char *manifest = tl_bundle_manifest(bundle);
    tl_map *seen = tl_map_new(64);
    bool good = manifest && seen;
    if (!good) tl_fail_memory(w->error, CHUNK, "a manifest");
    good = good && put_text(w, "manifest.json", manifest);
    for (int r = 0; good && r < bundle->count; r++)
        for (int i = 0; good && i < bundle->repos[r].count; i++) {
            const tl_bundle_file *file = &bundle->repos[r].files[i];
            if (tl_map_get(seen, file->sha256, 64, NULL)) continue;
            good = tl_map_set(seen, file->sha256, 64, 1)
                       ? put_file(w, file)
                       : tl_fail_memory(w->error, 64, "a list of contents");
        }
    tl_map_free(seen);
    free(manifest);
    return good && put(w, end, sizeof end, true);
}

static bool prepare(writer *w, int level) {
    w->out_size = ZSTD_CStreamOutSize();
    w->zstd = ZSTD_createCCtx();
    w->in = malloc(CHUNK);
    w->out = malloc(w->out_size);
    if (!w->zstd || !w->in || !w->out) return tl_fail_memory(w->error, CHUNK, "a compressor");
    ZSTD_CCtx_setParameter(w->zstd, ZSTD_c_compressionLevel, level);
    ZSTD_CCtx_setParameter(w->zstd, ZSTD_c_checksumFlag, 1);
    /* Not every build of zstd has threads: it then works in one. */
    ZSTD_CCtx_setParameter(w->zstd, ZSTD_c_nbWorkers, tl_processors());
    return true;
}

bool tl_bundle_write(const tl_bundle *bundle, const char *path, int level, tl_bundle_tick *tick,
                     void *context, tl_error *error) {
    char partial[PATH_MAX];
    if (!tl_put_path(partial, sizeof partial, error, "%s.%ld.part", path, (long)getpid()))
        return false;
    writer w = {
        .path = path,
        .total = tl_bundle_size(bundle),
        .tick = tick,
        .context = context,
        .error = error,
    };
    w.fd = open(partial, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (w.fd < 0) return tl_fail_errno(error, "%s: cannot create", partial);
    bool good = prepare(&w, level) && put_all(&w, bundle);
    if (good && (fsync(w.fd) != 0 || rename(partial, path) != 0))
        good = tl_fail_errno(error, "%s: cannot finish", path);
    close(w.fd);
    if (!good) unlink(partial);
    ZSTD_freeCCtx(w.zstd);
    free(w.in);
    free(w.out);
    return good;
}
