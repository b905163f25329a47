/* What a worker and its parent say to each other over a socket: frames of a kind and a payload.
 *
 * parent → worker    JOB   JSON, see worker.h
 *                    DONE  protocol, indices of examples that are stored already
 *                    GO    nothing
 *                    ACK   1 to go on, 0 to stop: the answer to each EXAMPLE
 * worker → parent    STAGE its name: "loading", "preparing", "warming", "evaluating"
 *                    MODEL JSON: family, parameters, measures as below
 *                    READY examples, then rows, per protocol; answered by DONE … GO
 *                    EXAMPLE one tl_example; answered by ACK
 *                    MEASURES JSON array of {name, value, unit, note}
 *                    FAILED code and message
 *
 * A worker waits for the ACK before it goes on: an example is stored before the next one is begun,
 * and storing never disturbs a measured pass. Integers are little-endian as in memory: both ends
 * are the same program on the same machine. */
#ifndef TL_STUDY_WIRE_H
#define TL_STUDY_WIRE_H

#include "task/task.h"

typedef enum tl_frame_kind {
    TL_FRAME_JOB = 1,
    TL_FRAME_DONE,
    TL_FRAME_GO,
    TL_FRAME_ACK,
    TL_FRAME_STAGE,
    TL_FRAME_MODEL,
    TL_FRAME_READY,
    TL_FRAME_EXAMPLE,
    TL_FRAME_MEASURES,
    TL_FRAME_FAILED,
} tl_frame_kind;

enum { TL_FRAME_HEADER = 8, TL_FRAME_LIMIT = 1 << 28 };

typedef struct tl_frame {
    tl_frame_kind kind;
    const char *payload; /* NUL-terminated; borrowed until the next call */
    size_t length;
} tl_frame;

/* Sends a whole frame; false when the other end is gone. */
bool tl_wire_send(int socket, tl_frame_kind kind, const void *payload, size_t length,
                  tl_error *error);

/* Waits for a whole frame into `buffer`; *closed when the other end hung up between frames. */
bool tl_wire_receive(int socket, tl_buffer *buffer, tl_frame *frame, bool *closed, tl_error *error);

/* Takes the next whole frame out of bytes gathered in `buffer` from *at on; false when there is
 * none (yet), with `error` set when what is there is no frame. The payload lies in `buffer`. */
bool tl_wire_next(tl_buffer *buffer, size_t *at, tl_frame *frame, tl_error *error);

/* An example as bytes, and back: strings are borrowed from the payload, arrays live in `arena`. */
void tl_wire_put_example(tl_buffer *out, const tl_example *example);
bool tl_wire_get_example(const char *payload, size_t length, tl_arena *arena, tl_example *example,
                         tl_error *error);

#endif
