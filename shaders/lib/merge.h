/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * What softmax_merge.k computes with: the weight of a part, and sums that infinities and NaN go through by IEEE's
 * rules, which float pairs would make NaN of. Needs num.h. */
#ifndef TN_LIB_MERGE_H
#define TN_LIB_MERGE_H

#define MG_NONE (-2147483647 - 1)
#define MG_DELTA_MIN (-172.0f)
#define MG_CARRY_WORDS 10u

/* Finite values in their order; -0 is 0. */
TN_FN int mg_key(uint bits)
{
    int b = tn_as_int(bits);
    return bits == 0x80000000u ? 0 : b ^ ((b >> 31) & 0x7fffffff);
}

/* A weight as a product of two pairs, which together reach to e^-172. */
TN_STRUCT(mg_weight) { tn_pair first; tn_pair second; float delta; float rest; uint skip; };

TN_FN tn_pair mg_exp(float hi, float lo)
{
    tn_pair e = tn_exp_pair(hi);
    return tn_pair_add(e, e.hi * lo);
}

/* The part with maximum m and sum s (bits) against top = R. */
TN_FN mg_weight mg_weigh(uint m, uint s, float top, float t)
{
    mg_weight w;
    /* halved: the difference of two finite values may be infinite */
    tn_pair d = tn_two_sum(tn_float(m) * 0.5f, top * -0.5f);
    tn_pair p = tn_two_prod(d.hi, t);
    w.delta = p.hi * 2.0f;
    w.rest = (p.lo + d.lo * t) * 2.0f;
    w.skip = (s << 1) == 0u || m == TN_NEG_INF_BITS || w.delta < MG_DELTA_MIN ? 1u : 0u;
    w.delta = w.skip != 0u ? 0.0f : w.delta;
    w.rest = w.skip != 0u ? 0.0f : w.rest;
    w.first = mg_exp(w.delta * 0.5f, w.rest * 0.5f);
    w.second = w.first;
    if (w.delta > -80.0f) {
        w.first = mg_exp(w.delta, w.rest);
        w.second = tn_pair_make(1.0f, 0.0f);
    }
    return w;
}

TN_FN tn_pair mg_times(tn_pair x, mg_weight w)
{
    return tn_pair_mul_pair(tn_pair_mul_pair(x, w.first), w.second);
}

/* 0 finite, 1 NaN, 2 +Inf, 4 -Inf; those of the terms of a sum, joined by |, say what the sum is. */
TN_FN uint mg_class(uint bits)
{
    uint size = bits & 0x7fffffffu;
    return size < TN_INF_BITS ? 0u : (size > TN_INF_BITS ? 1u : (bits == TN_INF_BITS ? 2u : 4u));
}

TN_FN uint mg_sum_bits(uint classes, tn_pair sum)
{
    uint bits = tn_bits(sum.hi + sum.lo);
    bits = classes == 2u ? TN_INF_BITS : bits;
    bits = classes == 4u ? TN_NEG_INF_BITS : bits;
    return classes == 0u || classes == 2u || classes == 4u ? bits : TN_NAN_BITS;
}

#endif
