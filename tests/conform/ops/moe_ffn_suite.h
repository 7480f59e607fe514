/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * What the files of moe_ffn's cases share. */
#ifndef CONFORM_MOE_FFN_SUITE_H
#define CONFORM_MOE_FFN_SUITE_H

#include <tenon/ops/moe_ffn.h>
#include "../conform.h"

/* How the inputs are filled (own[0]). */
enum {
    FFN_FILL_EXACT,   /* small integers: every product and sum is exact */
    FFN_FILL_NORMAL,  /* x N(0,1), weights such that sums are too */
    FFN_FILL_ONES,    /* x all equal */
    FFN_FILL_CANCEL,  /* pairs of x that cancel almost wholly */
    FFN_FILL_SPECIAL, /* a special float in every third row of x */
    FFN_FILL_SCALES,  /* magnitudes of x from 2^-20 to 2^20 */
    FFN_FILL_BENCH,   /* as NORMAL, but made in less time */
    FFN_FILLS
};

/* How rows belong to experts (own[1]). */
enum {
    FFN_ROUTE_RANDOM,
    FFN_ROUTE_SPARSE, /* to few of the experts */
    FFN_ROUTE_ONE,    /* all to one */
    FFN_ROUTE_SKEWED, /* half of them to one */
    FFN_ROUTE_BROKEN, /* offsets and src that are out of range */
    FFN_ROUTE_EVEN,
    FFN_ROUTES
};

static inline struct tenon_moe_ffn_params *tenon__ffn_suite_params(struct conform_case *c)
{
    return (struct tenon_moe_ffn_params *)(void *)c->params;
}

/* Who has which row, and which hidden units, as the filled offsets, foff and src say. */
struct ffn_layout {
    int64_t e, rows, tokens, d, f, out;
    int own, has_src;
    int32_t *offsets, *foff, *src; /* as filled; foff, src: NULL without them */
    int32_t *expert;               /* of each row; -1: it is a row of zeros */
    int32_t *unit;                 /* with foff: the expert of each hidden unit, or -1 */
    unsigned char *active;         /* of each expert: whether it has a row */
};

/* 0: out of memory. */
int tenon__ffn_suite_layout(const struct conform_case *c, struct ffn_layout *l);
void tenon__ffn_suite_layout_free(struct ffn_layout *l);
void tenon__ffn_suite_fill(const struct conform_case *c, uint32_t tensor);

#define FFN_HOSTILE    18
#define FFN_PROPERTIES 5
extern const struct conform_hostile tenon__ffn_suite_hostile[FFN_HOSTILE];
extern const struct conform_property tenon__ffn_suite_properties[FFN_PROPERTIES];

#endif
