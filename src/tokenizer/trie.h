/* A trie over bytes, built once from a sorted list of keys. */
#ifndef TL_TOKENIZER_TRIE_H
#define TL_TOKENIZER_TRIE_H

#include "base/base.h"

typedef struct tl_trie_key {
    const char *text;
    size_t length; /* at least 1 */
    int32_t value; /* 0 or more */
} tl_trie_key;

typedef struct tl_trie_node {
    uint32_t children; /* index of the first; the others follow it, in order of their bytes */
    int32_t value;     /* -1: no key ends here */
    uint16_t count;
} tl_trie_node;

typedef struct tl_trie {
    tl_trie_node *nodes;
    unsigned char *labels; /* [nodes] the byte that leads to each */
    uint32_t count, allocated;
    uint32_t first[256]; /* node after one byte; 0: none */
} tl_trie;

/* Sorts `keys` and builds. Of equal keys the one with the smallest value stays. */
bool tl_trie_build(tl_trie *trie, tl_trie_key *keys, size_t count, tl_error *error);
void tl_trie_free(tl_trie *trie);
size_t tl_trie_bytes(const tl_trie *trie);

/* The child of a node by a byte; 0 where there is none. */
static inline uint32_t tl_trie_step(const tl_trie *trie, uint32_t node, unsigned char byte) {
    if (node == 0) return trie->first[byte];
    const tl_trie_node *n = &trie->nodes[node];
    const unsigned char *labels = trie->labels + n->children;
    uint32_t low = 0, high = n->count;
    while (high - low > 8) {
        uint32_t middle = (low + high) / 2;
        if (labels[middle] <= byte)
            low = middle;
        else
            high = middle;
    }
    for (; low < high; low++)
        if (labels[low] == byte) return n->children + low;
    return 0;
}

#endif
