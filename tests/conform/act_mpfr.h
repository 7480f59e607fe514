/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * The activations of tenon/ops/act.h in 256 bits, written from it and not from act_ref.h, and what f64 may lose in
 * them: some u of the result, more where the argument's rounding is magnified (erfc by its square, exp by its size). */
#ifndef CONFORM_ACT_MPFR_H
#define CONFORM_ACT_MPFR_H

#include <math.h>
#include <tenon/ops/act.h>
#include "precise.h"

struct act_mpfr {
    uint32_t kind; /* TENON_ACT_ */
    double alpha, threshold;
};

/* y = x / (1 + exp(-z)); any of them may be the same. */
static inline void act_mpfr_gated(mpfr_t y, mpfr_srcptr x, mpfr_srcptr z)
{
    mpfr_t t;
    mpfr_init2(t, PRECISE_BITS);
    mpfr_neg(t, z, MPFR_RNDN);
    mpfr_exp(t, t, MPFR_RNDN);
    mpfr_add_ui(t, t, 1, MPFR_RNDN);
    mpfr_div(y, x, t, MPFR_RNDN);
    mpfr_clear(t);
}

/* y = erfc(-x / sqrt 2) / 2 */
static inline void act_mpfr_normal_cdf(mpfr_t y, mpfr_srcptr x)
{
    mpfr_sqrt_ui(y, 2, MPFR_RNDN);
    mpfr_div(y, x, y, MPFR_RNDN);
    mpfr_neg(y, y, MPFR_RNDN);
    mpfr_erfc(y, y, MPFR_RNDN);
    mpfr_div_ui(y, y, 2, MPFR_RNDN);
}

/* y = (atan x + pi/2) / pi, which is atan(-1/x) / pi below zero: no cancelling. */
static inline void act_mpfr_arc(mpfr_t y, mpfr_srcptr x)
{
    mpfr_t one;
    mpfr_init2(one, PRECISE_BITS);
    mpfr_set_ui(one, 1, MPFR_RNDN);
    mpfr_neg(y, x, MPFR_RNDN);
    mpfr_atan2(y, one, y, MPFR_RNDN);
    mpfr_const_pi(one, MPFR_RNDN);
    mpfr_div(y, y, one, MPFR_RNDN);
    mpfr_clear(one);
}

/* y = v (1 + tanh z) / 2 of gelu_tanh's z at x; y is neither of the others. */
static inline void act_mpfr_gelu_tanh(mpfr_t y, mpfr_srcptr v, mpfr_srcptr x)
{
    mpfr_t z;
    mpfr_init2(z, PRECISE_BITS);
    mpfr_set_str(z, "0.044715", 10, MPFR_RNDN);
    for (int i = 0; i < 3; i++)
        mpfr_mul(z, z, x, MPFR_RNDN);
    mpfr_add(z, z, x, MPFR_RNDN);
    mpfr_set_str(y, "1.5957691216", 10, MPFR_RNDN); /* twice 0.7978845608: (1 + tanh z)/2 = 1 / (1 + exp(-2z)) */
    mpfr_mul(z, z, y, MPFR_RNDN);
    act_mpfr_gated(y, v, z);
    mpfr_clear(z);
}

/* y = g (1 + 2 alpha) - alpha, g in y. */
static inline void act_mpfr_widen(mpfr_t y, double alpha)
{
    mpfr_mul_d(y, y, 1 + 2 * alpha, MPFR_RNDN);
    mpfr_sub_d(y, y, alpha, MPFR_RNDN);
}

static inline void act_mpfr_expanded(mpfr_t y, mpfr_srcptr x, double alpha)
{
    act_mpfr_widen(y, alpha);
    mpfr_mul(y, y, x, MPFR_RNDN);
}

/* The limits at -Inf that the formulas leave open, as act.h says. */
static inline void act_mpfr_minus_infinity(const struct act_mpfr *p, mpfr_t y)
{
    mpfr_set_zero(y, 1);
    if (p->kind == TENON_ACT_IDENTITY)
        mpfr_set_inf(y, -1);
    else if (p->kind >= TENON_ACT_XSILU && p->kind <= TENON_ACT_XATLU && p->alpha != 0)
        mpfr_set_inf(y, p->alpha > 0 ? 1 : -1);
    else if (p->kind == TENON_ACT_XATLU) {
        mpfr_const_pi(y, MPFR_RNDN);
        mpfr_si_div(y, -1, y, MPFR_RNDN);
    }
}

static inline void act_mpfr(const struct act_mpfr *p, mpfr_t y, mpfr_srcptr x)
{
    double alpha = p->alpha;
    mpfr_set(y, x, MPFR_RNDN);
    if (mpfr_nan_p(x))
        return;
    if (mpfr_inf_p(x) && mpfr_signbit(x)) {
        act_mpfr_minus_infinity(p, y);
        return;
    }
    switch (p->kind) {
    case TENON_ACT_RELU:
    case TENON_ACT_RELU2:
        if (mpfr_sgn(x) <= 0)
            mpfr_set_zero(y, 1);
        else if (p->kind == TENON_ACT_RELU2)
            mpfr_sqr(y, x, MPFR_RNDN);
        break;
    case TENON_ACT_FATRELU:
        if (mpfr_cmp_d(x, p->threshold) <= 0)
            mpfr_set_zero(y, 1);
        break;
    case TENON_ACT_SILU:
        act_mpfr_gated(y, x, x);
        break;
    case TENON_ACT_GELU:
        act_mpfr_normal_cdf(y, x);
        mpfr_mul(y, y, x, MPFR_RNDN);
        break;
    case TENON_ACT_GELU_TANH:
        act_mpfr_gelu_tanh(y, x, x);
        break;
    case TENON_ACT_GOLU:
        mpfr_neg(y, x, MPFR_RNDN);
        mpfr_exp(y, y, MPFR_RNDN);
        mpfr_neg(y, y, MPFR_RNDN);
        mpfr_exp(y, y, MPFR_RNDN);
        mpfr_mul(y, y, x, MPFR_RNDN);
        break;
    case TENON_ACT_XSILU:
        mpfr_set_ui(y, 1, MPFR_RNDN);
        act_mpfr_gated(y, y, x);
        act_mpfr_expanded(y, x, alpha);
        break;
    case TENON_ACT_XGELU:
        act_mpfr_normal_cdf(y, x);
        act_mpfr_expanded(y, x, alpha);
        break;
    case TENON_ACT_XATLU:
        act_mpfr_arc(y, x);
        act_mpfr_expanded(y, x, alpha);
        break;
    default:
        break;
    }
}

/* The factor of x, of those that are x times one. y is not x. */
static inline void act_mpfr_gate(const struct act_mpfr *p, mpfr_t y, mpfr_srcptr x)
{
    mpfr_t one;
    mpfr_init2(one, PRECISE_BITS);
    mpfr_set_ui(one, 1, MPFR_RNDN);
    switch (p->kind) {
    case TENON_ACT_GELU:
    case TENON_ACT_XGELU:
        act_mpfr_normal_cdf(y, x);
        break;
    case TENON_ACT_GELU_TANH:
        act_mpfr_gelu_tanh(y, one, x);
        break;
    case TENON_ACT_GOLU:
        mpfr_neg(y, x, MPFR_RNDN);
        mpfr_exp(y, y, MPFR_RNDN);
        mpfr_neg(y, y, MPFR_RNDN);
        mpfr_exp(y, y, MPFR_RNDN);
        break;
    case TENON_ACT_XATLU:
        act_mpfr_arc(y, x);
        break;
    default:
        act_mpfr_gated(y, one, x);
    }
    if (p->kind >= TENON_ACT_XSILU)
        act_mpfr_widen(y, p->alpha);
    mpfr_clear(one);
}

/* What f64 loses in evaluating act itself at x, where it gives y. */
static inline double act_mpfr_loss(const struct act_mpfr *p, double x, double y)
{
    double z = 1.6 * fabs(x) * (1 + 0.044715 * x * x);
    switch (p->kind) {
    case TENON_ACT_IDENTITY:
    case TENON_ACT_RELU:
    case TENON_ACT_FATRELU:
        return 0;
    case TENON_ACT_RELU2:
    case TENON_ACT_SILU:
        return 16 * PRECISE_U * fabs(y);
    case TENON_ACT_GELU: /* beyond 39 the result is below f64 */
        return PRECISE_U * fabs(y) * (16 + (x < 0 ? 8 * fmin(x * x, 1600) : 0));
    case TENON_ACT_GELU_TANH: /* beyond 750 too */
        return PRECISE_U * fabs(y) * (16 + (x < 0 ? 8 * fmin(z, 750) : 0));
    case TENON_ACT_GOLU:
        return PRECISE_U * fabs(y) * (16 + 4 * fmin(exp(-x), 750));
    default:
        return 16 * PRECISE_U * fabs(x) * (1 + 2 * fabs(p->alpha));
    }
}

/* How far act moves when x moves by e. */
static inline double act_mpfr_carried(const struct act_mpfr *p, mpfr_srcptr x, mpfr_srcptr y, double e)
{
    double worst = 0;
    mpfr_t moved;
    mpfr_init2(moved, PRECISE_BITS);
    for (int sign = -1; sign <= 1; sign += 2) {
        mpfr_t argument;
        mpfr_init2(argument, PRECISE_BITS);
        mpfr_set_d(argument, sign * e, MPFR_RNDN);
        mpfr_add(argument, argument, x, MPFR_RNDN);
        act_mpfr(p, moved, argument);
        mpfr_sub(moved, moved, y, MPFR_RNDN);
        worst = fmax(worst, fabs(mpfr_get_d(moved, MPFR_RNDN)));
        mpfr_clear(argument);
    }
    mpfr_clear(moved);
    return worst;
}

#endif
