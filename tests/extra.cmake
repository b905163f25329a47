# What is not one cmocka program: the page in a browser. Skipped (77) without node or Chromium.
add_executable(make_run browser/make_run.c)
target_link_libraries(make_run PRIVATE tinyllm_test_support)
foreach(name report live)
  if(TINYLLM_SANITIZE) # its program under test is the same: Chromium would show no more
    continue()
  endif()
  add_test(NAME browser/${name} COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/browser/run.sh
           ${CMAKE_CURRENT_SOURCE_DIR}/browser/${name}.mjs $<TARGET_FILE:tinyllm_cli> $<TARGET_FILE:make_run>)
  set_tests_properties(browser/${name} PROPERTIES LABELS browser TIMEOUT 600 SKIP_RETURN_CODE 77)
endforeach()

if(TINYLLM_SANITIZE)
  return()
endif()

# A sweep as an array of a real Slurm on loopback. Skipped (77) without Slurm, or not as root.
add_test(NAME extra/slurm COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/extra/slurm.sh $<TARGET_FILE:tinyllm_cli>)
set_tests_properties(extra/slurm PROPERTIES LABELS extra TIMEOUT 300 SKIP_RETURN_CODE 77)
# One cache with huggingface_hub; skipped where python3 (HF_PYTHON) does not have it.
add_test(NAME extra/hub_interop COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/extra/hub_interop.sh $<TARGET_FILE:tinyllm_cli>)
set_tests_properties(extra/hub_interop PROPERTIES LABELS extra TIMEOUT 300 SKIP_RETURN_CODE 77)
