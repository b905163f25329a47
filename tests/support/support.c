#include "support/support.h"

#include <dirent.h>
#include <errno.h>
#include <ftw.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PATHS = 8, PATH_SIZE = 4096 };

const char *test_shared(void) {
    static char path[PATH_SIZE];
    static int known; /* 0 not asked, 1 there, 2 absent */
    if (!known) {
        const char *chosen = getenv("TINYLLM_SHARED");
        snprintf(path, sizeof path, "%s", chosen ? chosen : TEST_SOURCE_DIR "/../shared");
        known = tl_dir_exists(path) ? 1 : 2;
        printf(known == 1 ? "conformance set: %s\n"
                          : "conformance set: not at %s, its tests are skipped\n",
               path);
    }
    return known == 1 ? path : NULL;
}

bool test_brief(void) {
    return getenv("TINYLLM_TEST_BRIEF") != NULL;
}

const char *test_device(void) {
    const char *device = getenv("TINYLLM_TEST_DEVICE");
    return device && *device ? device : "cpu";
}

static const char *path_in(const char *directory, const char *format, va_list arguments) {
    static char paths[PATHS][PATH_SIZE];
    static int next;
    char *path = paths[next++ % PATHS];
    int used = snprintf(path, PATH_SIZE, "%s/", directory);
    vsnprintf(path + used, (size_t)(PATH_SIZE - used), format, arguments);
    return path;
}

const char *test_shared_path(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    const char *path = path_in(test_shared(), format, arguments);
    va_end(arguments);
    return path;
}

static char scratch[64];
static pid_t scratch_owner;

static int remove_entry(const char *path, const struct stat *status, int kind, struct FTW *place) {
    (void)status, (void)kind, (void)place;
    return remove(path);
}

static void remove_scratch(void) {
    if (getpid() == scratch_owner) nftw(scratch, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

const char *test_scratch(void) {
    if (!*scratch) {
        strcpy(scratch, "/tmp/tinyllm-test-XXXXXX");
        if (!mkdtemp(scratch)) abort();
        scratch_owner = getpid();
        atexit(remove_scratch);
    }
    return scratch;
}

const char *test_scratch_path(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    const char *path = path_in(test_scratch(), format, arguments);
    va_end(arguments);
    return path;
}

void test_write_file(const char *path, const void *data, size_t length) {
    tl_error error = {0};
    char *directory = strdup(path);
    char *slash = strrchr(directory, '/');
    if (slash && slash != directory) {
        *slash = 0;
        assert_ok(tl_dir_create(directory, &error), error);
    }
    free(directory);
    assert_ok(tl_file_write(path, data, length, &error), error);
}

void test_write_text(const char *path, const char *text) {
    test_write_file(path, text, strlen(text));
}

/* Feeds `input` and gathers both outputs until the child closes them. */
static void converse(int in, const char *input, int out, tl_buffer *out_text, int err,
                     tl_buffer *err_text) {
    size_t left = input ? strlen(input) : 0;
    if (!left) {
        close(in);
        in = -1;
    }
    while (out >= 0 || err >= 0) {
        struct pollfd polled[3] = {{in, POLLOUT, 0}, {out, POLLIN, 0}, {err, POLLIN, 0}};
        if (poll(polled, 3, -1) < 0) continue;
        if (polled[0].revents) {
            ssize_t put = write(in, input, left);
            if (put > 0) {
                input += put;
                left -= (size_t)put;
            }
            if (left == 0 || (put < 0 && errno != EAGAIN)) {
                close(in);
                in = -1;
            }
        }
        int *fds[2] = {&out, &err};
        tl_buffer *texts[2] = {out_text, err_text};
        for (int i = 0; i < 2; i++) {
            if (!polled[i + 1].revents) continue;
            char chunk[1 << 14];
            ssize_t got = read(*fds[i], chunk, sizeof chunk);
            if (got > 0) {
                tl_buffer_append(texts[i], chunk, (size_t)got);
            } else {
                close(*fds[i]);
                *fds[i] = -1;
            }
        }
    }
    if (in >= 0) close(in);
}

test_result test_run(const char *input, const char *const arguments[]) {
    int in[2], out[2], err[2];
    if (pipe(in) || pipe(out) || pipe(err)) abort();
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        dup2(in[0], 0), dup2(out[1], 1), dup2(err[1], 2);
        for (int i = 0; i < 2; i++)
            close(in[i]), close(out[i]), close(err[i]);
        const char *vector[64] = {TEST_PROGRAM};
        for (int i = 0; arguments[i] && i < 62; i++)
            vector[i + 1] = arguments[i];
        execv(TEST_PROGRAM, (char *const *)vector);
        _exit(127);
    }
    close(in[0]), close(out[1]), close(err[1]);
    signal(SIGPIPE, SIG_IGN);
    tl_buffer out_text = {0}, err_text = {0};
    converse(in[1], input, out[0], &out_text, err[0], &err_text);
    int status;
    struct rusage usage;
    while (wait4(child, &status, 0, &usage) < 0 && errno == EINTR)
        continue;
    test_result result = {
        .status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status),
        .out_length = out_text.length,
        .peak_kb = usage.ru_maxrss,
    };
    result.out = tl_buffer_take(&out_text);
    result.err = tl_buffer_take(&err_text);
    return result;
}

void test_result_free(test_result *result) {
    free(result->out);
    free(result->err);
    *result = (test_result){0};
}

void test_assert_contains(const char *text, const char *part) {
    if (!strstr(text, part)) fail_msg("expected to find \"%s\" in:\n%s", part, text);
}

/* One of each way to tell positions apart: biases by distance, by head; rotary; learned. */
static const char *const few_models[] = {"bloom-h6", "flan-t5-gated", "smollm-tied", "lamini-gpt"};

static bool is_of_few(const char *name) {
    for (size_t i = 0; i < sizeof few_models / sizeof *few_models; i++)
        if (strcmp(name, few_models[i]) == 0) return true;
    return false;
}

int test_each_golden_model(const char *group, void (*test)(void **state), bool few) {
    enum { MOST = 256 };
    static struct CMUnitTest tests[MOST];
    static char names[MOST][256];
    size_t count = 0;
    DIR *directory = test_shared() ? opendir(test_shared_path("golden/models")) : NULL;
    if (!directory) return 77;
    for (struct dirent *entry; (entry = readdir(directory)) && count < MOST;) {
        if (entry->d_name[0] == '.' || (few && !is_of_few(entry->d_name))) continue;
        snprintf(names[count], sizeof names[count], "%s", entry->d_name);
        tests[count] = (struct CMUnitTest){names[count], test, NULL, NULL, names[count]};
        count++;
    }
    closedir(directory);
    return count ? _cmocka_run_group_tests(group, tests, count, NULL, NULL) : 77;
}

tl_ids test_ids_of(const cJSON *object, const char *field) {
    tl_ids ids = {0};
    tl_error error = {0};
    const cJSON *item;
    cJSON_ArrayForEach(item, cJSON_GetObjectItem(object, field)) {
        int32_t id = item->valueint;
        assert_ok(tl_ids_append(&ids, &id, 1, &error), error);
    }
    return ids;
}
