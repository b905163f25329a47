/* What a worker that went mad may send. */
#include "study/wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    tl_arena *arena = tl_arena_new();
    tl_buffer heard = {0};
    tl_buffer_append(&heard, data, size);
    tl_buffer_reserve(&heard, 1);
    size_t at = 0;
    tl_frame frame;
    tl_error error = {0};
    while (arena && heard.data && tl_wire_next(&heard, &at, &frame, &error)) {
        tl_example example;
        tl_arena_reset(arena);
        if (!tl_wire_get_example(frame.payload, frame.length, arena, &example, &error)) continue;
        /* What is taken for an example can be sent again. */
        tl_buffer again = {0};
        tl_wire_put_example(&again, &example);
        tl_buffer_free(&again);
    }
    tl_buffer_free(&heard);
    tl_arena_free(arena);
    return 0;
}
