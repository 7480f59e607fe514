/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * The activations of tenon/ops/act.h. Each is good to a few units in the last place over the whole range (GOLU: where
 * the inner exponential is large its rounding is multiplied by it, at most 90 units and only where |y| < 1e-3), tails
 * included: the exponent of what is tiny is applied last. tests/unit/linear_act_test.c has the figures. */
#ifndef TENON_LIB_ACT_H
#define TENON_LIB_ACT_H

#include <tenon/ops/act.h>

#include "lib/exp.h"

/* Those of gates, not of tenon/ops/act.h. */
enum { ACT_SIGMOID = TENON_ACT_COUNT, ACT_TANH };

struct act {
    uint32_t kind; /* TENON_ACT_ or one of these */
    float alpha, threshold;
};

/* coefficients of falling powers */
#define ACT_POLYNOMIAL_(name, ...)                                                                                     \
    SIMD_FN vf name(vf x)                                                                                              \
    {                                                                                                                  \
        static const float c[] = {__VA_ARGS__};                                                                        \
        vf p = vf_set1(c[0]);                                                                                          \
        for (unsigned i = 1; i < sizeof c / sizeof *c; i++)                                                            \
            p = vf_madd(p, x, vf_set1(c[i]));                                                                          \
        return p;                                                                                                      \
    }
/* exp(a*a/2) Phi(-a) / t for t = 1 / (1 + 0.4 a), 0 <= a <= 15; our own Chebyshev fit, 7e-9 */
ACT_POLYNOMIAL_(act_tail, 0x1.0ac21ap-5f, -0x1.6e13bcp-3f, 0x1.8c2fdcp-2f, -0x1.8543cep-2f, 0x1.fdd77ap-4f,
                -0x1.e1f1cep-6f, 0x1.7989fcp-4f, 0x1.105544p-3f, 0x1.46f406p-3f, 0x1.46cf52p-3f)
/* atan(sqrt z) / sqrt z / pi for 0 <= z <= 1; our own Chebyshev fit, 9e-10 */
ACT_POLYNOMIAL_(act_atan, -0x1.1be6ccp-11f, 0x1.b58f84p-9f, -0x1.3c94d8p-7f, 0x1.29bb9cp-6f, -0x1.b37436p-6f,
                0x1.1d1236p-5f, -0x1.73d7eap-5f, 0x1.04bcp-4f, -0x1.b2992ep-4f, 0x1.45f306p-2f)
#undef ACT_POLYNOMIAL_

/* v m 2^n for integral n <= 0, m about 1: in steps, so that a large v may meet a 2^n that is no normal number. */
SIMD_FN vf act_scale(vf v, vf m, vf n)
{
    const vf half = vf_rint(vf_mul(n, vf_set1(0.5f)));
    return vf_mul(vf_mul(vf_mul(v, vf_pow2(half)), m), vf_pow2(vf_sub(n, half)));
}

SIMD_FN vf act_at_minus_inf(vf x, vf y, float limit)
{
    return vf_select(vf_eq(x, vf_set1(-INFINITY)), vf_set1(limit), y);
}

/* v sigmoid(z + low), |low| below an ulp of z. A NaN must be in v. */
SIMD_FN vf act_sigmoid(vf v, vf z, vf low)
{
    const vf one = vf_set1(1.0f), size = vf_min(vf_abs(z), vf_set1(1000.0f));
    vf n;
    vf e = exp_parts(vf_neg(size), &n);
    const vf down = vf_select(vf_lt(z, vf_zero()), low, vf_neg(low));
    e = vf_madd(e, down, e); /* e^(-|z + low|) */
    const vf quotient = vf_div(v, vf_add(one, vf_mul(e, vf_pow2(n))));
    return vf_select(vf_lt(z, vf_zero()), act_scale(quotient, e, n), quotient);
}

/* v Phi(x), the normal distribution. A NaN must be in v. */
SIMD_FN vf act_phi(vf v, vf x)
{
    const vf a = vf_min(vf_abs(x), vf_set1(20.0f)), square = vf_mul(a, a);
    const vf low = vf_fma(a, a, vf_neg(square));
    const vf t = vf_div(vf_set1(1.0f), vf_madd(a, vf_set1(0.4f), vf_set1(1.0f)));
    vf n;
    vf e = exp_parts(vf_mul(square, vf_set1(-0.5f)), &n);
    e = vf_madd(e, vf_mul(low, vf_set1(-0.5f)), e);
    const vf q = vf_mul(vf_mul(e, t), act_tail(t)); /* 2^n q = Phi(-a) */
    const vf right = vf_mul(v, vf_sub(vf_set1(1.0f), vf_mul(q, vf_pow2(n))));
    return vf_select(vf_lt(x, vf_zero()), act_scale(v, q, n), right);
}

SIMD_FN vf act_silu(vf x)
{
    return act_at_minus_inf(x, act_sigmoid(x, x, vf_zero()), 0.0f);
}

SIMD_FN vf act_gelu(vf x)
{
    return act_at_minus_inf(x, act_phi(x, x), 0.0f);
}

/* v 0.5 (1 + tanh u) = v sigmoid(2u), with 2u = x (k + c x^2) carried in two floats: its error counts |2u| times. A
 * NaN must be in v. */
SIMD_FN vf act_half_tanh(vf v, vf x)
{
    const vf k = vf_set1(0x1.988454p+0f), k_low = vf_set1(-0x1.8585dp-25f);
    const vf c = vf_set1(0x1.2444f2p-4f), c_low = vf_set1(0x1.49a866p-29f);
    const vf a = vf_max(vf_min(x, vf_set1(40.0f)), vf_set1(-40.0f)); /* NaN: 40 */
    const vf square = vf_mul(a, a), square_low = vf_fma(a, a, vf_neg(square));
    const vf p = vf_mul(c, square);
    vf p_low = vf_fma(c, square, vf_neg(p));
    p_low = vf_madd(c, square_low, vf_madd(c_low, square, p_low));
    const vf sum = vf_add(p, k), part = vf_sub(sum, p); /* two-sum: either may be the larger */
    const vf rest = vf_add(vf_sub(p, vf_sub(sum, part)), vf_sub(k, part));
    const vf sum_low = vf_add(rest, vf_add(p_low, k_low));
    const vf z = vf_mul(sum, a), z_low = vf_madd(sum_low, a, vf_fma(sum, a, vf_neg(z)));
    return act_sigmoid(v, z, z_low);
}

SIMD_FN vf act_gelu_tanh(vf x)
{
    return act_at_minus_inf(x, act_half_tanh(x, x), 0.0f);
}

/* v exp(-exp(-x)). A NaN must be in v. */
SIMD_FN vf act_gompertz(vf v, vf x)
{
    vf n;
    const vf inner = exp_parts(vf_max(vf_min(vf_neg(x), vf_set1(6.5f)), vf_set1(-126.0f)), &n);
    const vf outer = exp_parts(vf_neg(vf_mul(inner, vf_pow2(n))), &n);
    return act_scale(v, outer, n);
}

SIMD_FN vf act_golu(vf x)
{
    return act_at_minus_inf(x, act_gompertz(x, x), 0.0f);
}

/* g (1 + 2 alpha) - alpha */
SIMD_FN vf act_widen(vf g, float alpha)
{
    return vf_madd(g, vf_set1(1.0f + 2.0f * alpha), vf_set1(-alpha));
}

/* x (g (1 + 2 alpha) - alpha) */
SIMD_FN vf act_expanded(vf x, vf g, float alpha)
{
    return vf_mul(x, act_widen(g, alpha));
}

SIMD_FN vf act_xsilu(vf x, float alpha)
{
    const vf one = vf_select(vf_isnan(x), x, vf_set1(1.0f));
    return alpha == 0.0f ? act_silu(x) : act_expanded(x, act_sigmoid(one, x, vf_zero()), alpha);
}

SIMD_FN vf act_xgelu(vf x, float alpha)
{
    const vf one = vf_select(vf_isnan(x), x, vf_set1(1.0f));
    return alpha == 0.0f ? act_gelu(x) : act_expanded(x, act_phi(one, x), alpha);
}

/* (atan x + pi/2) / pi, which is atan(1/|x|) / pi for x < -1: no cancellation. */
SIMD_FN vf act_arc(vf x)
{
    const vf one = vf_set1(1.0f), half = vf_set1(0.5f), size = vf_abs(x);
    const vm big = vf_gt(size, one), negative = vf_lt(x, vf_zero());
    const vf r = vf_select(big, vf_div(one, size), size);
    const vf h = vf_mul(r, act_atan(vf_mul(r, r)));
    const vf right = vf_select(big, vf_sub(one, h), vf_add(half, h));
    return vf_select(negative, vf_select(big, h, vf_sub(half, h)), right);
}

SIMD_FN vf act_xatlu(vf x, float alpha)
{
    const vf y = act_expanded(x, act_arc(x), alpha);
    return alpha == 0.0f ? act_at_minus_inf(x, y, -0x1.45f306p-2f) : y;
}

/* e^t - 1 and that plus 2, t = 2|x|: near 0 nothing cancels. */
SIMD_FN vf act_tanh(vf x)
{
    const vf one = vf_set1(1.0f), t = vf_mul(vf_min(vf_abs(x), vf_set1(10.0f)), vf_set1(2.0f));
    vf less = t;
    const vf n = vf_sub(vf_fma(t, vf_set1(0x1.715476p+0f), vf_set1(EXP_MAGIC)), vf_set1(EXP_MAGIC));
    exp_less_one(&less, &n, 1);
    less = vf_select(vf_eq(n, vf_zero()), less, vf_sub(vf_mul(vf_add(less, one), vf_pow2(n)), one));
    const vf y = vf_div(less, vf_add(less, vf_set1(2.0f)));
    return vf_select(vf_isnan(x), x, vf_select(vf_lt(x, vf_zero()), vf_neg(y), y));
}

/* In place over v[0 .. n) up to a whole number of vectors: the choice is made once, not once a vector. */
#define ACT_EACH_(expression)                                                                                          \
    for (int64_t i = 0; i < n; i += VF) {                                                                              \
        const vf x = vf_load(v + i);                                                                                   \
        vf_store(v + i, expression);                                                                                   \
    }                                                                                                                  \
    break
static __attribute__((unused)) void act_apply(const struct act *a, float *v, int64_t n)
{
    switch (a->kind) {
    case TENON_ACT_RELU: /* max(0, x) keeps a NaN x */
        ACT_EACH_(vf_max(vf_zero(), x));
    case TENON_ACT_RELU2:
        ACT_EACH_(vf_mul(vf_max(vf_zero(), x), vf_max(vf_zero(), x)));
    case TENON_ACT_SILU:
        ACT_EACH_(act_silu(x));
    case TENON_ACT_GELU:
        ACT_EACH_(act_gelu(x));
    case TENON_ACT_GELU_TANH:
        ACT_EACH_(act_gelu_tanh(x));
    case TENON_ACT_GOLU:
        ACT_EACH_(act_golu(x));
    case TENON_ACT_XSILU:
        ACT_EACH_(act_xsilu(x, a->alpha));
    case TENON_ACT_XGELU:
        ACT_EACH_(act_xgelu(x, a->alpha));
    case TENON_ACT_XATLU:
        ACT_EACH_(act_xatlu(x, a->alpha));
    case TENON_ACT_FATRELU: /* a NaN is not <= threshold and stays */
        ACT_EACH_(vf_select(vf_le(x, vf_set1(a->threshold)), vf_zero(), x));
    case ACT_SIGMOID:
        ACT_EACH_(act_sigmoid(vf_select(vf_isnan(x), x, vf_set1(1.0f)), x, vf_zero()));
    case ACT_TANH:
        ACT_EACH_(act_tanh(x));
    default:
        break;
    }
}

/* The factor of x in those of them that are x times one, likewise. */
static __attribute__((unused)) void act_apply_gate(const struct act *a, float *v, int64_t n)
{
#define ACT_ONE_ vf_select(vf_isnan(x), x, vf_set1(1.0f))
    switch (a->kind) {
    case TENON_ACT_SILU:
        ACT_EACH_(act_sigmoid(ACT_ONE_, x, vf_zero()));
    case TENON_ACT_GELU:
        ACT_EACH_(act_phi(ACT_ONE_, x));
    case TENON_ACT_GELU_TANH:
        ACT_EACH_(act_half_tanh(ACT_ONE_, x));
    case TENON_ACT_GOLU:
        ACT_EACH_(act_gompertz(ACT_ONE_, x));
    case TENON_ACT_XSILU:
        ACT_EACH_(act_widen(act_sigmoid(ACT_ONE_, x, vf_zero()), a->alpha));
    case TENON_ACT_XGELU:
        ACT_EACH_(act_widen(act_phi(ACT_ONE_, x), a->alpha));
    case TENON_ACT_XATLU:
        ACT_EACH_(act_widen(act_arc(x), a->alpha));
    default:
        break;
    }
#undef ACT_ONE_
}
#undef ACT_EACH_

#endif
