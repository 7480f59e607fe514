/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * What the files of attn_merge's cases share. */
#ifndef CONFORM_ATTN_MERGE_SUITE_H
#define CONFORM_ATTN_MERGE_SUITE_H

#include <tenon/ops/attn_merge.h>
#include "../conform.h"

/* How the parts are filled (own[0]). */
enum {
    ATTN_MERGE_EXACT,   /* weights 1 or 0, sums of small dyadic numbers, their divisor a power of two */
    ATTN_MERGE_NORMAL,  /* what attention gives for N(0,1) */
    ATTN_MERGE_WIDE,    /* normalisers and sinks far from each other, up to the ends of the type */
    ATTN_MERGE_DEEP,    /* normalisers 0 to 200 apart, sinks above them, and o so large that even the last count */
    ATTN_MERGE_EMPTY,   /* many empty parts with NaN in what is to be ignored; whole rows of them */
    ATTN_MERGE_BAD,     /* normalisers and sinks that are NaN or infinite */
    ATTN_MERGE_PAYLOAD, /* infinities and NaN in o */
    ATTN_MERGE_FILLS
};

static inline const struct tenon_tensor *tenon__attn_merge_suite_parts_of(const struct conform_case *c)
{
    return &c->slot[TENON_ATTN_MERGE_O_PARTS].tensor;
}

static inline int64_t tenon__attn_merge_suite_parts(const struct conform_case *c)
{
    return tenon__attn_merge_suite_parts_of(c)->dim[0];
}

static inline int64_t tenon__attn_merge_suite_rows(const struct conform_case *c)
{
    const struct tenon_tensor *o = tenon__attn_merge_suite_parts_of(c);
    int64_t rows = 1;
    for (uint32_t i = 1; i + 1 < o->rank; i++)
        rows *= o->dim[i];
    return rows;
}

static inline int64_t tenon__attn_merge_suite_v(const struct conform_case *c)
{
    const struct tenon_tensor *o = tenon__attn_merge_suite_parts_of(c);
    return o->dim[o->rank - 1];
}

/* Of the last leading axis; 1 without one. */
static inline int64_t tenon__attn_merge_suite_heads(const struct conform_case *c)
{
    const struct tenon_tensor *o = tenon__attn_merge_suite_parts_of(c);
    return o->rank > 2 ? o->dim[o->rank - 2] : 1;
}

static inline struct tenon_attn_merge_params *tenon__attn_merge_suite_params(struct conform_case *c)
{
    return (struct tenon_attn_merge_params *)(void *)c->params;
}

#define ATTN_MERGE_HOSTILE    17
#define ATTN_MERGE_PROPERTIES 5
extern const struct conform_hostile tenon__attn_merge_suite_hostile[ATTN_MERGE_HOSTILE];
extern const struct conform_property tenon__attn_merge_suite_properties[ATTN_MERGE_PROPERTIES];

#endif
