/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * selective_scan: functions of channels. Needs num.h and act.h. */
#ifndef TN_LIB_SCAN_H
#define TN_LIB_SCAN_H

/* e^x of any x. */
TN_FN tn_vf scan_exp(tn_vf x)
{
    tn_vu size = tn_vbits(x) & 0x7fffffffu;
    tn_vf zero = 0.0f;
    tn_vf one = 1.0f;
    tn_vf sixteen = 16.0f;
    tn_vf power = 8886110.5f; /* e^16 */
    tn_vf known = tn_vfloat(size > TN_INF_BITS ? tn_vbits(zero) : tn_vbits(x));
    tn_vb large = known > 88.0f;
    tn_vf end = 100.0f;
    tn_vf low = large ? (known > 100.0f ? end : known) - sixteen : known;
    tn_vu bits = tn_vbits(tn_exp(low) * (large ? power : one));
    tn_vu inf = TN_INF_BITS;
    tn_vu nan = TN_NAN_BITS;
    bits = known >= 88.7229f ? inf : bits;
    bits = size > TN_INF_BITS ? nan : bits;
    return tn_vfloat(bits);
}

/* log(1 + e^x) of the bits of one number; what 1 + e^x is rounded by comes back as a term of its own. */
TN_FN uint scan_softplus(uint bits)
{
    float x = tn_float((bits & 0x7fffffffu) > TN_INF_BITS ? 0u : bits);
    float e = tn_exp(tn_fmin(x, 20.0f));
    TN_PRECISE float sum = e + 1.0f;
    TN_PRECISE float whole = sum - 1.0f;
    TN_PRECISE float rest = e - whole;
    float y = tn_log(sum) + rest / sum;
    uint r = x > 20.0f ? bits : tn_bits(y);
    return (bits & 0x7fffffffu) > TN_INF_BITS ? TN_NAN_BITS : r;
}

/* What is below 2^-126 is 0. */
TN_FN tn_vf scan_normal(tn_vf h)
{
    tn_vu bits = tn_vbits(h);
    tn_vu zero = 0u;
    return tn_vfloat((bits & 0x7fffffffu) < 0x00800000u ? zero : bits);
}

#endif
