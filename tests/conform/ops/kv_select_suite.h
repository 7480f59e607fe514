/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * What the files of kv_select's cases share. */
#ifndef CONFORM_KV_SELECT_SUITE_H
#define CONFORM_KV_SELECT_SUITE_H

#include <tenon/ops/kv_select.h>
#include "../conform.h"

/* How scores, q and k are filled (own[0]). */
enum {
    SELECT_GOLDEN,  /* a row by hand */
    SELECT_NORMAL,  /* N(0,1) */
    SELECT_WHOLE,   /* small integers: products are exact, many tie */
    SELECT_TIES,    /* few values, of both zeros */
    SELECT_SHARES,  /* all above 0, over many powers of two */
    SELECT_BELOW,   /* none above 0 */
    SELECT_SPECIAL, /* NaN, infinities, subnormal and huge numbers */
    SELECT_SAME,    /* one value */
    SELECT_FILLS
};
/* own[1]: the golden row; own[2]: kv_len 0 all, 1 some are shorter, 2 some are out of range; own[3]: q, k give exact
 * scores; own[4]: positions 0 as they are, 1 keys are turned round in segments of 4 blocks, 2 any. */

static inline const struct tenon_kv_select_params *tenon__select_suite_params(const struct conform_case *c)
{
    return (const struct tenon_kv_select_params *)(const void *)c->params;
}

struct select_sizes {
    int64_t batch, queries, keys, heads, kv_heads, lists, width, nq, nk;
};
struct select_sizes tenon__select_suite_sizes(const struct conform_case *c);

/* ---- from kv_select_ref.c ---- */

/* Pairs: 0 not listed, 1 listed, 2 either, of STAT next to its threshold. scores f32 [B,Hg,nq,nk]. */
void tenon__select_choose(const struct conform_case *c, const float *score, unsigned char *listed);

#define SELECT_HOSTILE    20
#define SELECT_PROPERTIES 4
extern const struct conform_hostile tenon__select_suite_hostile[SELECT_HOSTILE];
extern const struct conform_property tenon__select_suite_properties[SELECT_PROPERTIES];

#endif
