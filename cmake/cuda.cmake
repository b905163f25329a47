# libtinyllm_cuda.so: the CUDA backend, which the program loads at run time. Needs the CUDA toolkit (nvcc, cuBLASLt), at
# build time only; the runtime is linked in, cuBLASLt and the driver are found where the program runs.
if(NOT CMAKE_CUDA_ARCHITECTURES)
  set(CMAKE_CUDA_ARCHITECTURES 80-real 86-real 87-real 89-real 90)
endif()
if(NOT CMAKE_CUDA_COMPILER)
  find_program(CMAKE_CUDA_COMPILER nvcc PATHS /usr/local/cuda/bin REQUIRED)
endif()
enable_language(CUDA)
find_package(CUDAToolkit REQUIRED)
set(CMAKE_CUDA_STANDARD 17)

file(GLOB cuda_sources CONFIGURE_DEPENDS src/kernels/cuda/*.c src/kernels/cuda/*.cu)
add_library(tinyllm_cuda MODULE ${cuda_sources} src/base/error.c)
target_include_directories(tinyllm_cuda PRIVATE src include)
target_compile_definitions(tinyllm_cuda PRIVATE _GNU_SOURCE)
target_compile_options(tinyllm_cuda PRIVATE
  $<$<COMPILE_LANGUAGE:C>:-Wall;-Wextra;-Wshadow;-Wstrict-prototypes;-Wmissing-prototypes;$<$<BOOL:${TINYLLM_WERROR}>:-Werror>>
  # Products and sums are fused only where the source says so: the bits are the source's.
  $<$<COMPILE_LANGUAGE:CUDA>:-O3;--fmad=false;-Xcompiler=-Wall,-Wextra;$<$<BOOL:${TINYLLM_WERROR}>:-Werror=all-warnings>>)
target_link_libraries(tinyllm_cuda PRIVATE CUDA::cudart_static CUDA::cublasLt)
set_target_properties(tinyllm_cuda PROPERTIES C_VISIBILITY_PRESET hidden CUDA_VISIBILITY_PRESET hidden
  LIBRARY_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR} INSTALL_RPATH "\$ORIGIN;${CUDAToolkit_LIBRARY_DIR}")
install(TARGETS tinyllm_cuda LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
