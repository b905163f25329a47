#include "report/results.h"

const tl_measure_traits *tl_measure_get(tl_measure measure) {
    static const tl_measure_traits table[TL_MEASURE_COUNT] = {
        [TL_MEASURE_ACCURACY] = {"accuracy", "Accuracy", "%", 2, true},
        [TL_MEASURE_TIME] = {"inference_time", "Inference time", "ms", 2, false},
        [TL_MEASURE_MEMORY] = {"peak_memory", "Peak memory", "GB", 3, false},
        [TL_MEASURE_SIZE] = {"model_size", "Model size", "MB", 2, false},
        [TL_MEASURE_ACCURACY_NORM] = {"accuracy_norm", "Accuracy by length", "%", 2, true},
        [TL_MEASURE_ENERGY] = {"energy", "Energy an example", "J", 3, false},
    };
    return &table[measure];
}
