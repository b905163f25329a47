/* Apart from the others: two files of kernels have static functions of one name. */
#include "kernels/cuda/linear.cu"
