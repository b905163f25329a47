/* A model → safetensors: packed in the project's own layout, or converted under the tensors' own
 * names. */
#include "model/family.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { ALIGNMENT = 64, CHUNK = 1 << 16 };

/* A file being laid out: the header first, then the data in the same order. */
typedef struct layout {
    tl_buffer header;
    size_t offset; /* of the next tensor */
    int tensors, paddings;
} layout;

typedef struct output {
    FILE *file;
    size_t offset;
    float *wide; /* [CHUNK] */
    uint16_t *narrow;
} output;

/* ---- the header ------------------------------------------------------------------------------ */

static void add_entry(layout *l, const char *name, const char *dtype, const int64_t *shape,
                      int rank, size_t bytes) {
    tl_buffer_append_string(&l->header, l->tensors++ ? "," : "");
    tl_json_append_string(&l->header, name, strlen(name));
    tl_buffer_append_format(&l->header, ":{\"dtype\":\"%s\",\"shape\":[", dtype);
    for (int i = 0; i < rank; i++)
        tl_buffer_append_format(&l->header, "%s%lld", i ? "," : "", (long long)shape[i]);
    tl_buffer_append_format(&l->header, "],\"data_offsets\":[%zu,%zu]}", l->offset,
                            l->offset + bytes);
    l->offset += bytes;
}

static size_t padding_at(size_t offset) {
    return (ALIGNMENT - offset % ALIGNMENT) % ALIGNMENT;
}

/* The format allows no holes, so what aligns the next tensor is a tensor itself. */
static void add_padding(layout *l) {
    size_t bytes = padding_at(l->offset);
    char name[32];
    if (!bytes) return;
    snprintf(name, sizeof name, "padding.%d", l->paddings++);
    add_entry(l, name, "U8", &(int64_t){(int64_t)bytes}, 1, bytes);
}

/* ---- the data -------------------------------------------------------------------------------- */

static void write_bytes(output *o, const void *bytes, size_t length) {
    fwrite(bytes, 1, length, o->file);
    o->offset += length;
}

static void write_padding(output *o) {
    static const char zeros[ALIGNMENT];
    write_bytes(o, zeros, padding_at(o->offset));
}

static void write_converted(output *o, const tl_tensor *tensor, tl_dtype dtype) {
    size_t size = tl_dtype_get(tensor->dtype)->block_bytes, count = tensor->bytes / size;
    for (size_t first = 0; first < count; first += CHUNK) {
        size_t n = count - first < CHUNK ? count - first : CHUNK;
        tl_widen((const char *)tensor->data + first * size, tensor->dtype, n, o->wide);
        if (dtype == TL_F32) {
            write_bytes(o, o->wide, n * sizeof *o->wide);
            continue;
        }
        for (size_t i = 0; i < n; i++)
            o->narrow[i] = dtype == TL_F16 ? tl_f32_to_f16(o->wide[i]) : tl_f32_to_bf16(o->wide[i]);
        write_bytes(o, o->narrow, n * sizeof *o->narrow);
    }
    tl_tensor_release(tensor);
}

/* ---- a file beside the final one, renamed when it is whole ----------------------------------- */

typedef bool write_function(const void *context, output *o, tl_error *error);

static bool write_all(const char *temporary, const tl_buffer *header, write_function *write_data,
                      const void *context, tl_error *error) {
    output o = {.file = fopen(temporary, "wbe"),
                .wide = malloc(CHUNK * sizeof(float)),
                .narrow = malloc(CHUNK * sizeof(uint16_t))};
    bool ok = o.file != NULL || tl_fail_errno(error, "cannot create %s", temporary);
    if (ok && (!o.wide || !o.narrow)) ok = tl_fail_memory(error, CHUNK * 6, "a conversion");
    if (ok) {
        uint64_t length = header->length;
        unsigned char size[8];
        for (int i = 0; i < 8; i++)
            size[i] = (unsigned char)(length >> (8 * i));
        write_bytes(&o, size, sizeof size);
        write_bytes(&o, header->data, header->length);
        o.offset = 0;
        ok = write_data(context, &o, error);
    }
    if (ok && (fflush(o.file) != 0 || ferror(o.file) || fsync(fileno(o.file)) != 0))
        ok = tl_fail_errno(error, "cannot write %s", temporary);
    if (o.file && fclose(o.file) != 0 && ok)
        ok = tl_fail_errno(error, "cannot write %s", temporary);
    free(o.wide);
    free(o.narrow);
    return ok;
}

static bool write_file(const char *directory, layout *l, write_function *write_data,
                       const void *context, tl_error *error) {
    tl_buffer_append_string(&l->header, "}");
    while ((l->header.length + 8) % ALIGNMENT && !l->header.failed)
        tl_buffer_append_byte(&l->header, ' ');
    char *path = tl_path_join(directory, "model.safetensors");
    char *temporary = tl_path_join(directory, ".model.safetensors.part");
    bool ok = (path && temporary && !l->header.failed) ||
              tl_fail_memory(error, l->header.length, "a safetensors header");
    ok = ok && write_all(temporary, &l->header, write_data, context, error);
    if (ok && rename(temporary, path) != 0) ok = tl_fail_errno(error, "cannot create %s", path);
    if (!ok && temporary) unlink(temporary);
    free(path);
    free(temporary);
    tl_buffer_free(&l->header);
    return ok;
}

/* ---- the project's own layout ---------------------------------------------------------------- */

typedef struct saving {
    const tl_model *model;
    layout *layout; /* while the header is made */
    output *output; /* while the data is written */
    bool metadata;  /* the first round: descriptions of packed matrices */
} saving;

static const tl_matrix *matrix_of(const saving *s, const tl_weight_need *need) {
    tl_model *model = (tl_model *)s->model; /* read only */
    if (need->role == TL_ROLE_EMBEDDING) return &model->embedding;
    if (need->role == TL_ROLE_POSITIONS) return &model->position_embedding;
    return &tl_model_linear(model, need)->weight;
}

static void put(const saving *s, const char *name, const char *dtype, const int64_t *shape,
                int rank, const void *data, size_t bytes) {
    if (s->output) {
        write_padding(s->output);
        write_bytes(s->output, data, bytes);
    } else if (!s->metadata) {
        add_padding(s->layout);
        add_entry(s->layout, name, dtype, shape, rank, bytes);
    }
}

static void put_vector(const saving *s, const tl_weight_need *need, const char *suffix,
                       const float *values) {
    char name[128];
    tl_weight_own_name(need, name, sizeof name);
    strncat(name, suffix, sizeof name - strlen(name) - 1);
    put(s, name, "F32", &(int64_t){need->out}, 1, values, (size_t)need->out * sizeof *values);
}

static void put_matrix(const saving *s, const tl_weight_need *need, const tl_matrix *matrix) {
    const tl_dtype_traits *traits = tl_dtype_get(matrix->dtype);
    char name[128], description[64];
    tl_weight_own_name(need, name, sizeof name);
    strncat(name, ".weight", sizeof name - strlen(name) - 1);
    if (traits->block == 1) {
        put(s, name, traits->safetensors, (int64_t[]){need->out, need->in}, 2, matrix->data,
            matrix->bytes);
        return;
    }
    snprintf(description, sizeof description, "%s [%d, %d]", traits->name, need->out, need->in);
    if (s->metadata) {
        tl_buffer_append_string(&s->layout->header, ",");
        tl_json_append_string(&s->layout->header, name, strlen(name));
        tl_buffer_append_string(&s->layout->header, ":");
        tl_json_append_string(&s->layout->header, description, strlen(description));
    }
    put(s, name, "U8", &(int64_t){(int64_t)matrix->bytes}, 1, matrix->data, matrix->bytes);
}

static bool save_need(void *context, const tl_weight_need *need, tl_error *error) {
    (void)error;
    const saving *s = context;
    tl_model *model = (tl_model *)s->model;
    if (need->role == TL_ROLE_RELATIVE_BIAS) {
        char name[128];
        tl_weight_own_name(need, name, sizeof name);
        strncat(name, ".weight", sizeof name - strlen(name) - 1);
        put(s, name, "F32", (int64_t[]){need->out, need->in}, 2,
            tl_model_stack(model, need->stack)->relative_bias,
            (size_t)need->out * (size_t)need->in * sizeof(float));
    } else if (need->in == 0) {
        const tl_norm_weights *norm = tl_model_norm(model, need);
        if (need->weight) put_vector(s, need, ".weight", norm->weight);
        if (need->bias) put_vector(s, need, ".bias", norm->bias);
    } else {
        put_matrix(s, need, matrix_of(s, need));
        if (need->bias) put_vector(s, need, ".bias", tl_model_linear(model, need)->bias);
    }
    return true;
}

static bool write_own(const void *context, output *o, tl_error *error) {
    saving s = {.model = context, .output = o};
    return tl_model_visit(&s.model->spec, save_need, &s, error);
}

bool tl_model_save(const tl_model *model, tl_dtype dtype, const char *directory, tl_error *error) {
    layout l = {0};
    saving s = {.model = model, .layout = &l, .metadata = true};
    tl_buffer_append_format(&l.header,
                            "{\"__metadata__\":{\"tinyllm.format\":\"%s\",\"tinyllm.dtype\":\"%s\"",
                            TL_OWN_FORMAT, tl_dtype_get(dtype)->name);
    tl_model_visit(&model->spec, save_need, &s, error);
    tl_buffer_append_string(&l.header, "}");
    l.tensors = 1; /* so that a comma follows the metadata */
    s.metadata = false;
    tl_model_visit(&model->spec, save_need, &s, error);
    return write_file(directory, &l, write_own, model, error);
}

/* ---- converted under their own names --------------------------------------------------------- */

typedef struct conversion {
    const tl_checkpoint *checkpoint;
    tl_dtype dtype;
} conversion;

static bool is_float(tl_dtype dtype) {
    return dtype == TL_F32 || dtype == TL_F16 || dtype == TL_BF16;
}

static bool write_tensors(const void *context, output *o, tl_error *error) {
    const conversion *c = context;
    (void)error;
    for (size_t i = 0; i < tl_checkpoint_count(c->checkpoint); i++) {
        const tl_tensor *tensor = tl_checkpoint_at(c->checkpoint, i);
        if (is_float(tensor->dtype) && tensor->dtype != c->dtype)
            write_converted(o, tensor, c->dtype);
        else
            write_bytes(o, tensor->data, tensor->bytes);
    }
    return true;
}

bool tl_model_save_converted(const tl_checkpoint *checkpoint, tl_dtype dtype, const char *directory,
                             tl_error *error) {
    layout l = {0};
    conversion c = {checkpoint, dtype};
    tl_buffer_append_string(&l.header, "{\"__metadata__\":{\"format\":\"pt\"}");
    l.tensors = 1;
    for (size_t i = 0; i < tl_checkpoint_count(checkpoint); i++) {
        const tl_tensor *tensor = tl_checkpoint_at(checkpoint, i);
        bool floats = is_float(tensor->dtype);
        const tl_dtype_traits *from = tl_dtype_get(tensor->dtype);
        const tl_dtype_traits *to = tl_dtype_get(floats ? dtype : tensor->dtype);
        add_entry(&l, tensor->name, to->safetensors, tensor->shape, tensor->rank,
                  tensor->bytes / from->block_bytes * to->block_bytes);
    }
    return write_file(directory, &l, write_tensors, &c, error);
}
