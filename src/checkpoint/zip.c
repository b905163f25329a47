/* zip: end record → central directory → members, each checked against its local header. */
#include "checkpoint/zip.h"

#include <stdlib.h>
#include <string.h>
#include <zlib.h>

enum {
    END_SIZE = 22,
    END64_SIZE = 56,
    LOCATOR_SIZE = 20,
    ENTRY_SIZE = 46,
    LOCAL_SIZE = 30,
    FLAG_ENCRYPTED = 1 << 0 | 1 << 6 | 1 << 13,
    FLAG_DESCRIPTOR = 1 << 3, /* sizes and CRC follow the data; the local header may hold zeros */
    METHOD_STORED = 0,
    METHOD_DEFLATED = 8,
    EXTRA_ZIP64 = 1,
};

struct tl_zip {
    const char *path;
    const unsigned char *data;
    size_t size;
    tl_zip_member *members;
    size_t count;
    tl_map *by_name;
};

static uint16_t get16(const unsigned char *at) {
    return (uint16_t)(at[0] | at[1] << 8);
}

static uint32_t get32(const unsigned char *at) {
    return get16(at) | (uint32_t)get16(at + 2) << 16;
}

static uint64_t get64(const unsigned char *at) {
    return get32(at) | (uint64_t)get32(at + 4) << 32;
}

static bool has_signature(const unsigned char *at, const char *signature) {
    return memcmp(at, signature, 4) == 0;
}

static int name_length(const tl_zip_member *member) {
    return (int)(member->name_length < 200 ? member->name_length : 200);
}

static bool fail_member(const tl_zip *zip, const tl_zip_member *member, const char *what,
                        tl_error *error) {
    return tl_fail(error, TL_ERROR_FORMAT, "%s: member '%.*s': %s", zip->path, name_length(member),
                   member->name, what);
}

/* Where the central directory lies. */
typedef struct directory {
    uint64_t count, size, offset;
    size_t limit; /* where the records that describe it begin */
} directory;

/* A 16- or 32-bit field that says "see the zip64 record" has all bits set. */
static bool agrees(uint64_t field, uint64_t all_bits, uint64_t wide) {
    return field == all_bits || field == wide;
}

/* Replaces the fields by those of the zip64 end record where there is one. */
static bool read_end64(const tl_zip *zip, size_t end, directory *found, tl_error *error) {
    if (end < LOCATOR_SIZE || !has_signature(zip->data + end - LOCATOR_SIZE, "PK\6\7")) return true;
    size_t locator = end - LOCATOR_SIZE;
    uint64_t at = get64(zip->data + locator + 8);
    if (!tl_within(at, END64_SIZE, locator) || !has_signature(zip->data + at, "PK\6\6"))
        return tl_fail(error, TL_ERROR_FORMAT, "%s: expected a zip64 end record at byte %llu",
                       zip->path, (unsigned long long)at);
    const unsigned char *record = zip->data + at;
    uint64_t count = get64(record + 32), size = get64(record + 40), offset = get64(record + 48);
    if (!agrees(found->count, 0xffff, count) || !agrees(found->size, 0xffffffff, size) ||
        !agrees(found->offset, 0xffffffff, offset))
        return tl_fail(error, TL_ERROR_FORMAT,
                       "%s: the zip's two end records contradict each other", zip->path);
    *found = (directory){count, size, offset, (size_t)at};
    return true;
}

static bool find_directory(const tl_zip *zip, directory *found, tl_error *error) {
    enum { LONGEST_COMMENT = 0xffff };
    size_t lowest =
        zip->size > END_SIZE + LONGEST_COMMENT ? zip->size - END_SIZE - LONGEST_COMMENT : 0;
    for (size_t at = zip->size >= END_SIZE ? zip->size - END_SIZE + 1 : 0; at-- > lowest;) {
        const unsigned char *end = zip->data + at;
        if (!has_signature(end, "PK\5\6") || get16(end + 20) != zip->size - at - END_SIZE) continue;
        if (get16(end + 4) != 0 || get16(end + 6) != 0 || get16(end + 8) != get16(end + 10))
            return tl_fail(error, TL_ERROR_UNSUPPORTED, "%s: a zip of several disks", zip->path);
        *found = (directory){get16(end + 10), get32(end + 12), get32(end + 16), at};
        return read_end64(zip, at, found, error);
    }
    return tl_fail(error, TL_ERROR_FORMAT,
                   "%s: expected a zip's end record (is the file truncated?)", zip->path);
}

/* Takes the 64-bit values of those fields that have all bits set from the extra field, in the order
 * the format lays down. */
static bool read_zip64_extra(const unsigned char *extra, size_t length, uint64_t *const fields[],
                             int count) {
    bool needed = false;
    for (int i = 0; i < count; i++)
        needed = needed || *fields[i] == 0xffffffff;
    if (!needed) return true;
    while (length >= 4) {
        size_t size = get16(extra + 2);
        if (size > length - 4) return false;
        if (get16(extra) == EXTRA_ZIP64) {
            const unsigned char *at = extra + 4;
            for (int i = 0; i < count; i++) {
                if (*fields[i] != 0xffffffff) continue;
                if (size < 8) return false;
                *fields[i] = get64(at);
                at += 8;
                size -= 8;
            }
            return true;
        }
        extra += 4 + size;
        length -= 4 + size;
    }
    return false;
}

/* Does the local header say the same as the directory? Sets where the data lies. */
static bool read_local(const tl_zip *zip, const directory *where, const unsigned char *entry,
                       uint64_t packed, uint64_t size, tl_zip_member *member, tl_error *error) {
    uint64_t limit = where->offset;
    if (!tl_within(member->header, LOCAL_SIZE, limit) ||
        !has_signature(zip->data + member->header, "PK\3\4"))
        return fail_member(zip, member, "expected a local header where the directory points",
                           error);
    const unsigned char *local = zip->data + member->header;
    size_t names = get16(local + 26), extras = get16(local + 28);
    size_t data = member->header + LOCAL_SIZE + names + extras;
    if (!tl_within(data, packed, limit))
        return fail_member(zip, member, "its data runs past its place (is the file truncated?)",
                           error);
    if (names != member->name_length || memcmp(local + LOCAL_SIZE, member->name, names) != 0 ||
        get16(local + 6) != get16(entry + 8) || get16(local + 8) != get16(entry + 10))
        return fail_member(zip, member, "its local header contradicts the directory", error);
    uint64_t local_size = get32(local + 22), local_packed = get32(local + 18);
    if (!read_zip64_extra(local + LOCAL_SIZE + names, extras,
                          (uint64_t *const[]){&local_size, &local_packed}, 2))
        return fail_member(zip, member, "expected its sizes in a zip64 field", error);
    bool later = get16(local + 6) & FLAG_DESCRIPTOR;
    bool blank = later && local_size == 0 && local_packed == 0;
    if (!blank && (local_size != size || local_packed != packed))
        return fail_member(zip, member, "its local header contradicts the directory's sizes",
                           error);
    if (get32(local + 14) != member->crc && !(later && get32(local + 14) == 0))
        return fail_member(zip, member, "its local header contradicts the directory's CRC", error);
    member->data = zip->data + data;
    member->packed = (size_t)packed;
    member->size = (size_t)size;
    member->end = data + (size_t)packed;
    return true;
}

/* Reads the directory's entry at `*at` and moves past it. */
static bool read_entry(tl_zip *zip, const directory *where, size_t *at, tl_error *error) {
    size_t end = (size_t)(where->offset + where->size);
    const unsigned char *entry = zip->data + *at;
    if (!tl_within(*at, ENTRY_SIZE, end) || !has_signature(entry, "PK\1\2"))
        return tl_fail(error, TL_ERROR_FORMAT, "%s: expected a zip directory entry at byte %zu",
                       zip->path, *at);
    size_t names = get16(entry + 28), extras = get16(entry + 30), comments = get16(entry + 32);
    if (!tl_within(*at + ENTRY_SIZE, names + extras + comments, end))
        return tl_fail(error, TL_ERROR_FORMAT,
                       "%s: the zip directory entry at byte %zu runs past the directory", zip->path,
                       *at);
    tl_zip_member *member = &zip->members[zip->count++];
    *member = (tl_zip_member){
        .name = (const char *)entry + ENTRY_SIZE,
        .name_length = names,
        .crc = get32(entry + 16),
        .deflated = get16(entry + 10) == METHOD_DEFLATED,
    };
    if (get16(entry + 8) & FLAG_ENCRYPTED)
        return fail_member(zip, member, "encrypted: expected plain data", error);
    if (get16(entry + 10) != METHOD_STORED && !member->deflated)
        return fail_member(zip, member, "expected it stored or deflated", error);
    uint64_t size = get32(entry + 24), packed = get32(entry + 20), header = get32(entry + 42);
    if (!read_zip64_extra(entry + ENTRY_SIZE + names, extras,
                          (uint64_t *const[]){&size, &packed, &header}, 3))
        return fail_member(zip, member, "expected its sizes in a zip64 field", error);
    if (!member->deflated && size != packed)
        return fail_member(zip, member, "stored, yet its two sizes differ", error);
    if (header > zip->size) header = zip->size;
    member->header = (size_t)header;
    if (!read_local(zip, where, entry, packed, size, member, error)) return false;
    if (tl_map_get(zip->by_name, member->name, names, NULL))
        return fail_member(zip, member, "occurs twice", error);
    if (!tl_map_set(zip->by_name, member->name, names, zip->count - 1))
        return tl_fail_memory(error, names, "a zip's directory");
    *at += ENTRY_SIZE + names + extras + comments;
    return true;
}

static int by_header(const void *a, const void *b) {
    const tl_zip_member *x = *(const tl_zip_member *const *)a, *y = *(tl_zip_member *const *)b;
    return x->header < y->header ? -1 : x->header > y->header;
}

static bool check_overlaps(const tl_zip *zip, tl_error *error) {
    const tl_zip_member **sorted = calloc(zip->count + 1, sizeof(void *));
    if (!sorted) return tl_fail_memory(error, zip->count * sizeof(void *), "a zip's directory");
    for (size_t i = 0; i < zip->count; i++)
        sorted[i] = &zip->members[i];
    qsort(sorted, zip->count, sizeof *sorted, by_header);
    bool good = true;
    for (size_t i = 1; good && i < zip->count; i++)
        if (sorted[i]->header < sorted[i - 1]->end)
            good = fail_member(zip, sorted[i], "overlaps another member", error);
    free(sorted);
    return good;
}

static bool read_directory(tl_zip *zip, tl_error *error) {
    directory where = {0};
    if (!find_directory(zip, &where, error)) return false;
    if (!tl_within(where.offset, where.size, where.limit) || where.count > where.size / ENTRY_SIZE)
        return tl_fail(error, TL_ERROR_FORMAT,
                       "%s: a zip directory of %llu entries in %llu bytes at byte %llu: expected "
                       "it before byte %zu",
                       zip->path, (unsigned long long)where.count, (unsigned long long)where.size,
                       (unsigned long long)where.offset, where.limit);
    zip->members = calloc((size_t)where.count + 1, sizeof *zip->members);
    zip->by_name = tl_map_new((size_t)where.count);
    if (!zip->members || !zip->by_name)
        return tl_fail_memory(error, (size_t)where.count * sizeof *zip->members,
                              "a zip's directory");
    size_t at = (size_t)where.offset;
    while (zip->count < where.count)
        if (!read_entry(zip, &where, &at, error)) return false;
    if (at != where.offset + where.size)
        return tl_fail(error, TL_ERROR_FORMAT, "%s: the zip directory holds more than %zu entries",
                       zip->path, zip->count);
    return check_overlaps(zip, error);
}

tl_zip *tl_zip_open(const unsigned char *data, size_t size, const char *path, tl_error *error) {
    tl_zip *zip = calloc(1, sizeof *zip);
    if (!zip) {
        tl_fail_memory(error, sizeof *zip, "a zip");
        return NULL;
    }
    zip->path = path;
    zip->data = data;
    zip->size = size;
    if (read_directory(zip, error)) return zip;
    tl_zip_free(zip);
    return NULL;
}

void tl_zip_free(tl_zip *zip) {
    if (!zip) return;
    tl_map_free(zip->by_name);
    free(zip->members);
    free(zip);
}

const tl_zip_member *tl_zip_at(const tl_zip *zip, size_t index) {
    return index < zip->count ? &zip->members[index] : NULL;
}

const tl_zip_member *tl_zip_find(const tl_zip *zip, const char *name, size_t length) {
    uint64_t index;
    return tl_map_get(zip->by_name, name, length, &index) ? &zip->members[index] : NULL;
}

bool tl_zip_verify(const tl_zip *zip, const tl_zip_member *member, tl_error *error) {
    if (crc32_z(0, member->data, member->packed) == member->crc) return true;
    return fail_member(zip, member, "its CRC differs: the file is damaged", error);
}

bool tl_zip_inflate(const tl_zip *zip, const tl_zip_member *member, void *out, tl_error *error) {
    enum { PIECE = 1 << 30 }; /* zlib counts in unsigned int */
    z_stream stream = {0};
    if (inflateInit2(&stream, -MAX_WBITS) != Z_OK)
        return tl_fail_memory(error, 1 << 16, "inflating");
    size_t taken = 0, made = 0;
    int status = Z_OK;
    unsigned char spare[1]; /* room to notice data that is longer than declared */
    while (status == Z_OK) {
        size_t in = member->packed - taken, room = member->size - made;
        stream.next_in = (Bytef *)(uintptr_t)(member->data + taken);
        stream.avail_in = (uInt)(in < PIECE ? in : PIECE);
        stream.next_out = room ? (unsigned char *)out + made : spare;
        stream.avail_out = (uInt)(room ? (room < PIECE ? room : PIECE) : sizeof spare);
        uInt given = stream.avail_in, offered = stream.avail_out;
        status = inflate(&stream, Z_NO_FLUSH);
        taken += given - stream.avail_in;
        made += offered - stream.avail_out;
        if (made > member->size) break;
    }
    inflateEnd(&stream);
    if (status != Z_STREAM_END || made != member->size || taken != member->packed)
        return fail_member(zip, member, "its deflated data is damaged or not of its declared size",
                           error);
    if (crc32_z(0, out, member->size) != member->crc)
        return fail_member(zip, member, "its CRC differs: the file is damaged", error);
    return true;
}
