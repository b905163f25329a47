/* The table of families: one line each. */
#include "model/family.h"

#include <string.h>

extern const tl_family tl_family_bloom, tl_family_gpt2, tl_family_gpt_neox, tl_family_llama,
    tl_family_opt, tl_family_phonelm, tl_family_qwen2, tl_family_t5;

const tl_family *const tl_families[] = {
    &tl_family_bloom, &tl_family_gpt2, &tl_family_gpt_neox,
    &tl_family_llama, &tl_family_opt,  &tl_family_phonelm,
    &tl_family_qwen2, &tl_family_t5,   NULL,
};

const tl_family *tl_family_find(const char *model_type) {
    for (const tl_family *const *family = tl_families; *family; family++)
        if (strcmp((*family)->model_type, model_type) == 0) return *family;
    return NULL;
}
