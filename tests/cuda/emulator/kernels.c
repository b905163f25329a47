/* The kernels as they are, compiled for the host. */
#include "kernels/cuda/attention.cu"
#include "kernels/cuda/head.cu"
#include "kernels/cuda/rows.cu"
