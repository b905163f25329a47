/* The parts of the page, inlined at build (cmake/generated.cmake). Each array ends with a NUL that
 * its size does not count. */
#ifndef TL_REPORT_EMBEDDED_H
#define TL_REPORT_EMBEDDED_H

#include <stddef.h>

extern const unsigned char tl_embedded_page_html[], tl_embedded_page_css[];
extern const unsigned char tl_embedded_page_js[], tl_embedded_chart_js[];
extern const size_t tl_embedded_page_html_size, tl_embedded_page_css_size;
extern const size_t tl_embedded_page_js_size, tl_embedded_chart_js_size;

#endif
