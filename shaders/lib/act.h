/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * The activations of tenon/ops/act.h for one float, by its number. The formulas and fits are those of
 * the CPU backend: each is good to a few units in the last place, tails included, because the exponent of what is tiny
 * is applied last. act_sigmoid and act_tanh are in elem.h, for vectors too. */
#ifndef TN_LIB_ACT_H
#define TN_LIB_ACT_H

#include "num.h"

#define ACT_IDENTITY 0u
#define ACT_RELU 1u
#define ACT_RELU2 2u
#define ACT_SILU 3u
#define ACT_GELU 4u
#define ACT_GELU_TANH 5u
#define ACT_GOLU 6u
#define ACT_XSILU 7u
#define ACT_XGELU 8u
#define ACT_XATLU 9u
#define ACT_FATRELU 10u
#define ACT_SIGMOID 11u /* these two of gates, not of tenon/ops/act.h */
#define ACT_TANH 12u

/* exp(a*a/2) Phi(-a) / t for t = 1 / (1 + 0.4 a), 0 <= a <= 15 */
TN_FN float act_tail(float t)
{
    float p = 0.032563258f;
    p = tn_fma(p, t, -0.178748578f);
    p = tn_fma(p, t, 0.386901319f);
    p = tn_fma(p, t, -0.380141467f);
    p = tn_fma(p, t, 0.124473073f);
    p = tn_fma(p, t, -0.0294155609f);
    p = tn_fma(p, t, 0.0921726078f);
    p = tn_fma(p, t, 0.132975131f);
    p = tn_fma(p, t, 0.159645125f);
    return tn_fma(p, t, 0.15957512f);
}

/* atan(sqrt z) / sqrt z / pi for 0 <= z <= 1 */
TN_FN float act_atan(float z)
{
    float p = -0.000541499234f;
    p = tn_fma(p, z, 0.00333832251f);
    p = tn_fma(p, z, -0.00966129825f);
    p = tn_fma(p, z, 0.018172171f);
    p = tn_fma(p, z, -0.0265779998f);
    p = tn_fma(p, z, 0.0347987227f);
    p = tn_fma(p, z, -0.0453910418f);
    p = tn_fma(p, z, 0.0636558533f);
    p = tn_fma(p, z, -0.106103115f);
    return tn_fma(p, z, 0.318309873f);
}

/* v Phi(x), the normal distribution. */
TN_FN float act_phi(float v, float x)
{
    float a = tn_fmin(tn_float(tn_bits(x) & 0x7fffffffu), 20.0f);
    tn_pair square = tn_two_prod(a, a);
    float t = 1.0f / (1.0f + a * 0.4f);
    float exponent = square.hi * -0.5f;
    float n = tn_exp_n(exponent);
    float e = tn_exp_m(exponent, n);
    e = tn_fma(e, square.lo * -0.5f, e);
    float q = (e * t) * act_tail(t); /* 2^n q = Phi(-a) */
    return x < 0.0f ? act_scale(v, q, n) : v * (1.0f - q * tn_pow2(n));
}

/* v 0.5 (1 + tanh u) = v sigmoid(2u), with 2u = x (k + c x^2) carried in two floats: its error counts |2u| times. */
TN_FN float act_half_tanh(float v, float x)
{
    float a = tn_fmax(tn_fmin(x, 40.0f), -40.0f);
    tn_pair square = tn_two_prod(a, a);
    tn_pair p = tn_pair_mul_pair(tn_pair_make(0.0713548139f, 2.39857623e-09f), square);
    tn_pair sum = tn_pair_add_pair(p, tn_pair_make(1.59576917f, -4.53464111e-08f));
    tn_pair z = tn_pair_mul_pair(sum, tn_pair_make(a, 0.0f));
    return act_sigmoid(v, z.hi, z.lo);
}

/* v exp(-exp(-x)) */
TN_FN float act_gompertz(float v, float x)
{
    float inner = tn_fmax(tn_fmin(-x, 6.5f), -126.0f);
    float n = tn_exp_n(inner);
    float outer = -(tn_exp_m(inner, n) * tn_pow2(n));
    n = tn_exp_n(outer);
    return act_scale(v, tn_exp_m(outer, n), n);
}

/* (atan x + pi/2) / pi; it is atan(1/|x|) / pi for x < -1: no cancellation. */
TN_FN float act_arc(float x)
{
    float size = tn_float(tn_bits(x) & 0x7fffffffu);
    bool big = size > 1.0f;
    float r = big ? 1.0f / size : size;
    float h = r * act_atan(r * r);
    float right = big ? 1.0f - h : 0.5f + h;
    float left = big ? h : 0.5f - h;
    return x < 0.0f ? left : right;
}

/* x (g (1 + 2 alpha) - alpha) */
TN_FN float act_expanded(float x, float g, float alpha)
{
    return x * tn_fma(g, 1.0f + 2.0f * alpha, -alpha);
}

/* act(x), or its gate: the factor of x in those of them that are x times one. */
TN_FN float act_any(uint act, bool gate, float x, float alpha, float threshold)
{
    float v = gate ? 1.0f : x;
    float y = x;
    if (act == ACT_RELU)
        y = x > 0.0f ? x : 0.0f;
    if (act == ACT_RELU2)
        y = x > 0.0f ? x * x : 0.0f;
    if (act == ACT_SILU)
        y = act_sigmoid(v, x, 0.0f);
    if (act == ACT_GELU)
        y = act_phi(v, x);
    if (act == ACT_GELU_TANH)
        y = act_half_tanh(v, x);
    if (act == ACT_GOLU)
        y = act_gompertz(v, x);
    if (act == ACT_XSILU)
        y = alpha == 0.0f ? act_sigmoid(v, x, 0.0f) : act_expanded(v, act_sigmoid(1.0f, x, 0.0f), alpha);
    if (act == ACT_XGELU)
        y = alpha == 0.0f ? act_phi(v, x) : act_expanded(v, act_phi(1.0f, x), alpha);
    if (act == ACT_XATLU)
        y = act_expanded(v, act_arc(x), alpha);
    if (act == ACT_FATRELU)
        y = x > threshold ? x : 0.0f;
    if (act == ACT_SIGMOID)
        y = act_sigmoid(1.0f, x, 0.0f);
    if (act == ACT_TANH)
        y = act_tanh(x);
    /* the ends, as bits */
    uint bits = tn_bits(x);
    bool expanded = act == ACT_XSILU || act == ACT_XGELU || act == ACT_XATLU;
    if (bits == TN_NEG_INF_BITS && !gate && act != ACT_IDENTITY) {
        uint end = alpha > 0.0f ? TN_INF_BITS : TN_NEG_INF_BITS;
        end = alpha == 0.0f ? (act == ACT_XATLU ? 0xbea2f983u : 0u) : end; /* -1/pi */
        end = expanded ? end : (act == ACT_TANH ? 0xbf800000u : 0u);
        y = tn_float(end);
    }
    if ((bits & 0x7fffffffu) == TN_INF_BITS && gate) {
        float wide = expanded ? alpha : 0.0f;
        y = bits == TN_INF_BITS ? 1.0f + wide : -wide;
    }
    if ((bits & 0x7fffffffu) > TN_INF_BITS)
        y = tn_float(TN_NAN_BITS);
    return y;
}

TN_FN float act_value(uint act, float x, float alpha, float threshold)
{
    return act_any(act, false, x, alpha, threshold);
}

#endif
