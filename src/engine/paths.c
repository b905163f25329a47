/* Sequences → a forest that computes what they share once: sorted, cut where neighbours part. */
#include "engine/internal.h"

#include <stdlib.h>
#include <string.h>

/* A shared prefix shorter than this joins two sequences only when it is half of one of them: every
 * tree that outgrows a pass must keep its keys and values between passes. */
enum { WORTH_SHARING = 12 };

/* A run of tokens of a path, [parent's end, end). */
typedef struct node {
    int32_t parent; /* -1: none */
    int32_t end;
    int32_t path;    /* whose tokens */
    int32_t segment; /* once placed */
} node;

typedef struct trie {
    const tl_path *paths;
    int32_t n_paths;
    int32_t *sorted;
    int32_t *leaf;    /* [paths]: the node each ends with */
    int32_t *encoder; /* [paths]: segment of its encoder, or -1 */
    node *nodes;
    int32_t n_nodes;
    int32_t *stack, depth; /* the nodes of the last path, root first */
} trie;

static int compare_ids(const int32_t *a, int32_t n_a, const int32_t *b, int32_t n_b) {
    int32_t n = n_a < n_b ? n_a : n_b;
    for (int32_t i = 0; i < n; i++)
        if (a[i] != b[i]) return a[i] < b[i] ? -1 : 1;
    return (n_a > n_b) - (n_a < n_b);
}

static int compare_paths(const void *left, const void *right, void *context) {
    const tl_path *paths = context;
    int32_t i = *(const int32_t *)left, j = *(const int32_t *)right;
    const tl_path *a = &paths[i], *b = &paths[j];
    int order = compare_ids(a->encoder, a->n_encoder, b->encoder, b->n_encoder);
    if (!order) order = compare_ids(a->tokens, a->n_tokens, b->tokens, b->n_tokens);
    return order ? order : (i > j) - (i < j);
}

static bool same_encoder(const tl_path *a, const tl_path *b) {
    return compare_ids(a->encoder, a->n_encoder, b->encoder, b->n_encoder) == 0;
}

/* Tokens that two neighbours share, 0 where sharing does not pay. */
static int32_t shared_length(const tl_path *a, const tl_path *b) {
    int32_t shorter = a->n_tokens < b->n_tokens ? a->n_tokens : b->n_tokens, length = 0;
    while (length < shorter && a->tokens[length] == b->tokens[length])
        length++;
    return length >= WORTH_SHARING || 2 * length >= shorter ? length : 0;
}

static int32_t add_node(trie *t, int32_t parent, int32_t end, int32_t path) {
    t->nodes[t->n_nodes] = (node){parent, end, path, -1};
    return t->n_nodes++;
}

/* Adds the next path in sorted order, which shares `shared` tokens with the one before. */
static void add_path(trie *t, int32_t path, int32_t shared) {
    int32_t popped = -1;
    while (t->depth && t->nodes[t->stack[t->depth - 1]].end > shared)
        popped = t->stack[--t->depth];
    int32_t top = t->depth ? t->stack[t->depth - 1] : -1;
    if (popped >= 0 && shared > (top < 0 ? 0 : t->nodes[top].end)) {
        int32_t middle = add_node(t, top, shared, t->nodes[popped].path);
        t->nodes[popped].parent = middle;
        t->stack[t->depth++] = top = middle;
    }
    int32_t length = t->paths[path].n_tokens;
    if (top < 0 || t->nodes[top].end < length)
        t->stack[t->depth++] = top = add_node(t, top, length, path);
    t->leaf[path] = top;
}

static int compare_nodes(const void *left, const void *right, void *context) {
    const node *nodes = context;
    int32_t i = *(const int32_t *)left, j = *(const int32_t *)right;
    if (nodes[i].end != nodes[j].end) return nodes[i].end < nodes[j].end ? -1 : 1;
    return (i > j) - (i < j);
}

/* Encoder roots first, then the nodes from short to long: parents come before their children. */
static int32_t place(trie *t, tl_segment *segments, int32_t *order) {
    int32_t n = 0;
    for (int32_t i = 0; i < t->n_paths; i++) {
        int32_t path = t->sorted[i];
        const tl_path *p = &t->paths[path];
        t->encoder[path] = -1;
        if (!p->encoder) continue;
        if (i && same_encoder(p, &t->paths[t->sorted[i - 1]])) {
            t->encoder[path] = t->encoder[t->sorted[i - 1]];
            continue;
        }
        t->encoder[path] = n;
        segments[n++] = (tl_segment){-1, p->encoder, p->n_encoder, true};
    }
    for (int32_t i = 0; i < t->n_nodes; i++)
        order[i] = i;
    qsort_r(order, (size_t)t->n_nodes, sizeof *order, compare_nodes, t->nodes);
    for (int32_t i = 0; i < t->n_nodes; i++) {
        node *each = &t->nodes[order[i]];
        int32_t begin = each->parent < 0 ? 0 : t->nodes[each->parent].end;
        int32_t parent = each->parent < 0 ? t->encoder[each->path] : t->nodes[each->parent].segment;
        each->segment = n;
        segments[n++] =
            (tl_segment){parent, t->paths[each->path].tokens + begin, each->end - begin, false};
    }
    return n;
}

/* Where a path's row lies in the forest. */
static void find_row(const trie *t, int32_t path, int32_t row, int32_t *segment,
                     int32_t *segment_row) {
    int32_t at = t->leaf[path], begin;
    for (;; at = t->nodes[at].parent) {
        int32_t parent = t->nodes[at].parent;
        begin = parent < 0 ? 0 : t->nodes[parent].end;
        if (row >= begin) break;
    }
    *segment = t->nodes[at].segment;
    *segment_row = row - begin;
}

static bool check_paths(const tl_path *paths, int32_t n_paths, size_t *n_asks, tl_error *error) {
    *n_asks = 0;
    for (int32_t i = 0; i < n_paths; i++) {
        if (paths[i].n_tokens < 1 || (paths[i].encoder && paths[i].n_encoder < 1))
            return tl_fail(error, TL_ERROR_USAGE,
                           "sequence %d is empty: expected at least one token", i);
        for (int32_t a = 0; a < paths[i].n_asks; a++)
            if (paths[i].asks[a].row < 0 || paths[i].asks[a].row >= paths[i].n_tokens)
                return tl_fail(error, TL_ERROR_USAGE,
                               "a question about row %d of a sequence of %d tokens",
                               paths[i].asks[a].row, paths[i].n_tokens);
        *n_asks += (size_t)paths[i].n_asks;
    }
    if (n_paths > INT32_MAX / 4 || *n_asks > INT32_MAX / 4)
        return tl_fail(error, TL_ERROR_LIMIT, "%d sequences are too many at once", n_paths);
    return true;
}

static bool build(tl_engine *e, trie *t, tl_error *error) {
    size_t n = (size_t)t->n_paths + 1;
    static const char what[] = "a batch";
    t->sorted = tl_arena_alloc(e->arena, n, sizeof *t->sorted, what, error);
    t->leaf = tl_arena_alloc(e->arena, n, sizeof *t->leaf, what, error);
    t->encoder = tl_arena_alloc(e->arena, n, sizeof *t->encoder, what, error);
    t->nodes = tl_arena_alloc(e->arena, 2 * n, sizeof *t->nodes, what, error);
    t->stack = tl_arena_alloc(e->arena, 2 * n, sizeof *t->stack, what, error);
    if (!t->sorted || !t->leaf || !t->encoder || !t->nodes || !t->stack) return false;
    for (int32_t i = 0; i < t->n_paths; i++)
        t->sorted[i] = i;
    qsort_r(t->sorted, (size_t)t->n_paths, sizeof *t->sorted, compare_paths, (void *)t->paths);
    bool apart = e->model->spec.rope_int8; /* values depend on the length of the whole call */
    for (int32_t i = 0; i < t->n_paths; i++) {
        const tl_path *path = &t->paths[t->sorted[i]];
        const tl_path *before = i ? &t->paths[t->sorted[i - 1]] : NULL;
        bool joined = before && !apart && same_encoder(before, path);
        if (!joined) t->depth = 0;
        add_path(t, t->sorted[i], joined ? shared_length(before, path) : 0);
    }
    return true;
}

bool tl_engine_score_paths(tl_engine *e, const tl_path *paths, int32_t n_paths, tl_work *work,
                           tl_error *error) {
    static const char what[] = "a batch";
    trie t = {.paths = paths, .n_paths = n_paths};
    size_t n_asks;
    tl_arena_reset(e->arena);
    if (work) *work = (tl_work){0};
    if (!check_paths(paths, n_paths, &n_asks, error) || !build(e, &t, error)) return false;
    size_t most = (size_t)n_paths + (size_t)t.n_nodes + 1;
    tl_segment *segments = tl_arena_alloc(e->arena, most, sizeof *segments, what, error);
    int32_t *order = tl_arena_alloc(e->arena, most, sizeof *order, what, error);
    tl_ask *asks = tl_arena_alloc(e->arena, n_asks + 1, sizeof *asks, what, error);
    int32_t *ask_segment = tl_arena_alloc(e->arena, n_asks + 1, sizeof(int32_t), what, error);
    int32_t *ask_row = tl_arena_alloc(e->arena, n_asks + 1, sizeof(int32_t), what, error);
    if (!segments || !order || !asks || !ask_segment || !ask_row) return false;
    int32_t n_segments = place(&t, segments, order), made = 0;
    for (int32_t i = 0; i < n_paths; i++) {
        for (int32_t a = 0; a < paths[i].n_asks; a++, made++) {
            asks[made] = paths[i].asks[a];
            find_row(&t, i, asks[made].row, &ask_segment[made], &ask_row[made]);
        }
    }
    if (!tl_score_forest(e, segments, n_segments, asks, made, ask_segment, ask_row, work, error))
        return false;
    made = 0;
    for (int32_t i = 0; i < n_paths; i++) {
        for (int32_t a = 0; a < paths[i].n_asks; a++, made++) {
            tl_ask *ask = &paths[i].asks[a];
            ask->token = asks[made].token;
            ask->value = asks[made].value;
            ask->greedy = asks[made].greedy;
        }
        if (work && i == 0) work->tokens_asked = 0;
        if (work) work->tokens_asked += (int64_t)paths[i].n_tokens + paths[i].n_encoder;
    }
    return true;
}
