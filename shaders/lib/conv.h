/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * causal_conv1d: the sequence of a token, where its inputs lie, and the activation. Needs num.h and act.h. */
#ifndef TN_LIB_CONV_H
#define TN_LIB_CONV_H

TN_STRUCT(conv_place) { uint s; uint start; uint len; uint there; };

/* The sequence of token t; side[at .. at + seqs] ascend. */
TN_FN conv_place conv_find(TN_BUF side, uint at, uint seqs, uint t)
{
    conv_place p;
    uint low = 0u;
    uint high = seqs + 1u; /* the first entry above t is in [low, high] */
    while (low < high) {
        uint middle = (low + high) >> 1u;
        if (TN_W(side, at + middle) > t)
            high = middle;
        else
            low = middle + 1u;
    }
    p.there = low == 0u || low > seqs ? 0u : 1u;
    p.s = max(low, 1u) - 1u;
    p.start = p.there != 0u ? TN_W(side, at + p.s) : 0u;
    p.len = p.there != 0u ? TN_W(side, at + p.s + 1u) - p.start : 0u;
    return p;
}

/* z sigmoid(z) of bits. */
TN_FN uint conv_silu(uint bits)
{
    uint y = tn_bits(act_sigmoid(tn_float(bits), tn_float(bits), 0.0f));
    y = bits == TN_NEG_INF_BITS ? 0u : y;
    return (bits & 0x7fffffffu) > TN_INF_BITS ? TN_NAN_BITS : y;
}

#endif
