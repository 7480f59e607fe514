/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * Entries of feature_map, by the bits of TN_VW values. Needs num.h, ieee.h and gate.h. */
#ifndef TN_LIB_FEATURE_H
#define TN_LIB_FEATURE_H

#define FM_RELU 1u
#define FM_RELU2 2u
#define FM_ELU1 3u
#define FM_SILU 4u
#define FM_EXP 5u
#define FM_SHARES 6u
#define FM_L2 7u
#define FM_SUMNORM 8u
#define FM_HEDGEHOG 9u
#define FM_DPFP 10u
#define FM_TAYLOR2 11u
#define FM_NALA_Q 12u
#define FM_NALA_K 13u
#define FM_OUTER 14u

/* max(v, 0) */
TN_FN tn_vu fm_positive(tn_vu v)
{
    tn_vu nan = TN_NAN_BITS;
    tn_vu zero = 0u;
    tn_vu r = (v & 0x80000000u) != 0u ? zero : v;
    return (v & 0x7fffffffu) > TN_INF_BITS ? nan : r;
}

/* What is finite as it is, the rest as 0. */
TN_FN tn_vf fm_finite(tn_vu v)
{
    tn_vu zero = 0u;
    return tn_vfloat((v & 0x7fffffffu) < TN_INF_BITS ? v : zero);
}

/* e^v of any v */
TN_FN tn_vu fm_exp(tn_vu v)
{
    tn_vu zero = 0u;
    tn_vu nan = TN_NAN_BITS;
    tn_vf one = 1.0f;
    tn_vu size = v & 0x7fffffffu;
    tn_vf c = tn_fmax(tn_fmin(fm_finite(v), 100.0f), -104.0f);
    tn_vf n = tn_exp_n(c);
    tn_vu y = tn_vbits(act_scale(one, tn_exp_m(c, n), n));
    y = size == TN_INF_BITS ? ((v & 0x80000000u) == 0u ? v : zero) : y;
    return size > TN_INF_BITS ? nan : y;
}

/* e^(v twice - most) of what is finite, else 0. */
TN_FN tn_vf fm_weight(tn_vu v, float twice, float most)
{
    tn_vf nothing = 0.0f;
    TN_PRECISE tn_vf d = fm_finite(v) * twice - most;
    return (v & 0x7fffffffu) < TN_INF_BITS ? tn_exp(d) : nothing;
}

/* r^power of one r >= 0 or NaN, power >= 1. */
TN_FN uint fm_power(uint r, float power)
{
    float log = tn_log(tn_float(max(min(r, 0x7f7fffffu), 0x00800000u)));
    float c = tn_fmax(tn_fmin(power * log, 100.0f), -104.0f);
    float n = tn_exp_n(c);
    uint y = tn_bits(act_scale(1.0f, tn_exp_m(c, n), n));
    return r < 0x00800000u ? 0u : r >= TN_INF_BITS ? r : y;
}

TN_FN tn_vu fm_powers(tn_vu r, float power)
{
    tn_vu y = r;
    if (power == 3.0f) {
        y = tn_product_bits(tn_product_bits(r, r), r);
    } else {
        TN_VLANES(tn_vat(y, tn_lane) = fm_power(tn_vat(y, tn_lane), power);)
    }
    return y;
}

/* Kinds that look at nothing but the entry. */
TN_FN tn_vu fm_entry(uint kind, tn_vu v)
{
    tn_vu y = v;
    if (kind == FM_RELU)
        y = fm_positive(v);
    if (kind == FM_RELU2)
        y = tn_product_bits(fm_positive(v), fm_positive(v));
    if (kind == FM_EXP || kind == FM_ELU1) {
        tn_vf one = 1.0f;
        tn_vu grown = fm_exp(v);
        y = grown;
        if (kind == FM_ELU1)
            y = (v & 0x80000000u) == 0u && v != 0u ? tn_sum_bits(v, tn_vbits(one)) : grown;
    }
    if (kind == FM_SILU)
        y = gate_bits(GN_SILU << 2u, v);
    return y;
}

/* Entry i of [max(x,0), max(-x,0)]. */
TN_FN uint fm_half(TN_BUF x, uint type, uint x0, uint k, uint i)
{
    uint v = i < k ? tn_load_bits(x, type, x0 + i) : tn_load_bits(x, type, x0 + i - k) ^ 0x80000000u;
    return (v & 0x7fffffffu) > TN_INF_BITS ? TN_NAN_BITS : v >= 0x80000000u ? 0u : v;
}

#endif
