/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * Gates of gated_norm, of the bits of TN_VW values. Needs num.h and ieee.h. */
#ifndef TN_LIB_GATE_H
#define TN_LIB_GATE_H

/* options: the norm (0 none, 1 RMS, 2 layer, 3 L2), the activation of gates (0 sigmoid, 1 SiLU, 2 identity), and */
#define GN_NORM(options) ((options) & 3u)
#define GN_ACT(options) (((options) >> 2u) & 3u)
#define GN_SILU 1u
#define GN_IDENTITY 2u
#define GN_GATE_FIRST 0x10u
#define GN_REST 0x20u   /* the gate is 1 less what act makes of it */
#define GN_TANH 0x40u   /* of x */
#define GN_TERMS 0x80u  /* there are some */
#define GN_WEIGHT_ALL 0x100u /* weight has an entry for each column of the row, not of the group */
#define GN_BIAS_ALL 0x200u

TN_FN tn_vu gate_bits(uint options, tn_vu g)
{
    tn_vf one = 1.0f;
    tn_vf zero = 0.0f;
    tn_vu nan = TN_NAN_BITS;
    tn_vu s = g;
    if (GN_ACT(options) != GN_IDENTITY) {
        tn_vu end = GN_ACT(options) == GN_SILU ? TN_INF_BITS : 0x3f800000u; /* at infinity */
        tn_vu size = g & 0x7fffffffu;
        tn_vf value = tn_vfloat(size < TN_INF_BITS ? g : g & 0u);
        tn_vf v = one;
        if (GN_ACT(options) == GN_SILU)
            v = value;
        s = tn_vbits(act_sigmoid(v, value, zero));
        s = size == TN_INF_BITS ? (g == TN_INF_BITS ? end : g & 0u) : s;
        s = size > TN_INF_BITS ? nan : s;
    }
    if ((options & GN_REST) != 0u)
        s = tn_sum_bits(tn_vbits(one), s ^ 0x80000000u);
    return s;
}

TN_FN tn_vu gate_tanh_bits(tn_vu x)
{
    tn_vu nan = TN_NAN_BITS;
    tn_vu size = x & 0x7fffffffu;
    tn_vu y = tn_vbits(act_tanh(tn_vfloat(size < TN_INF_BITS ? x : x & 0u)));
    y = size == TN_INF_BITS ? (x & 0x80000000u) | 0x3f800000u : y;
    return size > TN_INF_BITS ? nan : y;
}

#endif
