#include "support/hub.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static struct {
    pid_t process;
    int input; /* its standard input: closing it ends it */
    int starts;
} server;

static bool start_process(const char *root, char *address, size_t size) {
    int in[2], out[2];
    if (pipe(in) || pipe(out)) abort();
    fflush(NULL);
    server.process = fork();
    if (server.process == 0) {
        dup2(in[0], 0), dup2(out[1], 1);
        for (int i = 0; i < 2; i++)
            close(in[i]), close(out[i]);
        execlp("python3", "python3", TEST_SOURCE_DIR "/tests/support/hub_server.py", root,
               (char *)NULL);
        _exit(127);
    }
    close(in[0]), close(out[1]);
    server.input = in[1];
    size_t length = 0;
    while (length + 1 < size && !memchr(address, '\n', length)) {
        ssize_t got = read(out[0], address + length, size - 1 - length);
        if (got <= 0) break;
        length += (size_t)got;
    }
    address[length] = 0;
    close(out[0]);
    return length > 0;
}

bool test_hub_start(void) {
    static const char *const cleared[] = {"HF_TOKEN",
                                          "HUGGING_FACE_HUB_TOKEN",
                                          "HF_TOKEN_PATH",
                                          "HF_HUB_CACHE",
                                          "HF_HUB_OFFLINE",
                                          "TRANSFORMERS_OFFLINE",
                                          "HUGGINGFACE_HUB_CACHE",
                                          "http_proxy",
                                          "https_proxy",
                                          "all_proxy",
                                          "HTTPS_PROXY",
                                          "ALL_PROXY"};
    char root[256], address[256] = "";
    tl_error error = {0};
    snprintf(root, sizeof root, "%s/hub%d", test_scratch(), ++server.starts);
    assert_ok(tl_dir_create(root, &error), error);
    if (!start_process(root, address, sizeof address)) {
        test_hub_stop();
        printf("python3 is not there: downloads are not tested\n");
        return false;
    }
    address[strcspn(address, " \n")] = 0;
    for (size_t i = 0; i < sizeof cleared / sizeof *cleared; i++)
        unsetenv(cleared[i]);
    setenv("HF_ENDPOINT", address, 1);
    setenv("HF_HOME", test_scratch_path("home%d", server.starts), 1);
    return true;
}

void test_hub_stop(void) {
    if (server.process <= 0) return;
    close(server.input);
    waitpid(server.process, NULL, 0);
    server.process = 0;
}

static const char *in_root(const char *repository, const char *name) {
    return test_scratch_path("hub%d/%s/%s", server.starts, repository, name);
}

void test_hub_text(const char *repository, const char *name, const char *text) {
    test_write_text(in_root(repository, name), text);
}

void test_hub_file(const char *repository, const char *name, size_t size, unsigned seed) {
    unsigned char *bytes = malloc(size + 8);
    uint64_t state = seed + 0x9e3779b97f4a7c15u;
    for (size_t i = 0; i < size; i += 8) {
        state ^= state << 13, state ^= state >> 7, state ^= state << 17;
        memcpy(bytes + i, &state, 8);
    }
    test_write_file(in_root(repository, name), bytes, size);
    free(bytes);
}

void test_hub_behave(const char *json) {
    test_write_text(test_scratch_path("hub%d/behaviour.json", server.starts), json);
}

char *test_hub_log(void) {
    const char *path = test_scratch_path("hub%d/log.jsonl", server.starts);
    char *text = tl_file_read(path, 1 << 26, NULL, NULL);
    unlink(path);
    return text ? text : strdup("");
}

const char *test_hub_cache(const char *format, ...) {
    char name[1024];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(name, sizeof name, format, arguments);
    va_end(arguments);
    return test_scratch_path("home%d/hub/%s", server.starts, name);
}
