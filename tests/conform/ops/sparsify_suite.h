/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * What the files of sparsify's cases share. */
#ifndef CONFORM_SPARSIFY_SUITE_H
#define CONFORM_SPARSIFY_SUITE_H

#include <tenon/ops/sparsify.h>
#include "../conform.h"

/* How x is filled (own[0]). */
enum {
    FILL_EXACT,    /* quarters between -4 and 4: many ties, exact differences */
    FILL_NORMAL,   /* N(0,1) */
    FILL_OFFSET,   /* N(1000,1) */
    FILL_HEAVY,    /* a ratio of normals: far outliers */
    FILL_RELU,     /* N(0,1) after ReLU: half of it zeros of both signs */
    FILL_SPECIAL,  /* the special floats */
    FILL_INFINITE, /* rows of NaN, of infinities, and few of them among numbers */
    FILL_TIES,     /* few distinct values, both zeros */
    FILL_CONSTANT,
    FILL_NEIGHBOURS, /* 1 and the numbers next to it: the last bits decide */
    FILL_LATE,       /* the best are the last of the row */
    FILL_COUNT,
    FILL_GOLDEN = FILL_COUNT, /* 1, -2, 0.5, 2, -0.5, 0 */
    FILL_CANCEL               /* huge pairs that cancel, zeros, and one tiny entry, which is the sum of the row */
};

static inline int64_t tenon__sparsify_suite_cols(const struct conform_case *c)
{
    const struct tenon_tensor *x = &c->slot[TENON_SPARSIFY_X].tensor;
    return x->dim[x->rank - 1];
}

static inline int64_t tenon__sparsify_suite_rows(const struct conform_case *c)
{
    const struct tenon_tensor *x = &c->slot[TENON_SPARSIFY_X].tensor;
    int64_t rows = 1;
    for (uint32_t i = 0; i + 1 < x->rank; i++)
        rows *= x->dim[i];
    return rows;
}

/* The elements of an input. */
void tenon__sparsify_suite_fill(const struct conform_case *c, uint32_t tensor);
/* Descriptors that only sparsify knows to be wrong, and what ties two of its runs. */
#define SPARSIFY_HOSTILE    18
#define SPARSIFY_PROPERTIES 4
extern const struct conform_hostile tenon__sparsify_suite_hostile[SPARSIFY_HOSTILE];
extern const struct conform_property tenon__sparsify_suite_properties[SPARSIFY_PROPERTIES];

#endif
