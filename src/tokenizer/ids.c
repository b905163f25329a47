#include "tokenizer/ids.h"

#include <stdlib.h>
#include <string.h>

void tl_ids_free(tl_ids *ids) {
    free(ids->data);
    *ids = (tl_ids){0};
}

bool tl_ids_append(tl_ids *ids, const int32_t *data, size_t count, tl_error *error) {
    if (count > ids->capacity - ids->count) {
        size_t capacity = ids->capacity ? ids->capacity : 64;
        while (capacity - ids->count < count)
            if (!tl_mul_size(capacity, 2, &capacity)) return tl_fail_memory(error, count, "ids");
        int32_t *grown = capacity > SIZE_MAX / sizeof *grown
                             ? NULL
                             : realloc(ids->data, capacity * sizeof *grown);
        if (!grown) return tl_fail_memory(error, capacity, "ids");
        ids->data = grown;
        ids->capacity = capacity;
    }
    if (count) memcpy(ids->data + ids->count, data, count * sizeof *data);
    ids->count += count;
    return true;
}
