# The CPU kernels: src/kernels/cpu/*.c is compiled once for each instruction set (see docs/design.md). Needs a target
# `tinyllm` and `tinyllm_options`; adds object libraries and the generated list of the sets that were built.
file(GLOB kernel_sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_LIST_DIR}/../src/kernels/cpu/*.c)
set(kernel_sets)

# Under sanitizers compilers take minutes over the unrolled products: those builds are for finding mistakes, so they leave
# out the sets that differ from another by single instructions, and optimise less.
set(kernel_optimization -O3)
set(kernel_sets_left_out)
if(TINYLLM_SANITIZE)
  set(kernel_optimization -O1)
  set(kernel_sets_left_out avx512_bf16 avx512_vnni avx2_vnni)
endif()
if(TINYLLM_FUZZ)
  set(kernel_optimization -O0)
endif()

# tinyllm_kernels(SUFFIX NAME NEEDS WANTS FLAGS…): instantiates the kernels as tl_kernels_SUFFIX, called NAME, for
# processors that have NEEDS (masks of cpu_features.h); chosen unasked where they have WANTS too.
function(tinyllm_kernels suffix name needs wants)
  if(suffix IN_LIST kernel_sets_left_out)
    return()
  endif()
  add_library(kernels_${suffix} OBJECT ${kernel_sources})
  target_include_directories(kernels_${suffix} PRIVATE ${CMAKE_CURRENT_FUNCTION_LIST_DIR}/../src
    ${CMAKE_CURRENT_FUNCTION_LIST_DIR}/../include)
  target_compile_definitions(kernels_${suffix} PRIVATE TL_ISA=${suffix} "TL_ISA_NAME=\"${name}\""
    "TL_CPU_NEEDS=(${needs})" "TL_CPU_WANTS=(${wants})")
  target_compile_options(kernels_${suffix} PRIVATE ${kernel_optimization} ${ARGN})
  target_link_libraries(kernels_${suffix} PRIVATE tinyllm_options)
  set_target_properties(kernels_${suffix} PROPERTIES POSITION_INDEPENDENT_CODE ON)
  target_sources(tinyllm PRIVATE $<TARGET_OBJECTS:kernels_${suffix}>)
  set(kernel_sets ${kernel_sets} ${suffix} PARENT_SCOPE)
endfunction()

# Best first. The fuzz targets read files and multiply nothing worth the time that all of these take to compile.
if(TINYLLM_FUZZ)
elseif(CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|AMD64|amd64)$")
  set(avx2 -mavx2 -mfma -mf16c -mprfchw)
  set(avx512 ${avx2} -mavx512f -mavx512bw -mavx512dq -mavx512vl -mprefer-vector-width=512)
  tinyllm_kernels(avx512_amx "avx512+amx" "TL_CPU_AVX512|TL_CPU_AVX512_VNNI|TL_CPU_AVX512_BF16|TL_CPU_AMX"
    0 ${avx512} -mavx512vnni -mavx512bf16 -mamx-tile -mamx-bf16 -mamx-int8)
  tinyllm_kernels(avx512_bf16 "avx512+bf16" "TL_CPU_AVX512|TL_CPU_AVX512_VNNI|TL_CPU_AVX512_BF16"
    TL_CPU_QUICK_BF16 ${avx512} -mavx512vnni -mavx512bf16)
  tinyllm_kernels(avx512_vnni "avx512+vnni" "TL_CPU_AVX512|TL_CPU_AVX512_VNNI" 0 ${avx512} -mavx512vnni)
  tinyllm_kernels(avx512 "avx512" "TL_CPU_AVX512" 0 ${avx512})
  tinyllm_kernels(avx2_vnni "avx2+vnni" "TL_CPU_AVX2|TL_CPU_AVX_VNNI" 0 ${avx2} -mavxvnni)
  tinyllm_kernels(avx2 "avx2" "TL_CPU_AVX2" 0 ${avx2})
elseif(CMAKE_SYSTEM_PROCESSOR MATCHES "^(aarch64|arm64)$")
  # GCC would load all of a tile's operands before it gives out registers, and then lack some.
  if(CMAKE_C_COMPILER_ID STREQUAL GNU)
    set_source_files_properties(${CMAKE_CURRENT_LIST_DIR}/../src/kernels/cpu/many.c
      PROPERTIES COMPILE_OPTIONS -fno-schedule-insns)
  endif()
  set(i8mm TL_CPU_NEON|TL_CPU_DOTPROD|TL_CPU_I8MM)
  tinyllm_kernels(neon_bf16 "neon+bf16" "${i8mm}|TL_CPU_BF16" 0 -march=armv8.2-a+dotprod+fp16+i8mm+bf16)
  tinyllm_kernels(neon_i8mm "neon+i8mm" "${i8mm}" 0 -march=armv8.2-a+dotprod+fp16+i8mm)
  tinyllm_kernels(neon_dotprod "neon+dotprod" "TL_CPU_NEON|TL_CPU_DOTPROD" 0 -march=armv8.2-a+dotprod+fp16)
  tinyllm_kernels(neon "neon" "TL_CPU_NEON" 0)
endif()
tinyllm_kernels(scalar "scalar" 0 0 -DTL_PORTABLE)

set(declarations "")
set(entries "")
foreach(set IN LISTS kernel_sets)
  string(APPEND declarations "extern const tl_kernels tl_kernels_${set};\n")
  string(APPEND entries "    &tl_kernels_${set},\n")
endforeach()
file(CONFIGURE OUTPUT ${CMAKE_CURRENT_BINARY_DIR}/kernel_sets.c CONTENT
"/* Made by cmake/kernels.cmake. */
#include \"kernels/table.h\"

${declarations}
const tl_kernels *const tl_kernels_built[] = {
${entries}    0,
};
" @ONLY)
target_sources(tinyllm PRIVATE ${CMAKE_CURRENT_BINARY_DIR}/kernel_sets.c)
