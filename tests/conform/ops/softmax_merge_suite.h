/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * What the files of softmax_merge's cases share. */
#ifndef CONFORM_SOFTMAX_MERGE_SUITE_H
#define CONFORM_SOFTMAX_MERGE_SUITE_H

#include <tenon/ops/softmax_merge.h>
#include "../conform.h"

/* How the states are filled (own[0]). */
enum {
    MERGE_EXACT,   /* weights 1 or 0, sums of small dyadic numbers, S a power of two */
    MERGE_NORMAL,  /* what parts of rows of N(0,1) have */
    MERGE_WIDE,    /* maxima far from each other, up to the ends of the type */
    MERGE_DEEP,    /* maxima 0 to 200 apart, and o so large that even the last count */
    MERGE_EMPTY,   /* many empty parts of each kind, with NaN in what is to be ignored; whole rows of them */
    MERGE_BAD,     /* rows with a NaN or infinite m, a NaN, negative or infinite s */
    MERGE_PAYLOAD, /* infinities and NaN in a, q, o */
    MERGE_FIXED,   /* equal m, s of any size: the states of a fixed maximum */
    MERGE_FILLS
};

static inline int64_t tenon__merge_suite_parts(const struct conform_case *c)
{
    return c->slot[TENON_SOFTMAX_MERGE_M].tensor.dim[0];
}

static inline int64_t tenon__merge_suite_rows(const struct conform_case *c)
{
    const struct tenon_tensor *m = &c->slot[TENON_SOFTMAX_MERGE_M].tensor;
    int64_t rows = 1;
    for (uint32_t i = 1; i < m->rank; i++)
        rows *= m->dim[i];
    return rows;
}

/* 0 without o. */
static inline int64_t tenon__merge_suite_dv(const struct conform_case *c)
{
    const struct tenon_tensor *o = &c->slot[TENON_SOFTMAX_MERGE_O].tensor;
    return o->dtype ? o->dim[o->rank - 1] : 0;
}

#define MERGE_HOSTILE    13
#define MERGE_PROPERTIES 4
extern const struct conform_hostile tenon__merge_suite_hostile[MERGE_HOSTILE];
extern const struct conform_property tenon__merge_suite_properties[MERGE_PROPERTIES];

#endif
