/* hub: names → local files. Hub ids, the Hugging Face cache, lists (@study), downloads, dataset
 * rows. */
#ifndef TL_HUB_H
#define TL_HUB_H

#include "base/base.h"

/* A model of the registry (models/study.json). */
typedef struct tl_known_model {
    const char *id;               /* "HuggingFaceTB/SmolLM-135M" */
    const char *family;           /* "llama" */
    const char *parameters_label; /* "135M", as the study's tables print it */
    int64_t parameters;           /* exact count, tied ones once */
    const char *affiliation;
    const char *release; /* "2024-07" */
    const char *dtype;   /* on the hub: "bf16" */
} tl_known_model;

typedef struct tl_registry tl_registry;

tl_registry *tl_registry_open(tl_error *error);
void tl_registry_free(tl_registry *registry);
int tl_registry_count(const tl_registry *registry);
const tl_known_model *tl_registry_at(const tl_registry *registry, int index);
/* By full id, or by its last part in any letter case; NULL when unknown. */
const tl_known_model *tl_registry_find(const tl_registry *registry, const char *name);

/* Expands one MODEL argument: "@study" → the registry's ids, "@demo" → the demo's directories,
 * anything else → itself. Appends malloc'ed strings to *items (realloc'ed). */
bool tl_hub_expand(const char *argument, char ***items, int *count, tl_error *error);

/* The directory with the model's files: a path as it is, or org/name[@revision] from the Hugging
 * Face cache (HF_HUB_CACHE, HF_HOME, XDG_CACHE_HOME). Fails saying where it looked and "tinyllm
 * pull". */
bool tl_hub_model_directory(const char *model, char *path, size_t size, tl_error *error);

/* The same for a use that needs no weights: a snapshot without them will do. */
bool tl_hub_tokenizer_directory(const char *model, char *path, size_t size, tl_error *error);

/* The file of a dataset's split in the cache. */
bool tl_hub_dataset_file(const char *dataset, const char *config, const char *revision,
                         const char *split, char *path, size_t size, tl_error *error);

#endif
