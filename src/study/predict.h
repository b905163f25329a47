/* predict: what a group will need, before anything is loaded. */
#ifndef TL_STUDY_PREDICT_H
#define TL_STUDY_PREDICT_H

#include "study/plan.h"

/* Bytes a group is predicted to need, with its parts; 0 when nothing can be said. */
int64_t tl_group_predict(const tl_plan_group *group, tl_memory *parts);

#endif
