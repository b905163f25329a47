/* A pass: its indices are sent, its spans cut into pieces of work, its launches recorded as a graph
 * and played again.
 *
 * A graph holds addresses and grid sizes. So every array keeps its place in the area of indices, by
 * its capacity, and numbers of rows and pieces are rounded up; what was added does nothing. */
#include "kernels/cuda/internal.h"

#include <string.h>

enum { LIST_STEP = 8, PASS_PLACES = 0, OUTSIDE_PLACES = 1, FIRST_PIECES = 256 };

int32_t tl_cuda_round_rows(const tl_backend *b, int32_t rows) {
    (void)b;
    int32_t rounded = 1;
    if (rows > 64) return (rows + 31) / 32 * 32;
    if (rows > 8) return (rows + 15) / 16 * 16;
    while (rounded < rows)
        rounded *= 2;
    return rounded;
}

/* ---- areas ----------------------------------------------------------------------------------- */

static void free_area(tl_backend *b, tl_cuda_area *area) {
    if (area->host) cudaFreeHost(area->host);
    if (area->device) tl_cuda_release(b, area->device);
    if (area->sent) cudaEventDestroy(area->sent);
    *area = (tl_cuda_area){0};
}

void tl_cuda_free_areas(tl_backend *b) {
    free_area(b, &b->pass);
    free_area(b, &b->outside);
    if (b->readings) cudaFreeHost(b->readings);
    b->readings = NULL;
}

static bool reserve_area(tl_backend *b, tl_cuda_area *area, size_t elements, tl_error *error) {
    if (elements <= area->capacity) return true;
    free_area(b, area);
    size_t bytes = elements * sizeof *area->host;
    area->device = tl_cuda_allocate(b, bytes, "the indices of a pass", error);
    if (!area->device) return false;
    void *host = NULL;
    if (tl_cuda_check(b, cudaMallocHost(&host, bytes), "taking pinned memory"))
        tl_cuda_check(b, cudaEventCreateWithFlags(&area->sent, cudaEventDisableTiming),
                      "making an event");
    area->host = host;
    area->capacity = elements;
    return tl_cuda_tell(b, error);
}

/* Until what was last put into the area has left it. */
static void wait_area(tl_backend *b, tl_cuda_area *area) {
    if (area->waiting) tl_cuda_check(b, cudaEventSynchronize(area->sent), "waiting");
    area->waiting = false;
}

static void send(tl_backend *b, tl_cuda_area *area, size_t first, size_t count) {
    if (count == 0) return;
    tl_cuda_check(b,
                  cudaMemcpyAsync(area->device + first, area->host + first,
                                  count * sizeof *area->host, cudaMemcpyHostToDevice, b->stream),
                  "sending indices");
}

static void sent(tl_backend *b, tl_cuda_area *area) {
    tl_cuda_check(b, cudaEventRecord(area->sent, b->stream), "sending indices");
    area->waiting = true;
}

/* Puts an array into the area from `*at` on. Returns how far it was filled. */
static size_t put(tl_backend *b, tl_cuda_area *area, int which, const tl_staged *array,
                  size_t *at) {
    size_t first = *at;
    memcpy(area->host + first, array->data, array->count * sizeof *array->data);
    b->places[which][b->n_places[which]++] =
        (tl_cuda_place){array->data, array->data + array->count, area->device + first};
    *at += (array->capacity + 3) / 4 * 4;
    return first + array->count;
}

const int32_t *tl_cuda_twin(tl_backend *b, const int32_t *indices) {
    for (int which = OUTSIDE_PLACES; which >= PASS_PLACES; which--)
        for (int i = 0; i < b->n_places[which]; i++) {
            const tl_cuda_place *place = &b->places[which][i];
            if (indices >= place->begin && indices < place->end)
                return place->device + (indices - place->begin);
        }
    tl_cuda_check(b, cudaErrorInvalidValue, "finding indices: they were not staged");
    return b->pass.device;
}

bool tl_cuda_stage(tl_backend *b, const tl_staged *arrays, int count, tl_error *error) {
    size_t elements = 0, at = 0;
    tl_cuda_check(b, cudaSetDevice(b->index), "choosing the device");
    for (int i = 0; i < count; i++)
        elements += (arrays[i].capacity + 3) / 4 * 4;
    b->n_places[OUTSIDE_PLACES] = 0;
    if (count > TL_CUDA_MOST_STAGED || !reserve_area(b, &b->outside, elements, error))
        return tl_cuda_tell(b, error);
    wait_area(b, &b->outside);
    for (int i = 0; i < count; i++) {
        size_t first = at, end = put(b, &b->outside, OUTSIDE_PLACES, &arrays[i], &at);
        send(b, &b->outside, first, end - first);
    }
    sent(b, &b->outside);
    return tl_cuda_tell(b, error);
}

/* ---- pieces ---------------------------------------------------------------------------------- */

/* Keys that the last of `queries` queries of the span sees. */
static int32_t keys_seen(const tl_staged_spans *list, const tl_attention_span *span,
                         int32_t queries) {
    int32_t end = span->first_position + queries;
    return list->causal && end < span->keys ? end : span->keys;
}

static int32_t chunks_of(int32_t keys) {
    return (keys + TL_CUDA_CHUNK - 1) / TL_CUDA_CHUNK;
}

/* Cuts the spans of a list; with `to` NULL only counts. `*partial` counts the partial results. */
static void cut(const tl_backend_pass *pass, const tl_staged_spans *list, tl_cuda_list *to,
                const int32_t *slots_at, int32_t *n_pieces, int32_t *n_joins, int32_t *partial) {
    int32_t group = pass->heads / pass->kv_heads;
    *n_pieces = *n_joins = 0;
    for (int32_t i = 0; i < list->n_spans; i++) {
        const tl_attention_span *span = &list->spans[i];
        int32_t items = span->queries * group, chunks = chunks_of(span->keys);
        for (int32_t first = 0; first < items; first += TL_CUDA_ITEMS) {
            int32_t count = items - first < TL_CUDA_ITEMS ? items - first : TL_CUDA_ITEMS;
            int32_t seen = chunks_of(keys_seen(list, span, (first + count - 1) / group + 1));
            for (int32_t chunk = 0; chunk < seen; chunk++, ++*n_pieces) {
                if (!to) continue;
                to->pieces[*n_pieces] = (tl_cuda_piece){.slots = slots_at[i],
                                                        .keys = span->keys,
                                                        .first_row = span->first_row,
                                                        .first_position = span->first_position,
                                                        .first_item = first,
                                                        .items = count,
                                                        .chunk = chunk,
                                                        .chunks = chunks,
                                                        .partial = chunks > 1 ? *partial : -1};
            }
        }
        if (chunks < 2) continue;
        for (int32_t query = 0; query < span->queries; query++, ++*n_joins) {
            if (!to) continue;
            to->joins[*n_joins] =
                (tl_cuda_join){.row = span->first_row + query,
                               .partial = *partial + query * chunks,
                               .chunks = chunks_of(keys_seen(list, span, query + 1))};
        }
        *partial += span->queries * chunks;
    }
}

static int32_t round_list(int32_t count) {
    return (count + LIST_STEP - 1) / LIST_STEP * LIST_STEP;
}

static void pad_list(tl_cuda_list *list, int32_t n_pieces, int32_t n_joins) {
    list->n_pieces = round_list(n_pieces);
    list->n_joins = round_list(n_joins);
    memset(list->pieces + n_pieces, 0, sizeof *list->pieces * (size_t)(list->n_pieces - n_pieces));
    for (int32_t i = n_joins; i < list->n_joins; i++)
        list->joins[i] = (tl_cuda_join){.row = -1};
}

const tl_cuda_list *tl_cuda_find_list(tl_backend *b, const tl_attention_span *spans) {
    for (int i = 0; i < TL_CUDA_LISTS; i++)
        if (b->lists[i].spans == spans) return &b->lists[i];
    tl_cuda_check(b, cudaErrorInvalidValue, "finding spans: they were not staged");
    return NULL;
}

/* ---- the pass's area: indices, keys, pieces of each list, joins of each list ----------------- */

enum {
    PIECE_ELEMENTS = sizeof(tl_cuda_piece) / sizeof(int32_t),
    JOIN_ELEMENTS = sizeof(tl_cuda_join) / sizeof(int32_t),
};

static size_t indices_elements(const tl_backend_pass *pass) {
    size_t elements = (pass->keys.capacity + 3) / 4 * 4;
    for (int i = 0; i < TL_PASS_INDICES; i++)
        if (pass->indices[i].data) elements += (pass->indices[i].capacity + 3) / 4 * 4;
    return elements;
}

static void place_lists(tl_backend *b, size_t at) {
    b->layout = at;
    for (int i = 0; i < TL_CUDA_LISTS; i++) {
        tl_cuda_list *list = &b->lists[i];
        list->pieces = (tl_cuda_piece *)(b->pass.host + at);
        list->device_pieces = (const tl_cuda_piece *)(b->pass.device + at);
        at += b->pieces_capacity * PIECE_ELEMENTS;
        list->joins = (tl_cuda_join *)(b->pass.host + at);
        list->device_joins = (const tl_cuda_join *)(b->pass.device + at);
        at += b->joins_capacity * JOIN_ELEMENTS;
    }
}

/* Room for the pass's indices and for `pieces` and `joins` in each list. Another layout means other
 * addresses. */
static bool reserve_pass(tl_backend *b, const tl_backend_pass *pass, size_t pieces, size_t joins,
                         tl_error *error) {
    size_t elements = indices_elements(pass);
    bool grown = false;
    for (; b->pieces_capacity < pieces; grown = true)
        b->pieces_capacity = b->pieces_capacity ? 2 * b->pieces_capacity : FIRST_PIECES;
    for (; b->joins_capacity < joins; grown = true)
        b->joins_capacity = b->joins_capacity ? 2 * b->joins_capacity : FIRST_PIECES;
    size_t lists =
        TL_CUDA_LISTS * (b->pieces_capacity * PIECE_ELEMENTS + b->joins_capacity * JOIN_ELEMENTS);
    if (!grown && elements == b->layout && b->pass.device) return true;
    tl_cuda_drop_graphs(b);
    if (!reserve_area(b, &b->pass, elements + lists, error)) return false;
    wait_area(b, &b->pass);
    place_lists(b, elements);
    return true;
}

static void fill_list(tl_backend *b, const tl_backend_pass *pass, int which, int32_t *partial) {
    enum { BATCH = 256 };
    const tl_staged_spans *all = &pass->spans[which];
    tl_cuda_list *list = &b->lists[which];
    int32_t n_pieces = 0, n_joins = 0;
    tl_cuda_list rest = *list;
    for (int32_t first = 0; first < all->n_spans; first += BATCH) {
        int32_t slots_at[BATCH], made, joined;
        tl_staged_spans part = *all;
        part.spans += first;
        part.n_spans = all->n_spans - first < BATCH ? all->n_spans - first : BATCH;
        for (int32_t i = 0; i < part.n_spans; i++)
            slots_at[i] = (int32_t)(tl_cuda_twin(b, part.spans[i].slots) - b->pass.device);
        cut(pass, &part, &rest, slots_at, &made, &joined, partial);
        rest.pieces += made;
        rest.joins += joined;
        n_pieces += made;
        n_joins += joined;
    }
    list->spans = all->n_spans ? all->spans : NULL;
    pad_list(list, n_pieces, n_joins);
}

static bool send_pass(tl_backend *b, const tl_backend_pass *pass, tl_error *error) {
    size_t most_pieces = 0, most_joins = 0, at = 0, filled = 0;
    int32_t partial = 0, n_pieces, n_joins;
    for (int i = 0; i < TL_CUDA_LISTS; i++) {
        cut(pass, &pass->spans[i], NULL, NULL, &n_pieces, &n_joins, &partial);
        if ((size_t)round_list(n_pieces) > most_pieces) most_pieces = (size_t)round_list(n_pieces);
        if ((size_t)round_list(n_joins) > most_joins) most_joins = (size_t)round_list(n_joins);
    }
    size_t bytes =
        sizeof(float) * (size_t)partial * (size_t)pass->heads * (size_t)(pass->head_dim + 2);
    if (!tl_cuda_grow(b, (void **)&b->partials, &b->partials_bytes, bytes,
                      "the attention's partial results", error) ||
        !reserve_pass(b, pass, most_pieces, most_joins, error))
        return false;
    wait_area(b, &b->pass);
    b->n_places[PASS_PLACES] = 0;
    for (int i = 0; i < TL_PASS_INDICES; i++)
        if (pass->indices[i].data) filled = put(b, &b->pass, PASS_PLACES, &pass->indices[i], &at);
    send(b, &b->pass, 0, filled);
    size_t first = at;
    send(b, &b->pass, first, put(b, &b->pass, PASS_PLACES, &pass->keys, &at) - first);
    partial = 0;
    for (int i = 0; i < TL_CUDA_LISTS; i++) {
        tl_cuda_list *list = &b->lists[i];
        fill_list(b, pass, i, &partial);
        send(b, &b->pass, (size_t)((int32_t *)list->pieces - b->pass.host),
             (size_t)list->n_pieces * PIECE_ELEMENTS);
        send(b, &b->pass, (size_t)((int32_t *)list->joins - b->pass.host),
             (size_t)list->n_joins * JOIN_ELEMENTS);
    }
    sent(b, &b->pass);
    return tl_cuda_tell(b, error);
}

bool tl_cuda_reserve(tl_backend *b, const tl_backend_needs *needs, tl_error *error) {
    int32_t rows = tl_cuda_round_rows(b, needs->rows);
    size_t moved = sizeof(float) * (size_t)rows * (size_t)needs->widest;
    size_t rounded = b->fast ? tl_cuda_fast_bytes(rows, needs->widest) : 0;
    if (needs->head_dim > TL_CUDA_MOST_HEAD_DIM)
        return tl_fail(error, TL_ERROR_UNSUPPORTED,
                       "heads of %d dims: the CUDA backend's attention takes %d at most (use "
                       "--device cpu)",
                       needs->head_dim, TL_CUDA_MOST_HEAD_DIM);
    /* Every span of a pass, at worst, sees all keys. */
    int32_t chunks = chunks_of(needs->keys);
    size_t partials = chunks < 2 ? 0
                                 : sizeof(float) * (size_t)rows * (size_t)chunks *
                                       (size_t)needs->heads * (size_t)(needs->head_dim + 2);
    return tl_cuda_grow(b, (void **)&b->scratch, &b->scratch_bytes,
                        moved > rounded ? moved : rounded, "scratch memory", error) &&
           tl_cuda_grow(b, (void **)&b->partials, &b->partials_bytes, partials,
                        "the attention's partial results", error);
}

/* ---- graphs ---------------------------------------------------------------------------------- */

void tl_cuda_drop_graphs(tl_backend *b) {
    for (int i = 0; i < b->n_graphs; i++)
        if (b->graphs[i].recorded) cudaGraphExecDestroy(b->graphs[i].recorded);
    b->n_graphs = 0;
}

/* The graph of that shape; where there is none, an empty one. */
static tl_cuda_graph *find_graph(tl_backend *b, const tl_cuda_shape *shape, bool *known) {
    for (int i = 0; i < b->n_graphs; i++) {
        *known = memcmp(&b->graphs[i].shape, shape, sizeof *shape) == 0;
        if (*known) return &b->graphs[i];
    }
    *known = false;
    if (b->n_graphs == TL_CUDA_MOST_GRAPHS) tl_cuda_drop_graphs(b);
    tl_cuda_graph *graph = &b->graphs[b->n_graphs++];
    *graph = (tl_cuda_graph){.shape = *shape};
    return graph;
}

/* The first pass of a shape is run as it comes, which also lets libraries take their memory; the
 * second is recorded; from then on it is played. */
bool tl_cuda_begin(tl_backend *b, const tl_backend_pass *pass, bool *played, tl_error *error) {
    *played = false;
    b->recording = -1;
    b->n_places[OUTSIDE_PLACES] = 0;
    tl_cuda_check(b, cudaSetDevice(b->index), "choosing the device");
    if (!tl_cuda_tell(b, error) || !send_pass(b, pass, error)) return false;
    tl_cuda_shape shape;
    memset(&shape, 0, sizeof shape);
    memcpy(shape.shape, pass->shape, sizeof shape.shape);
    for (int i = 0; i < TL_CUDA_LISTS; i++) {
        shape.pieces[i] = b->lists[i].n_pieces;
        shape.joins[i] = b->lists[i].n_joins;
    }
    bool known;
    tl_cuda_graph *graph = find_graph(b, &shape, &known);
    if (graph->recorded) {
        *played = true;
        b->played++;
        tl_cuda_check(b, cudaGraphLaunch(graph->recorded, b->stream), "playing a pass");
        return tl_cuda_tell(b, error);
    }
    if (!known) return true;
    if (tl_cuda_check(b, cudaStreamBeginCapture(b->stream, cudaStreamCaptureModeThreadLocal),
                      "recording a pass"))
        b->recording = (int)(graph - b->graphs);
    return tl_cuda_tell(b, error);
}

bool tl_cuda_end(tl_backend *b, tl_error *error) {
    if (b->recording < 0) return tl_cuda_tell(b, error);
    tl_cuda_graph *graph = &b->graphs[b->recording];
    cudaGraph_t taken = NULL;
    b->recording = -1;
    if (tl_cuda_check(b, cudaStreamEndCapture(b->stream, &taken), "recording a pass") &&
        tl_cuda_check(b, cudaGraphInstantiate(&graph->recorded, taken, 0), "recording a pass"))
        tl_cuda_check(b, cudaGraphLaunch(graph->recorded, b->stream), "playing a pass");
    if (taken) cudaGraphDestroy(taken);
    return tl_cuda_tell(b, error);
}
