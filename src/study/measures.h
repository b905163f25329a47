/* measures: every measure a cell may have, by name, with its unit and its definition.
 *
 * A measure that could not be taken is NAN in the store, with a note that says why; never 0. */
#ifndef TL_STUDY_MEASURES_H
#define TL_STUDY_MEASURES_H

#include "study/store.h"

typedef struct tl_measure_definition {
    const char *name;
    const char *unit;
    const char *definition;
} tl_measure_definition;

/* Every measure, in the order reports list them; ends with a NULL name. */
extern const tl_measure_definition tl_measure_definitions[];

/* NULL for a name that is not among them. */
const tl_measure_definition *tl_measure_define(const char *name);

/* Computes from a cell's stored examples the measures that follow from them alone (accuracy,
 * latency, counts) and stores them. A function of the examples: a resumed run, a merged and a
 * salvaged store get the same values as an uninterrupted one. */
bool tl_measure_examples(tl_store *store, int64_t cell, tl_error *error);

#endif
