/* Bundles: what is packed is what is unpacked; hostile archives are refused, named, and leave the
 * cache as it was. */
#include "hub/bundle.h"
#include "hub/hub.h"
#include "hub/tar.h"
#include "support/support.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define COMMIT "0123456789abcdef0123456789abcdef01234567"

static bool go_on(void *context, uint64_t done, uint64_t total) {
    (void)context, (void)done, (void)total;
    return true;
}

static bool stop(void *context, uint64_t done, uint64_t total) {
    (void)context, (void)done, (void)total;
    return false;
}

/* ---- tar
 * ------------------------------------------------------------------------------------------- */

typedef struct memory {
    const char *at;
    size_t left, step; /* gives at most `step` bytes a time */
} memory;

static bool from_memory(void *context, void *bytes, size_t length, size_t *got, tl_error *error) {
    memory *m = context;
    (void)error;
    *got = length < m->left ? length : m->left;
    if (*got > m->step) *got = m->step;
    memcpy(bytes, m->at, *got);
    m->at += *got;
    m->left -= *got;
    return true;
}

static void set_checksum(char *block) {
    unsigned sum = 0;
    memset(block + 148, ' ', 8);
    for (int i = 0; i < 512; i++)
        sum += (unsigned char)block[i];
    snprintf(block + 148, 8, "%06o", sum);
}

static void add_entry(tl_buffer *tar, const char *name, char kind, const char *content,
                      size_t size) {
    static const char zeros[512];
    unsigned char block[512];
    tl_tar_header(block, name, size);
    block[156] = (unsigned char)kind;
    set_checksum((char *)block);
    tl_buffer_append(tar, block, sizeof block);
    tl_buffer_append(tar, content, size);
    tl_buffer_append(tar, zeros, tl_tar_padding(size));
}

static void end_tar(tl_buffer *tar) {
    static const char zeros[1024];
    tl_buffer_append(tar, zeros, sizeof zeros);
}

/* The names, sizes and contents of an archive in one line, or the error. */
static void list_tar(const tl_buffer *archive, size_t step, char *out, size_t size) {
    memory m = {archive->data, archive->length, step};
    tl_tar tar = {.source = from_memory, .context = &m, .where = "t"};
    tl_tar_entry entry;
    tl_error error = {0};
    bool end = false;
    out[0] = 0;
    while (tl_tar_next(&tar, &entry, &end, &error) && !end) {
        char content[16];
        size_t got;
        size_t used = strlen(out);
        if (!tl_tar_read(&tar, content, sizeof content - 1, &got, &error)) break;
        content[got] = 0;
        snprintf(out + used, size - used, "%s %llu %s;", entry.name, (unsigned long long)entry.size,
                 content);
    }
    if (!end) snprintf(out, size, "%s", error.message);
}

static void test_tar(void **state) {
    (void)state;
    static const size_t steps[] = {1, 100, 4096};
    char out[2048], long_pax[600], name[300];
    tl_buffer tar = {0};
    memset(name, 'n', 200);
    strcpy(name + 200, "/x");
    int length = snprintf(long_pax, sizeof long_pax, "%d path=%s\n", 3 + 1 + 5 + 202 + 1, name);
    assert_int_equal(length, 212);
    add_entry(&tar, "./a", '0', "one", 3);
    add_entry(&tar, "dir/", '5', "", 0);
    add_entry(&tar, "dir/b", 0, "", 0);
    add_entry(&tar, "g", 'g', "11 comment=\n", 12);
    add_entry(&tar, "pax", 'x', long_pax, (size_t)length);
    add_entry(&tar, "short", '0', "two", 3);
    end_tar(&tar);
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        list_tar(&tar, steps[i], out, sizeof out);
        test_assert_contains(out, "a 3 one;dir/b 0 ;nnnnn");
        test_assert_contains(out, "nnn/x 3 two;");
    }
    /* Cut anywhere it is refused. */
    for (size_t cut = 0; cut < tar.length - 1024; cut += 256) {
        tl_buffer part = {.data = tar.data, .length = cut};
        list_tar(&part, 4096, out, sizeof out);
        test_assert_contains(out, "cut short");
    }
    tar.data[0] ^= 1;
    list_tar(&tar, 4096, out, sizeof out);
    test_assert_contains(out, "checksum");
    tl_buffer_free(&tar);

    /* A size that needs the binary form. */
    unsigned char block[512];
    tl_tar_header(block, "big", ((uint64_t)1 << 40) + 5);
    tl_buffer big = {0};
    tl_buffer_append(&big, block, sizeof block);
    tl_buffer_append(&big, block, 100);
    memory m = {big.data, big.length, 4096};
    tl_tar reader = {.source = from_memory, .context = &m, .where = "t"};
    tl_tar_entry entry;
    bool end;
    tl_error error = {0};
    assert_ok(tl_tar_next(&reader, &entry, &end, &error), error);
    assert_true(entry.size == ((uint64_t)1 << 40) + 5);
    tl_buffer_free(&big);
}

static void test_hostile_tar(void **state) {
    (void)state;
    static const struct {
        const char *name;
        char kind;
        const char *expected;
    } cases[] = {
        {"../evil", '0', "could lead out"},
        {"/etc/evil", '0', "could lead out"},
        {"a/../../b", '0', "could lead out"},
        {"a//b", '0', "could lead out"},
        {"", '0', "could lead out"},
        {"link", '2', "symbolic link"},
        {"hard", '1', "hard link"},
        {"device", '3', "a device"},
        {"pipe", '6', "a pipe"},
        {"long", 'L', "unknown kind"},
    };
    char out[2048];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        tl_buffer tar = {0};
        add_entry(&tar, cases[i].name, cases[i].kind, "", 0);
        end_tar(&tar);
        list_tar(&tar, 4096, out, sizeof out);
        test_assert_contains(out, cases[i].expected);
        tl_buffer_free(&tar);
    }
    static const char *const records[] = {
        "13 path=../e\n", "9999999999 path=x\n", "3 x\n", "12 path=a\0b\n", "11 size=-1\n", "x",
    };
    static const size_t lengths[] = {13, 18, 4, 12, 11, 1};
    for (size_t i = 0; i < sizeof records / sizeof *records; i++) {
        tl_buffer tar = {0};
        add_entry(&tar, "pax", 'x', records[i], lengths[i]);
        add_entry(&tar, "name", '0', "", 0);
        end_tar(&tar);
        list_tar(&tar, 4096, out, sizeof out);
        if (!strstr(out, "pax header") && !strstr(out, "could lead out"))
            fail_msg("record %zu: %s", i, out);
        tl_buffer_free(&tar);
    }
}

/* ---- bundles
 * ------------------------------------------------------------------------------------------- */

static void lay(const char *home, const char *repo, const char *name, const char *text,
                bool large) {
    char hex[TL_HEX_SIZE], link[4096], target[256];
    tl_error error = {0};
    if (large) {
        assert_true(tl_sha256(text, strlen(text), hex));
    } else {
        tl_digest *digest = tl_digest_new_blob(strlen(text));
        tl_digest_update(digest, text, strlen(text));
        assert_true(tl_digest_finish(digest, hex));
        tl_digest_free(digest);
    }
    const char *base = test_scratch_path("%s/hub/%s", home, repo);
    char path[4096];
    snprintf(path, sizeof path, "%s/blobs/%s", base, hex);
    test_write_text(path, text);
    snprintf(path, sizeof path, "%s/refs/main", base);
    test_write_text(path, COMMIT);
    snprintf(link, sizeof link, "%s/snapshots/" COMMIT "/%s", base, name);
    snprintf(path, sizeof path, "%s", link);
    *strrchr(path, '/') = 0;
    assert_ok(tl_dir_create(path, &error), error);
    snprintf(target, sizeof target, "../../%sblobs/%s", strchr(name, '/') ? "../" : "", hex);
    if (symlink(target, link) != 0) fail_msg("cannot link %s", link);
}

static void set_home(const char *home) {
    unsetenv("HF_HUB_CACHE");
    setenv("HF_HOME", test_scratch_path("%s", home), 1);
}

static void make_home(const char *home) {
    lay(home, "models--org--one", "config.json", "{}", false);
    lay(home, "models--org--one", "tokenizer.json", "the same in both", false);
    lay(home, "models--org--one", "model.safetensors", "weights of one", true);
    lay(home, "models--org--one", "flax_model.msgpack", "not needed", true);
    lay(home, "models--org--two", "tokenizer.json", "the same in both", false);
    lay(home, "models--org--two", "pytorch_model.bin", "weights of two", true);
    lay(home, "datasets--org--rows", "data/validation-00000-of-00001.parquet", "rows", true);
    lay(home, "datasets--org--rows", "data/train-00000-of-00001.parquet", "more rows", true);
}

static void fill(tl_bundle *bundle) {
    static const char *const splits[] = {"validation"};
    tl_error error = {0};
    assert_ok(tl_bundle_add_model(bundle, "org/one", &error), error);
    assert_ok(tl_bundle_add_model(bundle, "org/two", &error), error);
    assert_ok(tl_bundle_add_dataset(bundle, "org/rows", NULL, NULL, splits, 1, &error), error);
}

static void assert_text(const char *path, const char *expected) {
    tl_error error = {0};
    char *text = tl_file_read(path, 1000, NULL, &error);
    assert_ok(text, error);
    assert_string_equal(text, expected);
    free(text);
}

static void test_round_trip(void **state) {
    (void)state;
    char path[4096], file[8192];
    tl_error error = {0};
    tl_bundle bundle = {0};
    make_home("source");
    set_home("source");
    fill(&bundle);
    assert_int_equal(bundle.count, 3);
    assert_int_equal(bundle.repos[0].count, 3);
    const char *archive = test_scratch_path("bundle.tar.zst");
    assert_ok(tl_bundle_write(&bundle, archive, 3, go_on, NULL, &error), error);
    tl_bundle_free(&bundle);

    set_home("target");
    assert_ok(tl_bundle_read(archive, true, &bundle, go_on, NULL, &error), error);
    assert_false(tl_dir_exists(test_scratch_path("target/hub")));
    tl_bundle_free(&bundle);
    for (int i = 0; i < 2; i++) { /* a second time changes nothing */
        assert_ok(tl_bundle_read(archive, false, &bundle, go_on, NULL, &error), error);
        tl_bundle_free(&bundle);
        assert_ok(tl_hub_model_directory("org/one", path, sizeof path, &error), error);
        snprintf(file, sizeof file, "%s/model.safetensors", path);
        assert_text(file, "weights of one");
        assert_ok(tl_hub_model_directory("org/two", path, sizeof path, &error), error);
        snprintf(file, sizeof file, "%s/tokenizer.json", path);
        assert_text(file, "the same in both");
        assert_ok(
            tl_hub_dataset_file("org/rows", NULL, NULL, "validation", path, sizeof path, &error),
            error);
        assert_text(path, "rows");
        assert_false(
            tl_hub_dataset_file("org/rows", NULL, NULL, "train", path, sizeof path, &error));
    }
    /* The same cache gives the same bundle, bit for bit. */
    tl_bundle again = {0};
    fill(&again);
    const char *second = test_scratch_path("second.tar.zst");
    assert_ok(tl_bundle_write(&again, second, 3, go_on, NULL, &error), error);
    tl_bundle_free(&again);
    tl_mapping a, b;
    assert_ok(tl_file_map(archive, &a, &error) && tl_file_map(second, &b, &error), error);
    assert_int_equal(a.size, b.size);
    assert_memory_equal(a.data, b.data, a.size);
    tl_file_unmap(&a);
    tl_file_unmap(&b);
}

static void test_pack_refuses(void **state) {
    (void)state;
    tl_error error = {0};
    tl_bundle bundle = {0};
    make_home("damaged");
    set_home("damaged");
    assert_false(tl_bundle_add_model(&bundle, "org/three", &error));
    test_assert_contains(error.message, "tinyllm pull org/three");
    assert_false(tl_bundle_add_model(&bundle, test_scratch(), &error));
    fill(&bundle);
    const char *archive = test_scratch_path("never.tar.zst");
    assert_false(tl_bundle_write(&bundle, archive, 3, stop, NULL, &error));
    assert_int_equal(error.code, TL_ERROR_INTERRUPTED);
    char path[4096];
    strcpy(path, bundle.repos[0].files[1].source);
    FILE *file = fopen(path, "r+");
    fputc('x', file);
    fclose(file);
    assert_false(tl_bundle_write(&bundle, archive, 3, go_on, NULL, &error));
    test_assert_contains(error.message, "damaged");
    assert_false(tl_file_exists(archive));
    tl_bundle_free(&bundle);
}

static int files_found;

static int count_file(const char *path, const struct stat *status, int kind, struct FTW *place) {
    (void)path, (void)status, (void)place;
    files_found += kind != FTW_D && !strstr(path, "CACHEDIR.TAG");
    return 0;
}

/* Unpacking `archive` fails saying `expected`, and leaves no file in the cache but contents that
 * were verified before the fault. */
static void expect_refusal(const tl_buffer *archive, const char *expected, int leftovers) {
    tl_error error = {0};
    tl_bundle bundle;
    static int number;
    char home[64];
    snprintf(home, sizeof home, "hostile%d", number++);
    set_home(home);
    const char *path = test_scratch_path("hostile.tar");
    test_write_file(path, archive->data, archive->length);
    assert_false(tl_bundle_read(path, false, &bundle, go_on, NULL, &error));
    tl_bundle_free(&bundle);
    test_assert_contains(error.message, expected);
    files_found = 0;
    nftw(test_scratch_path("%s", home), count_file, 16, FTW_PHYS);
    assert_int_equal(files_found, leftovers);
}

#define SHA_ABC "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
#define GIT_ABC "f2ba8f84ab5c1bce84a7b441cb1959cfc7093b7f"

/* A manifest with one file. */
static void add_manifest(tl_buffer *tar, const char *name, const char *path, const char *blob,
                         const char *sha256, int size) {
    char text[2048];
    int length = snprintf(text, sizeof text,
                          "{\"format\": 1, \"repositories\": [{\"kind\": \"models\", \"id\": "
                          "\"%s\", \"revision\": \"main\", \"commit\": \"" COMMIT
                          "\", \"files\": [{\"path\": \"%s\", \"blob\": \"%s\", \"sha256\": "
                          "\"%s\", \"size\": %d}]}]}",
                          name, path, blob, sha256, size);
    add_entry(tar, "manifest.json", '0', text, (size_t)length);
}

static void test_hostile_bundles(void **state) {
    (void)state;
    static const struct {
        const char *name, *path, *blob, *sha256;
        int size;
        const char *entry, *content, *expected;
        int leftovers;
    } cases[] = {
        {"org/m", "../../evil", SHA_ABC, SHA_ABC, 3, "blobs/" SHA_ABC, "abc", "could lead out"},
        {"../m", "a", SHA_ABC, SHA_ABC, 3, "blobs/" SHA_ABC, "abc", "not the name of a model"},
        {"org/m", "a", "../x", SHA_ABC, 3, "blobs/" SHA_ABC, "abc", "expected 'sha256' in hex"},
        {"org/m", "a", GIT_ABC, "abc", 3, "blobs/" SHA_ABC, "abc", "expected 'sha256' in hex"},
        {"org/m", "a", SHA_ABC, SHA_ABC, 3, "blobs/" SHA_ABC, "abd", "not what the manifest says"},
        {"org/m", "a", COMMIT, SHA_ABC, 3, "blobs/" SHA_ABC, "abc", "not what the manifest says"},
        {"org/m", "a", SHA_ABC, SHA_ABC, 4, "blobs/" SHA_ABC, "abc", "3 bytes, expected 4"},
        {"org/m", "a", SHA_ABC, SHA_ABC, 3, "blobs/other", "abc", "manifest does not name it"},
        {"org/m", "a", SHA_ABC, SHA_ABC, 3, "../blobs/x", "abc", "could lead out"},
        {"org/m", "a", SHA_ABC, SHA_ABC, 3, NULL, NULL, "lacks a"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        tl_buffer tar = {0};
        add_manifest(&tar, cases[i].name, cases[i].path, cases[i].blob, cases[i].sha256,
                     cases[i].size);
        if (cases[i].entry) add_entry(&tar, cases[i].entry, '0', cases[i].content, 3);
        end_tar(&tar);
        expect_refusal(&tar, cases[i].expected, cases[i].leftovers);
        tl_buffer_free(&tar);
    }
    /* Links and foreign files, whatever the manifest says; verified contents may stay. */
    tl_buffer tar = {0};
    add_manifest(&tar, "org/m", "a", SHA_ABC, SHA_ABC, 3);
    add_entry(&tar, "blobs/" SHA_ABC, '0', "abc", 3);
    size_t kept = tar.length;
    add_entry(&tar, "blobs/link", '2', "", 0);
    end_tar(&tar);
    expect_refusal(&tar, "a symbolic link: refused", 1);
    tar.length = kept;
    add_entry(&tar, "blobs/" SHA_ABC, '0', "abc", 3);
    end_tar(&tar);
    expect_refusal(&tar, "and once", 1);
    tar.length = kept;
    expect_refusal(&tar, "cut short", 1);
    tar.length = 0;
    add_entry(&tar, "evil", '0', "abc", 3);
    end_tar(&tar);
    expect_refusal(&tar, "expected manifest.json first", 0);
    tar.length = 0;
    tl_buffer_append_string(&tar, "<html>");
    expect_refusal(&tar, "cut short", 0);
    tl_buffer_free(&tar);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tar),
        cmocka_unit_test(test_hostile_tar),
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_pack_refuses),
        cmocka_unit_test(test_hostile_bundles),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
