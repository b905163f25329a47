/* Task files: read, checked, and where their rows are. */
#include "task/task.h"

#include "hub/hub.h"
#include "task/method.h"
#include "task/yaml.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_BYTES = 1 << 20, MOST_PATH = 4096 };

/* ---- the task file ---- */

#define METHOD_KEYS                                                                                \
    "dataset", "split", "let", "add", "question", "choices", "gold", "prompt", "option",           \
        "context", "contexts", "continuation", "delimiter", "metrics", "shots", "version"
static const char *const method_keys[] = {METHOD_KEYS, NULL};
static const char *const task_keys[] = {"name",  "title",  "filters",       METHOD_KEYS,
                                        "study", "letter", "loglikelihood", NULL};
static const char *const dataset_keys[] = {"hub", "config", "revision", "files", NULL};
static const char *const shots_keys[] = {"split", "drop_same", NULL};

/* The mappings in which a protocol's keys are looked for: its own section, then the whole file. */
typedef struct sources {
    tl_task *task;
    const tl_yaml *own, *file;
    tl_error *error;
} sources;

static const tl_yaml *look_up(const sources *s, const char *key) {
    const tl_yaml *node = tl_yaml_get(s->own, key);
    return node ? node : tl_yaml_get(s->file, key);
}

static bool expect(const sources *s, const tl_yaml *node, const char *key, const char *what) {
    return tl_fail(s->error, TL_ERROR_FORMAT, "%s:%d: '%s': expected %s", s->task->path, node->line,
                   key, what);
}

static bool parse_template(const sources *s, const tl_yaml *node, const char *key,
                           const tl_template **out) {
    if (node->kind != TL_YAML_TEXT) return expect(s, node, key, "text");
    *out = tl_template_parse(s->task->templates, node->text, s->error);
    return *out || tl_fail_within(s->error, "%s:%d: '%s'", s->task->path, node->line, key);
}

static bool get_template(const sources *s, const char *key, const tl_template **out) {
    const tl_yaml *node = look_up(s, key);
    return !node || parse_template(s, node, key, out);
}

static bool get_templates(const sources *s, const char *key, tl_template_list *out) {
    const tl_yaml *node = look_up(s, key);
    if (!node) return true;
    if (node->kind == TL_YAML_TEXT) {
        out->count = 1;
        out->single = true;
        return parse_template(s, node, key, &out->items[0]);
    }
    if (node->kind != TL_YAML_LIST || node->count == 0 || node->count > TL_TASK_CHOICES)
        return expect(s, node, key, "text, or a list of 1 to 64 texts");
    for (; out->count < node->count; out->count++)
        if (!parse_template(s, &node->items[out->count], key, &out->items[out->count]))
            return false;
    return true;
}

static bool get_named(const sources *s, const char *key, tl_named_templates *out) {
    const tl_yaml *node = look_up(s, key);
    if (!node) return true;
    if (node->kind != TL_YAML_MAPPING || node->count > TL_TASK_NAMES)
        return expect(s, node, key, "a mapping of at most 16 names to texts");
    for (; out->count < node->count; out->count++) {
        out->names[out->count] = node->keys[out->count];
        if (!parse_template(s, &node->items[out->count], key, &out->items[out->count]))
            return false;
    }
    return true;
}

static bool get_text(const sources *s, const char *key, const char **out) {
    return tl_yaml_get_text(s->file, key, out, s->task->path, s->error) &&
           tl_yaml_get_text(s->own, key, out, s->task->path, s->error);
}

static bool read_files(const sources *s, const tl_yaml *files, tl_method *m) {
    if (files->kind != TL_YAML_MAPPING || files->count > TL_TASK_NAMES)
        return expect(s, files, "files", "a mapping of splits to files");
    for (int i = 0; i < files->count; i++) {
        if (files->items[i].kind != TL_YAML_TEXT)
            return expect(s, &files->items[i], files->keys[i], "the path of a file");
        m->file_splits[m->n_files] = files->keys[i];
        m->files[m->n_files++] = files->items[i].text;
    }
    return true;
}

static bool read_dataset(const sources *s, tl_method *m) {
    const tl_yaml *node = look_up(s, "dataset");
    const char *path = s->task->path;
    if (!node) return true;
    if (!tl_yaml_check_keys(node, dataset_keys, path, s->error) ||
        !tl_yaml_get_text(node, "hub", &m->source.dataset, path, s->error) ||
        !tl_yaml_get_text(node, "config", &m->source.config, path, s->error) ||
        !tl_yaml_get_text(node, "revision", &m->source.revision, path, s->error))
        return false;
    const tl_yaml *files = tl_yaml_get(node, "files");
    return !files || read_files(s, files, m);
}

static bool is_true(const char *text) {
    return strcmp(text, "true") == 0 || strcmp(text, "yes") == 0;
}

static bool read_shots(const sources *s, tl_method *m) {
    const tl_yaml *node = look_up(s, "shots");
    const char *drop = NULL, *path = s->task->path;
    if (!node) return true;
    if (!tl_yaml_check_keys(node, shots_keys, path, s->error) ||
        !tl_yaml_get_text(node, "split", &m->shots_split, path, s->error) ||
        !tl_yaml_get_text(node, "drop_same", &drop, path, s->error))
        return false;
    m->shots_drop_same = drop && is_true(drop);
    return true;
}

static bool read_metrics(const sources *s, tl_method *m) {
    static const char *const known[] = {"acc", "acc_norm"};
    const tl_yaml *node = look_up(s, "metrics");
    m->norm = !node;
    if (!node) return true;
    if (node->kind != TL_YAML_LIST) return expect(s, node, "metrics", "a list of acc, acc_norm");
    for (int i = 0; i < node->count; i++) {
        const tl_yaml *item = &node->items[i];
        if (item->kind != TL_YAML_TEXT ||
            (strcmp(item->text, known[0]) != 0 && strcmp(item->text, known[1]) != 0))
            return expect(s, item, "metrics", "acc or acc_norm");
        m->norm |= strcmp(item->text, known[1]) == 0;
    }
    return true;
}

static bool need(const sources *s, bool there, const char *protocol, const char *key) {
    return there || tl_fail(s->error, TL_ERROR_FORMAT,
                            "%s: '%s' is missing (protocol %s); docs/tasks.md has the format",
                            s->task->path, key, protocol);
}

/* What the protocols have in common with the published study, so that a task file need not say it.
 */
static bool fill_defaults(const sources *s, tl_protocol protocol, tl_method *m) {
    static const char prompt[] =
        "Answer the following multiple choice question by giving the most appropriate response. "
        "Answer should be one among [{$letters}].\n\n{$question}\n{$options}\n\nAnswer:";
    tl_templates *templates = s->task->templates;
    const char *name = tl_protocol_name(protocol);
    bool letters = protocol != TL_PROTOCOL_LOGLIKELIHOOD;
    bool needs_question = letters ? !m->prompt : !m->context && !m->contexts.count;
    if (!need(s, m->split, name, "split") || !need(s, m->choices.count, name, "choices") ||
        !need(s, m->gold, name, "gold") ||
        !need(s, m->question || !needs_question, name, "question"))
        return false;
    if (!m->prompt && !(m->prompt = tl_template_parse(templates, prompt, s->error))) return false;
    if (!m->option.count) {
        m->option = (tl_template_list){.count = 1, .single = true};
        m->option.items[0] = tl_template_parse(templates, "{$letter}) {$choice}", s->error);
        if (!m->option.items[0]) return false;
    }
    if (!m->context) m->context = tl_template_parse(templates, "{$question}\nAnswer:", s->error);
    if (!m->context) return false;
    if (m->contexts.count && (!m->continuation || m->contexts.single))
        return tl_fail(s->error, TL_ERROR_FORMAT,
                       "%s: 'contexts' is a list, one for each choice, and needs 'continuation'",
                       s->task->path);
    return true;
}

static bool read_method(const sources *s, tl_protocol protocol, tl_method *m) {
    m->delimiter = " ";
    return read_dataset(s, m) && get_text(s, "split", &m->split) && get_named(s, "let", &m->let) &&
           get_named(s, "add", &m->add) && get_template(s, "question", &m->question) &&
           get_template(s, "prompt", &m->prompt) && get_template(s, "gold", &m->gold) &&
           get_templates(s, "choices", &m->choices) && get_templates(s, "option", &m->option) &&
           get_template(s, "context", &m->context) &&
           get_template(s, "continuation", &m->continuation) &&
           get_templates(s, "contexts", &m->contexts) && get_text(s, "delimiter", &m->delimiter) &&
           get_text(s, "version", &m->version) && read_metrics(s, m) && read_shots(s, m) &&
           fill_defaults(s, protocol, m);
}

static bool read_filters(tl_task *task, const tl_yaml *filters, tl_error *error) {
    const sources s = {task, NULL, NULL, error};
    if (!filters) return true;
    if (filters->kind != TL_YAML_MAPPING)
        return expect(&s, filters, "filters", "a mapping of names to pipelines");
    for (int i = 0; i < filters->count; i++) {
        const tl_yaml *item = &filters->items[i];
        if (item->kind != TL_YAML_TEXT) return expect(&s, item, filters->keys[i], "text");
        if (!tl_templates_add_filter(task->templates, filters->keys[i], item->text, error))
            return tl_fail_within(error, "%s:%d: '%s'", task->path, item->line, filters->keys[i]);
    }
    return true;
}

/* Letters, digits, '_', '-' and '.', not first: it becomes part of file names. */
static bool is_task_name(const char *name) {
    static const char allowed[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.";
    size_t length = strlen(name);
    return length > 0 && length < 128 && *name != '.' && strspn(name, allowed) == length;
}

/* The harness's task files look alike, but their templates are Jinja and their functions Python. */
static bool is_foreign(const tl_yaml *file) {
    static const char *const keys[] = {"task", "group", "include", "output_type", "doc_to_text"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        if (tl_yaml_get(file, keys[i])) return !tl_yaml_get(file, "name");
    return false;
}

static bool read_task(tl_task *task, const tl_yaml *file, tl_error *error) {
    const char *path = task->path;
    if (is_foreign(file))
        return tl_fail(error, TL_ERROR_UNSUPPORTED,
                       "%s: a task of lm-evaluation-harness: expected this program's own keys "
                       "(name, dataset, split, question, choices, gold; see docs/tasks.md)",
                       path);
    if (!tl_yaml_check_keys(file, task_keys, path, error) ||
        !tl_yaml_get_text(file, "name", &task->name, path, error) ||
        !tl_yaml_get_text(file, "title", &task->title, path, error))
        return false;
    if (!task->name || !is_task_name(task->name))
        return tl_fail(error, TL_ERROR_FORMAT,
                       "%s: 'name': expected letters, digits, '_', '-' and '.'", path);
    if (!task->title) task->title = task->name;
    if (!read_filters(task, tl_yaml_get(file, "filters"), error)) return false;
    int defined = 0;
    for (int i = 0; i < TL_PROTOCOL_COUNT; i++) {
        const tl_yaml *own = tl_yaml_get(file, tl_protocol_name((tl_protocol)i));
        if (own && own->kind == TL_YAML_TEXT && strcmp(own->text, "none") == 0) continue;
        if (own && !tl_yaml_check_keys(own, method_keys, path, error)) return false;
        const sources s = {task, own, file, error};
        if (!read_method(&s, (tl_protocol)i, &task->methods[i])) return false;
        task->methods[i].defined = true;
        defined++;
    }
    return defined || tl_fail(error, TL_ERROR_FORMAT, "%s: every protocol is 'none'", path);
}

static tl_task *open_path(const char *path, tl_error *error) {
    tl_task *task = calloc(1, sizeof *task);
    if (!task) {
        tl_fail_memory(error, sizeof *task, "a task");
        return NULL;
    }
    task->path = strdup(path);
    task->arena = tl_arena_new();
    task->templates = tl_templates_new(error);
    size_t length;
    char *text = NULL;
    bool ok = task->path && task->arena && task->templates;
    if (!ok) tl_fail_memory(error, sizeof *task, "a task");
    ok = ok && (text = tl_file_read(path, MOST_BYTES, &length, error)) != NULL;
    if (ok) {
        const tl_yaml *file = tl_yaml_parse(text, length, path, task->arena, error);
        ok = tl_sha256(text, length, task->fingerprint) && file && read_task(task, file, error);
    }
    free(text);
    if (ok) return task;
    tl_task_free(task);
    return NULL;
}

static bool has_ending(const char *text, const char *ending) {
    size_t length = strlen(text), end = strlen(ending);
    return length > end && strcmp(text + length - end, ending) == 0;
}

tl_task *tl_task_open(const char *name_or_path, tl_error *error) {
    if (strchr(name_or_path, '/') || has_ending(name_or_path, ".yaml") ||
        has_ending(name_or_path, ".yml"))
        return open_path(name_or_path, error);
    static const char *const places[] = {"tasks", "demo/tasks"};
    char data[MOST_PATH], path[MOST_PATH + 256];
    if (!is_task_name(name_or_path)) {
        tl_fail(error, TL_ERROR_USAGE, "'%s' is not a task's name", name_or_path);
        return NULL;
    }
    if (!tl_data_dir(data, sizeof data, error)) return NULL;
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        snprintf(path, sizeof path, "%s/%s/%s.yaml", data, places[i], name_or_path);
        if (tl_file_exists(path)) return open_path(path, error);
    }
    tl_fail(error, TL_ERROR_USAGE,
            "unknown task '%s': tinyllm tasks lists those known; a file of your own is given by "
            "its path, ending in .yaml",
            name_or_path);
    return NULL;
}

void tl_task_free(tl_task *task) {
    if (!task) return;
    tl_templates_free(task->templates);
    tl_arena_free(task->arena);
    free(task->path);
    free(task);
}

const char *tl_task_name(const tl_task *task) {
    return task->name;
}

const char *tl_task_title(const tl_task *task) {
    return task->title;
}

const char *tl_task_path(const tl_task *task) {
    return task->path;
}

const char *tl_task_fingerprint(const tl_task *task) {
    return task->fingerprint;
}

int tl_task_n_choices(const tl_task *task) {
    const tl_template_list *choices = &task->methods[TL_PROTOCOL_STUDY].choices;
    return choices->single ? 0 : choices->count;
}

bool tl_task_has_protocol(const tl_task *task, tl_protocol protocol) {
    return task->methods[protocol].defined;
}

const tl_task_source *tl_task_dataset(const tl_task *task, tl_protocol protocol) {
    return &task->methods[protocol].source;
}

const char *tl_task_split(const tl_task *task, tl_protocol protocol) {
    return task->methods[protocol].split;
}

const char *tl_task_fewshot_split(const tl_task *task, tl_protocol protocol) {
    return task->methods[protocol].shots_split;
}

/* ---- where the rows are ---- */

static bool found(const char *path, char *out, size_t size) {
    return tl_file_exists(path) && snprintf(out, size, "%s", path) < (int)size;
}

static bool find_in(const char *directory, const char *task, const char *split, char *path,
                    size_t size) {
    static const char *const endings[] = {"jsonl", "json", "csv", "parquet"};
    char candidate[MOST_PATH];
    for (size_t i = 0; i < sizeof endings / sizeof *endings; i++) {
        int length = snprintf(candidate, sizeof candidate, "%s/%s/%s.%s", directory, task, split,
                              endings[i]);
        if (length < (int)sizeof candidate && found(candidate, path, size)) return true;
    }
    return false;
}

/* The file that the task file names for the split, beside the task file unless absolute. */
static const char *named_file(const tl_task *task, const tl_method *m, const char *split,
                              char *path, size_t size) {
    for (int i = 0; i < m->n_files; i++) {
        if (strcmp(m->file_splits[i], split) != 0) continue;
        int directory = (int)(tl_path_base(task->path) - task->path);
        snprintf(path, size, "%.*s%s", m->files[i][0] == '/' ? 0 : directory, task->path,
                 m->files[i]);
        return path;
    }
    return NULL;
}

static bool find_in_cache(const tl_task *task, const tl_task_source *source, const char *split,
                          char *path, size_t size, tl_error *error) {
    tl_error cause = {0};
    if (source->dataset && tl_hub_dataset_file(source->dataset, source->config, source->revision,
                                               split, path, size, &cause))
        return true;
    return tl_fail(error, TL_ERROR_IO,
                   "no rows for %s, split %s%s%s; get them with: tinyllm pull %s, or give them "
                   "with --data FILE or --data-dir DIR (DIR/%s/%s.jsonl)",
                   task->name, split, source->dataset ? ": " : "", cause.message, task->name,
                   task->name, split);
}

bool tl_task_find_rows(const tl_task *task, tl_protocol protocol, const char *split,
                       const char *data_dir, char *path, size_t size, tl_error *error) {
    const tl_method *m = &task->methods[protocol];
    char data[MOST_PATH];
    if (data_dir && find_in(data_dir, task->name, split, path, size)) return true;
    if (named_file(task, m, split, path, size))
        return tl_file_exists(path) ||
               tl_fail(error, TL_ERROR_IO, "%s: the file of split %s, named in %s, is not there",
                       path, split, task->path);
    if (tl_data_dir(data, sizeof data - 16, NULL)) {
        strcat(data, "/demo/data");
        if (find_in(data, task->name, split, path, size)) return true;
    }
    return find_in_cache(task, &m->source, split, path, size, error);
}
