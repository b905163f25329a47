/* Any bytes as a task file: opened and asked about a row, or refused. */
#include "task/method.h"
#include "task/task.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char row_text[] =
    "{\"question\": \" Q \\u00dfX\", \"q\": \"q\", \"n\": 3, \"text\": [\" a \", \"b\"], \"key\": "
    "\"B\", \"label\": 1, \"answer\": true, \"odd name\": null, \"deep\": {\"list\": [1, {\"k\": "
    "\"v\"}]}, \"choices\": {\"text\": [\"x\", \"y\"], \"label\": [\"A\", \"B\"]}, \"answerKey\": "
    "\"A\", \"sentence\": \"a _ b\", \"option1\": \"o\", \"option2\": \"p\", \"endings\": "
    "[\"[x] a\", \"b\", \"c\", \"d\"], \"ctx_a\": \"a\", \"ctx_b\": \"B\", \"activity_label\": "
    "\"l\", \"ctx\": \"c\"}";

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    int fd = memfd_create("task", MFD_CLOEXEC);
    if (fd < 0 || write(fd, data, size) != (ssize_t)size) abort();
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    tl_error error = {0};
    tl_task *task = tl_task_open(path, &error);
    if (task) {
        tl_arena *arena = tl_arena_new();
        cJSON *row = tl_json_parse(row_text, sizeof row_text - 1, "row", &error);
        for (int p = 0; p < TL_PROTOCOL_COUNT; p++) {
            tl_question question;
            if (tl_task_has_protocol(task, (tl_protocol)p))
                tl_question_build(task, (tl_protocol)p, row, row_text, sizeof row_text - 1, "shots",
                                  arena, &question, &error);
        }
        cJSON_Delete(row);
        tl_arena_free(arena);
    }
    tl_task_free(task);
    close(fd);
    return 0;
}
