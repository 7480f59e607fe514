/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * sparsify's attributes as the rule that several operators share. */
#ifndef TENON_SPARSIFY_OP_H
#define TENON_SPARSIFY_OP_H

#include <tenon/ops/sparsify.h>

#include "../sparsifier_rule.h"

_Static_assert((uint32_t)TENON_SPARSIFY_STAT_TOPK == (uint32_t)SPARSIFIER_STAT_TOPK &&
                   (uint32_t)TENON_SPARSIFY_BY_ABS == (uint32_t)SPARSIFIER_BY_ABS &&
                   (uint32_t)TENON_SPARSIFY_KEEP == (uint32_t)SPARSIFIER_KEEP,
               "the kinds are numbered alike");

static inline struct sparsifier_rule tenon__sparsify_rule(const struct tenon_sparsify_params *p)
{
    return (struct sparsifier_rule){p->kind, p->by, p->keep, p->ddof, p->k, p->t, p->tau, p->cap};
}

#endif
