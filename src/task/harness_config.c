/* A task as lm-evaluation-harness's results describe one. */
#include "task/document.h"
#include "task/method.h"

#include <string.h>

static void append_template(tl_buffer *json, const char *name, const tl_template *t) {
    tl_buffer text = {0};
    tl_template_to_jinja(t, &text);
    tl_document_put_text(json, name, tl_buffer_string(&text));
    tl_buffer_free(&text);
}

/* A list of fields as Jinja writes one, a list of texts, or each template as it stands. */
static void append_list(tl_buffer *json, const char *name, const tl_template_list *list) {
    if (list->single) {
        append_template(json, name, list->items[0]);
        return;
    }
    bool fields = true;
    tl_buffer jinja = {0}, texts = {0};
    for (int i = 0; i < list->count; i++) {
        const char *path;
        tl_buffer text = {0};
        fields &= tl_template_is_field(list->items[i], &path);
        tl_buffer_append_format(&jinja, "%s%s", i ? ", " : "{{[", fields ? path : "");
        tl_template_to_jinja(list->items[i], &text);
        tl_buffer_append_string(&texts, i ? ", " : "[");
        tl_document_append_string(&texts, tl_buffer_string(&text), text.length);
        tl_buffer_free(&text);
    }
    tl_buffer_append_string(&jinja, "]}}");
    tl_buffer_append_string(&texts, "]");
    if (fields)
        tl_document_put_text(json, name, tl_buffer_string(&jinja));
    else
        tl_document_put_raw(json, name, tl_buffer_string(&texts));
    tl_buffer_free(&jinja);
    tl_buffer_free(&texts);
}

static void append_source(tl_buffer *json, const tl_task *task, const tl_method *m) {
    const char *study = task->methods[TL_PROTOCOL_STUDY].split;
    bool test = strcmp(m->split, "test") == 0;
    if (m->source.dataset) tl_document_put_text(json, "dataset_path", m->source.dataset);
    if (m->source.config) tl_document_put_text(json, "dataset_name", m->source.config);
    if (m->shots_split) tl_document_put_text(json, "training_split", m->shots_split);
    tl_document_put_text(json, "validation_split", test && study ? study : m->split);
    if (test) tl_document_put_text(json, "test_split", m->split);
}

static void append_asking(tl_buffer *json, const tl_method *m) {
    if (m->contexts.count) {
        append_list(json, "doc_to_choice", &m->contexts);
        append_template(json, "doc_to_text", m->gold);
        append_template(json, "doc_to_target", m->continuation);
        return;
    }
    append_template(json, "doc_to_text", m->context);
    append_template(json, "doc_to_target", m->gold);
    append_list(json, "doc_to_choice", &m->choices);
}

bool tl_task_harness_config(const tl_task *task, tl_buffer *json) {
    static const char metric[] = "{\"metric\": \"%s\", \"aggregation\": \"mean\", "
                                 "\"higher_is_better\": true}";
    const tl_method *m = &task->methods[TL_PROTOCOL_LOGLIKELIHOOD];
    if (!m->defined) return false;
    tl_buffer_append_byte(json, '{');
    tl_document_put_text(json, "task", task->name);
    append_source(json, task, m);
    append_asking(json, m);
    tl_document_put_raw(json, "unsafe_code", "false");
    tl_document_put_text(json, "description", "");
    tl_document_put_text(json, "target_delimiter", m->delimiter);
    tl_document_put_text(json, "fewshot_delimiter", "\n\n");
    tl_buffer_append_string(json, ", \"metric_list\": [");
    tl_buffer_append_format(json, metric, "acc");
    if (m->norm) tl_buffer_append_string(json, ", ");
    if (m->norm) tl_buffer_append_format(json, metric, "acc_norm");
    tl_buffer_append_string(json, "], \"output_type\": \"multiple_choice\", \"repeats\": 1");
    tl_buffer_append_string(json, ", \"metadata\": {");
    bool number = m->version && strspn(m->version, "0123456789.") == strlen(m->version);
    if (m->version && number) tl_document_put_raw(json, "version", m->version);
    if (m->version && !number) tl_document_put_text(json, "version", m->version);
    tl_buffer_append_string(json, "}}");
    return !json->failed;
}
