#include "report/page.h"

#include "report/embedded.h"
#include "report/page_examples.h"

#include <stdlib.h>
#include <string.h>

/* JSON inside a <script>: nothing in it may end the element or open a comment. */
static void write_json(const char *text, size_t length, FILE *out) {
    for (const char *end = text + length; text < end;) {
        const char *open = memchr(text, '<', (size_t)(end - text));
        if (!open) open = end;
        fwrite(text, 1, (size_t)(open - text), out);
        if (open < end) fputs("\\u003c", out);
        text = open + 1;
    }
}

static bool write_data(const tl_tables *tables, FILE *out, tl_error *error) {
    tl_buffer json = {0};
    bool good = tl_tables_json(tables, &json, error);
    if (good) {
        fputs("<script type=\"application/json\" id=\"report\">", out);
        write_json(json.data, json.length, out);
        fputs("</script>\n", out);
    }
    tl_buffer_free(&json);
    return good && tl_page_pack_examples(tables->results, out, error);
}

/* What the template's {{names}} stand for; the data is NULL in a live page. */
typedef struct page {
    const tl_tables *tables;
    FILE *out;
    tl_error *error;
    bool good;
} page;

static void write_part(page *p, const unsigned char *bytes, size_t size) {
    fwrite(bytes, 1, size, p->out);
}

/* 'sha256-…' of a script as the template has it: between two line breaks. */
static void write_script_hash(page *p, const unsigned char *bytes, size_t size) {
    char hex[TL_HEX_SIZE] = "";
    tl_digest *digest = tl_digest_new("sha256");
    if (digest) {
        tl_digest_update(digest, "\n", 1);
        tl_digest_update(digest, bytes, size);
        tl_digest_update(digest, "\n", 1);
    }
    p->good = digest && tl_digest_finish(digest, hex);
    tl_digest_free(digest);
    unsigned char raw[TL_HEX_SIZE / 2];
    for (size_t i = 0; p->good && i < sizeof raw; i++) {
        unsigned byte;
        p->good = sscanf(hex + 2 * i, "%2x", &byte) == 1;
        raw[i] = (unsigned char)byte;
    }
    if (!p->good) {
        tl_fail(p->error, TL_ERROR_UNSUPPORTED, "no SHA-256 for the page's policy");
        return;
    }
    fputs(" 'sha256-", p->out);
    tl_page_write_base64(raw, sizeof raw, p->out);
    fputc('\'', p->out);
}

/* What a browser may do with this page: run its own two scripts, known by their hashes, and ask
 * nobody for anything (live: its own server). */
static void write_policy(page *p) {
    fputs("default-src 'none'; script-src", p->out);
    write_script_hash(p, tl_embedded_chart_js, tl_embedded_chart_js_size);
    if (p->good) write_script_hash(p, tl_embedded_page_js, tl_embedded_page_js_size);
    fprintf(p->out,
            "; style-src 'unsafe-inline'; img-src data:; connect-src %s; base-uri 'none'; "
            "form-action 'none'",
            p->tables ? "'none'" : "'self'");
}

static void write_named(page *p, const char *name, size_t length) {
    static const struct {
        const char *name;
        const unsigned char *bytes;
        const size_t *size;
    } parts[] = {{"style", tl_embedded_page_css, &tl_embedded_page_css_size},
                 {"chart", tl_embedded_chart_js, &tl_embedded_chart_js_size},
                 {"script", tl_embedded_page_js, &tl_embedded_page_js_size}};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        if (strlen(parts[i].name) == length && memcmp(parts[i].name, name, length) == 0)
            write_part(p, parts[i].bytes, *parts[i].size);
    if (length == 6 && memcmp(name, "policy", 6) == 0) write_policy(p);
    if (length == 4 && memcmp(name, "data", 4) == 0 && p->tables)
        p->good = write_data(p->tables, p->out, p->error);
}

/* Copies the template, replacing each {{name}}. */
static bool write_page(page *p) {
    const char *at = (const char *)tl_embedded_page_html;
    while (p->good) {
        const char *open = strstr(at, "{{");
        const char *close = open ? strstr(open, "}}") : NULL;
        if (!close) break;
        fwrite(at, 1, (size_t)(open - at), p->out);
        write_named(p, open + 2, (size_t)(close - open - 2));
        at = close + 2;
    }
    fputs(at, p->out);
    if (p->good && ferror(p->out)) return tl_fail_errno(p->error, "cannot write the page");
    return p->good;
}

bool tl_page_write(const tl_tables *tables, FILE *out, tl_error *error) {
    page p = {tables, out, error, true};
    return write_page(&p);
}

bool tl_page_live(tl_buffer *out, tl_error *error) {
    char *text = NULL;
    size_t length = 0;
    FILE *stream = open_memstream(&text, &length);
    if (!stream) return tl_fail_errno(error, "the page");
    page p = {NULL, stream, error, true};
    bool good = write_page(&p);
    if (fclose(stream) != 0 && good) good = tl_fail_errno(error, "the page");
    if (good) tl_buffer_append(out, text, length);
    free(text);
    return good && (!out->failed || tl_fail_memory(error, length, "the page"));
}
