/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * What the files of gated_norm's suite share. */
#ifndef CONFORM_GATED_NORM_SUITE_H
#define CONFORM_GATED_NORM_SUITE_H

#include <tenon/ops/gated_norm.h>
#include "../conform.h"

/* What the inputs hold (own[0]). */
enum {
    NORM_NORMAL,
    NORM_EXACT,   /* small dyadic numbers */
    NORM_SPECIAL, /* infinities and NaN here and there */
    NORM_WIDE,    /* groups of large and of small numbers */
    NORM_LARGE,   /* up to the end of the type */
    NORM_TINY,    /* subnormals */
    NORM_ZERO,    /* every other group is zeros */
    NORM_FLAT,    /* groups that are constant, or nearly */
    NORM_FAR,     /* a mean far from zero */
    NORM_GATES,   /* gates of every size */
    NORM_FILLS
};

static inline int64_t tenon__norm_suite_cols(const struct conform_case *c)
{
    const struct tenon_tensor *x = &c->slot[TENON_GATED_NORM_X].tensor;
    return x->dim[x->rank - 1];
}

static inline int64_t tenon__norm_suite_group(const struct conform_case *c)
{
    const struct tenon_gated_norm_params *p = (const void *)c->params;
    return p->group ? p->group : tenon__norm_suite_cols(c);
}

static inline int64_t tenon__norm_suite_rows(const struct conform_case *c)
{
    const struct tenon_tensor *x = &c->slot[TENON_GATED_NORM_X].tensor;
    int64_t rows = 1;
    for (uint32_t axis = 0; axis + 1 < x->rank; axis++)
        rows *= x->dim[axis];
    return rows;
}

/* weight, bias and those of b. */
static inline int tenon__norm_suite_is_weight(uint32_t i)
{
    return i == TENON_GATED_NORM_WEIGHT || i == TENON_GATED_NORM_BIAS || i == TENON_GATED_NORM_WEIGHT_B ||
           i == TENON_GATED_NORM_BIAS_B;
}

#define NORM_HOSTILE    20
#define NORM_PROPERTIES 5
extern const struct conform_hostile tenon__norm_suite_hostile[NORM_HOSTILE];
extern const struct conform_property tenon__norm_suite_properties[NORM_PROPERTIES];

#endif
