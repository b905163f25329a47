/* zip: what torch writes, what others make of it, and what nobody honest makes. */
#include "checkpoint/zip.h"
#include "support/support.h"
#include "support/torch_file.h"

#include <string.h>

static const char text[] = "twenty-six bytes of member";
enum { TEXT = sizeof text - 1 };

static tl_zip *open_zip(const tl_buffer *file, tl_error *error) {
    *error = (tl_error){0};
    return tl_zip_open((const unsigned char *)file->data, file->length, "x.bin", error);
}

/* An archive of one member "a", made with a twist. */
static tl_buffer twisted(zip_twist twist) {
    test_zip zip = {0};
    zip_add(&zip, "a", text, TEXT, twist);
    return zip_finish(&zip, false);
}

static void test_finds_members(void **state) {
    (void)state;
    for (int wide = 0; wide < 2; wide++) {
        test_zip zip = {0};
        zip_add(&zip, "m/stored", text, TEXT, (zip_twist){.padding = 7});
        zip_add(&zip, "m/torch", text, TEXT, (zip_twist){.descriptor = true});
        zip_add(&zip, "m/deflated", text, TEXT, (zip_twist){.deflate = true});
        zip_add(&zip, "m/empty", "", 0, (zip_twist){0});
        tl_buffer file = zip_finish(&zip, wide);
        tl_error error;
        tl_zip *read = open_zip(&file, &error);
        assert_ok(read, error);
        for (int i = 0; i < 2; i++) {
            const tl_zip_member *stored = tl_zip_at(read, (size_t)i);
            assert_int_equal(stored->size, TEXT);
            assert_memory_equal(stored->data, text, TEXT);
            assert_ok(tl_zip_verify(read, stored, &error), error);
        }
        const tl_zip_member *packed = tl_zip_find(read, "m/deflated", 10);
        assert_non_null(packed);
        char out[TEXT];
        assert_ok(tl_zip_inflate(read, packed, out, &error), error);
        assert_memory_equal(out, text, TEXT);
        assert_int_equal(tl_zip_find(read, "m/empty", 7)->size, 0);
        assert_null(tl_zip_find(read, "m/absent", 8));
        assert_null(tl_zip_at(read, 4));
        tl_zip_free(read);
        tl_buffer_free(&file);
    }
}

static void test_refuses_archives_that_lie(void **state) {
    (void)state;
    static const struct lie {
        zip_twist twist;
        const char *message;
    } lies[] = {
        {{.declared_size = TEXT + 1}, "two sizes differ"},
        {{.flags = 1}, "encrypted"},
        {{.method = 14}, "stored or deflated"},
        {{.header_shift = 1}, "local header"},
        {{.header_shift = 100000}, "local header"},
        {{.local_name = "b"}, "contradicts"},
        {{.local_name = "longer"}, "contradicts"},
    };
    for (size_t i = 0; i < sizeof lies / sizeof lies[0]; i++) {
        tl_error error;
        tl_buffer file = twisted(lies[i].twist);
        if (open_zip(&file, &error)) fail_msg("accepted lie %zu", i);
        test_assert_contains(error.message, "x.bin");
        test_assert_contains(error.message, lies[i].message);
        tl_buffer_free(&file);
    }
}

static void test_refuses_overlaps_and_doubles(void **state) {
    (void)state;
    tl_error error;
    test_zip zip = {0};
    /* "b" is said to begin inside "a", where a whole local header of its own lies. */
    test_zip inner = {0};
    zip_add(&inner, "b", text, TEXT, (zip_twist){0});
    zip_add(&zip, "a", inner.file.data, inner.file.length, (zip_twist){0});
    size_t begin = zip.file.length - inner.file.length;
    zip_add(&zip, "b", text, TEXT,
            (zip_twist){.header_shift = (int64_t)begin - (int64_t)zip.file.length});
    tl_buffer_free(&inner.file);
    tl_buffer_free(&inner.directory);
    tl_buffer file = zip_finish(&zip, false);
    assert_null(open_zip(&file, &error));
    test_assert_contains(error.message, "overlaps");
    tl_buffer_free(&file);

    zip_add(&zip, "a", text, TEXT, (zip_twist){0});
    zip_add(&zip, "a", text, TEXT, (zip_twist){0});
    file = zip_finish(&zip, false);
    assert_null(open_zip(&file, &error));
    test_assert_contains(error.message, "twice");
    tl_buffer_free(&file);
}

static void test_notices_damage(void **state) {
    (void)state;
    static const zip_twist damage[] = {
        {.crc_change = 1},
        {.deflate = true, .crc_change = 1},
        {.deflate = true, .declared_size = TEXT - 1},
        {.deflate = true, .declared_size = TEXT + 1},
    };
    for (size_t i = 0; i < sizeof damage / sizeof damage[0]; i++) {
        tl_error error;
        tl_buffer file = twisted(damage[i]);
        tl_zip *zip = open_zip(&file, &error);
        assert_ok(zip, error);
        const tl_zip_member *member = tl_zip_at(zip, 0);
        char out[TEXT + 1];
        assert_false(member->deflated ? tl_zip_inflate(zip, member, out, &error)
                                      : tl_zip_verify(zip, member, &error));
        test_assert_contains(error.message, "'a'");
        tl_zip_free(zip);
        tl_buffer_free(&file);
    }
}

static void test_refuses_every_truncation(void **state) {
    (void)state;
    for (int wide = 0; wide < 2; wide++) {
        test_zip parts = {0};
        zip_add(&parts, "a", text, TEXT, (zip_twist){0});
        tl_buffer file = zip_finish(&parts, wide);
        for (size_t length = 0; length < file.length; length++) {
            tl_error error = {0};
            assert_null(tl_zip_open((unsigned char *)file.data, length, "x.bin", &error));
            test_assert_contains(error.message, "truncated");
        }
        /* Nor may the first byte be missing: offsets count from the file's beginning. */
        tl_error error = {0};
        assert_null(tl_zip_open((unsigned char *)file.data + 1, file.length - 1, "x.bin", &error));
        tl_buffer_free(&file);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_finds_members),
        cmocka_unit_test(test_refuses_archives_that_lie),
        cmocka_unit_test(test_refuses_overlaps_and_doubles),
        cmocka_unit_test(test_notices_damage),
        cmocka_unit_test(test_refuses_every_truncation),
    };
    return cmocka_run_group_tests_name("zip", tests, NULL, NULL);
}
