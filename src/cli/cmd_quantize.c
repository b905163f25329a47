/* tinyllm quantize: a checkpoint in another dtype, ready to be mapped. */
#include "cli/model_options.h"
#include "hub/hub.h"
#include "tokenizer/tokenizer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { FILE_LIMIT = 256 << 20 };

static bool copy_file(const char *from, const char *to, const char *name, tl_error *error) {
    char *source = tl_path_join(from, name), *target = tl_path_join(to, name);
    bool ok = (source && target) || tl_fail_memory(error, strlen(name), "a path");
    if (ok && tl_file_exists(source)) {
        size_t length;
        char *data = tl_file_read(source, FILE_LIMIT, &length, error);
        ok = data && tl_file_write(target, data, length, error);
        free(data);
    }
    free(source);
    free(target);
    return ok;
}

/* config.json with the dtype that the weights now have. */
static bool write_config(const char *from, const char *to, const char *torch_dtype,
                         tl_error *error) {
    static const char *const keys[] = {"torch_dtype", "dtype"};
    char *source = tl_path_join(from, "config.json"), *target = tl_path_join(to, "config.json");
    cJSON *config = source ? tl_json_read(source, FILE_LIMIT, error) : NULL;
    bool ok = config && target, there = false;
    for (int i = 0; ok && torch_dtype && i < 2; i++) {
        if (!cJSON_HasObjectItem(config, keys[i])) continue;
        cJSON_ReplaceItemInObjectCaseSensitive(config, keys[i], cJSON_CreateString(torch_dtype));
        there = true;
    }
    if (ok && torch_dtype && !there) cJSON_AddStringToObject(config, keys[0], torch_dtype);
    char *text = ok ? cJSON_Print(config) : NULL;
    ok = text && tl_file_write(target, text, strlen(text), error);
    free(text);
    cJSON_Delete(config);
    free(source);
    free(target);
    return ok;
}

static bool save_weights(const char *directory, const char *output, tl_dtype dtype, int threads,
                         tl_error *error) {
    if (tl_dtype_get(dtype)->block == 1) {
        tl_checkpoint *checkpoint = tl_checkpoint_open(directory, error);
        bool ok = checkpoint && tl_model_save_converted(checkpoint, dtype, output, error);
        tl_checkpoint_free(checkpoint);
        return ok;
    }
    tl_model_options options = {.convert = true, .dtype = dtype};
    tl_pool *pool = tl_pool_new(threads, error);
    tl_compute *compute = pool ? tl_compute_new(pool, TL_EXACT, error) : NULL;
    tl_model *model = compute ? tl_model_load(directory, &options, compute, error) : NULL;
    tl_compute_free(compute);
    tl_pool_free(pool);
    bool ok = model && tl_model_save(model, dtype, output, error);
    tl_model_unload(model);
    return ok;
}

static bool same_directory(const char *a, const char *b) {
    struct stat left, right;
    return stat(a, &left) == 0 && stat(b, &right) == 0 && left.st_dev == right.st_dev &&
           left.st_ino == right.st_ino;
}

static bool quantize(const char *model, const char *output, tl_dtype dtype, int threads,
                     tl_error *error) {
    char directory[4096];
    tl_model_spec spec;
    if (!tl_hub_model_directory(model, directory, sizeof directory, error) ||
        !tl_model_read_spec(directory, &spec, error) || !tl_dir_create(output, error))
        return false;
    if (same_directory(directory, output))
        return tl_fail(error, TL_ERROR_USAGE, "%s holds the model itself: expected another one",
                       output);
    fprintf(stderr, "%s: %lld parameters to %s\n", model,
            (long long)tl_model_count_parameters(&spec), tl_dtype_get(dtype)->name);
    if (!save_weights(directory, output, dtype, threads, error)) return false;
    for (const char *const *name = tl_tokenizer_files; *name; name++)
        if (!copy_file(directory, output, *name, error)) return false;
    if (!copy_file(directory, output, "generation_config.json", error)) return false;
    return write_config(directory, output, tl_dtype_get(dtype)->torch, error);
}

static int run(const cli_command *command, int argc, char **argv) {
    const char *model = NULL, *output = NULL, *name = NULL;
    int64_t threads = 0;
    const cli_option table[] = {
        {"model", 'm', CLI_STRING, &model, "MODEL", "the same as the operand"},
        {"output", 'o', CLI_STRING, &output, "DIR", "where the new checkpoint goes"},
        {"dtype", 0, CLI_STRING, &name, "TYPE", "q8, q4, f16, bf16 or f32"},
        {"threads", 0, CLI_INT, &threads, "N", "threads (default: all processors)", 0, 1024},
        {0},
    };
    int operands, status;
    tl_dtype dtype;
    tl_error error = {0};
    if (!cli_parse(command, table, argc, argv, &operands, &status)) return status;
    if (!(model = cli_model_operand(command, model, operands, argv))) return 2;
    if (!output) return cli_usage(command, "no output: expected -o DIR");
    if (!name) return cli_usage(command, "no dtype: expected --dtype q8, q4, f16, bf16 or f32");
    if (!tl_dtype_parse(name, &dtype, &error)) return cli_fail(command, &error);
    if (!quantize(model, output, dtype, (int)threads, &error)) return cli_fail(command, &error);
    fprintf(stderr, "%s is ready\n", output);
    return 0;
}

const cli_command cmd_quantize = {
    .name = "quantize",
    .summary = "write a checkpoint in another dtype, as fast to load as any",
    .usage = "MODEL -o DIR --dtype TYPE",
    .examples = "  tinyllm quantize Qwen/Qwen2.5-0.5B -o qwen2.5-0.5b-q8 --dtype q8\n"
                "  tinyllm run -m qwen2.5-0.5b-q8 -t arc_easy\n",
    .run = run,
};
