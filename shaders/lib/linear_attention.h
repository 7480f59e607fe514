/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * linear_attention: sequences, decays and divisors. Needs num.h. */
#ifndef TN_LIB_LINEAR_ATTENTION_H
#define TN_LIB_LINEAR_ATTENTION_H

#include "linear_attention_words.h"

TN_STRUCT(lin_place) { uint b; uint start; uint len; };

/* Sequence n. */
TN_FN lin_place lin_sequence(TN_BUF side, uint n, uint options)
{
    lin_place p;
    p.b = n;
    p.start = 0u;
    p.len = TN_W(side, LIN_T);
    if ((options & LIN_PACKED) != 0u) {
        uint at = TN_W(side, LIN_CU) + n;
        p.b = 0u;
        p.start = TN_W(side, at);
        p.len = TN_W(side, at + 1u) - p.start;
    }
    return p;
}

/* Element 0 of a row of a tensor with four axes, whose heads may be fewer. */
TN_FN uint lin_row(TN_BUF side, uint strides, uint b, uint row, uint head)
{
    return b * TN_W(side, strides) + row * TN_W(side, strides + 1u) + head * TN_W(side, strides + 2u);
}

/* A decay from its bits. What e^x is for any x: two factors where one is too large. */
TN_FN float lin_decay(uint bits, uint options)
{
    float x = tn_float(bits);
    if ((options & LIN_LOG) != 0u) {
        uint size = bits & 0x7fffffffu;
        float known = size > TN_INF_BITS ? 0.0f : x;
        bool large = known > 80.0f;
        float e = tn_exp(large ? 80.0f : known);
        if (large)
            e = e * tn_exp(tn_fmin(known - 80.0f, 80.0f));
        x = size > TN_INF_BITS ? tn_float(TN_NAN_BITS) : e;
    }
    return x;
}

/* What is below 2^-126 is 0 of its sign: arithmetic on it is slow where a CPU does it. */
TN_FN tn_vf lin_normal(tn_vf x)
{
    tn_vu bits = tn_vbits(x);
    return tn_vfloat((bits & 0x7fffffffu) < 0x00800000u ? bits & 0x80000000u : bits);
}

TN_FN float lin_small(float x)
{
    uint bits = tn_bits(x);
    return tn_float((bits & 0x7fffffffu) < 0x00800000u ? bits & 0x80000000u : bits);
}

/* o over what a normaliser makes of den. */
TN_FN tn_vf lin_divide(tn_vf o, float den, float eps, uint norm)
{
    tn_vf zero = 0.0f;
    float by = den + eps;
    uint size = tn_bits(den) & 0x7fffffffu;
    if (norm == LIN_MAX1)
        by = size > TN_INF_BITS ? tn_float(TN_NAN_BITS) : tn_fmax(tn_float(size), 1.0f);
    tn_vf whole = by;
    tn_vf y = o / whole;
    if ((tn_bits(by) & 0x7fffffffu) == 0u)
        y = zero;
    return y;
}

#endif
