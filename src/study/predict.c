#include "study/predict.h"

#include <stdlib.h>
#include <sys/stat.h>

enum {
    PREDICTED_ROWS = 512, /* tokens of the longest prompts: the study cuts there */
    PROGRAM_BYTES = 16 << 20,
    TOKENIZER_FACTOR = 6, /* memory of a tokenizer for a byte of its file */
};

static int64_t tokenizer_bytes(const char *directory) {
    static const char *const files[] = {"tokenizer.json", "tokenizer.model", "spiece.model",
                                        "vocab.json"};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        struct stat status;
        char *path = tl_path_join(directory, files[i]);
        bool found = path && stat(path, &status) == 0;
        free(path);
        if (found) return (int64_t)status.st_size * TOKENIZER_FACTOR;
    }
    return 0;
}

int64_t tl_group_predict(const tl_plan_group *group, tl_memory *parts) {
    const tl_model_spec *spec = &group->model->spec;
    *parts = (tl_memory){0};
    if (group->model->problem) return 0;
    tl_dtype dtype = spec->stored;
    if (group->dtype) tl_dtype_parse(group->dtype, &dtype, NULL);
    int32_t length = spec->positions < PREDICTED_ROWS ? spec->positions : PREDICTED_ROWS;
    tl_engine_predict_memory(spec, dtype, PREDICTED_ROWS, length, parts);
    return (int64_t)(parts->weights_mapped + parts->weights_owned + parts->kv + parts->activations +
                     parts->scratch) +
           tokenizer_bytes(group->model->directory) + PROGRAM_BYTES;
}
