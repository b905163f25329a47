#include "base/error.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static void make_one_line(char *text) {
    for (; *text; text++)
        if ((unsigned char)*text < 0x20 || *text == 0x7f) *text = '?';
}

static void fill(tl_error *error, tl_code code, const char *format, va_list arguments) {
    error->code = code;
    vsnprintf(error->message, sizeof error->message, format, arguments);
    make_one_line(error->message);
}

bool tl_fail(tl_error *error, tl_code code, const char *format, ...) {
    if (!error) return false;
    va_list arguments;
    va_start(arguments, format);
    fill(error, code, format, arguments);
    va_end(arguments);
    return false;
}

bool tl_fail_errno(tl_error *error, const char *format, ...) {
    int number = errno;
    if (!error) return false;
    va_list arguments;
    va_start(arguments, format);
    fill(error, number == ENOMEM ? TL_ERROR_MEMORY : TL_ERROR_IO, format, arguments);
    va_end(arguments);
    size_t used = strlen(error->message);
    snprintf(error->message + used, sizeof error->message - used, ": %s", strerror(number));
    return false;
}

bool tl_fail_memory(tl_error *error, size_t bytes, const char *what) {
    return tl_fail(error, TL_ERROR_MEMORY, "out of memory: %zu bytes for %s", bytes, what);
}

bool tl_fail_within(tl_error *error, const char *format, ...) {
    if (!error) return false;
    char inner[sizeof error->message];
    memcpy(inner, error->message, sizeof inner);
    va_list arguments;
    va_start(arguments, format);
    fill(error, error->code, format, arguments);
    va_end(arguments);
    size_t used = strlen(error->message);
    snprintf(error->message + used, sizeof error->message - used, ": %s", inner);
    return false;
}

const char *tl_code_name(tl_code code) {
    static const char *const names[] = {
        [TL_OK] = "ok",
        [TL_ERROR_USAGE] = "usage",
        [TL_ERROR_IO] = "io",
        [TL_ERROR_FORMAT] = "format",
        [TL_ERROR_UNSUPPORTED] = "unsupported",
        [TL_ERROR_MEMORY] = "memory",
        [TL_ERROR_LIMIT] = "limit",
        [TL_ERROR_NETWORK] = "network",
        [TL_ERROR_INTERRUPTED] = "interrupted",
    };
    size_t index = (size_t)code;
    return index < sizeof names / sizeof *names ? names[index] : "unknown";
}
