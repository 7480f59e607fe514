/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * A rule by which entries of a row are kept, for every operator that has one: sparsify is nothing else, others have
 * them at their sites. What each kind means is said once, in tenon/ops/ of the operator that is this rule; backends
 * have it in backends/cpu/lib/sparsifier.h and shaders/sparsifier.h. */
#ifndef TENON_SPARSIFIER_RULE_H
#define TENON_SPARSIFIER_RULE_H

#include <tenon/tensor.h>

struct tenon_why;

enum {
    SPARSIFIER_ABS_GT,
    SPARSIFIER_ABS_GE,
    SPARSIFIER_GT,
    SPARSIFIER_GE,
    SPARSIFIER_RELU,
    SPARSIFIER_SHIFT_RELU,
    SPARSIFIER_SOFT,
    SPARSIFIER_TOPK,
    SPARSIFIER_BATCH_TOPK,
    SPARSIFIER_STAT_TOPK,
    SPARSIFIER_KINDS
};
enum { SPARSIFIER_BY_VALUE, SPARSIFIER_BY_ABS };
enum { SPARSIFIER_SHRINK, SPARSIFIER_KEEP };

struct sparsifier_rule {
    uint32_t kind, by, keep, ddof;
    int32_t k;
    float t, tau, cap; /* cap FLT_MAX: none */
};

/* Whether the rule fits rows of `cols`; t, wgt: the names of tensors that are given as thresholds and weights, or NULL.
 * ARG for one that the kind has no use of, SHAPE for k. */
int32_t tenon__sparsifier_check(const struct sparsifier_rule *rule, const char *t, const char *wgt, int64_t cols,
                                struct tenon_why *why);

#endif
