/* Unpacking: every content verified as it streams by, installed under the cache's own names. */
#include "hub/bundle.h"
#include "hub/fetch.h"
#include "hub/tar.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>
#include <zstd.h>

enum { CHUNK = 1 << 18, MANIFEST_LIMIT = 64 << 20 };

/* A content the manifest names, and the files that have it. */
typedef struct content {
    const tl_bundle_file *file; /* the first of them */
    int repo;
    bool seen;
} content;

typedef struct reader {
    const char *path;
    int fd;
    ZSTD_DCtx *zstd; /* NULL: a plain tar */
    char *in;        /* compressed bytes */
    ZSTD_inBuffer pending;
    bool frame_open; /* within a zstd frame */
    tl_tar tar;
    char *chunk;
    tl_bundle *bundle;
    content *contents;
    size_t n_contents;
    tl_map *by_hash; /* sha256 → index of its content */
    char cache[PATH_MAX];
    bool check_only;
    uint64_t done, total;
    tl_bundle_tick *tick;
    void *context;
    tl_error *error;
} reader;

/* ---- bytes
 * ------------------------------------------------------------------------------------------- */

static bool read_file(reader *r, void *bytes, size_t length, size_t *got, tl_error *error) {
    ssize_t count;
    do
        count = read(r->fd, bytes, length);
    while (count < 0 && errno == EINTR);
    if (count < 0) return tl_fail_errno(error, "%s: cannot read", r->path);
    *got = (size_t)count;
    return true;
}

static bool plain_source(void *context, void *bytes, size_t length, size_t *got, tl_error *error) {
    return read_file(context, bytes, length, got, error);
}

static bool zstd_source(void *context, void *bytes, size_t length, size_t *got, tl_error *error) {
    reader *r = context;
    ZSTD_outBuffer out = {bytes, length, 0};
    while (out.pos == 0) {
        if (r->pending.pos == r->pending.size) {
            size_t more = 0;
            if (!read_file(r, r->in, CHUNK, &more, error)) return false;
            if (more == 0 && r->frame_open)
                return tl_fail(error, TL_ERROR_FORMAT, "%s: cut short", r->path);
            if (more == 0) break;
            r->pending = (ZSTD_inBuffer){r->in, more, 0};
        }
        size_t status = ZSTD_decompressStream(r->zstd, &out, &r->pending);
        if (ZSTD_isError(status))
            return tl_fail(error, TL_ERROR_FORMAT, "%s: damaged: zstd: %s", r->path,
                           ZSTD_getErrorName(status));
        r->frame_open = status != 0;
    }
    *got = out.pos;
    return true;
}

static bool open_archive(reader *r) {
    static const unsigned char magic[] = {0x28, 0xb5, 0x2f, 0xfd};
    unsigned char head[4];
    r->fd = open(r->path, O_RDONLY | O_CLOEXEC);
    if (r->fd < 0) return tl_fail_errno(r->error, "%s: cannot open", r->path);
    ssize_t got = pread(r->fd, head, sizeof head, 0);
    bool compressed = got == (ssize_t)sizeof head && memcmp(head, magic, sizeof head) == 0;
    r->chunk = malloc(CHUNK);
    r->in = malloc(CHUNK);
    if (compressed) r->zstd = ZSTD_createDCtx();
    if (!r->chunk || !r->in || (compressed && !r->zstd))
        return tl_fail_memory(r->error, CHUNK, "a bundle");
    r->tar =
        (tl_tar){.source = compressed ? zstd_source : plain_source, .context = r, .where = r->path};
    return true;
}

/* ---- the manifest
 * ------------------------------------------------------------------------------------------- */

static bool index_contents(reader *r) {
    size_t count = 0;
    for (int i = 0; i < r->bundle->count; i++)
        count += (size_t)r->bundle->repos[i].count;
    r->contents = calloc(count + 1, sizeof *r->contents);
    r->by_hash = tl_map_new(count);
    if (!r->contents || !r->by_hash) return tl_fail_memory(r->error, count, "a list of contents");
    for (int i = 0; i < r->bundle->count; i++)
        for (int f = 0; f < r->bundle->repos[i].count; f++) {
            const tl_bundle_file *file = &r->bundle->repos[i].files[f];
            uint64_t known;
            if (tl_map_get(r->by_hash, file->sha256, 64, &known)) {
                if (r->contents[known].file->size != file->size)
                    return tl_fail(r->error, TL_ERROR_FORMAT, "%s: %s: one content with two sizes",
                                   r->path, file->path);
                continue;
            }
            r->contents[r->n_contents] = (content){.file = file, .repo = i};
            if (!tl_map_set(r->by_hash, file->sha256, 64, r->n_contents++))
                return tl_fail_memory(r->error, count, "a list of contents");
        }
    return true;
}

static bool read_manifest(reader *r) {
    tl_tar_entry entry;
    bool end;
    if (!tl_tar_next(&r->tar, &entry, &end, r->error)) return false;
    if (end || strcmp(entry.name, "manifest.json") != 0 || entry.size > MANIFEST_LIMIT)
        return tl_fail(r->error, TL_ERROR_FORMAT,
                       "%s: not a bundle of tinyllm pack: expected manifest.json first", r->path);
    char *text = malloc((size_t)entry.size + 1);
    if (!text) return tl_fail_memory(r->error, (size_t)entry.size, "a manifest");
    size_t got;
    bool good = tl_tar_read(&r->tar, text, (size_t)entry.size, &got, r->error) &&
                tl_bundle_parse(text, got, r->path, r->bundle, r->error);
    free(text);
    return good && index_contents(r);
}

/* ---- contents
 * ------------------------------------------------------------------------------------------- */

static bool repo_directory(const reader *r, int repo, char path[PATH_MAX], tl_error *error) {
    return tl_cache_repo_directory(r->cache, &r->bundle->repos[repo].repo, path, PATH_MAX, error);
}

static bool blob_path(const reader *r, int repo, const char *blob, char path[PATH_MAX],
                      tl_error *error) {
    char directory[PATH_MAX];
    return repo_directory(r, repo, directory, error) &&
           tl_put_path(path, PATH_MAX, error, "%s/blobs/%s", directory, blob);
}

static bool has_size(const char *path, uint64_t size) {
    struct stat status;
    return lstat(path, &status) == 0 && S_ISREG(status.st_mode) && (uint64_t)status.st_size == size;
}

/* The digests a content must have: SHA-256, and git's SHA-1 where that is its name. */
typedef struct digests {
    tl_digest *sha256, *sha1;
} digests;

static bool start_digests(digests *d, const tl_bundle_file *file, tl_error *error) {
    d->sha256 = tl_digest_new("sha256");
    d->sha1 = tl_digest_new_blob(file->size);
    return (d->sha256 && d->sha1) || tl_fail_memory(error, CHUNK, "a digest");
}

static bool check_digests(const reader *r, digests *d, const tl_bundle_file *file) {
    char hex[TL_HEX_SIZE] = "", name[TL_HEX_SIZE] = "";
    if (!tl_digest_finish(d->sha256, hex) || !tl_digest_finish(d->sha1, name))
        return tl_fail_memory(r->error, CHUNK, "a digest");
    bool named = strlen(file->blob) == 64 || strcmp(name, file->blob) == 0;
    if (named && strcmp(hex, file->sha256) == 0) return true;
    return tl_fail(r->error, TL_ERROR_FORMAT, "%s: %s: its content is not what the manifest says",
                   r->path, file->path);
}

/* Streams the entry at hand through the digests and, if `fd` is not negative, into a file. */
static bool stream(reader *r, const tl_bundle_file *file, int fd) {
    digests d = {0};
    bool good = start_digests(&d, file, r->error);
    size_t got = 1;
    while (good && got > 0) {
        good = tl_tar_read(&r->tar, r->chunk, CHUNK, &got, r->error);
        if (!good || got == 0) break;
        tl_digest_update(d.sha256, r->chunk, got);
        if (strlen(file->blob) == 40) tl_digest_update(d.sha1, r->chunk, got);
        if (fd >= 0 && !tl_file_put(fd, r->chunk, got))
            good = tl_fail_errno(r->error, "%s: cannot write to the cache", r->cache);
        r->done += got;
        if (good && !r->tick(r->context, r->done, r->total))
            good = tl_fail(r->error, TL_ERROR_INTERRUPTED, "stopped by the user");
    }
    good = good && check_digests(r, &d, file);
    tl_digest_free(d.sha256);
    tl_digest_free(d.sha1);
    return good;
}

/* Streams the entry into the blob of its first file. */
static bool install(reader *r, const content *at) {
    char directory[PATH_MAX], blob[PATH_MAX], partial[PATH_MAX];
    if (!repo_directory(r, at->repo, directory, r->error) ||
        !blob_path(r, at->repo, at->file->blob, blob, r->error) ||
        !tl_put_path(partial, sizeof partial, r->error, "%s.%ld.incomplete", blob, (long)getpid()))
        return false;
    if (has_size(blob, at->file->size)) return stream(r, at->file, -1);
    if (!tl_make_folders(directory, "blobs/x", r->error)) return false;
    int fd = open(partial, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0666);
    if (fd < 0) return tl_fail_errno(r->error, "%s: cannot create", partial);
    bool good = stream(r, at->file, fd);
    if (good && (fsync(fd) != 0 || rename(partial, blob) != 0))
        good = tl_fail_errno(r->error, "%s: cannot finish", blob);
    close(fd);
    if (!good) unlink(partial);
    return good;
}

static bool read_contents(reader *r) {
    for (;;) {
        tl_tar_entry entry;
        bool end;
        if (!tl_tar_next(&r->tar, &entry, &end, r->error)) return false;
        if (end) break;
        uint64_t index;
        bool known = strncmp(entry.name, "blobs/", 6) == 0 && strlen(entry.name) == 6 + 64 &&
                     tl_map_get(r->by_hash, entry.name + 6, 64, &index);
        if (!known)
            return tl_fail(r->error, TL_ERROR_FORMAT,
                           "%s: '%s': refused, the manifest does not name it", r->path, entry.name);
        content *at = &r->contents[index];
        if (at->seen || entry.size != at->file->size)
            return tl_fail(r->error, TL_ERROR_FORMAT, "%s: %s: %llu bytes, expected %llu, and once",
                           r->path, entry.name, (unsigned long long)entry.size,
                           (unsigned long long)at->file->size);
        at->seen = true;
        if (!(r->check_only ? stream(r, at->file, -1) : install(r, at))) return false;
    }
    for (size_t i = 0; i < r->n_contents; i++)
        if (!r->contents[i].seen)
            return tl_fail(r->error, TL_ERROR_FORMAT, "%s: lacks %s (%s)", r->path,
                           r->contents[i].file->path, r->contents[i].file->sha256);
    return true;
}

/* ---- snapshots
 * ------------------------------------------------------------------------------------------- */

static bool copy_blob(const char *from, const char *to, tl_error *error) {
    if (link(from, to) == 0) return true;
    tl_mapping mapping;
    if (!tl_file_map(from, &mapping, error)) return false;
    bool good = tl_file_write(to, mapping.data, mapping.size, error);
    tl_file_unmap(&mapping);
    return good;
}

/* Makes a file of the manifest be there: its blob (where another repository got the content) and
 * its link. */
static bool place(const reader *r, int repo, const tl_bundle_file *file) {
    uint64_t index = 0;
    char directory[PATH_MAX], blob[PATH_MAX], first[PATH_MAX];
    tl_map_get(r->by_hash, file->sha256, 64, &index);
    const content *at = &r->contents[index];
    if (!repo_directory(r, repo, directory, r->error) ||
        !blob_path(r, repo, file->blob, blob, r->error) ||
        !blob_path(r, at->repo, at->file->blob, first, r->error) ||
        !tl_make_folders(directory, "blobs/x", r->error))
        return false;
    if (!has_size(blob, file->size) && !copy_blob(first, blob, r->error)) return false;
    tl_remote_file linked = {.path = file->path, .size = file->size};
    strcpy(linked.hash, file->blob);
    return tl_fetch_link(directory, r->bundle->repos[repo].commit, &linked, r->error);
}

static bool place_all(const reader *r) {
    for (int i = 0; i < r->bundle->count; i++)
        for (int f = 0; f < r->bundle->repos[i].count; f++)
            if (!place(r, i, &r->bundle->repos[i].files[f])) return false;
    for (int i = 0; i < r->bundle->count; i++) {
        char directory[PATH_MAX];
        const tl_bundle_repo *repo = &r->bundle->repos[i];
        if (!repo_directory(r, i, directory, r->error) ||
            !tl_fetch_ref(directory, &repo->repo, repo->commit, r->error))
            return false;
    }
    return true;
}

static bool check_space(const reader *r) {
    struct statvfs status;
    uint64_t missing = 0;
    for (size_t i = 0; i < r->n_contents; i++) {
        char blob[PATH_MAX];
        const content *at = &r->contents[i];
        if (!blob_path(r, at->repo, at->file->blob, blob, r->error)) return false;
        if (!has_size(blob, at->file->size)) missing += at->file->size;
    }
    if (!tl_dir_create(r->cache, r->error)) return false;
    if (statvfs(r->cache, &status) != 0)
        return tl_fail_errno(r->error, "%s: cannot ask for its free space", r->cache);
    uint64_t room = (uint64_t)status.f_bavail * status.f_frsize;
    if (missing <= room) return true;
    return tl_fail(r->error, TL_ERROR_IO,
                   "%s: %.1f MB to unpack but only %.1f MB free: make room, or set HF_HOME to "
                   "another disk",
                   r->cache, (double)missing / 1e6, (double)room / 1e6);
}

static bool unpack(reader *r) {
    if (!open_archive(r) || !read_manifest(r)) return false;
    r->total = tl_bundle_size(r->bundle);
    if (r->check_only) return read_contents(r);
    if (!tl_hf_cache(r->cache, sizeof r->cache, r->error) || !check_space(r)) return false;
    tl_cache_tag(r->cache);
    return read_contents(r) && place_all(r);
}

bool tl_bundle_read(const char *path, bool check_only, tl_bundle *bundle, tl_bundle_tick *tick,
                    void *context, tl_error *error) {
    *bundle = (tl_bundle){0};
    reader r = {
        .path = path,
        .fd = -1,
        .bundle = bundle,
        .check_only = check_only,
        .tick = tick,
        .context = context,
        .error = error,
    };
    bool good = unpack(&r);
    if (r.fd >= 0) close(r.fd);
    ZSTD_freeDCtx(r.zstd);
    tl_map_free(r.by_hash);
    free(r.contents);
    free(r.chunk);
    free(r.in);
    return good;
}
