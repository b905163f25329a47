#include "study/device.h"

#include "study/sensors.h"
#include "study/system.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

enum { TEXT = 256, BUILD_DIGITS = 12, GIGABYTE = 1 << 30 };

/* ---- what the machine is ---- */

/* The value of "KEY : value" in /proc/cpuinfo or "KEY=value" in os-release. */
static void line_value(const char *text, const char *key, char separator, char *value,
                       size_t size) {
    size_t length = strlen(key);
    *value = 0;
    for (const char *line = text; line; line = strchr(line, '\n')) {
        line += *line == '\n';
        const char *at = line + length;
        if (strncmp(line, key, length) != 0) continue;
        at += strspn(at, " \t");
        if (*at != separator) continue;
        at++;
        at += strspn(at, " \t\"");
        snprintf(value, size, "%.*s", (int)strcspn(at, "\"\n"), at);
        return;
    }
}

static void read_cpu(const char *root, char *model, size_t size) {
    static const char *const keys[] = {"model name", "Model", "Hardware", "cpu model"};
    char text[1 << 14];
    tl_sys_text(root, "/proc/cpuinfo", text, sizeof text);
    *model = 0;
    for (size_t i = 0; i < sizeof keys / sizeof *keys && !*model; i++)
        line_value(text, keys[i], ':', model, size);
    if (*model) return;
    char part[64];
    line_value(text, "CPU part", ':', part, sizeof part);
    snprintf(model, size, "%s%s", *part ? "Arm part " : "unknown", part);
}

static void read_board(const char *root, char *board, size_t size) {
    static const char *const paths[] = {
        "/proc/device-tree/model",
        "/sys/firmware/devicetree/base/model",
        "/sys/class/dmi/id/product_name",
        "/sys/class/dmi/id/board_name",
    };
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++)
        if (tl_sys_text(root, paths[i], board, size) && *board) return;
    *board = 0;
}

static int count_processors(const char *root) {
    tl_sys_names names;
    tl_sys_list(root, "/sys/devices/system/cpu", &names);
    int count = 0;
    for (int i = 0; i < names.count; i++)
        count +=
            strncmp(names.items[i], "cpu", 3) == 0 && isdigit((unsigned char)names.items[i][3]);
    tl_sys_names_free(&names);
    return count;
}

static void append_field(tl_buffer *out, const char *name, const char *value) {
    if (*value) tl_json_put_string(out, name, value);
}

static void append_number(tl_buffer *out, const char *name, int64_t value) {
    if (value >= 0) tl_json_put_int(out, name, value);
}

static void append_caches(const char *root, tl_buffer *out) {
    for (int i = 0; i < 8; i++) {
        char path[TEXT], level[16], type[32], size[32], name[64];
        snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu0/cache/index%d/level", i);
        if (!tl_sys_text(root, path, level, sizeof level)) break;
        snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu0/cache/index%d/type", i);
        tl_sys_text(root, path, type, sizeof type);
        if (strcmp(type, "Instruction") == 0) continue;
        snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu0/cache/index%d/size", i);
        tl_sys_text(root, path, size, sizeof size);
        snprintf(name, sizeof name, "cache_l%.8s", level);
        append_field(out, name, size);
    }
}

/* What tells one machine from another of its kind, where the system has it. */
static void read_serial(const char *root, char *serial, size_t size) {
    static const char *const paths[] = {
        "/etc/machine-id",
        "/proc/device-tree/serial-number",
        "/sys/firmware/devicetree/base/serial-number",
        "/sys/class/dmi/id/product_uuid",
    };
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++)
        if (tl_sys_text(root, paths[i], serial, size) && *serial) return;
    *serial = 0;
}

bool tl_device_read(const char *root, tl_device *device, tl_error *error) {
    char cpu[TEXT], board[TEXT], serial[TEXT];
    tl_system_memory memory;
    *device = (tl_device){0};
    read_cpu(root, cpu, sizeof cpu);
    read_board(root, board, sizeof board);
    read_serial(root, serial, sizeof serial);
    tl_sys_memory(root, &memory);
    /* Kernels differ by some megabytes in what they call the total. */
    int64_t gigabytes = (memory.total + GIGABYTE / 2) / GIGABYTE;
    tl_buffer *facts = &device->facts;
    tl_buffer_append_format(facts, "%s|%s|%s|%lld", serial, board, cpu, (long long)gigabytes);
    if (facts->failed || !tl_sha256(facts->data, facts->length, device->fingerprint)) {
        tl_device_free(device);
        return tl_fail_memory(error, TEXT, "the device's facts");
    }
    tl_buffer_clear(facts);
    snprintf(device->name, sizeof device->name, "%.127s", *board ? board : cpu);
    tl_buffer_append_byte(facts, '{');
    append_field(facts, "board", board);
    append_field(facts, "cpu", cpu);
    append_number(facts, "processors", count_processors(root));
    append_caches(root, facts);
    append_number(facts, "memory_mb", memory.total < 0 ? -1 : memory.total / 1048576);
    append_number(facts, "swap_mb", memory.swap_total < 0 ? -1 : memory.swap_total / 1048576);
    tl_json_put_name(facts, "sensors");
    tl_sensors *sensors = tl_sensors_open(root, error);
    if (sensors) tl_sensors_describe(sensors, facts);
    tl_sensors_free(sensors);
    tl_buffer_append_byte(facts, '}');
    if (sensors && !facts->failed) return true;
    if (sensors) tl_fail_memory(error, facts->length, "the device's facts");
    tl_device_free(device);
    return false;
}

void tl_device_free(tl_device *device) {
    tl_buffer_free(&device->facts);
}

/* ---- its state today ---- */

static void append_kernel(const char *root, tl_buffer *out) {
    char text[4096], value[TEXT];
    struct utsname names;
    if (tl_sys_text(root, "/proc/sys/kernel/osrelease", value, sizeof value))
        append_field(out, "kernel", value);
    if (uname(&names) == 0) {
        append_field(out, "machine", names.machine);
        append_field(out, "hostname", names.nodename);
    }
    if (tl_sys_text(root, "/etc/os-release", text, sizeof text)) {
        line_value(text, "PRETTY_NAME", '=', value, sizeof value);
        append_field(out, "os", value);
    }
    if (tl_sys_text(root, "/etc/nv_tegra_release", text, sizeof text)) {
        text[strcspn(text, "\n")] = 0;
        append_field(out, "tegra_release", text);
    }
}

static void append_clocks(const char *root, tl_buffer *out) {
    char text[TEXT];
    int64_t value;
    const char *policy = "/sys/devices/system/cpu/cpufreq/policy0";
    char path[TEXT];
    snprintf(path, sizeof path, "%s/scaling_governor", policy);
    if (tl_sys_text(root, path, text, sizeof text)) append_field(out, "governor", text);
    static const char *const limits[][2] = {{"scaling_max_freq", "clock_limit_mhz"},
                                            {"cpuinfo_max_freq", "clock_max_mhz"}};
    for (int i = 0; i < 2; i++) {
        snprintf(path, sizeof path, "%s/%s", policy, limits[i][0]);
        if (tl_sys_integer(root, path, &value)) append_number(out, limits[i][1], value / 1000);
    }
    /* nvpmodel writes "pmode:0002 fmode:fanNull" or "pmode:0002". */
    if (tl_sys_text(root, "/var/lib/nvpmodel/status", text, sizeof text))
        append_field(out, "power_mode", text);
    if (tl_sys_text(root, "/sys/devices/system/cpu/smt/active", text, sizeof text))
        append_field(out, "smt", text);
}

bool tl_device_state(const char *root, tl_buffer *json) {
    tl_system_memory memory;
    char text[TEXT];
    tl_buffer_append_byte(json, '{');
    append_kernel(root, json);
    append_clocks(root, json);
    tl_sys_memory(root, &memory);
    append_number(json, "memory_available_mb",
                  memory.available < 0 ? -1 : memory.available / 1048576);
    append_number(json, "swap_used_mb",
                  memory.swap_total < 0 ? -1 : (memory.swap_total - memory.swap_free) / 1048576);
    if (tl_sys_text(root, "/proc/loadavg", text, sizeof text)) append_field(json, "load", text);
    tl_json_put_name(json, "time");
    tl_buffer_append_format(json, "%.3f,\"build\":", tl_clock_wall());
    tl_device_build(json);
    tl_buffer_append_byte(json, '}');
    return !json->failed;
}

/* ---- the program ---- */

bool tl_device_build_id(char *text, size_t size, tl_error *error) {
    char hex[TL_HEX_SIZE];
    if (!tl_sha256_file("/proc/self/exe", NULL, hex, error)) return false;
    snprintf(text, size, "%s-%.*s", TINYLLM_VERSION, BUILD_DIGITS, hex);
    return true;
}

bool tl_device_build(tl_buffer *json) {
    char id[TL_HEX_SIZE] = "";
    tl_device_build_id(id, sizeof id, NULL);
    tl_buffer_append_byte(json, '{');
    append_field(json, "version", TINYLLM_VERSION);
    append_field(json, "id", id);
#if defined(__clang__)
    append_field(json, "compiler", "clang " __clang_version__);
#elif defined(__GNUC__)
    append_field(json, "compiler", "gcc " __VERSION__);
#endif
    tl_buffer_append_byte(json, '}');
    return !json->failed;
}

/* ---- advice ---- */

static void advise_on_clocks(const char *root, tl_buffer *lines) {
    char governor[64];
    int64_t limit, most;
    const char *policy = "/sys/devices/system/cpu/cpufreq/policy0";
    char path[TEXT];
    snprintf(path, sizeof path, "%s/scaling_governor", policy);
    if (!tl_sys_text(root, path, governor, sizeof governor))
        tl_buffer_append_string(lines, "clock: cpufreq is not there (a virtual machine?): clocks "
                                       "are neither known nor fixed\n");
    else if (strcmp(governor, "performance") != 0)
        tl_buffer_append_format(lines,
                                "clock: the governor is %s; for steady times: cpupower "
                                "frequency-set -g performance (Jetson: jetson_clocks)\n",
                                governor);
    snprintf(path, sizeof path, "%s/scaling_max_freq", policy);
    bool known = tl_sys_integer(root, path, &limit);
    snprintf(path, sizeof path, "%s/cpuinfo_max_freq", policy);
    if (known && tl_sys_integer(root, path, &most) && limit < most)
        tl_buffer_append_format(lines,
                                "clock: limited to %lld of %lld MHz (a power mode? Jetson: "
                                "nvpmodel -m 0)\n",
                                (long long)limit / 1000, (long long)most / 1000);
}

static void advise_on_memory(const char *root, tl_buffer *lines) {
    tl_system_memory memory;
    tl_sys_memory(root, &memory);
    int64_t used = memory.swap_total - memory.swap_free;
    if (memory.swap_total > 0 && used > memory.swap_total / 20)
        tl_buffer_append_format(lines,
                                "memory: %lld MB are in swap; times are honest only without "
                                "(swapoff -a; swapon -a)\n",
                                (long long)(used / 1048576));
    if (memory.total > 0 && memory.available >= 0 && memory.available < memory.total / 4)
        tl_buffer_append_format(
            lines, "memory: only %lld of %lld MB are free: stop what else runs\n",
            (long long)(memory.available / 1048576), (long long)(memory.total / 1048576));
}

static void advise_on_load(const char *root, tl_buffer *lines) {
    char text[TEXT];
    if (!tl_sys_text(root, "/proc/loadavg", text, sizeof text)) return;
    double load = strtod(text, NULL);
    if (load > 0.5)
        tl_buffer_append_format(lines,
                                "load: %.2f processes were running over the last minute: times "
                                "will vary\n",
                                load);
}

void tl_device_advice(const char *root, tl_buffer *lines) {
    advise_on_clocks(root, lines);
    advise_on_memory(root, lines);
    advise_on_load(root, lines);
    tl_sensors *sensors = tl_sensors_open(root, NULL);
    if (sensors) tl_sensors_missing(sensors, lines);
    tl_sensors_free(sensors);
}
