/* tinyllm models: the registry of known models. */
#include "cli/cli.h"
#include "hub/hub.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

static const char *shown(const char *text) {
    return text ? text : "?";
}

static double megabytes(const tl_known_model *model) {
    return (double)model->parameters * 4 / (1024.0 * 1024.0);
}

static bool is_local(const tl_known_model *model, char *path, size_t size) {
    return tl_hub_model_directory(model->id, path, size, NULL);
}

static void print_table(const tl_registry *registry) {
    char path[PATH_MAX];
    printf("%-29s %-9s %10s %13s %12s  %-21s %-8s %-5s %s\n", "Model", "Family", "Parameters",
           "exact", "MB at f32", "Affiliation", "Release", "Hub", "Local");
    for (int i = 0; i < tl_registry_count(registry); i++) {
        const tl_known_model *model = tl_registry_at(registry, i);
        printf("%-29s %-9s %10s %13lld %12.2f  %-21s %-8s %-5s %s\n", model->id,
               shown(model->family), shown(model->parameters_label), (long long)model->parameters,
               megabytes(model), shown(model->affiliation), shown(model->release),
               shown(model->dtype), is_local(model, path, sizeof path) ? "yes" : "-");
    }
}

static void append_field(tl_buffer *out, const char *name, const char *text) {
    tl_buffer_append_format(out, "\"%s\": ", name);
    if (text)
        tl_json_append_string(out, text, strlen(text));
    else
        tl_buffer_append_string(out, "null");
    tl_buffer_append_string(out, ", ");
}

static bool print_json(const tl_registry *registry, tl_error *error) {
    tl_buffer out = {0};
    char path[PATH_MAX];
    for (int i = 0; i < tl_registry_count(registry); i++) {
        const tl_known_model *model = tl_registry_at(registry, i);
        tl_buffer_append_string(&out, i ? ",\n  {" : "[\n  {");
        append_field(&out, "id", model->id);
        append_field(&out, "family", model->family);
        append_field(&out, "parameters_label", model->parameters_label);
        append_field(&out, "affiliation", model->affiliation);
        append_field(&out, "release", model->release);
        append_field(&out, "dtype", model->dtype);
        append_field(&out, "path", is_local(model, path, sizeof path) ? path : NULL);
        tl_buffer_append_format(&out, "\"parameters\": %lld}", (long long)model->parameters);
    }
    tl_buffer_append_string(&out, "\n]");
    if (out.failed) return tl_fail_memory(error, out.length, "the registry as JSON");
    puts(out.data);
    tl_buffer_free(&out);
    return true;
}

static int run(const cli_command *command, int argc, char **argv) {
    bool json = false;
    const cli_option options[] = {
        {"json", 0, CLI_FLAG, &json, NULL, "print an array of JSON objects"},
        {0},
    };
    int operands, status;
    if (!cli_parse(command, options, argc, argv, &operands, &status)) return status;
    if (operands > 0) return cli_usage(command, "unexpected '%s'", argv[0]);
    tl_error error = {0};
    tl_registry *registry = tl_registry_open(&error);
    if (!registry) return cli_fail(command, &error);
    bool good = true;
    if (json)
        good = print_json(registry, &error);
    else
        print_table(registry);
    tl_registry_free(registry);
    return good ? 0 : cli_fail(command, &error);
}

const cli_command cmd_models = {
    .name = "models",
    .summary = "the models of the study (@study), and which are in the cache",
    .usage = "[--json]",
    .examples = "  tinyllm models\n"
                "  tinyllm models --json\n",
    .run = run,
};
