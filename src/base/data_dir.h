/* Where the program's own data (tasks/, models/, demo/, web/) lies. */
#ifndef TL_BASE_DATA_DIR_H
#define TL_BASE_DATA_DIR_H

#include "base/error.h"

/* The directory that holds tasks/, models/ and demo/: $TINYLLM_DATA, else ../share/tinyllm beside
 * the executable, else where it was installed, else the source tree it was built from. Written to
 * `path`; fails when none of them is there, naming those tried. */
bool tl_data_dir(char *path, size_t size, tl_error *error);

#endif
