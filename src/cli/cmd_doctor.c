/* tinyllm doctor: what this device is, what can be measured on it, and what stands in the way. */
#include "cli/cli.h"
#include "kernels/kernels.h"
#include "study/device.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_KERNELS = 32 };

static void append_kernels(tl_buffer *out) {
    tl_buffer_append_byte(out, '[');
    const char *names[MOST_KERNELS];
    size_t count = tl_compute_available(names, MOST_KERNELS);
    for (size_t i = 0; i < count && i < MOST_KERNELS; i++)
        tl_json_put_string(out, NULL, names[i]);
    tl_buffer_append_byte(out, ']');
}

static void append_advice(tl_buffer *out, const char *advice) {
    tl_buffer_append_byte(out, '[');
    for (bool first = true; *advice; first = false) {
        size_t length = strcspn(advice, "\n");
        if (!first) tl_buffer_append_byte(out, ',');
        tl_json_append_string(out, advice, length);
        advice += length + (advice[length] == '\n');
    }
    tl_buffer_append_byte(out, ']');
}

/* Everything as one JSON object: the plain face is made from it too. */
static bool examine(const char *root, tl_buffer *json, tl_error *error) {
    tl_device device;
    if (!tl_device_read(root, &device, error)) return false;
    tl_buffer advice = {0};
    tl_device_advice(root, &advice);
    tl_buffer_append_string(json, "{\"device\":");
    tl_json_append_string(json, device.name, strlen(device.name));
    tl_buffer_append_format(json,
                            ",\"fingerprint\":\"%s\",\"facts\":%s,\"state\":", device.fingerprint,
                            device.facts.data);
    tl_device_state(root, json);
    tl_buffer_append_format(json, ",\"threads\":%d,\"instruction_sets\":", tl_processors());
    append_kernels(json);
    tl_buffer_append_string(json, ",\"advice\":");
    append_advice(json, tl_buffer_string(&advice));
    tl_buffer_append_byte(json, '}');
    bool good = (!json->failed && !advice.failed) ||
                tl_fail_memory(error, json->length, "the device's facts");
    tl_buffer_free(&advice);
    tl_device_free(&device);
    return good;
}

static void print_value(const char *name, const cJSON *value, int depth) {
    if (cJSON_IsObject(value)) {
        printf("%*s%s\n", 2 * depth, "", name);
        const cJSON *item;
        cJSON_ArrayForEach(item, value) print_value(item->string, item, depth + 1);
        return;
    }
    printf("%*s%-*s ", 2 * depth, "", 24 - 2 * depth, name);
    if (cJSON_IsString(value)) {
        printf("%s\n", value->valuestring);
    } else if (cJSON_IsArray(value)) {
        const cJSON *item;
        cJSON_ArrayForEach(item, value) printf("%s%s", item->valuestring, item->next ? ", " : "\n");
    } else if (cJSON_IsNumber(value)) {
        printf("%.15g\n", value->valuedouble);
    } else {
        printf("none\n");
    }
}

static void print_plain(const cJSON *examined) {
    const cJSON *item;
    cJSON_ArrayForEach(item, examined) {
        if (strcmp(item->string, "advice") != 0) print_value(item->string, item, 0);
    }
    const cJSON *advice = tl_json_get(examined, "advice");
    printf(cJSON_GetArraySize(advice) > 0 ? "\nFor a good measurement:\n"
                                          : "\nNothing stands in the way of a good measurement.\n");
    cJSON_ArrayForEach(item, advice) printf("  - %s\n", item->valuestring);
}

static int run(const cli_command *command, int argc, char **argv) {
    bool json = false;
    const char *root = NULL;
    const cli_option table[] = {
        {"json", 0, CLI_FLAG, &json, NULL, "as one JSON object"},
        {"sysroot", 0, CLI_STRING, &root, "DIR", "read /proc and /sys below DIR (tests)"},
        {0},
    };
    int operands, status;
    if (!cli_parse(command, table, argc, argv, &operands, &status)) return status;
    if (operands > 0) return cli_usage(command, "unexpected argument '%s'", argv[0]);
    tl_buffer text = {0};
    tl_error error = {0};
    cJSON *examined = NULL;
    bool good = examine(root, &text, &error);
    if (good && !json) {
        examined = tl_json_parse(text.data, text.length, "the device's facts", &error);
        good = examined != NULL;
    }
    if (good && json) puts(text.data);
    if (good && !json) print_plain(examined);
    cJSON_Delete(examined);
    tl_buffer_free(&text);
    return good ? 0 : cli_fail(command, &error);
}

const cli_command cmd_doctor = {
    .name = "doctor",
    .summary = "what this device is, and what a good measurement lacks",
    .usage = "[--json]",
    .examples = "  tinyllm doctor\n  tinyllm doctor --json | jq .advice\n",
    .run = run,
};
