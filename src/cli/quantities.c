#include "cli/quantities.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static bool parse_number(const char *text, double *number, const char **rest) {
    char *end;
    *number = strtod(text, &end);
    *rest = end;
    return end != text && isfinite(*number) && *number > 0;
}

bool cli_parse_memory(const char *text, int64_t *bytes, double *share) {
    static const char units[] = "KMGT";
    double number;
    const char *rest;
    *bytes = 0;
    *share = 0;
    if (!parse_number(text, &number, &rest)) return false;
    if (strcmp(rest, "%") == 0) {
        *share = number / 100;
        return number <= 100;
    }
    double factor = 1;
    const char *unit = *rest ? strchr(units, *rest & ~0x20) : NULL;
    if (unit) {
        factor = ldexp(1, 10 * (int)(unit - units + 1));
        rest++;
    }
    if (*rest && strcasecmp(rest, "b") != 0 && strcasecmp(rest, "ib") != 0) return false;
    if (number * factor < 1 || number * factor > 9e18) return false;
    *bytes = (int64_t)(number * factor);
    return true;
}

bool cli_parse_duration(const char *text, double *seconds) {
    static const struct {
        char unit;
        double seconds;
    } units[] = {{'s', 1}, {'m', 60}, {'h', 3600}, {'d', 86400}};
    const char *rest;
    if (!parse_number(text, seconds, &rest)) return false;
    if (!*rest) return true;
    for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
        if (*rest != units[i].unit || rest[1]) continue;
        *seconds *= units[i].seconds;
        return true;
    }
    return false;
}

void cli_format_duration(double seconds, char *text, int size) {
    if (!(seconds >= 0) || seconds > 1e8) {
        snprintf(text, (size_t)size, "-:--");
        return;
    }
    long whole = lround(seconds);
    long days = whole / 86400, hours = whole / 3600 % 24, minutes = whole / 60 % 60;
    if (days > 0)
        snprintf(text, (size_t)size, "%ldd %02ld:%02ld:%02ld", days, hours, minutes, whole % 60);
    else if (hours > 0)
        snprintf(text, (size_t)size, "%ld:%02ld:%02ld", hours, minutes, whole % 60);
    else
        snprintf(text, (size_t)size, "%ld:%02ld", minutes, whole % 60);
}

const char *cli_format_size(uint64_t bytes, char *text, int size) {
    static const char *const units[] = {"B", "kB", "MB", "GB", "TB", "PB"};
    double amount = (double)bytes;
    size_t unit = 0;
    for (; amount >= 999.995 && unit + 1 < sizeof units / sizeof *units; unit++)
        amount /= 1000;
    snprintf(text, (size_t)size, unit ? "%.2f %s" : "%.0f %s", amount, units[unit]);
    return text;
}
