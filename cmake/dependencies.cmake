# Every library comes from the distribution. Names of the packages: tools/setup.
find_package(PkgConfig REQUIRED)
find_package(Threads REQUIRED)
add_library(tinyllm_dependencies INTERFACE)
foreach(module libcjson yaml-0.1 libpcre2-8 libutf8proc sqlite3 libcurl libmicrohttpd libprotobuf-c zlib libzstd
               libcrypto)
  string(MAKE_C_IDENTIFIER "dependency_${module}" name)
  pkg_check_modules(${name} REQUIRED IMPORTED_TARGET ${module})
  target_link_libraries(tinyllm_dependencies INTERFACE PkgConfig::${name})
endforeach()
target_link_libraries(tinyllm_dependencies INTERFACE Threads::Threads m ${CMAKE_DL_LIBS})
