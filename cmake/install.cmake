# cmake --install: the program, the library, its one header, a pkg-config file, and the data.
install(TARGETS tinyllm_cli RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
install(TARGETS tinyllm ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR} LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(FILES include/tinyllm.h DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
# The prefix is found from where the file lies, so that the tree may be installed anywhere and moved.
file(RELATIVE_PATH PC_TO_PREFIX /${CMAKE_INSTALL_LIBDIR}/pkgconfig /)
configure_file(cmake/tinyllm.pc.in tinyllm.pc @ONLY)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/tinyllm.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
install(DIRECTORY tasks models demo data DESTINATION ${CMAKE_INSTALL_DATADIR}/tinyllm)
