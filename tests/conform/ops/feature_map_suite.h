/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * What the files of feature_map's suite share. */
#ifndef CONFORM_FEATURE_MAP_SUITE_H
#define CONFORM_FEATURE_MAP_SUITE_H

#include <tenon/ops/feature_map.h>
#include "../conform.h"

/* What x and b hold (own[0]). */
enum { MAP_NORMAL, MAP_EXACT, MAP_SPECIAL, MAP_WIDE, MAP_LARGE, MAP_TINY, MAP_ZERO, MAP_NONE, MAP_FILLS };

static inline int64_t tenon__map_suite_last(const struct conform_case *c, uint32_t i)
{
    const struct tenon_tensor *t = &c->slot[i].tensor;
    return t->dtype ? t->dim[t->rank - 1] : 0;
}

static inline int64_t tenon__map_suite_rows(const struct conform_case *c)
{
    const struct tenon_tensor *x = &c->slot[TENON_FEATURE_MAP_X].tensor;
    int64_t rows = 1;
    for (uint32_t axis = 0; axis + 1 < x->rank; axis++)
        rows *= x->dim[axis];
    return rows;
}

#define MAP_HOSTILE    22
#define MAP_PROPERTIES 4
extern const struct conform_hostile tenon__map_suite_hostile[MAP_HOSTILE];
extern const struct conform_property tenon__map_suite_properties[MAP_PROPERTIES];

#endif
