#include "study/sensors.h"

#include "study/system.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PATH = 320, LABEL = 96, MOST_CHANNELS = 32, MOST_WATCHED = 512 };
static const double DEFAULT_INTERVAL = 0.1, LEAST_INTERVAL = 0.05;
/* More than any machine that this runs on; a reading beyond, or below 0, is none. */
static const double MOST_WATTS = 1e5;
static const double COUNTER_SECONDS = 1e-3; /* counters may step at most this seldom */

typedef enum channel_kind {
    MILLIVOLTS_MILLIAMPERES, /* two files: power is their product */
    MILLIWATTS,
    MICROWATTS,
    MICROVOLTS_MICROAMPERES,
    MICROJOULES, /* a counter that wraps around */
} channel_kind;

typedef struct channel {
    channel_kind kind;
    char label[LABEL];
    char path[PATH], second[PATH];
    bool discharging;    /* a battery's: power may be given as negative */
    int64_t range, last; /* MICROJOULES: it wraps after `range`; last reading */
    double joules;       /* counted since opening */
    double read;         /* MICROJOULES: when */
} channel;

typedef enum watched_kind { COUNTER, STATE, FLAGS } watched_kind;

/* Something that tells of throttling: a counter of events, a state that should be 0, or flags. */
typedef struct watched {
    watched_kind kind;
    char path[PATH];
    int64_t last;
} watched;

struct tl_sensors {
    char *root;
    channel channels[MOST_CHANNELS];
    int channel_count;
    char power_source[LABEL * 2];
    char power_missing[256];
    double interval;
    char zones[MOST_CHANNELS][PATH];
    int zone_count;
    char clocks[MOST_CHANNELS][PATH];
    int clock_count;
    watched watched[MOST_WATCHED];
    int watched_count;
    double throttles;
};

typedef void found_function(tl_sensors *sensors, const char *directory);

/* Calls `found` for each entry of `directory` whose name begins with `prefix`. */
static void each(tl_sensors *sensors, const char *directory, const char *prefix,
                 found_function *found) {
    tl_sys_names names;
    tl_sys_list(sensors->root, directory, &names);
    for (int i = 0; i < names.count; i++) {
        char path[PATH];
        int length = snprintf(path, sizeof path, "%s/%s", directory, names.items[i]);
        if (strncmp(names.items[i], prefix, strlen(prefix)) == 0 && (size_t)length < sizeof path)
            found(sensors, path);
    }
    tl_sys_names_free(&names);
}

static bool text_of(const tl_sensors *sensors, const char *directory, const char *file, char *text,
                    size_t size) {
    char path[PATH + 64];
    snprintf(path, sizeof path, "%s/%s", directory, file);
    return tl_sys_text(sensors->root, path, text, size);
}

static bool readable(const tl_sensors *sensors, const char *path) {
    int64_t value;
    return tl_sys_integer(sensors->root, path, &value);
}

static channel *add_channel(tl_sensors *sensors, channel_kind kind, const char *label,
                            const char *directory, const char *file, const char *second) {
    if (sensors->channel_count == MOST_CHANNELS) return NULL;
    channel *c = &sensors->channels[sensors->channel_count];
    *c = (channel){.kind = kind};
    snprintf(c->label, sizeof c->label, "%.*s", LABEL - 1, label);
    snprintf(c->path, sizeof c->path, "%.250s/%.60s", directory, file);
    if (second) snprintf(c->second, sizeof c->second, "%.250s/%.60s", directory, second);
    if (!readable(sensors, c->path) || (second && !readable(sensors, c->second))) return NULL;
    sensors->channel_count++;
    return c;
}

/* Adds what a counter rose by, unless that cannot be: it was set back, or is none. */
static void read_counter(channel *c, int64_t value) {
    double now = tl_clock_monotonic(), most = MOST_WATTS * fmax(now - c->read, COUNTER_SECONDS);
    if (value < 0) return;
    if (c->last >= 0) {
        double joules = ((double)value - (double)c->last) * 1e-6;
        if (joules < 0) joules += (double)c->range * 1e-6; /* wrapped around */
        if (joules > 0 && joules <= most) c->joules += joules;
    }
    c->last = value;
    c->read = now;
}

/* ---- power: the Jetsons' INA3221 ---- */

static void use_interval(tl_sensors *sensors, const char *directory) {
    char text[32];
    if (!text_of(sensors, directory, "update_interval", text, sizeof text)) return;
    double seconds = strtod(text, NULL) / 1000;
    if (seconds > sensors->interval && seconds < 10) sensors->interval = seconds;
}

/* JetPack 5 and 6: inK_label, inK_input (mV), currK_input (mA); channels above 3 are sums. */
static void find_ina3221_hwmon(tl_sensors *sensors, const char *directory) {
    for (int k = 1; k <= 3; k++) {
        char name[32], label[LABEL], millivolts[32], milliamperes[32];
        snprintf(name, sizeof name, "in%d_label", k);
        if (!text_of(sensors, directory, name, label, sizeof label) || strcmp(label, "NC") == 0)
            continue;
        snprintf(millivolts, sizeof millivolts, "in%d_input", k);
        snprintf(milliamperes, sizeof milliamperes, "curr%d_input", k);
        add_channel(sensors, MILLIVOLTS_MILLIAMPERES, label, directory, millivolts, milliamperes);
    }
    use_interval(sensors, directory);
}

/* JetPack 4: rail_name_K, in_powerK_input (mW). */
static void find_ina3221_iio(tl_sensors *sensors, const char *directory) {
    for (int k = 0; k < 3; k++) {
        char name[32], label[LABEL];
        snprintf(name, sizeof name, "rail_name_%d", k);
        if (!text_of(sensors, directory, name, label, sizeof label) || strcmp(label, "NC") == 0)
            continue;
        snprintf(name, sizeof name, "in_power%d_input", k);
        add_channel(sensors, MILLIWATTS, label, directory, name, NULL);
    }
}

static void find_ina3221_device(tl_sensors *sensors, const char *directory) {
    char below[PATH];
    snprintf(below, sizeof below, "%.300s/hwmon", directory);
    each(sensors, below, "hwmon", find_ina3221_hwmon);
    each(sensors, directory, "iio:device", find_ina3221_iio);
}

/* The rails that make up the whole, by module. Others lie below one of these. */
static const char *const whole_rails[][4] = {
    {"VDD_IN"},                                   /* Orin Nano and NX, Xavier NX, TX2 */
    {"POM_5V_IN"},                                /* Nano */
    {"VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0"}, /* AGX Orin */
};

static int find_channel(const tl_sensors *sensors, const char *label) {
    for (int i = 0; i < sensors->channel_count; i++)
        if (strcmp(sensors->channels[i].label, label) == 0) return i;
    return -1;
}

/* Keeps the channels of one whole; false when not all of them are there. */
static bool keep_whole(tl_sensors *sensors, const char *const rails[4]) {
    channel kept[4];
    int count = 0;
    for (; count < 4 && rails[count]; count++) {
        int at = find_channel(sensors, rails[count]);
        if (at < 0) return false;
        kept[count] = sensors->channels[at];
    }
    memcpy(sensors->channels, kept, (size_t)count * sizeof *kept);
    sensors->channel_count = count;
    return true;
}

static void name_source(tl_sensors *sensors, const char *kind) {
    snprintf(sensors->power_source, sizeof sensors->power_source, "%s", kind);
    for (int i = 0; i < sensors->channel_count; i++) {
        size_t used = strlen(sensors->power_source);
        snprintf(sensors->power_source + used, sizeof sensors->power_source - used, "%s%s",
                 i ? " + " : " ", sensors->channels[i].label);
    }
}

static bool find_ina3221(tl_sensors *sensors) {
    each(sensors, "/sys/bus/i2c/drivers/ina3221", "", find_ina3221_device);
    if (sensors->channel_count == 0)
        each(sensors, "/sys/bus/i2c/drivers/ina3221x", "", find_ina3221_device);
    if (sensors->channel_count == 0) return false;
    for (size_t i = 0; i < sizeof whole_rails / sizeof *whole_rails; i++)
        if (keep_whole(sensors, whole_rails[i])) break;
    name_source(sensors, "ina3221");
    return true;
}

/* ---- power: meters of hwmon, RAPL, batteries ---- */

static void find_meter(tl_sensors *sensors, const char *directory) {
    char name[64];
    if (sensors->channel_count > 0 || !text_of(sensors, directory, "name", name, sizeof name) ||
        (strncmp(name, "ina2", 4) != 0 && strcmp(name, "power_meter") != 0))
        return;
    if (!add_channel(sensors, MICROWATTS, name, directory, "power1_input", NULL))
        add_channel(sensors, MICROWATTS, name, directory, "power1_average", NULL);
}

static bool find_meters(tl_sensors *sensors) {
    each(sensors, "/sys/class/hwmon", "hwmon", find_meter);
    if (sensors->channel_count == 0) return false;
    name_source(sensors, "hwmon");
    return true;
}

/* Packages, and memory where it is counted beside them; a package's cores lie within it, and psys
 * holds the packages again. */
static void find_rapl_zone(tl_sensors *sensors, const char *directory) {
    char name[64];
    if (!text_of(sensors, directory, "name", name, sizeof name) ||
        (strncmp(name, "package", 7) != 0 && strcmp(name, "dram") != 0))
        return;
    char path[PATH + 32];
    channel *c = add_channel(sensors, MICROJOULES, name, directory, "energy_uj", NULL);
    if (c) {
        snprintf(path, sizeof path, "%s/max_energy_range_uj", directory);
        if (!tl_sys_integer(sensors->root, path, &c->range) || c->range < 0) c->range = 0;
        c->last = -1;
        int64_t value;
        if (tl_sys_integer(sensors->root, c->path, &value)) read_counter(c, value);
    } else {
        snprintf(sensors->power_missing, sizeof sensors->power_missing,
                 "RAPL is there but may not be read: as root, chmod a+r %.120s/energy_uj",
                 directory);
    }
}

static bool find_rapl(tl_sensors *sensors) {
    each(sensors, "/sys/class/powercap", "intel-rapl:", find_rapl_zone);
    if (sensors->channel_count == 0) return false;
    name_source(sensors, "rapl");
    return true;
}

static void find_battery_supply(tl_sensors *sensors, const char *directory) {
    char text[64];
    if (sensors->channel_count > 0 || !text_of(sensors, directory, "type", text, sizeof text) ||
        strcmp(text, "Battery") != 0)
        return;
    if (!text_of(sensors, directory, "status", text, sizeof text) ||
        strcmp(text, "Discharging") != 0) {
        if (!*sensors->power_missing)
            snprintf(sensors->power_missing, sizeof sensors->power_missing,
                     "there is a battery, but it is not discharging");
        return;
    }
    const char *label = tl_path_base(directory);
    channel *c = add_channel(sensors, MICROWATTS, label, directory, "power_now", NULL);
    if (!c)
        c = add_channel(sensors, MICROVOLTS_MICROAMPERES, label, directory, "voltage_now",
                        "current_now");
    if (c) c->discharging = true;
}

static bool find_battery(tl_sensors *sensors) {
    each(sensors, "/sys/class/power_supply", "", find_battery_supply);
    if (sensors->channel_count == 0) return false;
    name_source(sensors, "battery");
    return true;
}

/* In order of what they cover and how quickly they answer. */
static bool (*const power_sources[])(tl_sensors *) = {
    find_ina3221,
    find_meters,
    find_rapl,
    find_battery,
};

/* ---- heat, clocks, throttling ---- */

static void find_zone(tl_sensors *sensors, const char *directory) {
    char type[64];
    /* The Jetsons' PMIC-Die always says 100 °C. */
    if (text_of(sensors, directory, "type", type, sizeof type) && strcmp(type, "PMIC-Die") == 0)
        return;
    if (sensors->zone_count == MOST_CHANNELS) return;
    char *path = sensors->zones[sensors->zone_count];
    snprintf(path, PATH, "%.300s/temp", directory);
    if (readable(sensors, path)) sensors->zone_count++;
}

static void find_core_temperature(tl_sensors *sensors, const char *directory) {
    static const char *const names[] = {"coretemp", "k10temp", "zenpower", "cpu_thermal"};
    char name[64];
    if (!text_of(sensors, directory, "name", name, sizeof name)) return;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (strcmp(name, names[i]) != 0 || sensors->zone_count == MOST_CHANNELS) continue;
        char *path = sensors->zones[sensors->zone_count];
        snprintf(path, PATH, "%.300s/temp1_input", directory);
        if (readable(sensors, path)) sensors->zone_count++;
    }
}

static void find_clock(tl_sensors *sensors, const char *directory) {
    if (sensors->clock_count == MOST_CHANNELS) return;
    char *path = sensors->clocks[sensors->clock_count];
    snprintf(path, PATH, "%.290s/scaling_cur_freq", directory);
    if (readable(sensors, path)) sensors->clock_count++;
}

static bool read_watched(const tl_sensors *sensors, const watched *w, int64_t *value) {
    if (w->kind != FLAGS) return tl_sys_integer(sensors->root, w->path, value);
    char text[32];
    if (!tl_sys_text(sensors->root, w->path, text, sizeof text)) return false;
    /* Hexadecimal; the low four bits tell of now, the others of ever since the start. */
    *value = strtoll(text, NULL, 16) & 0xf;
    return true;
}

static void watch(tl_sensors *sensors, watched_kind kind, const char *directory, const char *file) {
    if (sensors->watched_count == MOST_WATCHED) return;
    watched *w = &sensors->watched[sensors->watched_count];
    w->kind = kind;
    snprintf(w->path, sizeof w->path, "%.250s/%.60s", directory, file);
    if (read_watched(sensors, w, &w->last)) sensors->watched_count++;
}

static void find_throttle_counters(tl_sensors *sensors, const char *directory) {
    watch(sensors, COUNTER, directory, "thermal_throttle/core_throttle_count");
    /* Each core repeats its package's count. */
    if (strcmp(tl_path_base(directory), "cpu0") == 0)
        watch(sensors, COUNTER, directory, "thermal_throttle/package_throttle_count");
}

static void find_over_current(tl_sensors *sensors, const char *directory) {
    for (int k = 1; k <= 4; k++) {
        char file[32];
        snprintf(file, sizeof file, "oc%d_event_cnt", k);
        watch(sensors, COUNTER, directory, file);
    }
    watch(sensors, STATE, directory, "in0_lcrit_alarm"); /* a Raspberry Pi short of voltage */
}

static void find_cooling(tl_sensors *sensors, const char *directory) {
    char type[64];
    if (!text_of(sensors, directory, "type", type, sizeof type)) return;
    /* Not the fans. */
    if (strstr(type, "cpu") || strstr(type, "Processor") || strstr(type, "devfreq"))
        watch(sensors, STATE, directory, "cur_state");
}

static void find_firmware(tl_sensors *sensors, const char *directory) {
    watch(sensors, FLAGS, directory, "get_throttled");
}

static void find_soc(tl_sensors *sensors, const char *directory) {
    each(sensors, directory, "soc:firmware", find_firmware);
    each(sensors, directory, "firmware", find_firmware);
}

tl_sensors *tl_sensors_open(const char *root, tl_error *error) {
    tl_sensors *sensors = calloc(1, sizeof *sensors);
    if (sensors) sensors->root = strdup(root ? root : "");
    if (!sensors || !sensors->root) {
        free(sensors);
        tl_fail_memory(error, sizeof *sensors, "the sensors");
        return NULL;
    }
    sensors->interval = DEFAULT_INTERVAL;
    for (size_t i = 0; i < sizeof power_sources / sizeof *power_sources; i++)
        if (power_sources[i](sensors)) break;
    if (sensors->channel_count == 0 && !*sensors->power_missing)
        snprintf(sensors->power_missing, sizeof sensors->power_missing,
                 "no INA3221, no power meter of hwmon, no RAPL and no battery was found");
    each(sensors, "/sys/class/thermal", "thermal_zone", find_zone);
    if (sensors->zone_count == 0) each(sensors, "/sys/class/hwmon", "hwmon", find_core_temperature);
    each(sensors, "/sys/devices/system/cpu/cpufreq", "policy", find_clock);
    each(sensors, "/sys/devices/system/cpu", "cpu", find_throttle_counters);
    each(sensors, "/sys/class/hwmon", "hwmon", find_over_current);
    each(sensors, "/sys/class/thermal", "cooling_device", find_cooling);
    each(sensors, "/sys/devices/platform", "soc", find_soc);
    return sensors;
}

void tl_sensors_free(tl_sensors *sensors) {
    if (!sensors) return;
    free(sensors->root);
    free(sensors);
}

/* ---- reading ---- */

/* Watts of a channel now; for a counter the energy since opening is kept in the channel instead. */
static double read_channel(tl_sensors *sensors, channel *c) {
    int64_t a, b = 0;
    double watts = NAN;
    if (!tl_sys_integer(sensors->root, c->path, &a) ||
        (*c->second && !tl_sys_integer(sensors->root, c->second, &b)))
        return NAN;
    switch (c->kind) {
    case MILLIVOLTS_MILLIAMPERES:
        watts = (double)a * (double)b * 1e-6;
        break;
    case MILLIWATTS:
        watts = (double)a * 1e-3;
        break;
    case MICROWATTS:
        watts = (double)a * 1e-6;
        break;
    case MICROVOLTS_MICROAMPERES:
        watts = (double)a * (double)b * 1e-12;
        break;
    case MICROJOULES:
        read_counter(c, a);
        return NAN;
    }
    if (c->discharging) watts = fabs(watts); /* some drivers count what leaves as negative */
    if (watts >= 0 && watts <= MOST_WATTS) return watts;
    snprintf(sensors->power_missing, sizeof sensors->power_missing,
             "%.96s reads %.3g W, which cannot be", c->label, watts);
    return NAN;
}

static void read_power(tl_sensors *sensors, tl_sample *sample) {
    if (sensors->channel_count == 0) return;
    bool counts = sensors->channels[0].kind == MICROJOULES;
    double watts = 0, joules = 0;
    for (int i = 0; i < sensors->channel_count; i++) {
        watts += read_channel(sensors, &sensors->channels[i]);
        joules += sensors->channels[i].joules;
    }
    if (counts)
        sample->energy = joules;
    else
        sample->power = watts; /* NAN when any rail could not be read */
}

static double highest(const tl_sensors *sensors, const char (*paths)[PATH], int count, double scale,
                      double least, double most) {
    double best = NAN;
    for (int i = 0; i < count; i++) {
        int64_t raw;
        if (!tl_sys_integer(sensors->root, paths[i], &raw)) continue;
        double value = (double)raw * scale;
        if (value >= least && value <= most && !(value <= best)) best = value;
    }
    return best;
}

static void read_throttling(tl_sensors *sensors) {
    for (int i = 0; i < sensors->watched_count; i++) {
        watched *w = &sensors->watched[i];
        int64_t value;
        if (!read_watched(sensors, w, &value)) continue;
        if (w->kind == COUNTER && value > w->last)
            sensors->throttles += (double)value - (double)w->last;
        else if (w->kind != COUNTER && value > 0 && w->last == 0)
            sensors->throttles++;
        w->last = value;
    }
}

void tl_sensors_read(tl_sensors *sensors, tl_sample *sample) {
    *sample = (tl_sample){tl_clock_monotonic(), NAN, NAN, NAN, NAN, NAN};
    read_power(sensors, sample);
    /* Outside this a zone is not wired up, or not on. */
    sample->temperature =
        highest(sensors, (const char(*)[PATH])sensors->zones, sensors->zone_count, 1e-3, -40, 150);
    sample->clock =
        highest(sensors, (const char(*)[PATH])sensors->clocks, sensors->clock_count, 1e-3, 1, 1e5);
    if (sensors->watched_count == 0) return;
    read_throttling(sensors);
    sample->throttles = sensors->throttles;
}

/* ---- describing ---- */

const char *tl_sensors_power_source(const tl_sensors *sensors, const char **why) {
    *why = sensors->power_missing;
    return sensors->channel_count > 0 ? sensors->power_source : NULL;
}

double tl_sensors_interval(const tl_sensors *sensors) {
    return sensors->interval < LEAST_INTERVAL ? LEAST_INTERVAL : sensors->interval;
}

void tl_sensors_describe(const tl_sensors *sensors, tl_buffer *json) {
    const char *why, *source = tl_sensors_power_source(sensors, &why);
    tl_buffer_append_string(json, source ? "{\"power\":" : "{\"power\":null,\"power_missing\":");
    const char *text = source ? source : why;
    tl_json_append_string(json, text, strlen(text));
    tl_buffer_append_format(json,
                            ",\"interval_s\":%g,\"thermal_zones\":%d,\"clocks\":%d,"
                            "\"throttling_sources\":%d}",
                            sensors->interval, sensors->zone_count, sensors->clock_count,
                            sensors->watched_count);
}

void tl_sensors_missing(const tl_sensors *sensors, tl_buffer *lines) {
    const char *why;
    if (!tl_sensors_power_source(sensors, &why))
        tl_buffer_append_format(lines, "power: %s; energy will be missing\n", why);
    if (sensors->zone_count == 0)
        tl_buffer_append_string(lines, "heat: no thermal zone can be read; temperatures will be "
                                       "missing\n");
    if (sensors->watched_count == 0)
        tl_buffer_append_string(lines, "throttling: nothing counts it; a hot machine would only be "
                                       "seen by its times\n");
}
