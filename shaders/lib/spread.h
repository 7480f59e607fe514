/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * Mean and standard deviation of entries, in float pairs, for thresholds mean + std * Q that are to be right to a few
 * parts in 2^24 of |mean| + std |Q|. Squares are of differences from a mean. Sums of pairs are off by at most 2^-31 of
 * the mean magnitude, which |mean| + std bounds: not enough where entries cancel and |Q| is near 0. Recipes therefore
 * have the sums made without rounding (row_sum, row_sum_join) where |Q| < GPU_EXACT_Q. */
#ifndef TN_LIB_SPREAD_H
#define TN_LIB_SPREAD_H

#include "num.h"

#define TN_SUM_WORDS 10u /* of an exact sum: bits 2^-149 to 2^170 */

TN_FN tn_pair tn_pair_div(tn_pair a, tn_pair b)
{
    TN_PRECISE float q = a.hi / b.hi;
    tn_pair p = tn_pair_mul_pair(b, tn_pair_make(q, 0.0f));
    tn_pair r = tn_pair_add_pair(a, tn_pair_make(-p.hi, -p.lo));
    TN_PRECISE float rest = r.hi / b.hi;
    return tn_fast_two_sum(q, rest);
}

TN_FN tn_pair tn_pair_sqrt(tn_pair v)
{
    bool some = v.hi > 0.0f;
    float root = sqrt(some ? v.hi : 1.0f);
    tn_pair square = tn_two_prod(root, root);
    TN_PRECISE float rest = ((v.hi - square.hi) - square.lo) + v.lo;
    return tn_pair_make(some ? root : 0.0f, some ? rest / (2.0f * root) : 0.0f);
}

TN_FN tn_pair tn_pair_count(uint n)
{
    return tn_fast_two_sum(tn_real(n & 0xffff0000u), tn_real(n & 0xffffu));
}

/* The sum of squares about the common mean of two sets, less those about their own (Chan, Golub and LeVeque 1979). */
TN_FN tn_pair tn_spread_apart(tn_pair sum_a, uint n_a, tn_pair sum_b, uint n_b)
{
    tn_pair a = tn_pair_count(max(n_a, 1u));
    tn_pair b = tn_pair_count(n_b);
    tn_pair mean = tn_pair_div(sum_a, a);
    tn_pair d = tn_pair_add_pair(tn_pair_div(sum_b, b), tn_pair_make(-mean.hi, -mean.lo));
    tn_pair weight = tn_pair_mul_pair(tn_pair_div(tn_pair_count(n_a), tn_pair_count(n_a + n_b)), b);
    return tn_pair_mul_pair(tn_pair_mul_pair(d, d), weight);
}

/* mean + std * Q; n_free: entries, less the degrees of freedom. */
TN_FN tn_pair tn_spread_theta(tn_pair mean, tn_pair squares, uint n_free, tn_pair quantile)
{
    tn_pair std = tn_pair_sqrt(tn_pair_div(squares, tn_pair_count(n_free)));
    return tn_pair_add_pair(tn_pair_mul_pair(std, quantile), mean);
}

/* Exponent of the scale at which a threshold is computed from an exact sum: `scale`, that of the squares; but where the
 * threshold is the mean itself, which may be as small as the type allows, that of the sum. */
TN_FN int tn_exact_scale(uint power, float quantile, int scale)
{
    return quantile == 0.0f ? 149 - 32 * tn_as_int(power) : scale;
}

/* The mean of n entries, times 2^e, from the three words of an exact sum. */
TN_FN tn_pair tn_exact_mean(uint hi, uint lo, uint power, int e, uint n)
{
    int by = tn_as_int(power) * 32 - 149 + e;
    tn_pair sum = tn_pair_make(tn_shifted(tn_float(hi), by), tn_shifted(tn_float(lo), by));
    return tn_pair_div(sum, tn_pair_count(n));
}

#endif
