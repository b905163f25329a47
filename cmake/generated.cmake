# Sources made at build time: the parts of the page as C arrays, and the W&B messages by protoc-c.
set(generated ${CMAKE_CURRENT_BINARY_DIR}/generated)
file(MAKE_DIRECTORY ${generated})

find_file(TINYLLM_CHART_JS NAMES chart.umd.js chart.min.js Chart.min.js PATHS /usr/share/javascript/chart.js /usr/share/nodejs/chart.js/dist
          NO_DEFAULT_PATH DOC "Chart.js, 2.9 or later, inlined into the page")
if(NOT TINYLLM_CHART_JS)
  message(FATAL_ERROR "Chart.js was not found: install libjs-chart.js, or set TINYLLM_CHART_JS to its chart.min.js")
endif()

# embed(NAME file…): tl_embedded_NAME and its size.
function(embed name)
  set(output ${generated}/${name}.c)
  set(inputs ${ARGN})
  add_custom_command(OUTPUT ${output}
    COMMAND ${CMAKE_COMMAND} -DOUTPUT=${output} -DNAME=tl_embedded_${name} "-DINPUTS=${inputs}"
            -P ${PROJECT_SOURCE_DIR}/cmake/embed.cmake
    DEPENDS ${inputs} ${PROJECT_SOURCE_DIR}/cmake/embed.cmake VERBATIM)
  target_sources(tinyllm PRIVATE ${output})
endfunction()

# The order of the scripts is the order in which they build on each other.
set(scripts)
foreach(script text data filters tables chart2 charts cell examples live main)
  list(APPEND scripts ${PROJECT_SOURCE_DIR}/web/${script}.js)
endforeach()
embed(page_html ${PROJECT_SOURCE_DIR}/web/page.html)
embed(page_css ${PROJECT_SOURCE_DIR}/web/page.css)
embed(page_js ${scripts})
embed(chart_js ${TINYLLM_CHART_JS})

find_program(PROTOC_C protoc-c REQUIRED DOC "protobuf-c's compiler (protobuf-c-compiler)")
add_custom_command(OUTPUT ${generated}/wandb.pb-c.c ${generated}/wandb.pb-c.h
  COMMAND ${PROTOC_C} --proto_path=${PROJECT_SOURCE_DIR}/src/report --c_out=${generated} wandb.proto
  DEPENDS ${PROJECT_SOURCE_DIR}/src/report/wandb.proto VERBATIM)
target_sources(tinyllm PRIVATE ${generated}/wandb.pb-c.c ${generated}/wandb.pb-c.h)
target_include_directories(tinyllm PUBLIC $<BUILD_INTERFACE:${generated}>)
