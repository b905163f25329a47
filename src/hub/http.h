/* HTTP over libcurl: one request at a time, redirects followed here so that the token is sent to
 * the hub itself and to nobody else. Proxies by the usual variables (https_proxy, no_proxy, …),
 * certificates by REQUESTS_CA_BUNDLE, CURL_CA_BUNDLE, SSL_CERT_FILE. */
#ifndef TL_HUB_HTTP_H
#define TL_HUB_HTTP_H

#include "base/base.h"

/* Asked during transfers and waits; true ends them with TL_ERROR_INTERRUPTED. */
typedef bool tl_stopped_function(void *context);

/* Told, in one line, of waits that a user would wonder at. */
typedef void tl_notice_function(void *context, const char *text);

typedef struct tl_http_options {
    const char *endpoint;         /* "https://huggingface.co": the only place the token goes */
    const char *token;            /* NULL: none */
    double timeout;               /* seconds without a byte, or to connect; 0: 10 */
    tl_stopped_function *stopped; /* may be NULL */
    void *stopped_context;
    tl_notice_function *notice; /* may be NULL; called by whichever thread waits */
    void *notice_context;
} tl_http_options;

typedef struct tl_http tl_http;

/* A client for one thread; the options' strings must outlive it. */
tl_http *tl_http_new(const tl_http_options *options, tl_error *error);
void tl_http_free(tl_http *http);

/* What a server answered. Fields of the hub's own (linked_…, commit, error_…) are kept from any hop
 * of a redirect, the others are of the last. */
typedef struct tl_http_reply {
    long status;
    int64_t length;      /* Content-Length, or -1 */
    int64_t range_start; /* Content-Range "bytes START-…/TOTAL", or -1 */
    int64_t range_total;
    double retry_after; /* seconds, or -1 */
    char etag[128];     /* as sent, quotes and all */
    bool encoded;       /* the bytes are not those that were sent: Content-Encoding */
    char content_type[64];
    char next[2048];         /* Link: <…>; rel="next" */
    char location[4096];     /* of a redirect */
    char linked_etag[128];   /* X-Linked-Etag without quotes */
    char commit[128];        /* X-Repo-Commit */
    char error_code[64];     /* X-Error-Code: "GatedRepo", … */
    char error_message[256]; /* X-Error-Message */
    bool transient;          /* a failure that another try may mend */
    char url[256];           /* where the last answer came from, for messages; cut if long */
} tl_http_reply;

/* Receives the body of a 2xx answer in parts; false ends the transfer (the reason is the
 * receiver's). */
typedef bool tl_http_body(void *context, const tl_http_reply *reply, const char *bytes,
                          size_t length);

typedef struct tl_http_request {
    const char *url;
    bool head;            /* HEAD: headers alone */
    double seconds;       /* at most, for all of it; 0: as long as bytes come */
    uint64_t from;        /* Range: bytes=FROM- when not 0 */
    const char *if_range; /* with a Range: an ETag, or NULL */
    tl_http_body *body;
    void *context;
} tl_http_request;

/* GETs. True when an answer came to its end, whatever its status; false for a failure of the
 * connection (reply->transient tells whether to try again), a receiver's refusal (the error is then
 * left untouched) or the user's stop. */
bool tl_http_get(tl_http *http, const tl_http_request *request, tl_http_reply *reply,
                 tl_error *error);

/* `location` (absolute or relative) as seen from the address `base`, if it is on the same server;
 * NULL when not. Free with free(). */
char *tl_http_follow(const char *base, const char *location);

/* Is this status worth another try: 408, 429, 5xx? */
bool tl_http_status_is_transient(long status);

/* Trying again with growing pauses: base, 2 × base, … at most 60 s, or as Retry-After says. */
typedef struct tl_retry {
    int left;    /* tries that remain */
    double base; /* seconds */
    int failures;
} tl_retry;

/* Waits before another try; false when none is left, the user stops, or the server asks to wait for
 * more than five minutes. */
bool tl_retry_wait(tl_retry *retry, const tl_http_reply *reply, tl_http *http);

/* Tells the options' listener, if there is one. */
void tl_http_notice(const tl_http *http, const char *format, ...) TL_PRINTF(2, 3);

#endif
