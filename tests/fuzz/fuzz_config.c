/* Any bytes as a config.json: a spec that can be walked, or an error. */
#include "model/family.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    tl_error error = {0};
    tl_model_spec spec;
    cJSON *config = tl_json_parse((const char *)data, size, "config.json", &error);
    if (config && tl_model_parse_spec(config, &spec, "config.json", &error)) {
        if (tl_model_count_parameters(&spec) <= 0) abort();
        if (spec.dim < 1 || spec.heads % spec.kv_heads || spec.rotary_dim > spec.head_dim) abort();
    }
    cJSON_Delete(config);
    return 0;
}
