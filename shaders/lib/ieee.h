/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * Sums by IEEE's rules on devices that know neither fma nor infinities: everything that is special is decided by bits.
 * Needs num.h. */
#ifndef TN_LIB_IEEE_H
#define TN_LIB_IEEE_H

/* a * b + c of the bits of TN_VW values, rounded once while the product is 0 or above 2^-100. */
TN_FN tn_vu tn_madd_bits(tn_vu a, tn_vu b, tn_vu c)
{
    tn_vu zero = 0u;
    tn_vu inf = TN_INF_BITS;
    tn_vu nan = TN_NAN_BITS;
    tn_vu sa = a & 0x7fffffffu;
    tn_vu sb = b & 0x7fffffffu;
    tn_vu sc = c & 0x7fffffffu;
    tn_vf sum = tn_fma_exact(tn_vfloat(sa < TN_INF_BITS ? a : zero), tn_vfloat(sb < TN_INF_BITS ? b : zero),
                             tn_vfloat(sc < TN_INF_BITS ? c : zero));
    tn_vu product = inf | ((a ^ b) & 0x80000000u); /* where a or b is infinite */
    tn_vb large = sa == TN_INF_BITS || sb == TN_INF_BITS;
    tn_vu result = tn_vbits(sum);
    result = large ? product : result;
    result = sc == TN_INF_BITS ? (large && product != c ? nan : c) : result;
    result = large && (sa == 0u || sb == 0u) ? nan : result;
    return sa > TN_INF_BITS || sb > TN_INF_BITS || sc > TN_INF_BITS ? nan : result;
}

/* a * b and a + b of the bits of TN_VW values, as the device rounds. */
TN_FN tn_vu tn_product_bits(tn_vu a, tn_vu b)
{
    tn_vu zero = 0u;
    tn_vu nan = TN_NAN_BITS;
    tn_vu sa = a & 0x7fffffffu;
    tn_vu sb = b & 0x7fffffffu;
    TN_PRECISE tn_vf product = tn_vfloat(sa < TN_INF_BITS ? a : zero) * tn_vfloat(sb < TN_INF_BITS ? b : zero);
    tn_vu infinite = ((a ^ b) & 0x80000000u) | TN_INF_BITS;
    tn_vu result = sa == TN_INF_BITS || sb == TN_INF_BITS ? (sa == 0u || sb == 0u ? nan : infinite) : tn_vbits(product);
    return sa > TN_INF_BITS || sb > TN_INF_BITS ? nan : result;
}

TN_FN tn_vu tn_sum_bits(tn_vu a, tn_vu b)
{
    tn_vu zero = 0u;
    tn_vu nan = TN_NAN_BITS;
    tn_vu sa = a & 0x7fffffffu;
    tn_vu sb = b & 0x7fffffffu;
    TN_PRECISE tn_vf sum = tn_vfloat(sa < TN_INF_BITS ? a : zero) + tn_vfloat(sb < TN_INF_BITS ? b : zero);
    tn_vu result = sb == TN_INF_BITS ? (sa == TN_INF_BITS && a != b ? nan : b) : tn_vbits(sum);
    result = sa == TN_INF_BITS && sb < TN_INF_BITS ? a : result;
    return sa > TN_INF_BITS || sb > TN_INF_BITS ? nan : result;
}

#endif
