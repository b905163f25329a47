/* A forest of segments → passes.
 *
 * Segments are taken in depth-first order and cut wherever a pass is full, so the only keys and
 * values that must be kept between passes are those of the path that is being continued. Trees that
 * fit into a pass as a whole are not cut; then nothing needs to be kept, and the layers share one
 * layer's store. */
#include "engine/internal.h"

#include <stdlib.h>
#include <string.h>

/* One call. The arrays are in the engine's arena. */
typedef struct forest {
    tl_engine *engine;
    const tl_segment *segments;
    int32_t n_segments;
    tl_ask *asks;
    int32_t n_asks;
    int32_t *ask_segment, *ask_row; /* [asks]: where each is asked */
    int32_t *asks_of;               /* [segments + 1]: where a segment's asks begin in ask_order */
    int32_t *ask_order;             /* [asks]: by segment, then row */
    int32_t *first_child, *next;    /* [segments]; -1: none */
    int32_t *start;                 /* [segments]: logical position of the first row */
    int32_t *root;                  /* [segments] */
    int64_t *subtree, *keys;        /* [segments]: tokens, and keys seen, in it and below */
    int32_t *order;                 /* [segments]: depth first */
    int32_t *path;                  /* slots by logical position of the path being continued */
    int32_t path_length, longest;
    int32_t longest_encoder;
    int32_t *free_slots, n_free;
    int32_t *retired, n_retired;                 /* slots to be freed once the pass has run */
    int32_t *call_asks, *call_rows, n_call_asks; /* asks that the pass answers, and on which row */
    int32_t *cross_first; /* [segments]: a root's first row in the cross store */
    int32_t *count_up;    /* 0, 1, 2, …: slots of the encoder's rows */
    bool began_whole;     /* the pass began at the root of a tree */
    tl_work *work;
} forest;

/* ---- checking -------------------------------------------------------------------------------- */

static bool check_tokens(const tl_model_spec *spec, const int32_t *tokens, int32_t count,
                         int32_t segment, tl_error *error) {
    for (int32_t i = 0; i < count; i++)
        if (tokens[i] < 0 || tokens[i] >= spec->vocab)
            return tl_fail(error, TL_ERROR_USAGE,
                           "segment %d: token %d is not in the vocabulary: expected 0 to %d",
                           segment, tokens[i], spec->vocab - 1);
    return true;
}

static bool check_segment(const forest *f, int32_t i, tl_error *error) {
    const tl_segment *segment = &f->segments[i];
    const tl_model_spec *spec = &f->engine->model->spec;
    if (segment->n_tokens < 1)
        return tl_fail(error, TL_ERROR_USAGE, "segment %d is empty: expected at least one token",
                       i);
    if (segment->parent < -1 || segment->parent >= i)
        return tl_fail(error, TL_ERROR_USAGE,
                       "segment %d has parent %d: expected an earlier segment or -1", i,
                       segment->parent);
    if (segment->encoder && (!spec->encoder || segment->parent >= 0))
        return tl_fail(error, TL_ERROR_USAGE, "segment %d: %s", i,
                       spec->encoder ? "an encoder segment must be a root"
                                     : "the model has no encoder");
    if (spec->encoder && segment->parent < 0 && !segment->encoder)
        return tl_fail(error, TL_ERROR_USAGE,
                       "segment %d: a decoder segment needs the encoder's tokens as its root", i);
    return check_tokens(spec, segment->tokens, segment->n_tokens, i, error);
}

static bool check_ask(const forest *f, const tl_ask *ask, int32_t segment, int32_t row,
                      tl_error *error) {
    if (segment < 0 || segment >= f->n_segments || row < 0 ||
        row >= f->segments[segment].n_tokens || f->segments[segment].encoder)
        return tl_fail(error, TL_ERROR_USAGE,
                       "a question about row %d of segment %d: there is no such row", row, segment);
    if (ask->kind == TL_ASK_LOGITS)
        return ask->logits || tl_fail(error, TL_ERROR_USAGE, "a question without room for logits");
    if (ask->kind == TL_ASK_BEST) return true;
    return check_tokens(&f->engine->model->spec, &ask->token, 1, segment, error);
}

/* ---- the forest's shape ---------------------------------------------------------------------- */

static void *allocate(const forest *f, size_t count, size_t size, tl_error *error) {
    return tl_arena_alloc(f->engine->arena, count ? count : 1, size, "a batch", error);
}

static bool allocate_shape(forest *f, tl_error *error) {
    size_t n = (size_t)f->n_segments, asks = (size_t)f->n_asks;
    return (f->first_child = allocate(f, n, sizeof(int32_t), error)) &&
           (f->next = allocate(f, n, sizeof(int32_t), error)) &&
           (f->start = allocate(f, n, sizeof(int32_t), error)) &&
           (f->root = allocate(f, n, sizeof(int32_t), error)) &&
           (f->order = allocate(f, n, sizeof(int32_t), error)) &&
           (f->subtree = allocate(f, n, sizeof(int64_t), error)) &&
           (f->keys = allocate(f, n, sizeof(int64_t), error)) &&
           (f->cross_first = allocate(f, n, sizeof(int32_t), error)) &&
           (f->asks_of = allocate(f, n + 2, sizeof(int32_t), error)) &&
           (f->ask_order = allocate(f, asks, sizeof(int32_t), error)) &&
           (f->call_asks = allocate(f, asks, sizeof(int32_t), error)) &&
           (f->call_rows = allocate(f, asks, sizeof(int32_t), error));
}

/* Positions, subtree sizes and depth-first order; checks every segment on the way. */
static bool shape_segments(forest *f, tl_error *error) {
    const tl_model_spec *spec = &f->engine->model->spec;
    for (int32_t i = 0; i < f->n_segments; i++) {
        const tl_segment *segment = &f->segments[i];
        if (!check_segment(f, i, error)) return false;
        int32_t parent = segment->parent;
        bool after_encoder = parent >= 0 && f->segments[parent].encoder;
        f->start[i] =
            parent < 0 || after_encoder ? 0 : f->start[parent] + f->segments[parent].n_tokens;
        f->root[i] = parent < 0 ? i : f->root[parent];
        f->first_child[i] = f->next[i] = -1;
        int64_t length = (int64_t)f->start[i] + segment->n_tokens;
        if (length > spec->positions || length > INT32_MAX / 2)
            return tl_fail(error, TL_ERROR_LIMIT, "a sequence of %lld tokens: the model takes %d",
                           (long long)length, spec->positions);
        if (segment->encoder && length > f->longest_encoder) f->longest_encoder = (int32_t)length;
        if (length > f->longest) f->longest = (int32_t)length;
        f->subtree[i] = segment->n_tokens;
        f->keys[i] = length;
    }
    for (int32_t i = f->n_segments - 1; i >= 0; i--) {
        int32_t parent = f->segments[i].parent;
        if (parent < 0) continue;
        f->subtree[parent] += f->subtree[i];
        f->keys[parent] += f->keys[i];
        f->next[i] = f->first_child[parent];
        f->first_child[parent] = i;
    }
    int32_t made = 0;
    for (int32_t tree = 0; tree < f->n_segments; tree++) {
        if (f->segments[tree].parent >= 0) continue;
        for (int32_t i = tree; i >= 0;) {
            f->order[made++] = i;
            if (f->first_child[i] >= 0) {
                i = f->first_child[i];
                continue;
            }
            while (i >= 0 && i != tree && f->next[i] < 0)
                i = f->segments[i].parent;
            i = i == tree ? -1 : f->next[i];
        }
    }
    return true;
}

/* Sorts the asks by segment (counting), then by row (insertion: they mostly come sorted). */
static bool shape_asks(forest *f, tl_error *error) {
    int32_t *begin = f->asks_of + 1; /* shifted, so that filling leaves asks_of right */
    for (int32_t i = 0; i < f->n_asks; i++) {
        if (!check_ask(f, &f->asks[i], f->ask_segment[i], f->ask_row[i], error)) return false;
        begin[f->ask_segment[i]]++;
    }
    int32_t total = 0;
    for (int32_t s = 0; s <= f->n_segments; s++) {
        int32_t count = begin[s];
        begin[s] = total;
        total += count;
    }
    for (int32_t i = 0; i < f->n_asks; i++)
        f->ask_order[begin[f->ask_segment[i]]++] = i;
    for (int32_t s = 0; s < f->n_segments; s++) {
        for (int32_t i = f->asks_of[s] + 1; i < f->asks_of[s + 1]; i++) {
            int32_t ask = f->ask_order[i], at = i;
            for (; at > f->asks_of[s] && f->ask_row[f->ask_order[at - 1]] > f->ask_row[ask]; at--)
                f->ask_order[at] = f->ask_order[at - 1];
            f->ask_order[at] = ask;
        }
    }
    return true;
}

static void count_work(const forest *f) {
    if (!f->work) return;
    for (int32_t i = 0; i < f->n_segments; i++) {
        f->work->tokens_computed += f->segments[i].n_tokens;
        if (f->first_child[i] >= 0) continue;
        int32_t root = f->root[i];
        f->work->tokens_asked += f->start[i] + f->segments[i].n_tokens;
        if (f->segments[root].encoder && root != i)
            f->work->tokens_asked += f->segments[root].n_tokens;
    }
}

/* ---- passes ---------------------------------------------------------------------------------- */

static void run_pass(forest *f, bool at_tree_end) {
    tl_engine *e = f->engine;
    tl_pass *pass = &e->pass;
    if (pass->rows) {
        double before = tl_engine_clock_start(e);
        pass->one_layer = pass->encoder || (f->began_whole && at_tree_end);
        tl_pass_run(e);
        tl_head_run(e, f->asks, f->call_asks, f->call_rows, f->n_call_asks);
        double seconds = tl_engine_clock_stop(e, before);
        if (f->work) f->work->seconds += seconds;
    }
    while (f->n_retired)
        f->free_slots[f->n_free++] = f->retired[--f->n_retired];
    f->n_call_asks = 0;
    f->began_whole = at_tree_end;
    tl_pass_begin(e, false);
}

/* The first decoder (or causal) segment of a tree: it continues nothing. */
static bool is_top(const forest *f, int32_t i) {
    int32_t parent = f->segments[i].parent;
    return !f->segments[i].encoder && (parent < 0 || f->segments[parent].encoder);
}

/* Takes back the slots of positions `length` … of the path. */
static void retire(forest *f, int32_t length) {
    for (; f->path_length > length; f->path_length--)
        f->retired[f->n_retired++] = f->path[f->path_length - 1];
}

/* Marks the rows that are asked about among rows first … first+count-1 of a segment, which are rows
 * `pass_row` … of the pass. `*at` runs through the segment's asks. */
static void want_rows(forest *f, int32_t segment, int32_t first, int32_t count, int32_t pass_row,
                      int32_t *at) {
    tl_pass *pass = &f->engine->pass;
    for (; *at < f->asks_of[segment + 1]; ++*at) {
        int32_t ask = f->ask_order[*at], row = f->ask_row[ask];
        if (row >= first + count) return;
        int32_t wanted = pass_row + row - first;
        if (pass->n_wanted == 0 || pass->wanted[pass->n_wanted - 1] != wanted)
            pass->wanted[pass->n_wanted++] = wanted;
        f->call_asks[f->n_call_asks] = ask;
        f->call_rows[f->n_call_asks++] = pass->n_wanted - 1;
    }
}

static void add_segment(forest *f, int32_t i) {
    tl_engine *e = f->engine;
    const tl_segment *segment = &f->segments[i];
    int32_t root = f->root[i], at = f->asks_of[i];
    for (int32_t done = 0; done < segment->n_tokens;) {
        int32_t position = f->start[i] + done, left = segment->n_tokens - done;
        if (!tl_pass_has_room(e, position + left)) run_pass(f, done == 0 && is_top(f, i));
        int32_t room = e->pass.capacity - e->pass.rows;
        int32_t count = left < room ? left : room;
        for (int32_t r = 0; r < count; r++)
            f->path[f->path_length++] = f->free_slots[--f->n_free];
        int32_t row = tl_pass_add(e, segment->tokens + done, count, position, f->path,
                                  f->start[i] + segment->n_tokens);
        if (f->segments[root].encoder)
            tl_pass_cross(e, f->count_up + f->cross_first[root], f->segments[root].n_tokens);
        want_rows(f, i, done, count, row, &at);
        done += count;
    }
}

/* Can the tree below segment i be in one pass? */
static bool tree_fits(const forest *f, int32_t i, int64_t rows, int64_t keys) {
    const tl_pass *pass = &f->engine->pass;
    return rows + f->subtree[i] <= pass->capacity &&
           keys + f->keys[i] <= (int64_t)pass->keys_capacity;
}

/* Rows after which a pass ends with its tree, so that all are about equal: one of a few rows would
 * read all weights for little. Where trees are not cut, each pass has a part of one to spare. */
static int64_t choose_rows(const forest *f, int32_t from, int32_t to) {
    int64_t capacity = f->engine->pass.capacity, rows = 0, trees = 0;
    for (int32_t at = from; at < to; at++) {
        int32_t i = f->order[at];
        if (f->segments[i].encoder) continue;
        rows += f->segments[i].n_tokens;
        trees += is_top(f, i);
    }
    int64_t tree = trees ? rows / trees : 0;
    int64_t room = tree <= capacity / 2 ? capacity - tree : capacity;
    int64_t passes = (rows + room - 1) / room;
    return passes ? (rows + passes - 1) / passes : capacity;
}

/* The decoder (or causal) segments order[from … to-1]. */
static void run_segments(forest *f, int32_t from, int32_t to) {
    const tl_pass *pass = &f->engine->pass;
    int64_t enough = choose_rows(f, from, to);
    for (int32_t at = from; at < to; at++) {
        int32_t i = f->order[at];
        if (f->segments[i].encoder) continue;
        retire(f, f->start[i]);
        bool ends = pass->rows >= enough ||
                    (tree_fits(f, i, 0, 0) && !tree_fits(f, i, pass->rows, (int64_t)pass->n_keys));
        if (is_top(f, i) && pass->rows && ends) run_pass(f, true);
        add_segment(f, i);
    }
    retire(f, 0);
    run_pass(f, true);
}

/* Encoder-decoders: as many encoder roots as fit into a pass, then all that hangs below them. */
static void run_groups(forest *f) {
    tl_engine *e = f->engine;
    for (int32_t at = 0; at < f->n_segments;) {
        int32_t from = at;
        tl_pass_begin(e, true);
        for (; at < f->n_segments; at++) {
            int32_t i = f->order[at], count = f->segments[i].n_tokens;
            if (!f->segments[i].encoder) continue;
            if (e->pass.rows && !tl_pass_has_room(e, count)) break;
            if (e->pass.rows + count > e->pass.capacity) break;
            f->cross_first[i] = e->pass.rows;
            tl_pass_add(e, f->segments[i].tokens, count, 0, f->count_up + e->pass.rows, count);
        }
        run_pass(f, true);
        run_segments(f, from, at);
    }
}

/* ---- a call ---------------------------------------------------------------------------------- */

static bool reserve(forest *f, tl_error *error) {
    tl_engine *e = f->engine;
    const tl_model *m = e->model;
    const tl_model_spec *spec = &m->spec;
    int64_t kv = (int64_t)spec->kv_heads * spec->head_dim;
    int32_t rows = e->pass_rows > f->longest_encoder ? e->pass_rows : f->longest_encoder;
    if (!tl_forward_reserve(e, rows, f->longest, error)) return false;
    bool whole = true;
    for (int32_t i = 0; i < f->n_segments && whole; i++)
        whole = !is_top(f, i) || tree_fits(f, i, 0, 0);
    int32_t capacity = e->pass.capacity, slots = whole ? capacity : f->longest + capacity;
    if (!tl_kv_reserve(&e->store, whole ? 1 : m->decoder.n_layers, slots, kv, error)) return false;
    if (spec->encoder &&
        !tl_kv_reserve(&e->cross, m->decoder.n_layers, tl_pass_most_rows(e), kv, error))
        return false;
    f->path = allocate(f, (size_t)f->longest, sizeof *f->path, error);
    f->free_slots = allocate(f, (size_t)slots, sizeof *f->free_slots, error);
    f->retired = allocate(f, (size_t)slots, sizeof *f->retired, error);
    f->count_up = allocate(f, (size_t)capacity, sizeof *f->count_up, error);
    if (!f->path || !f->free_slots || !f->retired || !f->count_up) return false;
    for (int32_t i = 0; i < slots; i++)
        f->free_slots[i] = slots - 1 - i;
    for (int32_t i = 0; i < capacity; i++)
        f->count_up[i] = i;
    f->n_free = slots;
    return true;
}

static bool run_forest(forest *f, tl_error *error) {
    if (!allocate_shape(f, error) || !shape_segments(f, error) || !shape_asks(f, error) ||
        !reserve(f, error))
        return false;
    count_work(f);
    f->began_whole = true;
    tl_pass_begin(f->engine, false);
    if (f->engine->model->spec.encoder)
        run_groups(f);
    else
        run_segments(f, 0, f->n_segments);
    return tl_engine_settle(f->engine, error);
}

/* spec.rope_int8: every segment with questions becomes a sequence of its own, from the root on. */
static bool unshare(forest *f, tl_error *error) {
    const tl_segment *old = f->segments;
    size_t n = (size_t)f->n_segments;
    int32_t *call = allocate(f, n, sizeof *call, error);
    int32_t *start = allocate(f, n, sizeof *start, error);
    tl_segment *calls = allocate(f, n, sizeof *calls, error);
    int32_t n_calls = 0;
    if (!call || !start || !calls) return false;
    for (int32_t i = 0; i < f->n_segments; i++) {
        if (!check_segment(f, i, error)) return false;
        int32_t parent = old[i].parent;
        int64_t from = parent < 0 ? 0 : (int64_t)start[parent] + old[parent].n_tokens;
        if (from + old[i].n_tokens > INT32_MAX / 2)
            return tl_fail(error, TL_ERROR_LIMIT, "a sequence of %lld tokens is too long",
                           (long long)from + old[i].n_tokens);
        start[i] = (int32_t)from;
        call[i] = -1;
    }
    for (int32_t a = 0; a < f->n_asks; a++) {
        int32_t i = f->ask_segment[a];
        if (!check_ask(f, &f->asks[a], i, f->ask_row[a], error)) return false;
        if (call[i] < 0) {
            int32_t length = start[i] + old[i].n_tokens;
            int32_t *tokens = allocate(f, (size_t)length, sizeof *tokens, error);
            if (!tokens) return false;
            for (int32_t s = i; s >= 0; s = old[s].parent)
                memcpy(tokens + start[s], old[s].tokens, (size_t)old[s].n_tokens * sizeof *tokens);
            call[i] = n_calls;
            calls[n_calls++] = (tl_segment){-1, tokens, length, false};
        }
        f->ask_segment[a] = call[i];
        f->ask_row[a] += start[i];
    }
    f->segments = calls;
    f->n_segments = n_calls;
    return true;
}

bool tl_score_forest(tl_engine *e, const tl_segment *segments, int32_t n_segments, tl_ask *asks,
                     int32_t n_asks, const int32_t *ask_segment, const int32_t *ask_row,
                     tl_work *work, tl_error *error) {
    forest f = {.engine = e,
                .segments = segments,
                .n_segments = n_segments,
                .asks = asks,
                .n_asks = n_asks,
                .work = work};
    f.ask_segment = allocate(&f, (size_t)n_asks, sizeof *f.ask_segment, error);
    f.ask_row = allocate(&f, (size_t)n_asks, sizeof *f.ask_row, error);
    if (!f.ask_segment || !f.ask_row) return false;
    for (int32_t i = 0; i < n_asks; i++) {
        f.ask_segment[i] = ask_segment ? ask_segment[i] : asks[i].segment;
        f.ask_row[i] = ask_row ? ask_row[i] : asks[i].row;
    }
    if (e->model->spec.rope_int8 && !unshare(&f, error)) return false;
    return run_forest(&f, error);
}

bool tl_engine_score(tl_engine *engine, const tl_segment *segments, int32_t n_segments,
                     tl_ask *asks, int32_t n_asks, tl_work *work, tl_error *error) {
    if (work) *work = (tl_work){0};
    tl_arena_reset(engine->arena);
    return tl_score_forest(engine, segments, n_segments, asks, n_asks, NULL, NULL, work, error);
}
