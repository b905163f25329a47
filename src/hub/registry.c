/* The registry of known models (models/study.json), and the lists that -m understands. */
#include "hub/hub.h"

#include "hub/cache.h"

#include <dirent.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { REGISTRY_LIMIT = 1 << 20, MOST_MODELS = 10000 };

struct tl_registry {
    tl_arena *arena;
    tl_known_model *models;
    int count;
};

static bool read_string(tl_registry *registry, const cJSON *item, const char *field,
                        const char **value, const char *where, tl_error *error) {
    const char *text;
    if (!tl_json_string_or(item, field, NULL, &text, where, error)) return false;
    *value = NULL;
    if (!text) return true;
    *value = tl_arena_strdup(registry->arena, text, error);
    return *value != NULL;
}

static bool read_model(tl_registry *registry, const cJSON *item, tl_known_model *model,
                       const char *path, tl_error *error) {
    if (!read_string(registry, item, "id", &model->id, path, error)) return false;
    if (!model->id)
        return tl_fail(error, TL_ERROR_FORMAT, "%s: a model without field 'id': expected a string",
                       path);
    char where[PATH_MAX];
    if (!tl_put_path(where, sizeof where, error, "%s: %s", path, model->id)) return false;
    const struct {
        const char *field;
        const char **value;
    } strings[] = {
        {"family", &model->family},
        {"parameters_label", &model->parameters_label},
        {"affiliation", &model->affiliation},
        {"release", &model->release},
        {"dtype", &model->dtype},
    };
    for (size_t i = 0; i < sizeof strings / sizeof *strings; i++)
        if (!read_string(registry, item, strings[i].field, strings[i].value, where, error))
            return false;
    return tl_json_int(item, "parameters", 1, INT64_MAX / 2, &model->parameters, where, error);
}

static bool read_models(tl_registry *registry, const cJSON *document, const char *path,
                        tl_error *error) {
    const cJSON *list = tl_json_get(document, "models");
    int count = cJSON_GetArraySize(list);
    if (!cJSON_IsArray(list) || count == 0 || count > MOST_MODELS)
        return tl_fail(error, TL_ERROR_FORMAT,
                       "%s: field 'models': expected a list of 1 to %d models", path, MOST_MODELS);
    registry->models =
        tl_arena_alloc(registry->arena, (size_t)count, sizeof(tl_known_model), "models", error);
    if (!registry->models) return false;
    const cJSON *item;
    cJSON_ArrayForEach(item, list) {
        if (!read_model(registry, item, &registry->models[registry->count], path, error))
            return false;
        registry->count++;
    }
    return true;
}

tl_registry *tl_registry_open(tl_error *error) {
    char directory[PATH_MAX], path[PATH_MAX];
    if (!tl_data_dir(directory, sizeof directory, error) ||
        !tl_put_path(path, sizeof path, error, "%s/models/study.json", directory))
        return NULL;
    cJSON *document = tl_json_read(path, REGISTRY_LIMIT, error);
    if (!document) return NULL;
    tl_registry *registry = calloc(1, sizeof *registry);
    if (registry) registry->arena = tl_arena_new();
    bool good = registry && registry->arena;
    if (!good)
        tl_fail_memory(error, sizeof *registry, "the registry");
    else
        good = read_models(registry, document, path, error);
    cJSON_Delete(document);
    if (good) return registry;
    tl_registry_free(registry);
    return NULL;
}

void tl_registry_free(tl_registry *registry) {
    if (!registry) return;
    tl_arena_free(registry->arena);
    free(registry);
}

int tl_registry_count(const tl_registry *registry) {
    return registry->count;
}

const tl_known_model *tl_registry_at(const tl_registry *registry, int index) {
    return &registry->models[index];
}

const tl_known_model *tl_registry_find(const tl_registry *registry, const char *name) {
    for (int i = 0; i < registry->count; i++) {
        const tl_known_model *model = &registry->models[i];
        if (strcmp(model->id, name) == 0 || strcasecmp(tl_path_base(model->id), name) == 0)
            return model;
    }
    return NULL;
}

/* ---- lists
 * ------------------------------------------------------------------------------------------- */

typedef struct expansion {
    char ***items;
    int *count;
    tl_error *error;
} expansion;

static bool append(expansion *to, const char *text) {
    char **items = realloc(*to->items, ((size_t)*to->count + 1) * sizeof *items);
    if (items) *to->items = items;
    char *copy = items ? strdup(text) : NULL;
    if (!copy) return tl_fail_memory(to->error, strlen(text), "the list of models");
    items[(*to->count)++] = copy;
    return true;
}

static bool expand_study(expansion *to) {
    tl_registry *registry = tl_registry_open(to->error);
    bool good = registry != NULL;
    for (int i = 0; good && i < tl_registry_count(registry); i++)
        good = append(to, tl_registry_at(registry, i)->id);
    tl_registry_free(registry);
    return good;
}

static int is_visible(const struct dirent *entry) {
    return entry->d_name[0] != '.';
}

static bool expand_demo(expansion *to) {
    char data[PATH_MAX], models[PATH_MAX], path[PATH_MAX];
    if (!tl_data_dir(data, sizeof data, to->error) ||
        !tl_put_path(models, sizeof models, to->error, "%s/demo/models", data))
        return false;
    struct dirent **entries;
    int found = scandir(models, &entries, is_visible, versionsort);
    if (found < 0) return tl_fail_errno(to->error, "%s: cannot list the demo's models", models);
    bool good = true;
    int before = *to->count;
    for (int i = 0; i < found; i++) {
        good =
            good && tl_put_path(path, sizeof path, to->error, "%s/%s", models, entries[i]->d_name);
        if (good && tl_dir_exists(path)) good = append(to, path);
        free(entries[i]);
    }
    free(entries);
    if (good && *to->count == before)
        return tl_fail(to->error, TL_ERROR_IO, "%s: no models there", models);
    return good;
}

static const struct {
    const char *name;
    bool (*expand)(expansion *to);
} lists[] = {
    {"@study", expand_study},
    {"@demo", expand_demo},
};

/* "smollm-135m" → "HuggingFaceTB/SmolLM-135M", its @revision kept. Anything with a slash, that is
 * a path, or that the registry does not know stays as it is. */
static bool expand_name(expansion *to, const char *name) {
    char base[256];
    size_t length = strcspn(name, "@");
    if (strchr(name, '/') || length >= sizeof base || tl_dir_exists(name) || tl_file_exists(name))
        return append(to, name);
    snprintf(base, sizeof base, "%.*s", (int)length, name);
    tl_registry *registry = tl_registry_open(NULL);
    const tl_known_model *known = registry ? tl_registry_find(registry, base) : NULL;
    tl_buffer full = {0};
    tl_buffer_append_format(&full, "%s%s", known ? known->id : base, name + length);
    tl_registry_free(registry);
    bool good = append(to, tl_buffer_string(&full));
    tl_buffer_free(&full);
    return good;
}

bool tl_hub_expand(const char *argument, char ***items, int *count, tl_error *error) {
    expansion to = {items, count, error};
    if (argument[0] != '@') return expand_name(&to, argument);
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++)
        if (strcmp(lists[i].name, argument) == 0) return lists[i].expand(&to);
    return tl_fail(error, TL_ERROR_USAGE, "%s: no such list of models: expected @study or @demo",
                   argument);
}
