/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors */
#include "sparsifier_rule.h"
#include "contract.h"

int32_t tenon__sparsifier_check(const struct sparsifier_rule *rule, const char *t, const char *wgt, int64_t cols,
                                struct tenon_why *why)
{
    static const char *const kinds[SPARSIFIER_KINDS] = {"abs_gt",     "abs_ge", "gt",   "ge",         "relu",
                                                        "shift_relu", "soft",   "topk", "batch_topk", "stat_topk"};
    const int weighs = rule->kind == SPARSIFIER_ABS_GT ||
                       ((rule->kind == SPARSIFIER_TOPK || rule->kind == SPARSIFIER_BATCH_TOPK) &&
                        rule->by == SPARSIFIER_BY_ABS);
    if (t && rule->kind > SPARSIFIER_GE)
        return tenon_why_set(why, TENON_E_ARG, "%s is given: kind %s has no t, only abs_gt, abs_ge, gt and ge have", t,
                             kinds[rule->kind]);
    if (wgt && !weighs)
        return tenon_why_set(why, TENON_E_ARG,
                             "%s is given: kind %s has no weights, only abs_gt, and top-k by abs, have", wgt,
                             kinds[rule->kind]);
    if (rule->kind >= SPARSIFIER_TOPK && (rule->k < 0 || rule->k > cols))
        return tenon_why_set(why, TENON_E_SHAPE, "k = %d: must be within [0, cols], and a row has %lld cols", rule->k,
                             (long long)cols);
    return TENON_OK;
}
