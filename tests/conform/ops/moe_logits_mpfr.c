/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * moe_logits in 256 bits, written from tenon/ops/moe_logits.h and not from moe_logits_ref.c, which it checks.
 *
 * What f64 may lose there, with u = 2^-53: the rounded terms of a compensated sum, 4u(|sum| + sum |terms|), of which the
 * distance's root has a half of a relative error; differences from a rounded mean lose u of |v| + |mean| each, which the
 * other side's entries multiply; an activation carries all that on and loses some u of its own. */
#include <math.h>
#include <tenon/ops/moe_logits.h>
#include "../precise.h"

#define U       PRECISE_U
#define RND     MPFR_RNDN
#define SAMPLES 64

struct row {
    const struct conform_case *c;
    uint32_t tensor;
    int64_t first, width;
};

static const struct tenon_moe_logits_params *params_of(const struct conform_case *c)
{
    return (const void *)c->params;
}

static double at(const struct conform_case *c, uint32_t i, int64_t index)
{
    const struct conform_slot *slot = &c->slot[i];
    return conform_get(conform_first(slot), slot->tensor.dtype, conform_offset(&slot->tensor, index));
}

static double entry(const struct row *row, int64_t k)
{
    return at(row->c, row->tensor, row->first + k);
}

static double eps_of(const struct tenon_moe_logits_params *p)
{
    const float own = p->kind == TENON_MOE_LOGITS_COSINE ? 1e-6f : 1e-5f;
    return (double)(p->eps > 0 ? p->eps : own);
}

/* mean, and the norm + eps or the root of the variance + eps. */
static void measure(const struct row *row, mpfr_t mean, mpfr_t length)
{
    const struct tenon_moe_logits_params *p = params_of(row->c);
    mpfr_t d;
    mpfr_init2(d, PRECISE_BITS);
    mpfr_set_zero(mean, 1);
    mpfr_set_zero(length, 1);
    if (p->kind == TENON_MOE_LOGITS_STD_DOT) {
        for (int64_t k = 0; k < row->width; k++)
            mpfr_add_d(mean, mean, entry(row, k), RND);
        mpfr_div_si(mean, mean, (long)row->width, RND);
    }
    for (int64_t k = 0; k < row->width; k++) {
        mpfr_set_d(d, entry(row, k), RND);
        mpfr_sub(d, d, mean, RND);
        mpfr_sqr(d, d, RND);
        mpfr_add(length, length, d, RND);
    }
    if (p->kind == TENON_MOE_LOGITS_STD_DOT) {
        mpfr_div_si(length, length, (long)row->width, RND);
        mpfr_add_d(length, length, eps_of(p), RND);
        mpfr_sqrt(length, length, RND);
    } else {
        mpfr_sqrt(length, length, RND);
        mpfr_add_d(length, length, eps_of(p), RND);
    }
    mpfr_clear(d);
}

/* z before bias and activation; returns what f64 may lose of it. */
static double kind_of(const struct row *x, const struct row *w, mpfr_t z)
{
    const struct tenon_moe_logits_params *p = params_of(x->c);
    const double width = (double)x->width;
    double chain = 0, rough = 0, lengths = 1;
    mpfr_t a, b, mean_x, mean_w, length_x, length_w;
    mpfr_inits2(PRECISE_BITS, a, b, mean_x, mean_w, length_x, length_w, (mpfr_ptr)0);
    mpfr_set_zero(z, 1);
    if (x->width) {
        measure(x, mean_x, length_x);
        measure(w, mean_w, length_w);
    }
    for (int64_t k = 0; k < x->width; k++) {
        mpfr_set_d(a, entry(x, k), RND);
        mpfr_set_d(b, entry(w, k), RND);
        if (p->kind == TENON_MOE_LOGITS_NEG_L2) {
            mpfr_sub(a, a, b, RND);
            mpfr_sqr(a, a, RND);
        } else {
            mpfr_sub(a, a, mean_x, RND);
            mpfr_sub(b, b, mean_w, RND);
            rough += (fabs(entry(x, k)) + fabs(mpfr_get_d(mean_x, RND))) * fabs(mpfr_get_d(b, RND)) +
                     (fabs(entry(w, k)) + fabs(mpfr_get_d(mean_w, RND))) * fabs(mpfr_get_d(a, RND));
            mpfr_mul(a, a, b, RND);
        }
        mpfr_add(z, z, a, RND);
        chain += fabs(mpfr_get_d(a, RND));
    }
    if (p->kind == TENON_MOE_LOGITS_NEG_L2) {
        mpfr_sqrt(z, z, RND);
        mpfr_neg(z, z, RND);
        chain = fabs(mpfr_get_d(z, RND));
    } else if (p->kind != TENON_MOE_LOGITS_DOT && x->width) {
        mpfr_mul(a, length_x, length_w, RND);
        if (p->kind == TENON_MOE_LOGITS_STD_DOT) {
            mpfr_sqrt_ui(b, (unsigned long)x->width, RND);
            mpfr_mul(a, a, b, RND);
            rough *= 1 + sqrt(width); /* the lengths, too, come of differences */
        } else {
            mpfr_div_d(a, a, (double)p->scale, RND);
        }
        lengths = 1 / fabs(mpfr_get_d(a, RND));
        mpfr_div(z, z, a, RND);
    }
    mpfr_clears(a, b, mean_x, mean_w, length_x, length_w, (mpfr_ptr)0);
    return U * (8 * fabs(mpfr_get_d(z, RND)) + 8 * (chain + rough) * lengths);
}

static void act(uint32_t kind, mpfr_t y, mpfr_srcptr z)
{
    mpfr_set(y, z, RND);
    if (mpfr_nan_p(z) || kind == TENON_MOE_LOGITS_ACT_NONE)
        return;
    if (mpfr_inf_p(z) && mpfr_signbit(z)) {
        mpfr_set_si(y, kind == TENON_MOE_LOGITS_ACT_TANH ? -1 : 0, RND);
        return;
    }
    switch (kind) {
    case TENON_MOE_LOGITS_ACT_RELU:
        if (mpfr_sgn(z) <= 0)
            mpfr_set_zero(y, 1);
        break;
    case TENON_MOE_LOGITS_ACT_TANH:
        mpfr_tanh(y, z, RND);
        break;
    case TENON_MOE_LOGITS_ACT_GELU: /* z erfc(-z / sqrt 2) / 2 */
        mpfr_sqrt_ui(y, 2, RND);
        mpfr_div(y, z, y, RND);
        mpfr_neg(y, y, RND);
        mpfr_erfc(y, y, RND);
        mpfr_mul(y, y, z, RND);
        mpfr_div_ui(y, y, 2, RND);
        break;
    default: /* 1 / (1 + exp(-z)), or z times that */
        mpfr_neg(y, z, RND);
        mpfr_exp(y, y, RND);
        mpfr_add_ui(y, y, 1, RND);
        if (kind == TENON_MOE_LOGITS_ACT_SILU)
            mpfr_div(y, z, y, RND);
        else
            mpfr_ui_div(y, 1, y, RND);
    }
}

/* How far act moves when z moves by e. */
static double carried(uint32_t kind, mpfr_srcptr z, mpfr_srcptr y, double e)
{
    double worst = 0;
    for (int sign = -1; sign <= 1; sign += 2) {
        mpfr_t argument, moved;
        mpfr_inits2(PRECISE_BITS, argument, moved, (mpfr_ptr)0);
        mpfr_set_d(argument, sign * e, RND);
        mpfr_add(argument, argument, z, RND);
        act(kind, moved, argument);
        mpfr_sub(moved, moved, y, RND);
        worst = fmax(worst, fabs(mpfr_get_d(moved, RND)));
        mpfr_clears(argument, moved, (mpfr_ptr)0);
    }
    return worst;
}

static void check_element(const struct conform_case *c, const struct conform_want *want, int64_t element,
                          struct conform_precise *precise)
{
    const struct tenon_moe_logits_params *p = params_of(c);
    const struct tenon_tensor *w = &c->slot[TENON_MOE_LOGITS_W].tensor;
    const int64_t experts = w->dim[0], width = w->dim[1];
    const struct row a = {c, TENON_MOE_LOGITS_X, element / experts * width, width};
    const struct row b = {c, TENON_MOE_LOGITS_W, element % experts * width, width};
    double bound = 0;
    mpfr_t z, y;
    mpfr_inits2(PRECISE_BITS, z, y, (mpfr_ptr)0);
    double error = kind_of(&a, &b, z);
    if (c->slot[TENON_MOE_LOGITS_BIAS].tensor.dtype) {
        mpfr_add_d(z, z, at(c, TENON_MOE_LOGITS_BIAS, element % experts), RND);
        error += 2 * U * fabs(mpfr_get_d(z, RND));
    }
    act(p->act, y, z);
    if (mpfr_number_p(y)) {
        double size = fabs(mpfr_get_d(z, RND)), value = fabs(mpfr_get_d(y, RND));
        double magnified = p->act == TENON_MOE_LOGITS_ACT_GELU ? fmin(8 * size * size, 12800) : fmin(2 * size, 1500);
        bound = mpfr_number_p(z) ? 2 * carried(p->act, z, y, error) + U * value * (16 + magnified) : 0;
        bound += 0x1p-1000;
    }
    precise_compare(precise, c, want, TENON_MOE_LOGITS_Z, element, y, bound);
    mpfr_clears(z, y, (mpfr_ptr)0);
}

int tenon__conform_moe_logits_mpfr(const struct conform_case *c, const struct conform_want *want,
                                   struct conform_precise *precise)
{
    int64_t count = tenon_tensor_count(&c->slot[TENON_MOE_LOGITS_Z].tensor), n = count < SAMPLES ? count : SAMPLES;
    for (int64_t i = 0; i < n; i++)
        check_element(c, want, precise_sample(c, i, n, count, precise->element), precise);
    mpfr_free_cache();
    return 0;
}
