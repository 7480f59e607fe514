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
#include "../act_mpfr.h"

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

static void check_element(const struct conform_case *c, const struct extents *e, const struct conform_want *want,
                          int64_t element, struct conform_precise *precise)
{
    const struct tenon_linear_params *params = (const void *)c->params;
    const struct act_mpfr p = {params->act, (double)params->alpha, (double)params->threshold};
    mpfr_t pre, y;
    double bound = 0;
    mpfr_inits2(PRECISE_BITS, pre, y, (mpfr_ptr)0);
    double chain = dot(c, e, element, pre), x = mpfr_get_d(pre, RND);
    act_mpfr(&p, y, pre);
    if (mpfr_number_p(y))
        bound = isfinite(x) ? 2 * act_mpfr_carried(&p, pre, y, 4 * U * (fabs(x) + chain)) +
                                  act_mpfr_loss(&p, x, mpfr_get_d(y, RND))
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
