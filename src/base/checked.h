/* Arithmetic on sizes that come from files: false on overflow. */
#ifndef TL_BASE_CHECKED_H
#define TL_BASE_CHECKED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

static inline bool tl_add_size(size_t a, size_t b, size_t *sum) {
    return !__builtin_add_overflow(a, b, sum);
}

static inline bool tl_mul_size(size_t a, size_t b, size_t *product) {
    return !__builtin_mul_overflow(a, b, product);
}

/* Does [offset, offset + length) lie within [0, total)? */
static inline bool tl_within(uint64_t offset, uint64_t length, uint64_t total) {
    return offset <= total && length <= total - offset;
}

#endif
