# What is not one cmocka program: the page in a browser. Needs node and Chromium; skipped (77) without them.
add_executable(make_run browser/make_run.c)
target_link_libraries(make_run PRIVATE tinyllm_test_support)
