/* serve: the page of a run over HTTP, live while it goes on. Reads the store, never writes. */
#ifndef TL_REPORT_SERVE_H
#define TL_REPORT_SERVE_H

#include "base/base.h"

typedef struct tl_server tl_server;

typedef struct tl_serve_options {
    const char *address; /* NULL: 127.0.0.1, and then only requests for this host are answered */
    int port;            /* 0: any free one */
} tl_serve_options;

/* Serves DIR: "/" the page, "/report.json" its data, "/examples?cell=N&from=ROW" examples of a cell
 * (an index into the data's cells), "/events" progress as server-sent events, one a second. Only
 * GET and HEAD are answered. The directory may be empty still: the run may begin later. */
tl_server *tl_serve(const char *directory, const tl_serve_options *options, tl_error *error);

/* "http://127.0.0.1:8080/" */
const char *tl_server_url(const tl_server *server);

/* Ends every connection and waits for them. */
void tl_server_stop(tl_server *server);

/* Appends where the run is as JSON: version (changes with every verdict), cells, cells_done,
 * cells_ended, planned, done (examples), running {model, task, done, planned} or null. */
bool tl_serve_progress(const char *directory, tl_buffer *out, int64_t *done, tl_error *error);

#endif
