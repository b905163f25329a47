/* Options: parsed and explained from one table. */
#include "cli/cli.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int cli_fail(const cli_command *command, const tl_error *error) {
    fprintf(stderr, "tinyllm %s: %s\n", command->name, error->message);
    if (error->code == TL_ERROR_USAGE) return 2;
    return error->code == TL_ERROR_INTERRUPTED ? 130 : 1;
}

int cli_usage(const cli_command *command, const char *format, ...) {
    fprintf(stderr, "tinyllm %s: ", command->name);
    va_list arguments;
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fprintf(stderr, " (see tinyllm %s --help)\n", command->name);
    return 2;
}

void cli_list_free(cli_list *list) {
    for (int i = 0; i < list->count; i++)
        free(list->items[i]);
    free(list->items);
    *list = (cli_list){0};
}

static void print_help(const cli_command *command, const cli_option *table) {
    printf("tinyllm %s: %s\n\nUsage: tinyllm %s %s\n\nOptions:\n", command->name, command->summary,
           command->name, command->usage);
    for (const cli_option *option = table; option->name; option++) {
        char left[64];
        char letter[8] = "    ";
        if (option->letter) snprintf(letter, sizeof letter, "-%c, ", option->letter);
        snprintf(left, sizeof left, "%s--%s%s%s", letter, option->name, option->argument ? " " : "",
                 option->argument ? option->argument : "");
        printf("  %-30s %s\n", left, option->help);
    }
    printf("  %-30s %s\n", "-h, --help", "this text");
    if (command->examples) printf("\nExamples:\n%s", command->examples);
}

static const cli_option *find_long(const cli_option *table, const char *name, size_t length) {
    for (; table->name; table++)
        if (strlen(table->name) == length && memcmp(table->name, name, length) == 0) return table;
    return NULL;
}

static const cli_option *find_letter(const cli_option *table, char letter) {
    for (; table->name; table++)
        if (table->letter == letter) return table;
    return NULL;
}

static bool list_add(cli_list *list, const char *text, size_t length) {
    char **items = realloc(list->items, ((size_t)list->count + 1) * sizeof *items);
    if (!items) return false;
    list->items = items;
    items[list->count] = strndup(text, length);
    return items[list->count] && ++list->count;
}

static bool list_split(cli_list *list, const char *text) {
    while (*text) {
        size_t length = strcspn(text, ",");
        if (length && !list_add(list, text, length)) return false;
        text += length + (text[length] == ',');
    }
    return true;
}

static bool assign_int(const cli_command *command, const cli_option *option, const char *value) {
    char *end;
    errno = 0;
    long long number = strtoll(value, &end, 10);
    if (*value && !*end && errno == 0 && number >= option->lowest && number <= option->highest) {
        *(int64_t *)option->target = number;
        return true;
    }
    if (option->highest == INT64_MAX)
        cli_usage(command, "--%s %s: expected an integer, at least %lld", option->name, value,
                  (long long)option->lowest);
    else
        cli_usage(command, "--%s %s: expected an integer from %lld to %lld", option->name, value,
                  (long long)option->lowest, (long long)option->highest);
    return false;
}

static bool assign(const cli_command *command, const cli_option *option, const char *value) {
    switch (option->kind) {
    case CLI_FLAG:
        *(bool *)option->target = true;
        return true;
    case CLI_STRING:
        *(const char **)option->target = value;
        return true;
    case CLI_INT:
        return assign_int(command, option, value);
    case CLI_DOUBLE: {
        char *end;
        double number = strtod(value, &end);
        if (*value && !*end && number == number) {
            *(double *)option->target = number;
            return true;
        }
        cli_usage(command, "--%s %s: expected a number", option->name, value);
        return false;
    }
    case CLI_LIST:
        if (list_split(option->target, value)) return true;
        cli_usage(command, "--%s: out of memory", option->name);
        return false;
    }
    return false;
}

typedef struct parse {
    const cli_command *command;
    const cli_option *table;
    int argc;
    char **argv;
    int at; /* the argument being read */
} parse;

static bool parse_value(parse *p, const cli_option *option, const char *attached) {
    if (option->kind == CLI_FLAG && !attached) return assign(p->command, option, NULL);
    if (option->kind == CLI_FLAG) {
        cli_usage(p->command, "--%s takes no argument", option->name);
        return false;
    }
    if (!attached && p->at + 1 >= p->argc) {
        cli_usage(p->command, "--%s needs an argument: %s", option->name, option->argument);
        return false;
    }
    return assign(p->command, option, attached ? attached : p->argv[++p->at]);
}

static bool unknown_long(const parse *p, const char *text, size_t length) {
    cli_guess guess = {.word = text, .length = length};
    for (const cli_option *option = p->table; option->name; option++)
        cli_guess_try(&guess, option->name);
    if (guess.name)
        cli_usage(p->command, "unknown option --%.*s; did you mean --%s?", (int)length, text,
                  guess.name);
    else
        cli_usage(p->command, "unknown option --%.*s", (int)length, text);
    return false;
}

/* Meant is perhaps one that begins with the letter. */
static bool unknown_letter(const parse *p, char letter) {
    tl_buffer meant = {0};
    for (const cli_option *option = p->table; option->name; option++)
        if (option->name[0] == letter)
            tl_buffer_append_format(&meant, "%s --%s", meant.length ? "," : "", option->name);
    if (meant.length)
        cli_usage(p->command, "unknown option -%c; did you mean%s?", letter,
                  tl_buffer_string(&meant));
    else
        cli_usage(p->command, "unknown option -%c", letter);
    tl_buffer_free(&meant);
    return false;
}

static bool parse_long(parse *p, const char *text) {
    size_t length = strcspn(text, "=");
    const cli_option *option = find_long(p->table, text, length);
    if (!option) return unknown_long(p, text, length);
    return parse_value(p, option, text[length] ? text + length + 1 : NULL);
}

static bool parse_letters(parse *p, const char *letters) {
    for (; *letters; letters++) {
        const cli_option *option = find_letter(p->table, *letters);
        if (!option) return unknown_letter(p, *letters);
        if (option->kind == CLI_FLAG) {
            assign(p->command, option, NULL);
            continue;
        }
        return parse_value(p, option, letters[1] ? letters + 1 : NULL);
    }
    return true;
}

bool cli_parse(const cli_command *command, const cli_option *table, int argc, char **argv,
               int *operands, int *status) {
    parse p = {command, table, argc, argv, 0};
    int kept = 0;
    bool options_end = false;
    *status = 2;
    for (; p.at < argc; p.at++) {
        char *text = argv[p.at];
        bool plain = options_end || text[0] != '-' || text[1] == 0;
        if (plain) {
            argv[kept++] = text;
        } else if (strcmp(text, "--") == 0) {
            options_end = true;
        } else if (strcmp(text, "--help") == 0 || strcmp(text, "-h") == 0) {
            print_help(command, table);
            *status = 0;
            return false;
        } else if (text[1] == '-' ? !parse_long(&p, text + 2) : !parse_letters(&p, text + 1)) {
            return false;
        }
    }
    *operands = kept;
    *status = 0;
    return true;
}
