/* device: what the machine is, for the store and for `tinyllm doctor`. */
#ifndef TL_STUDY_DEVICE_H
#define TL_STUDY_DEVICE_H

#include "base/base.h"

typedef struct tl_device {
    char fingerprint[TL_HEX_SIZE]; /* the same machine has the same one, on any day */
    char name[128];                /* "NVIDIA Jetson Orin Nano Developer Kit", else the CPU's */
    tl_buffer facts;               /* a JSON object: what belongs to the machine */
} tl_device;

/* Reads /proc and /sys under `root` (NULL: the real ones). Free with tl_device_free. */
bool tl_device_read(const char *root, tl_device *device, tl_error *error);
void tl_device_free(tl_device *device);

/* What may change from run to run, as a JSON object: kernel, governor, clocks, power mode, load,
 * memory, temperature, time, build. */
bool tl_device_state(const char *root, tl_buffer *json);

/* This program: version, compiler, SHA-256 of the executable (12 digits). */
bool tl_device_build(tl_buffer *json);
/* "0.1.0-1a2b3c4d5e6f": what a cell's identity holds. */
bool tl_device_build_id(char *text, size_t size, tl_error *error);

/* What stands in the way of a good measurement, one line each with the remedy, appended to
 * `lines`; nothing when all is well. */
void tl_device_advice(const char *root, tl_buffer *lines);

#endif
