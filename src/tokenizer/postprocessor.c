#include "tokenizer/postprocessor.h"

#include "tokenizer/components.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LIMIT = 64 };

static bool template_add(tl_postprocessor *template, int32_t item, const char *where,
                         tl_error *error) {
    if (template->count == LIMIT)
        return tl_fail(error, TL_ERROR_LIMIT, "%s: a template of more than %d tokens", where,
                       LIMIT);
    int32_t *items = realloc(template->items, ((size_t) template->count + 1) * sizeof *items);
    if (!items) return tl_fail_memory(error, sizeof *items, "a template");
    template->items = items;
    items[template->count++] = item;
    return true;
}

static tl_postprocessor *append(tl_postprocessors *list, const char *where, tl_error *error) {
    if (list->count == LIMIT) {
        tl_fail(error, TL_ERROR_LIMIT, "%s: more than %d post-processors", where, LIMIT);
        return NULL;
    }
    tl_postprocessor *items = realloc(list->items, ((size_t)list->count + 1) * sizeof *items);
    if (!items) {
        tl_fail_memory(error, sizeof *items, "post-processors");
        return NULL;
    }
    list->items = items;
    items[list->count] = (tl_postprocessor){0};
    return &items[list->count++];
}

static bool add_id(tl_postprocessor *template, const cJSON *id, int32_t size, const char *where,
                   tl_error *error) {
    if (!cJSON_IsNumber(id) || id->valuedouble < 0 || id->valuedouble >= size ||
        id->valuedouble != id->valueint)
        return tl_fail(error, TL_ERROR_FORMAT, "%s: expected token ids within 0 to %d", where,
                       size - 1);
    return template_add(template, id->valueint, where, error);
}

/* {"SpecialToken": {"id": "<s>"}}: the ids that "special_tokens" gives it. */
static bool add_special(tl_postprocessor *template, const cJSON *json, const cJSON *special,
                        int32_t size, const char *where, tl_error *error) {
    const char *name;
    if (!tl_json_string_or(special, "id", "", &name, where, error)) return false;
    const cJSON *ids = tl_json_get(tl_json_get(tl_json_get(json, "special_tokens"), name), "ids");
    if (!cJSON_IsArray(ids))
        return tl_fail(error, TL_ERROR_FORMAT, "%s: special_tokens has no ids for '%.80s'", where,
                       name);
    const cJSON *id;
    cJSON_ArrayForEach(id, ids) if (!add_id(template, id, size, where, error)) return false;
    return true;
}

static bool read_template(tl_postprocessor *template, const cJSON *json, int32_t size,
                          const char *where, tl_error *error) {
    const cJSON *single = tl_json_get(json, "single"), *item;
    if (!cJSON_IsArray(single))
        return tl_fail(error, TL_ERROR_FORMAT, "%s: field 'single': expected a list", where);
    cJSON_ArrayForEach(item, single) {
        const cJSON *special = tl_json_get(item, "SpecialToken");
        const cJSON *sequence = tl_json_get(item, "Sequence");
        const char *name = cJSON_GetStringValue(tl_json_get(sequence, "id"));
        if (special) {
            if (!add_special(template, json, special, size, where, error)) return false;
        } else if (name && strcmp(name, "A") == 0) {
            if (!template_add(template, TL_TEMPLATE_SEQUENCE, where, error)) return false;
        } else {
            return tl_fail(error, TL_ERROR_UNSUPPORTED,
                           "%s: field 'single': expected SpecialToken or Sequence A", where);
        }
    }
    return true;
}

/* BertProcessing, RobertaProcessing: cls, the text, sep; each as ["text", id]. */
static bool read_bert(tl_postprocessor *template, const cJSON *json, int32_t size,
                      const char *where, tl_error *error) {
    return add_id(template, cJSON_GetArrayItem(tl_json_get(json, "cls"), 1), size, where, error) &&
           template_add(template, TL_TEMPLATE_SEQUENCE, where, error) &&
           add_id(template, cJSON_GetArrayItem(tl_json_get(json, "sep"), 1), size, where, error);
}

/* The post-processors this build knows; ByteLevel only moves offsets, which are not kept here. */
static const struct {
    const char *type;
    bool (*read)(tl_postprocessor *template, const cJSON *json, int32_t size, const char *where,
                 tl_error *error);
} kinds[] = {
    {"TemplateProcessing", read_template},
    {"BertProcessing", read_bert},
    {"RobertaProcessing", read_bert},
    {"ByteLevel", NULL},
};

typedef struct target {
    tl_postprocessors *list;
    int32_t size; /* of the vocabulary */
} target;

static bool read_kind(void *context, const char *type, const cJSON *json, const char *where,
                      tl_error *error) {
    const target *t = context;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        if (strcmp(kinds[i].type, type) != 0) continue;
        if (!kinds[i].read) return true;
        tl_postprocessor *template = append(t->list, where, error);
        return template && kinds[i].read(template, json, t->size, where, error);
    }
    return tl_component_unknown(type, where, error);
}

bool tl_postprocessors_read(tl_postprocessors *list, const cJSON *json, int32_t size,
                            const char *where, tl_error *error) {
    return tl_component_read(json, "processors", read_kind, &(target){list, size}, where, error);
}

void tl_postprocessors_free(tl_postprocessors *list) {
    for (int i = 0; i < list->count; i++)
        free(list->items[i].items);
    free(list->items);
    *list = (tl_postprocessors){0};
}

bool tl_postprocessors_add(tl_postprocessors *list, int32_t bos, int32_t eos, tl_error *error) {
    tl_postprocessor *template = append(list, "post_processor", error);
    return template && (bos < 0 || template_add(template, bos, "post_processor", error)) &&
           template_add(template, TL_TEMPLATE_SEQUENCE, "post_processor", error) &&
           (eos < 0 || template_add(template, eos, "post_processor", error));
}

bool tl_postprocessors_apply(const tl_postprocessors *list, tl_ids *ids, size_t start,
                             tl_error *error) {
    tl_ids text = {0};
    bool good = true;
    for (int i = 0; good && i < list->count; i++) {
        const tl_postprocessor *template = &list->items[i];
        text.count = 0;
        good = tl_ids_append(&text, ids->count > start ? ids->data + start : NULL,
                             ids->count - start, error);
        ids->count = start;
        for (int k = 0; good && k < template->count; k++)
            good = template->items[k] == TL_TEMPLATE_SEQUENCE
                       ? tl_ids_append(ids, text.data, text.count, error)
                       : tl_ids_append(ids, &template->items[k], 1, error);
        if (good && ids->count > 1u << 30)
            good = tl_fail(error, TL_ERROR_LIMIT, "post_processor: more than 2^30 tokens");
    }
    tl_ids_free(&text);
    return good;
}
