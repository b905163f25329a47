/* base: what every room stands on. No policy, no knowledge of models. */
#ifndef TL_BASE_H
#define TL_BASE_H

#include "base/arena.h"
#include "base/buffer.h"
#include "base/checked.h"
#include "base/clock.h"
#include "base/data_dir.h"
#include "base/digest.h"
#include "base/dtype.h"
#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "base/map.h"
#include "base/pool.h"

#endif
