/* Sensors on trees like those of real boards, with energies computed by hand. */
#include "study/device.h"
#include "study/telemetry.h"
#include "support/support.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* A file of a tree: DIR/PATH with a line of text. */
static void put(const char *tree, const char *path, const char *text) {
    char line[256];
    snprintf(line, sizeof line, "%s\n", text);
    test_write_text(test_scratch_path("%s%s", tree, path), line);
}

#define assert_near(value, expected, tolerance)                                                    \
    do {                                                                                           \
        double found = (value);                                                                    \
        if (!(fabs(found - (expected)) <= (tolerance)))                                            \
            fail_msg("%s = %.9g, expected %.9g", #value, found, (double)(expected));               \
    } while (0)

static tl_sensors *open_tree(const char *tree) {
    tl_error error = {0};
    tl_sensors *sensors = tl_sensors_open(test_scratch_path("%s", tree), &error);
    assert_ok(sensors, error);
    return sensors;
}

static void assert_source(const tl_sensors *sensors, const char *expected) {
    const char *why, *source = tl_sensors_power_source(sensors, &why);
    if (!source) fail_msg("no power source: %s", why);
    assert_string_equal(source, expected);
}

static double read_power(tl_sensors *sensors) {
    tl_sample sample;
    tl_sensors_read(sensors, &sample);
    return sample.power;
}

/* ---- Jetson Orin Nano ---- */

/* JetPack 5 and 6 differ in where hwmon numbers fall and in what else they show. */
static void make_orin(const char *tree, const char *hwmon) {
    static const struct {
        int channel;
        const char *label, *millivolts, *milliamperes;
    } rails[] = {{1, "VDD_IN", "4960", "1500"},
                 {2, "VDD_CPU_GPU_CV", "4960", "400"},
                 {3, "VDD_SOC", "4952", "320"}};
    char path[256];
    for (int i = 0; i < 3; i++) {
        snprintf(path, sizeof path, "%s/in%d_label", hwmon, rails[i].channel);
        put(tree, path, rails[i].label);
        snprintf(path, sizeof path, "%s/in%d_input", hwmon, rails[i].channel);
        put(tree, path, rails[i].millivolts);
        snprintf(path, sizeof path, "%s/curr%d_input", hwmon, rails[i].channel);
        put(tree, path, rails[i].milliamperes);
    }
    snprintf(path, sizeof path, "%s/in7_label", hwmon);
    put(tree, path, "sum of shunt voltages");
    snprintf(path, sizeof path, "%s/update_interval", hwmon);
    put(tree, path, "50");
    put(tree, "/proc/device-tree/model", "NVIDIA Jetson Orin Nano Developer Kit");
    put(tree, "/sys/class/thermal/thermal_zone0/type", "cpu-thermal");
    put(tree, "/sys/class/thermal/thermal_zone0/temp", "48531");
    put(tree, "/sys/class/thermal/thermal_zone1/type", "gpu-thermal");
    put(tree, "/sys/class/thermal/thermal_zone1/temp", "51250");
    put(tree, "/sys/class/thermal/thermal_zone9/type", "PMIC-Die");
    put(tree, "/sys/class/thermal/thermal_zone9/temp", "100000");
    put(tree, "/sys/devices/system/cpu/cpufreq/policy0/scaling_cur_freq", "1510400");
    put(tree, "/sys/devices/system/cpu/cpufreq/policy4/scaling_cur_freq", "1190400");
    put(tree, "/sys/class/hwmon/hwmon0/name", "soctherm_oc");
    put(tree, "/sys/class/hwmon/hwmon0/oc1_event_cnt", "4");
    put(tree, "/sys/class/hwmon/hwmon0/oc3_event_cnt", "0");
}

static void test_orin_counts_the_whole_module_once(void **state) {
    (void)state;
    static const char *const layouts[][2] = {
        {"/jp5", "/sys/bus/i2c/drivers/ina3221/1-0040/hwmon/hwmon3"},
        {"/jp6", "/sys/bus/i2c/drivers/ina3221/1-0040/hwmon/hwmon1"},
    };
    for (int i = 0; i < 2; i++) {
        make_orin(layouts[i][0], layouts[i][1]);
        tl_sensors *sensors = open_tree(layouts[i][0]);
        assert_source(sensors, "ina3221 VDD_IN");
        /* 4.960 V × 1.500 A; the other rails lie below it. */
        assert_near(read_power(sensors), 7.44, 1e-9);
        tl_sample sample;
        tl_sensors_read(sensors, &sample);
        assert_true(isnan(sample.energy));
        assert_near(sample.temperature, 51.25, 1e-9); /* not the PMIC's 100 */
        assert_near(sample.clock, 1510.4, 1e-9);
        assert_near(sample.throttles, 0, 0); /* 4 before we looked */
        put(layouts[i][0], "/sys/class/hwmon/hwmon0/oc3_event_cnt", "3");
        tl_sensors_read(sensors, &sample);
        assert_near(sample.throttles, 3, 0);
        tl_sensors_free(sensors);
    }
}

/* 7.44 W for 2 s, then a straight rise to 14.88 W within 1 s, which stays for 0.5 s:
 * 7.44 · 2 + (7.44 + 14.88) / 2 · 1 + 14.88 · 0.5 = 14.88 + 11.16 + 7.44 = 33.48 J. */
static void test_power_is_integrated_by_trapezoids(void **state) {
    (void)state;
    const char *hwmon = "/sys/bus/i2c/drivers/ina3221/1-0040/hwmon/hwmon1";
    make_orin("/joules", hwmon);
    tl_sensors *sensors = open_tree("/joules");
    static const struct {
        double time;
        const char *milliamperes;
    } samples[] = {{100, "1500"}, {102, "1500"}, {103, "3000"}, {103.5, "3000"}};
    tl_span span;
    tl_span_start(&span);
    for (int i = 0; i < 4; i++) {
        put("/joules", "/sys/bus/i2c/drivers/ina3221/1-0040/hwmon/hwmon1/curr1_input",
            samples[i].milliamperes);
        tl_sample sample;
        tl_sensors_read(sensors, &sample);
        sample.time = samples[i].time;
        tl_span_add(&span, &sample);
    }
    assert_near(span.energy, 33.48, 1e-9);
    assert_near(span.seconds, 3.5, 1e-12);
    assert_near(span.power_max, 14.88, 1e-9);
    assert_near(span.gap_max, 2, 1e-12);
    assert_int_equal(span.samples, 4);
    assert_near(span.temperature_start, 51.25, 1e-9);

    /* A reading that fails is bridged: 7.44 W at 0 s and at 4 s are 29.76 J. */
    tl_span_start(&span);
    for (int i = 0; i < 3; i++) {
        tl_sample sample = {2.0 * i, i == 1 ? NAN : 7.44, NAN, NAN, NAN, NAN};
        tl_span_add(&span, &sample);
    }
    assert_near(span.energy, 29.76, 1e-9);
    assert_true(isnan(span.temperature_max));

    /* One reading is no span. */
    tl_span_start(&span);
    tl_sample single = {1, 7.44, NAN, NAN, NAN, NAN};
    tl_span_add(&span, &single);
    assert_true(isnan(span.energy));
    tl_sensors_free(sensors);
}

static void test_agx_orin_sums_its_inputs(void **state) {
    (void)state;
    static const struct {
        const char *device, *hwmon;
        int channel;
        const char *label, *milliamperes;
    } rails[] = {{"1-0040", "hwmon2", 1, "VDD_GPU_SOC", "1000"},
                 {"1-0040", "hwmon2", 2, "VDD_CPU_CV", "500"},
                 {"1-0040", "hwmon2", 3, "VIN_SYS_5V0", "2000"},
                 {"1-0041", "hwmon3", 1, "NC", "9999"},
                 {"1-0041", "hwmon3", 2, "VDDQ_VDD2_1V8AO", "300"}};
    for (size_t i = 0; i < sizeof rails / sizeof *rails; i++) {
        char path[200];
        const char *base = "/sys/bus/i2c/drivers/ina3221";
        snprintf(path, sizeof path, "%s/%s/hwmon/%s/in%d_label", base, rails[i].device,
                 rails[i].hwmon, rails[i].channel);
        put("/agx", path, rails[i].label);
        snprintf(path, sizeof path, "%s/%s/hwmon/%s/in%d_input", base, rails[i].device,
                 rails[i].hwmon, rails[i].channel);
        put("/agx", path, "5000");
        snprintf(path, sizeof path, "%s/%s/hwmon/%s/curr%d_input", base, rails[i].device,
                 rails[i].hwmon, rails[i].channel);
        put("/agx", path, rails[i].milliamperes);
    }
    tl_sensors *sensors = open_tree("/agx");
    assert_source(sensors, "ina3221 VDD_GPU_SOC + VDD_CPU_CV + VIN_SYS_5V0");
    assert_near(read_power(sensors), 5 * 3.5, 1e-9);
    tl_sensors_free(sensors);
}

/* JetPack 4, a Nano: milliwatts of iio. */
static void test_jetpack_4_has_iio(void **state) {
    (void)state;
    const char *base = "/sys/bus/i2c/drivers/ina3221x/6-0040/iio:device0";
    static const char *const rails[][2] = {
        {"POM_5V_IN", "2345"}, {"POM_5V_GPU", "400"}, {"POM_5V_CPU", "700"}};
    for (int i = 0; i < 3; i++) {
        char path[200];
        snprintf(path, sizeof path, "%s/rail_name_%d", base, i);
        put("/jp4", path, rails[i][0]);
        snprintf(path, sizeof path, "%s/in_power%d_input", base, i);
        put("/jp4", path, rails[i][1]);
    }
    tl_sensors *sensors = open_tree("/jp4");
    assert_source(sensors, "ina3221 POM_5V_IN");
    assert_near(read_power(sensors), 2.345, 1e-9);
    tl_sensors_free(sensors);
}

/* ---- Raspberry Pi 5 ---- */

static void test_raspberry_pi_says_what_it_lacks(void **state) {
    (void)state;
    put("/rpi", "/proc/device-tree/model", "Raspberry Pi 5 Model B Rev 1.0");
    put("/rpi", "/proc/device-tree/serial-number", "10000000abcdef01");
    put("/rpi", "/proc/cpuinfo", "processor\t: 0\nCPU part\t: 0xd0b\n");
    put("/rpi", "/proc/meminfo", "MemTotal:        8245000 kB\nMemAvailable:    7000000 kB");
    put("/rpi", "/sys/class/thermal/thermal_zone0/type", "cpu-thermal");
    put("/rpi", "/sys/class/thermal/thermal_zone0/temp", "61700");
    put("/rpi", "/sys/devices/system/cpu/cpufreq/policy0/scaling_cur_freq", "2400000");
    put("/rpi", "/sys/devices/system/cpu/cpufreq/policy0/scaling_governor", "ondemand");
    put("/rpi", "/sys/class/hwmon/hwmon1/name", "rpi_volt");
    put("/rpi", "/sys/class/hwmon/hwmon1/in0_lcrit_alarm", "0");
    put("/rpi", "/sys/devices/platform/soc@107c000000/soc:firmware/get_throttled", "0");
    put("/rpi", "/sys/class/thermal/cooling_device0/type", "pwm-fan");
    put("/rpi", "/sys/class/thermal/cooling_device0/cur_state", "2");
    tl_sensors *sensors = open_tree("/rpi");
    const char *why;
    assert_null(tl_sensors_power_source(sensors, &why));
    test_assert_contains(why, "no INA3221");
    tl_sample sample;
    tl_sensors_read(sensors, &sample);
    assert_true(isnan(sample.power) && isnan(sample.energy)); /* never 0 */
    assert_near(sample.temperature, 61.7, 1e-9);
    assert_near(sample.clock, 2400, 1e-9);
    assert_near(sample.throttles, 0, 0);
    /* Throttled now (bit 2) counts once; that it once was (bit 18) does not; undervoltage does. */
    put("/rpi", "/sys/devices/platform/soc@107c000000/soc:firmware/get_throttled", "40000");
    tl_sensors_read(sensors, &sample);
    assert_near(sample.throttles, 0, 0);
    put("/rpi", "/sys/devices/platform/soc@107c000000/soc:firmware/get_throttled", "40004");
    tl_sensors_read(sensors, &sample);
    tl_sensors_read(sensors, &sample);
    assert_near(sample.throttles, 1, 0);
    put("/rpi", "/sys/class/hwmon/hwmon1/in0_lcrit_alarm", "1");
    tl_sensors_read(sensors, &sample);
    assert_near(sample.throttles, 2, 0);
    tl_sensors_free(sensors);

    tl_device device;
    tl_error error = {0};
    assert_ok(tl_device_read(test_scratch_path("/rpi"), &device, &error), error);
    assert_string_equal(device.name, "Raspberry Pi 5 Model B Rev 1.0");
    test_assert_contains(device.facts.data, "\"power\":null,\"power_missing\":");
    tl_device again;
    assert_ok(tl_device_read(test_scratch_path("/rpi"), &again, &error), error);
    assert_string_equal(again.fingerprint, device.fingerprint);
    tl_device_free(&again);
    put("/rpi", "/proc/device-tree/serial-number", "10000000abcdef02"); /* its neighbour */
    assert_ok(tl_device_read(test_scratch_path("/rpi"), &again, &error), error);
    assert_string_not_equal(again.fingerprint, device.fingerprint);
    tl_device_free(&again);
    tl_device_free(&device);
    tl_buffer advice = {0};
    tl_device_advice(test_scratch_path("/rpi"), &advice);
    test_assert_contains(advice.data, "the governor is ondemand");
    test_assert_contains(advice.data, "energy will be missing");
    tl_buffer_free(&advice);
}

/* ---- an x86 laptop ---- */

static void make_laptop(const char *tree) {
    put(tree, "/sys/class/powercap/intel-rapl:0/name", "package-0");
    put(tree, "/sys/class/powercap/intel-rapl:0/energy_uj", "262140000000");
    put(tree, "/sys/class/powercap/intel-rapl:0/max_energy_range_uj", "262143328850");
    put(tree, "/sys/class/powercap/intel-rapl:0:0/name", "core");
    put(tree, "/sys/class/powercap/intel-rapl:0:0/energy_uj", "5");
    put(tree, "/sys/class/powercap/intel-rapl:1/name", "psys");
    put(tree, "/sys/class/powercap/intel-rapl:1/energy_uj", "7");
    put(tree, "/sys/class/power_supply/BAT0/type", "Battery");
    put(tree, "/sys/class/power_supply/BAT0/status", "Discharging");
    put(tree, "/sys/class/power_supply/BAT0/voltage_now", "11500000");
    put(tree, "/sys/class/power_supply/BAT0/current_now", "1200000");
    put(tree, "/sys/class/power_supply/AC/type", "Mains");
    put(tree, "/sys/devices/system/cpu/cpu0/thermal_throttle/core_throttle_count", "10");
    put(tree, "/sys/devices/system/cpu/cpu1/thermal_throttle/core_throttle_count", "1");
    put(tree, "/sys/devices/system/cpu/cpu0/thermal_throttle/package_throttle_count", "5");
    put(tree, "/sys/devices/system/cpu/cpu1/thermal_throttle/package_throttle_count", "5");
    put(tree, "/sys/class/hwmon/hwmon4/name", "coretemp");
    put(tree, "/sys/class/hwmon/hwmon4/temp1_input", "72000");
}

/* The counter goes 3.32885 J to its range, wraps, and goes on to 10 J: 13.32885 J in 2 s. */
static void test_rapl_wraps_around(void **state) {
    (void)state;
    make_laptop("/laptop");
    tl_sensors *sensors = open_tree("/laptop");
    assert_source(sensors, "rapl package-0");
    tl_span span;
    tl_span_start(&span);
    tl_sample sample;
    tl_sensors_read(sensors, &sample);
    assert_true(isnan(sample.power));
    assert_near(sample.temperature, 72, 1e-9); /* hwmon, for there is no thermal zone */
    sample.time = 10;
    tl_span_add(&span, &sample);
    put("/laptop", "/sys/class/powercap/intel-rapl:0/energy_uj", "262142000000");
    put("/laptop", "/sys/devices/system/cpu/cpu1/thermal_throttle/core_throttle_count", "3");
    put("/laptop", "/sys/devices/system/cpu/cpu0/thermal_throttle/package_throttle_count", "6");
    tl_sensors_read(sensors, &sample);
    sample.time = 11;
    tl_span_add(&span, &sample);
    put("/laptop", "/sys/class/powercap/intel-rapl:0/energy_uj", "10000000");
    tl_sensors_read(sensors, &sample);
    sample.time = 12;
    tl_span_add(&span, &sample);
    assert_near(span.energy, 13.32885, 1e-6);
    assert_near(span.power_max, 11.32885, 1e-6);
    assert_near(span.throttles, 3, 0); /* two of a core, one of the package */
    tl_sensors_free(sensors);
}

static void test_a_battery_only_counts_when_it_discharges(void **state) {
    (void)state;
    make_laptop("/battery");
    char path[128];
    snprintf(path, sizeof path, "%s", test_scratch_path("/battery/sys/class/powercap"));
    char away[160];
    snprintf(away, sizeof away, "%s-away", path);
    assert_int_equal(rename(path, away), 0);
    tl_sensors *sensors = open_tree("/battery");
    assert_source(sensors, "battery BAT0");
    assert_near(read_power(sensors), 13.8, 1e-9); /* 11.5 V × 1.2 A */
    tl_sensors_free(sensors);
    put("/battery", "/sys/class/power_supply/BAT0/status", "Charging");
    sensors = open_tree("/battery");
    const char *why;
    assert_null(tl_sensors_power_source(sensors, &why));
    test_assert_contains(why, "not discharging");
    tl_sensors_free(sensors);
}

/* A battery alone, so that its power is what is read. */
static tl_sensors *open_battery(const char *tree, const char *milli, const char *status) {
    char path[256];
    snprintf(path, sizeof path, "%s/sys/class/power_supply/BAT0/type", tree);
    put("", path, "Battery");
    snprintf(path, sizeof path, "%s/sys/class/power_supply/BAT0/status", tree);
    put("", path, status);
    snprintf(path, sizeof path, "%s/sys/class/power_supply/BAT0/power_now", tree);
    put("", path, milli);
    return open_tree(tree);
}

static void test_readings_that_cannot_be_are_none(void **state) {
    (void)state;
    static const struct {
        const char *text;
        double watts; /* NAN: none */
    } cases[] = {
        {"7500000", 7.5},
        {"-7500000", 7.5}, /* what leaves a battery, as some drivers count it */
        {"0", 0},
        {"999999999999999999", NAN},
    };
    char tree[32];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        snprintf(tree, sizeof tree, "/odd-%zu", i);
        tl_sensors *sensors = open_battery(tree, cases[i].text, "Discharging");
        assert_source(sensors, "battery BAT0");
        double power = read_power(sensors);
        if (isnan(cases[i].watts)) {
            const char *why;
            tl_sensors_power_source(sensors, &why);
            assert_true(isnan(power));
            test_assert_contains(why, "which cannot be");
        } else {
            assert_near(power, cases[i].watts, 1e-9);
        }
        tl_sensors_free(sensors);
    }
    static const char *const no_numbers[] = {"", "none", "12 W", "99999999999999999999", "0x10"};
    for (size_t i = 0; i < sizeof no_numbers / sizeof *no_numbers; i++) {
        snprintf(tree, sizeof tree, "/none-%zu", i);
        tl_sensors *sensors = open_battery(tree, no_numbers[i], "Discharging");
        const char *why;
        assert_null(tl_sensors_power_source(sensors, &why));
        tl_sensors_free(sensors);
    }
}

static void test_a_counter_that_is_set_back_counts_nothing(void **state) {
    (void)state;
    make_laptop("/reset");
    tl_sensors *sensors = open_tree("/reset");
    static const char *const readings[] = {"0", "9223372036854775807", "-9223372036854775808", "?"};
    tl_sample sample;
    for (size_t i = 0; i < sizeof readings / sizeof *readings; i++) {
        put("/reset", "/sys/class/powercap/intel-rapl:0/energy_uj", readings[i]);
        tl_sensors_read(sensors, &sample);
        assert_true(sample.energy >= 0 && sample.energy < 10); /* one wrap at most */
    }
    tl_sensors_free(sensors);
}

static void test_counters_that_may_not_be_read_say_so(void **state) {
    (void)state;
    put("/locked", "/sys/class/powercap/intel-rapl:0/name", "package-0");
    put("/locked", "/sys/class/powercap/intel-rapl:0/max_energy_range_uj", "262143328850");
    tl_sensors *sensors = open_tree("/locked"); /* energy_uj cannot be read */
    const char *why;
    assert_null(tl_sensors_power_source(sensors, &why));
    test_assert_contains(why, "chmod a+r");
    tl_sensors_free(sensors);
}

/* ---- the thread ---- */

static void test_the_thread_integrates_while_it_samples(void **state) {
    (void)state;
    make_orin("/thread", "/sys/bus/i2c/drivers/ina3221/1-0040/hwmon/hwmon1");
    tl_error error = {0};
    tl_telemetry *telemetry = tl_telemetry_new(test_scratch_path("/thread"), &error);
    assert_ok(telemetry, error);
    assert_near(tl_telemetry_temperature(telemetry), 51.25, 1e-9);
    for (int round = 0; round < 2; round++) {
        tl_telemetry_begin(telemetry);
        usleep(450000);
        tl_span span;
        tl_telemetry_end(telemetry, &span);
        assert_true(span.samples >= 3 && span.samples <= 10);
        assert_true(span.seconds >= 0.45 && span.seconds < 5);
        /* At constant power energy is power × time, wherever the samples fell. */
        assert_near(span.energy, 7.44 * span.seconds, 1e-9);
    }
    tl_telemetry_free(telemetry);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_orin_counts_the_whole_module_once),
        cmocka_unit_test(test_power_is_integrated_by_trapezoids),
        cmocka_unit_test(test_agx_orin_sums_its_inputs),
        cmocka_unit_test(test_jetpack_4_has_iio),
        cmocka_unit_test(test_raspberry_pi_says_what_it_lacks),
        cmocka_unit_test(test_rapl_wraps_around),
        cmocka_unit_test(test_a_battery_only_counts_when_it_discharges),
        cmocka_unit_test(test_readings_that_cannot_be_are_none),
        cmocka_unit_test(test_a_counter_that_is_set_back_counts_nothing),
        cmocka_unit_test(test_counters_that_may_not_be_read_say_so),
        cmocka_unit_test(test_the_thread_integrates_while_it_samples),
    };
    return cmocka_run_group_tests_name("sensors", tests, NULL, NULL);
}
