/* From stack to stack. */
#ifndef TESTS_CUDA_SWITCH_H
#define TESTS_CUDA_SWITCH_H

/* Leaves what a call has to keep on this stack and its top in *from, and returns on the stack whose
 * top is `to`. */
void emulated_switch(void **from, void *to);

/* The top of a new stack that ends at `end` (aligned to 16): switching to it calls `begin`, which
 * must not return. */
void *emulated_start(void *end, void (*begin)(void));

#endif
