/* tinyllm tokenize: text ↔ ids. */
#include "cli/cli.h"
#include "hub/hub.h"
#include "tokenizer/scan.h"
#include "tokenizer/tokenizer.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct tokenize {
    const cli_command *command;
    const char *model;
    bool jsonl, json, decode, no_special, skip_special;
    tl_tokenizer *tokenizer;
    tl_ids ids;       /* of the line at hand */
    tl_buffer text;   /* the same */
    tl_buffer output; /* what is printed for it */
} tokenize;

/* The value of one field of a JSON object on a line; false with an error naming the line. */
static bool find_field(tl_scan *scan, const char *field, const char *expected) {
    bool first = true, done = false;
    if (tl_scan_peek(scan) != '{') return tl_scan_fail(scan, expected);
    scan->at++;
    while (tl_scan_next(scan, '}', &first, &done)) {
        const char *name;
        size_t length;
        if (done) return tl_scan_fail(scan, expected);
        if (!tl_scan_string(scan, &name, &length)) return false;
        bool found = length == strlen(field) && memcmp(name, field, length) == 0;
        if (!tl_scan_expect(scan, ':')) return false;
        if (found) return true;
        if (!tl_scan_skip(scan)) return false;
    }
    return false;
}

/* What is left of the object after the field. */
static bool finish_object(tl_scan *scan) {
    bool first = false, done = false;
    while (tl_scan_next(scan, '}', &first, &done) && !done) {
        const char *name;
        size_t length;
        if (!tl_scan_string(scan, &name, &length) || !tl_scan_expect(scan, ':') ||
            !tl_scan_skip(scan))
            return false;
    }
    return done && (!tl_scan_peek(scan) || tl_scan_fail(scan, "the end of the line"));
}

static bool read_text(tokenize *t, tl_scan *scan) {
    const char *text;
    size_t length;
    if (!find_field(scan, "text", "{\"text\": …}") || !tl_scan_string(scan, &text, &length))
        return false;
    tl_buffer_clear(&t->text);
    tl_buffer_append(&t->text, text, length);
    return finish_object(scan);
}

static bool read_ids(tokenize *t, tl_scan *scan) {
    if (!find_field(scan, "ids", "{\"ids\": […]}") || !tl_scan_expect(scan, '[')) return false;
    bool first = true, done = false;
    while (tl_scan_next(scan, ']', &first, &done) && !done) {
        int64_t id;
        if (!tl_scan_int(scan, &id)) return false;
        if (id < 0 || id > INT32_MAX) return tl_scan_fail(scan, "ids of 0 or more");
        int32_t narrow = (int32_t)id;
        if (!tl_ids_append(&t->ids, &narrow, 1, scan->error)) return false;
    }
    return done && finish_object(scan);
}

static void append_ids(tl_buffer *out, const tl_ids *ids) {
    tl_buffer_append_byte(out, '[');
    for (size_t i = 0; i < ids->count; i++)
        tl_buffer_append_format(out, "%s%d", i ? "," : "", ids->data[i]);
    tl_buffer_append_byte(out, ']');
}

/* One line of JSON in, one out. */
static bool answer_json(tokenize *t, tl_scan *scan, tl_error *error) {
    if (!t->decode) {
        if (!read_text(t, scan) ||
            !tl_tokenizer_encode(t->tokenizer, tl_buffer_string(&t->text), t->text.length,
                                 !t->no_special, &t->ids, error))
            return false;
        tl_buffer_append_string(&t->output, "{\"ids\":");
        append_ids(&t->output, &t->ids);
        tl_buffer_append_string(&t->output, "}\n");
        return true;
    }
    tl_buffer_clear(&t->text);
    if (!read_ids(t, scan) || !tl_tokenizer_decode(t->tokenizer, t->ids.data, t->ids.count,
                                                   t->skip_special, &t->text, error))
        return false;
    tl_buffer_append_string(&t->output, "{\"text\":");
    tl_json_append_string(&t->output, tl_buffer_string(&t->text), t->text.length);
    tl_buffer_append_string(&t->output, "}\n");
    return true;
}

static bool flush_output(tokenize *t, tl_error *error) {
    if (t->output.failed) return tl_fail_memory(error, t->output.length, "the output");
    if (fwrite(tl_buffer_string(&t->output), 1, t->output.length, stdout) != t->output.length)
        return tl_fail_errno(error, "standard output: cannot write");
    tl_buffer_clear(&t->output);
    return true;
}

/* A text's ids: as lines of id and token, or as JSON. */
static bool answer_text(tokenize *t, const char *text, size_t length, tl_error *error) {
    if (!tl_tokenizer_encode(t->tokenizer, text, length, !t->no_special, &t->ids, error))
        return false;
    if (t->json) {
        tl_buffer_append_string(&t->output, "{\"ids\":");
        append_ids(&t->output, &t->ids);
        tl_buffer_append_string(&t->output, ",\"tokens\":[");
    }
    for (size_t i = 0; i < t->ids.count; i++) {
        const char *token = tl_tokenizer_token(t->tokenizer, t->ids.data[i]);
        if (t->json && i > 0) tl_buffer_append_byte(&t->output, ',');
        if (!t->json) tl_buffer_append_format(&t->output, "%8d  ", t->ids.data[i]);
        tl_json_append_string(&t->output, token ? token : "", token ? strlen(token) : 0);
        if (!t->json) tl_buffer_append_byte(&t->output, '\n');
    }
    if (t->json) tl_buffer_append_string(&t->output, "]}\n");
    return flush_output(t, error);
}

/* Ids written as "1,2,3" or "1 2 3". */
static int decode_operand(tokenize *t, const char *text) {
    for (const char *at = text; *at;) {
        char *end;
        errno = 0;
        long id = strtol(at, &end, 10);
        if (end == at || errno || id < 0 || id > INT32_MAX)
            return cli_usage(t->command, "'%s': expected ids such as 1,2,3", text);
        int32_t narrow = (int32_t)id;
        tl_error error = {0};
        if (!tl_ids_append(&t->ids, &narrow, 1, &error)) return cli_fail(t->command, &error);
        at = end + strspn(end, ", []");
    }
    return 0;
}

static int answer_operands(tokenize *t, int count, char **operands) {
    tl_error error = {0};
    for (int i = 0; t->decode && i < count; i++) {
        int status = decode_operand(t, operands[i]);
        if (status) return status;
    }
    if (t->decode) {
        if (!tl_tokenizer_decode(t->tokenizer, t->ids.data, t->ids.count, t->skip_special,
                                 &t->output, &error))
            return cli_fail(t->command, &error);
        tl_buffer_append_byte(&t->output, '\n');
        return flush_output(t, &error) ? 0 : cli_fail(t->command, &error);
    }
    for (int i = 0; i < count; i++) {
        t->ids.count = 0;
        if (!answer_text(t, operands[i], strlen(operands[i]), &error))
            return cli_fail(t->command, &error);
    }
    return 0;
}

/* Every line of standard input, split at "\n" only. */
static int answer_lines(tokenize *t) {
    char *line = NULL;
    size_t capacity = 0, number = 0;
    ssize_t length;
    struct stat status;
    bool file = fstat(STDIN_FILENO, &status) == 0 && S_ISREG(status.st_mode);
    bool good = true;
    tl_error error = {0};
    while (good && (length = getline(&line, &capacity, stdin)) >= 0) {
        number++;
        if (length > 0 && line[length - 1] == '\n') length--;
        t->ids.count = 0;
        if (t->jsonl || t->decode) {
            tl_scan scan = {line, line, line + length, "", &error, {0}};
            good = answer_json(t, &scan, &error) && flush_output(t, &error);
            tl_scan_free(&scan);
        } else {
            good = answer_text(t, line, (size_t)length, &error);
        }
        if (!file) fflush(stdout); /* whoever waits at the other end gets each answer at once */
    }
    free(line);
    if (good && ferror(stdin)) good = tl_fail_errno(&error, "standard input: cannot read");
    if (good) return 0;
    /* The scanner counts lines within its text: one here. */
    const char *message =
        strncmp(error.message, ":1: ", 4) == 0 ? error.message + 4 : error.message;
    tl_error located = {0};
    tl_fail(&located, error.code, "line %zu of standard input: %s", number, message);
    return cli_fail(t->command, &located);
}

static int run(const cli_command *command, int argc, char **argv) {
    tokenize t = {.command = command};
    const cli_option table[] = {
        {"model", 'm', CLI_STRING, &t.model, "MODEL", "directory or hub id (required)"},
        {"jsonl", 0, CLI_FLAG, &t.jsonl, NULL, "lines {\"text\":…} on stdin, {\"ids\":[…]} out"},
        {"decode", 'd', CLI_FLAG, &t.decode, NULL,
         "ids to text: lines {\"ids\":[…]} on stdin, {\"text\":…} out; or IDS as arguments"},
        {"no-special", 0, CLI_FLAG, &t.no_special, NULL, "leave out BOS, EOS that are added"},
        {"skip-special", 0, CLI_FLAG, &t.skip_special, NULL, "decode without special tokens"},
        {"json", 0, CLI_FLAG, &t.json, NULL, "{\"ids\":[…],\"tokens\":[…]} for TEXT"},
        {0},
    };
    int operands, status;
    if (!cli_parse(command, table, argc, argv, &operands, &status)) return status;
    if (!t.model) return cli_usage(command, "-m MODEL is missing");
    if (operands && t.jsonl)
        return cli_usage(command, "--jsonl reads standard input: no TEXT is expected");
    tl_error error = {0};
    char directory[4096];
    if (!tl_hub_tokenizer_directory(t.model, directory, sizeof directory, &error))
        return cli_fail(command, &error);
    t.tokenizer = tl_tokenizer_open(directory, &error);
    if (!t.tokenizer) return cli_fail(command, &error);
    status = operands ? answer_operands(&t, operands, argv) : answer_lines(&t);
    tl_tokenizer_free(t.tokenizer);
    tl_ids_free(&t.ids);
    tl_buffer_free(&t.text);
    tl_buffer_free(&t.output);
    return status;
}

const cli_command cmd_tokenize = {
    .name = "tokenize",
    .summary = "text to token ids and back",
    .usage = "-m MODEL [options] [TEXT …]",
    .examples = "  tinyllm tokenize -m gpt2 'Hello world'\n"
                "  tinyllm tokenize -m gpt2 --jsonl < lines.jsonl\n"
                "  tinyllm tokenize -m gpt2 --decode 15496,995\n"
                "  tinyllm tokenize -m gpt2 --decode --skip-special < ids.jsonl\n",
    .run = run,
};
