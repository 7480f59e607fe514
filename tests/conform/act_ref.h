/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * The activations of tenon/ops/act.h in f64, for the references of all operators that have one, and what evaluating
 * them in f32 may cost. */
#ifndef CONFORM_ACT_REF_H
#define CONFORM_ACT_REF_H

#include <math.h>
#include <tenon/ops/act.h>
#include "conform.h"

#define ACT_REF_U     0x1p-24
#define ACT_REF_FLOOR 0x1p-126

struct act_ref {
    uint32_t kind; /* TENON_ACT_ */
    double alpha, threshold;
};

static inline double act_ref_phi(double x)
{
    return 0.5 * erfc(-x * 0.70710678118654752440);
}

static inline double act_ref_sigmoid(double x)
{
    return x >= 0 ? 1 / (1 + exp(-x)) : exp(x) / (1 + exp(x));
}

/* (atan x + pi/2) / pi without cancelling for x far below zero. */
static inline double act_ref_arc(double x)
{
    return atan2(1, -x) * 0.31830988618379067154;
}

static inline double act_ref_minus_infinity(const struct act_ref *p)
{
    const double alpha = p->alpha;
    if (p->kind == TENON_ACT_IDENTITY)
        return -(double)INFINITY;
    if (p->kind == TENON_ACT_XATLU && alpha == 0)
        return -0.31830988618379067154;
    if (p->kind == TENON_ACT_XSILU || p->kind == TENON_ACT_XGELU || p->kind == TENON_ACT_XATLU)
        return alpha > 0 ? (double)INFINITY : alpha < 0 ? -(double)INFINITY : 0;
    return 0;
}

static inline double act_ref(const struct act_ref *p, double x)
{
    double alpha = p->alpha, span = 1 + 2 * alpha;
    if (isnan(x))
        return x;
    if (x == -(double)INFINITY)
        return act_ref_minus_infinity(p);
    switch (p->kind) {
    case TENON_ACT_RELU:
        return x > 0 ? x : 0;
    case TENON_ACT_RELU2:
        return x > 0 ? x * x : 0;
    case TENON_ACT_SILU:
        return x * act_ref_sigmoid(x);
    case TENON_ACT_GELU:
        return x * act_ref_phi(x);
    case TENON_ACT_GELU_TANH: /* (1 + tanh z)/2 is act_ref_sigmoid(2z) */
        return x * act_ref_sigmoid(2 * 0.7978845608 * (x + 0.044715 * x * x * x));
    case TENON_ACT_GOLU:
        return x * exp(-exp(-x));
    case TENON_ACT_XSILU:
        return x * (act_ref_sigmoid(x) * span - alpha);
    case TENON_ACT_XGELU:
        return x * (act_ref_phi(x) * span - alpha);
    case TENON_ACT_XATLU:
        return x * (act_ref_arc(x) * span - alpha);
    case TENON_ACT_FATRELU:
        return x > p->threshold ? x : 0;
    default:
        return x;
    }
}

/* The factor of x, of those that are x times one. */
static inline double act_ref_gate(const struct act_ref *p, double x)
{
    const double alpha = p->alpha, span = 1 + 2 * alpha;
    if (isnan(x))
        return x;
    switch (p->kind) {
    case TENON_ACT_SILU:
        return act_ref_sigmoid(x);
    case TENON_ACT_GELU:
        return act_ref_phi(x);
    case TENON_ACT_GELU_TANH:
        return act_ref_sigmoid(2 * 0.7978845608 * (x + 0.044715 * x * x * x));
    case TENON_ACT_GOLU:
        return exp(-exp(-x));
    case TENON_ACT_XSILU:
        return act_ref_sigmoid(x) * span - alpha;
    case TENON_ACT_XGELU:
        return act_ref_phi(x) * span - alpha;
    default:
        return act_ref_arc(x) * span - alpha;
    }
}

/* What evaluating the activation itself in f32 may cost: some ulps of the result, more where its argument's rounding is
 * magnified, and for the x-forms the cancellation of their two terms. */
static inline double act_ref_error(const struct act_ref *p, double x, double y)
{
    double magnified = 0;
    switch (p->kind) {
    case TENON_ACT_IDENTITY:
    case TENON_ACT_RELU:
    case TENON_ACT_FATRELU:
        return 0;
    case TENON_ACT_RELU2:
        return ACT_REF_U * fabs(y);
    case TENON_ACT_GELU:
    case TENON_ACT_GELU_TANH:
        magnified = fmin(2 * x * x, 200);
        break;
    case TENON_ACT_SILU:
        magnified = fmin(2 * fabs(x), 200);
        break;
    case TENON_ACT_GOLU:
        magnified = x < 0 ? fmin(exp(-x) * (2 + fabs(x)), 1e5) : 2;
        break;
    default:
        return 16 * ACT_REF_U * fabs(x) * (1 + 2 * fabs(p->alpha));
    }
    return ACT_REF_U * fabs(y) * (16 + magnified) + ACT_REF_FLOOR;
}

/* The same of the gate, which is y. */
static inline double act_ref_gate_error(const struct act_ref *p, double x, double y)
{
    if (p->kind >= TENON_ACT_XSILU)
        return 16 * ACT_REF_U * (1 + 2 * fabs(p->alpha));
    return act_ref_error(p, x, y);
}

#endif
