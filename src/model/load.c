/* A checkpoint's tensors → tl_model: views of the mapped files where they lie as the kernels read
 * them, converted copies (with the files' pages given back) where they do not. */
#include "model/family.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { NAME_SIZE = 256 };

/* What holds a matrix that has been brought to rows. */
typedef struct rows_holder {
    const tl_tensor *mapped; /* the file; NULL for a copy */
    tl_block *temporary;     /* a copy only needed until it has been converted, or NULL */
} rows_holder;

/* The fused q, k, v of the layer being loaded. */
typedef struct fused {
    tl_matrix matrix; /* rows q | k | v */
    const float *bias;
    rows_holder holder;
} fused;

typedef struct loader {
    tl_model *model;
    const tl_family *family;
    const char *prefix;
    tl_compute *compute;
    tl_model_options options;
    bool own; /* a checkpoint of `tinyllm quantize`: names and layout are our own */
    fused fused;
    tl_block *region; /* where the next lasting copy goes, at `region_used` */
    size_t region_used;
    int64_t stored[TL_DTYPE_COUNT]; /* elements by dtype in the files */
    const float *ones;
} loader;

/* ---- memory ---------------------------------------------------------------------------------- */

static tl_block *block_new(size_t bytes, const char *what, tl_error *error) {
    tl_block *block = malloc(sizeof *block);
    void *data = block
                     ? mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
                     : MAP_FAILED;
    if (data == MAP_FAILED) {
        free(block);
        tl_fail_memory(error, bytes, what);
        return NULL;
    }
    madvise(data, bytes, MADV_HUGEPAGE);
    *block = (tl_block){NULL, data, bytes};
    return block;
}

static void block_free(tl_block *block) {
    if (!block) return;
    munmap(block->data, block->bytes);
    free(block);
}

/* Memory for a lasting copy, side by side in large regions: whole huge pages are quickly had, the
 * small ones at the ends of separate matrices are not. What a region does not use is never touched.
 */
static void *take_memory(loader *l, size_t bytes, const char *what, tl_error *error) {
    enum { REGION = 64 << 20, HUGE_PAGE = 2 << 20, ALIGNMENT = 64 };
    size_t wanted = (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    if (!l->region || l->region->bytes - l->region_used < wanted) {
        tl_block *region = block_new((wanted < REGION ? REGION : wanted) + HUGE_PAGE, what, error);
        if (!region) return NULL;
        region->next = l->model->blocks;
        l->model->blocks = l->region = region;
        l->region_used = HUGE_PAGE - (uintptr_t)region->data % HUGE_PAGE;
    }
    void *data = (char *)l->region->data + l->region_used;
    l->region_used += wanted;
    l->model->owned_bytes += wanted;
    return data;
}

/* ---- finding tensors ------------------------------------------------------------------------- */

/* Writes the full name of `entry`'s tensor with `suffix` (".weight"). */
static void full_name(const loader *l, const tl_weight_name *entry, int32_t layer,
                      const char *suffix, char name[NAME_SIZE]) {
    const char *mark = strchr(entry->name, '#');
    const char *prefix = entry->role == TL_ROLE_HEAD ? "" : l->prefix;
    if (mark)
        snprintf(name, NAME_SIZE, "%s%.*s%d%s%s", prefix, (int)(mark - entry->name), entry->name,
                 layer, mark + 1, suffix);
    else
        snprintf(name, NAME_SIZE, "%s%s%s", prefix, entry->name, suffix);
}

static const tl_weight_name *find_entry(const loader *l, tl_weight_role role, tl_stack stack,
                                        int32_t layer) {
    const tl_weight_name *first = NULL;
    for (const tl_weight_name *entry = l->family->names; entry->name; entry++) {
        if (entry->role != role || entry->stack != stack) continue;
        if (!first) first = entry;
        char name[NAME_SIZE];
        full_name(l, entry, layer, ".weight", name);
        if (tl_checkpoint_find(l->model->checkpoint, name)) return entry;
    }
    return first;
}

/* The name and layout of what `need` asks for. */
static tl_weight_layout resolve(const loader *l, const tl_weight_need *need, const char *suffix,
                                char name[NAME_SIZE]) {
    if (l->own) {
        tl_weight_own_name(need, name, NAME_SIZE);
        strncat(name, suffix, NAME_SIZE - strlen(name) - 1);
        return TL_LAYOUT_ROWS;
    }
    const tl_weight_name *entry = find_entry(l, need->role, need->stack, need->layer);
    if (!entry) {
        tl_weight_own_name(need, name, NAME_SIZE);
        return TL_LAYOUT_ROWS;
    }
    full_name(l, entry, need->layer, suffix, name);
    return entry->layout;
}

static const char *shape_text(const tl_tensor *tensor, char text[128]) {
    size_t used = (size_t)snprintf(text, 128, "[");
    for (int i = 0; i < tensor->rank && used < 100; i++)
        used += (size_t)snprintf(text + used, 128 - used, "%s%lld", i ? ", " : "",
                                 (long long)tensor->shape[i]);
    snprintf(text + used, 128 - used, "]");
    return text;
}

/* The tensor of that name, of a type that can be computed with and of shape [rows, columns]
 * ([rows] when columns is 0). */
static const tl_tensor *take(loader *l, const char *name, int64_t rows, int64_t columns,
                             tl_error *error) {
    const char *where = tl_checkpoint_path(l->model->checkpoint);
    char expected[64], found[128];
    if (columns)
        snprintf(expected, sizeof expected, "[%lld, %lld]", (long long)rows, (long long)columns);
    else
        snprintf(expected, sizeof expected, "[%lld]", (long long)rows);
    const tl_tensor *tensor = tl_checkpoint_find(l->model->checkpoint, name);
    if (!tensor) {
        tl_fail(error, TL_ERROR_FORMAT, "%s: tensor '%s' is missing: expected shape %s", where,
                name, expected);
        return NULL;
    }
    if (tensor->rank != (columns ? 2 : 1) || tensor->shape[0] != rows ||
        (columns && tensor->shape[1] != columns)) {
        tl_fail(error, TL_ERROR_FORMAT,
                "%s: tensor '%s' has shape %s: expected %s, as config.json says", where, name,
                shape_text(tensor, found), expected);
        return NULL;
    }
    if (tensor->dtype != TL_F32 && tensor->dtype != TL_F16 && tensor->dtype != TL_BF16) {
        tl_fail(error, TL_ERROR_UNSUPPORTED, "%s: tensor '%s' is %s: expected f32, f16 or bf16",
                where, name, tl_dtype_get(tensor->dtype)->name);
        return NULL;
    }
    l->stored[tensor->dtype] += rows * (columns ? columns : 1);
    return tensor;
}

/* ---- vectors --------------------------------------------------------------------------------- */

static const float *load_vector(loader *l, const char *name, int64_t length, tl_error *error) {
    const tl_tensor *tensor = take(l, name, length, 0, error);
    if (!tensor) return NULL;
    float *values = tl_arena_alloc(l->model->arena, (size_t)length, sizeof *values, name, error);
    if (values) tl_widen(tensor->data, tensor->dtype, (size_t)length, values);
    return values;
}

static const float *plain_ones(loader *l, tl_error *error) {
    int32_t dim = l->model->spec.dim;
    if (l->ones) return l->ones;
    float *ones = tl_arena_alloc(l->model->arena, (size_t)dim, sizeof *ones, "a norm", error);
    for (int32_t i = 0; ones && i < dim; i++)
        ones[i] = 1;
    return l->ones = ones;
}

static bool load_norm(loader *l, const tl_weight_need *need, tl_norm_weights *norm,
                      tl_error *error) {
    char name[NAME_SIZE];
    if (!need->weight) return (norm->weight = plain_ones(l, error)) != NULL;
    resolve(l, need, ".weight", name);
    norm->weight = load_vector(l, name, need->out, error);
    if (!norm->weight || !need->bias) return norm->weight != NULL;
    resolve(l, need, ".bias", name);
    norm->bias = load_vector(l, name, need->out, error);
    return norm->bias != NULL;
}

/* ---- matrices -------------------------------------------------------------------------------- */

/* [heads][3][head_dim] rows of `row` bytes → [3][heads][head_dim]. */
static void rearrange_heads(const tl_model_spec *spec, const char *source, size_t row, char *data) {
    size_t part = (size_t)spec->head_dim * row;
    for (int32_t head = 0; head < spec->heads; head++)
        for (int32_t which = 0; which < 3; which++)
            memcpy(data + ((size_t)which * (size_t)spec->heads + (size_t)head) * part,
                   source + ((size_t)head * 3 + (size_t)which) * part, part);
}

/* The dtype the options give a matrix: its own where nothing is to be converted. */
static tl_dtype target_dtype(const loader *l, tl_weight_role role, const tl_matrix *matrix) {
    if (!l->options.convert) return matrix->dtype;
    return tl_weight_dtype(role, matrix->in, l->options.dtype, matrix->dtype);
}

/* The matrix in the file as [out, in]: a view, or a rearranged copy. */
static bool load_rows(loader *l, const char *name, tl_weight_role role, tl_weight_layout layout,
                      int32_t out, int32_t in, tl_matrix *matrix, rows_holder *holder,
                      tl_error *error) {
    bool transposed = layout == TL_LAYOUT_TRANSPOSED;
    const tl_tensor *tensor = take(l, name, transposed ? in : out, transposed ? out : in, error);
    holder->mapped = tensor;
    holder->temporary = NULL;
    if (!tensor) return false;
    *matrix = (tl_matrix){tensor->dtype, out, in, in, tensor->data, tensor->bytes};
    if (layout == TL_LAYOUT_ROWS) return true;
    void *data;
    if (target_dtype(l, role, matrix) == matrix->dtype) {
        data = take_memory(l, tensor->bytes, name, error);
    } else {
        holder->temporary = block_new(tensor->bytes, name, error);
        data = holder->temporary ? holder->temporary->data : NULL;
    }
    if (!data) return false;
    tl_tensor_will_need(tensor);
    if (transposed)
        tl_matrix_transpose(l->compute, tensor->data, tensor->dtype, in, out, data);
    else
        rearrange_heads(&l->model->spec, tensor->data, tensor->bytes / (size_t)out, data);
    tl_tensor_release(tensor);
    holder->mapped = NULL;
    matrix->data = data;
    return true;
}

/* Converts a slice of rows at a time, giving back the file's pages (`mapped`, may be NULL) behind
 * it, so that never more than a slice is held twice. */
static bool convert(loader *l, tl_matrix *matrix, tl_dtype dtype, const tl_tensor *mapped,
                    tl_error *error) {
    enum { SLICE = 16 << 20, PANEL = 64 };
    size_t bytes = tl_matrix_bytes(dtype, matrix->out, matrix->in);
    char *data = take_memory(l, bytes, "a converted matrix", error);
    if (!data) return false;
    size_t row = (size_t)matrix->stride * tl_dtype_get(matrix->dtype)->block_bytes;
    int32_t step = (int32_t)(SLICE / row / PANEL + 1) * PANEL;
    for (int32_t first = 0; first < matrix->out; first += step) {
        tl_matrix source = *matrix, part;
        source.out = matrix->out - first < step ? matrix->out - first : step;
        source.data = (const char *)matrix->data + (size_t)first * row;
        source.bytes = (size_t)source.out * row;
        char *to = data + tl_matrix_bytes(dtype, first, matrix->in);
        if (!tl_matrix_convert(l->compute, &source, dtype, to, &part, error)) return false;
        if (!mapped) continue;
        tl_tensor done = *mapped;
        done.data = source.data;
        done.bytes = source.bytes;
        tl_tensor_release(&done);
    }
    *matrix = (tl_matrix){dtype, matrix->out, matrix->in, matrix->in, data, bytes};
    return true;
}

/* Gives `matrix` its final place: as it is, or converted with the source's memory given back. */
static bool settle(loader *l, tl_weight_role role, tl_matrix *matrix, const rows_holder *holder,
                   tl_error *error) {
    tl_dtype dtype = target_dtype(l, role, matrix);
    if (dtype == matrix->dtype) {
        if (holder->mapped) l->model->mapped_bytes += matrix->bytes;
        return true;
    }
    bool ok = convert(l, matrix, dtype, holder->mapped, error);
    block_free(holder->temporary);
    return ok;
}

/* A matrix that `tinyllm quantize` packed: metadata under the tensor's name says "q8 [out, in]". */
static bool load_packed(loader *l, const char *name, int32_t out, int32_t in, tl_matrix *matrix,
                        bool *packed, tl_error *error) {
    const tl_checkpoint *checkpoint = l->model->checkpoint;
    const char *description = tl_checkpoint_metadata(checkpoint, name);
    *packed = description != NULL;
    if (!description) return true;
    const char *where = tl_checkpoint_path(checkpoint);
    tl_dtype dtype = strncmp(description, "q4 ", 3) == 0 ? TL_Q4 : TL_Q8;
    char expected[64];
    snprintf(expected, sizeof expected, "%s [%d, %d]", tl_dtype_get(dtype)->name, out, in);
    const tl_tensor *tensor = tl_checkpoint_find(checkpoint, name);
    if (strcmp(description, expected) != 0 || in % 32)
        return tl_fail(error, TL_ERROR_FORMAT, "%s: packed tensor '%s' is '%.64s': expected '%s'",
                       where, name, description, expected);
    size_t bytes = tl_matrix_bytes(dtype, out, in);
    if (!tensor || tensor->dtype != TL_U8 || tensor->bytes != bytes || (uintptr_t)tensor->data % 64)
        return tl_fail(error, TL_ERROR_FORMAT,
                       "%s: packed tensor '%s': expected %zu bytes of u8, aligned to 64", where,
                       name, bytes);
    *matrix = (tl_matrix){dtype, out, in, in, tensor->data, bytes};
    l->model->mapped_bytes += bytes;
    l->stored[dtype] += (int64_t)out * in;
    return true;
}

static bool load_matrix(loader *l, const tl_weight_need *need, tl_matrix *matrix, tl_error *error) {
    char name[NAME_SIZE];
    tl_weight_layout layout = resolve(l, need, ".weight", name);
    rows_holder holder;
    bool packed = false;
    if (l->own && !load_packed(l, name, need->out, need->in, matrix, &packed, error)) return false;
    if (packed) return true;
    return load_rows(l, name, need->role, layout, need->out, need->in, matrix, &holder, error) &&
           settle(l, need->role, matrix, &holder, error);
}

/* ---- fused q, k, v --------------------------------------------------------------------------- */

static bool load_fused(loader *l, const tl_weight_name *entry, const tl_weight_need *need,
                       tl_error *error) {
    const tl_model_spec *spec = &l->model->spec;
    int32_t out = (spec->heads + 2 * spec->kv_heads) * spec->head_dim;
    char name[NAME_SIZE];
    full_name(l, entry, need->layer, ".weight", name);
    if (!load_rows(l, name, need->role, entry->layout, out, need->in, &l->fused.matrix,
                   &l->fused.holder, error))
        return false;
    l->fused.bias = NULL;
    if (!need->bias) return true;
    full_name(l, entry, need->layer, ".bias", name);
    const float *bias = load_vector(l, name, out, error);
    if (!bias || entry->layout != TL_LAYOUT_PER_HEAD) return (l->fused.bias = bias) != NULL;
    float *arranged = tl_arena_alloc(l->model->arena, (size_t)out, sizeof *bias, name, error);
    if (!arranged) return false;
    rearrange_heads(spec, (const char *)bias, sizeof *bias, (char *)arranged);
    l->fused.bias = arranged;
    return true;
}

/* q, k or v out of the fused matrix, which is loaded with q and let go with v. */
static bool load_part(loader *l, const tl_weight_name *entry, const tl_weight_need *need,
                      tl_linear_weights *linear, tl_error *error) {
    const tl_model_spec *spec = &l->model->spec;
    if (need->role == TL_ROLE_Q && !load_fused(l, entry, need, error)) return false;
    int32_t inner = spec->heads * spec->head_dim, kv = spec->kv_heads * spec->head_dim;
    int32_t first = need->role == TL_ROLE_Q ? 0 : need->role == TL_ROLE_K ? inner : inner + kv;
    size_t row = l->fused.matrix.bytes / (size_t)l->fused.matrix.out;
    linear->weight = l->fused.matrix;
    linear->weight.out = need->out;
    linear->weight.data = (const char *)l->fused.matrix.data + (size_t)first * row;
    linear->weight.bytes = (size_t)need->out * row;
    linear->bias = need->bias ? l->fused.bias + first : NULL;
    tl_dtype dtype = target_dtype(l, need->role, &l->fused.matrix);
    bool convertible = dtype != l->fused.matrix.dtype;
    if (convertible && !convert(l, &linear->weight, dtype, NULL, error)) return false;
    if (!convertible && l->fused.holder.mapped) l->model->mapped_bytes += linear->weight.bytes;
    if (need->role != TL_ROLE_V) return true;
    block_free(l->fused.holder.temporary);
    l->fused.holder.temporary = NULL;
    return true;
}

/* ---- every weight to its place
 * -------------------------------------------------------------------
 */

static bool load_linear(loader *l, const tl_weight_need *need, tl_error *error) {
    tl_linear_weights *linear = tl_model_linear(l->model, need);
    bool part = need->role == TL_ROLE_Q || need->role == TL_ROLE_K || need->role == TL_ROLE_V;
    const tl_weight_name *entry =
        part && !l->own ? find_entry(l, TL_ROLE_QKV, need->stack, need->layer) : NULL;
    if (entry) return load_part(l, entry, need, linear, error);
    if (!load_matrix(l, need, &linear->weight, error)) return false;
    if (!need->bias) return true;
    char name[NAME_SIZE];
    resolve(l, need, ".bias", name);
    return (linear->bias = load_vector(l, name, need->out, error)) != NULL;
}

static bool load_relative_bias(loader *l, const tl_weight_need *need, tl_error *error) {
    char name[NAME_SIZE];
    resolve(l, need, ".weight", name);
    const tl_tensor *tensor = take(l, name, need->out, need->in, error);
    if (!tensor) return false;
    size_t count = (size_t)need->out * (size_t)need->in;
    float *values = tl_arena_alloc(l->model->arena, count, sizeof *values, name, error);
    if (!values) return false;
    tl_widen(tensor->data, tensor->dtype, count, values);
    tl_model_stack(l->model, need->stack)->relative_bias = values;
    return true;
}

static bool load_need(void *context, const tl_weight_need *need, tl_error *error) {
    loader *l = context;
    if (need->in == 0) return load_norm(l, need, tl_model_norm(l->model, need), error);
    switch (need->role) {
    case TL_ROLE_EMBEDDING:
        return load_matrix(l, need, &l->model->embedding, error);
    case TL_ROLE_POSITIONS:
        return load_matrix(l, need, &l->model->position_embedding, error);
    case TL_ROLE_RELATIVE_BIAS:
        return load_relative_bias(l, need, error);
    default:
        return load_linear(l, need, error);
    }
}

/* The kernels fuse gate and up, so both must have one type. */
static bool unify_gates(loader *l, tl_stack_weights *stack, tl_error *error) {
    for (int32_t i = 0; i < stack->n_layers; i++) {
        tl_matrix *gate = &stack->layers[i].gate.weight, *up = &stack->layers[i].up.weight;
        if (!gate->data || gate->dtype == up->dtype) continue;
        if (!convert(l, gate, TL_F32, NULL, error) || !convert(l, up, TL_F32, NULL, error))
            return false;
    }
    return true;
}

static bool find_prefix(loader *l, tl_error *error) {
    for (int i = 0; i < 6 && l->family->prefixes[i]; i++) {
        l->prefix = l->family->prefixes[i];
        const tl_weight_name *entry = find_entry(l, TL_ROLE_EMBEDDING, TL_STACK_DECODER, -1);
        char name[NAME_SIZE];
        full_name(l, entry, -1, ".weight", name);
        if (tl_checkpoint_find(l->model->checkpoint, name)) return true;
    }
    l->prefix = l->family->prefixes[0];
    return tl_fail(error, TL_ERROR_FORMAT,
                   "%s: tensor '%s%s.weight' is missing (with any prefix): expected the embedding "
                   "of a %s model",
                   tl_checkpoint_path(l->model->checkpoint), l->prefix, l->family->names[0].name,
                   l->family->model_type);
}

static bool load_weights(loader *l, tl_error *error) {
    static const char format_key[] = "tinyllm.format";
    tl_model *model = l->model;
    tl_model_spec *spec = &model->spec;
    const char *format = tl_checkpoint_metadata(model->checkpoint, format_key);
    l->own = format != NULL;
    if (format && strcmp(format, TL_OWN_FORMAT) != 0)
        return tl_fail(error, TL_ERROR_UNSUPPORTED, "%s: %s is '%.32s': expected '%s'",
                       tl_checkpoint_path(model->checkpoint), format_key, format, TL_OWN_FORMAT);
    const char *own_dtype = tl_checkpoint_metadata(model->checkpoint, "tinyllm.dtype");
    const char *wanted = l->options.convert ? tl_dtype_get(l->options.dtype)->name : NULL;
    if (l->own && wanted && (!own_dtype || strcmp(wanted, own_dtype) != 0))
        return tl_fail(error, TL_ERROR_UNSUPPORTED,
                       "%s: its weights are packed as %.16s: expected the original checkpoint for "
                       "another dtype",
                       tl_checkpoint_path(model->checkpoint), own_dtype ? own_dtype : "?");
    if (!l->own && !find_prefix(l, error)) return false;
    model->decoder.n_layers = spec->encoder ? spec->decoder_layers : spec->layers;
    model->encoder.n_layers = spec->encoder ? spec->layers : 0;
    tl_stack_weights *stacks[] = {&model->decoder, &model->encoder};
    for (int i = 0; i < 2; i++) {
        stacks[i]->layers = tl_arena_alloc(model->arena, (size_t)stacks[i]->n_layers,
                                           sizeof *stacks[i]->layers, "the layers", error);
        if (!stacks[i]->layers) return false;
    }
    bool ok = tl_model_visit(spec, load_need, l, error);
    block_free(l->fused.holder.temporary);
    if (!ok || !unify_gates(l, &model->decoder, error) || !unify_gates(l, &model->encoder, error))
        return false;
    if (spec->tied_head) model->head.weight = model->embedding;
    spec->stored = TL_F32;
    for (int i = 0; i < TL_DTYPE_COUNT; i++)
        if (l->stored[i] > l->stored[spec->stored]) spec->stored = (tl_dtype)i;
    if (own_dtype && !tl_dtype_parse(own_dtype, &spec->stored, error)) return false;
    model->parameters = tl_model_count_parameters(spec);
    model->owned_bytes += tl_arena_bytes(model->arena);
    return true;
}

tl_model *tl_model_load(const char *directory, const tl_model_options *options, tl_compute *compute,
                        tl_error *error) {
    tl_model *model = calloc(1, sizeof *model);
    if (!model || !(model->arena = tl_arena_new())) {
        free(model);
        tl_fail_memory(error, sizeof *model, "a model");
        return NULL;
    }
    loader l = {.model = model, .compute = compute};
    if (options) l.options = *options;
    if (tl_model_read_spec(directory, &model->spec, error) &&
        (model->checkpoint = tl_checkpoint_open(directory, error))) {
        l.family = tl_family_find(model->spec.family);
        if (load_weights(&l, error)) return model;
    }
    tl_model_unload(model);
    return NULL;
}

void tl_model_unload(tl_model *model) {
    if (!model) return;
    while (model->blocks) {
        tl_block *next = model->blocks->next;
        block_free(model->blocks);
        model->blocks = next;
    }
    tl_checkpoint_free(model->checkpoint);
    tl_arena_free(model->arena);
    free(model);
}
