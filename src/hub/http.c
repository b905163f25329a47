#include "hub/http.h"

#include <curl/curl.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

enum { MOST_REDIRECTS = 10, DEFAULT_TIMEOUT = 10 };

struct tl_http {
    CURL *curl;
    tl_http_options options;
    char message[CURL_ERROR_SIZE];
};

/* One hop of a request. */
typedef struct transfer {
    tl_http *http;
    const tl_http_request *request;
    tl_http_reply *reply;
    bool refused; /* the receiver returned false */
} transfer;

static void start_curl(void) {
    curl_global_init(CURL_GLOBAL_DEFAULT);
}

/* ---- addresses
 * ------------------------------------------------------------------------------------------- */

/* `location` as seen from `base`, an absolute address; NULL when it is none. Free with curl_free.
 */
static char *resolve(const char *base, const char *location) {
    char *url = NULL;
    CURLU *parts = curl_url();
    if (parts && curl_url_set(parts, CURLUPART_URL, base, 0) == CURLUE_OK &&
        (!location || curl_url_set(parts, CURLUPART_URL, location, 0) == CURLUE_OK))
        curl_url_get(parts, CURLUPART_URL, &url, 0);
    curl_url_cleanup(parts);
    return url;
}

/* "scheme://host:port" of an address; false when it has none. */
static bool origin_of(const char *url, char *origin, size_t size) {
    char *scheme = NULL, *host = NULL, *port = NULL;
    CURLU *parts = curl_url();
    bool good = parts && curl_url_set(parts, CURLUPART_URL, url, 0) == CURLUE_OK &&
                curl_url_get(parts, CURLUPART_SCHEME, &scheme, 0) == CURLUE_OK &&
                curl_url_get(parts, CURLUPART_HOST, &host, 0) == CURLUE_OK &&
                curl_url_get(parts, CURLUPART_PORT, &port, CURLU_DEFAULT_PORT) == CURLUE_OK;
    if (good) good = (size_t)snprintf(origin, size, "%s://%s:%s", scheme, host, port) < size;
    curl_free(scheme);
    curl_free(host);
    curl_free(port);
    curl_url_cleanup(parts);
    return good;
}

static bool is_secure(const char *origin) {
    return strncmp(origin, "https:", 6) == 0;
}

char *tl_http_follow(const char *base, const char *location) {
    char here[512], there[512];
    char *url = resolve(base, location);
    bool same = url && origin_of(base, here, sizeof here) && origin_of(url, there, sizeof there) &&
                strcasecmp(here, there) == 0;
    char *copy = same ? strdup(url) : NULL;
    curl_free(url);
    return copy;
}

/* May `url` be asked, and with the token? Plain http only where the endpoint itself is. */
static bool check_address(const tl_http *http, const char *url, bool *trusted, tl_error *error) {
    char origin[512], home[512];
    bool good = origin_of(url, origin, sizeof origin) &&
                origin_of(http->options.endpoint, home, sizeof home);
    if (!good || (!is_secure(origin) && strncmp(origin, "http:", 5) != 0))
        return tl_fail(error, TL_ERROR_NETWORK, "%s: expected an http or https address", url);
    if (is_secure(home) && !is_secure(origin))
        return tl_fail(error, TL_ERROR_NETWORK,
                       "%s: a redirect from https to http: refused, it could be read or changed",
                       origin);
    *trusted = strcasecmp(origin, home) == 0;
    return true;
}

/* ---- headers
 * ------------------------------------------------------------------------------------------- */

static void put_text(char *to, size_t size, const char *text, size_t length) {
    if (length >= size) length = size - 1;
    memcpy(to, text, length);
    to[length] = 0;
}

/* An ETag without W/ and quotes. */
static void put_plain_etag(char *to, size_t size, const char *text, size_t length) {
    if (length > 2 && memcmp(text, "W/", 2) == 0) {
        text += 2;
        length -= 2;
    }
    if (length >= 2 && text[0] == '"' && text[length - 1] == '"') {
        text++;
        length -= 2;
    }
    put_text(to, size, text, length);
}

/* <…>; rel="next" among the comma-separated links. */
static void put_next_link(char *to, size_t size, const char *text) {
    for (const char *open = strchr(text, '<'); open; open = strchr(open + 1, '<')) {
        const char *close = strchr(open, '>');
        if (!close) return;
        const char *end = strchr(close, ',');
        const char *rel = strstr(close, "rel=\"next\"");
        if (!rel || (end && rel > end)) continue;
        put_text(to, size, open + 1, (size_t)(close - open) - 1);
        return;
    }
}

/* Seconds, or a date. */
static double parse_retry_after(const char *text) {
    char *end;
    double seconds = strtod(text, &end);
    if (end != text && isfinite(seconds)) return seconds < 0 ? 0 : seconds;
    time_t when = curl_getdate(text, NULL);
    if (when == (time_t)-1) return -1;
    double wait = (double)when - tl_clock_wall();
    return wait < 0 ? 0 : wait;
}

static void parse_content_range(tl_http_reply *reply, const char *text) {
    long long start, end, total;
    if (sscanf(text, "bytes %lld-%lld/%lld", &start, &end, &total) == 3 && start >= 0) {
        reply->range_start = start;
        reply->range_total = total;
    } else if (sscanf(text, "bytes */%lld", &total) == 1) {
        reply->range_total = total;
    }
}

/* A new answer (the next hop, or after an interim one) forgets what is of one answer alone. */
static void start_answer(tl_http_reply *reply) {
    reply->length = reply->range_start = reply->range_total = -1;
    reply->retry_after = -1;
    reply->encoded = false;
    reply->etag[0] = reply->content_type[0] = reply->next[0] = reply->location[0] = 0;
}

static void take_header(tl_http_reply *reply, const char *name, const char *value) {
    size_t length = strlen(value);
    const struct {
        const char *name;
        char *target;
        size_t size;
    } texts[] = {
        {"etag", reply->etag, sizeof reply->etag},
        {"content-type", reply->content_type, sizeof reply->content_type},
        {"location", reply->location, sizeof reply->location},
        {"x-repo-commit", reply->commit, sizeof reply->commit},
        {"x-error-code", reply->error_code, sizeof reply->error_code},
        {"x-error-message", reply->error_message, sizeof reply->error_message},
    };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        if (strcasecmp(name, texts[i].name) == 0) {
            /* A name or an address cut short would be another one. */
            if (length < texts[i].size || texts[i].target == reply->error_message)
                put_text(texts[i].target, texts[i].size, value, length);
            return;
        }
    if (strcasecmp(name, "x-linked-etag") == 0)
        put_plain_etag(reply->linked_etag, sizeof reply->linked_etag, value, length);
    else if (strcasecmp(name, "link") == 0 && length < sizeof reply->next)
        put_next_link(reply->next, sizeof reply->next, value);
    else if (strcasecmp(name, "content-length") == 0)
        reply->length = strtoll(value, NULL, 10);
    else if (strcasecmp(name, "content-encoding") == 0)
        reply->encoded = strcasecmp(value, "identity") != 0;
    else if (strcasecmp(name, "content-range") == 0)
        parse_content_range(reply, value);
    else if (strcasecmp(name, "retry-after") == 0)
        reply->retry_after = parse_retry_after(value);
}

static size_t on_header(char *bytes, size_t size, size_t count, void *context) {
    transfer *t = context;
    char line[8192];
    size_t total = size * count;
    if (total >= sizeof line) return total; /* nothing read here is that long */
    memcpy(line, bytes, total);
    line[total] = 0;
    line[strcspn(line, "\r\n")] = 0;
    long status;
    if (strncmp(line, "HTTP/", 5) == 0 && sscanf(line, "HTTP/%*s %ld", &status) == 1) {
        start_answer(t->reply);
        t->reply->status = status;
        return total;
    }
    char *colon = strchr(line, ':');
    if (!colon) return total;
    *colon = 0;
    char *value = colon + 1;
    value += strspn(value, " \t");
    take_header(t->reply, line, value);
    return total;
}

/* ---- transfers
 * ------------------------------------------------------------------------------------------- */

static size_t on_body(char *bytes, size_t size, size_t count, void *context) {
    transfer *t = context;
    size_t total = size * count;
    if (t->reply->status < 200 || t->reply->status > 299) return total; /* pages of errors */
    if (t->request->body(t->request->context, t->reply, bytes, total)) return total;
    t->refused = true;
    return 0;
}

static bool is_stopped(const tl_http *http) {
    return http->options.stopped && http->options.stopped(http->options.stopped_context);
}

static int on_progress(void *context, curl_off_t a, curl_off_t b, curl_off_t c, curl_off_t d) {
    (void)a, (void)b, (void)c, (void)d;
    return is_stopped(context);
}

static const char *first_setting(const char *const *names) {
    for (; *names; names++) {
        const char *value = getenv(*names);
        if (value && *value) return value;
    }
    return NULL;
}

static void set_certificates(CURL *curl) {
    static const char *const files[] = {"REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE",
                                        NULL};
    static const char *const directories[] = {"SSL_CERT_DIR", NULL};
    const char *bundle = first_setting(files), *directory = first_setting(directories);
    if (bundle && tl_dir_exists(bundle))
        curl_easy_setopt(curl, CURLOPT_CAPATH, bundle);
    else if (bundle)
        curl_easy_setopt(curl, CURLOPT_CAINFO, bundle);
    if (directory) curl_easy_setopt(curl, CURLOPT_CAPATH, directory);
}

static void set_protocols(CURL *curl) {
#if LIBCURL_VERSION_NUM >= 0x075500
    curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
#else
    curl_easy_setopt(curl, CURLOPT_PROTOCOLS, (long)(CURLPROTO_HTTP | CURLPROTO_HTTPS));
#endif
}

tl_http *tl_http_new(const tl_http_options *options, tl_error *error) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, start_curl);
    tl_http *http = calloc(1, sizeof *http);
    if (http) http->curl = curl_easy_init();
    if (!http || !http->curl) {
        free(http);
        tl_fail_memory(error, sizeof *http, "an HTTP client");
        return NULL;
    }
    http->options = *options;
    CURL *curl = http->curl;
    double timeout = options->timeout > 0 ? options->timeout : DEFAULT_TIMEOUT;
    curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, http->message);
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_USERAGENT, "tinyllm/" TINYLLM_VERSION);
    curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, (long)(timeout * 1000));
    curl_easy_setopt(curl, CURLOPT_LOW_SPEED_LIMIT, 1L);
    curl_easy_setopt(curl, CURLOPT_LOW_SPEED_TIME, (long)ceil(timeout));
    curl_easy_setopt(curl, CURLOPT_TCP_KEEPALIVE, 1L);
    /* some proxies compress all the same: then it is undone */
    curl_easy_setopt(curl, CURLOPT_ACCEPT_ENCODING, "identity");
    curl_easy_setopt(curl, CURLOPT_BUFFERSIZE, 256L << 10);
    curl_easy_setopt(curl, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
    curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, on_progress);
    curl_easy_setopt(curl, CURLOPT_XFERINFODATA, http);
    curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
    set_protocols(curl);
    set_certificates(curl);
    return http;
}

void tl_http_free(tl_http *http) {
    if (!http) return;
    curl_easy_cleanup(http->curl);
    free(http);
}

static bool is_transient(CURLcode code) {
    static const CURLcode codes[] = {
        CURLE_COULDNT_RESOLVE_HOST,
        CURLE_COULDNT_RESOLVE_PROXY,
        CURLE_COULDNT_CONNECT,
        CURLE_PARTIAL_FILE,
        CURLE_OPERATION_TIMEDOUT,
        CURLE_GOT_NOTHING,
        CURLE_SEND_ERROR,
        CURLE_RECV_ERROR,
        CURLE_HTTP2,
        CURLE_HTTP2_STREAM,
    };
    for (size_t i = 0; i < sizeof codes / sizeof *codes; i++)
        if (codes[i] == code) return true;
    return false;
}

static bool explain(const tl_http *http, const transfer *t, CURLcode code, tl_error *error) {
    if (t->refused) return false;
    if (code == CURLE_ABORTED_BY_CALLBACK)
        return tl_fail(error, TL_ERROR_INTERRUPTED, "stopped by the user");
    const char *reason = http->message[0] ? http->message : curl_easy_strerror(code);
    const char *remedy = "";
    if (code == CURLE_PEER_FAILED_VERIFICATION || code == CURLE_SSL_CACERT_BADFILE)
        remedy = " (behind a proxy with a certificate of its own? set SSL_CERT_FILE to its bundle)";
    return tl_fail(error, TL_ERROR_NETWORK, "%s: %s%s", t->reply->url, reason, remedy);
}

static struct curl_slist *add_header(struct curl_slist *list, const char *format, const char *value,
                                     bool *good) {
    tl_buffer line = {0};
    tl_buffer_append_format(&line, format, value);
    struct curl_slist *longer = line.failed ? NULL : curl_slist_append(list, line.data);
    tl_buffer_free(&line);
    *good = *good && longer;
    return longer ? longer : list;
}

/* One hop: asks `url`, with the token if it is trusted. */
static bool ask(tl_http *http, const char *url, bool trusted, transfer *t, tl_error *error) {
    char range[32];
    bool good = true;
    struct curl_slist *headers = NULL;
    if (trusted && http->options.token)
        headers = add_header(headers, "Authorization: Bearer %s", http->options.token, &good);
    if (t->request->from > 0 && t->request->if_range)
        headers = add_header(headers, "If-Range: %s", t->request->if_range, &good);
    if (!good) {
        curl_slist_free_all(headers);
        return tl_fail_memory(error, strlen(url), "a request");
    }
    snprintf(range, sizeof range, "%llu-", (unsigned long long)t->request->from);
    put_text(t->reply->url, sizeof t->reply->url, url, strcspn(url, "?"));
    start_answer(t->reply);
    t->reply->status = 0;
    http->message[0] = 0;
    CURL *curl = http->curl;
    curl_easy_setopt(curl, CURLOPT_HTTPGET, 1L);
    curl_easy_setopt(curl, CURLOPT_NOBODY, t->request->head ? 1L : 0L);
    curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, (long)(t->request->seconds * 1000));
    curl_easy_setopt(curl, CURLOPT_URL, url);
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(curl, CURLOPT_RANGE, t->request->from > 0 ? range : NULL);
    curl_easy_setopt(curl, CURLOPT_HEADERDATA, t);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, t);
    CURLcode code = curl_easy_perform(curl);
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, NULL);
    curl_slist_free_all(headers);
    t->reply->transient =
        code == CURLE_OK ? tl_http_status_is_transient(t->reply->status) : is_transient(code);
    return code == CURLE_OK || explain(http, t, code, error);
}

bool tl_http_get(tl_http *http, const tl_http_request *request, tl_http_reply *reply,
                 tl_error *error) {
    *reply = (tl_http_reply){0};
    transfer t = {http, request, reply, false};
    char *url = resolve(request->url, NULL);
    if (!url)
        return tl_fail(error, TL_ERROR_NETWORK, "%s: expected an http or https address",
                       request->url);
    bool good = false, trusted;
    for (int hop = 0;; hop++) {
        good = check_address(http, url, &trusted, error) && ask(http, url, trusted, &t, error);
        if (!good || reply->status < 300 || reply->status > 399 || !reply->location[0]) break;
        if (hop == MOST_REDIRECTS) {
            good = tl_fail(error, TL_ERROR_NETWORK, "%s: more than %d redirects", request->url,
                           MOST_REDIRECTS);
            break;
        }
        char *next = resolve(url, reply->location);
        curl_free(url);
        url = next;
        if (!url) {
            good = tl_fail(error, TL_ERROR_NETWORK, "%s: a redirect to no address", request->url);
            break;
        }
    }
    curl_free(url);
    return good;
}

bool tl_http_status_is_transient(long status) {
    return status == 408 || status == 429 || status >= 500;
}

void tl_http_notice(const tl_http *http, const char *format, ...) {
    if (!http->options.notice) return;
    char text[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    http->options.notice(http->options.notice_context, text);
}

static void notice_wait(const tl_http *http, const tl_http_reply *reply, double pause) {
    char answered[32];
    snprintf(answered, sizeof answered, "answered %ld", reply->status);
    const char *why = reply->status > 0 ? answered : *http->message ? http->message : "no answer";
    tl_http_notice(http, "%s: %s: trying again in %.0f s", reply->url, why, pause);
}

bool tl_retry_wait(tl_retry *retry, const tl_http_reply *reply, tl_http *http) {
    enum { LONGEST = 60, LONGEST_ASKED = 300, NOTICED = 3 };
    if (retry->left <= 0) return false;
    retry->left--;
    double pause = retry->base * (double)(1u << (retry->failures > 16 ? 16 : retry->failures));
    retry->failures++;
    if (pause > LONGEST) pause = LONGEST;
    if (reply->retry_after > LONGEST_ASKED) return false;
    if (reply->retry_after >= 0) pause = reply->retry_after;
    if (pause >= NOTICED) notice_wait(http, reply, pause);
    for (double end = tl_clock_monotonic() + pause; tl_clock_monotonic() < end;) {
        if (is_stopped(http)) return false;
        double left = end - tl_clock_monotonic();
        tl_clock_sleep(left < 0.1 ? left : 0.1);
    }
    return !is_stopped(http);
}
