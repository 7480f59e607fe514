/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * What the files of moe_route's cases share. */
#ifndef CONFORM_MOE_ROUTE_SUITE_H
#define CONFORM_MOE_ROUTE_SUITE_H

#include <tenon/ops/moe_route.h>
#include "../conform.h"

/* How the logits are filled (own[0]). */
enum {
    FILL_NORMAL,   /* N(0,2) */
    FILL_EXACT,    /* quarters between -4 and 4: many ties */
    FILL_WIDE,     /* N(0,30) */
    FILL_OFFSET,   /* N(1000,1) */
    FILL_SPECIAL,  /* the special floats */
    FILL_INFINITE, /* rows of NaN, of infinities, and few of them among numbers */
    FILL_TIES,     /* few distinct values, both zeros */
    FILL_SKEWED,   /* one expert far ahead */
    FILL_COUNT,
    FILL_GOLDEN = FILL_COUNT /* the golden rows */
};

static inline struct tenon_moe_route_params *tenon__route_suite_params(struct conform_case *c)
{
    return (struct tenon_moe_route_params *)(void *)c->params;
}

/* The elements of an input. */
void tenon__route_suite_fill(const struct conform_case *c, uint32_t tensor);
/* Descriptors that only moe_route knows to be wrong, and what ties two of its runs. */
#define ROUTE_HOSTILE    16
#define ROUTE_PROPERTIES 4
extern const struct conform_hostile tenon__route_suite_hostile[ROUTE_HOSTILE];
extern const struct conform_property tenon__route_suite_properties[ROUTE_PROPERTIES];

#endif
