#include "hub/tar.h"

#include "hub/cache.h"

#include <stdio.h>
#include <string.h>

enum { PAX_LIMIT = 1 << 16 };

/* Where the fields of a header block stand. */
enum { NAME = 0, MODE = 100, UID = 108, GID = 116, SIZE = 124, TIME = 136, CHECKSUM = 148 };
enum { KIND = 156, MAGIC = 257, PREFIX = 345, NAME_SIZE = 100, SIZE_SIZE = 12, PREFIX_SIZE = 155 };

static const uint64_t LARGEST = (uint64_t)1 << 50;

unsigned tl_tar_padding(uint64_t size) {
    return (unsigned)((TL_TAR_BLOCK - size % TL_TAR_BLOCK) % TL_TAR_BLOCK);
}

static unsigned sum_of(const unsigned char *block) {
    unsigned sum = 0;
    for (int i = 0; i < TL_TAR_BLOCK; i++)
        sum += i >= CHECKSUM && i < CHECKSUM + 8 ? ' ' : block[i];
    return sum;
}

void tl_tar_header(unsigned char block[TL_TAR_BLOCK], const char *name, uint64_t size) {
    static const uint64_t most_octal = ((uint64_t)1 << 33) - 1;
    char *text = (char *)block;
    memset(block, 0, TL_TAR_BLOCK);
    snprintf(text + NAME, NAME_SIZE, "%s", name);
    snprintf(text + MODE, 8, "%07o", 0644);
    snprintf(text + UID, 8, "%07o", 0);
    snprintf(text + GID, 8, "%07o", 0);
    if (size <= most_octal) {
        snprintf(text + SIZE, SIZE_SIZE, "%011llo", (unsigned long long)size);
    } else { /* GNU's binary form */
        block[SIZE] = 0x80;
        for (int i = 0; i < 8; i++)
            block[SIZE + 11 - i] = (unsigned char)(size >> (8 * i));
    }
    snprintf(text + TIME, 12, "%011o", 0);
    block[KIND] = '0';
    memcpy(block + MAGIC, "ustar\00000", 8);
    snprintf(text + CHECKSUM, 8, "%06o", sum_of(block));
    block[CHECKSUM + 7] = ' ';
}

/* ---- reading
 * ------------------------------------------------------------------------------------------- */

static bool malformed(const tl_tar *tar, const char *what, tl_error *error) {
    return tl_fail(error, TL_ERROR_FORMAT, "%s: not a valid archive: %s", tar->where, what);
}

/* Exactly `length` bytes, or fewer at the archive's end. */
static bool read_some(tl_tar *tar, void *bytes, size_t length, size_t *got, tl_error *error) {
    *got = 0;
    while (*got < length) {
        size_t more;
        if (!tar->source(tar->context, (char *)bytes + *got, length - *got, &more, error))
            return false;
        if (more == 0) break;
        *got += more;
    }
    return true;
}

bool tl_tar_read(tl_tar *tar, void *bytes, size_t length, size_t *got, tl_error *error) {
    if (length > tar->left) length = (size_t)tar->left;
    if (!read_some(tar, bytes, length, got, error)) return false;
    if (*got < length) return malformed(tar, "it is cut short", error);
    tar->left -= *got;
    return true;
}

static bool skip_content(tl_tar *tar, tl_error *error) {
    char chunk[1 << 14];
    tar->left += tar->padding;
    tar->padding = 0;
    while (tar->left > 0) {
        size_t got;
        if (!tl_tar_read(tar, chunk, sizeof chunk, &got, error)) return false;
    }
    return true;
}

/* A number in octal, or in GNU's binary form. */
static bool parse_number(const unsigned char *field, size_t length, uint64_t *value) {
    *value = 0;
    if (field[0] & 0x80) {
        for (size_t i = 1; i < length; i++) {
            if (*value >> 55) return false;
            *value = *value << 8 | field[i];
        }
        return field[0] == 0x80;
    }
    size_t i = 0;
    while (i < length && field[i] == ' ')
        i++;
    for (; i < length && field[i] >= '0' && field[i] <= '7'; i++)
        *value = *value << 3 | (uint64_t)(field[i] - '0');
    return i == length || field[i] == 0 || field[i] == ' ';
}

/* What a pax header says of the entry after it. */
typedef struct override {
    bool has_name, has_size;
    char name[TL_TAR_NAME];
    uint64_t size;
} override;

/* One record, "LENGTH key=value\n". */
static bool take_record(override *o, const char *key, size_t key_length, const char *value,
                        size_t length) {
    if (key_length == 4 && memcmp(key, "path", 4) == 0) {
        if (length >= sizeof o->name || memchr(value, 0, length)) return false;
        memcpy(o->name, value, length);
        o->name[length] = 0;
        o->has_name = true;
    } else if (key_length == 4 && memcmp(key, "size", 4) == 0) {
        o->size = 0;
        for (size_t i = 0; i < length; i++) {
            if (value[i] < '0' || value[i] > '9' || o->size > LARGEST) return false;
            o->size = o->size * 10 + (uint64_t)(value[i] - '0');
        }
        o->has_size = length > 0;
    }
    return true;
}

static bool read_pax(tl_tar *tar, uint64_t size, override *o, tl_error *error) {
    char text[PAX_LIMIT];
    size_t got;
    if (size > sizeof text) return malformed(tar, "a header of more than 64 KiB", error);
    if (!tl_tar_read(tar, text, (size_t)size, &got, error)) return false;
    for (size_t at = 0; at < got;) {
        size_t length = 0, digits = at;
        while (digits < got && text[digits] >= '0' && text[digits] <= '9' && length < PAX_LIMIT)
            length = length * 10 + (size_t)(text[digits++] - '0');
        if (length > got - at || digits >= got || text[digits] != ' ' || length < digits - at + 3 ||
            text[at + length - 1] != '\n')
            return malformed(tar, "a malformed pax header", error);
        const char *key = text + digits + 1, *end = text + at + length - 1;
        const char *equals = memchr(key, '=', (size_t)(end - key));
        if (!equals ||
            !take_record(o, key, (size_t)(equals - key), equals + 1, (size_t)(end - equals) - 1))
            return malformed(tar, "a malformed pax header", error);
        at += length;
    }
    return true;
}

static void copy_field(char *to, const unsigned char *field, size_t length) {
    memcpy(to, field, length);
    to[length] = 0;
}

/* The entry's name: of the pax header, else prefix/name. */
static void put_name(const unsigned char *block, const override *o, char name[TL_TAR_NAME]) {
    char base[NAME_SIZE + 1], prefix[PREFIX_SIZE + 1] = "";
    copy_field(base, block + NAME, NAME_SIZE);
    if (memcmp(block + MAGIC, "ustar", 6) == 0) copy_field(prefix, block + PREFIX, PREFIX_SIZE);
    if (o->has_name)
        memcpy(name, o->name, sizeof o->name);
    else
        snprintf(name, TL_TAR_NAME, "%s%s%s", prefix, *prefix ? "/" : "", base);
    while (strncmp(name, "./", 2) == 0)
        memmove(name, name + 2, strlen(name + 2) + 1);
}

static const char *kind_word(unsigned char kind) {
    switch (kind) {
    case '1':
        return "a hard link";
    case '2':
        return "a symbolic link";
    case '3':
    case '4':
        return "a device";
    case '6':
        return "a pipe";
    default:
        return "an entry of unknown kind";
    }
}

static bool is_zero(const unsigned char *block) {
    for (int i = 0; i < TL_TAR_BLOCK; i++)
        if (block[i]) return false;
    return true;
}

/* Reads one header; *end at the end of the archive. */
static bool read_block(tl_tar *tar, unsigned char *block, bool *end, tl_error *error) {
    size_t got;
    if (!read_some(tar, block, TL_TAR_BLOCK, &got, error)) return false;
    *end = got == TL_TAR_BLOCK && is_zero(block);
    if (*end) return true;
    /* An archive that just stops may be half a download. */
    if (got < TL_TAR_BLOCK) return malformed(tar, "it is cut short", error);
    uint64_t sum;
    if (!parse_number(block + CHECKSUM, 8, &sum) || sum != sum_of(block))
        return malformed(tar, "a header's checksum does not match", error);
    return true;
}

bool tl_tar_next(tl_tar *tar, tl_tar_entry *entry, bool *end, tl_error *error) {
    unsigned char block[TL_TAR_BLOCK];
    override o = {0};
    for (;;) {
        uint64_t size;
        if (!skip_content(tar, error) || !read_block(tar, block, end, error)) return false;
        if (*end) return true;
        unsigned char kind = block[KIND];
        if (!parse_number(block + SIZE, SIZE_SIZE, &size))
            return malformed(tar, "a size that is no number", error);
        bool is_pax = kind == 'x' || kind == 'g';
        if (o.has_size && !is_pax) size = o.size;
        if (size > LARGEST) return malformed(tar, "a file of more than a petabyte", error);
        tar->left = size;
        tar->padding = tl_tar_padding(size);
        if (kind == 'x' && !read_pax(tar, size, &o, error)) return false;
        if (is_pax) continue;
        put_name(block, &o, entry->name);
        o = (override){0};
        if (kind == '5') continue;
        if (kind != '0' && kind != 0)
            return tl_fail(error, TL_ERROR_FORMAT,
                           "%s: '%s' is %s: refused, only files belong here", tar->where,
                           entry->name, kind_word(kind));
        if (!tl_is_safe_path(entry->name))
            return tl_fail(error, TL_ERROR_FORMAT,
                           "%s: a file named '%s': refused, it could lead out of the cache",
                           tar->where, entry->name);
        entry->size = size;
        return true;
    }
}
