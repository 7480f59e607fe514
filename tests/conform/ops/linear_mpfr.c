/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * linear in 256 bits, written from tenon/ops/linear.h and act.h and not from linear_ref.c, which it checks.
 *
 * What f64 may lose there, with u = 2^-53: the products (56 bits with an i8 scale) and their compensated sum
 * e = 4u(|pre| + sum |x w|); act carries that on, and its own evaluation loses some u of the result, more where the
 * argument's rounding is magnified (erfc by its square, exp by its size); a residual rounds once more. */
#include <math.h>
#include <tenon/ops/linear.h>
#include "../precise.h"

#define U       PRECISE_U
#define RND     MPFR_RNDN
#define SAMPLES 96

struct extents {
    int64_t m, n, k, group;
};

static struct extents extents_of(const struct conform_case *c)
{
    const struct tenon_linear_params *p = (const void *)c->params;
    const struct tenon_tensor *w = &c->slot[TENON_LINEAR_W].tensor, *y = &c->slot[TENON_LINEAR_Y].tensor;
    const struct tenon_tensor *scale = &c->slot[TENON_LINEAR_W_SCALE].tensor;
    int64_t n = p->trans_w ? w->dim[1] : w->dim[0], k = p->trans_w ? w->dim[0] : w->dim[1];
    int64_t groups = scale->dtype && scale->rank == 2 ? scale->dim[1] : 1;
    return (struct extents){n ? tenon_tensor_count(y) / n : 0, n, k, groups ? k / groups : k};
}

static double at(const struct conform_case *c, uint32_t i, int64_t index)
{
    const struct conform_slot *slot = &c->slot[i];
    return conform_get(conform_first(slot), slot->tensor.dtype, conform_offset(&slot->tensor, index));
}

/* pre = sum x w + bias, and the sum of the magnitudes. */
static double dot(const struct conform_case *c, const struct extents *e, int64_t element, mpfr_t pre)
{
    const struct tenon_linear_params *p = (const void *)c->params;
    const struct tenon_tensor *scale = &c->slot[TENON_LINEAR_W_SCALE].tensor;
    int64_t m = element / e->n, n = element % e->n;
    double chain = 0;
    mpfr_t term;
    mpfr_init2(term, PRECISE_BITS);
    mpfr_set_zero(pre, 1);
    for (int64_t k = 0; k < e->k; k++) {
        mpfr_set_d(term, at(c, TENON_LINEAR_X, p->trans_x ? k * e->m + m : m * e->k + k), RND);
        mpfr_mul_d(term, term, at(c, TENON_LINEAR_W, p->trans_w ? k * e->n + n : n * e->k + k), RND);
        if (scale->dtype)
            mpfr_mul_d(term, term, at(c, TENON_LINEAR_W_SCALE, scale->rank == 2 ? n * scale->dim[1] + k / e->group : n),
                       RND);
        mpfr_add(pre, pre, term, RND);
        chain += fabs(mpfr_get_d(term, RND));
    }
    mpfr_clear(term);
    if (c->slot[TENON_LINEAR_BIAS].tensor.dtype) {
        mpfr_add_d(pre, pre, at(c, TENON_LINEAR_BIAS, n), RND);
        chain += fabs(at(c, TENON_LINEAR_BIAS, n));
    }
    return chain;
}

/* y = x / (1 + exp(-z)); any of them may be the same. */
static void gated(mpfr_t y, mpfr_srcptr x, mpfr_srcptr z)
{
    mpfr_t t;
    mpfr_init2(t, PRECISE_BITS);
    mpfr_neg(t, z, RND);
    mpfr_exp(t, t, RND);
    mpfr_add_ui(t, t, 1, RND);
    mpfr_div(y, x, t, RND);
    mpfr_clear(t);
}

/* y = erfc(-x / sqrt 2) / 2 */
static void normal_cdf(mpfr_t y, mpfr_srcptr x)
{
    mpfr_sqrt_ui(y, 2, RND);
    mpfr_div(y, x, y, RND);
    mpfr_neg(y, y, RND);
    mpfr_erfc(y, y, RND);
    mpfr_div_ui(y, y, 2, RND);
}

/* y = (atan x + pi/2) / pi, which is atan(-1/x) / pi below zero: no cancelling. */
static void arc(mpfr_t y, mpfr_srcptr x)
{
    mpfr_t one;
    mpfr_init2(one, PRECISE_BITS);
    mpfr_set_ui(one, 1, RND);
    mpfr_neg(y, x, RND);
    mpfr_atan2(y, one, y, RND);
    mpfr_const_pi(one, RND);
    mpfr_div(y, y, one, RND);
    mpfr_clear(one);
}

static void gelu_tanh(mpfr_t y, mpfr_srcptr x)
{
    mpfr_t z;
    mpfr_init2(z, PRECISE_BITS);
    mpfr_set_str(z, "0.044715", 10, RND);
    for (int i = 0; i < 3; i++)
        mpfr_mul(z, z, x, RND);
    mpfr_add(z, z, x, RND);
    mpfr_set_str(y, "1.5957691216", 10, RND); /* twice 0.7978845608: (1 + tanh z)/2 = 1 / (1 + exp(-2z)) */
    mpfr_mul(z, z, y, RND);
    gated(y, x, z);
    mpfr_clear(z);
}

/* y = x (g (1 + 2 alpha) - alpha), g in y. */
static void expanded(mpfr_t y, mpfr_srcptr x, double alpha)
{
    mpfr_mul_d(y, y, 1 + 2 * alpha, RND);
    mpfr_sub_d(y, y, alpha, RND);
    mpfr_mul(y, y, x, RND);
}

/* The limits at -Inf that the formulas leave open, as act.h says. */
static void act_minus_infinity(const struct tenon_linear_params *p, mpfr_t y)
{
    mpfr_set_zero(y, 1);
    if (p->act == TENON_ACT_IDENTITY)
        mpfr_set_inf(y, -1);
    else if (p->act >= TENON_ACT_XSILU && p->act <= TENON_ACT_XATLU && p->alpha != 0)
        mpfr_set_inf(y, p->alpha > 0 ? 1 : -1);
    else if (p->act == TENON_ACT_XATLU) {
        mpfr_const_pi(y, RND);
        mpfr_si_div(y, -1, y, RND);
    }
}

static void act(const struct tenon_linear_params *p, mpfr_t y, mpfr_srcptr x)
{
    double alpha = (double)p->alpha;
    mpfr_set(y, x, RND);
    if (mpfr_nan_p(x))
        return;
    if (mpfr_inf_p(x) && mpfr_signbit(x)) {
        act_minus_infinity(p, y);
        return;
    }
    switch (p->act) {
    case TENON_ACT_RELU:
    case TENON_ACT_RELU2:
        if (mpfr_sgn(x) <= 0)
            mpfr_set_zero(y, 1);
        else if (p->act == TENON_ACT_RELU2)
            mpfr_sqr(y, x, RND);
        break;
    case TENON_ACT_FATRELU:
        if (mpfr_cmp_d(x, (double)p->threshold) <= 0)
            mpfr_set_zero(y, 1);
        break;
    case TENON_ACT_SILU:
        gated(y, x, x);
        break;
    case TENON_ACT_GELU:
        normal_cdf(y, x);
        mpfr_mul(y, y, x, RND);
        break;
    case TENON_ACT_GELU_TANH:
        gelu_tanh(y, x);
        break;
    case TENON_ACT_GOLU:
        mpfr_neg(y, x, RND);
        mpfr_exp(y, y, RND);
        mpfr_neg(y, y, RND);
        mpfr_exp(y, y, RND);
        mpfr_mul(y, y, x, RND);
        break;
    case TENON_ACT_XSILU:
        mpfr_set_ui(y, 1, RND);
        gated(y, y, x);
        expanded(y, x, alpha);
        break;
    case TENON_ACT_XGELU:
        normal_cdf(y, x);
        expanded(y, x, alpha);
        break;
    case TENON_ACT_XATLU:
        arc(y, x);
        expanded(y, x, alpha);
        break;
    default:
        break;
    }
}

/* What f64 loses in evaluating act itself at x, where it gives y. */
static double act_loss(const struct tenon_linear_params *p, double x, double y)
{
    double z = 1.6 * fabs(x) * (1 + 0.044715 * x * x);
    switch (p->act) {
    case TENON_ACT_IDENTITY:
    case TENON_ACT_RELU:
    case TENON_ACT_FATRELU:
        return 0;
    case TENON_ACT_RELU2:
    case TENON_ACT_SILU:
        return 16 * U * fabs(y);
    case TENON_ACT_GELU: /* beyond 39 the result is below f64 */
        return U * fabs(y) * (16 + (x < 0 ? 8 * fmin(x * x, 1600) : 0));
    case TENON_ACT_GELU_TANH: /* beyond 750 too */
        return U * fabs(y) * (16 + (x < 0 ? 8 * fmin(z, 750) : 0));
    case TENON_ACT_GOLU:
        return U * fabs(y) * (16 + 4 * fmin(exp(-x), 750));
    default:
        return 16 * U * fabs(x) * (1 + 2 * fabs((double)p->alpha));
    }
}

/* How far act moves when x moves by e. */
static double carried(const struct tenon_linear_params *p, mpfr_srcptr x, mpfr_srcptr y, double e)
{
    double worst = 0;
    mpfr_t moved;
    mpfr_init2(moved, PRECISE_BITS);
    for (int sign = -1; sign <= 1; sign += 2) {
        mpfr_t argument;
        mpfr_init2(argument, PRECISE_BITS);
        mpfr_set_d(argument, sign * e, RND);
        mpfr_add(argument, argument, x, RND);
        act(p, moved, argument);
        mpfr_sub(moved, moved, y, RND);
        worst = fmax(worst, fabs(mpfr_get_d(moved, RND)));
        mpfr_clear(argument);
    }
    mpfr_clear(moved);
    return worst;
}

static void check_element(const struct conform_case *c, const struct extents *e, const struct conform_want *want,
                          int64_t element, struct conform_precise *precise)
{
    const struct tenon_linear_params *p = (const void *)c->params;
    mpfr_t pre, y;
    double bound = 0;
    mpfr_inits2(PRECISE_BITS, pre, y, (mpfr_ptr)0);
    double chain = dot(c, e, element, pre), x = mpfr_get_d(pre, RND);
    act(p, y, pre);
    if (mpfr_number_p(y))
        bound = isfinite(x) ? 2 * carried(p, pre, y, 4 * U * (fabs(x) + chain)) + act_loss(p, x, mpfr_get_d(y, RND))
                            : 4 * U * fabs(mpfr_get_d(y, RND));
    if (c->slot[TENON_LINEAR_RESIDUAL].tensor.dtype)
        mpfr_add_d(y, y, at(c, TENON_LINEAR_RESIDUAL, element), RND);
    if (mpfr_number_p(y))
        bound += 2 * U * fabs(mpfr_get_d(y, RND)) + 0x1p-1000;
    precise_compare(precise, c, want, TENON_LINEAR_Y, element, y, bound);
    mpfr_clears(pre, y, (mpfr_ptr)0);
}

int tenon__conform_linear_mpfr(const struct conform_case *c, const struct conform_want *want,
                               struct conform_precise *precise)
{
    struct extents e = extents_of(c);
    int64_t count = e.m * e.n, n = count < SAMPLES ? count : SAMPLES;
    for (int64_t i = 0; i < n; i++)
        check_element(c, &e, want, precise_sample(c, i, n, count, precise->element), precise);
    mpfr_free_cache();
    return 0;
}
