#include "hub/fetch.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

enum { CHUNK = 1 << 18, NOTICED_WAITS = 20 };

/* ---- the file that grows
 * ------------------------------------------------------------------------------------------- */

/* A download under way. */
typedef struct partial {
    const tl_fetch *fetch;
    char path[PATH_MAX];      /* blobs/HASH.incomplete */
    char validator[PATH_MAX]; /* blobs/HASH.incomplete.etag: of the server that sent it */
    int fd;
    uint64_t have;
    tl_digest *digest; /* of the bytes so far */
    bool resumed;      /* part of them is from an earlier run */
    bool begun;        /* the answer at hand has been looked at */
    tl_error *error;
} partial;

static bool start_digest(partial *p) {
    const tl_remote_file *file = p->fetch->file;
    tl_digest_free(p->digest);
    p->digest = file->lfs ? tl_digest_new("sha256") : tl_digest_new_blob(file->size);
    return p->digest || tl_fail_memory(p->error, CHUNK, "a digest");
}

static bool restart(partial *p) {
    if (ftruncate(p->fd, 0) != 0 || lseek(p->fd, 0, SEEK_SET) < 0)
        return tl_fail_errno(p->error, "%s: cannot start over", p->path);
    unlink(p->validator);
    p->have = 0;
    p->resumed = false;
    atomic_store(p->fetch->done, 0);
    return start_digest(p);
}

/* Takes up what an earlier run left: its bytes go into the digest. */
static bool take_up(partial *p) {
    char *chunk = malloc(CHUNK);
    if (!chunk) return tl_fail_memory(p->error, CHUNK, "a buffer");
    bool good = start_digest(p);
    while (good && p->have <= p->fetch->file->size) {
        ssize_t got = read(p->fd, chunk, CHUNK);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) good = tl_fail_errno(p->error, "%s: cannot read", p->path);
        if (got <= 0) break;
        tl_digest_update(p->digest, chunk, (size_t)got);
        p->have += (uint64_t)got;
    }
    free(chunk);
    p->resumed = p->have > 0;
    atomic_store(p->fetch->done, p->have);
    if (good && p->have > p->fetch->file->size) good = restart(p);
    return good;
}

static bool open_partial(partial *p) {
    const tl_fetch *fetch = p->fetch;
    if (!tl_make_folders(fetch->directory, "blobs/x", p->error) ||
        !tl_put_path(p->path, sizeof p->path, p->error, "%s/blobs/%s.incomplete", fetch->directory,
                     fetch->file->hash) ||
        !tl_put_path(p->validator, sizeof p->validator, p->error, "%s.etag", p->path))
        return false;
    p->fd = open(p->path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666);
    if (p->fd < 0) return tl_fail_errno(p->error, "%s: cannot create", p->path);
    struct stat status;
    if (fstat(p->fd, &status) != 0 || !S_ISREG(status.st_mode))
        return tl_fail(p->error, TL_ERROR_IO, "%s: refused: not a file", p->path);
    return take_up(p);
}

static bool write_all(partial *p, const char *bytes, size_t length) {
    while (length > 0) {
        ssize_t put = write(p->fd, bytes, length);
        if (put < 0 && errno == EINTR) continue;
        if (put <= 0) return tl_fail_errno(p->error, "%s: cannot write", p->path);
        tl_digest_update(p->digest, bytes, (size_t)put);
        bytes += put;
        length -= (size_t)put;
        p->have += (uint64_t)put;
        atomic_store(p->fetch->done, p->have);
    }
    return true;
}

/* ---- one answer
 * ------------------------------------------------------------------------------------------- */

/* Remembers a strong ETag, to ask later for the rest of exactly this. */
static void keep_validator(const partial *p, const char *etag) {
    if (etag[0] != '"') {
        unlink(p->validator);
        return;
    }
    tl_file_write(p->validator, etag, strlen(etag), NULL);
}

/* Looks at the head of a 2xx answer: the right file, from the right byte? A server that sends all
 * of it in answer to a Range makes the download start over. */
static bool begin(partial *p, const tl_http_reply *reply) {
    const tl_remote_file *file = p->fetch->file;
    p->begun = true;
    if (*reply->linked_etag && file->lfs && strcmp(reply->linked_etag, file->hash) != 0)
        return tl_fail(p->error, TL_ERROR_NETWORK,
                       "%s: %s: the hub now has other content (%s): pull again", p->fetch->repo->id,
                       file->path, reply->linked_etag);
    if (reply->status == 206) {
        if (reply->range_start != (int64_t)p->have ||
            (reply->range_total >= 0 && reply->range_total != (int64_t)file->size))
            return tl_fail(
                p->error, TL_ERROR_NETWORK,
                "%s: %s: the server sent bytes from %lld of %lld, asked from %llu of %llu",
                p->fetch->repo->id, file->path, (long long)reply->range_start,
                (long long)reply->range_total, (unsigned long long)p->have,
                (unsigned long long)file->size);
        return true;
    }
    if (p->have > 0 && !restart(p)) return false;
    if (!reply->encoded && reply->length >= 0 && (uint64_t)reply->length != file->size)
        return tl_fail(p->error, TL_ERROR_NETWORK, "%s: %s: %lld bytes from %s, expected %llu",
                       p->fetch->repo->id, file->path, (long long)reply->length, reply->url,
                       (unsigned long long)file->size);
    keep_validator(p, reply->etag);
    return true;
}

static bool receive(void *context, const tl_http_reply *reply, const char *bytes, size_t length) {
    partial *p = context;
    const tl_remote_file *file = p->fetch->file;
    if (!p->begun && !begin(p, reply)) return false;
    if (length > file->size - p->have)
        return tl_fail(p->error, TL_ERROR_NETWORK, "%s: %s: more than its %llu bytes from %s",
                       p->fetch->repo->id, file->path, (unsigned long long)file->size, reply->url);
    return write_all(p, bytes, length);
}

/* Asks for what is missing, once. */
static bool ask(tl_http *http, partial *p, const char *url, tl_http_reply *reply) {
    char etag[128] = "";
    char *kept = p->have > 0 ? tl_file_read(p->validator, sizeof etag - 1, NULL, NULL) : NULL;
    if (kept && strlen(kept) == strcspn(kept, "\r\n")) snprintf(etag, sizeof etag, "%s", kept);
    free(kept);
    p->begun = false;
    tl_http_request request = {
        .url = url,
        .from = p->have,
        .if_range = *etag ? etag : NULL,
        .body = receive,
        .context = p,
    };
    return tl_http_get(http, &request, reply, p->error);
}

/* ---- until it is there
 * ------------------------------------------------------------------------------------------- */

/* Asks again and again until every byte is there. */
static bool download(tl_http *http, partial *p) {
    const tl_fetch *fetch = p->fetch;
    tl_retry retry = fetch->retry;
    char *url = tl_remote_url(fetch->settings, fetch->repo, fetch->commit, fetch->file->path);
    if (!url) return tl_fail_memory(p->error, PATH_MAX, "an address");
    bool good = true;
    while (good && p->have < fetch->file->size) {
        tl_http_reply reply;
        uint64_t before = p->have;
        bool answered = ask(http, p, url, &reply);
        bool useless_range = answered && reply.status == 416 && before > 0;
        if (useless_range) {
            good = restart(p);
        } else if (answered && (reply.status < 200 || reply.status > 299)) {
            good = tl_remote_explain(fetch->settings, fetch->repo, &reply, p->error);
        } else if (answered && p->have < fetch->file->size) {
            good = tl_fail(p->error, TL_ERROR_NETWORK, "%s: %s: cut short at %llu of %llu bytes",
                           fetch->repo->id, fetch->file->path, (unsigned long long)p->have,
                           (unsigned long long)fetch->file->size);
            reply.transient = true;
        } else {
            good = answered;
        }
        if (p->have > before) retry = fetch->retry;
        if (!good && reply.transient) good = tl_retry_wait(&retry, &reply, http);
    }
    free(url);
    return good;
}

/* Compares what has arrived with its name. */
static bool verify(partial *p, bool *matches) {
    char hex[TL_HEX_SIZE];
    bool good = tl_digest_finish(p->digest, hex);
    tl_digest_free(p->digest);
    p->digest = NULL;
    if (!good) return tl_fail_memory(p->error, CHUNK, "a digest");
    *matches = strcmp(hex, p->fetch->file->hash) == 0;
    if (*matches) return true;
    return tl_fail(p->error, TL_ERROR_FORMAT,
                   "%s: %s: its %s is %s, expected %s: what arrived was removed",
                   p->fetch->repo->id, p->fetch->file->path,
                   p->fetch->file->lfs ? "SHA-256" : "git SHA-1", hex, p->fetch->file->hash);
}

static bool publish(partial *p) {
    char blob[PATH_MAX];
    if (!tl_put_path(blob, sizeof blob, p->error, "%s/blobs/%s", p->fetch->directory,
                     p->fetch->file->hash))
        return false;
    if (fsync(p->fd) != 0 || rename(p->path, blob) != 0)
        return tl_fail_errno(p->error, "%s: cannot give it its name", blob);
    unlink(p->validator);
    return true;
}

static bool complete(tl_http *http, partial *p) {
    for (;;) {
        bool matches = false;
        if (!download(http, p)) return false;
        bool resumed = p->resumed;
        if (verify(p, &matches)) return publish(p);
        if (matches) return false;
        /* Bytes of an earlier run may be at fault (a crash of the machine): once from the start. */
        tl_error *kept = p->error;
        if (!resumed) p->error = NULL; /* keeps the message of the mismatch */
        bool fresh = restart(p);
        p->error = kept;
        if (!resumed) unlink(p->path);
        if (!resumed || !fresh) return false;
    }
}

/* ---- locks and folders
 * ------------------------------------------------------------------------------------------- */

bool tl_make_folders(const char *root, const char *path, tl_error *error) {
    char full[PATH_MAX];
    if (!tl_put_path(full, sizeof full, error, "%s/%s", root, path)) return false;
    if (!tl_dir_create(root, error)) return false;
    for (char *at = full + strlen(root); (at = strchr(at, '/')); at++) {
        struct stat status;
        *at = 0;
        if (mkdir(full, 0777) != 0 && errno != EEXIST)
            return tl_fail_errno(error, "%s: cannot create the directory", full);
        if (lstat(full, &status) != 0 || !S_ISDIR(status.st_mode))
            return tl_fail(error, TL_ERROR_IO,
                           "%s: refused: a link or file where the cache has a directory", full);
        *at = '/';
    }
    return true;
}

/* CACHE/.locks/models--org--name, neither of them a link. */
static bool make_lock_folders(const char *locks, tl_error *error) {
    char root[PATH_MAX], below[PATH_MAX];
    const char *name = tl_path_base(locks);
    return tl_put_path(root, sizeof root, error, "%.*s", (int)(name - locks - 1), locks) &&
           tl_put_path(below, sizeof below, error, "%s/x", name) &&
           tl_make_folders(root, below, error);
}

/* Takes the file's lock, waiting as long as another process holds it. */
static int take_lock(tl_http *http, const tl_fetch *fetch, tl_error *error) {
    char path[PATH_MAX];
    if (!make_lock_folders(fetch->locks, error) ||
        !tl_put_path(path, sizeof path, error, "%s/%s.lock", fetch->locks, fetch->file->hash))
        return -1;
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666);
    if (fd < 0) {
        tl_fail_errno(error, "%s: cannot open", path);
        return -1;
    }
    for (int waits = 0; flock(fd, LOCK_EX | LOCK_NB) != 0; waits++) {
        if (waits == NOTICED_WAITS)
            tl_http_notice(http, "%s/%s: waiting for another process that fetches it",
                           fetch->repo->id, fetch->file->path);
        tl_http_reply nothing = {.retry_after = 0.1};
        tl_retry again = {.left = 1};
        if (errno != EWOULDBLOCK && errno != EINTR) {
            tl_fail_errno(error, "%s: cannot lock", path);
            close(fd);
            return -1;
        }
        if (!tl_retry_wait(&again, &nothing, http)) {
            tl_fail(error, TL_ERROR_INTERRUPTED, "stopped by the user");
            close(fd);
            return -1;
        }
    }
    return fd;
}

static bool has_size(const char *path, uint64_t size) {
    struct stat status;
    return stat(path, &status) == 0 && S_ISREG(status.st_mode) && (uint64_t)status.st_size == size;
}

uint64_t tl_fetch_present(const char *directory, const char *commit, const tl_remote_file *file,
                          bool *is_complete) {
    char path[PATH_MAX];
    struct stat status;
    *is_complete = (tl_put_path(path, sizeof path, NULL, "%s/blobs/%s", directory, file->hash) &&
                    has_size(path, file->size)) ||
                   (tl_put_path(path, sizeof path, NULL, "%s/snapshots/%s/%s", directory, commit,
                                file->path) &&
                    has_size(path, file->size));
    if (*is_complete) return file->size;
    if (!tl_put_path(path, sizeof path, NULL, "%s/blobs/%s.incomplete", directory, file->hash) ||
        lstat(path, &status) != 0 || !S_ISREG(status.st_mode))
        return 0;
    return (uint64_t)status.st_size < file->size ? (uint64_t)status.st_size : file->size;
}

bool tl_fetch_blob(tl_http *http, const tl_fetch *fetch, tl_error *error) {
    bool here;
    int lock = take_lock(http, fetch, error);
    if (lock < 0) return false;
    partial p = {.fetch = fetch, .fd = -1, .error = error};
    uint64_t present = tl_fetch_present(fetch->directory, fetch->commit, fetch->file, &here);
    bool good = here || (open_partial(&p) && complete(http, &p));
    if (good && here) atomic_store(fetch->done, present);
    tl_digest_free(p.digest);
    if (p.fd >= 0) close(p.fd);
    close(lock);
    return good;
}

/* ---- links
 * ------------------------------------------------------------------------------------------- */

/* Makes `path` a link to `target`, at once and whatever was there. */
static bool place_link(const char *target, const char *path) {
    char temporary[PATH_MAX];
    if (!tl_put_path(temporary, sizeof temporary, NULL, "%s.%ld.part", path, (long)getpid()))
        return false;
    unlink(temporary);
    if (symlink(target, temporary) != 0) return false;
    if (rename(temporary, path) == 0) return true;
    int kept = errno;
    unlink(temporary);
    errno = kept;
    return false;
}

bool tl_fetch_link(const char *directory, const char *commit, const tl_remote_file *file,
                   tl_error *error) {
    char below[PATH_MAX], path[PATH_MAX], blob[PATH_MAX];
    if (!tl_put_path(below, sizeof below, error, "snapshots/%s/%s", commit, file->path) ||
        !tl_put_path(path, sizeof path, error, "%s/%s", directory, below) ||
        !tl_put_path(blob, sizeof blob, error, "%s/blobs/%s", directory, file->hash) ||
        !tl_make_folders(directory, below, error))
        return false;
    tl_buffer target = {0};
    for (const char *at = strchr(below, '/'); at; at = strchr(at + 1, '/'))
        tl_buffer_append_string(&target, "../");
    tl_buffer_append_format(&target, "blobs/%s", file->hash);
    if (target.failed) return tl_fail_memory(error, PATH_MAX, "a link");
    char old[PATH_MAX];
    ssize_t length = readlink(path, old, sizeof old - 1);
    if (length >= 0) old[length] = 0;
    bool there = (length >= 0 && strcmp(old, target.data) == 0) ||
                 (length < 0 && has_size(path, file->size));
    bool good = there || place_link(target.data, path);
    tl_buffer_free(&target);
    if (good) return true;
    /* A file system without links (FAT): the file itself, as huggingface_hub does. */
    if ((errno == EPERM || errno == ENOTSUP || errno == ENOSYS) &&
        (link(blob, path) == 0 || rename(blob, path) == 0))
        return true;
    return tl_fail_errno(error, "%s: cannot link it to its blob", path);
}

void tl_cache_tag(const char *cache) {
    static const char tag[] = "Signature: 8a477f597d28d172789f06886806bc55\n"
                              "# This directory is a cache of the Hugging Face hub.\n"
                              "# For information about cache directory tags, see:\n"
                              "#\thttps://bford.info/cachedir/\n";
    char path[PATH_MAX];
    if (tl_put_path(path, sizeof path, NULL, "%s/CACHEDIR.TAG", cache) && !tl_file_exists(path))
        tl_file_write(path, tag, sizeof tag - 1, NULL);
}

bool tl_fetch_ref(const char *directory, const tl_repo *repo, const char *commit, tl_error *error) {
    char below[PATH_MAX], path[PATH_MAX];
    if (tl_is_commit(repo->revision)) return true;
    if (!tl_put_path(below, sizeof below, error, "refs/%s", repo->revision) ||
        !tl_put_path(path, sizeof path, error, "%s/%s", directory, below))
        return false;
    char *old = tl_file_read(path, TL_COMMIT_SIZE, NULL, NULL);
    bool same = old && strcmp(old, commit) == 0;
    free(old);
    return same || (tl_make_folders(directory, below, error) &&
                    tl_file_write(path, commit, strlen(commit), error));
}
