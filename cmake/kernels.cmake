# The CPU kernels: src/kernels/cpu/*.c is compiled once per instruction set (see docs/design.md).
