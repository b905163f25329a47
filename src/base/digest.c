#include "base/digest.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>

enum { SLICE = 256 << 10 };

struct tl_digest {
    EVP_MD_CTX *context;
};

tl_digest *tl_digest_new(const char *algorithm) {
    const EVP_MD *method = EVP_get_digestbyname(algorithm);
    tl_digest *digest = calloc(1, sizeof *digest);
    if (digest && method) {
        digest->context = EVP_MD_CTX_new();
        if (digest->context && EVP_DigestInit_ex(digest->context, method, NULL)) return digest;
    }
    tl_digest_free(digest);
    return NULL;
}

tl_digest *tl_digest_new_blob(uint64_t size) {
    tl_digest *digest = tl_digest_new("sha1");
    char head[64];
    int length = snprintf(head, sizeof head, "blob %llu", (unsigned long long)size);
    if (digest) tl_digest_update(digest, head, (size_t)length + 1); /* with its NUL, as git does */
    return digest;
}

void tl_digest_free(tl_digest *digest) {
    if (!digest) return;
    EVP_MD_CTX_free(digest->context);
    free(digest);
}

void tl_digest_update(tl_digest *digest, const void *bytes, size_t length) {
    EVP_DigestUpdate(digest->context, bytes, length);
}

bool tl_digest_finish(tl_digest *digest, char hex[TL_HEX_SIZE]) {
    unsigned char bytes[EVP_MAX_MD_SIZE];
    unsigned length = 0;
    if (!EVP_DigestFinal_ex(digest->context, bytes, &length) || length * 2 >= TL_HEX_SIZE)
        return false;
    for (unsigned i = 0; i < length; i++) {
        hex[2 * i] = "0123456789abcdef"[bytes[i] >> 4];
        hex[2 * i + 1] = "0123456789abcdef"[bytes[i] & 15];
    }
    hex[length * 2] = 0;
    return true;
}

bool tl_sha256(const void *bytes, size_t length, char hex[TL_HEX_SIZE]) {
    tl_digest *digest = tl_digest_new("sha256");
    if (!digest) return false;
    tl_digest_update(digest, bytes, length);
    bool good = tl_digest_finish(digest, hex);
    tl_digest_free(digest);
    return good;
}

bool tl_sha256_file(const char *path, const volatile sig_atomic_t *stop, char hex[TL_HEX_SIZE],
                    tl_error *error) {
    FILE *file = fopen(path, "rbe");
    if (!file) return tl_fail_errno(error, "%s: cannot open", path);
    tl_digest *digest = tl_digest_new("sha256");
    char *slice = malloc(SLICE);
    bool good = digest && slice;
    size_t got;
    while (good && !(stop && *stop) && (got = fread(slice, 1, SLICE, file)) > 0)
        tl_digest_update(digest, slice, got);
    if (!good)
        tl_fail_memory(error, SLICE, path);
    else if (stop && *stop)
        good = tl_fail(error, TL_ERROR_INTERRUPTED, "%s: interrupted", path);
    else if (ferror(file))
        good = tl_fail_errno(error, "%s: cannot read", path);
    else
        good = tl_digest_finish(digest, hex) || tl_fail_memory(error, SLICE, path);
    tl_digest_free(digest);
    free(slice);
    fclose(file);
    return good;
}
