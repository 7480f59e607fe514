/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * What the files of softmax_topk's cases share. */
#ifndef CONFORM_SOFTMAX_TOPK_SUITE_H
#define CONFORM_SOFTMAX_TOPK_SUITE_H

#include <tenon/ops/softmax_topk.h>
#include "../conform.h"

/* How x is filled (own[0]). */
enum {
    TOPK_EXACT,    /* a power of two of zeros among -200s: every weight is a power of two */
    TOPK_NORMAL,   /* N(0,1) */
    TOPK_WIDE,     /* N(0,10) */
    TOPK_DEEP,     /* U(-80,0) */
    TOPK_OFFSET,   /* U(-1,1) around own[2] as float bits */
    TOPK_SPECIAL,  /* the special floats */
    TOPK_INFINITE, /* rows of -Inf, one +Inf, some NaN, few entries above -Inf */
    TOPK_TIES,     /* few distinct values, both zeros */
    TOPK_RISING,   /* every entry is the best so far */
    TOPK_FALLING,
    TOPK_CONSTANT,
    TOPK_NANS, /* hardly anything but NaN */
    TOPK_FILLS
};

static inline int64_t tenon__topk_suite_cols(const struct conform_case *c)
{
    const struct tenon_tensor *x = &c->slot[TENON_SOFTMAX_TOPK_X].tensor;
    return x->dim[x->rank - 1];
}

static inline int64_t tenon__topk_suite_rows(const struct conform_case *c)
{
    const struct tenon_tensor *x = &c->slot[TENON_SOFTMAX_TOPK_X].tensor;
    int64_t rows = 1;
    for (uint32_t i = 0; i + 1 < x->rank; i++)
        rows *= x->dim[i];
    return rows;
}

static inline struct tenon_softmax_topk_params *tenon__topk_suite_params(struct conform_case *c)
{
    return (struct tenon_softmax_topk_params *)(void *)c->params;
}

void tenon__topk_suite_fill(const struct conform_case *c, uint32_t tensor);

#define TOPK_HOSTILE    13
#define TOPK_PROPERTIES 4
extern const struct conform_hostile tenon__topk_suite_hostile[TOPK_HOSTILE];
extern const struct conform_property tenon__topk_suite_properties[TOPK_PROPERTIES];

#endif
