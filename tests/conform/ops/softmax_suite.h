/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * What the files of softmax's cases share. */
#ifndef CONFORM_SOFTMAX_SUITE_H
#define CONFORM_SOFTMAX_SUITE_H

#include <tenon/ops/softmax.h>
#include "../conform.h"

/* How x is filled (own[0]). */
enum {
    FILL_EXACT,    /* a power of two of zeros among -200s: every weight is a power of two */
    FILL_NORMAL,   /* N(0,1) */
    FILL_WIDE,     /* N(0,10) */
    FILL_DEEP,     /* U(-80,0) */
    FILL_OFFSET,   /* U(-1,1) around own[2] as float bits */
    FILL_SPIKE,    /* U(-1,1) with one high value, elsewhere in each row */
    FILL_SPECIAL,  /* the special floats */
    FILL_INFINITE, /* rows of -Inf, one +Inf, one NaN */
    FILL_TIES,     /* few distinct values, both zeros */
    FILL_RISING,   /* slowly rising */
    FILL_CONSTANT,
    FILL_COUNT,
    FILL_GOLDEN = FILL_COUNT, /* 1, 2, -1, 0.5 */
    FILL_CANCEL               /* huge pairs that cancel, zeros, and one tiny entry, which is the sum of the row */
};
/* own[1]: pattern of the mask or of the lengths. */
enum { PATTERN_HALF, PATTERN_ALL, PATTERN_SOME_EMPTY, PATTERN_ONE, PATTERN_ALTERNATE, PATTERN_COUNT };

static inline int64_t tenon__softmax_suite_cols(const struct conform_case *c)
{
    const struct tenon_tensor *x = &c->slot[TENON_SOFTMAX_X].tensor;
    return x->dim[x->rank - 1];
}

static inline int64_t tenon__softmax_suite_rows(const struct conform_case *c)
{
    const struct tenon_tensor *x = &c->slot[TENON_SOFTMAX_X].tensor;
    int64_t rows = 1;
    for (uint32_t i = 0; i + 1 < x->rank; i++)
        rows *= x->dim[i];
    return rows;
}

/* The elements of an input. */
void tenon__softmax_suite_fill(const struct conform_case *c, uint32_t tensor);
/* Passes over the tensors by the name of a plan. */
int tenon__softmax_suite_passes(const char *impl, uint32_t *reads, uint32_t *writes);
/* Descriptors that only softmax knows to be wrong, and what ties two of its runs. */
#define SOFTMAX_HOSTILE    37
#define SOFTMAX_PROPERTIES 4
extern const struct conform_hostile tenon__softmax_suite_hostile[SOFTMAX_HOSTILE];
extern const struct conform_property tenon__softmax_suite_properties[SOFTMAX_PROPERTIES];

#endif
