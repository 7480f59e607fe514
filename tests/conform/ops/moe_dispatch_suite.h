/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * What the files of moe_dispatch's cases share. */
#ifndef CONFORM_MOE_DISPATCH_SUITE_H
#define CONFORM_MOE_DISPATCH_SUITE_H

#include <tenon/ops/moe_dispatch.h>
#include "../conform.h"

/* How idx and w are filled (own[0]). */
enum {
    DISPATCH_GOLDEN,  /* four tokens by hand */
    DISPATCH_EVEN,    /* distinct experts of a token, all alike */
    DISPATCH_SKEWED,  /* half of all to one expert, some to none */
    DISPATCH_TIES,    /* weights of few values, so that most tie; of both zeros */
    DISPATCH_WRONG,   /* entries that are no experts */
    DISPATCH_SAME,    /* a token's experts are all the same */
    DISPATCH_NONE,    /* all -1 */
    DISPATCH_SPECIAL, /* NaN, infinities and tiny weights */
    DISPATCH_FILLS
};

static inline const struct tenon_moe_dispatch_params *tenon__dispatch_suite_params(const struct conform_case *c)
{
    return (const struct tenon_moe_dispatch_params *)(const void *)c->params;
}

static inline int64_t tenon__dispatch_suite_k(const struct conform_case *c)
{
    const struct tenon_tensor *idx = &c->slot[TENON_MOE_DISPATCH_IDX].tensor;
    return idx->dim[idx->rank - 1];
}

static inline int64_t tenon__dispatch_suite_tokens(const struct conform_case *c)
{
    const struct tenon_tensor *idx = &c->slot[TENON_MOE_DISPATCH_IDX].tensor;
    int64_t tokens = 1;
    for (uint32_t axis = 0; axis + 1 < idx->rank; axis++)
        tokens *= idx->dim[axis];
    return tokens;
}

/* Of src or xp; -1 without both. */
static inline int64_t tenon__dispatch_suite_mp(const struct conform_case *c)
{
    const struct tenon_tensor *src = &c->slot[TENON_MOE_DISPATCH_SRC].tensor;
    const struct tenon_tensor *xp = &c->slot[TENON_MOE_DISPATCH_XP].tensor;
    return src->dtype ? src->dim[0] : xp->dtype ? xp->dim[0] : -1;
}

#define DISPATCH_HOSTILE    24
#define DISPATCH_PROPERTIES 5
extern const struct conform_hostile tenon__dispatch_suite_hostile[DISPATCH_HOSTILE];
extern const struct conform_property tenon__dispatch_suite_properties[DISPATCH_PROPERTIES];

#endif
