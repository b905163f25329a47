#include "study/wire.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MOST_CHOICES = 1 << 16 };

static bool send_all(int socket, const char *bytes, size_t length, int flags, tl_error *error) {
    while (length > 0) {
        ssize_t sent = send(socket, bytes, length, MSG_NOSIGNAL | flags);
        if (sent < 0 && errno == EINTR) continue;
        if (sent < 0) return tl_fail_errno(error, "the other process is gone");
        bytes += sent;
        length -= (size_t)sent;
    }
    return true;
}

bool tl_wire_send(int socket, tl_frame_kind kind, const void *payload, size_t length,
                  tl_error *error) {
    if (length > TL_FRAME_LIMIT)
        return tl_fail(error, TL_ERROR_LIMIT, "a message of %zu bytes: expected at most %d", length,
                       TL_FRAME_LIMIT);
    uint32_t header[2] = {(uint32_t)kind, (uint32_t)length};
    return send_all(socket, (const char *)header, sizeof header, length ? MSG_MORE : 0, error) &&
           send_all(socket, payload, length, 0, error);
}

/* Reads exactly `length` bytes; *closed when the very first read finds the end. */
static bool receive_all(int socket, char *bytes, size_t length, bool *closed, tl_error *error) {
    size_t got = 0;
    while (got < length) {
        ssize_t part = read(socket, bytes + got, length - got);
        if (part < 0 && errno == EINTR) continue;
        if (part == 0 && got == 0 && closed) {
            *closed = true;
            return false;
        }
        if (part < 0) return tl_fail_errno(error, "cannot hear the other process");
        if (part == 0)
            return tl_fail(error, TL_ERROR_IO, "the other process fell silent within a message");
        got += (size_t)part;
    }
    return true;
}

static bool check_header(const uint32_t header[2], tl_error *error) {
    if (header[0] >= TL_FRAME_JOB && header[0] <= TL_FRAME_FAILED && header[1] <= TL_FRAME_LIMIT)
        return true;
    return tl_fail(error, TL_ERROR_FORMAT, "a garbled message (kind %u, %u bytes)", header[0],
                   header[1]);
}

bool tl_wire_receive(int socket, tl_buffer *buffer, tl_frame *frame, bool *closed,
                     tl_error *error) {
    uint32_t header[2];
    *closed = false;
    if (!receive_all(socket, (char *)header, sizeof header, closed, error) ||
        !check_header(header, error))
        return false;
    tl_buffer_clear(buffer);
    if (!tl_buffer_reserve(buffer, (size_t)header[1] + 1))
        return tl_fail_memory(error, header[1], "a message");
    if (!receive_all(socket, buffer->data, header[1], NULL, error)) return false;
    buffer->length = header[1];
    buffer->data[header[1]] = 0;
    *frame = (tl_frame){(tl_frame_kind)header[0], buffer->data, header[1]};
    return true;
}

bool tl_wire_next(tl_buffer *buffer, size_t *at, tl_frame *frame, tl_error *error) {
    uint32_t header[2];
    if (buffer->length - *at < sizeof header) return false;
    memcpy(header, buffer->data + *at, sizeof header);
    if (!check_header(header, error)) return false;
    if (buffer->length - *at - sizeof header < header[1]) return false;
    *frame = (tl_frame){(tl_frame_kind)header[0], buffer->data + *at + sizeof header, header[1]};
    *at += sizeof header + header[1];
    return true;
}

/* ---- examples ----
 *
 * The fixed part, then the strings with their NULs, each after its length + 1 (0 for NULL). */

typedef struct fixed {
    int64_t index, tokens_computed, tokens_asked;
    double forward_seconds, total_seconds;
    int32_t protocol, n_choices, gold, prediction, prediction_norm, prediction_bytes;
    uint8_t truncated, has_choices, has_contexts, has_continuations, has_scores, has_greedy;
    uint8_t unused[2];
} fixed;

static void put_string(tl_buffer *out, const char *text) {
    uint32_t length = text ? (uint32_t)strlen(text) + 1 : 0;
    tl_buffer_append(out, &length, sizeof length);
    tl_buffer_append(out, text, length);
}

static void put_strings(tl_buffer *out, const char *const *strings, int32_t count) {
    for (int32_t i = 0; i < count && strings; i++)
        put_string(out, strings[i]);
}

void tl_wire_put_example(tl_buffer *out, const tl_example *e) {
    fixed f = {
        .index = e->index,
        .tokens_computed = e->tokens_computed,
        .tokens_asked = e->tokens_asked,
        .forward_seconds = e->forward_seconds,
        .total_seconds = e->total_seconds,
        .protocol = (int32_t)e->protocol,
        .n_choices = e->n_choices,
        .gold = e->gold,
        .prediction = e->prediction,
        .prediction_norm = e->prediction_norm,
        .prediction_bytes = e->prediction_bytes,
        .truncated = e->truncated,
        .has_choices = e->choices != NULL,
        .has_contexts = e->contexts != NULL,
        .has_continuations = e->continuations != NULL,
        .has_scores = e->scores && e->n_choices > 0,
        .has_greedy = e->greedy && e->n_choices > 0,
    };
    size_t n = e->n_choices > 0 ? (size_t)e->n_choices : 0;
    tl_buffer_append(out, &f, sizeof f);
    if (e->scores) tl_buffer_append(out, e->scores, n * sizeof *e->scores);
    for (size_t i = 0; i < n && e->greedy; i++)
        tl_buffer_append_byte(out, (char)e->greedy[i]);
    put_string(out, e->document);
    put_string(out, e->prompt);
    put_string(out, e->skipped);
    put_strings(out, e->choices, (int32_t)n);
    put_strings(out, e->contexts, (int32_t)n);
    put_strings(out, e->continuations, (int32_t)n);
}

typedef struct reader {
    const char *at;
    size_t left;
    bool bad;
} reader;

static const char *take(reader *r, size_t length) {
    if (r->bad || length > r->left) {
        r->bad = true;
        return NULL;
    }
    const char *at = r->at;
    r->at += length;
    r->left -= length;
    return at;
}

static const char *take_string(reader *r) {
    uint32_t length = 0;
    const char *bytes = take(r, sizeof length);
    if (!bytes) return NULL;
    memcpy(&length, bytes, sizeof length);
    if (length == 0) return NULL;
    const char *text = take(r, length);
    if (!text) return NULL;
    if (memchr(text, 0, length) != text + length - 1) r->bad = true;
    return r->bad ? NULL : text;
}

static const char *const *take_strings(reader *r, bool there, int32_t count, tl_arena *arena) {
    if (!there || r->bad || count == 0) return NULL;
    const char **strings = tl_arena_alloc(arena, (size_t)count, sizeof *strings, "strings", NULL);
    if (!strings) {
        r->bad = true;
        return NULL;
    }
    for (int32_t i = 0; i < count; i++) {
        strings[i] = take_string(r);
        if (!strings[i]) r->bad = true;
    }
    return strings;
}

static void take_scores(reader *r, const fixed *f, tl_arena *arena, tl_example *example) {
    size_t n = (size_t)f->n_choices;
    if (f->has_scores) {
        double *scores = tl_arena_alloc(arena, n, sizeof *scores, "scores", NULL);
        const char *bytes = take(r, n * sizeof *scores);
        if (scores && bytes) memcpy(scores, bytes, n * sizeof *scores);
        example->scores = scores;
    }
    if (f->has_greedy) {
        bool *greedy = tl_arena_alloc(arena, n, 1, "flags", NULL);
        const char *bytes = take(r, n);
        for (size_t i = 0; i < n && greedy && bytes; i++)
            greedy[i] = bytes[i] != 0;
        example->greedy = greedy;
    }
    if ((f->has_scores && !example->scores) || (f->has_greedy && !example->greedy)) r->bad = true;
}

bool tl_wire_get_example(const char *payload, size_t length, tl_arena *arena, tl_example *example,
                         tl_error *error) {
    reader r = {payload, length, false};
    fixed f = {0};
    const char *bytes = take(&r, sizeof f);
    if (bytes) memcpy(&f, bytes, sizeof f);
    if (!bytes || f.protocol < 0 || f.protocol >= TL_PROTOCOL_COUNT || f.n_choices < 0 ||
        f.n_choices > MOST_CHOICES)
        return tl_fail(error, TL_ERROR_FORMAT, "a garbled example");
    *example = (tl_example){
        .protocol = (tl_protocol)f.protocol,
        .index = f.index,
        .n_choices = f.n_choices,
        .gold = f.gold,
        .prediction = f.prediction,
        .prediction_norm = f.prediction_norm,
        .prediction_bytes = f.prediction_bytes,
        .truncated = f.truncated != 0,
        .forward_seconds = f.forward_seconds,
        .total_seconds = f.total_seconds,
        .tokens_computed = f.tokens_computed,
        .tokens_asked = f.tokens_asked,
    };
    take_scores(&r, &f, arena, example);
    example->document = take_string(&r);
    example->prompt = take_string(&r);
    example->skipped = take_string(&r);
    example->choices = take_strings(&r, f.has_choices, f.n_choices, arena);
    example->contexts = take_strings(&r, f.has_contexts, f.n_choices, arena);
    example->continuations = take_strings(&r, f.has_continuations, f.n_choices, arena);
    if (!r.bad && r.left == 0) return true;
    return tl_fail(error, TL_ERROR_FORMAT, "a garbled example (%zu bytes)", length);
}
