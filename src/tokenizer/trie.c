#include "tokenizer/trie.h"

#include <stdlib.h>
#include <string.h>

static int compare_keys(const void *a, const void *b) {
    const tl_trie_key *x = a, *y = b;
    size_t common = x->length < y->length ? x->length : y->length;
    int order = memcmp(x->text, y->text, common);
    if (order) return order;
    if (x->length != y->length) return x->length < y->length ? -1 : 1;
    return (x->value > y->value) - (x->value < y->value);
}

/* A node whose children are still to be made: the keys [from, to) share its first `depth` bytes. */
typedef struct pending {
    uint32_t node;
    size_t from, to, depth;
} pending;

static bool reserve_nodes(tl_trie *trie, uint32_t extra, tl_error *error) {
    if (trie->count + extra <= trie->allocated) return true;
    uint64_t allocated = trie->allocated ? trie->allocated : 1024;
    while (allocated < (uint64_t)trie->count + extra)
        allocated *= 2;
    if (allocated > UINT32_MAX / 2) return tl_fail_memory(error, allocated, "a trie");
    tl_trie_node *nodes = realloc(trie->nodes, allocated * sizeof *nodes);
    if (nodes) trie->nodes = nodes;
    unsigned char *labels = realloc(trie->labels, allocated);
    if (labels) trie->labels = labels;
    if (!nodes || !labels) return tl_fail_memory(error, allocated * sizeof *nodes, "a trie");
    trie->allocated = (uint32_t)allocated;
    return true;
}

/* Makes the children of one node and notes them at the end of `queue`. */
static bool expand(tl_trie *trie, const tl_trie_key *keys, pending p, pending **queue,
                   size_t *queued, size_t *capacity, tl_error *error) {
    for (; p.from < p.to && keys[p.from].length == p.depth; p.from++)
        if (trie->nodes[p.node].value < 0) trie->nodes[p.node].value = keys[p.from].value;
    trie->nodes[p.node].children = trie->count;
    while (p.from < p.to) {
        unsigned char byte = (unsigned char)keys[p.from].text[p.depth];
        size_t to = p.from + 1;
        while (to < p.to && (unsigned char)keys[to].text[p.depth] == byte)
            to++;
        if (*queued == *capacity) {
            size_t larger = *capacity ? *capacity * 2 : 1024;
            pending *grown = realloc(*queue, larger * sizeof *grown);
            if (!grown) return tl_fail_memory(error, larger * sizeof *grown, "a trie");
            *queue = grown;
            *capacity = larger;
        }
        if (!reserve_nodes(trie, 1, error)) return false;
        uint32_t child = trie->count++;
        trie->nodes[child] = (tl_trie_node){.value = -1};
        trie->labels[child] = byte;
        trie->nodes[p.node].count++;
        if (p.node == 0) trie->first[byte] = child;
        (*queue)[(*queued)++] = (pending){child, p.from, to, p.depth + 1};
        p.from = to;
    }
    return true;
}

bool tl_trie_build(tl_trie *trie, tl_trie_key *keys, size_t count, tl_error *error) {
    *trie = (tl_trie){0};
    if (count) qsort(keys, count, sizeof *keys, compare_keys);
    pending *queue = NULL;
    size_t queued = 0, capacity = 0;
    bool good = reserve_nodes(trie, 1, error);
    if (good) {
        trie->nodes[trie->count++] = (tl_trie_node){.value = -1};
        trie->labels[0] = 0;
        good = expand(trie, keys, (pending){0, 0, count, 0}, &queue, &queued, &capacity, error);
    }
    for (size_t i = 0; good && i < queued; i++)
        good = expand(trie, keys, queue[i], &queue, &queued, &capacity, error);
    free(queue);
    if (!good) tl_trie_free(trie);
    return good;
}

void tl_trie_free(tl_trie *trie) {
    free(trie->nodes);
    free(trie->labels);
    *trie = (tl_trie){0};
}

size_t tl_trie_bytes(const tl_trie *trie) {
    return trie->allocated * (sizeof *trie->nodes + 1) + sizeof *trie;
}
