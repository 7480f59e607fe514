/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * What the files of moe_combine's cases share. */
#ifndef CONFORM_MOE_COMBINE_SUITE_H
#define CONFORM_MOE_COMBINE_SUITE_H

#include <tenon/ops/moe_combine.h>
#include "../conform.h"

/* How the tensors are filled (own[0]). */
enum {
    COMBINE_EXACT,     /* sums of small dyadic numbers */
    COMBINE_NORMAL,    /* what experts and routers make */
    COMBINE_DROPPED,   /* most slots are empty, of every third token all */
    COMBINE_WRONG_POS, /* numbers that are no rows */
    COMBINE_ZERO_W,    /* weights of 0 on rows with NaN */
    COMBINE_WIDE,      /* terms far from each other */
    COMBINE_SPECIAL,   /* infinities and NaN in rows, weights, shared and residual */
    COMBINE_ONCE,      /* benchmarks: every row once */
    COMBINE_FILLS
};

static inline int64_t tenon__combine_suite_k(const struct conform_case *c)
{
    const struct tenon_tensor *pos = &c->slot[TENON_MOE_COMBINE_POS].tensor;
    return pos->dim[pos->rank - 1];
}

static inline int64_t tenon__combine_suite_tokens(const struct conform_case *c)
{
    const struct tenon_tensor *pos = &c->slot[TENON_MOE_COMBINE_POS].tensor;
    int64_t tokens = 1;
    for (uint32_t axis = 0; axis + 1 < pos->rank; axis++)
        tokens *= pos->dim[axis];
    return tokens;
}

static inline int64_t tenon__combine_suite_mp(const struct conform_case *c)
{
    return c->slot[TENON_MOE_COMBINE_ZP].tensor.dim[0];
}

static inline int64_t tenon__combine_suite_cols(const struct conform_case *c)
{
    return c->slot[TENON_MOE_COMBINE_ZP].tensor.dim[1];
}

#define COMBINE_HOSTILE    16
#define COMBINE_PROPERTIES 5
extern const struct conform_hostile tenon__combine_suite_hostile[COMBINE_HOSTILE];
extern const struct conform_property tenon__combine_suite_properties[COMBINE_PROPERTIES];

#endif
