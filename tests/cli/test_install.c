/* What cmake --install puts down works from where it lies: the program with its data, the library
 * with its header. */
#include "support/support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int shell(const char *format, ...) TL_PRINTF(1, 2);
static int shell(const char *format, ...) {
    char command[8192];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(command, sizeof command, format, arguments);
    va_end(arguments);
    int status = system(command);
    if (status != 0) printf("status %d of: %s\n", status, command);
    return status;
}

static int install(void **state) {
    (void)state;
    return shell("cmake --install '%s' --prefix '%s/prefix' >'%s/install.log'", TEST_BUILD_DIR,
                 test_scratch(), test_scratch());
}

static void test_the_program_finds_its_installed_data(void **state) {
    (void)state;
    const char *prefix = test_scratch_path("prefix");
    assert_int_equal(shell("test -f %s/share/tinyllm/tasks/arc_easy.yaml", prefix), 0);
    assert_int_equal(shell("test -f %s/share/tinyllm/models/study.json", prefix), 0);
    /* A task that only the installed data has shows where it was read from. */
    assert_int_equal(shell("sed 's/^name: .*/name: only_here/' %s/share/tinyllm/tasks/piqa.yaml "
                           ">%s/share/tinyllm/tasks/only_here.yaml",
                           prefix, prefix),
                     0);
    assert_int_equal(shell("env -u TINYLLM_DATA %s/bin/tinyllm tasks | grep -q only_here", prefix),
                     0);
}

static void test_a_program_builds_against_the_installed_library(void **state) {
    (void)state;
    const char *prefix = test_scratch_path("prefix");
    test_write_text(test_scratch_path("use.c"), "#include <tinyllm.h>\n"
                                                "#include <stdio.h>\n"
                                                "int main(void) {\n"
                                                "    tl_error error = {0};\n"
                                                "    printf(\"%d\", (int)error.code);\n"
                                                "    return 0;\n"
                                                "}\n");
    assert_int_equal(
        shell("PKG_CONFIG_PATH=$(dirname $(find %s -name tinyllm.pc)) && "
              "export PKG_CONFIG_PATH && "
              "cc -std=c17 -Wall -Werror %s -o %s $(pkg-config --cflags --libs tinyllm) %s && "
              " test \"$(%s)\" = 0",
              prefix, test_scratch_path("use.c"), test_scratch_path("use"), TEST_LINK_FLAGS,
              test_scratch_path("use")),
        0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_program_finds_its_installed_data),
        cmocka_unit_test(test_a_program_builds_against_the_installed_library),
    };
    return cmocka_run_group_tests_name("install", tests, install, NULL);
}
