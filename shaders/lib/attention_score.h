/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * attention: what becomes of a score. Needs num.h, act.h and attention.h. */
#ifndef TN_LIB_ATTENTION_SCORE_H
#define TN_LIB_ATTENTION_SCORE_H

/* softcap tanh(s / softcap); a NaN stays one */
TN_FN tn_vf at_cap(tn_vf s, float softcap)
{
    tn_vu bits = tn_vbits(s);
    tn_vu capped = bits;
    TN_VLANES(tn_vat(capped, tn_lane) = tn_bits(softcap * act_tanh(tn_float(tn_vat(capped, tn_lane)) / softcap));)
    return tn_vfloat((bits & 0x7fffffffu) > TN_INF_BITS ? bits : capped);
}

/* A weight, and what it adds to the normaliser. */
TN_STRUCT(at_weights) { tn_vf w; tn_vf z; };

/* Of the score s; e is e^(s - m) and base e^-m where the kind has exponentials. */
TN_FN at_weights at_weigh(uint kind, tn_vf s, tn_vf e, float base, float bias, float quad_c)
{
    at_weights made;
    tn_vf zero = 0.0f;
    tn_vf one = 1.0f;
    tn_vf w = kind == AT_EXP ? e : s;
    if (kind == AT_SOFTPICK) {
        /* near 0 nothing is left of a difference */
        tn_vf size = tn_vfloat(tn_vbits(s) & 0x7fffffffu);
        tn_vf close = size < 0.35f ? s : zero;
        w = size < 0.35f ? tn_exp_less_one(close) * base : e - base;
    }
    if (kind == AT_SIGMOID) {
        tn_vf x = s + bias;
        tn_vf size = tn_vfloat(tn_vbits(x) & 0x7fffffffu);
        tn_vf most = 1000.0f;
        tn_vf tail = tn_exp(zero - (size < most ? size : most));
        w = (x < zero ? tail : one) / (one + tail);
    }
    if (kind == AT_RELU || kind == AT_RELU2)
        w = s > zero ? s : zero;
    if (kind == AT_QUAD)
        w = s + quad_c;
    if (kind == AT_RELU2 || kind == AT_QUAD)
        w = w * w;
    made.z = w;
    if (kind == AT_SOFTPICK) {
        made.z = tn_vfloat(tn_vbits(w) & 0x7fffffffu);
        w = w > zero ? w : zero;
    }
    made.w = w;
    return made;
}

#endif
