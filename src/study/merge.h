/* merge: several stores into one. Cells of different devices stay apart; the same cell of the same
 * device is united, example by example. */
#ifndef TL_STUDY_MERGE_H
#define TL_STUDY_MERGE_H

#include "study/store.h"

typedef struct tl_merged {
    int64_t cells, examples; /* taken over from this store */
} tl_merged;

/* Adds what `from` holds to `into`. The same cell must have the same identity in both (refused by
 * name otherwise). Where both have an example, `into`'s stays. Measures that follow from the
 * examples are computed anew; of the others those of the store with more examples of the cell are
 * kept. */
bool tl_store_merge(tl_store *into, tl_store *from, tl_merged *merged, tl_error *error);

#endif
