/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * Sites of sparse_ffn as the rule that several operators share. */
#ifndef TENON_SPARSE_FFN_OP_H
#define TENON_SPARSE_FFN_OP_H

#include <tenon/ops/sparse_ffn.h>

#include "../sparsifier_rule.h"

/* The rule of a site that is not none. batch_topk, which a site cannot be, is between the others of top-k. */
static inline struct sparsifier_rule tenon__sparse_ffn_rule(const struct tenon_sparse_ffn_site *s)
{
    const uint32_t kind = s->kind == TENON_SPARSE_FFN_STAT_TOPK ? (uint32_t)SPARSIFIER_STAT_TOPK : s->kind - 1;
    return (struct sparsifier_rule){kind, s->by, s->keep, s->ddof, s->k, s->t, s->tau, s->cap};
}

static inline int tenon__sparse_ffn_chooses(const struct tenon_sparse_ffn_site *s)
{
    return s->kind == TENON_SPARSE_FFN_TOPK || s->kind == TENON_SPARSE_FFN_STAT_TOPK;
}

/* Whether ext = 0 skips a neuron of the first matrix: no site chooses among the row, which it would have to see. */
static inline int tenon__sparse_ffn_early(const struct tenon_sparse_ffn_params *p)
{
    return !tenon__sparse_ffn_chooses(&p->p) && !tenon__sparse_ffn_chooses(&p->g);
}

#endif
